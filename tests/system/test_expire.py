"""Messages that expire: told first, then gone or moved, by the committer itself; told of as MessageExpire."""
import imaplib
import json
import subprocess

import pytest
from tier import wait_for

RULES = """
	expire_every 1h;
	expire trash { folders Trash; age 30d; flags -flagged; }
	expire voice { folders "*"; type voice; age 7d; action move; target "Archive/Voice"; }
	expire few { folders Few; messages_max 3; }
"""


@pytest.fixture(scope="module")
def tier(new_tier):
    t = new_tier(stores=1)
    t.store_extra = "\tevents_stream ev;\n" + RULES
    t.write_all()
    t.root_extra = f"metermaid {{ redis 127.0.0.1:{t.port('redis')}; }}\n"
    with open(t.config_file("store1"), "w", encoding="utf-8") as f:
        f.write(t.store_config_text(1))
    t.start_redis()
    t.start_store(1)
    return t


def login(tier):
    user = tier.user("alice")
    m = imaplib.IMAP4("127.0.0.1", tier.store_port(1, "imap"))
    m.login(user["address"], user["password"])
    return m


def uids(m, name):
    m.select(name, readonly=True)
    return m.uid("SEARCH", "ALL")[1][0].split()


def tool(tier, *words):
    return tier.postern("store", *words, config="store1")


OLD, NEW = '"01-Jan-2020 10:00:00 +0000"', None


def fill(m):
    for name in ("Trash", "Few"):
        m.create(name)
    for flags, date in ((r"(\Seen)", OLD), (r"(\Flagged)", OLD), ("()", NEW), ("()", OLD)):
        assert m.append("Trash", flags, date, b"Subject: x\r\n\r\nx\r\n")[0] == "OK"
    for n in range(5):
        m.append("Few", "", NEW, b"Subject: %d\r\n\r\nx\r\n" % n)
    m.append("INBOX", "", OLD, b"Content-Type: audio/wav\r\n\r\nx\r\n")
    m.append("INBOX", "", OLD, b"Content-Type: text/plain\r\n\r\nx\r\n")


def test_told_first(tier):
    m = login(tier)
    fill(m)
    done = tool(tier, "expire", "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = sorted(line.split() for line in done.stdout.splitlines()[:-1])
    assert [(line[2], *line[4:]) for line in lines] == [
        ("1", "voice", "move:Archive/Voice", "INBOX"),
        ("1", "trash", "delete", "Trash"), ("4", "trash", "delete", "Trash"),
        ("1", "few", "delete", "Few"), ("2", "few", "delete", "Few")], lines
    assert "5 messages" in done.stdout.splitlines()[-1]
    assert (uids(m, "Trash"), uids(m, "Few"), uids(m, "INBOX")) == (
        [b"1", b"2", b"3", b"4"], [b"1", b"2", b"3", b"4", b"5"], [b"1", b"2"])
    m.logout()


def test_then_done(tier):
    m = login(tier)
    m.select("Trash")
    done = tool(tier, "expire")
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for(lambda: "expunge" in str(m.noop()).lower() or len(uids(m, "Trash")) == 2, 20, "the old ones to go")
    wait_for(lambda: "committer.expired" in tier.log("store1"), 20, "the end of the pass")
    assert (uids(m, "Trash"), uids(m, "Few"), uids(m, "INBOX"), uids(m, "Archive/Voice")) == (
        [b"2", b"3"], [b"3", b"4", b"5"], [b"2"], [b"1"])
    assert "committer.expired" in tier.log("store1") and " n=5" in tier.log("store1")
    assert "0 messages" in tool(tier, "expire", "--dry-run").stdout
    m.logout()


def test_events_say_so(tier):
    def expired():
        text = subprocess.run(["redis-cli", "-p", str(tier.port("redis")), "--json", "XRANGE", "ev", "-", "+"],
                              capture_output=True, text=True, timeout=20, check=True).stdout
        events = [json.loads(fields[1]) for _, fields in json.loads(text)]
        return sorted((e["mailbox"], e["uidset"]) for e in events if e["event"] == "MessageExpire")
    wait_for(lambda: expired() == [("Few", "1:2"), ("Trash", "1,4")], 20, "the events")
    assert tool(tier, "check").returncode == 0
