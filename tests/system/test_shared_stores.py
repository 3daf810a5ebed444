"""Mailboxes shared by users of another store: a session at home sees, opens and changes them as if they were here."""
import imaplib
import os
import signal

import pytest
from test_acl import grant, no, ok, say

BOX = '"Other Users/bob@example.org/Work"'
ALL = "lrswipkxteacd"
SECRET = "a-secret-between-stores"


def peer_text(tier, store, extra=""):
    return (f"\tpeer store{store} {{ address 127.0.0.1:{tier.store_port(store, 'imap')}; tls starttls; {extra}}}\n"
            f"\tpeer_user stores; peer_secret {SECRET}; peer_timeout 3s;\n")


@pytest.fixture(scope="module")
def tier(new_tier):
    """alice is at store 1, bob at store 2; each store knows the other one."""
    t = new_tier(stores=2)
    t.user("alice")["store"], t.user("bob")["store"] = 1, 2
    t.write_all()
    for store, other in ((1, 2), (2, 1)):
        t.store_extra = peer_text(t, other)
        with open(t.config_file(f"store{store}"), "w", encoding="utf-8") as f:
            f.write(t.store_config_text(store))
        t.start_store(store)
    return t


def login(tier, name):
    user = tier.user(name)
    m = imaplib.IMAP4("127.0.0.1", tier.store_port(user["store"], "imap"))
    m.login(user["address"], user["password"])
    return m


@pytest.fixture
def pair(tier):
    """bob has Work with three messages, which alice may see and change."""
    a, b = login(tier, "alice"), login(tier, "bob")
    for box in ("Work/Sub", "Work/New", "Work"):
        say(b, f"DELETE {box}")
    ok(b, "CREATE Work")
    for n in range(3):
        ok(b, "APPEND Work", f"Subject: {n}\r\n\r\ntext {n}\r\n".encode())
    grant(b, ALL, "alice@example.org")
    yield a, b
    a.shutdown()
    b.shutdown()


def test_open(pair):
    a, b = pair
    assert "* 3 EXISTS" in ok(a, f"SELECT {BOX}")
    assert "Subject: 1" in ok(a, "FETCH 2 (UID BODY.PEEK[])")
    ok(a, "STORE 3 +FLAGS (\\Flagged word)")
    assert ok(a, "UID SEARCH KEYWORD word") == ["* SEARCH 3"]
    ok(a, "STORE 1 +FLAGS (\\Deleted)")
    assert "* 1 EXPUNGE" in ok(a, "EXPUNGE")
    assert "* STATUS Work (MESSAGES 2)" in ok(b, "STATUS Work (MESSAGES)")
    ok(a, "CLOSE")
    assert say(a, "FETCH 1 FLAGS")[1].startswith("BAD")


def test_one_after_the_other(pair):
    """The own mailbox and the other store's take turns; numbers are always those of the selected one."""
    a, b = pair
    for _ in range(2):
        ok(a, "SELECT INBOX")
        found = ok(a, f"EXAMINE {BOX}")
        assert "* 3 EXISTS" in found and "* OK [CLOSED] The mailbox before is closed" in found
        assert say(a, "STORE 1 +FLAGS (\\Seen)")[1].startswith("NO")
        found = ok(a, "SELECT INBOX")
        assert "* OK [CLOSED] The mailbox before is closed" in found
        assert not any("FETCH" in line for line in ok(a, "NOOP"))
    no(a, 'SELECT "Other Users/bob@example.org/Nowhere"', "NONEXISTENT")
    assert say(a, "FETCH 1 FLAGS")[1].startswith("BAD")  # nothing is selected any more


