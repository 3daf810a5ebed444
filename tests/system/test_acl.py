"""Mailboxes of others: what each right of an ACL (RFC 4314) allows and what its absence forbids, for every command."""
import imaplib
import smtplib

import pytest

imaplib.Commands.update({name: ("AUTH", "SELECTED") for name in ("NAMESPACE", "GETACL", "SETACL", "DELETEACL", "MYRIGHTS",
                                                                "LISTRIGHTS", "MOVE", "UNSELECT")})
BOX = '"Other Users/alice@example.org/Work"'
INBOX = '"Other Users/alice@example.org/INBOX"'


@pytest.fixture(scope="module")
def tier(new_tier):
    t = new_tier(stores=1)
    t.store_extra = "\tpublic_user \"public@example.org\";\n"
    t.users.append(dict(name="public", domain="example.org", store=1, address="public@example.org", password="public-demo"))
    t.write_all()
    t.start_store(1)
    return t


def login(tier, name):
    user = tier.user(name)
    m = imaplib.IMAP4("127.0.0.1", tier.store_port(1, "imap"))
    m.login(user["address"], user["password"])
    return m


def say(m, line, data=None):
    """One raw command; its untagged lines, and the words of the tagged one."""
    tag = m._new_tag()
    if data is not None:
        line += f" {{{len(data)}+}}\r\n{data.decode()}"
    m.send(tag + b" " + line.encode() + b"\r\n")
    found = []
    while True:
        got = m.readline()
        assert got, f"{line}: the session has ended after {found}"
        if got.startswith(tag):
            return found, got[len(tag) + 1:].decode().strip()
        found.append(got.decode().strip())


def ok(m, line, data=None):
    found, word = say(m, line, data)
    assert word.startswith("OK"), f"{line}: {word}"
    return found


def no(m, line, code, data=None):
    found, word = say(m, line, data)
    assert word.startswith("NO") and code in word, f"{line}: {word}"
    return found


@pytest.fixture
def pair(tier):
    """alice has Work with three messages; bob is to see it."""
    a, b = login(tier, "alice"), login(tier, "bob")
    say(a, "DELETE Work/Sub"), say(a, "DELETE Work/New"), say(a, "DELETE Work")
    ok(a, "CREATE Work")
    for n in range(3):
        ok(a, "APPEND Work", f"Subject: {n}\r\n\r\ntext\r\n".encode())
    yield a, b
    a.logout()
    b.logout()


def grant(a, rights, who="bob@example.org", box="Work"):
    ok(a, f'SETACL {box} {who} "{rights}"')


def test_names_and_rights(pair):
    a, b = pair
    assert ok(a, "NAMESPACE") == ['* NAMESPACE (("" "/")) (("Other Users/" "/")) (("Shared Folders/" "/"))']
    assert "ACL RIGHTS=texk LIST-MYRIGHTS LANGUAGE" in ok(a, "CAPABILITY")[0]
    assert ok(a, "GETACL Work") == ["* ACL Work alice@example.org lrswipkxteacd"]
    grant(a, "lr")
    grant(a, "+sd", "BOB")  # of the owner's domain, and the old letter for x, t and e
    grant(a, "l", "anyone")
    grant(a, "x", "-bob")
    assert ok(a, "GETACL Work") == [
        "* ACL Work alice@example.org lrswipkxteacd -bob@example.org xd anyone l bob@example.org lrsxted"]
    assert ok(b, f"MYRIGHTS {BOX}") == [f"* MYRIGHTS {BOX} lrsted"]
    grant(a, "-s")
    assert ok(b, f"MYRIGHTS {BOX}") == [f"* MYRIGHTS {BOX} lrted"]
    ok(a, "DELETEACL Work bob@example.org")
    assert ok(b, f"MYRIGHTS {BOX}") == [f"* MYRIGHTS {BOX} l"]
    assert ok(a, "LISTRIGHTS Work bob") == ['* LISTRIGHTS Work bob "" l r s w i p k x t e a c d']
    assert ok(a, "LISTRIGHTS Work alice") == ["* LISTRIGHTS Work alice lrswipkxteacd"]
    ok(a, 'SETACL Work alice@example.org ""')  # who owns it keeps it
    assert ok(a, "MYRIGHTS Work") == ["* MYRIGHTS Work lrswipkxteacd"]
    assert say(a, "SETACL Work bob Q")[1].startswith("BAD")
    assert say(a, 'SETACL Work "b ob" l')[1].startswith("BAD")
    no(a, "SETACL Nowhere bob l", "NONEXISTENT")
    for who in ("anyone", "-bob"):
        ok(a, f"DELETEACL Work {who}")
    no(b, f"MYRIGHTS {BOX}", "NONEXISTENT")


