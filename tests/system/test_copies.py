"""Two edge hosts: what must be spooled at one has a copy at the other, which adopts it when the first is gone for good."""
import json
import os
import re
import shutil
import signal
import urllib.request

import mail
import pytest
from conftest import free_port, kill_daemon
from test_channel_content import multipart, piece, split
from test_crash import counts_at
from test_dsn import hop
from tier import children_of, port_answers, wait_for

SENDER = "visitor@elsewhere.example"
OPEN = "\trule all { on connect; key client/32; rate 100000/1s; burst 100000; action defer; on_loss open; }\n"


class Pair:
    """A whole tier with one store, whose edge is the owner, and a second host that has only an edge; secure: they trust
    one authority, and speak TLS though they are on loopback."""

    def __init__(self, new_tier, name, owner_extra="", peer_extra="", secure=False):
        self.owner, self.peer = new_tier(f"{name}-owner", stores=1), new_tier(f"{name}-peer", stores=1)
        self.newest = -1
        door = self.peer.port_base + 2424
        self.owner.edge_extra += f"\tcopy_to 127.0.0.1:{door};\n\tcopy_secret together;\n\tcopy_timeout 2s;\n{owner_extra}"
        self.peer.edge_extra += f"\tcopy_listen 127.0.0.1:{door};\n\tcopy_secret together;\n{peer_extra}"
        self.peer.hostname = "second.example.org"
        if secure:
            self.owner.edge_extra += "\tcopy_tls yes;\n"
            self.peer.edge_extra += "\tcopy_tls yes;\n"
        for t in (self.owner, self.peer):
            t.users = [dict(u, store=1) for u in t.users]
            t.use_redis, t.meter_rules, t.workers = False, OPEN, 1
        self.owner.start()
        if secure:
            shutil.copytree(self.owner.path("tls"), self.peer.path("tls"))
        self.peer.directory_block = f"directory {{\n\tbackend file;\n\tfile {self.owner.path('directory.ldif')};\n}}\n"
        self.peer.write_all()
        self.start_edge(self.peer)
        wait_for(lambda: self.copies()["state"] == "here", 20, "the owner at the second host")
        self.alice = self.owner.user("alice")
        mail.imap(self.owner, self.alice).logout()

    @staticmethod
    def start_edge(tier):
        tier.start_daemon("edge", "postern")
        wait_for(lambda: port_answers(tier.port("mx")), 20, "an edge")

    def store_down(self):
        self.owner.stop_process("store1")

    def store_up(self):
        self.owner.start_store(1)

    def copies(self):
        """What the second host says of the copies of the owner's newest spool: that which is here, else the one that was when
        we last looked; older ones may stand behind it in the list once the second host has been started anew."""
        found = [w for w in json.loads(self.peer.postern("queue", "copies", "--json").stdout) if w["owner"] == "mail.example.org"]
        if not found:
            return {"state": "", "held": 0, "adopted": 0}
        self.newest = next((i for i, w in enumerate(found) if w["state"] == "here"), self.newest)
        newest = found[self.newest]
        return {"state": newest["state"], "held": newest["copies"], "adopted": newest["adopted"]}

    def kill_owner(self):
        """kill -9 of the whole edge."""
        self.copies()
        kill_daemon(self.owner, "edge")
        wait_for(lambda: self.copies()["state"] == "away", 20, "the owner's absence")

    def adopt(self, count):
        """By order of an operator."""
        said = self.peer.postern("queue", "adopt", "mail.example.org")
        assert said.returncode == 0, said.stdout + said.stderr
        wait_for(lambda: self.copies()["adopted"] == count, 20, "adoption")

    def burn(self, held):
        """The owner's disk goes when the other host has so many copies of what it owes; the other one goes on with them."""
        wait_for(lambda: self.copies()["held"] == held, 60, "copies")
        self.kill_owner()
        shutil.rmtree(self.owner.path("spool"))
        assert self.copies()["held"] == held
        self.adopt(held)

    def new_owner(self):
        self.start_edge(self.owner)
        wait_for(lambda: self.copies() == {"state": "here", "held": 0, "adopted": 0}, 30, "the new spool's owner")

    def adopted_arrive_once(self, tokens):
        """From the second host; then there is a new host of the old name."""
        self.store_up()
        self.peer.postern("queue", "retry")
        self.arrived_once(tokens)
        self.new_owner()

    def send(self, size=2000):
        token = mail.new_token()
        code, reply = mail.send(self.owner, SENDER, [self.alice["address"]],
                                mail.message(token, SENDER, [self.alice["address"]], size))
        return token, code, reply

    def spool(self, count, size=2000):
        tokens = []
        for _ in range(count):
            token, code, reply = self.send(size)
            assert code == 250, reply
            tokens.append(token)
        return tokens

    def arrived_once(self, tokens):
        wait_for(lambda: all(counts_at(self.owner, "alice")[t] >= 1 for t in tokens), 60, "the mail")
        found = counts_at(self.owner, "alice")
        assert [found[t] for t in tokens] == [1] * len(tokens)


