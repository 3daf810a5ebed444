"""Mail through real filters: a libmilter filter that uses every edit, opendkim; killed, frozen, lying too."""
import os
import random
import re
import signal
import socketserver
import subprocess
import threading
import time

import pytest

import mail
from conftest import BIN, TOP, finish, free_port, free_port_base
from tier import Tier, port_answers, wait_for
from wedge import MARK, MILTER_LIES, Wedge

SENDER = "visitor@elsewhere.example"


def listener(name, port, role="internal"):
    return f"\tlistener {name} {{ address 127.0.0.1:{port}; role {role}; tls none; }}\n"


def text_for(token, *wishes, to="alice@example.org", size=0):
    head = "".join(f"X-Do: {w}\r\n" for w in wishes)
    body = b"".join(b"line %07d of the text, long enough to count\r\n" % i for i in range(size // 48))
    return (f"From: <{SENDER}>\r\nX-Many: 1\r\nX-Many: 2\r\nTo: <{to}>\r\nSubject: test {token}\r\n{head}"
            "X-Many: 3\r\nDate: Tue, 24 Nov 2026 00:00:00 +0000\r\n"
            f"Message-ID: <{token}@test.example>\r\n\r\nhello\r\n.a dot\r\n").encode() + body


class Filtered(Tier):
    """A tier whose listeners have filters of their own; ports by name in self.at."""

    def prepare(self):
        self.at = {n: free_port() for n in ("everyhard", "everysoft", "verify", "sign", "rspamd", "failover", "wedged")}
        self.edge_extra += "".join(listener(n, p) for n, p in self.at.items())
        self.write_all()

    def milter(self, name, address, more):
        self.edge_extra += f"\tmilter {name} {{ address {address}; dead_time 200ms; {more} }}\n"

    def spawn_every(self):
        if os.path.exists(self.path("every.sock")):
            os.unlink(self.path("every.sock"))
        self.spawn("every", [self.path("every_edit"), f"unix:{self.path('every.sock')}"])
        wait_for(lambda: os.path.exists(self.path("every.sock")), 20, "every_edit")

    def send(self, to_port, text, recipients=("alice@example.org",), sender=SENDER):
        """(code, reply) of the last command that counts, over a listener of ours."""
        import smtplib
        with smtplib.SMTP("127.0.0.1", to_port, timeout=60, local_hostname="client.example") as s:
            s.ehlo()
            code, reply = s.mail(sender, ["BODY=8BITMIME"])
            for r in recipients if code == 250 else ():
                code, reply = s.rcpt(r)
            return s.data(text) if code == 250 else (code, reply)

    def stored(self, name, token, count=1):
        return mail.imap_wait(self, self.user(name), token, count)

    def nothing(self, token):
        return not any(mail.imap_bodies(self, u, token) for u in self.users)

    def events(self, word):
        return [line for line in self.log("edge").splitlines() if word in line]


def write_opendkim(tier):
    base = tier.path("dkim")
    os.makedirs(base, mode=0o755, exist_ok=True)
    tier.openssl("genrsa", "-out", os.path.join(base, "key.pem"), "2048")
    public = subprocess.run(["openssl", "rsa", "-in", os.path.join(base, "key.pem"), "-pubout", "-outform", "PEM"],
                            check=True, capture_output=True, text=True).stdout
    p = "".join(line for line in public.splitlines() if not line.startswith("-"))
    with open(os.path.join(base, "dns"), "w", encoding="ascii") as f:
        f.write(f"sel._domainkey.example.org v=DKIM1; k=rsa; p={p}\n")
    port = free_port()
    with open(os.path.join(base, "conf"), "w", encoding="ascii") as f:
        f.write(f"Domain example.org\nSelector sel\nKeyFile {base}/key.pem\nMode sv\nSocket inet:{port}@127.0.0.1\n"
                f"TestDNSData file:{base}/dns\nInternalHosts 192.0.2.1\nBackground no\nRequireSafeKeys no\n"
                "Canonicalization simple/simple\nSyslog no\nAlwaysAddARHeader yes\nAuthservID mail.example.org\n")
    return port


@pytest.fixture(scope="module")
def tier(run_dir):
    t = Filtered(os.path.join(run_dir, "filters"), free_port_base(), BIN)
    t.use_redis = False
    t.meter_rules = ""  # some tests connect as fast as they can
    t.workers = 1
    os.makedirs(t.run_dir, mode=0o755, exist_ok=True)
    subprocess.run(["gcc", "-O1", "-o", t.path("every_edit"), os.path.join(TOP, "tests", "system", "every_edit.c"),
                    "-lmilter", "-lpthread"], check=True, timeout=120)
    t.lying_port = free_port()
    t.dkim_port = write_opendkim(t)
    quick = "command_timeout 2s; content_timeout 3s;"
    every = t.path("every.sock")
    t.milter("every", every, f"listeners mx; {quick} on_quarantine tag;")
    t.milter("hard", "unix:" + every, f"listeners everyhard; {quick} on_failure reject; on_quarantine discard;")
    t.milter("soft", every, f"listeners everysoft; {quick} on_failure accept;")
    t.edge_extra += "\tverdict mine { filters soft; recipient carol@example.net; action folder; folder Junk; }\n"
    t.milter("failover", f"127.0.0.1:{t.lying_port}, {every}", f"listeners failover; {quick}")
    t.wedges = {"dkim": Wedge(t.dkim_port), "every": Wedge(every)}
    t.milter("wedged", f"127.0.0.1:{t.wedges['every'].port}", f"listeners wedged; {quick}")
    t.milter("dkim", f"127.0.0.1:{t.wedges['dkim'].port}", "listeners submission, verify; content_timeout 5s; command_timeout 5s;")
    t.prepare()
    for k in (1, 2):
        t.start_store(k)
    t.start_daemon("mmp", "postern")
    t.spawn_every()
    t.spawn("opendkim", ["opendkim", "-f", "-x", t.path("dkim", "conf")])
    wait_for(lambda: port_answers(t.dkim_port), 60, "opendkim")
    t.start_daemon("edge", "postern")
    t.wait_edge()
    yield t
    for wedge in t.wedges.values():
        wedge.end()
    t.stop_process("opendkim")
    t.stop_process("every")
    finish(t)


# ---- every edit ----

def test_a_filter_that_changes_nothing(tier):
    token = mail.new_token()
    text = text_for(token)
    code, reply = tier.send(tier.port("mx"), text)
    assert code == 250, reply
    assert mail.original(tier.stored("alice", token)[0]) == text


def test_header_edits(tier):
    token = mail.new_token()
    code, reply = tier.send(tier.port("mx"), text_for(token, "add", "insert", "change", "delete"))
    assert code == 250, reply
    stored = tier.stored("alice", token)[0].decode()
    head, body = stored.split("\r\n\r\n", 1)
    assert body == "hello\r\n.a dot\r\n"
    # change: the second; delete: the first; both count only fields of that name
    assert re.findall(r"^X-Many:.*$", head, re.M) == ["X-Many: changed\r", "X-Many: 3\r"]
    assert head.endswith("\r\nX-Added: one\r\n\ttwo")
    received = head.index("Received: from client.example")
    assert head.index("X-Inserted: under Received") > received
    assert re.search(r"\r\n\t[^\r\n]+\r\nX-Inserted: under Received\r\nFrom: ", head)


def test_text_is_replaced(tier):
    token = mail.new_token()
    code, reply = tier.send(tier.port("mx"), text_for(token, "body", "add"))
    assert code == 250, reply
    assert tier.stored("alice", token)[0].endswith(b"\r\nX-Added: one\r\n\ttwo\r\n\r\na new text\r\n.\r\nwith a dot\r\n")


def test_twenty_megabytes_of_new_text(tier):
    token = mail.new_token()
    code, reply = tier.send(tier.port("mx"), text_for(token, "bigbody"))
    assert code == 250, reply
    body = tier.stored("alice", token)[0].split(b"\r\n\r\n", 1)[1]
    line = b"a" * 62 + b"\r\n"
    assert len(body) == 320 * 65536
    assert body.startswith(line + b"b" * 62)
    assert set(len(piece) for piece in body[:-2].split(b"\r\n")) == {62}


def test_envelope_edits(tier):
    token = mail.new_token()
    code, reply = tier.send(tier.port("mx"), text_for(token, "rcpt", "sender"))
    assert code == 250, reply
    for name in ("bob", "carol"):
        assert b"hello" in tier.stored(name, token)[0]
    assert not mail.imap_bodies(tier, tier.user("alice"), token)
    wait_for(lambda: any("sender=changed@elsewhere.example" in e for e in tier.events("message.received")), 10, "log")


def test_quarantine(tier):
    token = mail.new_token()
    code, reply = tier.send(tier.port("mx"), text_for(token, "quarantine"))
    assert code == 250, reply
    assert b"\r\nX-Quarantine: looks odd\r\n\r\nhello" in tier.stored("alice", token)[0]
    token = mail.new_token()
    code, reply = tier.send(tier.at["everyhard"], text_for(token, "quarantine"))
    assert code == 250, reply
    assert tier.nothing(token)
    assert any("filter=hard" in e for e in tier.events("message.discarded"))


def test_quarantine_in_the_queue(tier):
    """Held from the start, whatever dies, until an operator lets it go."""
    token = mail.new_token()
    code, reply = tier.send(tier.at["everysoft"], text_for(token, "quarantine"))
    assert code == 250, reply

    def held():
        return "alice@example.org" in tier.postern("queue", "list", "state=held").stdout
    wait_for(held, 20, "held in the queue")
    assert tier.nothing(token)
    tier.stop_process("edge", signal.SIGKILL)
    tier.start_daemon("edge", "postern")
    tier.wait_edge()
    wait_for(held, 20, "held after a crash")
    assert tier.nothing(token)
    released = tier.postern("queue", "release", "all")
    assert released.returncode == 0, released.stderr
    assert b"\r\nX-Quarantine: looks odd\r\n\r\nhello" in tier.stored("alice", token)[0]


def test_quarantine_in_a_folder(tier):
    """One recipient wants what a filter quarantines in a folder; the filter's own word, hold, is for the others, and holds
    their copies only."""
    token, carol = mail.new_token(), tier.user("carol")
    with mail.imap(tier, carol) as c:
        assert c.create("Junk")[0] == "OK"
    code, reply = tier.send(tier.at["everysoft"], text_for(token, "quarantine"), ["alice@example.org", "carol@example.net"])
    assert code == 250, reply
    stored, = wait_for(lambda: mail.imap_bodies(tier, carol, token, "Junk"), 30, "the message in its folder")
    assert b"\r\nX-Quarantine: looks odd\r\n\r\nhello" in stored
    assert not mail.imap_bodies(tier, carol, token)
    assert "alice@example.org" in tier.postern("queue", "list", "state=held").stdout
    assert not mail.imap_bodies(tier, tier.user("alice"), token)
    assert tier.postern("queue", "release", "all").returncode == 0
    assert tier.stored("alice", token)


def test_skip_large_text(tier):
    token = mail.new_token()
    text = text_for(token, "skip", size=1_000_000)
    code, reply = tier.send(tier.port("mx"), text)
    assert code == 250, reply
    stored = tier.stored("alice", token)[0]
    assert b"\r\nX-Pieces: 1\r\n\r\n" in stored
    assert stored.split(b"\r\n\r\n", 1)[1] == text.split(b"\r\n\r\n", 1)[1]


def test_progress_for_longer_than_the_timeout(tier):
    token = mail.new_token()
    begun = time.monotonic()
    code, reply = tier.send(tier.port("mx"), text_for(token, "progress"))
    assert code == 250, reply
    assert time.monotonic() - begun >= 6
    assert tier.stored("alice", token)


@pytest.mark.parametrize("wish,code,words", [
    ("reject", 550, b"5.7.1"), ("tempfail", 451, b"4.7.1"), ("discard", 250, b"ok"),
    ("lines", 554, b"5.7.9 first line\n5.7.9 100% sure"),
])
def test_verdicts(tier, wish, code, words):
    token = mail.new_token()
    got, reply = tier.send(tier.port("mx"), text_for(token, "add", "rcpt", wish))
    assert (got, words in reply) == (code, True), reply
    assert tier.nothing(token)


# ---- killed, frozen, lying ----

FAILURES = [("everyhard", 554), ("mx", 451), ("everysoft", 250)]


def port_of(tier, name):
    return tier.at.get(name) or tier.port(name)


@pytest.mark.parametrize("name,code", FAILURES)
@pytest.mark.parametrize("wish", ["crash-body", "crash-end", "hang-end"])
def test_a_filter_dies_or_hangs_with_the_message(tier, wish, name, code):
    token = mail.new_token()
    text = text_for(token, "add", "change", "body", "rcpt", wish)
    got, reply = tier.send(port_of(tier, name), text)
    if wish.startswith("crash"):
        tier.stop_process("every")
        tier.spawn_every()
    assert got == code, reply
    if code == 250:
        assert mail.original(tier.stored("alice", token)[0]) == text
    else:
        assert tier.nothing(token)
    time_to_heal(tier)


def time_to_heal(tier):
    """Until the address is tried again."""
    wait_for(lambda: tier.send(tier.at["everyhard"], text_for(mail.new_token(), "discard"))[0] == 250, 20, "healed")


@pytest.mark.parametrize("name,code", FAILURES)
def test_a_frozen_filter(tier, name, code):
    token = mail.new_token()
    text = text_for(token)
    tier.processes["every"].send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        got, reply = tier.send(port_of(tier, name), text)
        assert time.monotonic() - begun < 20
    finally:
        tier.processes["every"].send_signal(signal.SIGCONT)
    assert got == code, reply
    assert (not tier.nothing(token)) == (code == 250)
    time_to_heal(tier)


def test_a_filter_killed_under_load_loses_nothing(tier):
    """What got 250 is there, whole and once; what did not is not there."""
    promised, refused = [], []
    done = threading.Event()

    def client():
        while not done.is_set():
            token = mail.new_token()
            try:
                code, _ = tier.send(tier.port("mx"), text_for(token, "add", "change"))
            except OSError:
                code = 0
            (promised if code == 250 else refused).append(token)
    threads = [threading.Thread(target=client) for _ in range(3)]
    for t in threads:
        t.start()
    try:
        for turn in range(40):
            wait_for(lambda n=len(promised): len(promised) > n + 5, 60, "mail flows")
            tier.stop_process("every", signal.SIGKILL)
            tier.spawn_every()
            if turn >= 3 and refused:
                break
    finally:
        done.set()
        for t in threads:
            t.join(120)
    assert refused  # else nothing was killed in time
    for token in promised:
        found = tier.stored("alice", token)
        assert len(found) == 1
        assert b"\r\nX-Added: one\r\n\ttwo\r\n\r\nhello\r\n.a dot\r\n" in found[0]
        assert b"\r\nX-Many: changed\r\n" in found[0]
    assert all(tier.nothing(token) for token in random.sample(refused, min(len(refused), 10)))


class Liar(socketserver.BaseRequestHandler):
    """Answers whatever it is told with the same bytes."""
    reply = b""

    def handle(self):
        try:
            self.request.settimeout(30)
            while self.request.recv(65536):
                self.request.sendall(self.reply)
        except OSError:
            pass


def packet(code, data=b""):
    return (len(data) + 1).to_bytes(4, "big") + code + data


@pytest.mark.parametrize("reply", [
    b"HTTP/1.1 400 Bad Request\r\n\r\n", packet(b"O"), packet(b"c"), b"\xff\xff\xff\xff", b"\0\0\0\0",
    packet(b"O", (6).to_bytes(4, "big") + b"\xff" * 8),
], ids=["http", "short", "continue", "long", "empty", "greedy"])
def test_a_liar_is_passed_over(tier, reply):
    """The first address lies from the first byte: the second one is asked, and the mail goes through."""
    Liar.reply = reply
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", tier.lying_port), Liar) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        before = len(tier.events("filter.failed"))

        def passed_over():
            """An address that has failed rests for dead_time: the next mail may not ask it."""
            token = mail.new_token()
            code, answer = tier.send(tier.at["failover"], text_for(token, "add"))
            assert code == 250, answer
            assert b"X-Added" in tier.stored("alice", token)[0]
            return len(tier.events("filter.failed")) > before
        try:
            wait_for(passed_over, 20, "the failure in the log")
        finally:
            server.shutdown()
            thread.join(10)


# ---- opendkim ----

def test_opendkim_signs_and_verifies(tier):
    alice, token = tier.user("alice"), mail.new_token()
    text = mail.message(token, alice["address"], ["bob@example.org"], 3000)
    code, reply = mail.send(tier, alice["address"], ["bob@example.org"], text, service="submission", user=alice)
    assert code == 250, reply
    signed = tier.stored("bob", token)[0]
    assert re.search(rb"^DKIM-Signature: v=1;.* d=example.org;", signed, re.M), signed[:1500]
    at = signed.index(b"DKIM-Signature")
    assert signed.index(b"Received: ") < at
    # what came out is sent in again: nothing was changed below the signature
    again = signed[at:]
    code, reply = tier.send(tier.at["verify"], again, ["carol@example.net"], alice["address"])
    assert code == 250, reply
    verified = tier.stored("carol", token)[0]
    head = verified.split(b"\r\n\r\n", 1)[0]
    assert re.search(rb"^Authentication-Results: mail.example.org;\s+dkim=pass", head, re.M), head
    assert head.index(b"Received: ") < head.index(b"Authentication-Results") < head.index(b"DKIM-Signature")
    spoiled = again.replace(b"From the start", b"From the end")
    assert spoiled != again
    token2 = token[::-1]
    code, reply = tier.send(tier.at["verify"], spoiled.replace(token.encode(), token2.encode()), ["carol@example.net"])
    assert code == 250, reply
    assert not re.search(rb"dkim=pass", tier.stored("carol", token2)[0].split(b"\r\n\r\n", 1)[0])


def submit(tier, token, line="hello"):
    alice = tier.user("alice")
    text = mail.message(token, alice["address"], ["bob@example.org"], 300) + line.encode() + b"\r\n"
    return mail.send(tier, alice["address"], ["bob@example.org"], text, service="submission", user=alice)[0]


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_opendkim_away(tier, how):
    """In the middle of a message, and when the next one comes."""
    token, dkim = mail.new_token(), tier.processes["opendkim"]
    sign = {"frozen": signal.SIGSTOP, "killed": signal.SIGKILL}[how]
    try:
        with tier.wedges["dkim"].harming(lambda: dkim.send_signal(sign)):
            assert submit(tier, token, MARK) == 451
        if how == "killed":
            tier.stop_process("opendkim")
        assert submit(tier, token) == 451
        assert tier.nothing(token)
    finally:
        if how == "frozen":
            dkim.send_signal(signal.SIGCONT)
        else:
            tier.spawn("opendkim", ["opendkim", "-f", "-x", tier.path("dkim", "conf")])
            wait_for(lambda: port_answers(tier.dkim_port), 60, "opendkim")
    wait_for(lambda: submit(tier, token) == 250, 20, "signed again")
    assert b"DKIM-Signature" in tier.stored("bob", token)[0]


@pytest.mark.parametrize("lie", MILTER_LIES)
@pytest.mark.parametrize("name", ["dkim", "every"])
def test_real_filters_that_lie_in_the_middle(tier, name, lie):
    """What opendkim, or the filter of libmilter, answers is another thing from the text on: the mail is for later, whole."""
    token = mail.new_token()

    def send(line):
        if name == "dkim":
            return submit(tier, token, line)
        return tier.send(tier.at["wedged"], text_for(token, "add") + line.encode() + b"\r\n")[0]
    with tier.wedges[name].telling(MILTER_LIES[lie]):
        assert send(MARK) == 451
    assert tier.nothing(token)
    wait_for(lambda: send(MARK) == 250, 20, "healed")
    stored, = tier.stored("bob" if name == "dkim" else "alice", token)
    assert (b"DKIM-Signature" if name == "dkim" else b"X-Added") in stored


def test_mistakes_in_the_configuration(tier):
    path = tier.path("mistakes.conf")
    with open(tier.config_file("postern"), encoding="utf-8") as f:
        text = f.read()
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace("\tmilter soft {", "\tmilter hard {").replace("listeners failover;", "listeners nowhere;")
                .replace(f"address 127.0.0.1:{tier.wedges['dkim'].port};", "address 127.0.0.1;"))
    done = subprocess.run([os.path.join(BIN, "postern-edge"), "-t", "-c", path], capture_output=True, text=True, timeout=30)
    told = done.stdout + done.stderr
    assert done.returncode == 78
    for words in ('second "milter" with the title "hard"', 'there is no listener "nowhere"', "127.0.0.1 needs a port"):
        assert words in told, told


def test_metrics_and_log(tier):
    for wish in ("discard", "reject", "crash-end"):
        tier.send(tier.port("mx"), text_for(mail.new_token(), wish))
    tier.stop_process("every")
    tier.spawn_every()
    time_to_heal(tier)
    text = tier.metrics()
    for name in ("filter_failures", "filter_verdicts", "messages_discarded"):
        value = re.search(rf"^postern_edge_{name}_total (\d+)", text, re.M)
        assert value and int(value.group(1)) > 0, name
    assert any("step=eom" in e and "why=" in e for e in tier.events("filter.failed"))
