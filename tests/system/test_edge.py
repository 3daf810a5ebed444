"""postern-edge alone, with Dovecot in the place of the stores: what a 250 promises, whatever dies."""
import email
import json
import os
import random
import re
import signal
import socket
import socketserver
import subprocess
import threading
import time

import pytest

import mail
import peers
from conftest import BIN, finish, free_port, free_port_base, kill_daemon
from tier import Tier, children_of, port_answers, wait_for

SENDER = "visitor@elsewhere.example"
MISTAKES = """hostname mail.example.org;
run_dir run;
directory { backend file; }
metermaid { rule b { on connect; key clyent; rate 60/1m; burst 1; action defer; } }
edge {
	spoool spool;
	message_size_max 3;
	commit_timeout soon;
	queue_retry_first 1h; queue_retry_max 1s;
	postmaster "not an address";
	listener mx { address 127.0.0.1:25; role mx; tls none; }
	listener mx { address 127.0.0.1:26; role mx; tls none; }
	listener sub { address 127.0.0.1:587; role submission; tls none; }
	listener odd { address nowhere; role mx; tls none; }
	smtp_tls perhaps;
}
"""


class Edge(Tier):
    """A tier of one program."""

    def start(self):
        self.write_all()
        for k in range(1, self.store_count + 1):
            peers.start_dovecot(self, k)
        self.start_edge()

    def start_edge(self):
        self.start_daemon("edge", "postern")
        for service in ("mx", "submission", "submissions"):
            wait_for(lambda s=service: port_answers(self.port(s)), 30, service)
        wait_for(lambda: self.postern("queue", "list").returncode == 0, 30, "the queue")

    def stored(self, user):
        """Every message of a user as the store's files have it, with CRLF."""
        base = self.path(f"dovecot{user['store']}", "mail", user["address"], "Maildir")
        found = []
        for folder in ("new", "cur"):
            for name in sorted(os.listdir(os.path.join(base, folder))) if os.path.isdir(base) else ():
                with open(os.path.join(base, folder, name), "rb") as f:
                    found.append(f.read().replace(b"\n", b"\r\n"))
        return found

    def having(self, user, token):
        return [m for m in self.stored(user) if token.encode() in m]

    def wait_stored(self, user, token, count=1, seconds=30):
        def enough():
            found = self.having(user, token)
            return found if len(found) >= count else None
        return wait_for(enough, seconds, f"{count} message(s) {token} of {user['address']}")

    def queue_is_empty(self):
        return "The queue is empty" in self.postern("queue", "list").stdout

    def wait_listed(self, word):
        wait_for(lambda: word in self.postern("queue", "list").stdout, 20, f"{word} in the queue")

    def children(self):
        return [pid for pid, _ in children_of(self.processes["edge"].pid)]


def relaying_edge(run_dir, name, workers, options):
    """Not started yet; mail to elsewhere goes to relay_port."""
    if not os.path.exists(os.path.join(BIN, "postern-edge")):
        pytest.skip("not built: postern-edge")
    tier = Edge(os.path.join(run_dir, name), free_port_base(), BIN)
    tier.use_redis = False
    tier.workers = workers
    tier.relay_port = free_port()
    tier.edge_extra = f"\tqueue_retry_first 500ms;\n{options}\trelay_host 127.0.0.1:{tier.relay_port};\n"
    return tier


@pytest.fixture(scope="module")
def edge(run_dir):
    tier = relaying_edge(run_dir, "edge", 2, "\tqueue_retry_max 4s;\n\tdead_backoff 2s;\n\tcommit_timeout 3s;\n")
    tier.start()
    yield tier
    finish(tier)


def deliver(edge, names, size=2000, **how):
    token, sender = mail.new_token(), how.pop("sender", SENDER)
    to = [edge.user(n) for n in names]
    text = mail.message(token, sender, [u["address"] for u in to], size)
    code, reply = mail.send(edge, sender, [u["address"] for u in to], text, **how)
    assert code == 250, reply
    return token, to, text