def metric(tier, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{tier.port('edge-admin')}/metrics", timeout=5) as r:
        return float(re.search(rf"^{name} (\S+)$", r.read().decode(), re.M)[1])


def queue_process(tier):
    """The edge's process that has the spool open."""
    for pid, _ in children_of(tier.processes["edge"].pid):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(tier.path("spool") + "/"):
                    return pid
            except OSError:
                pass
    raise ValueError("no process has the spool open")


@pytest.fixture(scope="module")
def pair(new_tier):
    return Pair(new_tier, "pair", secure=True)


def test_copies_are_given_up_when_mail_is_delivered(pair):
    pair.store_down()
    tokens = pair.spool(5) + pair.spool(1, 300000)
    assert pair.copies()["held"] == 6
    pair.store_up()
    pair.arrived_once(tokens)
    wait_for(lambda: pair.copies()["held"] == 0, 20, "no copies")
    assert pair.copies()["adopted"] == 0


def test_a_host_that_burns_loses_nothing(pair):
    pair.store_down()
    tokens = pair.spool(10) + pair.spool(2, 300000)
    pair.burn(12)
    pair.adopted_arrive_once(tokens)


def test_a_host_that_comes_back_empty_gives_nothing_up(pair):
    pair.store_down()
    before = pair.peer.log("edge").count("copy.adopted")
    tokens = pair.spool(5)
    pair.kill_owner()
    shutil.rmtree(pair.owner.path("spool"))
    pair.start_edge(pair.owner)  # before anybody has said a word
    wait_for(lambda: pair.copies() == {"state": "here", "held": 0, "adopted": 0}, 30, "the new spool's owner")
    wait_for(lambda: pair.peer.log("edge").count("copy.adopted") == before + 5, 20, "adoption of what the old spool had")
    pair.store_up()
    pair.peer.postern("queue", "retry")
    pair.arrived_once(tokens)


def test_an_owner_that_comes_back_does_not_deliver_what_was_adopted(pair):
    pair.store_down()
    tokens = pair.spool(6)
    pair.kill_owner()
    pair.adopt(6)
    pair.start_edge(pair.owner)
    wait_for(lambda: pair.copies() == {"state": "here", "held": 0, "adopted": 0}, 30, "an owner that was told")
    assert metric(pair.owner, "postern_edge_copy_handed_over_total") == 6
    assert "The queue is empty" in pair.owner.postern("queue", "list").stdout
    pair.store_up()
    pair.peer.postern("queue", "retry")
    pair.arrived_once(tokens)
    assert metric(pair.owner, "postern_edge_queue_delivered_total") == 0


def test_an_owner_of_whom_nothing_was_adopted_goes_on(pair):
    pair.store_down()
    tokens = pair.spool(4)
    pair.kill_owner()
    pair.store_up()
    pair.start_edge(pair.owner)
    pair.arrived_once(tokens)
    wait_for(lambda: pair.copies() == {"state": "here", "held": 0, "adopted": 0}, 30, "no copies")


def test_what_came_while_the_peer_was_away_gets_its_copy(pair):
    """The second host dies, mail is spooled, it comes back, and then the first host burns."""
    pair.store_down()
    before = metric(pair.owner, "postern_edge_copy_missing_total")
    tokens = pair.spool(2)
    kill_daemon(pair.peer, "edge")
    tokens += pair.spool(8) + pair.spool(2, 300000)
    assert metric(pair.owner, "postern_edge_copy_missing_total") == before + 10
    pair.start_edge(pair.peer)
    wait_for(lambda: "copy.later messages=10" in pair.owner.log("edge"), 30, "word of it")
    pair.burn(12)
    pair.adopted_arrive_once(tokens)


def test_a_frozen_peer_costs_one_wait_and_no_mail(pair):
    pair.store_down()
    before = metric(pair.owner, "postern_edge_copy_missing_total")
    frozen = queue_process(pair.peer)
    os.kill(frozen, signal.SIGSTOP)
    try:
        tokens = pair.spool(4)
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert metric(pair.owner, "postern_edge_copy_missing_total") == before + 4
    wait_for(lambda: pair.copies()["state"] == "here", 30, "the owner again")
    tokens += pair.spool(1)
    assert metric(pair.owner, "postern_edge_copy_missing_total") == before + 4
    pair.store_up()
    pair.owner.postern("queue", "retry")
    pair.arrived_once(tokens)
    wait_for(lambda: pair.copies() == {"state": "here", "held": 0, "adopted": 0}, 30, "no copies")


def test_a_host_with_a_wrong_certificate_gets_neither_secret_nor_mail(pair):
    """Its certificate is of the right authority, for another name; with the right one it is taken again."""
    peer, pem, key = pair.peer, pair.peer.path("tls", "chain.pem"), pair.peer.path("tls", "key.pem")
    shutil.copy(pem, pem + ".right")
    shutil.copy(key, key + ".right")
    with open(peer.path("tls", "other.ext"), "w", encoding="ascii") as f:
        f.write("subjectAltName=DNS:elsewhere.example\nextendedKeyUsage=serverAuth\n")
    peer.make_pair(pem, key, names="other.ext")
    peer.stop_process("edge")
    pair.start_edge(peer)
    wait_for(lambda: re.search(r"copy\.unreached.*(mismatch|verif)", pair.owner.log("edge")), 20, "a refusal")
    pair.store_down()
    tokens = pair.spool(2)
    assert pair.copies()["state"] != "here" and pair.copies()["held"] == 0
    os.rename(pem + ".right", pem)
    os.rename(key + ".right", key)
    peer.stop_process("edge")
    pair.start_edge(peer)
    wait_for(lambda: pair.copies()["state"] == "here", 20, "the owner at the second host")
    tokens += pair.spool(1)
    wait_for(lambda: pair.copies()["held"] == 3, 20, "copies of all, also of what came meanwhile")
    pair.store_up()
    pair.owner.postern("queue", "retry")
    pair.arrived_once(tokens)


def test_refused_without_room_and_adopted_by_itself(new_tier):
    pair = Pair(new_tier, "strict", "\tcopy_loss refuse;\n", "\tcopy_bytes_max 1M;\n\tcopy_adopt_after 3s;\n")
    pair.store_down()
    tokens = pair.spool(3, 300000)
    _, code, reply = pair.send(300000)
    assert code == 451, reply
    pair.kill_owner()
    wait_for(lambda: pair.copies()["adopted"] == 3, 30, "adoption without an order")
    pair.store_up()
    pair.peer.postern("queue", "retry")
    pair.arrived_once(tokens)
    pair.start_edge(pair.owner)
    wait_for(lambda: pair.copies() == {"state": "here", "held": 0, "adopted": 0}, 30, "an owner that was told")
    pair.peer.stop_process("edge")
    pair.store_down()
    _, code, reply = pair.send()
    assert code == 451, reply
    assert "The queue is empty" in pair.owner.postern("queue", "list").stdout
    pair.store_up()
    token, code, reply = pair.send()  # the good path needs no copy
    assert code == 250, reply
    pair.arrived_once([token])


# ---- what the queue makes itself ----------------------------------------------------------------------------------

STATIONS = """	relay_host 127.0.0.1:{relay};
	delay_notice 1s;
	channel later {{ type reprocess; addresses bob@example.org; }}
	channel pieces {{ type defragment; addresses carol@example.net; }}
	channel change {{ type conversion; user news; addresses dave@example.net; work_dir {work};
		part gone {{ type image/gif; action delete; text "A picture was here."; }} }}
"""


REFUSED, LATE = "bad@far.example", "late@far.example"


class Makers(Pair):
    """Both hosts have the same stations and the same relay, which refuses bad@ and does not want late@ yet."""

    def __init__(self, new_tier, run_dir, name, more=""):
        port, work = free_port(), os.path.join(run_dir, f"{name}-work")
        os.mkdir(work)
        shutil.chown(work, "news")
        self.relay = hop(port, False)
        extra = STATIONS.format(relay=port, work=work)
        super().__init__(new_tier, name, extra + more, extra)

    def end(self):
        self.relay.shutdown()
        self.relay.server_close()

    def send_away(self, recipients, size):
        """Alice writes to elsewhere."""
        token, sender = mail.new_token(), self.alice["address"]
        code, reply = mail.send(self.owner, sender, recipients, mail.message(token, sender, recipients, size),
                                service="submission", user=self.alice)
        assert code == 250, reply
        return token

    def send_through(self, station):
        """To a user whose mail takes this way; the name and the token."""
        token = mail.new_token()
        name = {"later": "bob", "pieces": "carol", "change": "dave"}[station]
        text = mail.message(token, SENDER, [self.owner.user(name)["address"]], 200000)
        if station == "pieces":
            parts = split(token, 2, 20000)
            texts = [piece(token, n, 2, parts[n - 1]) for n in (2, 1)]
        elif station == "change":
            texts = [multipart(token, ("image/gif", b"GIF" * 50000, "b.gif"), ("text/x-other", b"x" * 100000, "c.txt"))]
        else:
            texts = [text]
        for text in texts:
            code, reply = mail.send(self.owner, SENDER, [self.owner.user(name)["address"]], text)
            assert code == 250, reply
        return name, token

    def peer_is_done(self):
        """Its queue is empty; what does not get away by itself is deleted between two attempts."""
        self.peer.postern("queue", "retry")
        self.peer.postern("queue", "delete", f"recipient={LATE}")
        return "The queue is empty" in self.peer.postern("queue", "list").stdout

    def reports(self):
        """Those that Alice has got, each by the message that it is about."""
        found = []
        with mail.imap(self.owner, self.alice) as c:
            c.select("INBOX", readonly=True)
            for n in c.search(None, "FROM", "MAILER-DAEMON")[1][0].split():
                text = c.fetch(n, "(BODY.PEEK[])")[1][0][1].decode("utf-8", "replace")
                found += re.findall(r"^Subject: test (\w+)", text, re.M)
        return found


@pytest.fixture(scope="module")
def makers(new_tier, run_dir):
    if os.geteuid() != 0:
        pytest.skip("becoming other users takes root")
    made = Makers(new_tier, run_dir, "makers")
    yield made
    made.end()


@pytest.mark.parametrize("size", [2000, 300000])
@pytest.mark.parametrize("recipients, reports", [([REFUSED], ["end"]), ([LATE], ["delay"]), ([REFUSED, LATE], ["end", "delay"])])
def test_a_report_outlives_its_host(makers, recipients, reports, size):
    """It has a copy before that of its message is given up; a host that has adopted both does not send another one."""
    makers.store_down()
    before = {tier: len(tier.log("edge")) for tier in (makers.owner, makers.peer)}

    def wait_written(tier):
        for kind in reports:
            wait_for(lambda: re.search(rf"queue\.bounced .*kind={kind} ", tier.log("edge")[before[tier]:]), 60, f"a report of {kind}")
    token = makers.send_away(recipients, size)
    wait_written(makers.owner)
    makers.burn(len(reports) + (LATE in recipients))
    if LATE in recipients:  # the message is there, too, and has its reports already
        wait_written(makers.peer)
    makers.store_up()
    makers.peer.postern("queue", "retry")
    wait_for(lambda: makers.reports().count(token) >= len(reports), 60, "the reports")
    wait_for(makers.peer_is_done, 60, "an empty queue")
    assert makers.reports().count(token) == len(reports)
    makers.new_owner()


@pytest.mark.parametrize("station", ["later", "pieces", "change"])
def test_what_a_station_makes_outlives_its_host(makers, station):
    makers.store_down()
    name, token = makers.send_through(station)
    wait_for(lambda: f"channel={station} end=moved" in makers.owner.log("edge"), 30, "another message")
    makers.burn(1)
    makers.store_up()
    wait_for(makers.peer_is_done, 60, "an empty queue")
    assert counts_at(makers.owner, name)[token] == 1
    body, = mail.imap_bodies(makers.owner, makers.owner.user(name), token)
    assert (b"A picture was here." in body) == (station == "change") and b"message/partial" not in body
    makers.new_owner()
