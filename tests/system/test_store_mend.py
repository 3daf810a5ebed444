"""postern store check|reconstruct USER [FOLDER]: rows of one mailbox are spoilt on purpose, and put right while the store
works, other mailboxes answer and sessions have the mailbox open."""
import fcntl
import glob
import imaplib
import os
import re
import shutil
import subprocess
import threading

import pytest

from conftest import TOP
from tier import wait_for

MESSAGES = 12


@pytest.fixture(scope="module")
def store(new_tier):
    t = new_tier(stores=1)
    t.write_all()
    t.start_store(1)
    subprocess.run(["gcc", "-O1", "-std=c17", "-D_GNU_SOURCE", "-I.", "-Ilib", "-o", t.path("damage"),
                    "tests/system/damage_index.c", "-llmdb"], check=True, timeout=120, cwd=TOP)
    t.one, t.other = t.user("alice"), t.user("bob")
    for user in (t.one, t.other):
        with login(t, user) as m:
            m.create("Work")
            for n in range(MESSAGES):
                flags = r"(\Seen $k)" if n % 3 == 0 else r"(\Flagged)" if n % 3 == 1 else None
                assert m.append("Work", flags, None, text(n))[0] == "OK"
            m.select("Work")
            m.uid("COPY", "2:4", "INBOX")
            m.uid("STORE", "5:6", "+FLAGS", r"(\Deleted)")
            m.expunge()
    return t


def text(n):
    kind = "Content-Type: multipart/voice-message; boundary=b\r\n" if n == 8 else ""
    return f"Subject: number {n}\r\n{kind}\r\n{'line %d' % n}\r\n".encode() * (n + 1)


class login:
    def __init__(self, t, user):
        self.m = imaplib.IMAP4("127.0.0.1", t.store_port(1, "imap"))
        self.m.login(user["address"], user["password"])

    def __enter__(self):
        return self.m

    def __exit__(self, *why):
        try:
            self.m.logout()
        except (imaplib.IMAP4.abort, OSError):
            pass


def tool(t, *words):
    return t.postern("store", *words, config="store1")


def damage(t, kind, uid=7, name="Work"):
    subprocess.run([t.path("damage"), t.path("store1", "index"), kind, t.one["address"], name, str(uid)],
                   check=True, timeout=60)


def seen(t, user, name="Work"):
    """Everything a client sees of a mailbox, but the numbers of changes."""
    with login(t, user) as m:
        status = m.status(name, "(MESSAGES UNSEEN DELETED SIZE UIDNEXT UIDVALIDITY MAILBOXID)")[1]
        m.select(name, readonly=True)
        found = m.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE EMAILID SAVEDATE BODY.PEEK[])")[1]
        quota = m.getquotaroot(name)[1]
    return status, found, quota


def modseq(t, user):
    with login(t, user) as m:
        return int(re.search(rb"HIGHESTMODSEQ (\d+)", m.status("Work", "(HIGHESTMODSEQ)")[1][0])[1])


KINDS = [
    ("entry-gone", "1 messages put right"),
    ("entry-short", "1 messages put right"),
    ("entry-flags", "1 messages put right"),
    ("entry-blob", "1 messages put right"),
    ("mark-gone", "1 of the list of changes"),
    ("mark-stray", "1 of the list of changes"),
    ("blob-gone", "1 references"),
    ("blob-refs", "1 references"),
    ("counts", ", counts"),
    ("vanished", "the list of what has vanished"),
    ("row", "the mailbox's row"),
]


NUMBERS = [("entry-size", "1 messages put right"), ("entry-type", "1 messages put right")]  # none that can be


@pytest.mark.parametrize("snapshot", [False, True], ids=["by the log", "by a snapshot"])
@pytest.mark.parametrize("kind,told", KINDS + NUMBERS, ids=[k for k, _ in KINDS + NUMBERS])
def test_each_damage_is_put_right(store, kind, told, snapshot):
    """UIDs, UIDVALIDITY, dates, flags and object ids are as they were; clients that keep track are told of what changed."""
    if snapshot:
        snapshot_now(store)
    before, was = seen(store, store.one), modseq(store, store.one)
    damage(store, kind)
    if kind not in ("row", "entry-flags"):
        done = tool(store, "check", store.one["address"], "Work")
        assert done.returncode == 65 and "Work" in done.stdout, done.stdout + done.stderr
    done = tool(store, "reconstruct", store.one["address"], "Work")
    assert done.returncode == 0 and told in done.stdout and " 0 lost" in done.stdout, done.stdout + done.stderr
    assert seen(store, store.one) == before
    if kind.startswith("entry"):
        assert modseq(store, store.one) > was
    done = tool(store, "check")
    assert done.returncode == 0 and " 0 faults" in done.stdout, done.stdout + done.stderr
    done = tool(store, "check", store.one["address"])
    assert done.returncode == 0 and "INBOX: 3 messages, 0 faults" in done.stdout, done.stdout + done.stderr
    assert not os.path.exists(store.path("store1", "repair", "data.mdb"))


