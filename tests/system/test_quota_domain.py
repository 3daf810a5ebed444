"""Limits of domains: all users of one together, in all partitions of a store, by a rule and by the directory's entry."""
import os
import signal
import smtplib

import pytest
from test_acl import login, no, ok
from test_quota import events, message
from tier import children_of, port_answers, wait_for

RULES = """
	events_stream ev;
	quota_over refuse;
	quota_exempt "boss@*";
	quota small { domains "*.net"; messages 4; }
"""
LIMITED = "associatedDomain: example.org\n"


@pytest.fixture(scope="module")
def tier(new_tier):
    """alice and bob are in different partitions of store 1, by their names."""
    t = new_tier(stores=1)
    for user in t.users:
        user["store"] = 1
    t.store_extra = f"\tpartition second {{ path {t.path('second')}; }}\n" + RULES
    t.root_extra = f"metermaid {{ redis 127.0.0.1:{t.port('redis')}; }}\n"
    t.write_all()
    t.start_redis()
    t.start_store(1)
    return t


def post(tier, *to, sender="a@b.example", size=0, says_size=False):
    """Codes: of RCPT where it is refused, else at the end of data."""
    text = message("mail", size)
    with smtplib.LMTP("127.0.0.1", tier.store_port(1, "lmtp")) as s:
        s.ehlo_or_helo_if_needed()
        s.mail(sender, [f"SIZE={len(text)}"] if says_size else [])
        codes = [s.rcpt(address)[0] for address in to]
        if 250 not in codes:
            return codes
        s.putcmd("DATA")
        assert s.getreply()[0] == 354
        s.send(text + b".\r\n")
        return [s.getreply()[0] if code == 250 else code for code in codes]


def check(tier):
    done = tier.postern("store", "check", config="store1")
    assert done.returncode == 0, done.stdout


def empty(m, mailbox="INBOX"):
    ok(m, f"SELECT {mailbox}"), ok(m, "STORE 1:* +FLAGS.SILENT (\\Deleted)"), ok(m, "EXPUNGE")


def limit(tier, *lines):
    """The directory's entry of example.org has these lines more; seen once a login has brought them."""
    base = type(tier).directory_text
    tier.directory_text = lambda: base(tier).replace(LIMITED, LIMITED + "".join(line + "\n" for line in lines))
    tier.write_directory()


def test_by_rule(tier):
    """Nobody has logged in: the rule alone. Recipients of one message count one after the other."""
    carol, dave = "carol@example.net", "dave@example.net"
    assert post(tier, carol, dave) == [250, 250]
    assert post(tier, carol) == [250]
    assert post(tier, carol, dave) == [250, 552]
    assert post(tier, dave) == [552]
    assert post(tier, "alice@example.org") == [250]
    wait_for(lambda: len(events(tier, "QuotaExceed")) == 1, 20, "the event")
    told = events(tier, "QuotaExceed")[0]
    assert told["user"] == dave and told["vnd.postern.quotaRoot"] == "@example.net"
    assert post(tier, dave, sender="boss@example.org") == [250]
    m = login(tier, "carol")
    no(m, "APPEND INBOX", "OVERQUOTA", b"Subject: x\r\n\r\nx\r\n")
    ok(m, "CREATE Work"), ok(m, "SELECT INBOX")
    no(m, "COPY 1 Work", "OVERQUOTA")
    ok(m, "MOVE 1 Work")
    ok(m, "DELETE Work")
    no(m, "APPEND INBOX", "OVERQUOTA", b"Subject: x\r\n\r\nx\r\n")
    ok(m, "SELECT INBOX"), ok(m, "STORE 1 +FLAGS.SILENT (\\Deleted)"), ok(m, "EXPUNGE")
    ok(m, "APPEND INBOX", b"Subject: x\r\n\r\nx\r\n")
    no(m, "APPEND INBOX", "OVERQUOTA", b"Subject: x\r\n\r\nx\r\n")
    empty(m)
    ok(m, "APPEND INBOX", b"Subject: x\r\n\r\nx\r\n")
    for name in ("QuotaExceed", "QuotaWithin"):  # carol twice: there was room in between
        wait_for(lambda: sorted(e["user"] for e in events(tier, name))[:2] == [carol] * 2, 20, "both")
    assert [e["user"] for e in events(tier, "QuotaExceed")][1:] == [carol] * 2
    check(tier)


def test_by_the_directory(tier):
    """What is in both partitions counts, and the newest limit for both, whichever user's login has brought it."""
    a, b = login(tier, "alice"), login(tier, "bob")
    empty(a), empty(b)
    limit(tier, "mailDomainDiskQuota: 20k", "mailDomainMsgQuota: -1")

    def brought(size, code):
        login(tier, "bob").logout()
        got = post(tier, "alice@example.org", size=size, says_size=True)
        empty(a)
        return got == [code]
    wait_for(lambda: brought(30000, 552), 30, "the limit")
    assert post(tier, "alice@example.org", size=15000) == [250]
    assert post(tier, "bob@example.org", size=15000) == [552]
    assert post(tier, "bob@example.org", size=15000, says_size=True) == [552]
    assert post(tier, "carol@example.net", size=15000) == [250]
    no(b, "APPEND INBOX", "OVERQUOTA", message("mail", 15000))
    ok(b, "APPEND INBOX", message("mail", 100))
    ok(a, "CREATE Shared"), ok(a, "SETACL Shared bob@example.org lrswite")
    no(b, 'APPEND "Other Users/alice@example.org/Shared"', "OVERQUOTA", message("mail", 15000))
    ok(a, "SELECT INBOX")
    no(a, "COPY 1 Shared", "OVERQUOTA")
    limit(tier, "mailDomainDiskQuota: 100k")
    wait_for(lambda: brought(30000, 250), 30, "the next limit")
    assert post(tier, "bob@example.org", size=15000) == [250]
    check(tier)


def test_killed(tier):
    """The sums are those of what is there, also after every process was killed."""
    limit(tier, "mailDomainMsgQuota: 3")
    a = login(tier, "alice")
    empty(a)
    empty(login(tier, "bob"))
    wait_for(lambda: login(tier, "bob") and post(tier, *["alice@example.org", "bob@example.org"] * 2)[3] == 552,
             30, "the limit of messages")
    for pid, _ in children_of(tier.processes["store1"].pid):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: port_answers(tier.store_port(1, "lmtp")), 30, "LMTP")
    wait_for(lambda: post(tier, "bob@example.org") == [552], 30, "still full")
    empty(login(tier, "alice")), empty(login(tier, "bob"))
    assert post(tier, "bob@example.org") == [250]
    check(tier)
