"""Limits of domains: all users of one together, in all partitions of a store, by a rule and by the directory's entry."""
import os
import signal
import smtplib
import subprocess

import peers
import pytest
from conftest import TOP, free_port
from test_acl import login, no, ok
from test_quota import events, message
from tier import children_of, port_answers, wait_for

RULES = """
	events_stream ev;
	quota_over refuse;
	quota_exempt "boss@*";
	quota small { domains "*.net"; messages 4; }
	quota_warn 50, 75;
	quota_domain_warn_to ops@watch.example;
"""
LIMITED = "associatedDomain: example.org\n"


@pytest.fixture(scope="module")
def tier(new_tier):
    """alice and bob are in different partitions of store 1, by their names."""
    t = new_tier(stores=1)
    for user in t.users:
        user["store"] = 1
    t.store_extra = f"\tpartition second {{ path {t.path('second')}; }}\n" + RULES
    t.ldap_port = free_port()
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


def domains(tier, *words):
    """What the tool tells: by domain."""
    done = tier.postern("store", "domains", *words, config="store1")
    assert done.returncode == 0, done.stderr
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def test_warned(tier):
    """Of both numbers that were reached there is one message, for the higher one, in a period; and none while nobody is there to read it."""
    ops, carol = "ops@watch.example", "carol@example.net"
    m, d = login(tier, "carol"), login(tier, "dave")
    empty(m), empty(d)
    assert post(tier, carol) == [250]
    assert post(tier, ops) == [250]
    assert events(tier, "vnd.postern.QuotaWarning") == []
    assert post(tier, carol) == [250]
    wait_for(lambda: len(events(tier, "vnd.postern.QuotaWarning")) == 1, 20, "the first warning")
    ok(m, "APPEND INBOX", b"Subject: x\r\n\r\nx\r\n")
    wait_for(lambda: len(events(tier, "vnd.postern.QuotaWarning")) == 2, 20, "the second warning")
    assert {(e["user"], e["vnd.postern.quotaRoot"]) for e in events(tier, "vnd.postern.QuotaWarning")} == {(ops, "@example.net")}
    assert domains(tier, "example.net")["example.net"].endswith("3 messages of 4 (75 %)")
    empty(d), ok(m, "APPEND INBOX", b"Subject: x\r\n\r\nx\r\n"), empty(m)
    for _ in range(4):
        assert post(tier, carol) == [250]
    ok(m, "CREATE Fence")
    wait_for(lambda: events(tier, "MailboxCreate")[-1]["mailbox"] == "Fence", 20, "what came before")
    assert len(events(tier, "vnd.postern.QuotaWarning")) == 2
    done = tier.postern("store", "export", "mbox", ops, tier.path("told"), config="store1")
    assert done.returncode == 0, done.stderr
    with open(tier.path("told", "INBOX.mbox"), encoding="ascii") as f:
        text = f.read()
    for percent, n in ((50, 2), (75, 3)):
        assert f"Subject: The mailboxes of example.net are {percent} % full" in text, text
        assert f"There are {n} messages; 4 are allowed." in text
    told = domains(tier)
    assert set(told) == {"example.net", "example.org", "watch.example"}
    assert told["watch.example"].startswith("1 users, ") and told["watch.example"].endswith(", 3 messages")
    assert told["example.net"].startswith("2 users, ") and told["example.net"].endswith(", 4 messages of 4 (100 %)")
    empty(m)


def test_by_the_directory(tier):
    check_limits(tier, limit)


def test_killed(tier):
    """The sums are those of what is there, also after every process was killed."""
    check_killed(tier)


def test_by_slapd(tier):
    """The same, with the entry in a real directory; the tool knows what a login has brought."""
    tier.write_directory()
    peers.start_slapd(tier, tier.ldap_port, os.path.join(TOP, "conf", "schema"))
    url = f"ldap://127.0.0.1:{tier.ldap_port}"
    tier.directory_block = f"directory {{ backend ldap; uri {url}; base \"dc=postern\"; cache_ttl 1s; negative_ttl 1s; deadline 3s; }}\n"
    assert tier.stop_process("store1") == 0
    tier.write_all()
    tier.start_store(1)

    def modify(tier, *lines):
        change = "dn: dc=example-org,dc=postern\nchangetype: modify\n"
        for name in ("mailDomainDiskQuota", "mailDomainMsgQuota"):
            change += f"replace: {name}\n" + "".join(f"{line}\n" for line in lines if line.startswith(name)) + "-\n"
        subprocess.run(["ldapmodify", "-x", "-H", url, "-D", "cn=admin,dc=postern", "-w", "admin-demo"], input=change, text=True,
                       check=True, timeout=20, capture_output=True)
    modify(tier)
    check_limits(tier, modify)
    # Each worker remembers the entry for a second; the last login of any of them counts.
    wait_for(lambda: login(tier, "bob").logout() and " bytes of 102400 (" in domains(tier)["example.org"], 30, "the limit in the tool")


def check_limits(tier, limit):
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
    ok(a, "DELETE Shared")
    limit(tier, "mailDomainDiskQuota: 100k")
    wait_for(lambda: brought(30000, 250), 30, "the next limit")
    assert post(tier, "bob@example.org", size=15000) == [250]
    check(tier)


def check_killed(tier):
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
