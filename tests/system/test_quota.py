"""Limits: of users with a warning that comes once, of mailboxes, and mail that is delivered in spite of them."""
import imaplib
import json
import smtplib
import subprocess

import pytest
import mail
from tier import port_answers, wait_for

OPTIONS = """
	events_stream ev;
	quota_bytes 100k;
	quota_over refuse;
	quota_warn 50, 80;
	quota_exempt "boss@*";
	quota junk { folders Junk; bytes 10k; }
	quota few { folders "Small/*"; messages 2; }
	quota voice { type voice; messages 2; }
	quota faxes { folders "Small/*"; type fax; bytes 5000; }
	quota lists { folders "Lists/*"; messages 4; warn 50, 75; }
	quota films { type video; bytes 100k; warn 40; }
"""


@pytest.fixture(scope="module")
def tier(new_tier):
    t = new_tier(stores=2)
    t.store_extra = OPTIONS
    t.edge_extra += "\tverify_at_store yes;\n\tverify_timeout 20s;\n"
    t.write_all()
    t.root_extra = f"metermaid {{ redis 127.0.0.1:{t.port('redis')}; }}\n"
    with open(t.config_file("store1"), "w", encoding="utf-8") as f:
        f.write(t.store_config_text(1))
    with open(t.config_file("store2"), "w", encoding="utf-8") as f:
        f.write(t.store_config_text(2).replace("quota_over refuse", "quota_over defer"))
    t.start_redis()
    t.start_store(1)
    return t


@pytest.fixture(scope="module")
def edge(tier):
    """In front of both stores: the second one defers what it has no room for."""
    tier.start_store(2)
    tier.start_daemon("edge", "postern")
    wait_for(lambda: port_answers(tier.port("mx")), 30, "mx")
    for store, address in ((1, "alice@example.org"), (2, "dave@example.net")):
        assert deliver(tier, 120000, sender="boss@example.org", to=address, store=store) == 250
    return tier


def login(tier, name="alice"):
    user = tier.user(name)
    m = imaplib.IMAP4("127.0.0.1", tier.store_port(1, "imap"))
    m.login(user["address"], user["password"])
    return m


