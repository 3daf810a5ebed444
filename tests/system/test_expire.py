"""Messages that expire: told first, then gone or moved, by the committer itself; told of as MessageExpire."""
import imaplib
import json
import os
import subprocess

import pytest
from tier import wait_for

RULES = """
	expire_every 1h;
	expire trash { folders Trash; age 30d; flags -flagged; }
	expire voice { folders "*"; type voice; age 7d; action move; target "Archive/Voice"; }
	expire arch { folders "Old/*"; age 30d; flags -flagged; action archive; archive_dir ARCHIVE; }
	expire big { folders Rules; larger 2k; }
	expire saved { folders Rules; saved 30d; }
	expire list { folders Rules; header "List-Id: news"; }
	expire junk { folders Rules; flags answered, -seen; }
	expire room { folders Room; bytes_max 4k; }
	expire few { folders Few; messages_max 3; }
"""
# Every condition that needs no waiting (saved: tests/unit/store/test_expire.c) with every action, each in a mailbox of its own:
# what the rule says, and two messages as (flags, old, text), of which the first one goes.
KIND = b"MIME-Version: 1.0\r\nContent-Type: %s\r\n\r\nx\r\n"
PLAIN = b"Subject: x\r\n\r\nx\r\n"
MATRIX = {
    "age": ("age 30d;", ("", True, PLAIN), ("", False, PLAIN)),
    "larger": ("larger 2k;", ("", False, PLAIN + b"x" * 3000), ("", False, PLAIN)),
    "header": ('header "List-Id: news";', ("", False, b"List-Id: news\r\n" + PLAIN), ("", False, PLAIN)),
    "flags": ("flags answered, -seen;", (r"(\Answered)", False, PLAIN), (r"(\Answered \Seen)", False, PLAIN)),
    "voice": ("type voice;", ("", False, KIND % b"audio/ogg"), ("", False, KIND % b"image/tiff")),
    "fax": ("type fax;", ("", False, KIND % b"multipart/fax-message; boundary=x"), ("", False, KIND % b"video/mp4")),
    "video": ("type video;", ("", False, KIND % b"video/mp4"), ("", False, KIND % b"audio/ogg")),
    "mail": ("type mail;", ("", False, PLAIN), ("", False, KIND % b"audio/ogg")),
    "count": ("messages_max 1;", ("", False, PLAIN), ("", False, PLAIN)),
    "bytes": ("bytes_max 2k;", ("", False, PLAIN + b"x" * 1500), ("", False, PLAIN + b"x" * 1500)),
}
ACTIONS = {"delete": "", "move": 'action move; target "Gone/%s";', "archive": "action archive; archive_dir ARCHIVE;"}
for _name, (_rule, _, _) in MATRIX.items():
    for _action, _text in ACTIONS.items():
        RULES += f"\texpire {_name}-{_action} {{ folders \"M-{_action}/{_name}\"; {_rule} {_text.replace('%s', _name)} }}\n"


@pytest.fixture(scope="module")
def tier(new_tier):
    t = new_tier(stores=1)
    t.store_extra = "\tevents_stream ev;\n" + RULES.replace("ARCHIVE", t.path("archive"))
    os.makedirs(t.path("archive"))
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


def expire(tier, m):
    """A pass from its order to its end; m is told of nothing."""
    ends = tier.log("store1").count("committer.expired")
    assert tool(tier, "expire").returncode == 0
    wait_for(lambda: tier.log("store1").count("committer.expired") > ends, 20, "the end of the pass")
    m.noop()


def archived(tier):
    found = {}
    for folder, _, names in os.walk(tier.path("archive")):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                found[os.path.relpath(os.path.join(folder, name), tier.path("archive"))] = f.read()
    return found


