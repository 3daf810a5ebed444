"""Mail in parts while the spool's disk fills up, fails, or its process is killed: the client comes again when it is told to, and
every recipient has the mail once at our stores."""
import collections
import re
import shutil
import smtplib

import pytest

import mail
import spool_faults
from spool_faults import POINTS, REFUSING
from test_copies import Pair
from test_crash import counts_at
from tier import wait_for

SENDER = "visitor@elsewhere.example"
OPEN = "\trule all { on connect; key client/32; rate 100000/1s; burst 100000; action defer; on_loss open; }\n"
ENDS = POINTS[:8]
CROWD = 1010  # members of one group: more than one message may have
TRIO = {"first": ("alice", "bob"), "second": ("carol",), "third": ("dave",)}


def entry(name, members):
    lines = [f"dn: cn={name},dc=postern", "objectClass: top", "objectClass: inetMailGroup", f"cn: {name}",
             f"mail: {name}@example.org"] + [f"mgrpRFC822MailMember: {a}" for a in members]
    if name in TRIO:
        lines.append(f"mgrpErrorsTo: {name}-owner@example.org")
    return "\n".join(lines) + "\n"


def add_groups(tier, crowd=0):
    """Three with a return path each, and one of so many users more."""
    text = tier.directory_text
    groups = {g: [tier.user(n)["address"] for n in names] for g, names in TRIO.items()}
    if crowd:
        tier.users += [dict(name=f"u{i:04d}", domain="example.org", store=1 + i % 2, address=f"u{i:04d}@example.org",
                            password=f"u{i:04d}-demo") for i in range(crowd)]
        groups["crowd"] = [u["address"] for u in tier.users[-crowd:]]
    tier.directory_text = lambda: text() + "\n" + "\n".join(entry(g, m) for g, m in groups.items())
    return tier


class GroupTier:
    """A tier whose edge has groups."""

    def __init__(self, new_tier, name, crowd):
        self.tier = add_groups(new_tier(name), crowd)
        self.tier.use_redis, self.tier.meter_rules, self.tier.workers = False, OPEN, 1

    def start(self):
        self.tier.start()

    def send(self, groups, fault, size=2000):
        """A client that comes again with the same mail until it hears 250. The disk is whole again once it was told no."""
        token = mail.new_token()
        to = [f"{g}@example.org" for g in groups]
        text = mail.message(token, SENDER, to, size)
        answers = []

        def taken():
            try:
                code, reply = mail.send(self.tier, SENDER, to, text)
            except (OSError, smtplib.SMTPException) as error:
                code, reply = 0, str(error)
            answers.append((code, reply))
            if code != 250:
                fault.heal()
            assert code == 250 or code // 100 in (0, 4), reply
            return code == 250
        wait_for(taken, 60, "a 250")
        return token, [code for code, _ in answers]

    def is_empty(self):
        return "The queue is empty" in self.tier.postern("queue", "list").stdout

    def wait_empty(self):
        wait_for(self.is_empty, 60, "an empty queue")

    def wait_through(self, fault):
        """What is armed is met, or everybody has the mail without; then the disk is whole, and everybody has it."""
        wait_for(lambda: fault.hits() > 0 or self.is_empty(), 60, "the fault")
        fault.heal()
        self.wait_empty()

    def taken_by_stores(self):
        """Recipients to whom our stores have delivered something new, so far."""
        text = self.tier.log("store1") + self.tier.log("store2")
        return sum(int(n) for n in re.findall(r"store\.delivered .*?\bok=(\d+)", text))


@pytest.fixture(scope="module")
def library(run_dir):
    return spool_faults.build(run_dir)


def start_with_fault(new_tier, library, name, crowd=0):
    host = GroupTier(new_tier, name, crowd)
    fault = spool_faults.preload(host.tier, library, name)
    host.start()
    return host, fault


@pytest.fixture(scope="module")
def trio(new_tier, library):
    return start_with_fault(new_tier, library, "trio")


def check_once(host, tokens):
    host.wait_empty()
    for name in ("alice", "bob", "carol", "dave"):
        found = counts_at(host.tier, name)
        assert {t: found[t] for t in tokens} == {t: 1 for t in tokens}, name


def test_three_parts_go_to_the_spool_as_one(trio):
    host, fault = trio
    token, codes = host.send(TRIO, fault)
    assert codes == [250]
    check_once(host, [token])
    log = host.tier.log("edge")
    assert len(re.findall(r"message\.part ", log)) == 3
    assert len(re.findall(r"queue\.moved .*channel=unpack end=moved", log)) == 3