def test_named(pair):
    a, b = pair
    assert ok(a, f"STATUS {BOX} (MESSAGES UIDNEXT)") == [f"* STATUS {BOX} (MESSAGES 3 UIDNEXT 4)"]
    assert ok(a, f"MYRIGHTS {BOX}") == [f"* MYRIGHTS {BOX} {ALL}"]
    assert ok(a, f"GETACL {BOX}")[0].startswith(f"* ACL {BOX} bob@example.org")
    ok(a, f'SETMETADATA {BOX} (/private/comment "one")')
    assert ok(a, f"GETMETADATA (DEPTH infinity) {BOX} /private/comment") == [
        f'* METADATA {BOX} (/private/comment "one")']
    ok(a, 'CREATE "Other Users/bob@example.org/Work/Sub"')
    ok(a, 'RENAME "Other Users/bob@example.org/Work/Sub" "Other Users/bob@example.org/Work/New"')
    assert any("Work/New" in line for line in ok(b, 'LIST "" *'))
    ok(a, 'DELETE "Other Users/bob@example.org/Work/New"')
    no(a, f"RENAME {BOX} Mine", "CANNOT")
    no(a, f'RENAME Drafts "Other Users/bob@example.org/Drafts2"', "")


def test_list(pair):
    a, b = pair
    line = f'* LIST (\\HasNoChildren) "/" {BOX}'
    assert line in ok(a, 'LIST "" *')
    assert '* LIST (\\Noselect \\HasChildren) "/" "Other Users"' in ok(a, 'LIST "" %')
    assert ok(a, 'LIST "" "Other Users/*" RETURN (MYRIGHTS STATUS (MESSAGES))')[1:] == [
        line, f"* STATUS {BOX} (MESSAGES 3)", f"* MYRIGHTS {BOX} {ALL}"]
    ok(a, f"SUBSCRIBE {BOX}")
    assert any(BOX in x for x in ok(a, 'LSUB "" *'))
    assert any(BOX in x and "NonExistent" not in x for x in ok(a, 'LIST (SUBSCRIBED) "" *'))
    ok(a, f"UNSUBSCRIBE {BOX}")
    grant(b, "", "alice@example.org")
    assert not any("Other" in x for x in ok(a, 'LIST "" *'))
    no(a, f"SELECT {BOX}", "NONEXISTENT")
    assert not any("alice" in x for x in ok(b, 'LIST "" *'))


@pytest.mark.parametrize("size", [10, 40_000, 300_000])
@pytest.mark.parametrize("sync", ["", "+"])
def test_append(pair, size, sync):
    a, b = pair
    data = b"Subject: x\r\n\r\n" + b"y" * size + b"\r\n"
    for box, code in ((BOX, "APPENDUID"), ('"Other Users/bob@example.org/No"', "TRYCREATE")):
        tag = a._new_tag()
        a.send(tag + f" APPEND {box} (\\Seen) {{{len(data)}{sync}}}\r\n".encode())
        said = b"+" if sync else a.readline()
        if said.startswith(b"+"):
            a.send(data + b"\r\n")
            said = a.readline()
        assert said.startswith(tag) and code.encode() in said, said
    ok(a, "NOOP")
    found = ok(b, "STATUS Work (MESSAGES SIZE)")[0]
    assert "MESSAGES 4" in found


def test_several_appends(pair):
    """MULTIAPPEND with a large and a small literal."""
    a, b = pair
    big = b"Subject: big\r\n\r\n" + b"z" * 50_000 + b"\r\n"
    tag = a._new_tag()
    a.send(tag + f" APPEND {BOX} {{{len(big)}+}}\r\n".encode() + big + b" {14+}\r\nSubject: s\r\n\r\n\r\n")
    said = a.readline()
    assert said.startswith(tag + b" OK [APPENDUID"), said
    assert "* STATUS Work (MESSAGES 5)" in ok(b, "STATUS Work (MESSAGES)")


def test_idle(pair):
    a, b = pair
    ok(a, f"SELECT {BOX}")
    tag = a._new_tag()
    a.send(tag + b" IDLE\r\n")
    assert a.readline().startswith(b"+")
    ok(b, "APPEND Work", b"Subject: new\r\n\r\nnew\r\n")
    assert a.readline() == b"* 4 EXISTS\r\n"
    a.send(b"DONE\r\n")
    while not (line := a.readline()).startswith(tag):
        pass
    assert line.startswith(tag + b" OK")


