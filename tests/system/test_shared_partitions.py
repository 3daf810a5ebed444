"""Mailboxes shared by users of another partition of the same store: the session works in both, each with its own numbers.
What test_shared_stores.py asks of two stores is asked of two partitions too."""
import glob
import os
import re
import signal

import pytest
from test_acl import grant, login, no, ok, say
from test_shared_stores import (ALL, BOX, body, own, pair, test_append, test_copy_here, test_copy_refused, test_copy_there,
                                test_enabled, test_idle, test_large_answers, test_list, test_named, test_one_after_the_other,
                                test_open, test_several_appends)

from tier import wait_for

__all__ = ["own", "pair", "test_append", "test_copy_here", "test_copy_refused", "test_copy_there", "test_enabled",
           "test_idle", "test_large_answers", "test_list", "test_named", "test_one_after_the_other", "test_open",
           "test_several_appends"]
PUBLIC = "public@example.org"


@pytest.fixture(scope="module")
def tier(new_tier):
    """alice and bob are in different partitions of store 1, by their names."""
    t = new_tier(stores=1)
    t.user("alice")["store"] = t.user("bob")["store"] = 1
    t.users.append(dict(name="public", domain="example.org", store=1, address=PUBLIC, password="public-demo"))
    t.store_extra = (f"\tpartition second {{ path {t.path('second')}; }}\n\tpublic_user \"{PUBLIC}\";\n")
    t.write_all()
    t.start_store(1)
    return t


@pytest.fixture(scope="module")
def no_rename():
    return "NOPERM"


def logged(tier, folder, what):
    """Does the log of the partition in that folder hold these bytes?"""
    for path in glob.glob(f"{tier.path(folder)}/log/*"):
        with open(path, "rb") as f:
            if what in f.read():
                return True
    return False


def test_apart(tier, pair):
    """The premise of all of this; a user's own stays at home, what is another's goes to the other."""
    a, b = pair
    ok(a, "APPEND INBOX", b"Subject: of alice\r\n\r\nx\r\n")
    ok(a, f"APPEND {BOX}", b"Subject: for bob\r\n\r\nx\r\n")
    assert logged(tier, "store1", b"Subject: of alice") and not logged(tier, "second", b"Subject: of alice")
    assert logged(tier, "second", b"Subject: for bob") and not logged(tier, "store1", b"Subject: for bob")


def test_in_between(own):
    """While it is selected the own ones can be named, and the other way round; nobody's numbers are taken for others'."""
    a, b = own
    ok(a, f"SELECT {BOX}")
    assert ok(a, "STATUS Mine (MESSAGES)") == ["* STATUS Mine (MESSAGES 3)"]
    ok(a, "CREATE Mine/Sub"), ok(a, "SUBSCRIBE Mine/Sub")
    assert any("Mine/Sub" in x for x in ok(a, 'LSUB "" *'))
    ok(a, "UNSUBSCRIBE Mine/Sub"), ok(a, "DELETE Mine/Sub")
    assert "Subject: 1" in ok(a, "FETCH 2 BODY.PEEK[]")
    assert not any("EXISTS" in x for x in ok(a, "APPEND Mine", b"Subject: four\r\n\r\n\r\n"))
    assert not any("EXISTS" in x for x in ok(a, "NOOP"))
    assert "* 4 EXISTS" in ok(a, f"APPEND {BOX}", b"Subject: four\r\n\r\n\r\n")
    ok(a, "STORE 1 +FLAGS (\\Deleted)")
    ok(a, "CLOSE")
    assert ok(b, "STATUS Work (MESSAGES)") == ["* STATUS Work (MESSAGES 3)"]
    ok(a, "SELECT Mine")
    ok(a, f"STATUS {BOX} (MESSAGES)")
    ok(a, "STORE 4 +FLAGS (\\Seen)")
    assert ok(a, "UID SEARCH SEEN") == ["* SEARCH 4"]


def test_rights(pair):
    a, b = pair
    assert ok(a, f"GETQUOTAROOT {BOX}") == [f"* QUOTAROOT {BOX}"]
    ok(a, f"SETACL {BOX} carol@example.net lr")
    assert "carol@example.net lr" in ok(b, "GETACL Work")[0]
    ok(a, f"DELETEACL {BOX} carol@example.net")
    assert ok(a, f"LISTRIGHTS {BOX} bob")[0].endswith(ALL)
    ok(a, f"SELECT {BOX}")
    grant(b, "lrs", "alice@example.org")
    no(a, "MOVE 1 INBOX", "NOPERM")
    no(a, f"APPEND {BOX}", "NOPERM", b"x: y\r\n\r\n")
    ok(a, "COPY 1 INBOX")
    grant(b, "", "alice@example.org")
    no(a, "COPY 1 INBOX", "")
    no(a, f"STATUS {BOX} (MESSAGES)", "NONEXISTENT")


def test_public(tier, pair):
    """One of alice and bob has another partition than who owns the public ones."""
    p = login(tier, "public")
    say(p, "DELETE News")
    ok(p, "CREATE News"), ok(p, "APPEND News", b"Subject: news\r\n\r\n\r\n")
    grant(p, "lr", "anyone", "News")
    for m in pair:
        assert any('"Shared Folders/News"' in x for x in ok(m, 'LIST "" *'))
        assert "* 1 EXISTS" in ok(m, 'SELECT "Shared Folders/News"')
        assert "Subject: news" in ok(m, "FETCH 1 BODY.PEEK[HEADER]")
    ok(p, "DELETE News")
    p.logout()