# The mail's own record is the first that is appended, or the third when its bytes stand in records before it.
@pytest.mark.parametrize("point,size", [(p, 400000) for p in ENDS] + [(p, 2000) for p in ENDS[:3]])
def test_every_point(trio, point, size):
    """A disk that takes no writes stays so until the client has heard of it; who is killed comes again by itself."""
    host, fault = trio
    tokens, told = [], collections.Counter()
    for number in (1, 2, 3) if "sync" in point else (1, 2, 3, 4, 6, 9):
        fault.arm(point, number, stays=point in REFUSING)
        token, codes = host.send(TRIO, fault, size)
        told[codes[0]] += 1
        tokens.append(token)
        host.wait_through(fault)
        if fault.hits() == 0:
            break
    assert len(tokens) > 1  # the first number at least is always met
    if point == "full at append":
        assert told[451] > 0  # and the client was told so
    check_once(host, tokens)
    print(f"{point}: {len(tokens)} numbers, first answers {dict(told)}")


@pytest.fixture(scope="module")
def hasty(trio):
    """The spool has a second."""
    host, fault = trio
    host.tier.edge_extra += "\tspool_timeout 1s;\n"
    host.tier.write_all()
    assert "reloaded" in host.tier.postern("reload").stdout
    return host, fault


def withdrawn(host):
    return len(re.findall(r"queue\.withdrawn ", host.tier.log("edge")))


@pytest.mark.parametrize("size", (2000, 400000))
def test_a_disk_that_stands_still(hasty, size):
    """The client is told to come back, and nobody has the mail from its first attempt as well."""
    host, fault = hasty
    before = withdrawn(host)
    fault.arm("stands at sync", 1, stays=True)
    token, codes = host.send(TRIO, fault, size)
    assert codes == [451, 250]
    assert withdrawn(host) == before + 1
    check_once(host, [token])


def test_a_client_that_goes_while_the_disk_stands_still(hasty):
    host, fault = hasty
    before, token = withdrawn(host), mail.new_token()
    to = [f"{g}@example.org" for g in TRIO]
    fault.arm("stands at sync", 1, stays=True)
    with mail.smtp(host.tier) as s:
        s.ehlo()
        s.mail(SENDER)
        assert [s.rcpt(r)[0] for r in to] == [250] * len(to)
        assert s.docmd("DATA")[0] == 354
        s.send(mail.message(token, SENDER, to) + b".\r\n")
        wait_for(lambda: fault.hits() > 0, 20, "a sync")
        s.close()
    wait_for(lambda: withdrawn(host) == before + 1, 20, "the end of it")
    fault.heal()
    host.wait_empty()
    again, codes = host.send(TRIO, fault)
    assert codes == [250]
    check_once(host, [again])
    assert all(counts_at(host.tier, n)[token] == 0 for n in ("alice", "bob", "carol", "dave"))


def test_a_crowd_while_the_disk_fills_up(new_tier, library):
    """More members than one message may have: the disk is full behind the first record, whatever that is, or before it."""
    host, fault = start_with_fault(new_tier, library, "crowd", CROWD)
    tokens = []
    for number in (1, 2, 3):
        fault.arm("full at append", number, stays=True)
        token, _ = host.send(["crowd"], fault)
        tokens.append(token)
        host.wait_through(fault)
        assert fault.hits() > 0
    assert host.taken_by_stores() == 3 * CROWD
    for name in ("u0000", "u0001", "u0999", "u1000", "u1009"):
        found = counts_at(host.tier, name)
        assert [found[t] for t in tokens] == [1, 1, 1]


def test_a_host_that_burns_loses_no_part(new_tier):
    """The other host has a copy of the whole, and then one of each part; adopted, everybody has the mail once."""
    pair = Pair(lambda *a, **k: add_groups(new_tier(*a, **k)), "parts")
    pair.store_down()
    tokens = []
    for size in (2000, 400000):
        tokens.append(mail.new_token())
        to = [f"{g}@example.org" for g in TRIO]
        code, reply = mail.send(pair.owner, SENDER, to, mail.message(tokens[-1], SENDER, to, size))
        assert code == 250, reply
    wait_for(lambda: pair.copies()["held"] == 6, 20, "a copy of each part")
    pair.kill_owner()
    shutil.rmtree(pair.owner.path("spool"))
    assert pair.peer.postern("queue", "adopt", "mail.example.org").returncode == 0
    wait_for(lambda: pair.copies()["adopted"] == 6, 20, "adoption")
    pair.store_up()
    pair.peer.postern("queue", "retry")
    for name in ("alice", "bob", "carol", "dave"):
        wait_for(lambda n=name: all(counts_at(pair.owner, n)[t] > 0 for t in tokens), 60, f"the mail of {name}")
    wait_for(lambda: "The queue is empty" in pair.peer.postern("queue", "list").stdout, 60, "an empty queue")
    for name in ("alice", "bob", "carol", "dave"):
        found = counts_at(pair.owner, name)
        assert [found[t] for t in tokens] == [1, 1], name
