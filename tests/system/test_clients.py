"""Other people's clients deliver to the front door: msmtp, nodemailer, swaks, and the MTAs Postfix and Exim."""
import os
import re
import shutil
import smtplib
import subprocess

import pytest

import mail
from conftest import BIN, finish, free_port, free_port_base
from mtas import Exim, Postfix
from test_edge import SENDER, Edge
from tier import wait_for

NODE = """
const mailer = require('nodemailer').createTransport({ host: 'localhost', port: %d, secure: %s, ignoreTLS: %s,
    requireTLS: %s, tls: { ca: require('fs').readFileSync('%s') }%s });
mailer.sendMail({ envelope: { from: '%s', to: '%s' }, raw: require('fs').readFileSync('%s') }).then(
    (info) => { console.log(info.response); process.exit(0); }, (error) => { console.log(error); process.exit(1); });
"""


@pytest.fixture(scope="module")
def edge(run_dir):
    tier = Edge(run_dir / "clients", free_port_base(), BIN)
    tier.use_redis = False
    tier.workers = 1
    tier.edge_extra = f"\taccess utf8 {{ sender \"{UTF8}\"; action hold; }}\n"
    tier.start()
    yield tier
    finish(tier)


def text_in_file(edge, token, to):
    path = edge.path(f"{token}.eml")
    text = mail.message(token, SENDER, [to], 3000)
    with open(path, "wb") as f:
        f.write(text)
    return path, text


