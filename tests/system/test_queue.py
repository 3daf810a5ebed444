"""The job controller and `postern queue`, in front of next hops that do as they are told: what is in the queue is known."""
import collections
import email
import json
import os
import re
import shutil
import socketserver
import threading
import time
import urllib.request

import pytest

import mail
import names
import spool_faults
from channel_host import EDGE_USER
from conftest import BIN, finish, free_port, free_port_base
from test_edge import Edge
from tier import port_answers, wait_for

ALICE, BOB = "alice@one.example", "bob@two.example"
FAR = ("far.example", "sub.far.example", "other.example", "one.example", "two.example")
PATIENT = "\tqueue_retry_first 1h;\n\tqueue_retry_max 1h;\n"
Mail = collections.namedtuple("Mail", "sender to text")


class Hop(socketserver.StreamRequestHandler):
    """Answers RCPT as server.answers says for the local part or the domain; the end of data waits for the gate."""

    def handle(self):
        sender, to = None, []
        self.say("220 hop")
        for line in self.rfile:
            verb, path = line[:4].upper(), (re.findall(rb"<(.*?)>", line) or [b""])[0].decode()
            if verb == b"QUIT":
                break
            if verb == b"MAIL":
                sender, to = path, []
                self.server.begun.append(path)
            if verb == b"RCPT":
                local, domain = path.split("@")
                reply = self.server.answers.get(local) or self.server.answers.get(domain) or "250 2.1.5 ok"
                if reply.startswith("250"):
                    to.append(path)
                self.say(reply)
            elif verb == b"DATA" and to:
                self.take(sender, to)
            else:
                self.say("554 5.5.1 nobody" if verb == b"DATA" else "250 2.0.0 ok")

    def take(self, sender, to):
        self.say("354 go")
        text = b"".join(iter(self.rfile.readline, b".\r\n"))
        with self.server.lock:
            self.server.inside[to[0].split("@")[1]] += 1
        self.server.gate.wait(60)
        with self.server.lock:
            self.server.inside[to[0].split("@")[1]] -= 1
            self.server.taken.append(Mail(sender, to, text.decode()))
        self.say("250 2.0.0 done")

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")


