"""Submission through the multiplexor: Postfix and our own edge as relays; smtplib, swaks, curl and nodemailer as clients."""
import os
import re
import shutil
import smtplib
import subprocess

import pytest

import mail
import peers
from conftest import free_port
from tier import port_answers, wait_for

SOURCE = "127.0.0.9"


def add_listeners(t, more):
    """Submission on ports of its own; the tier's belong to the edge."""
    t.front, t.front_tls, t.relay = free_port(), free_port(), free_port()
    t.mmp_extra += (f"\tsubmission_relays relay;\n\t{more}\n"
                    f"\tlistener front {{ address 127.0.0.1:{t.front}; protocol submission; }}\n"
                    f"\tlistener front-tls {{ address 127.0.0.1:{t.front_tls}; protocol submission; tls implicit; }}\n")


def add_relay(t, port):
    plain = t.directory_text
    t.directory_text = lambda: (plain() + "\ndn: cn=relay,ou=stores,dc=postern\nobjectClass: posternStore\ncn: relay\n"
                                f"posternStoreHost: 127.0.0.1\nposternStoreSubmissionPort: {port}\n")


def wait_front(t):
    for port in (t.front, t.front_tls):
        wait_for(lambda p=port: port_answers(p), 30, "front")


def postfix_tier(new_tier, name, mmp, postfix=""):
    t = new_tier(name, stores=1, needs=("mmp",))
    t.store_is_postern, t.use_redis, t.meter_rules = False, False, ""
    t.users = [u for u in t.users if u["store"] == 1]
    add_listeners(t, mmp)
    add_relay(t, t.relay)
    t.write_all()
    peers.start_dovecot(t, 1, "mail_max_userip_connections = 0\nservice auth {\n  unix_listener auth-relay {\n"
                        "    mode = 0666\n  }\n}\n")
    peers.start_postfix_relay(
        t, t.relay, t.store_port(1, "lmtp"),
        f"smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {t.path('dovecot1/run/auth-relay')}\n"
        f"smtpd_sasl_authenticated_header = yes\n{postfix}\n")
    t.start_daemon("mmp", "postern")
    wait_front(t)
    wait_for(lambda: port_answers(t.port("imaps")), 30, "imaps")
    return t


@pytest.fixture(scope="module")
def xclient(new_tier):
    t = postfix_tier(new_tier, "xclient", "store relay { login xclient; tls starttls; }",
                     "smtpd_authorized_xclient_hosts = 127.0.0.1\nsmtpd_tls_security_level = encrypt")
    yield t
    peers.stop(t, "postfix")


@pytest.fixture(scope="module")
def password(new_tier):
    t = postfix_tier(new_tier, "password", "store relay { tls none; }")
    yield t
    peers.stop(t, "postfix")


def smtp(t, tls=False, source=SOURCE):
    if tls:
        return smtplib.SMTP_SSL("localhost", t.front_tls, context=t.tls_context(), timeout=60, local_hostname="pc.example",
                                source_address=(source, 0))
    s = smtplib.SMTP("localhost", t.front, timeout=60, local_hostname="pc.example", source_address=(source, 0))
    s.starttls(context=t.tls_context())
    return s


def send(t, user, size=3000, **how):
    token = mail.new_token()
    text = mail.message(token, user["address"], [user["address"]], size)
    with smtp(t, **how) as s:
        s.login(user["address"], user["password"])
        assert not s.sendmail(user["address"], [user["address"]], text, ["BODY=8BITMIME"])
    return token, text


def arrived(t, user, token, text):
    found = mail.imap_wait(t, user, token)
    assert [mail.original(m) for m in found] == [text]
    return found[0].split(b"\r\n\r\n", 1)[0].decode()


def postfix_log(t):
    with open(t.path("postfix", "log"), encoding="utf-8", errors="replace") as f:
        return f.read()