def test_lookup(pair):
    a, b = pair
    assert not any("Other" in line for line in ok(b, 'LIST "" *'))
    no(b, f"SELECT {BOX}", "NONEXISTENT")  # not even that it is there
    grant(a, "r")
    assert not any("Work" in line for line in ok(b, 'LIST "" *'))
    grant(a, "l")
    assert f'* LIST (\\HasNoChildren) "/" {BOX}' in ok(b, 'LIST "" *')
    assert f'* LIST (\\HasNoChildren) "/" {BOX}' in ok(b, 'LIST "Other Users/" "alice@example.org/%"')
    assert '* LIST (\\Noselect \\HasChildren) "/" "Other Users"' in ok(b, 'LIST "" %')
    assert ok(b, f'LIST "" {BOX} RETURN (MYRIGHTS)') == [f'* LIST (\\HasNoChildren) "/" {BOX}', f"* MYRIGHTS {BOX} l"]
    ok(b, f"SUBSCRIBE {BOX}")
    assert any(BOX in line for line in ok(b, 'LSUB "" *'))
    ok(b, f"UNSUBSCRIBE {BOX}")


def test_read(pair):
    a, b = pair
    grant(a, "l")
    for command in (f"SELECT {BOX}", f"EXAMINE {BOX}", f"STATUS {BOX} (MESSAGES)", f"GETQUOTAROOT {BOX}"):
        no(b, command, "NOPERM")
    assert len(ok(b, f'LIST "" {BOX} RETURN (STATUS (MESSAGES))')) == 1
    grant(a, "lr")
    assert f"* STATUS {BOX} (MESSAGES 3)" in ok(b, f"STATUS {BOX} (MESSAGES)")
    assert f"* STATUS {BOX} (MESSAGES 3)" in ok(b, f'LIST "" {BOX} RETURN (STATUS (MESSAGES))')
    found, word = say(b, f"SELECT {BOX}")
    assert "[READ-ONLY]" in word and any("PERMANENTFLAGS ()" in line for line in found)
    assert any("text" in line for line in ok(b, "FETCH 1 BODY[]"))
    assert ok(a, "STATUS Work (UNSEEN)") == ["* STATUS Work (UNSEEN 3)"]
    for command in ("STORE 1 +FLAGS (\\Seen)", "EXPUNGE", "MOVE 1 INBOX"):
        no(b, command, "")
    ok(b, "COPY 1 INBOX")
    ok(b, "CLOSE")


def count(a):
    line = [line for line in ok(a, "STATUS Work (MESSAGES)") if line.startswith("* STATUS")][0]
    return int(line.split()[-1].rstrip(")"))


def flags(a, n=1):
    ok(a, "EXAMINE Work")
    line = ok(a, f"FETCH {n} (FLAGS)")[-1]
    return set(line[line.index("(FLAGS (") + 8:line.index(")")].split()) - {"\\Recent"}


@pytest.mark.parametrize("right,mine", [("s", {"\\Seen"}), ("t", {"\\Deleted"}), ("w", {"\\Flagged", "Word"})])
def test_flags(pair, right, mine):
    a, b = pair
    ok(a, "SELECT Work")
    ok(a, "STORE 2 FLAGS (\\Answered \\Seen \\Deleted Old)")
    grant(a, "lr" + right)
    found, word = say(b, f"SELECT {BOX}")
    assert "[READ-WRITE]" in word
    told = [line for line in found if "PERMANENTFLAGS" in line][0]
    assert all((f in told) == (f in mine) for f in ("\\Seen", "\\Deleted", "\\Flagged"))
    found = ok(b, "STORE 1 +FLAGS (\\Seen \\Flagged \\Deleted Word)")
    assert flags(a) == mine
    shown = [line for line in found if "FETCH" in line]
    assert all(f in shown[-1] for f in mine) and not any(f in shown[-1] for f in {"\\Seen", "\\Flagged", "\\Deleted"} - mine)
    ok(b, "STORE 2 FLAGS ()")  # what may not be changed stays
    kept = {"\\Answered", "\\Seen", "\\Deleted", "Old"} - ({"\\Answered", "Old"} if right == "w" else mine)
    assert flags(a, 2) == kept
    ok(b, "FETCH 3 BODY[]")
    assert ("\\Seen" in flags(a, 3)) == (right == "s")


def test_insert(pair):
    a, b = pair
    grant(a, "lr")
    no(b, f"APPEND {BOX}", "NOPERM", b"Subject: x\r\n\r\nx\r\n")
    ok(b, "SELECT INBOX")
    ok(b, "APPEND INBOX (\\Flagged)", b"Subject: own\r\n\r\nown\r\n")
    ok(b, "NOOP")
    no(b, f"COPY * {BOX}", "NOPERM")
    no(b, f"MOVE * {BOX}", "NOPERM")
    grant(a, "li")
    ok(b, f"APPEND {BOX} (\\Flagged \\Seen)", b"Subject: x\r\n\r\nx\r\n")
    assert flags(a, 4) == set()  # flags need rights of their own
    ok(b, f"COPY * {BOX}")
    assert flags(a, 5) == set()
    grant(a, "liws")
    ok(b, f"APPEND {BOX} (\\Flagged \\Seen)", b"Subject: x\r\n\r\nx\r\n")
    assert flags(a, 6) == {"\\Flagged", "\\Seen"}
    found = ok(b, f"MOVE * {BOX}")
    assert any("COPYUID" in line for line in found) and flags(a, 7) == {"\\Flagged"}
    assert len(ok(b, f"STATUS INBOX (MESSAGES)")) == 1


