"""One round through the multiplexor with each make of store: nodemailer sends by its submission to our edge, which delivers to
Dovecot, Cyrus or our own store by LMTP; imapflow, IMAP and POP3 read it there again. The reading programs by themselves are
in test_first_light.py, test_mmp_dovecot.py and test_mmp_cyrus.py."""
import os
import subprocess

import pytest

import imapflow
import mail
import peers
from conftest import free_port
from cyrus import start_cyrus
from test_mmp_submission import NODEMAILER, add_listeners, add_relay, wait_front
from tier import port_answers, wait_for


def start(t, kind):
    if kind == "postern":
        t.start_store(1)
    elif kind == "dovecot":
        peers.start_dovecot(t, 1, "mail_max_userip_connections = 0\n")
    else:
        start_cyrus(t, 1, free_port(), [(u["name"], u["domain"], u["password"]) for u in t.users])


@pytest.fixture(scope="module", params=["dovecot", "cyrus", "postern"])
def store(new_tier, request):
    t = new_tier(request.param, stores=1)
    t.store_is_postern = request.param == "postern"
    t.use_redis, t.meter_rules = False, ""
    t.users = [u for u in t.users if u["store"] == 1]
    add_listeners(t, "store relay { tls starttls; }")
    add_relay(t, t.port("submission"))
    t.edge_listener_extra = "xclient_from 127.0.0.1/32;"
    t.write_all()
    start(t, request.param)
    for daemon in ("mmp", "edge"):
        t.start_daemon(daemon, "postern")
    wait_front(t)
    for service in ("imap", "imaps", "pop3", "pop3s", "submission"):
        wait_for(lambda s=service: port_answers(t.port(s)), 30, service)
    for user in t.users:
        mail.imap(t, user).logout()  # a first login makes the mailbox in Cyrus
    return t


@pytest.mark.parametrize("tls,kind", [("no", "PLAIN"), ("yes", "LOGIN")], ids=["starttls", "implicit"])
def test_nodemailer_sends_and_imapflow_reads(store, tls, kind):
    assert os.path.isdir("/usr/share/nodejs/nodemailer"), "nodemailer is not there: make deps-test"
    user, token = store.user("alice"), mail.new_token()
    text = mail.message(token, user["address"], [user["address"]], 20000)
    with open(store.path("send.js"), "w", encoding="ascii") as f:
        f.write(NODEMAILER)
    argv = ["node", store.path("send.js"), str(store.front_tls if tls == "yes" else store.front), tls, store.ca_file,
            user["address"], user["password"], kind]
    done = subprocess.run(argv, input=text, capture_output=True, timeout=60, env={**os.environ, "NODE_PATH": "/usr/share/nodejs"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert [mail.original(m) for m in mail.imap_wait(store, user, token)] == [text]
    assert [mail.original(m) for m in mail.pop3_bodies(store, user, token)] == [text]
    service, way = ("imaps", "implicit") if tls == "yes" else ("imap", "starttls")
    told = imapflow.check(store, store.port(service), way, (user, token, text))
    assert "UNAUTHENTICATE" not in told["capabilities"]
    if store.store_is_postern:
        assert "COMPRESS=DEFLATE" in told["capabilities"]  # and was used


def test_compression_can_be_masked(store):
    """imapflow compresses wherever it is told that it may; in the same way as before, it does not when it is not told."""
    user, token = store.user("alice"), mail.new_token()
    text = mail.message(token, user["address"], [user["address"]], 3000)
    with mail.imap(store, user) as m:
        assert m.append("INBOX", None, None, text)[0] == "OK"
    plain = store.mmp_extra
    store.mmp_extra += "\timap_mask COMPRESS=DEFLATE;\n"
    store.write_configs()
    assert store.postern("reload").stdout.count("reloaded")
    try:
        told = imapflow.check(store, store.port("imaps"), "implicit", (user, token, text))
        assert "COMPRESS=DEFLATE" not in told["capabilities"]
    finally:
        store.mmp_extra = plain
        store.write_configs()
        store.postern("reload")
