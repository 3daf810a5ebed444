"""Mailboxes shared by users of another store: a session at home sees, opens and changes them as if they were here."""
import contextlib
import imaplib
import os
import signal
import socket
import threading

import pytest
from conftest import free_port
from test_acl import grant, no, ok, say

BOX = '"Other Users/bob@example.org/Work"'
ALL = "lrswipkxteacd"
SECRET = "a-secret-between-stores"


def peer_text(tier, store, extra=""):
    return (f"\tpeer store{store} {{ address 127.0.0.1:{tier.store_port(store, 'imap')}; tls starttls; {extra}}}\n"
            f"\tpeer_user stores; peer_secret {SECRET}; peer_timeout 3s;\n")


@pytest.fixture(scope="module")
def tier(new_tier):
    """alice is at store 1, bob at store 2; each store knows the other one. By their names a guest of alice would be made in
    another partition of store 2 than bob's."""
    t = new_tier(stores=2)
    t.user("alice")["store"], t.user("bob")["store"] = 1, 2
    t.write_all()
    for store, other in ((1, 2), (2, 1)):
        second = f"\tpartition second {{ path {t.path('second')}; }}\n" if store == 2 else ""
        t.store_extra = peer_text(t, other) + second
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


@pytest.fixture(scope="module")
def no_rename():
    """The code of a RENAME that would reach from store to store."""
    return "CANNOT"


def test_named(pair, no_rename):
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
    no(a, f"RENAME {BOX} Mine", no_rename)
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


def test_notify_promises_nothing_of_other_stores(tier, pair):
    """A mailbox there that is named or selected is refused; one that is selected later ends what was asked for."""
    a, b = pair
    messages = "(MessageNew MessageExpunge)"
    for words in (f"(MAILBOXES {BOX} {messages})", f"(PERSONAL {messages}) (SUBTREE (Mine {BOX}) {messages})"):
        assert say(a, f"NOTIFY SET STATUS {words}")[1].startswith("NO [NOTIFICATIONOVERFLOW]"), words
    ok(a, f"NOTIFY SET (MAILBOXES {BOX} NONE) (PERSONAL {messages})")
    ok(a, f"SELECT {BOX}")
    assert say(a, f"NOTIFY SET (SELECTED {messages})")[1].startswith("NO [NOTIFICATIONOVERFLOW]")
    ok(a, "SELECT INBOX")
    ok(a, f"NOTIFY SET (SELECTED {messages}) (PERSONAL {messages})")
    tag = a._new_tag()
    a.send(tag + f" SELECT {BOX}\r\n".encode())
    while not (line := a.readline()).startswith(tag + b" OK"):
        assert line.startswith(b"* ")
    assert a.readline().startswith(b"* OK [NOTIFICATIONOVERFLOW]")
    with login(tier, "alice") as c:
        ok(c, "APPEND INBOX", b"Subject: fresh\r\n\r\nfresh\r\n")
    ok(b, "APPEND Work", b"Subject: fresh\r\n\r\nfresh\r\n")
    found = ok(a, "NOOP")
    assert "* 4 EXISTS" in found and not any(x.startswith("* STATUS") for x in found)


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


LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 60_000


@pytest.fixture
def own(pair):
    """alice has Mine with three messages: a large one, one with flags and a date, and a small one."""
    a, b = pair
    say(a, "DELETE Mine")
    ok(a, "CREATE Mine")
    ok(a, "APPEND Mine", LARGE)
    ok(a, 'APPEND Mine (\\Flagged word) "01-Feb-2003 04:05:06 +0200"', b"Subject: old\r\n\r\nold\r\n")
    ok(a, "APPEND Mine", b"Subject: small\r\n\r\n\r\n")
    yield a, b
    say(a, "UNSELECT")


def body(m, number):
    tag = m._new_tag()
    m.send(tag + f" FETCH {number} BODY.PEEK[]\r\n".encode())
    line = m.readline()
    data = m.read(int(line[line.rindex(b"{") + 1:line.rindex(b"}")]))
    assert m.readline() == b")\r\n" and m.readline().startswith(tag + b" OK")
    return data


def test_copy_there(own):
    a, b = own
    ok(a, "SELECT Mine")
    word = say(a, f"UID COPY 1:2 {BOX}")[1]
    validity = [x for x in ok(b, "EXAMINE Work") if "UIDVALIDITY" in x][0].split()[3].rstrip("]")
    assert word.startswith(f"OK [COPYUID {validity} 1:2 4:5]"), word
    assert body(b, 4) == LARGE
    line = ok(b, "FETCH 5 (FLAGS INTERNALDATE)")[0]
    assert "\\Flagged" in line and "word" in line and '"01-Feb-2003 02:05:06 +0000"' in line
    assert "* 3 EXISTS" in ok(a, "SELECT Mine")
    found, word = say(a, f"MOVE 2:3 {BOX}")
    assert word.startswith("OK") and f"* OK [COPYUID {validity} 2:3 6:7] Moved" in found and "* 2 EXPUNGE" in found
    assert "* 1 EXISTS" in ok(a, "SELECT Mine")