def test_expunge_and_move(pair):
    a, b = pair
    ok(a, "SELECT Work")
    ok(a, "STORE 1 +FLAGS (\\Deleted)")
    grant(a, "lrt")
    ok(b, f"SELECT {BOX}")
    no(b, "EXPUNGE", "NOPERM")
    no(b, "MOVE 2 INBOX", "NOPERM")
    ok(b, "CLOSE")  # expunges nothing without the right, and says nothing
    assert count(a) == 3
    grant(a, "lre")
    ok(b, f"SELECT {BOX}")
    no(b, "MOVE 2 INBOX", "NOPERM")  # t as well
    assert ok(b, "EXPUNGE") == ["* 1 EXPUNGE"]
    grant(a, "lrte")
    found = ok(b, "MOVE 1 INBOX")
    assert "* 1 EXPUNGE" in found
    ok(b, "STORE 1 +FLAGS (\\Deleted)")
    ok(b, "CLOSE")
    assert count(a) == 0


def test_create_delete_rename(pair):
    a, b = pair
    new, sub = BOX[:-1] + '/New"', BOX[:-1] + '/Sub"'
    grant(a, "lr")
    no(b, f"CREATE {new}", "NOPERM")
    no(b, 'CREATE "Other Users/alice@example.org/Top"', "NOPERM")
    no(b, 'CREATE "Other Users/nobody@example.org/Top"', "")
    no(b, f"DELETE {BOX}", "NOPERM")
    no(b, f"RENAME {BOX} {new}", "NOPERM")
    grant(a, "lrk")
    ok(b, f"CREATE {new}")
    assert ok(b, f"MYRIGHTS {new}") == [f"* MYRIGHTS {new} lrkc"]  # as above it
    no(b, f"DELETE {new}", "NOPERM")
    grant(a, "lrx", box="Work/New")
    no(b, f"RENAME {new} Own", "NOPERM")
    ok(b, f"RENAME {new} {sub}")
    assert any("Work/Sub" in line for line in ok(a, 'LIST "" Work/*'))
    ok(b, f"DELETE {sub}")
    no(b, f"DELETE {sub}", "NONEXISTENT")


def test_admin(pair):
    a, b = pair
    grant(a, "lrswipkxte")
    for command in (f"GETACL {BOX}", f"SETACL {BOX} anyone l", f"DELETEACL {BOX} bob", f"LISTRIGHTS {BOX} bob"):
        no(b, command, "NOPERM")
    grant(a, "+a")
    ok(b, f"SETACL {BOX} carol@example.net lr")
    assert "carol@example.net lr" in ok(b, f"GETACL {BOX}")[0]
    ok(b, f"DELETEACL {BOX} bob")
    no(b, f"GETACL {BOX}", "NONEXISTENT")


def test_revoked_while_selected(pair):
    a, b = pair
    grant(a, "lrswte")
    ok(b, f"SELECT {BOX}")
    ok(b, "STORE 1 +FLAGS (\\Flagged)")
    ok(a, "DELETEACL Work bob")
    no(b, "STORE 1 +FLAGS (\\Deleted)", "NOPERM")
    no(b, "EXPUNGE", "NOPERM")
    assert flags(a) == {"\\Flagged"}


def test_public_folders(tier):
    p, b = login(tier, "public"), login(tier, "bob")
    ok(p, "CREATE News")
    ok(p, "SETACL News anyone lr")
    ok(p, "SETACL News bob lrip")
    name = '"Shared Folders/News"'
    assert f'* LIST (\\HasNoChildren) "/" {name}' in ok(b, 'LIST "" *')
    ok(b, f"APPEND {name}", b"Subject: x\r\n\r\nx\r\n")
    c = login(tier, "carol")
    ok(c, f"EXAMINE {name}")
    no(c, f"APPEND {name}", "NOPERM", b"Subject: x\r\n\r\nx\r\n")
    for m in (p, b, c):
        m.logout()


def deliver(tier, to):
    with smtplib.LMTP("127.0.0.1", tier.store_port(1, "lmtp")) as s:
        s.sendmail("a@b.example", [to], b"Subject: post\r\n\r\npost\r\n")


def test_post(pair, tier):
    """Mail to a sub-address goes to INBOX when its mailbox does not take the post of anyone."""
    a, _ = pair
    before = ok(a, "STATUS INBOX (MESSAGES)")
    deliver(tier, "alice+Work@example.org")
    assert count(a) == 4
    ok(a, "SETACL Work -anyone p")
    deliver(tier, "alice+Work@example.org")
    assert count(a) == 4
    assert ok(a, "STATUS INBOX (MESSAGES)") != before


def test_everything_is_counted_right(tier):
    done = tier.postern("store", "check", config="store1")
    assert done.returncode == 0, done.stdout