def start_hop(port, address="127.0.0.1"):
    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True
    server = Server((address, port), Hop)
    server.lock, server.gate, server.inside = threading.Lock(), threading.Event(), collections.Counter()
    server.answers, server.taken, server.begun = {}, [], []
    server.gate.set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Host(Edge):
    def common_text(self, run_name):
        return super().common_text(run_name) + (f"user {EDGE_USER};\n" if os.geteuid() == 0 else "")

    def set(self, options):
        """Queue and channels from now on."""
        self.edge_extra = f"\trelay_port {self.relay_port};\n{options}"
        self.write_all()
        assert "reloaded" in self.postern("reload").stdout

    def put(self, sender, *to, size=400, options=()):
        token = mail.new_token()
        with mail.smtp(self) as s:
            s.ehlo()
            assert s.mail(sender, list(options))[0] == 250
            assert [s.rcpt(r)[0] for r in to] == [250] * len(to)
            code, reply = s.data(mail.message(token, sender, to, size))
        assert code == 250, reply
        return re.search(r"taken as (\w+)", reply.decode()).group(1)

    def rows(self, *words):
        done = self.postern("queue", "list", *words, "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def meant(self, *words):
        return sorted(row["recipient"].split("@")[0] for row in self.rows(*words))

    def order(self, *words):
        done = self.postern("queue", *words, "--json")
        assert done.returncode == 0, done
        row, = json.loads(done.stdout)
        assert row["order"] == words[0] and row["more"] is False
        return row["recipients"]

    def row(self, local):
        found = [row for row in self.rows(f"recipient={local}@*")]
        return found[0] if found else None

    def wait_tried(self, local, times=1):
        def tried():
            row = self.row(local)
            return row if row and row["state"] == "waiting" and row["attempts"] == times else None
        return wait_for(tried, 20, f"attempt {times} for {local}")

    def wait_empty(self):
        wait_for(self.queue_is_empty, 20, "an empty queue")

    def gauge(self, family, **labels):
        want = ",".join(f'{k}="{v}"' for k, v in labels.items())
        found = re.search(rf"^postern_edge_channel_{family}{{{want}}} (\d+)$", self.metrics_text(), re.M)
        return int(found.group(1)) if found else 0

    def metrics_text(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port('edge-admin')}/metrics", timeout=5) as r:
            return r.read().decode()

    def counts(self):
        found = {k: self.gauge(k + "_total", channel="smtp") for k in ("arrived", "delivered")}
        for reason in ("quota", "policy", "connect"):
            found[reason] = self.gauge("deferred_total", channel="smtp", reason=reason)
        return found


@pytest.fixture(scope="module")
def host(run_dir):
    tier = Host(run_dir / "queue", free_port_base(), BIN)
    tier.use_redis = False
    tier.workers = 1
    tier.relay_port = free_port()
    tier.write_all()
    dns = names.start_unbound(tier, records=[f"{n}. 60 IN A 127.0.0.1" for n in FAR] + ["dead.example. 60 IN A 127.0.0.9"])
    tier.root_extra = f"dns_servers 127.0.0.1:{dns};\n"
    tier.edge_extra = f"\trelay_port {tier.relay_port};\n{PATIENT}"
    tier.edge_listener_extra = "relay_from 127.0.0.1/32;"
    tier.fault = spool_faults.preload(tier, spool_faults.build(run_dir), "queue")
    os.makedirs(tier.path("spool"), mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(tier.path("spool"), EDGE_USER)
    tier.write_all()
    tier.start_edge()
    tier.hop = start_hop(tier.relay_port)
    yield tier
    finish(tier)


@pytest.fixture(autouse=True)
def calm(host):
    hop = host.hop
    hop.answers, hop.taken, hop.begun = {}, [], []
    hop.gate.set()
    yield
    hop.gate.set()

    def none_is_left():
        host.postern("queue", "delete", "all")
        return host.queue_is_empty()
    wait_for(none_is_left, 20, "an empty queue")


FULL, LATER = "452 4.2.2 mailbox full", "451 4.7.1 not now"


FILTERS = [
    ([], "12345"), (["all"], "12345"), (["sender=alice@one.example"], "145"), (["sender=*@TWO.example"], "2"), (["sender="], "3"),
    (["sender=alice"], ""), (["recipient=r1@far.example"], "1"), (["recipient=*@*far.example"], "124"), (["domain=far.example"], "14"),
    (["domain=@far.example"], "124"), (["destination=far.example"], "14"), (["destination=*.example"], "12345"),
    (["reason=FULL"], "145"), (["reason=not now"], "2"), (["reason=refused"], "3"), (["state=waiting"], "12345"), (["state=held"], ""),
    (["younger=1h"], "12345"), (["older=1h"], ""), (["sender=alice@*", "domain=other.example"], "5")]


def check_filters(host, ids):
    for words, meant in FILTERS + [([ids[3]], "45"), (["id=" + ids[1]], "2"), ([ids[3], "recipient=r5@*"], "5")]:
        assert host.meant(*words) == [f"r{n}" for n in meant], words
        said = host.postern("queue", "list", *words)
        assert said.returncode == 0
        assert all((f"r{n}@" in said.stdout) == (n in meant) for n in "12345"), words
        summed = json.loads(host.postern("queue", "summary", *words, "--json").stdout)
        assert sum(row["recipients"] for row in summed) == len(meant), words
        assert {row["reason"] for row in summed} == {{"2": "policy", "3": "connect"}.get(n, "quota") for n in meant}, words


def check_show_and_cat(host, ids):
    row, = json.loads(host.postern("queue", "show", ids[1], "--json").stdout)
    assert {k: row[k] for k in ("id", "sender", "recipient", "state", "destination", "attempts", "priority", "code", "enhanced",
                                "trusted")} == {
        "id": ids[1], "sender": BOB, "recipient": "r2@sub.far.example", "state": "waiting", "destination": "sub.far.example",
        "attempts": 1, "priority": 0, "code": 451, "enhanced": "4.7.1", "trusted": True}
    assert "not now" in row["reason"] and row["bytes"] > 3000 and row["age_s"] < 60 and 3000 < row["next_s"] <= 4000
    before, queued, setup, talk = (float(s) for s in row["delays"].split("/"))
    assert 0 <= before + queued + setup + talk < 60
    both = host.postern("queue", "show", ids[3]).stdout
    assert "r4@far.example" in both and "r5@other.example" in both and "r1@" not in both
    text = host.postern("queue", "cat", ids[1]).stdout
    assert text.startswith("Received: ") and "To: r2@sub.far.example" in text and len(text) > 3000


def check_mistakes(host, ids):
    gone = "".join(sorted(ids[0]))
    for words, status, why in (
            (["list", "frob=1"], 64, '"frob=1" is none of'), (["list", "older=soon"], 64, '"older=soon" is none of'),
            (["list", "recipient="], 64, "is none of"), (["list", "after=" + gone], 64, "begin anew"),
            (["summary", "frob=1"], 64, "is none of"), (["show"], 64, "queue show ID"), (["show", gone], 64, "no such message"),
            (["show", ids[0], ids[1]], 64, "queue show ID"), (["cat"], 64, "queue cat ID"), (["cat", gone], 64, "no such message"),
            (["hold"], 64, "WHICH"), (["release"], 64, "WHICH"), (["bounce"], 64, "WHICH"), (["delete"], 64, "WHICH"),
            (["delete", "older=2"], 64, "is none of"), (["delete", "to=x.example"], 64, "say which"),
            (["delete", "to=x.example", "all"], 64, "to= says where"), (["hold", "after=" + ids[0], "all"], 64, "after= is for list"),
            (["reroute", "all"], 64, "reroute to="), (["reroute", "all", ids[0]], 64, "to= says where"),
            (["reroute", "to=a b", "all"], 64, "to= is HOST"), (["reroute", "to=host:99999", "all"], 64, "to= is HOST"),
            (["reroute", "to=channel:none", "all"], 64, "no such channel"), (["reroute", "to=x.example", "to=-"], 64, "say which"),
            (["frob"], 64, "queue"), (["retry", "frob"], 0, ""), (["adopt", "nobody.example"], 64, "")):
        done = host.postern("queue", *words)
        assert done.returncode == status, (words, done)
        assert why in done.stderr, (words, done)
        assert status == 0 or not done.stdout, (words, done)
    assert host.meant() == ["r1", "r2", "r3", "r4", "r5"]


def check_gauges(host, before):
    """Depth and age are counted every ten seconds."""
    wait_for(lambda: host.gauge("recipients", channel="smtp") + host.gauge("recipients", channel="mixed") == 5, 20, "a census")
    rows = host.rows()
    assert host.gauge("bytes", channel="smtp") + host.gauge("bytes", channel="mixed") == sum(row["bytes"] for row in rows)
    assert 0 <= host.gauge("oldest_seconds", channel="smtp") <= max(row["age_s"] for row in rows)
    now = host.counts()
    assert {k: now[k] - before[k] for k in now} == {"arrived": 5, "delivered": 0, "quota": 3, "policy": 1, "connect": 1}


def check_orders(host, ids):
    hop = host.hop
    assert host.order("hold", "sender=" + BOB) == 1 and host.order("hold", "sender=" + BOB) == 0
    assert host.meant("state=held") == ["r2"]
    hop.answers = {}
    assert host.order("retry", "recipient=r2@*") == 0  # it is held
    assert host.order("retry", "reason=full", "domain=far.example", ids[0]) == 1
    wait_for(lambda: [m.to for m in hop.taken] == [["r1@far.example"]], 20, "the one that was meant")
    wait_for(lambda: host.meant() == ["r2", "r3", "r4", "r5"], 20, "its end")
    assert host.order("release", "state=held") == 1
    wait_for(lambda: host.meant() == ["r3", "r4", "r5"], 20, "what was released")
    assert host.order("reroute", f"to=127.0.0.1:{host.relay_port}", "domain=dead.example") == 1
    wait_for(lambda: host.meant() == ["r4", "r5"], 20, "what was rerouted")
    assert {m.to[0] for m in hop.taken} == {"r1@far.example", "r2@sub.far.example", "r3@dead.example"}
    assert host.order("bounce", "destination=far.example", "younger=1h") == 1
    wait_for(lambda: host.meant() == ["r5"] and len(hop.taken) == 4, 20, "a report")
    report = hop.taken[3]
    assert (report.sender, report.to) == ("", [ALICE])
    told = email.message_from_string(report.text)
    assert told.get_content_type() == "multipart/report"
    assert [part["Final-Recipient"] for part in told.get_payload(1).get_payload()[1:]] == ["rfc822; r4@far.example"]
    assert host.order("delete", "recipient=r5@*") == 1
    assert host.queue_is_empty()
    assert len(hop.taken) == 4  # nobody is told


def test_a_queue_of_known_contents(host):
    """Five recipients of four messages, each tried once: every word of `postern queue` by every condition, and the metrics."""
    before = host.counts()
    host.hop.answers = {"r1": FULL, "r2": LATER, "r4": FULL, "r5": FULL}
    ids = [host.put(ALICE, "r1@far.example"), host.put(BOB, "r2@sub.far.example", size=3000), host.put("", "r3@dead.example"),
           host.put(ALICE, "r4@far.example", "r5@other.example")]
    for n in range(1, 6):
        host.wait_tried(f"r{n}")
    check_filters(host, ids)
    check_show_and_cat(host, ids)
    check_mistakes(host, ids)
    check_gauges(host, before)
    check_orders(host, ids)
    assert host.counts()["delivered"] == before["delivered"] + 4


def settings(name, text):
    return f"{PATIENT}\tchannel {name} {{ {text} }}\n"


def test_how_long_it_waits_by_class(host):
    """The configured times, one after each attempt, the last one again and again; a tenth more or less."""
    host.set(settings("smtp", "backoff 100s, 200s, 400s; urgent_backoff 10s, 20s;"))
    host.hop.answers = {"far.example": LATER}
    host.put(ALICE, "usual@far.example")
    with mail.smtp(host) as s:
        text = b"Priority: urgent\r\n" + mail.message(mail.new_token(), ALICE, ["fast@far.example"])
        s.sendmail(ALICE, ["fast@far.example"], text)
    for n, (usual, fast) in enumerate(((100, 10), (200, 20), (400, 20), (400, 20)), 1):
        for local, wait in (("usual", usual), ("fast", fast)):
            row = host.wait_tried(local, n)
            assert 0.9 * wait - row["age_s"] - 1 <= row["next_s"] <= 1.1 * wait, (n, local, row)
        host.order("retry", "all")


def kinds(host, token_to):
    found = []
    for m in host.hop.taken:
        if m.sender == "" and m.to == [token_to]:
            found.append(re.search(r"^Action: (\w+)", m.text, re.M).group(1))
    return found


def test_notices_and_the_end(host):
    """Nobody answers there, or it says later: a notice at each age, and the end at the last one."""
    host.hop.answers = {"far.example": LATER}
    host.set(settings("smtp", "backoff 500ms; notices 1s, 2s, 3s;"))
    host.put(ALICE, "x@dead.example")
    host.put(BOB, "x@far.example")
    host.wait_empty()
    assert kinds(host, ALICE) == kinds(host, BOB) == ["delayed", "delayed", "failed"]


def test_a_destination_that_is_down(host):
    """What comes for it is not tried before its time, or an operator's word; when it is up all of it goes."""
    host.set(PATIENT)
    downs, ups = (len(re.findall(rf"queue\.{w} .*dead\.example", host.log("edge"))) for w in ("down", "up"))
    host.put(ALICE, "first@dead.example")
    host.wait_tried("first")
    host.put(ALICE, "second@dead.example")
    host.wait_tried("second", 0)
    hop = start_hop(host.relay_port, "127.0.0.9")
    try:
        host.order("retry", "domain=dead.example")
        host.wait_empty()
        assert sorted(m.to[0] for m in hop.taken) == ["first@dead.example", "second@dead.example"]
    finally:
        hop.shutdown()
        hop.server_close()
    log = host.log("edge")
    assert len(re.findall(r"queue\.down .*dead\.example", log)) <= downs + 1
    assert len(re.findall(r"queue\.up .*dead\.example", log)) == ups + 1


def test_so_many_at_a_time(host):
    """To one destination, and in all; one that hangs holds up nobody but itself."""
    hop = host.hop
    host.set(settings("smtp", "concurrency 2; deliveries 4;"))
    hop.gate.clear()
    for n in range(5):
        host.put(ALICE, f"a{n}@far.example")
    wait_for(lambda: hop.inside["far.example"] == 2, 20, "two of five")
    hop.answers = {"b": FULL}
    host.put(ALICE, "b@other.example")
    host.wait_tried("b")
    assert +hop.inside == {"far.example": 2}
    for n in range(5):
        host.put(ALICE, f"c{n}@sub.far.example")
    wait_for(lambda: hop.inside["sub.far.example"] == 2, 20, "two of the others")
    host.put(ALICE, "d@two.example")
    assert host.row("d")["attempts"] == 0 and sum(hop.inside.values()) == 4
    assert len(hop.begun) == 5  # with b
    hop.gate.set()
    wait_for(lambda: len(hop.taken) == 11, 20, "all")


def test_size_and_recipients(host):
    host.set(settings("smtp", "size_max 10k; recipients 2;"))
    host.put(ALICE, *[f"r{n}@far.example" for n in range(5)])
    host.wait_empty()
    assert sorted(len(m.to) for m in host.hop.taken) == [1, 2, 2]
    assert sorted(r for m in host.hop.taken for r in m.to) == [f"r{n}@far.example" for n in range(5)]
    host.hop.taken = []
    host.put(ALICE, "big@far.example", size=20000)
    host.wait_empty()
    report, = host.hop.taken
    assert report.to == [ALICE] and "Status: 5.3.4" in report.text


def test_windows(host):
    """Outside of its hours mail waits; when they change it goes."""
    hour = time.gmtime().tm_hour
    host.set(settings("smtp", f"window {(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00;"))
    host.put(ALICE, "late@far.example")
    wait_for(lambda: host.row("late")["state"] == "ready", 20, "its destination")
    assert not host.hop.begun
    host.set(PATIENT)
    wait_for(lambda: host.hop.taken, 20, "the mail")


# ---- the disk and the clock ---------------------------------------------------------------------------------------

def try_again_is_told(host):
    token = mail.new_token()
    code, reply = mail.send(host, ALICE, ["later@far.example"], mail.message(token, ALICE, ["later@far.example"]))
    return code == 451 and b"try again later" in reply


def failures(host):
    return re.findall(r"spool\.failed why=(.*)", host.log("edge"))


def restart(host, while_down):
    assert host.stop_process("edge") == 0
    while_down()
    host.start_daemon("edge", "postern")
    wait_for(lambda: port_answers(host.port("mx")), 30, "mx")


def test_a_spool_that_nobody_may_use_and_a_torn_one(host):
    """Its owner is another one and its last segment ends in half a record: clients are told to come back until that is put right,
    and then all is as it was."""
    if os.geteuid() != 0:
        pytest.skip("only root is somebody else")
    host.set(PATIENT)
    host.hop.answers = {"far.example": LATER}
    kept = host.put(ALICE, "kept@far.example")
    host.wait_tried("kept")
    spool = host.path("spool")

    def damage():
        segments = sorted(n for n in os.listdir(spool) if n.endswith(".seg"))
        with open(os.path.join(spool, segments[-1]), "r+b") as f:
            text = f.read().rstrip(b"\0")
            f.seek(len(text))
            f.write(text[-300:-40])
        os.chown(spool, 0, 0)
    restart(host, damage)
    try:
        assert try_again_is_told(host)
        assert f"{spool}: permission denied" in failures(host)[-1]
        assert "spool cannot be used" in host.postern("queue", "list").stderr
    finally:
        shutil.chown(spool, EDGE_USER)
    wait_for(lambda: host.postern("queue", "list").returncode == 0, 20, "the spool")
    assert [row["id"] for row in host.rows()] == [kept]
    host.hop.answers = {}
    host.put(ALICE, "more@far.example")
    host.order("retry", "all")
    host.wait_empty()
    assert sorted(m.to[0] for m in host.hop.taken) == ["kept@far.example", "more@far.example"]


def test_a_disk_that_became_read_only(host):
    host.set(PATIENT)
    host.put(ALICE, "before@far.example")
    host.wait_empty()
    host.fault.arm("read-only at append", 1, stays=True)
    try:
        assert try_again_is_told(host)
        assert host.fault.hits() > 0
        assert failures(host)[-1] == '"write: Read-only file system"'
    finally:
        host.fault.heal()
    wait_for(lambda: host.postern("queue", "list").returncode == 0, 20, "the spool")
    host.put(ALICE, "behind@far.example")
    host.wait_empty()
    assert [m.to[0] for m in host.hop.taken] == ["before@far.example", "behind@far.example"]


@pytest.mark.parametrize("ahead_s", (3650 * 86400, -365 * 86400))
def test_clock_jumps(host, ahead_s):
    """What waits is neither given up nor forgotten, what comes is neither old nor of tomorrow, here and after a restart."""
    host.set(PATIENT)
    host.hop.answers = {"far.example": LATER}
    host.put(ALICE, "kept@far.example")
    host.wait_tried("kept")
    host.fault.set_clock(ahead_s)
    try:
        host.put(ALICE, "new@far.example")
        host.wait_tried("new")
        assert all(row["age_s"] < 60 and row["next_s"] <= 4000 for row in host.rows())
        host.hop.answers = {}
        host.order("retry", "all")
        host.wait_empty()
        assert sorted(m.to[0] for m in host.hop.taken) == ["kept@far.example", "new@far.example"]
    finally:
        host.fault.set_clock(0)
