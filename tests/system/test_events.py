"""Events in a Redis stream: what happens is told in order, and nothing is missing after Redis or the store was away."""
import imaplib
import json
import os
import smtplib
import subprocess
import sys

import mail
import pytest
from conftest import TOP, kill_daemon
from tier import wait_for

STREAM = "postern:events"


@pytest.fixture(scope="module")
def tier(new_tier):
    t = new_tier(stores=1)
    t.write_all()
    rewrite(t)
    t.start_redis()
    t.start_store(1)
    return t


def rewrite(t, extra=""):
    t.store_extra = f"\tevents_stream {STREAM};\n\tquota one {{ folders Full; messages 1; }}\n{extra}"
    t.root_extra = f"metermaid {{ redis 127.0.0.1:{t.port('redis')}; }}\n"
    with open(t.config_file("store1"), "w", encoding="utf-8") as f:
        f.write(t.store_config_text(1))


def login(tier):
    user = tier.user("alice")
    m = imaplib.IMAP4("127.0.0.1", tier.store_port(1, "imap"))
    m.login(user["address"], user["password"])
    return m


def deliver(tier, token, to="alice@example.org"):
    with smtplib.LMTP("127.0.0.1", tier.store_port(1, "lmtp")) as s:
        s.sendmail("a@b.example", [to], mail.message(token, "a@b.example", [to]))


def consume(tier, position, seconds=1):
    """What the example consumer prints."""
    argv = [sys.executable, os.path.join(TOP, "docs", "events_consumer.py"), "127.0.0.1", str(tier.port("redis")), STREAM,
            tier.path(position), str(seconds)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def raw(tier, *words):
    return subprocess.run(["redis-cli", "-p", str(tier.port("redis")), *words], capture_output=True, text=True, timeout=20,
                          check=True).stdout


def everything(tier):
    """Every event in the stream by its id."""
    text = raw(tier, "--json", "XRANGE", STREAM, "-", "+")
    found = [json.loads(fields[1]) for _, fields in json.loads(text)]
    return {e["id"]: e for e in found}


def stream_length(tier):
    return int(raw(tier, "XLEN", STREAM))


def brief(e):
    rest = [str(e[k]) for k in ("uidset", "oldMailbox") if k in e] + e.get("flagNames", [])
    return " ".join([e["event"], e["mailbox"], *rest])


def test_what_is_told(tier):
    deliver(tier, "one")
    m = login(tier)
    m.create("Work/Deep")
    m.subscribe("Work")
    m.select("INBOX")
    m.append("INBOX", r"(\Seen)", None, b"Subject: two\r\n\r\ntwo\r\n")
    m.append("INBOX", "", None, b"Subject: three\r\n\r\nthree\r\n")
    m.noop()
    m.store("1:3", "+FLAGS", r"(\Seen \Flagged Word)")
    m.store("1", "-FLAGS", r"(\Flagged Word)")
    m.store("1", "FLAGS", r"(\Deleted)")
    m.uid("COPY", "2:3", "Work")
    m.uid("MOVE", "2", "Work/Deep")
    m.expunge()
    m.close()
    m.rename("Work", "Done")
    m.delete("Done/Deep")
    m.unsubscribe("Work")
    m.logout()
    wait_for(lambda: "MailboxUnSubscribe" in raw(tier, "XREVRANGE", STREAM, "+", "-", "COUNT", "1"), 20, "the last event")
    events = consume(tier, "first")
    assert [brief(e) for e in events] == [
        "MessageNew INBOX 1",
        "MailboxCreate Work", "MailboxCreate Work/Deep", "MailboxSubscribe Work",
        "MessageAppend INBOX 2", "MessageAppend INBOX 3",
        r"MessageRead INBOX 1 \Seen", r"FlagsSet INBOX 1 \Flagged Word", r"FlagsSet INBOX 2 \Flagged Word",
        r"MessageRead INBOX 3 \Seen", r"FlagsSet INBOX 3 \Flagged Word",
        r"FlagsClear INBOX 1 \Flagged Word",
        r"MessageTrash INBOX 1 \Deleted", r"FlagsClear INBOX 1 \Seen",
        "MessageAppend Work 1:2 INBOX",
        "MessageAppend Work/Deep 1 INBOX", "MessageExpunge INBOX 2",
        "MessageExpunge INBOX 1",
        "MailboxRename Done Work", "MailboxRename Done/Deep Work/Deep", "MailboxDelete Done/Deep", "MailboxUnSubscribe Work",
    ]
    new = events[0]
    assert new["user"] == "alice@example.org" and new["messages"] == 1 and new["uidnext"] == 2 and new["unseen"] == 1
    assert new["messageSize"] > 100 and new["uidvalidity"] > 0 and new["modseq"] > 1 and new["timestamp"].endswith("Z")
    assert consume(tier, "first") == []  # and none twice


def test_nothing_is_missing_when_redis_was_away(tier):
    consume(tier, "second")
    tier.stop_process("redis")
    for n in range(40):
        deliver(tier, f"away{n}")
    m = login(tier)
    m.select("INBOX")
    for n in range(300):  # more than are sent ahead
        m.store("1", ("+" if n % 2 else "-") + "FLAGS", r"(\Flagged)")
        m.store("1", "+FLAGS" if n % 2 else "-FLAGS", "(Blue)")
    m.logout()
    tier.start_redis()
    wait_for(lambda: stream_length(tier) >= 640 - 2, 30, "all events")  # the first two may change nothing
    os.unlink(tier.path("second"))  # this Redis begins anew, and so does its reader
    events = consume(tier, "second")
    new = [e for e in events if e["event"] == "MessageNew"]
    assert [int(e["uidset"]) for e in new] == list(range(int(new[0]["uidset"]), int(new[0]["uidset"]) + 40))
    assert len([e for e in events if e["event"].startswith("Flags")]) in (598, 599, 600)


def test_nothing_is_missing_when_the_store_was_killed(tier):
    consume(tier, "third")
    tier.stop_process("redis")
    deliver(tier, "before")
    kill_daemon(tier, "store1")
    tier.start_store(1)
    deliver(tier, "after")
    tier.start_redis()
    wait_for(lambda: stream_length(tier) >= 2, 30, "both events")
    os.unlink(tier.path("third"))
    new = [e["uidset"] for e in consume(tier, "third") if e["event"] == "MessageNew"]
    assert len(new) >= 2 and [int(n) for n in new] == sorted({int(n) for n in new})


def test_a_refusal_is_told_once(tier):
    """Though it is no change: also when the store is killed at once, however often it is repeated; and that there is room again."""
    text = b"Subject: x\r\n\r\nx\r\n"
    tier.stop_process("redis")
    m = login(tier)
    m.create("Full")
    assert m.append("Full", "", None, text)[0] == "OK"
    assert m.append("Full", "", None, text)[0] == "NO"
    kill_daemon(tier, "store1")
    tier.start_store(1)
    m = login(tier)
    wait_for(lambda: m.select("Full")[0] == "OK", 20, "the index")
    for _ in range(3):
        typ, data = m.append("Full", "", None, text)
        assert typ == "NO" and b"OVERQUOTA" in data[0], data
    m.store("1", "+FLAGS", r"(\Deleted)")
    m.expunge()
    m.delete("Full")
    m.logout()
    tier.start_redis()
    wait_for(lambda: any(e["event"] == "MailboxDelete" and e["mailbox"] == "Full" for e in everything(tier).values()), 30, "the last")
    told = [(e["event"], e["mailbox"], e["vnd.postern.quotaRoot"]) for e in everything(tier).values() if e["event"].startswith("Quota")]
    assert told == [("QuotaExceed", "Full", "one"), ("QuotaWithin", "Full", "one")]


def test_once_more(tier):
    """What was sent can be sent again; a consumer that remembers where it was sees nothing new."""
    consume(tier, "fourth")
    before = stream_length(tier)
    done = tier.postern("ask", "store", "events", "3600", config="store1")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: stream_length(tier) > before + 600, 30, "the same once more")
    assert consume(tier, "fourth") == []
    assert len(everything(tier)) > 660  # everything since the start of the store