def deliver(tier, size, sender="a@b.example", to="alice@example.org", says_size=False, store=1):
    """Code of the reply to the recipient, or to the message."""
    text = b"Subject: x\r\n\r\n" + b"y" * 70 + b"\r\n"
    text += (b"z" * 70 + b"\r\n") * (size // 72)
    with smtplib.LMTP("127.0.0.1", tier.store_port(store, "lmtp")) as s:
        s.ehlo_or_helo_if_needed()
        s.mail(sender, [f"SIZE={len(text)}"] if says_size else [])
        code, _ = s.rcpt(to)
        return s.data(text)[0] if code == 250 else code


def warnings(m):
    m.select("INBOX", readonly=True)
    rows = m.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
    return [r[1].decode().strip() for r in rows if isinstance(r, tuple) and b"full" in r[1]]


def test_warned_once_for_each_level(tier):
    m = login(tier)
    assert deliver(tier, 40000) == 250
    assert warnings(m) == []
    assert deliver(tier, 15000) == 250
    wait_for(lambda: len(warnings(m)) == 1, 20, "the first warning")
    assert warnings(m)[0].startswith("Subject: Your mailbox is 5")
    assert deliver(tier, 1000) == 250
    assert m.append("INBOX", "", None, b"Subject: x\r\n\r\nx\r\n")[0] == "OK"
    assert len(warnings(m)) == 1
    m.select("INBOX")
    m.store("1", "+FLAGS", r"(\Deleted)")
    m.expunge()
    assert deliver(tier, 75000) == 250  # beyond 80 at once
    wait_for(lambda: len(warnings(m)) == 2, 20, "the second warning")
    assert len(warnings(m)) == 2
    m.logout()


def test_full_is_refused_but_not_for_everybody(tier):
    assert deliver(tier, 60000) == 552
    assert deliver(tier, 60000, says_size=True) == 552
    assert deliver(tier, 60000, sender="boss@example.org") == 250
    assert deliver(tier, 60000, sender="boss@example.org", says_size=True) == 250
    m = login(tier)
    assert m.append("INBOX", "", None, b"x" * 60000)[0] == "NO"
    m.logout()


def test_limits_of_mailboxes(tier):
    bob = "bob@example.org"
    m = login(tier, "bob")
    m.create("Junk")
    m.create("Small/One")
    assert deliver(tier, 6000, to="bob+Junk@example.org") == 250
    assert deliver(tier, 6000, to="bob+Junk@example.org") == 552
    assert deliver(tier, 6000, to="bob+Junk@example.org", says_size=True) == 552
    assert deliver(tier, 6000, to="bob+Junk@example.org", sender="boss@x.org") == 250
    assert deliver(tier, 6000, to=bob) == 250
    for n in range(2):
        assert m.append("Small/One", "", None, b"Subject: x\r\n\r\nx\r\n")[0] == "OK"
    typ, data = m.append("Small/One", "", None, b"Subject: x\r\n\r\nx\r\n")
    assert typ == "NO" and b"OVERQUOTA" in data[0]
    m.select("INBOX")
    for command in ("COPY", "MOVE"):
        typ, data = m.uid(command, "1", "Small/One")
        assert typ == "NO" and b"OVERQUOTA" in data[0]
    m.select("Small/One")
    assert m.uid("COPY", "1", "INBOX")[0] == "OK"
    m.uid("STORE", "1", "+FLAGS", r"(\Deleted)")
    m.expunge()
    m.select("INBOX")
    assert m.uid("MOVE", "1", "Small/One")[0] == "OK"
    m.logout()
    assert tier.postern("store", "check", config="store1").returncode == 0


def events(tier, name):
    text = subprocess.run(["redis-cli", "-p", str(tier.port("redis")), "--json", "XRANGE", "ev", "-", "+"],
                          capture_output=True, text=True, timeout=20, check=True).stdout
    return [e for e in (json.loads(fields[1]) for _, fields in json.loads(text)) if e["event"] == name]


def test_events(tier):
    """The refusals of all tests so far are one for each user who was refused; whoever has room again is told of."""
    told = events(tier, "vnd.postern.QuotaWarning")
    assert len(told) == 2 and told[0]["diskQuota"] == 100 and told[0]["diskUsed"] >= 50
    wait_for(lambda: len(events(tier, "QuotaExceed")) >= 2, 20, "the events")
    alice, bob = events(tier, "QuotaExceed")
    assert alice["user"] == "alice@example.org" and alice["diskQuota"] == 100 and "vnd.postern.quotaRoot" not in alice
    assert bob["user"] == "bob@example.org" and bob["vnd.postern.quotaRoot"] == "junk" and bob["mailbox"] == "Junk"
    m = login(tier)
    m.select("INBOX")
    m.store("1:*", "+FLAGS", r"(\Deleted)")
    m.expunge()
    wait_for(lambda: events(tier, "QuotaWithin"), 20, "the event")
    assert [e["diskUsed"] for e in events(tier, "QuotaWithin")] == [0]
    m.logout()
    # Another mailbox makes no room; the one that was full does.
    m = login(tier, "bob")
    for mailbox, n in (("INBOX", 1), ("Junk", 2)):
        m.select(mailbox)
        m.store("1:*", "+FLAGS", r"(\Deleted)")
        m.expunge()
        m.create("Fence" + mailbox)
        wait_for(lambda: events(tier, "MailboxCreate")[-1]["mailbox"] == "Fence" + mailbox, 20, "what came before")
        assert len(events(tier, "QuotaWithin")) == n
    within = events(tier, "QuotaWithin")[1]
    assert within["user"] == "bob@example.org" and within["vnd.postern.quotaRoot"] == "junk"
    # And once more: a refusal at RCPT, by the size that was said.
    assert deliver(tier, 120000, says_size=True) == 552
    wait_for(lambda: len(events(tier, "QuotaExceed")) == 3, 20, "the refusal at RCPT")
    assert deliver(tier, 120000) == 552
    m.logout()


def message(kind, size=0, subtype="x"):
    """A message of a kind, of about this size."""
    types = {"voice": "audio/wav", "fax": "image/tiff", "mail": "text/plain"}
    head = f"Subject: {subtype}\r\nMIME-Version: 1.0\r\nContent-Type: {types[kind]}\r\n\r\n".encode()
    return head + (b"z" * 70 + b"\r\n") * (1 + size // 72)


def post(tier, text, sender="a@b.example", name="carol"):
    with smtplib.LMTP("127.0.0.1", tier.store_port(1, "lmtp")) as s:
        s.ehlo_or_helo_if_needed()
        s.mail(sender)
        assert s.rcpt(tier.user(name)["address"])[0] == 250
        return s.data(text)[0]


def quota_roots(m, mailbox="INBOX"):
    """Root: what is used and allowed, as GETQUOTAROOT tells it."""
    typ, (names, rows) = m.getquotaroot(mailbox)
    assert typ == "OK"
    told = dict(row.decode().split(" ", 1) for row in rows)
    assert names[0].decode().split(" ")[1:] == list(told)
    return told


def test_limits_of_kinds(tier):
    m = login(tier, "carol")
    m.create("Calls")
    m.create("Small/Fax")
    assert post(tier, message("voice")) == 250
    assert m.append("Calls", "", None, message("voice"))[0] == "OK"
    # Two are all that is allowed, wherever they are; of nothing else there are too many.
    assert post(tier, message("voice")) == 552
    assert post(tier, message("mail")) == 250
    typ, data = m.append("Calls", "", None, message("voice"))
    assert typ == "NO" and b"OVERQUOTA" in data[0]
    assert m.append("Calls", "", None, message("mail"))[0] == "OK"
    m.select("INBOX")
    typ, data = m.uid("COPY", "1", "Calls")
    assert typ == "NO" and b"OVERQUOTA" in data[0]
    assert m.uid("COPY", "2", "Calls")[0] == "OK"
    assert m.uid("MOVE", "1", "Calls")[0] == "OK"  # no more than before
    assert post(tier, message("voice"), sender="boss@example.org") == 250
    told = quota_roots(m)
    assert told["voice"] == "(MESSAGE 3 2)"
    assert m.getquota("voice")[1][0].decode() == "voice (MESSAGE 3 2)"
    assert m.getquota("faxes")[0] == "NO"  # of a mailbox, not of the user
    # Room comes back with a message that goes, and with a mailbox.
    m.delete("Calls")
    assert quota_roots(m)["voice"] == "(MESSAGE 1 2)"
    assert post(tier, message("voice")) == 250
    assert post(tier, message("voice")) == 552
    m.select("INBOX")
    m.uid("STORE", "1:*", "+FLAGS", r"(\Deleted)")
    m.expunge()
    assert quota_roots(m)["voice"] == "(MESSAGE 0 2)"
    m.logout()


def test_limits_of_kinds_by_mailbox(tier):
    m = login(tier, "carol")
    assert m.append("Small/Fax", "", None, message("fax", 4000))[0] == "OK"
    typ, data = m.append("Small/Fax", "", None, message("fax", 4000))
    assert typ == "NO" and b"OVERQUOTA" in data[0]
    assert m.append("INBOX", "", None, message("fax", 4000))[0] == "OK"
    m.select("INBOX")
    typ, data = m.uid("MOVE", "1:*", "Small/Fax")
    assert typ == "NO" and b"OVERQUOTA" in data[0]
    assert m.append("Small/Fax", "", None, message("mail", 4000))[0] == "OK"
    m.logout()
    assert tier.postern("store", "check", config="store1").returncode == 0


def told_of(tier, root):
    return [e for e in events(tier, "vnd.postern.QuotaWarning") if e.get("vnd.postern.quotaRoot") == root]


def test_warned_of_rules(tier):
    """The owner of a mailbox and of a kind of messages, once for each number, whoever brings the message."""
    m = login(tier, "carol")
    m.create("Lists/A")
    m.create("Lists/B")
    assert m.append("Lists/A", "", None, message("mail"))[0] == "OK"
    assert deliver(tier, 100, to="carol+Lists/B@example.net") == 250
    assert told_of(tier, "lists") == []
    assert deliver(tier, 100, to="carol+Lists/A@example.net") == 250
    wait_for(lambda: len(told_of(tier, "lists")) == 1, 20, "the first")
    m.select("INBOX")
    assert m.append("INBOX", "", None, message("mail", subtype="one more"))[0] == "OK"
    uid = m.uid("SEARCH", "SUBJECT", '"one more"')[1][0].split()[-1].decode()
    assert m.uid("MOVE", uid, "Lists/A")[0] == "OK"
    wait_for(lambda: len(told_of(tier, "lists")) == 2, 20, "the second")
    # Another mailbox has its own numbers; the number that was told is not told again.
    assert m.append("Lists/B", "", None, message("mail"))[0] == "OK"
    wait_for(lambda: len(told_of(tier, "lists")) == 3, 20, "of the other mailbox")
    assert m.append("Lists/B", "", None, message("mail"))[0] == "OK"
    wait_for(lambda: len(told_of(tier, "lists")) == 4, 20, "of the other mailbox once more")
    m.select("Lists/A")
    m.store("1", "+FLAGS", r"(\Deleted)")
    m.expunge()
    assert m.append("Lists/A", "", None, message("mail"))[0] == "OK"
    assert m.append("INBOX", "", None, b"MIME-Version: 1.0\r\nContent-Type: video/mp4\r\n\r\n" + b"z" * 50000)[0] == "OK"
    wait_for(lambda: len(told_of(tier, "films")) == 1, 20, "of the kind")
    assert len(told_of(tier, "lists")) == 4
    assert {e["user"] for e in told_of(tier, "lists") + told_of(tier, "films")} == {"carol@example.net"}
    m.select("INBOX")
    texts = [m.fetch(n, "(BODY.PEEK[])")[1][0][1].decode() for n in m.search(None, 'SUBJECT "full"')[1][0].decode().split()]
    assert len([t for t in texts if "One of your mailboxes is 50 % full" in t and "Its name is Lists/A." in t
                and "There are 2 messages; 4 are allowed." in t]) == 1, texts
    assert any("The room for your video messages is 4" in t and " KiB; 100 KiB are allowed." in t for t in texts), texts
    m.logout()


def test_full_is_refused_at_rcpt(edge):
    with mail.smtp(edge) as s:
        s.ehlo()
        s.mail("a@far.example", ["SIZE=2000"])
        for _ in range(2):  # the second time from memory
            code, text = s.rcpt("alice@example.org")
            assert code == 552 and text.startswith(b"5.2.2 The mailbox is full"), text
            code, text = s.rcpt("dave@example.net")
            assert code == 452 and text.startswith(b"4.2.2 The mailbox is full"), text
        ident = text.split()[-1].decode().strip("()[].")
        assert s.rcpt("carol@example.net")[0] == 250
        told = edge.postern("explain", ident).stdout
        assert "store1 refuses it: 552 5.2.2 The mailbox is full" in told, told
        assert "store1 refuses it (remembered): 552 5.2.2" in told, told
        assert "store2 refuses it: 452 4.2.2 The mailbox is full" in told, told
        assert "carol@example.net>: store1 takes it" in told, told
        assert s.data(b"Subject: for carol only\r\n\r\nx\r\n")[0] == 250
        s.mail("boss@example.org")
        assert s.rcpt("alice@example.org")[0] == 250  # the store lets this sender exceed the limit
    m = login(edge, "carol")
    wait_for(lambda: m.select("INBOX") and m.search(None, 'SUBJECT "for carol only"')[1] != [b""], 20, "carol's mail")
    m.logout()
    told = edge.postern("explain", "--ip", "127.0.0.1", "--from", "b@far.example", "--rcpt", "alice@example.org").stdout
    assert "store1 refuses it: 552 5.2.2" in told and "RCPT TO:<alice@example.org>: 552 5.2.2" in told, told


def test_store_that_is_away_refuses_nobody(edge):
    edge.stop_process("store2")
    with mail.smtp(edge) as s:
        s.ehlo()
        s.mail("c@far.example")
        assert s.rcpt("dave@example.net")[0] == 250
        assert s.data(b"Subject: for dave\r\n\r\nx\r\n")[0] == 250
    assert "dave@example.net" in edge.postern("queue", "list").stdout


def test_grace(edge):
    """Deferred at first; refused when there has been no room for longer; and from the beginning when there was some again."""
    dave = "dave@example.net"
    with open(edge.config_file("store2"), "w", encoding="utf-8") as f:
        f.write(edge.store_config_text(2).replace("quota_over refuse", "quota_over defer;\n\tquota_grace 2s"))
    edge.start_store(2)
    user = edge.user("dave")
    m = imaplib.IMAP4("127.0.0.1", edge.store_port(2, "imap"))
    m.login(user["address"], user["password"])
    for says in (True, False):  # at RCPT, and by the committer
        m.select("INBOX")
        m.store("1:*", "+FLAGS", r"(\Deleted)")
        m.expunge()
        assert deliver(edge, 60000, to=dave, store=2) == 250
        assert deliver(edge, 60000, to=dave, store=2, says_size=says) == 452
        wait_for(lambda s=says: deliver(edge, 60000, to=dave, store=2, says_size=s) == 552, 20, "the end of the grace")
    m.logout()
