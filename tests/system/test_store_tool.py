"""postern store check | snapshot | reconstruct | export: beside a store that works, and on one that stands."""
import glob
import imaplib
import mailbox
import os
import shutil
import socket

import pytest

from tier import wait_for

TEXTS = [f"Subject: number {n}\r\n\r\nFrom the start\r\n>From here\r\nline {n}\r\n".encode() for n in range(5)]


@pytest.fixture(scope="module")
def store(new_tier):
    tier = new_tier(stores=1)
    tier.write_all()
    tier.start_store(1)
    tier.user_one = tier.user("alice")
    m = login(tier)
    for text in TEXTS:
        assert m.append("INBOX", r"(\Seen)", None, text)[0] == "OK"
    assert m.create("Work/v1.0")[0] == "OK"
    assert m.append("Work/v1.0", r"(\Flagged \Answered)", None, TEXTS[0])[0] == "OK"
    m.logout()
    return tier


def login(tier):
    m = imaplib.IMAP4("127.0.0.1", tier.store_port(1, "imap"))
    m.login(tier.user_one["address"], tier.user_one["password"])
    return m


def tool(tier, *words):
    return tier.postern("store", *words, config="store1")


def seen_by_imap(tier):
    m = login(tier)
    found = {}
    for name in ("INBOX", "Work/v1.0"):
        m.select(name, readonly=True)
        found[name] = m.fetch("1:*", "(UID FLAGS BODY.PEEK[])")[1]
    m.logout()
    return found


