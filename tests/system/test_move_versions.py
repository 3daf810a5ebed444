"""postern user move between stores of different versions, as they are while a site is upgraded node by node: refused with a clear
text, nothing is lost, and the same command goes on once both are alike. The other version is a wrapper around the old store's
`serve`, which changes what the two say of their versions."""
import imaplib
import os

import pytest

import mail
from test_move import finish_move, move, read_to, send, start_all, start_move, stay, write_move
from tier import wait_for

WRAPPER = """#!/usr/bin/env python3
import os, subprocess, sys, threading
REAL = [{binary}, "-c", {config}]
words = sys.argv[1:]
version = open({flag}).read() if os.path.exists({flag}) else ""
if words[:1] != ["serve"] or not version:
    os.execv(REAL[0], REAL + words)
version = int(version)
p = subprocess.Popen(REAL + words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
inp, out = sys.stdin.buffer.raw, sys.stdout.buffer

def asks():
    head = inp.read(9)  # length, kind, version
    p.stdin.write(head[:5] + max(version, 1).to_bytes(4, "little"))
    while True:
        more = inp.read(65536)
        if not more:
            break
        p.stdin.write(more)
    p.stdin.close()

threading.Thread(target=asks, daemon=True).start()
head = p.stdout.read(4)
body = p.stdout.read(int.from_bytes(head, "little"))
assert body[-4:] == (2).to_bytes(4, "little"), body
body = body[:-4] + (version.to_bytes(4, "little") if version else b"")  # 0: of before it was told
out.write(len(body).to_bytes(4, "little") + body)
out.flush()
while True:
    more = p.stdout.read(65536)
    if not more:
        break
    out.write(more)
    out.flush()
sys.exit(p.wait())
"""
OTHERS = [("0", "is of an older version: then upgrade it first"), ("1", "the other store is of an older version: upgrade it first"),
          ("3", "the other store is of a newer version: upgrade this one first")]


@pytest.fixture(scope="module")
def tier(new_tier):
    t = new_tier("versions")
    t.use_redis = False
    t.meter_rules = ""
    t.write_all()
    t.flag = t.path("version")
    write_move(t, store1=WRAPPER.replace("{flag}", repr(t.flag)))
    return start_all(t)


def be(tier, version):
    if version is None:
        if os.path.exists(tier.flag):
            os.unlink(tier.flag)
        return
    with open(tier.flag, "w", encoding="ascii") as f:
        f.write(version)


def subjects(tier, user):
    """What the user reads at the front door."""
    with mail.imap(tier, user) as m:
        m.select(readonly=True)
        return m.uid("FETCH", "1:*", "(UID RFC822.SIZE)")[1]


def readable(tier, user):
    """The same; None while logins are held."""
    try:
        found = subjects(tier, user)
    except imaplib.IMAP4.error as error:
        assert "UNAVAILABLE" in str(error)
        return None
    return found if found != [None] else None


@pytest.mark.parametrize("version,text", OTHERS, ids=[v for v, _ in OTHERS])
def test_refused_and_nothing_happened(tier, version, text):
    user = tier.user("alice")
    send(tier, user)
    before = wait_for(lambda: readable(tier, user), 60, "the mail")
    be(tier, version)
    status, out, err = move(tier, user, "store1", "store2")
    assert status != 0 and text in out + err, out + err
    if version != "0":
        assert f"the new store moves users by version {version}, this one by version 2" in err, err
    assert stay(tier, user, "store1") == "here" and readable(tier, user) == before
    send(tier, user)  # and mail comes as before
    wait_for(lambda: len(readable(tier, user)) == len(before) + 1, 60, "more mail")
    be(tier, None)


def test_the_same_command_goes_on(tier):
    user = tier.user("alice")
    before = readable(tier, user)
    assert before is not None
    status, out, err = move(tier, user, "store1", "store2")
    assert status == 0, out + err
    assert stay(tier, user, "store1") == "gone" and stay(tier, user, "store2") == "here"
    wait_for(lambda: readable(tier, user) == before, 90, "the mail at the new store")


@pytest.mark.parametrize("end", ["given up", "goes on"])
def test_upgraded_in_the_middle(tier, end):
    """The tool dies while the user's last changes are still to come, and the old store comes back as another version."""
    user = tier.user("carol")
    send(tier, user)
    before = wait_for(lambda: readable(tier, user), 60, "the mail")
    p = start_move(tier, user, "store1", "store2")
    read_to(p, "last")
    p.kill()
    p.communicate(timeout=60)
    if stay(tier, user, "store1") == "gone":
        pytest.skip("the move was through before the tool died")
    be(tier, "1")
    status, out, err = move(tier, user, "store1", "store2")
    be(tier, None)
    assert status != 0 and "is of an older version: upgrade it first" in out + err, out + err
    assert stay(tier, user, "store1") in ("here", "leaving") and stay(tier, user, "store2") == "arriving"
    if end == "given up":
        status, out, err = move(tier, user, "store1", "store2", "abort")
        assert status == 0 and stay(tier, user, "store1") == "here", out + err
    else:
        finish_move(tier, user, "store1", "store2")
        assert stay(tier, user, "store2") == "here"
    wait_for(lambda: readable(tier, user) == before, 90, "everything as it was")