@pytest.mark.parametrize("tls", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize("size", [300, 2000000])
def test_smtplib_sends_by_xclient(xclient, tls, size):
    """Postfix takes the user and the client's address from XCLIENT, and no password."""
    user = xclient.user("alice")
    head = arrived(xclient, user, *send(xclient, user, size, tls=tls))
    assert "(Authenticated sender: alice@example.org)" in head
    assert "pc.example" in head and f"[{SOURCE}]" in head
    assert re.search(rf"client=unknown\[{SOURCE}\]:?\d*, .*sasl_username=alice@example\.org", postfix_log(xclient))


def test_smtplib_sends_by_password(password):
    user = password.user("carol")
    head = arrived(password, user, *send(password, user))
    assert "(Authenticated sender: carol@example.net)" in head
    assert "pc.example" in head  # EHLO in the client's name


def test_swaks_sends(xclient, tmp_path):
    user, token = xclient.user("alice"), mail.new_token()
    text = mail.message(token, user["address"], [user["address"]], 500)
    (tmp_path / "m").write_bytes(text.replace(b"\r\n", b"\n"))
    got = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(xclient.front), "-tls", "--pipeline", "--auth", "PLAIN",
                          "--auth-user", user["address"], "--auth-password", user["password"], "--from", user["address"],
                          "--to", user["address"], "--data", f"@{tmp_path / 'm'}"], capture_output=True, text=True, timeout=60)
    assert got.returncode == 0, got.stdout + got.stderr
    mail.imap_wait(xclient, user, token)


def test_curl_sends(xclient, tmp_path):
    user, token = xclient.user("alice"), mail.new_token()
    text = mail.message(token, user["address"], [user["address"]], 500)
    (tmp_path / "m").write_bytes(text)
    got = subprocess.run(["curl", "-sS", "--cacert", xclient.ca_file, "--user", f"{user['address']}:{user['password']}",
                          "--mail-from", user["address"], "--mail-rcpt", user["address"], "-T", str(tmp_path / "m"),
                          f"smtps://localhost:{xclient.front_tls}"], capture_output=True, text=True, timeout=60)
    assert got.returncode == 0, got.stderr
    arrived(xclient, user, token, text)


NODEMAILER = """
const [port, secure, ca, user, pass, kind] = process.argv.slice(2);
const transport = require("nodemailer").createTransport({host: "localhost", port: Number(port), secure: secure === "yes",
    requireTLS: true, authMethod: kind, auth: {user, pass}, tls: {ca: require("fs").readFileSync(ca)}});
transport.sendMail({from: user, to: user, raw: require("fs").readFileSync(0)}, error => {
    if (error) { console.log(error.responseCode); process.exit(1); }
    transport.close();
});
"""


@pytest.mark.parametrize("tls,kind", [("no", "PLAIN"), ("yes", "LOGIN")], ids=["starttls", "implicit"])
def test_nodemailer_sends(xclient, tmp_path, tls, kind):
    if shutil.which("node") is None or not os.path.isdir("/usr/share/nodejs/nodemailer"):
        pytest.skip("needs node-nodemailer")
    user, token = xclient.user("alice"), mail.new_token()
    text = mail.message(token, user["address"], [user["address"]], 20000)
    (tmp_path / "send.js").write_text(NODEMAILER, encoding="ascii")

    def run(password):
        argv = ["node", str(tmp_path / "send.js"), str(xclient.front_tls if tls == "yes" else xclient.front), tls, xclient.ca_file,
                user["address"], password, kind]
        return subprocess.run(argv, input=text, capture_output=True, timeout=60, env={**os.environ, "NODE_PATH": "/usr/share/nodejs"})
    done = run(user["password"])
    assert done.returncode == 0, done.stdout + done.stderr
    arrived(xclient, user, token, text)
    done = run("wrong")
    assert done.returncode == 1 and done.stdout.strip() == b"535", done.stdout + done.stderr