def test_check_and_snapshot(store):
    done = tool(store, "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 users, 3 mailboxes, 6 messages in 6 records, 0 faults" in done.stdout
    done = tool(store, "snapshot")
    assert done.returncode == 0 and "being written" in done.stdout, done.stdout + done.stderr
    wait_for(lambda: [n for n in os.listdir(store.path("store1", "snapshots")) if not n.endswith(".tmp")], 20, "a snapshot")


def test_export(store):
    to = store.path("maildir")
    done = tool(store, "export", "maildir", store.user_one["address"], to)
    assert done.returncode == 0 and "3 mailboxes, 6 messages" in done.stdout, done.stdout + done.stderr
    box = mailbox.Maildir(to, create=False)
    assert sorted(m.as_bytes() for m in box) == sorted(t.replace(b"\r\n", b"\n") for t in TEXTS)
    assert {m.get_flags() for m in box} == {"S"}
    assert sorted(box.list_folders()) == ["Work", "Work.v1_0"]
    assert [m.get_flags() for m in box.get_folder("Work.v1_0")] == ["FR"]
    to = store.path("mbox")
    assert tool(store, "export", "mbox", store.user_one["address"], to).returncode == 0
    box = mailbox.mbox(os.path.join(to, "INBOX.mbox"), create=False)
    assert [m.get_flags() for m in box] == ["RO"] * 5
    assert [m["Subject"] for m in box] == [f"number {n}" for n in range(5)]
    assert box[0].get_payload() == ">From the start\n>>From here\nline 0\n"
    assert tool(store, "export", "mbox", "nobody@example.org", to).returncode == 65
    assert tool(store, "export", "zip", store.user_one["address"], to).returncode == 64


@pytest.mark.parametrize("form", ["maildir", "mbox"])
def test_import_gives_back_what_export_wrote(store, form):
    """Into another user, and out again: the same files."""
    to, back = store.path(form + "-1"), store.path(form + "-2")
    assert tool(store, "export", form, store.user_one["address"], to).returncode == 0
    done = tool(store, "import", form, f"{form}@example.org", to)
    assert done.returncode == 0 and "6 messages, 0 refused" in done.stdout, done.stdout + done.stderr
    assert tool(store, "export", form, f"{form}@example.org", back).returncode == 0
    assert contents(to) == contents(back)
    assert tool(store, "import", form, "no address", to).returncode == 64


def test_import_tells_what_it_leaves_out(store):
    """A NUL in an mbox, and a folder that is not there."""
    where = store.path("odd")
    os.makedirs(where)
    with open(os.path.join(where, "INBOX.mbox"), "wb") as f:
        f.write(b"From a Mon Jan  1 00:00:00 2026\nSubject: one\n\nthis\0and that\nnext\n\n"
                b"From a Mon Jan  1 00:00:00 2026\nSubject: two\n\ngood\n")
    done = tool(store, "import", "mbox", "odd@example.org", where)
    assert done.returncode == 65 and "1 messages, 1 refused" in done.stdout and "NUL" in done.stderr, done.stdout + done.stderr
    os.unlink(os.path.join(where, "INBOX.mbox"))
    done = tool(store, "import", "mbox", "odd@example.org", where + "-nowhere")
    assert done.returncode == 65 and "No such file" in done.stderr, done.stdout + done.stderr


def contents(folder):
    """Every file: its bytes, its time and the flags in its name, by folder."""
    found = []
    for path, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(path, name)
            kind = name.rpartition(":")[2] if ":" in name else name.replace("_", ".")
            with open(file, "rb") as f:
                found.append((os.path.relpath(path, folder), kind, f.read(), int(os.path.getmtime(file)) if ":" in name else 0))
    return sorted(f for f in found if f[2])  # a dot in a name is a level when it comes back: an empty mailbox more


def test_reconstruct(store):
    before = seen_by_imap(store)
    done = tool(store, "reconstruct", "primary")
    assert done.returncode == 65 and "stop it first" in done.stderr
    assert store.stop_process("store1") == 0
    done = tool(store, "reconstruct", "primary")
    assert done.returncode == 0 and "made anew (snapshot)" in done.stdout, done.stdout + done.stderr
    for name in glob.glob(store.path("store1", "snapshots", "*")):
        os.unlink(name)
    done = tool(store, "reconstruct", "primary")
    assert done.returncode == 0 and "made anew (rebuilt)" in done.stdout, done.stdout + done.stderr
    assert tool(store, "reconstruct", "other").returncode == 64
    assert " 0 faults" in tool(store, "check").stdout
    store.start_store(1)
    assert seen_by_imap(store) == before


def flip(path, found):
    """Changes one byte of what stands there."""
    with open(path, "r+b") as f:
        at = f.read().index(found)
        f.seek(at)
        f.write(bytes([found[0] ^ 1]))


def test_damage(store):
    assert store.stop_process("store1") == 0
    segment = sorted(glob.glob(store.path("store1", "log", "*.seg")))[0]
    flip(segment, b"line 3")
    done = tool(store, "check")
    assert done.returncode == 65 and "CORRUPT in the log" in done.stdout and " 1 faults" in done.stdout
    flip(segment, b"mine 3")
    assert tool(store, "check").returncode == 0
    flip(segment, b"Work/v1.0")  # the change that made the mailbox
    done = tool(store, "reconstruct", "primary")
    assert done.returncode == 65 and "replay" in done.stderr, done.stdout + done.stderr
    done = tool(store, "reconstruct", "primary", "skip-damaged")
    assert done.returncode == 0 and " 1 left out" in done.stdout, done.stdout + done.stderr
    assert " 0 faults" in tool(store, "check").stdout
    store.start_store(1)
    m = login(store)
    assert m.select("INBOX")[1] == [b"5"]
    m.logout()


MIB = b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * 14600


class Session:
    """Says commands, and keeps what is answered as it is."""

    def __init__(self, tier, user, enable="QRESYNC"):
        self.sock = socket.create_connection(("127.0.0.1", tier.store_port(1, "imap")), timeout=60)
        self.file = self.sock.makefile("rb")
        self.file.readline()
        for line in (f"LOGIN {user['address']} {user['password']}", f"ENABLE {enable}"):
            self.ok(line)

    def ok(self, text, *literals):
        self.sock.sendall(b"a " + text.encode() + b"".join(b" {%d+}\r\n%s" % (len(x), x) for x in literals) + b"\r\n")
        heard = [self.file.readline()]
        while not heard[-1].startswith(b"a "):
            heard.append(self.file.readline())
            assert heard[-1], heard
        assert heard[-1].startswith(b"a OK "), (text, heard[-1])
        return heard

    def close(self):
        self.file.close()
        self.sock.close()


def busy_history(tier):
    tier.user_two = tier.user("bob")
    m = Session(tier, tier.user_one)
    for name in ("One/Two", "Gone", "Sent-2"):
        m.ok(f"CREATE {name}")
    for text in TEXTS:
        m.ok(r'APPEND INBOX (\Seen $Label) "01-Feb-2003 04:05:06 +0700"', text)
        m.ok("APPEND Gone", text)
    for line in ("SELECT INBOX", r"UID STORE 2:3 +FLAGS (\Flagged $Other)", r"UID STORE 4 FLAGS (\Deleted)", "UID COPY 1:5 One/Two",
                 "UID MOVE 1 Sent-2", "EXPUNGE", "RENAME One Other", "DELETE Gone", "CREATE Gone", "SUBSCRIBE Other/Two", "SUBSCRIBE Sent-2",
                 "UNSUBSCRIBE Sent-2", f"SETACL Other/Two {tier.user_two['address']} lrs",
                 'SETMETADATA Other/Two (/shared/comment "theirs" /private/comment "mine")', 'SETMETADATA "" (/private/comment "of the server")'):
        m.ok(line)
    return m


def everything(tier):
    """All that clients are told of all mailboxes, by the owner and by one who has rights."""
    m = Session(tier, tier.user_one)
    told = [m.ok(line) for line in ('LIST "" *', 'LSUB "" *', "GETQUOTAROOT INBOX", 'GETMETADATA "" (/private/comment)')]
    for name in ("INBOX", "Gone", "Sent-2", "Other", "Other/Two"):
        told += [m.ok(line) for line in (
            f"STATUS {name} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ MAILBOXID)", f"GETACL {name}",
            f"GETMETADATA {name} (/private/comment /shared/comment)", f"EXAMINE {name}",
            "UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE MODSEQ EMAILID SAVEDATE ENVELOPE BODYSTRUCTURE BODY.PEEK[]<0.99>)",
            "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)")]
    m.close()
    m = Session(tier, tier.user_two)
    told.append(m.ok('LIST "" *'))
    m.close()
    return told


def snapshot_now(tier):
    count = tier.log("store1").count("committer.snapshot ")
    tool(tier, "snapshot")
    wait_for(lambda: tier.log("store1").count("committer.snapshot ") > count, 30, "a snapshot")


def test_segments_alone(store):
    """As it is configured by itself: when the log has been cut, it alone makes an index that says the same."""
    assert store.stop_process("store1") in (0, None)
    shutil.rmtree(store.path("store1"))
    store.start_store(1)
    m = busy_history(store)
    m.ok("SELECT Sent-2")
    for _ in range(66):  # more than fold_after
        m.ok("APPEND Sent-2", MIB)
    m.ok(r"UID STORE 3:* +FLAGS (\Deleted)")
    m.ok("EXPUNGE")
    snapshot_now(store)
    wait_for(lambda: "committer.folded" in store.log("store1"), 30, "rows in the log")
    m.ok(r"UID STORE 2 +FLAGS (\Answered)")
    snapshot_now(store)
    wait_for(lambda: os.path.exists(store.path("store1", "trimmed")), 30, "the log to be cut")
    m.ok(r"UID STORE 2 +FLAGS (\Draft)")
    m.close()
    before = everything(store)
    assert store.stop_process("store1") == 0
    for name in ("index", "snapshots"):
        shutil.rmtree(store.path("store1", name))
    done = tool(store, "reconstruct", "primary")
    assert done.returncode == 0 and "made anew (folded)" in done.stdout, done.stdout + done.stderr
    done = tool(store, "check")
    assert done.returncode == 0 and " 0 faults" in done.stdout, done.stdout
    holds = [path for path in sorted(glob.glob(store.path("store1", "log", "*.seg"))) if b"theirs" in open(path, "rb").read()]
    flip(holds[-1], b"theirs")
    done = tool(store, "check")
    assert done.returncode == 65 and "rows of the index in the log: CORRUPT" in done.stdout, done.stdout
    flip(holds[-1], bytes([b"t"[0] ^ 1]) + b"heirs")
    store.start_store(1)
    assert everything(store) == before