def test_parts_of_both(own):
    """CATENATE takes from the one what is appended to the other; REPLACE is one change and stays in one."""
    a, b = own
    url = "/Other%20Users/bob@example.org/Work/;UID=2"
    ok(a, f'APPEND Mine CATENATE (URL "{url}")')
    ok(a, f'APPEND {BOX} CATENATE (URL "/Mine/;UID=3")')
    ok(a, "SELECT Mine")
    assert body(a, 4).startswith(b"Subject: 1\r\n")
    ok(b, "SELECT Work")
    assert body(b, 4) == b"Subject: small\r\n\r\n\r\n"
    no(a, f"REPLACE 3 {BOX}", "NOPERM", b"Subject: r\r\n\r\n\r\n")
    assert "* 4 EXISTS" in ok(a, "SELECT Mine")


def test_notify(own):
    """News of the selected one and of those at home."""
    a, b = own
    ok(a, f"SELECT {BOX}")
    ok(a, "NOTIFY SET (SELECTED (MessageNew (UID BODY.PEEK[]) MessageExpunge)) (PERSONAL (MessageNew MessageExpunge))")
    ok(b, "APPEND Work", b"Subject: fresh\r\n\r\nfresh\r\n")
    assert a.readline() == b"* 4 EXISTS\r\n"
    while b"fresh" not in (line := a.readline()):
        assert line
    ok(a, "NOOP")
    a.send(b"n1 APPEND Mine {9+}\r\nx: y\r\n\r\nz\r\n")
    found = b""
    while b"n1 OK" not in found or b"* STATUS Mine (MESSAGES 4" not in found:
        line = a.readline()
        assert line
        found += line
    ok(a, "NOTIFY NONE")


def line_of(m, wanted):
    """The next line; untagged ones of other mailboxes do not come."""
    line = m.readline()
    assert line == wanted + b"\r\n" or (wanted[-1:] == b" " and line.startswith(wanted)), (line, wanted)


def test_notify_of_others(tier, own):
    """News of mailboxes of another partition, which are not selected: new messages, names, annotations, rights. Ids are unique in
    a partition only, and a mailbox may come and go by its ACL."""
    a, b = own
    ok(a, "SELECT Mine")
    found = ok(a, f"NOTIFY SET STATUS (SELECTED (MessageNew MessageExpunge)) (SUBTREE (Mine {BOX}) (MessageNew MessageExpunge FlagChange "
                  'MailboxName MailboxMetadataChange)) (SUBTREE ("Other Users" "Shared Folders") (MailboxName))')
    assert [x.split(" (")[0] for x in found] == [f"* STATUS {BOX}"]
    ok(b, "APPEND Work", b"Subject: fresh\r\n\r\nfresh\r\n")
    line_of(a, f"* STATUS {BOX} (MESSAGES 4 UIDNEXT 5 ".encode())
    ok(b, "SELECT Work"), ok(b, "STORE 1 +FLAGS (\\Seen)")
    line_of(a, f"* STATUS {BOX} (MESSAGES 4 UIDNEXT 5 ".encode())
    ok(b, "CREATE Work/Sub")
    line_of(a, b'* LIST () "/" "Other Users/bob@example.org/Work/Sub"')
    ok(b, "RENAME Work/Sub Work/New")
    line_of(a, b'* LIST () "/" "Other Users/bob@example.org/Work/New" ("OLDNAME" ("Other Users/bob@example.org/Work/Sub"))')
    ok(b, 'SETMETADATA Work (/shared/comment "x")')
    line_of(a, f"* METADATA {BOX} /shared/comment".encode())
    ok(b, "DELETE Work/New")
    line_of(a, b'* LIST (\\NonExistent) "/" "Other Users/bob@example.org/Work/New"')
    grant(b, "", "alice@example.org")
    line_of(a, f'* LIST (\\NonExistent) "/" {BOX}'.encode())
    # Of an owner of whom nothing was seen; of everybody; and by the committer that came back.
    p = login(tier, "public")
    say(p, "DELETE News"), ok(p, "CREATE News")
    grant(p, "lr", "anyone", "News")
    line_of(a, b'* LIST () "/" "Shared Folders/News"')
    committers = dict(re.findall(r"worker\.started role=committer index=(\d+) pid=(\d+)", tier.log("store1")))
    assert len(committers) == 2
    for pid in committers.values():
        os.kill(int(pid), signal.SIGKILL)
    wait_for(lambda: say(b, "SETACL Work alice@example.org lr")[1].startswith("OK"), 30, "the committers")
    line_of(a, f'* LIST () "/" {BOX}'.encode())
    wait_for(lambda: say(p, "DELETE News")[1].startswith(("OK", "NO [NONEXISTENT]")), 30, "the other committer")
    line_of(a, b'* LIST (\\NonExistent) "/" "Shared Folders/News"')
    ok(a, "NOOP")
    ok(a, "NOTIFY NONE")
    p.logout()