def test_nothing_to_do(store):
    before, was = seen(store, store.one), modseq(store, store.one)
    done = tool(store, "reconstruct", store.one["address"])
    assert done.returncode == 0 and done.stdout.count(
        "0 messages put right, 0 lost, 0 of the list of changes, 0 references\n") == 2, done.stdout + done.stderr
    assert (seen(store, store.one), modseq(store, store.one)) == (before, was)
    for words in (("nobody@example.org",), (store.one["address"], "Nowhere")):
        done = tool(store, "reconstruct", *words)
        assert done.returncode == 65 and "no such mailbox" in done.stderr
    assert tool(store, "check", "primary").returncode == 64


class Load(threading.Thread):
    """Somebody else works on all the while: appends, marks, copies, removes."""

    def __init__(self, t, user):
        super().__init__()
        self.t, self.user, self.stop, self.done, self.failed = t, user, threading.Event(), 0, None

    def run(self):
        try:
            with login(self.t, self.user) as m:
                m.select("INBOX")
                while not self.stop.is_set():
                    self.one(m)
        except Exception as e:  # told by the test
            self.failed = e

    def one(self, m):
        typ, data = m.append("INBOX", None, None, text(self.done % 5))
        assert typ == "OK", data
        uid = re.search(rb"APPENDUID \d+ (\d+)", data[0])[1].decode()
        for words in (("STORE", uid, "+FLAGS", r"(\Deleted)"), ("COPY", uid, "Work"), ("EXPUNGE", uid)):
            assert m.uid(*words)[0] == "OK", words
        self.done += 1


def test_others_work_meanwhile_and_sessions_are_told(store):
    """A session that has the mailbox open ends with BYE and a clear text; another mailbox of the same user stays open."""
    before = seen(store, store.one)
    load = [Load(store, store.other), Load(store, store.other)]
    for thread in load:
        thread.start()
    with login(store, store.one) as open_there, login(store, store.one) as open_elsewhere:
        open_there.select("Work")
        open_elsewhere.select("INBOX")
        for uid, (kind, _) in zip((1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 12), KINDS, strict=True):
            damage(store, kind, uid)
        done = tool(store, "reconstruct", store.one["address"], "Work")
        assert done.returncode == 0, done.stdout + done.stderr
        with pytest.raises(imaplib.IMAP4.abort, match="repaired"):
            open_there.noop()
        assert open_elsewhere.noop()[0] == "OK" and open_elsewhere.fetch("1:*", "(FLAGS)")[0] == "OK"
    assert seen(store, store.one) == before
    at = [thread.done for thread in load]
    wait_for(lambda: all(thread.done > n or thread.failed for thread, n in zip(load, at)), 60, "the load goes on")
    for thread in load:
        thread.stop.set()
        thread.join()
        assert thread.failed is None
    assert tool(store, "check").returncode == 0


def test_arrays_of_earlier_sessions_are_not_used_again(store):
    """Sessions leave behind what they know of large mailboxes; a message that is there again has no place in it."""
    with login(store, store.one) as m:
        m.create("Large")
        for n in range(300):
            m.append("Large", None, None, b"x: y\r\n\r\n")
    damage(store, "entry-gone", 100, "Large")
    for workers in range(4):
        with login(store, store.one) as m:
            assert m.select("Large")[1] == [b"299"]
    assert tool(store, "reconstruct", store.one["address"], "Large").returncode == 0
    for workers in range(4):
        with login(store, store.one) as m:
            assert m.select("Large")[1] == [b"300"]
            assert m.fetch("100", "(UID)")[1] == [b"100 (UID 100)"]


def test_the_log_makes_the_same_again(store):
    """Repairs are changes like others: an index made anew has the same."""
    before, was = seen(store, store.one), modseq(store, store.one)
    assert store.stop_process("store1") == 0
    done = tool(store, "reconstruct", "primary")
    assert done.returncode == 0, done.stdout + done.stderr
    done = tool(store, "check")
    assert done.returncode == 0, done.stdout
    store.start_store(1)
    assert (seen(store, store.one), modseq(store, store.one)) == (before, was)


def snapshot_now(t):
    there = glob.glob(t.path("store1", "snapshots", "*.mdb"))
    assert tool(t, "snapshot").returncode == 0
    wait_for(lambda: set(glob.glob(t.path("store1", "snapshots", "*.mdb"))) - set(there), 30, "a snapshot")


