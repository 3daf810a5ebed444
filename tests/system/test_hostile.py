"""Peers that break the rules: clear errors, bounded memory, and nobody else suffers."""
import os
import re
import resource
import socket
import ssl
import subprocess

import pytest

import mail
from conftest import rss_kib
from tier import children_of, wait_for

SENDER = "visitor@elsewhere.example"


def talk(tier, service, data, tls=False):
    """Sends data, half-closes, returns everything the server said."""
    with socket.create_connection(("127.0.0.1", tier.port(service)), timeout=60) as raw:
        s = tier.tls_context().wrap_socket(raw, server_hostname="localhost") if tls else raw
        got = b""
        try:
            first = s.recv(4096)
            got += first
            for i in range(0, len(data), 65536):
                s.sendall(data[i:i + 65536])
            if not tls:
                s.shutdown(socket.SHUT_WR)
            while True:
                piece = s.recv(65536)
                if not piece:
                    break
                got += piece
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            pass
        return got


HELLO = b"EHLO client.example\r\n"
ENVELOPE = HELLO + b"MAIL FROM:<a@elsewhere.example>\r\nRCPT TO:<alice@example.org>\r\n"

SMTP_CASES = {
    "over-long line": (b"NOOP " + b"x" * 100000 + b"\r\nQUIT\r\n", rb"\r\n5\d\d "),
    "NUL in a command": (HELLO + b"NOOP \0\r\nQUIT\r\n", rb"\r\n5\d\d "),
    "bare LF after a command": (b"EHLO client.example\nQUIT\r\n", rb"\r\n5\d\d "),
    "bare CR in a command": (HELLO + b"NOOP a\rb\r\nQUIT\r\n", rb"\r\n5\d\d "),
    "RCPT before MAIL": (HELLO + b"RCPT TO:<alice@example.org>\r\nQUIT\r\n", rb"\r\n503 "),
    "DATA before RCPT": (HELLO + b"MAIL FROM:<a@b.example>\r\nDATA\r\nQUIT\r\n", rb"\r\n(503|554) "),
    "MAIL twice": (HELLO + b"MAIL FROM:<a@b.example>\r\nMAIL FROM:<a@b.example>\r\nQUIT\r\n", rb"\r\n503 "),
    "unknown command": (HELLO + b"FROBNICATE\r\nQUIT\r\n", rb"\r\n500 "),
    "bad path": (HELLO + b"MAIL FROM:<a b@c>\r\nQUIT\r\n", rb"\r\n501 "),
    "unknown parameter": (HELLO + b"MAIL FROM:<a@b.example> FROB=1\r\nQUIT\r\n", rb"\r\n555 "),
    "too big by SIZE": (HELLO + b"MAIL FROM:<a@b.example> SIZE=99999999999\r\nQUIT\r\n", rb"\r\n552 "),
    "bare LF ends nothing": (ENVELOPE + b"DATA\r\nSubject: x\r\n\r\nhello\n.\nMAIL FROM:<evil@b.example>\r\n.\r\nQUIT\r\n",
                             rb"\r\n354 [^\r]*\r\n5\d\d "),
    "bare CR ends nothing": (ENVELOPE + b"DATA\r\nSubject: x\r\n\r\nhello\r.\rMAIL FROM:<evil@b.example>\r\n.\r\nQUIT\r\n",
                             rb"\r\n354 [^\r]*\r\n5\d\d "),
    "NUL in data": (ENVELOPE + b"DATA\r\nSubject: x\r\n\r\nhe\0llo\r\n.\r\nQUIT\r\n", rb"\r\n354 [^\r]*\r\n5\d\d "),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", rb"\r\n[45]\d\d "),
}


@pytest.fixture(scope="module")
def tier(new_tier):
    """Whose clients say all at once."""
    t = new_tier()
    t.edge_extra += "\tpipelining_early allow;\n"
    t.start()
    return t


@pytest.mark.parametrize("case", SMTP_CASES)
def test_smtp_answers_clearly(tier, case):
    data, want = SMTP_CASES[case]
    got = talk(tier, "mx", data)
    assert re.search(want, got), got


def test_half_a_message_is_never_delivered(tier):
    token = mail.new_token()
    talk(tier, "mx", ENVELOPE + f"DATA\r\nSubject: {token}\r\n\r\nhalf".encode())
    other = mail.new_token()
    alice = tier.user("alice")
    assert mail.send(tier, SENDER, [alice["address"]], mail.message(other, SENDER, [alice["address"]]))[0] == 250
    mail.imap_wait(tier, alice, other)
    assert mail.imap_bodies(tier, alice, token) == []


def test_commands_injected_before_tls_are_dropped(tier):
    for service, before, marker in (
            ("mx", HELLO + b"STARTTLS\r\nMAIL FROM:<evil@b.example>\r\n", None),
            ("imap", b"a STARTTLS\r\nb CAPABILITY\r\n", b"b OK"),
            ("pop3", b"STLS\r\nCAPA\r\n", None)):
        with socket.create_connection(("127.0.0.1", tier.port(service)), timeout=30) as raw:
            raw.sendall(before)
            buffered = b""
            raw.settimeout(10)
            while not re.search(rb"(220 [^\r]*TLS|a OK|\+OK [Bb]egin)", buffered):
                piece = raw.recv(4096)
                if not piece:
                    break
                buffered += piece
            try:
                with tier.tls_context().wrap_socket(raw, server_hostname="localhost") as s:
                    s.sendall(b"x NOOP\r\n")
                    after = s.recv(4096)
            except (ssl.SSLError, ConnectionError, TimeoutError):
                after = b""
            assert marker is None or marker not in after
            assert b"250 2.1.0" not in after and b"Capability" not in after