def test_archived_before_they_go(tier):
    m = login(tier)
    m.create("Old/Dot.ted")
    for flags, word in ((r"(\Seen)", b"one"), (r"(\Flagged)", b"two"), ("", b"three")):
        assert m.append("Old/Dot.ted", flags, OLD, b"Subject: %s\r\n\r\nFrom here\r\n" % word)[0] == "OK"
    box = "alice@example.org/.Old.Dot_ted"
    os.makedirs(tier.path("archive", "alice@example.org"))
    # in the way of the folder: nothing can be written, so nothing goes
    with open(tier.path("archive", box), "w", encoding="ascii"):
        pass
    assert tool(tier, "expire").returncode == 0
    wait_for(lambda: "committer.archive_failed" in tier.log("store1"), 20, "the failure")
    assert uids(m, "Old/Dot.ted") == [b"1", b"2", b"3"]
    os.unlink(tier.path("archive", box))
    # as after a crash between file and change: the same message is there already, with the flags of then
    v = m.status("Old/Dot.ted", "(UIDVALIDITY)")[1][0].split()[-1].rstrip(b")").decode()
    os.makedirs(tier.path("archive", box, "cur"))
    with open(tier.path("archive", box, "cur", f"1577872800.V{v}U1.postern:2,F"), "w", encoding="ascii") as f:
        f.write("half")
    expire(tier, m)
    assert uids(m, "Old/Dot.ted") == [b"2"]
    assert archived(tier) == {
        f"{box}/cur/1577872800.V{v}U1.postern:2,S": b"Subject: one\n\nFrom here\n",
        f"{box}/cur/1577872800.V{v}U3.postern:2,": b"Subject: three\n\nFrom here\n"}
    assert tool(tier, "check").returncode == 0
    m.logout()


def test_conditions(tier):
    """By size, header, flags and bytes of the mailbox, one message for each that goes and one like it that stays."""
    m = login(tier)
    for name in ("Rules", "Room"):
        m.create(name)
    for flags, text in (("", b"Subject: big\r\n\r\n" + b"x" * 3000), ("", b"Subject: small\r\n\r\nx"),
                        ("", b"List-Id: The NEWS list\r\n\r\nx"), ("", b"List-Id: others\r\n\r\nnews"),
                        (r"(\Answered)", b"Subject: a\r\n\r\nx"), (r"(\Answered \Seen)", b"Subject: b\r\n\r\nx")):
        assert m.append("Rules", flags, OLD, text)[0] == "OK"  # saved just now, whatever its date
    for _ in range(4):
        m.append("Room", "", NEW, b"Subject: x\r\n\r\n" + b"y" * 1500)
    expire(tier, m)
    assert (uids(m, "Rules"), uids(m, "Room")) == ([b"2", b"4", b"6"], [b"3", b"4"])
    m.logout()


def test_every_condition_with_every_action(tier):
    m = login(tier)
    for name, (_, *messages) in MATRIX.items():
        for action in ACTIONS:
            assert m.create(f"M-{action}/{name}")[0] == "OK"
            for flags, old, text in messages:
                assert m.append(f"M-{action}/{name}", flags, OLD if old else NEW, text)[0] == "OK"
    before = archived(tier)
    expire(tier, m)
    files = {path: text for path, text in archived(tier).items() if path not in before}
    for name, (_, first, _) in MATRIX.items():
        for action in ACTIONS:
            assert uids(m, f"M-{action}/{name}") == [b"2"], (name, action)
        text = first[2]
        m.select(f"Gone/{name}", readonly=True)
        assert m.fetch("1:*", "(BODY.PEEK[])")[1][0][1] == text, name
        assert [t for path, t in files.items() if f".M-archive.{name}/" in path] == [text.replace(b"\r\n", b"\n")], name
    assert len(files) == len(MATRIX)
    m.logout()
    assert tool(tier, "check").returncode == 0


def test_events_say_so(tier):
    def expired():
        text = subprocess.run(["redis-cli", "-p", str(tier.port("redis")), "--json", "XRANGE", "ev", "-", "+"],
                              capture_output=True, text=True, timeout=20, check=True).stdout
        events = [json.loads(fields[1]) for _, fields in json.loads(text)]
        return sorted((e["mailbox"], e["uidset"]) for e in events if e["event"] == "MessageExpire" and e["mailbox"] in ("Few", "Trash"))
    wait_for(lambda: expired() == [("Few", "1:2"), ("Trash", "1,4")], 20, "the events")
    assert tool(tier, "check").returncode == 0