@pytest.fixture(scope="module")
def folded(store):
    """The log has rows of the index in place of its oldest changes, and changes after them; no snapshot is good any more."""
    assert store.stop_process("store1") == 0
    with open(store.config_file("store1"), "w", encoding="utf-8") as f:
        f.write(store.store_config_text(1).replace("partition primary {", "partition primary { fold_after 1M;"))
    store.start_store(1)
    with login(store, store.other) as m:
        for _ in range(10):
            assert m.append("INBOX", None, None, b"x: y\r\n\r\n" + b"z" * 200000)[0] == "OK"
    snapshot_now(store)
    wait_for(lambda: "committer.folded" in store.log("store1"), 30, "rows in the log")
    with login(store, store.one) as m:
        m.select("Work")
        assert m.uid("STORE", "7", "+FLAGS", r"(\Answered)")[0] == "OK"
    snapshot_now(store)
    wait_for(lambda: os.path.exists(store.path("store1", "trimmed")), 30, "the log to be cut")
    with login(store, store.one) as m:
        m.select("Work")
        assert m.uid("STORE", "7", "+FLAGS", r"(\Draft)")[0] == "OK"
    first, *others = sorted(glob.glob(store.path("store1", "snapshots", "*.mdb")))
    os.truncate(first, os.path.getsize(first) - 1)
    for name in others:
        os.unlink(name)
    return store


@pytest.mark.parametrize("kind,told", KINDS, ids=[k for k, _ in KINDS])
def test_rows_in_the_log_do_for_a_snapshot(folded, kind, told):
    before = seen(folded, folded.one)
    damage(folded, kind)
    done = tool(folded, "reconstruct", folded.one["address"], "Work")
    assert done.returncode == 0 and told in done.stdout and " 0 lost" in done.stdout, done.stdout + done.stderr
    assert "no good snapshot" not in done.stderr
    assert seen(folded, folded.one) == before
    done = tool(folded, "check")
    assert done.returncode == 0 and " 0 faults" in done.stdout, done.stdout + done.stderr


def test_a_shadow_that_cannot_be_made_now_is_waited_for(folded):
    """Nothing counts as lost because the disk was full, and what another repair has made so far is let alone."""
    before = seen(folded, folded.one)
    damage(folded, "entry-short")
    repair = folded.path("store1", "repair")
    os.makedirs(os.path.join(repair, "data.mdb", "in the way"))
    done = tool(folded, "reconstruct", folded.one["address"])
    assert done.returncode == 65 and "cannot be made now" in done.stderr and done.stdout == "", done.stdout + done.stderr
    shutil.rmtree(os.path.join(repair, "data.mdb"))
    with open(os.path.join(repair, "lock"), "wb") as lock, open(os.path.join(repair, "data.mdb"), "wb"):
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = tool(folded, "reconstruct", folded.one["address"])
        assert done.returncode == 65 and "another repair is under way" in done.stderr and done.stdout == "", done.stdout + done.stderr
        assert os.path.exists(os.path.join(repair, "data.mdb"))
    done = tool(folded, "reconstruct", folded.one["address"])
    assert done.returncode == 0 and "1 messages put right, 0 lost" in done.stdout, done.stdout + done.stderr
    assert seen(folded, folded.one) == before


def test_export_of_a_message_whose_size_is_wrong(store):
    """The index says it is longer than memory: told, and the store lives."""
    damage(store, "entry-size", 7)
    done = tool(store, "export", "maildir", store.one["address"], store.path("out"))
    assert done.returncode == 65, done.stdout + done.stderr
    assert tool(store, "reconstruct", store.one["address"], "Work").returncode == 0


def test_what_nothing_remembers_is_lost(store):
    """Damage that has got into both snapshots: the message has vanished, for clients that keep track, too; the rest is whole."""
    with login(store, store.other) as m:
        m.create("Lost")
        for n in range(3):
            m.append("Lost", None, None, text(n))
    subprocess.run([store.path("damage"), store.path("store1", "index"), "entry-short", store.other["address"], "Lost", "2"],
                   check=True, timeout=60)
    for _ in range(2):
        with login(store, store.other) as m:
            m.create("X")
            m.delete("X")
        snapshot_now(store)
    done = tool(store, "reconstruct", store.other["address"], "Lost")
    assert done.returncode == 65 and " 1 lost" in done.stdout, done.stdout + done.stderr
    with login(store, store.other) as m:
        m._simple_command("ENABLE", "QRESYNC")
        typ, _ = m._simple_command("SELECT", "Lost", "(QRESYNC (%d 1))" % uidvalidity(m, "Lost"))
        assert typ == "OK"
        assert m.response("VANISHED")[1] == [b"(EARLIER) 2"]
        assert m.response("EXISTS")[1] == [b"2"]
    done = tool(store, "check")
    assert "faults" in done.stdout
    assert tool(store, "check", store.other["address"], "Lost").returncode == 0


def uidvalidity(m, name):
    return int(re.search(rb"UIDVALIDITY (\d+)", m.status(name, "(UIDVALIDITY)")[1][0])[1])