IMAP_CASES = {
    "over-long line": (b"a NOOP " + b"x" * 200000 + b"\r\n", rb"(BAD|BYE)"),
    "NUL": (b"a NOOP\0\r\nb LOGOUT\r\n", rb"(BAD|BYE)"),
    "no tag": (b"\r\nb LOGOUT\r\n", rb"BAD"),
    "unknown": (b"a FROB\r\nb LOGOUT\r\n", rb"a BAD"),
    "SELECT before login": (b"a SELECT INBOX\r\nb LOGOUT\r\n", rb"a (BAD|NO)"),
    "huge literal": (b"a LOGIN {4000000000}\r\nb LOGOUT\r\n", rb"a (BAD|NO)"),
    "huge non-synchronizing literal": (b"a LOGIN {4000000000+}\r\n" + b"x" * 100000, rb"(BAD|NO|BYE)"),
    "broken base64": (b"a AUTHENTICATE PLAIN !!!!\r\nb LOGOUT\r\n", rb"a (BAD|NO)"),
}
POP3_CASES = {
    "over-long line": (b"USER " + b"x" * 100000 + b"\r\nQUIT\r\n", rb"-ERR"),
    "NUL": (b"USER a\0b\r\nQUIT\r\n", rb"-ERR"),
    "PASS first": (b"PASS x\r\nQUIT\r\n", rb"-ERR"),
    "RETR before login": (b"RETR 1\r\nQUIT\r\n", rb"-ERR"),
    "unknown": (b"FROB\r\nQUIT\r\n", rb"-ERR"),
}


@pytest.mark.parametrize("case", IMAP_CASES)
def test_imap_answers_clearly(tier, case):
    data, want = IMAP_CASES[case]
    got = talk(tier, "imaps", data, tls=True)
    assert re.search(want, got), got


@pytest.mark.parametrize("case", POP3_CASES)
def test_pop3_answers_clearly(tier, case):
    data, want = POP3_CASES[case]
    got = talk(tier, "pop3s", data, tls=True)
    assert re.search(want, got), got


def workers_of(tier, name):
    return [pid for pid, _ in children_of(tier.processes[name].pid)]


def test_half_tls_handshakes_and_garbage(tier):
    sockets = []
    for i in range(200):
        s = socket.create_connection(("127.0.0.1", tier.port("imaps")), timeout=30)
        s.sendall([b"\x16\x03\x01\x02\x00\x01", b"\x80garbage", b"GET / HTTP/1.0\r\n\r\n", b""][i % 4])
        sockets.append(s)
    with mail.imap(tier, tier.user("alice")) as c:
        assert c.noop()[0] == "OK"
    for s in sockets:
        s.close()


def silent_connections(tier, count):
    """Opens `count` connections over all services that say nothing; as many as descriptors allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(count, hard - 500)
    services = ("mx", "imap", "pop3", "imaps")
    held = []
    for i in range(count):
        s = socket.socket()
        s.setblocking(False)
        s.bind((f"127.0.1.{1 + i % 250}", 0))
        s.connect_ex(("127.0.0.1", tier.port(services[i % len(services)])))
        held.append(s)
    return held


def test_ten_thousand_silent_connections(tier):
    before = rss_kib(workers_of(tier, "mmp") + workers_of(tier, "edge"))
    held = silent_connections(tier, 10000)
    try:
        alice = tier.user("alice")
        token = mail.new_token()
        assert mail.send(tier, SENDER, [alice["address"]], mail.message(token, SENDER, [alice["address"]]))[0] == 250
        assert len(mail.imap_wait(tier, alice, token)) == 1
        grown = rss_kib(workers_of(tier, "mmp") + workers_of(tier, "edge")) - before
        limit = 1024 * (600 if os.environ.get("POSTERN_SAN") else 150)
        assert grown < limit, f"{grown} KiB for {len(held)} silent connections"
    finally:
        for s in held:
            s.close()
    token = mail.new_token()
    assert mail.send(tier, SENDER, [alice["address"]], mail.message(token, SENDER, [alice["address"]]))[0] == 250


TEN_MISTAKES = """hostnam mail.example.org;
run_dir /tmp;
workers many;
tls { cert default { chain /nonexistent/chain.pem; key /nonexistent/key.pem; } }
directory { backend sql; cache_ttl 5 fortnights; }
edge {
    listener mx { address 127.0.0.1:99999; role mxx; }
    message_size_max 10Q;
    proxy_from 10.0.0.1/8;
    recipients_max 0;
    spol /var/spool;
}
metermaid { rule r { on conect; key client/32; rate 60; } }
"""


def test_ten_mistakes_are_reported_at_once(tmp_path):
    config = tmp_path / "bad.conf"
    config.write_text(TEN_MISTAKES)
    binary = os.path.join(os.environ.get("POSTERN_BIN", "build/bin"), "postern-edge")
    if not os.path.exists(binary):
        pytest.skip("not built: postern-edge")
    p = subprocess.run([binary, "-t", "-c", str(config)], capture_output=True, text=True, timeout=30, check=False)
    assert p.returncode == 78
    positions = set(re.findall(r"bad\.conf:(\d+):(\d+):", p.stderr + p.stdout))
    assert len(positions) >= 10, p.stderr
    lines = {int(line) for line, _ in positions}
    assert {1, 3, 4, 5, 7, 8, 11, 13} <= lines, p.stderr
    assert "hostname" in p.stderr + p.stdout and "spool" in p.stderr + p.stdout


def test_good_clients_are_served_after_all_that(tier):
    assert wait_for(lambda: all(tier.processes[n].poll() is None for n in ("mmp", "edge", "store1", "store2")), 5, "alive")
    with mail.imap(tier, tier.user("alice")) as c:
        assert c.select("INBOX")[0] == "OK"