def test_ten_mistakes_are_told_at_once(run_dir):
    path = os.path.join(run_dir, "mistakes.conf")
    with open(path, "w", encoding="ascii") as f:
        f.write(MISTAKES)
    done = subprocess.run([os.path.join(BIN, "postern-edge"), "-t", "-c", path], capture_output=True, text=True, timeout=30)
    told = done.stdout + done.stderr
    assert done.returncode == 78
    for line, word in ((3, "`file`"), (4, "clyent"), (6, "spoool"), (7, "message_size_max"), (8, "commit_timeout"),
                       (5, "queue_retry_max"), (5, "postmaster"), (12, "second"), (13, "AUTH"), (14, "nowhere"),
                       (15, "smtp_tls")):
        assert any(f"mistakes.conf:{line}:" in t and word in t for t in told.splitlines()), (line, word, told)


def test_good_configuration(edge):
    done = subprocess.run([os.path.join(BIN, "postern-edge"), "-t", "-c", edge.config_file("postern")],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("size", [300, 100_000, 3_000_000])
def test_two_stores_byte_for_byte(edge, size):
    token, to, text = deliver(edge, ("alice", "bob"), size)
    for user in to:
        assert [mail.original(m) for m in edge.having(user, token)] == [text]  # there at the 250, not later
    assert edge.queue_is_empty()


def test_unknown_postmaster_harms_nobody(edge):
    before = edge.children()
    with mail.smtp(edge) as s:
        s.ehlo()
        s.mail(SENDER)
        assert s.rcpt("postmaster@example.org")[0] == 550
        assert s.noop()[0] == 250
    assert edge.children() == before


def test_a_refusal_is_explained_by_its_id(edge):
    with mail.smtp(edge) as s:
        s.ehlo()
        s.mail(SENDER)
        code, reply = s.rcpt("nobody@example.org")
        assert code == 550
    ident = reply.decode().rsplit("[", 1)[1].rstrip("]")
    told = edge.postern("explain", ident).stdout
    assert f"from <{SENDER}>" in told and "<nobody@example.org> 550 no such mailbox" in told
    session = told.split(" in session ")[1].split()[0]
    assert "on listener mx" in edge.postern("explain", session).stdout
    assert "No worker knows" in edge.postern("explain", "abcdefghjkmnpqrstu").stdout


def test_swaks(edge):
    token = mail.new_token()
    done = subprocess.run(
        ["swaks", "--server", f"127.0.0.1:{edge.port('mx')}", "--from", SENDER, "--to",
         "carol@example.net,bob+box@example.org", "--header", f"Subject: {token}", "--helo", "client.example",
         "--pipeline"],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "250 2.0.0 taken as" in done.stdout
    for name in ("carol", "bob"):
        assert len(edge.having(edge.user(name), token)) == 1


def test_submission(edge):
    alice = edge.user("alice")
    for service in ("submission", "submissions"):
        token, (bob,), _ = deliver(edge, ("bob",), sender=alice["address"], service=service, user=alice)
        assert b"with ESMTPSA" in edge.having(bob, token)[0]
    with mail.smtp(edge, "submission") as s:
        s.ehlo()
        assert s.docmd("MAIL", "FROM:<alice@example.org>")[0] == 530
    with pytest.raises(mail.smtplib.SMTPAuthenticationError):
        mail.smtp(edge, "submission", user={**alice, "password": "wrong"})


def test_store_away_and_back(edge):
    """Who can have the message has it; the rest is promised, shown, and kept."""
    edge.stop_process("dovecot2")
    token, (alice, bob), text = deliver(edge, ("alice", "bob"), 300_000)
    assert len(edge.having(alice, token)) == 1
    listed = edge.postern("queue", "list").stdout
    assert "bob@example.org" in listed and "refused" in listed and "alice@" not in listed
    assert "retry" in edge.postern("queue", "retry").stdout
    peers.start_dovecot(edge, 2)
    assert [mail.original(m) for m in edge.wait_stored(bob, token)] == [text]
    wait_for(edge.queue_is_empty, 10, "an empty queue")


def test_queue_orders(edge):
    """postern queue: what waits is listed, read, held, let go, and thrown away by condition."""
    edge.stop_process("dovecot2")
    token, (bob,), text = deliver(edge, ["bob"], size=700_000)
    deliver(edge, ["bob"])
    rows = json.loads(edge.postern("queue", "list", "recipient=bob@*", "--json").stdout)
    assert len(rows) == 2
    big = max(rows, key=lambda row: row["bytes"])
    with open(edge.path("cat"), "wb") as f:
        tool = [os.path.join(BIN, "postern"), "queue", "cat", big["id"], "-c", edge.config_file("postern")]
        assert subprocess.run(tool, stdout=f, timeout=30).returncode == 0
    with open(edge.path("cat"), "rb") as f:
        assert mail.original(f.read()) == text
    assert edge.postern("queue", "cat", "none").returncode == 64
    assert "bob@" in edge.postern("queue", "show", big["id"]).stdout
    edge.postern("queue", "hold", big["id"])

    def throw_away():  # the other one, unless it is just being tried
        done = edge.postern("queue", "delete", "recipient=bob@*", "state=waiting", "--json")
        return json.loads(done.stdout) == [{"order": "delete", "recipients": 1, "more": False}]

    wait_for(throw_away, 10, "an order that is carried out")
    peers.start_dovecot(edge, 2)
    edge.postern("queue", "retry")
    assert "held" in edge.postern("queue", "list").stdout
    edge.postern("queue", "release", "all")
    edge.wait_stored(bob, token)
    wait_for(edge.queue_is_empty, 20, "an empty queue")


def test_restart_keeps_the_queue(edge):
    edge.stop_process("dovecot2")
    token, (dave,), text = deliver(edge, ("dave",), 300_000)
    assert edge.stop_process("edge") == 0
    edge.start_edge()
    edge.wait_listed("dave@example.net")
    kill_daemon(edge, "edge")
    edge.start_edge()
    edge.wait_listed("dave@example.net")
    peers.start_dovecot(edge, 2)
    assert [mail.original(m) for m in edge.wait_stored(dave, token)] == [text]


class Relay(socketserver.StreamRequestHandler):
    """A next hop: takes mail for good@..., refuses the others."""

    def handle(self):
        self.wfile.write(b"220 relay\r\n")
        for line in iter(self.rfile.readline, b""):
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.wfile.write(b"250-relay\r\n250 PIPELINING\r\n")
            elif verb == b"RCPT" and b"<good@" not in line:
                self.wfile.write(b"550 5.1.1 nobody of that name\r\n")
            elif verb == b"DATA":
                self.wfile.write(b"354 go\r\n")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.taken.append(text)
                self.wfile.write(b"250 done\r\n")
            elif verb == b"QUIT":
                return
            else:
                self.wfile.write(b"250 ok\r\n")


@pytest.fixture
def relay(edge):
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer.daemon_threads = True
    server = socketserver.ThreadingTCPServer(("127.0.0.1", edge.relay_port), Relay)
    server.taken = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_relayed_and_bounced(edge, relay):
    """Mail to elsewhere goes by way of the spool; a refusal there comes back to its sender, once."""
    token = mail.new_token()
    alice = edge.user("alice")
    text = mail.message(token, alice["address"], ["good@far.example", "bad@far.example"])
    code, reply = mail.send(edge, alice["address"], ["good@far.example", "bad@far.example"], text, service="submission",
                            user=alice)
    assert code == 250, reply
    wait_for(lambda: any(token.encode() in t for t in relay.taken), 20, "the relayed message")
    notices = edge.wait_stored(alice, token)
    assert len(notices) == 1
    assert b"Final-Recipient: rfc822; bad@far.example" in notices[0]
    assert b"Status: 5.1.1" in notices[0] and b"nobody of that name" in notices[0]
    assert notices[0].startswith(b"Return-Path: <>")
    wait_for(edge.queue_is_empty, 10, "an empty queue")


def test_reports(edge, relay):
    """RFC 3461: what the sender wishes to hear is what it hears, in reports that a MIME parser reads."""
    token = mail.new_token()
    alice, bob = edge.user("alice"), edge.user("bob")
    wishes = {bob["address"]: "NOTIFY=SUCCESS ORCPT=rfc822;old+2Bbob@example.org", "good@far.example": "NOTIFY=SUCCESS",
              "bad@far.example": "NOTIFY=FAILURE", "worse@far.example": "NOTIFY=NEVER"}
    text = mail.message(token, alice["address"], list(wishes))
    with mail.smtp(edge, service="submission", user=alice) as s:
        s.ehlo()
        assert s.has_extn("dsn")
        assert s.mail(alice["address"], ["RET=FULL", "ENVID=" + token])[0] == 250
        for address, wish in wishes.items():
            assert s.rcpt(address, [wish])[0] == 250
        assert s.data(text)[0] == 250
    edge.wait_stored(bob, token)

    def fields():
        found = {}
        for stored in edge.having(alice, token):
            report = email.message_from_bytes(stored)
            assert report.get_content_type() == "multipart/report"
            status = report.get_payload(1)
            assert status.get_content_type() == "message/delivery-status"
            assert status.get_payload(0)["Original-Envelope-Id"] == token
            full = report.get_payload(2).get_content_type() == "message/rfc822"
            for part in status.get_payload()[1:]:
                found[part["Final-Recipient"].split("; ")[1]] = (part["Action"], full, part["Original-Recipient"])
        return found

    wait_for(lambda: len(fields()) >= 3, 20, "three reports")
    wait_for(edge.queue_is_empty, 10, "an empty queue")
    got = fields()
    assert got[bob["address"]][0] == "delivered" and got[bob["address"]][2] == "rfc822; old+bob@example.org"
    assert got["good@far.example"][0] == "relayed"
    assert got["bad@far.example"][:2] == ("failed", True)
    assert "worse@far.example" not in got
    with mail.smtp(edge) as s:
        s.ehlo()
        assert not s.has_extn("dsn")


class Names(socketserver.BaseRequestHandler):
    """A DNS server for the domains of one test, by UDP."""

    A, MX, NXDOMAIN = 1, 15, 3
    ZONE = {("far.example", MX): [(10, "dead.example"), (20, "mx.example")], ("mx.example", A): ["127.0.0.1"],
            ("dead.example", A): ["127.0.0.9"], ("plain.example", A): ["127.0.0.1"], ("null.example", MX): [(0, "")],
            # an address is no name of a host; who is as good as we are would give it back
            ("numbers.example", MX): [(5, "127.0.0.1"), (10, "mx.example")], ("only.example", MX): [(5, "127.0.0.1")],
            ("equal.example", MX): [(10, "mx.example"), (10, "mail.example.org")],
            # a name without an address is no host, and takes no turn of those that are
            ("empty.example", MX): [(10, "a.empty.example"), (20, "b.empty.example")],
            ("sixth.example", MX): [(k, f"x{k}.empty.example") for k in range(1, 6)] + [(6, "mx.example")],
            ("partly.example", MX): [(10, "dead.example"), (20, "b.empty.example")]}

    @staticmethod
    def wire(name):
        return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"

    def handle(self):
        query, sock = self.request
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        kind = int.from_bytes(query[at + 1:at + 3], "big")
        name = ".".join(labels)
        known = any(n == name for n, _ in self.ZONE)
        data = [socket.inet_aton(v) if kind == self.A else v[0].to_bytes(2, "big") + self.wire(v[1])
                for v in self.ZONE.get((name, kind), ())]
        records = b"".join(b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1\0\0\0\5" + len(d).to_bytes(2, "big") + d
                           for d in data)
        flags = 0x8580 | (0 if known else self.NXDOMAIN)
        head = query[:2] + flags.to_bytes(2, "big") + b"\0\1" + len(data).to_bytes(2, "big") + b"\0\0\0\0"
        sock.sendto(head + query[12:at + 5] + records, self.client_address)


def waiting(edge):
    """Who was tried twice at least, if nobody else is in the queue."""
    rows = json.loads(edge.postern("queue", "list", "--json").stdout)
    return [r["recipient"] for r in rows] if all(r["attempts"] >= 2 for r in rows) else None


def test_mail_exchangers(edge, relay):
    """In order of preference, past one that is dead; a domain without MX by its address; none is an end."""
    dns = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Names)
    threading.Thread(target=dns.serve_forever, daemon=True).start()
    with_relay, edge.root_extra = edge.edge_extra, f"dns_servers 127.0.0.1:{dns.server_address[1]};\n"
    edge.edge_extra = with_relay.replace(f"relay_host 127.0.0.1:{edge.relay_port}", f"relay_port {edge.relay_port}")
    alice = edge.user("alice")
    token = mail.new_token()
    to = ["good@far.example", "good@plain.example", "good@null.example", "good@gone.example", "good@numbers.example",
          "good@only.example", "good@equal.example", "good@empty.example", "good@sixth.example", "good@partly.example"]
    try:
        assert edge.stop_process("edge") == 0
        edge.write_configs()
        edge.start_edge()
        text = mail.message(token, alice["address"], to)
        code, reply = mail.send(edge, alice["address"], to, text, service="submission", user=alice)
        assert code == 250, reply
        wait_for(lambda: sum(token.encode() in t for t in relay.taken) == 4, 20, "four relayed messages")
        wait_for(lambda: waiting(edge) == ["good@partly.example"], 20, "the queue to wait for the host that is dead alone")
        notices = b"".join(edge.having(alice, token))
        assert b"rfc822; good@null.example" in notices and b"Status: 5.1.10" in notices
        assert b"rfc822; good@gone.example" in notices and b"Status: 5.1.2" in notices
        assert b"rfc822; good@only.example" in notices and b"Status: 5.4.4" in notices
        assert b"rfc822; good@equal.example" in notices and b"Status: 5.4.6" in notices
        assert re.search(rb"rfc822; ?good@empty.example\r\nAction: failed\r\nStatus: 5.4.4", notices)
        edge.postern("queue", "delete", "recipient=good@partly.example")
    finally:
        dns.shutdown()
        dns.server_close()
        edge.stop_process("edge")
        edge.root_extra, edge.edge_extra = "", with_relay
        edge.write_configs()
        edge.start_edge()


class Sender(threading.Thread):
    """Sends and remembers what was answered with 250."""

    def __init__(self, edge, stop):
        super().__init__()
        self.edge, self.stop, self.promised = edge, stop, []

    def run(self):
        while not self.stop.is_set():
            token = mail.new_token()
            to = random.sample(self.edge.users, random.randrange(1, 4))
            text = mail.message(token, SENDER, [u["address"] for u in to], random.choice((300, 3000, 200_000)))
            try:
                if mail.send(self.edge, SENDER, [u["address"] for u in to], text)[0] == 250:
                    self.promised.append((token, to, text))
            except (OSError, mail.smtplib.SMTPException):
                wait_for(lambda: port_answers(self.edge.port("mx")), 30, "the edge after a lost connection")


def test_nothing_promised_is_lost(edge):
    """kill -9 of queue and workers, and a store that comes and goes, while four clients send."""
    stop = threading.Event()
    senders = [Sender(edge, stop) for _ in range(4)]
    for s in senders:
        s.start()
    up = True
    end = time.monotonic() + 10
    while time.monotonic() < end:
        wait_for(lambda: len(edge.children()) > 1, 20, "processes to kill")
        before = sum(len(s.promised) for s in senders)
        os.kill(random.choice(edge.children()), signal.SIGKILL)
        if random.random() < 0.3:
            up = not up
            peers.start_dovecot(edge, 2) if up else edge.stop_process("dovecot2")
        wait_for(lambda: sum(len(s.promised) for s in senders) > before + 5, 30, "more mail")
    stop.set()
    for s in senders:
        s.join(60)
    if not up:
        peers.start_dovecot(edge, 2)
    wait_for(edge.queue_is_empty, 60, "an empty queue")
    have = {u["address"]: edge.stored(u) for u in edge.users}
    index = {(a, m.split(b"Subject: test ", 1)[1][:16].decode()): mail.original(m)
             for a, all_of in have.items() for m in all_of if b"Subject: test " in m}
    promised = [p for s in senders for p in s.promised]
    assert len(promised) > 20
    for token, to, text in promised:
        for user in to:
            assert index.get((user["address"], token)) == text, (token, user["address"])


def test_a_store_that_hangs_gets_the_message_once(new_tier):
    """Our store's committer stands still past commit_timeout: the message goes to the spool, and the store, when it
    goes on, may get it both ways and keeps one."""
    tier = new_tier("hang", stores=1)
    tier.use_redis = False
    tier.users = [dict(u, store=1) for u in tier.users]
    tier.edge_extra += "\tcommit_timeout 1s;\n\treply_timeout 2s;\n\tfinal_timeout 2s;\n"
    tier.start()
    alice = tier.user("alice")
    tokens = []
    for pid, _ in children_of(tier.processes["store1"].pid):  # one of them is the committer
        os.kill(pid, signal.SIGSTOP)
        try:
            token = mail.new_token()
            text = mail.message(token, SENDER, [alice["address"]], 3000)
            begun = time.monotonic()
            code, reply = mail.send(tier, SENDER, [alice["address"]], text)
            assert code == 250, reply
            assert time.monotonic() - begun < 10
            tokens.append((token, text))
        finally:
            os.kill(pid, signal.SIGCONT)
    wait_for(lambda: "The queue is empty" in tier.postern("queue", "list").stdout, 60, "an empty queue")
    for token, text in tokens:
        assert [mail.original(m) for m in mail.imap_wait(tier, alice, token)] == [text]
    assert "fate=spooled" in tier.log("edge")