def test_nothing_before_login_reaches_the_relay(xclient):
    had = postfix_log(xclient).count("connect from")
    with smtp(xclient) as s:
        s.ehlo()
        assert s.docmd("MAIL FROM:<alice@example.org>")[0] == 530
        assert s.docmd("XCLIENT", "LOGIN=alice@example.org")[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            s.login("alice@example.org", "wrong")
        assert refused.value.smtp_code == 535
    assert postfix_log(xclient).count("connect from") == had


def test_a_dead_relay_is_no_wrong_password(password):
    peers.stop(password, "postfix")
    user = password.user("carol")
    with smtp(password) as s, pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        s.login(user["address"], user["password"])
    assert refused.value.smtp_code == 454


def extensions(t):
    with smtp(t) as s:
        s.ehlo()
        return set(s.esmtp_features) - {"auth"}


def test_extensions_are_those_of_the_relay(new_tier):
    """What Postfix has switched off is not shown before anybody has logged in, nor after."""
    t = postfix_tier(new_tier, "poor", "store relay { tls none; }", "smtpd_discard_ehlo_keywords = chunking, dsn\nsmtputf8_enable = no")
    left = {"8bitmime", "enhancedstatuscodes", "pipelining"}
    try:
        user = t.user("alice")
        wait_for(lambda: all(extensions(t) == left for _ in range(20)), 20, "each worker to have asked")
        for _ in range(20):
            with smtp(t) as s:
                s.login(user["address"], user["password"])
        assert all(extensions(t) == left for _ in range(20))
    finally:
        peers.stop(t, "postfix")


@pytest.fixture(scope="module")
def own(new_tier):
    """mmp -> edge -> store: AUTH PLAIN at the edge's submission, which is told the client by XCLIENT."""
    t = new_tier("own", needs=("mmp", "edge", "store"))
    t.use_redis, t.meter_rules = False, ""
    add_listeners(t, "store relay { tls starttls; }")
    add_relay(t, t.port("submission"))
    t.edge_listener_extra = "xclient_from 127.0.0.1/32;"
    t.start()
    wait_front(t)
    return t


@pytest.mark.parametrize("tls", [False, True], ids=["starttls", "implicit"])
def test_through_our_own_edge(own, tls):
    user = own.user("bob")
    head = arrived(own, user, *send(own, user, tls=tls))
    assert SOURCE in head and "pc.example" in head
    wait_for(lambda: re.search(rf"auth\.ok .*client={SOURCE}:\d+ user=bob@example\.org", own.log("edge")), 20, "the edge's line")


def test_our_own_edge_takes_the_user_by_xclient(new_tier):
    """SCRAM with the client; the edge is told who that is, and gets no password at all."""
    t = new_tier("told", needs=("mmp", "edge", "store"))
    t.use_redis, t.meter_rules = False, ""
    add_listeners(t, "auth_mechanisms SCRAM-SHA-256, PLAIN; store relay { tls starttls; login xclient; }")
    add_relay(t, t.port("submission"))
    t.edge_listener_extra = "xclient_from 127.0.0.1/32;"
    t.start()
    wait_front(t)
    done = subprocess.run(["gsasl", "--client", "--smtp", "--mechanism=SCRAM-SHA-256", "--authentication-id=bob@example.org",
                           "--password=bob-demo", f"--x509-ca-file={t.ca_file}", "--starttls", "--no-cb", "localhost", str(t.front)],
                          input=b"\n", capture_output=True, timeout=60)
    assert b"235 2.7.0" in done.stdout + done.stderr, done.stdout + done.stderr
    user = t.user("bob")
    head = arrived(t, user, *send(t, user))
    assert SOURCE in head
    wait_for(lambda: re.search(rf"auth\.ok .*client={SOURCE}:\d+ user=bob@example\.org mechanism=XCLIENT tls=yes", t.log("edge")), 20,
             "the edge's line")
    with smtp(t) as s:
        s.login(user["address"], user["password"])
        code, _ = s.mail("alice@example.org")
        if code == 250:
            code, _ = s.rcpt("dave@example.net")
        assert 500 <= code < 600


def test_the_edge_sees_who_may_not_send(own):
    """Sender ownership is the edge's to check, with the user's own login."""
    user = own.user("bob")
    with smtp(own) as s:
        s.login(user["address"], user["password"])
        code, _ = s.mail("alice@example.org")
        if code == 250:
            code, _ = s.rcpt("dave@example.net")
        assert 500 <= code < 600
