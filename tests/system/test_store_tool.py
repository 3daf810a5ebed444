"""postern store check | snapshot | reconstruct | export: beside a store that works, and on one that stands."""
import glob
import imaplib
import mailbox
import os

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