def test_large_answers(pair):
    """Bodies larger than any buffer, pipelined; and what comes behind them."""
    a, b = pair
    body = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 200_000
    ok(b, "APPEND Work", body)
    ok(a, f"SELECT {BOX}")
    a.send(b"x1 FETCH 4 BODY.PEEK[]\r\nx2 FETCH 4 BODY.PEEK[TEXT]\r\nx3 NOOP\r\n")
    line = a.readline()
    size = int(line[line.rindex(b"{") + 1:line.rindex(b"}")])
    assert a.read(size) == body
    assert a.readline() == b")\r\n" and a.readline().startswith(b"x1 OK")
    line = a.readline()
    assert a.read(int(line[line.rindex(b"{") + 1:line.rindex(b"}")])) == body[18:]
    assert a.readline() == b")\r\n" and a.readline().startswith(b"x2 OK") and a.readline().startswith(b"x3 OK")


def test_enabled(pair):
    """What is enabled at home is enabled there, before and after it was opened."""
    a, b = pair
    ok(b, "CREATE Work/&AOk-")
    ok(b, 'SETACL Work/&AOk- alice@example.org lr')
    ok(a, "ENABLE QRESYNC")
    assert any("HIGHESTMODSEQ" in x for x in ok(a, f"SELECT {BOX}"))
    ok(a, "STORE 2 +FLAGS (\\Deleted)")
    assert any(x.startswith("* VANISHED 2") for x in ok(a, "EXPUNGE"))
    assert ok(a, "ENABLE UTF8=ACCEPT") == ["* ENABLED UTF8=ACCEPT"]
    a._encoding = "utf-8"
    assert "* 2 EXISTS" in ok(a, f"SELECT {BOX}")
    tag = a._new_tag()
    a.send(tag + ' STATUS "Other Users/bob@example.org/Work/é" (MESSAGES)\r\n'.encode())
    assert "é".encode() in a.readline() and a.readline().startswith(tag + b" OK")
    say(b, "DELETE Work/&AOk-")


def test_across(pair):
    a, b = pair
    ok(a, "APPEND INBOX", b"Subject: own\r\n\r\nown\r\n")
    ok(a, "SELECT INBOX")
    no(a, f"COPY 1 {BOX}", "CANNOT")
    ok(a, f"SELECT {BOX}")
    no(a, "COPY 1 INBOX", "CANNOT")
    ok(a, 'COPY 1 "Other Users/bob@example.org/Work"')


def test_guests(tier, pair):
    """The stores' own login sees nothing of the user's, makes nothing, and needs its secret."""
    m = imaplib.IMAP4("127.0.0.1", tier.store_port(2, "imap"))
    with pytest.raises(imaplib.IMAP4.error):
        m.authenticate("PLAIN", lambda _: b"alice@example.org\0stores\0wrong")
    m.authenticate("PLAIN", lambda _: b"alice@example.org\0stores\0" + SECRET.encode())
    assert [x for x in ok(m, 'LIST "" *') if "Other Users" not in x] == []
    no(m, "SELECT INBOX", "NONEXISTENT")
    no(m, "CREATE Mine", "NOPERM")
    no(m, "SUBSCRIBE INBOX", "NOPERM")
    no(m, "APPEND INBOX", "TRYCREATE", b"Subject: x\r\n\r\n")
    ok(m, f"SELECT {BOX}")
    m.logout()
    m = imaplib.IMAP4("127.0.0.1", tier.store_port(2, "imap"))
    with pytest.raises(imaplib.IMAP4.error):  # nobody is a guest as itself
        m.authenticate("PLAIN", lambda _: b"\0stores\0" + SECRET.encode())


def test_peer_dies(tier, pair):
    """Zero: without its mailbox selected a session goes on and the store is asked again; with it, it ends."""
    a, b = pair
    other = login(tier, "alice")
    ok(a, f"SELECT {BOX}")
    ok(other, f"STATUS {BOX} (MESSAGES)")
    os.kill(tier.processes["store2"].pid, signal.SIGTERM)
    tier.processes["store2"].wait(20)
    assert b"BYE" in a.readline()
    no(other, f"STATUS {BOX} (MESSAGES)", "UNAVAILABLE")
    found = ok(other, 'LIST "" *')
    assert any("INBOX" in x for x in found) and any("[UNAVAILABLE]" in x and "store2" in x for x in found)
    del tier.processes["store2"]
    tier.start_store(2)
    assert ok(other, f"STATUS {BOX} (MESSAGES)") == [f"* STATUS {BOX} (MESSAGES 3)"]
    other.logout()