@pytest.mark.parametrize("how", ["plain", "starttls", "submission", "submissions"])
def test_msmtp(edge, how):
    token, alice, bob = mail.new_token(), edge.user("alice"), edge.user("bob")
    path, text = text_in_file(edge, token, bob["address"])
    service = "mx" if how in ("plain", "starttls") else how
    sender = SENDER if service == "mx" else alice["address"]
    argv = ["msmtp", "--host=localhost", f"--port={edge.port(service)}", f"--from={sender}", "--timeout=30", "--file=/dev/null",
            "--domain=client.example", f"--tls={'off' if how == 'plain' else 'on'}",
            f"--tls-starttls={'off' if how == 'submissions' else 'on'}", f"--tls-trust-file={edge.ca_file}"]
    if service != "mx":
        argv += ["--auth=plain", f"--user={alice['address']}", f"--passwordeval=echo {alice['password']}"]
    with open(path, "rb") as f:
        done = subprocess.run([*argv, bob["address"]], stdin=f, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [mail.original(m) for m in edge.wait_stored(bob, token)] == [text]


@pytest.mark.parametrize("how", ["plain", "starttls", "submission", "submissions"])
def test_nodemailer(edge, how):
    if shutil.which("node") is None or not os.path.isdir("/usr/share/nodejs/nodemailer"):
        pytest.skip("needs node-nodemailer")
    token, alice, carol = mail.new_token(), edge.user("alice"), edge.user("carol")
    path, text = text_in_file(edge, token, carol["address"])
    service = "mx" if how in ("plain", "starttls") else how
    sender = SENDER if service == "mx" else alice["address"]
    auth = "" if service == "mx" else f", auth: {{ user: '{alice['address']}', pass: '{alice['password']}' }}"
    words = [str(w).lower() for w in (how == "submissions", how == "plain", how in ("starttls", "submission"))]
    script = NODE % (edge.port(service), *words, edge.ca_file, auth, sender, carol["address"], path)
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "NODE_PATH": "/usr/share/nodejs"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert [mail.original(m) for m in edge.wait_stored(carol, token)] == [text]


@pytest.mark.parametrize("extra", [[], ["--tls"], ["--pipeline"], ["--tls", "--pipeline"]])
def test_swaks(edge, extra):
    token, dave = mail.new_token(), edge.user("dave")
    done = subprocess.run(["swaks", "--server", f"127.0.0.1:{edge.port('mx')}", "--from", SENDER, "--to", dave["address"],
                           "--helo", "client.example", "--header", f"Subject: {token}", *extra],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(edge.wait_stored(dave, token)) == 1


@pytest.mark.parametrize("how", ["plain", "starttls", "submission", "submissions"])
def test_curl(edge, how):
    token, alice, bob = mail.new_token(), edge.user("alice"), edge.user("bob")
    path, text = text_in_file(edge, token, bob["address"])
    service = "mx" if how in ("plain", "starttls") else how
    url = f"{'smtps' if how == 'submissions' else 'smtp'}://localhost:{edge.port(service)}/client.example"
    argv = ["curl", "-sS", "--cacert", edge.ca_file, "--url", url, "--upload-file", path, "--mail-rcpt", bob["address"],
            "--mail-from", SENDER if service == "mx" else alice["address"]]
    argv += ["--ssl-reqd"] if how in ("starttls", "submission") else []
    argv += ["--user", f"{alice['address']}:{alice['password']}"] if service != "mx" else []
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [mail.original(m) for m in edge.wait_stored(bob, token)] == [text]


UTF8 = "grüße@elsewhere.example"  # its mail waits in the queue: Dovecot takes no such headers


def wait_held(edge, token):
    """The message as the spool has it."""
    def found():
        for ident in re.findall(r"^([0-9A-Za-z]{8,})\b", edge.postern("queue", "list", "state=held").stdout, re.M):
            text = edge.postern("queue", "cat", ident).stdout
            if token in text:
                return text
        return None
    return wait_for(found, 60, "the held message")


def utf8_text(token, to):
    return f"From: {UTF8}\r\nTo: {to}\r\nSubject: {token} grüße\r\n\r\nGrüße\r\n".encode()


def test_nodemailer_utf8(edge):
    """An address in UTF-8: it asks for SMTPUTF8."""
    if shutil.which("node") is None or not os.path.isdir("/usr/share/nodejs/nodemailer"):
        pytest.skip("needs node-nodemailer")
    token, carol = mail.new_token(), edge.user("carol")
    path = edge.path(f"{token}.eml")
    with open(path, "wb") as f:
        f.write(utf8_text(token, carol["address"]))
    script = NODE % (edge.port("mx"), "false", "false", "true", edge.ca_file, "", UTF8, carol["address"], path)
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "NODE_PATH": "/usr/share/nodejs"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "with UTF8SMTPS id" in wait_held(edge, token)


@pytest.fixture(scope="module", params=[(Postfix, "postfix", "127.0.0.2", True), (Exim, "exim", "127.0.0.3", True),
                                        (Postfix, "postfix-plain", "127.0.0.4", False),
                                        (Exim, "exim-plain", "127.0.0.5", False)], ids=lambda p: p[1])
def mta(request, edge):
    """One that sends everything to the edge, with TLS or without."""
    kind, name, host, tls = request.param
    if not tls:
        kind = type(kind.__name__, (kind,), {"tls": False})
    m = kind(edge, name, host, free_port())
    m.with_tls = tls
    m.relay_to = ("127.0.0.1", edge.port("mx"))
    m.start()
    yield m
    edge.stop_process(name)


def test_mtas_utf8(edge, mta):
    alice, token = edge.user("alice"), mail.new_token()
    with smtplib.SMTP(mta.host, mta.port, timeout=60, local_hostname="client.example") as s:
        s.ehlo()
        if not s.has_extn("smtputf8"):
            pytest.skip("built without SMTPUTF8")
        assert s.sendmail(UTF8, [alice["address"]], utf8_text(token, alice["address"]), ["SMTPUTF8", "BODY=8BITMIME"]) == {}
    assert ("with UTF8SMTPS id" if mta.with_tls else "with UTF8SMTP id") in wait_held(edge, token)


def test_mtas(edge, mta):
    """By STARTTLS and, from Exim, in chunks: they use what they are offered."""
    host = mta.host
    alice, bob, token = edge.user("alice"), edge.user("bob"), mail.new_token()
    to = [alice["address"], bob["address"]]
    text = mail.message(token, SENDER, to, 200_000)
    with smtplib.SMTP(host, mta.port, timeout=60, local_hostname="client.example") as s:
        s.ehlo()
        assert s.sendmail(SENDER, to, text, ["BODY=8BITMIME"]) == {}
    for user in (alice, bob):
        stored, = edge.wait_stored(user, token, seconds=60)
        assert (b"with ESMTPS id" if mta.with_tls else b"with ESMTP id") in stored
        assert stored.endswith(text.split(b"\r\n\r\n", 1)[1])
    if isinstance(mta, Exim):
        with open(os.path.join(mta.base, "log-main"), encoding="utf-8", errors="replace") as f:
            assert any(" K " in line or " K\n" in line for line in f if "=>" in line and f"<{SENDER}>" not in line), "chunks"