def test_index_made_anew_tells_the_same(tier):
    """Events belong to the index, and the log is the truth: nothing is missing, and nothing has another id."""
    m = login(tier)
    m.create("Last")
    m.logout()
    wait_for(lambda: "Last" in raw(tier, "XREVRANGE", STREAM, "+", "-", "COUNT", "1"), 20, "the last event")
    known = everything(tier)
    length = stream_length(tier)
    assert tier.stop_process("store1") == 0
    assert tier.postern("store", "reconstruct", "primary", config="store1").returncode == 0
    tier.start_store(1)
    wait_for(lambda: tier.postern("ask", "store", "events", "3600", config="store1").returncode == 0, 20, "the committer")
    wait_for(lambda: stream_length(tier) > length + 660, 20, "the same once more")
    deliver(tier, "new")
    wait_for(lambda: "MessageNew" in raw(tier, "XREVRANGE", STREAM, "+", "-", "COUNT", "1"), 20, "the new event")
    again = everything(tier)
    assert len(again) == len(known) + 1 and all(again[i] == e for i, e in known.items())


def test_settings(tier):
    t = tier.root_extra
    tier.root_extra = ""
    with open(tier.path("bad.conf"), "w", encoding="utf-8") as f:
        f.write(tier.store_config_text(1))
    tier.root_extra = t
    done = subprocess.run([os.path.join(tier.bin_dir, "postern-store"), "-c", tier.path("bad.conf"), "-t"], capture_output=True,
                          text=True, timeout=20)
    assert done.returncode == 78 and "events_stream needs a Redis" in done.stderr