def test_copy_here(own):
    a, b = own
    ok(b, 'APPEND Work (\\Flagged word) "01-Feb-2003 04:05:06 +0200"', LARGE)
    ok(a, f"SELECT {BOX}")
    word = say(a, "COPY 1,4 Mine")[1]
    assert "[COPYUID " in word and " 1,4 4:5]" in word, word
    found, word = say(a, "UID MOVE 2:3 Mine")
    assert word.startswith("OK") and "* 2 EXPUNGE" in found and any("2:3 6:7] Moved" in x for x in found), found
    assert any(x.startswith("* STATUS Work (MESSAGES 2)") for x in ok(b, "STATUS Work (MESSAGES)"))
    assert "* 7 EXISTS" in ok(a, "SELECT Mine")
    assert body(a, 5) == LARGE
    line = ok(a, "FETCH 5 (FLAGS INTERNALDATE)")[0]
    assert "\\Flagged" in line and "word" in line and '"01-Feb-2003 02:05:06 +0000"' in line


def test_copy_refused(own):
    """Nothing is copied then, and the session goes on."""
    a, b = own
    ok(a, "SELECT Mine")
    ok(a, f"UID COPY 9 {BOX}")
    grant(b, "lr", "alice@example.org")
    no(a, f"COPY 1:3 {BOX}", "")
    no(a, 'COPY 1:3 "Other Users/bob@example.org/Nowhere"', "TRYCREATE")
    assert say(a, f"COPY 9 {BOX}")[1].startswith("BAD")
    ok(a, f"SELECT {BOX}")
    no(a, "COPY 1:3 Nowhere", "TRYCREATE")
    assert say(a, "COPY 9 Mine")[1].startswith(("BAD", "NO"))
    ok(a, "UID COPY 9 Mine")
    found, word = say(a, "MOVE 1 Mine")
    assert word.startswith("NO"), (found, word)
    assert "* 3 EXISTS" in ok(a, f"SELECT {BOX}")
    assert "* STATUS Work (MESSAGES 3)" in ok(b, "STATUS Work (MESSAGES)")


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


# ---- a store that lies ----

GREETING = b"* OK hello\r\n"
CAPABLE = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+ ID\r\nP4 OK done\r\n"
LOGGED_IN = GREETING + CAPABLE + b"P5 OK welcome\r\n"
LIES = {
    "nothing": b"",
    "other protocol": b"220 mail ESMTP\r\n",
    "preauth": b"* PREAUTH you are in\r\n",
    "endless": b"* OK " + b"x" * 200_000,
    "nul": b"* OK \0\r\n",
    "no capability": GREETING + b"* CAPABILITY IMAP4rev1\r\nP4 OK done\r\n",
    "login refused": GREETING + CAPABLE + b"P5 NO never\r\n",
    "bye": GREETING + CAPABLE + b"* BYE not now\r\n",
    "other tag": LOGGED_IN + b"zz OK [READ-WRITE] done\r\n",
    "no condition": LOGGED_IN + b"{tag} FINE\r\n",
    "bye later": LOGGED_IN + b"* BYE not now\r\n{tag} OK done\r\n",
    "bare lf": LOGGED_IN + b"* 3 EXISTS\n{tag} OK done\r\n",
    "endless literal": LOGGED_IN + b"* 1 FETCH (X {99999999999999999999999}\r\n",
    "cut": LOGGED_IN + b"* 1 FETCH (X {10}\r\nabc",
}


@contextlib.contextmanager
def lying(port, answer, tag):
    """Says it all at once to whoever comes, and then that this was all."""
    def serve():
        while True:
            try:
                s, _ = door.accept()
            except OSError:
                return
            with s, contextlib.suppress(OSError):
                s.sendall(answer.replace(b"{tag}", tag))
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
    door = socket.create_server(("127.0.0.1", port))
    thread = threading.Thread(target=serve)
    thread.start()
    yield
    door.shutdown(socket.SHUT_RDWR)
    door.close()
    thread.join()


@pytest.fixture(scope="module")
def liar(new_tier):
    """carol's store is the one that lies."""
    t = new_tier("liar", stores=1)
    t.user("carol")["store"] = 2
    t.liar_port = free_port()
    t.store_extra = (f"\tpeer store2 {{ address 127.0.0.1:{t.liar_port}; tls none; }}\n"
                     "\tpeer_user stores; peer_secret s; peer_timeout 2s;\n")
    t.write_all()
    t.start_store(1)
    return t


@pytest.mark.parametrize("lie", LIES)
def test_lies(liar, lie):
    """The command is refused, or the session ends when half an answer has been said; nothing else happens to the worker."""
    box = '"Other Users/carol@example.net/Work"'
    m = login(liar, "alice")
    tag = m._new_tag()
    with lying(liar.liar_port, LIES[lie], tag):
        m.send(tag + f" SELECT {box}\r\n".encode())
        said = b""
        while line := m.readline():
            said += line
            if line.startswith((tag, b"* BYE")):
                break
        assert tag + b" OK" not in said and b"PREAUTH" not in said and b"ESMTP" not in said
        ended = not line or line.startswith(b"* BYE")
        assert ended or line.startswith(tag + b" NO [UNAVAILABLE]"), said
        if not ended:
            assert any("UNAVAILABLE" in x for x in ok(m, 'LIST "" *'))
            ok(m, "SELECT INBOX")
    m.shutdown()
