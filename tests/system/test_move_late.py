"""postern user move when orders come late, tools meet, or one has died between the switch and the opening: never are both stores open,
and the directory names the one that is. What goes wrong is arranged by a wrapper around the new store's program."""
import imaplib
import json
import os
import signal
import subprocess

import mail
import pytest
from test_move import finish_move, move, names, send, start_all, start_move, stay, write_move
from tier import wait_for

# die: the tool is killed when it opens the store, and its order stays on the way; late: that order comes before the last of the
# mail is copied; wait: the last copy waits for a byte, a minute at most; fail: it fails; away: from it on the store cannot be reached
WRAPPER = """#!/usr/bin/env python3
import json, os, signal, subprocess, sys
REAL = [{binary}, "-c", {config}]
HERE = {folder}
words = sys.argv[1:]
mode = open(HERE + "mode").read()
order, last = words[0] == "stay" and words[2:3] == ["here"], words[0] == "pull" and words[2:3] == ["final"]
if mode == "die" and order:
    with open(HERE + "late", "w") as f:
        json.dump(words, f)
    os.kill(os.getppid(), signal.SIGKILL)
    sys.exit(0)
if mode == "late" and last and not os.path.exists(HERE + "came"):
    done = subprocess.run(REAL + json.load(open(HERE + "late")), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    with open(HERE + "came", "w") as f:
        f.write(f"{done.returncode} {done.stdout}{done.stderr}")
if mode == "wait" and last:
    with open(HERE + "pid.part", "w") as f:
        f.write(str(os.getpid()))
    os.rename(HERE + "pid.part", HERE + "pid")
    signal.alarm(60)
    open(HERE + "go").read(1)
    signal.alarm(0)
if mode == "away" and last:
    open(HERE + "is-away", "w").close()
if (mode == "fail" and last) or os.path.exists(HERE + "is-away"):
    sys.exit("it cannot be done")
os.execv(REAL[0], REAL + words)
"""


@pytest.fixture(scope="module", name="tier")
def _tier(new_tier):
    t = new_tier("late")
    t.use_redis = False
    t.meter_rules = ""
    t.write_all()
    t.flags = t.path("flags") + "/"
    os.mkdir(t.flags)
    write_wrapped(t)
    be(t, "")
    return start_all(t)


def write_wrapped(t, extra=""):
    write_move(t, extra, store2=WRAPPER.replace("{folder}", repr(t.flags)))


@pytest.fixture(name="user")
def _user(tier):
    """At store1, with mail, and nothing under way."""
    user = tier.user("alice")
    for name in os.listdir(tier.flags):
        os.unlink(tier.flags + name)
    be(tier, "")
    if stay(tier, user, "store2") == "here":
        finish_move(tier, user, "store2", "store1")
    expect(tier, user, send(tier, user))
    return user


def be(tier, mode):
    with open(tier.flags + "mode", "w", encoding="ascii") as f:
        f.write(mode)


def expect(tier, user, token):
    """The message is there at the front door, which asks the directory for the store."""
    def there():
        try:
            with mail.imap(tier, user) as m:
                m.select(readonly=True)
                return m.uid("SEARCH", "HEADER", "SUBJECT", token)[1] != [b""]
        except imaplib.IMAP4.error:  # the cache of the multiplexor names the other store for a moment
            return False
    wait_for(there, 90, "a message at the front door")


def stays(tier, user):
    return stay(tier, user, "store1"), stay(tier, user, "store2")


def die_at_the_opening(tier, user):
    be(tier, "die")
    p = start_move(tier, user, "store1", "store2")
    p.communicate(timeout=60)
    be(tier, "")
    assert p.returncode == -signal.SIGKILL and stays(tier, user) == ("leaving", "arriving") and names(tier, user, "store2")


def test_an_order_that_comes_late(tier, user):
    die_at_the_opening(tier, user)
    be(tier, "late")
    status, out, err = move(tier, user, "store1", "store2")
    came = open(tier.flags + "came", encoding="utf-8").read()
    assert "another move of the user has begun since" in came and not came.startswith("0 "), came
    assert status == 0 and stays(tier, user) == ("gone", "here"), out + err
    expect(tier, user, send(tier, user))


def test_given_up_after_the_switch(tier, user):
    die_at_the_opening(tier, user)
    status, out, err = move(tier, user, "store1", "store2", "abort")
    assert status == 0 and stays(tier, user) == ("here", "gone") and names(tier, user, "store1"), out + err
    expect(tier, user, send(tier, user))
    words = json.load(open(tier.flags + "late", encoding="ascii"))  # and its order comes after all
    late = subprocess.run([os.path.join(tier.bin_dir, "postern-store"), "-c", tier.config_file("store2"), *words],
                          capture_output=True, text=True, timeout=60)
    assert late.returncode != 0 and "another move of the user has begun since" in late.stderr
    assert stays(tier, user) == ("here", "gone")


def test_given_up_after_a_command_has_switched(tier, user):
    """It is run once more, with the stores exchanged."""
    said = tier.path("switched")
    write_wrapped(tier, f"\tswitch_by command;\n\tswitch_command \"printf '%s|' >>{said}\";\n")
    be(tier, "die")
    start_move(tier, user, "store1", "store2").communicate(timeout=60)
    be(tier, "")
    status, out, err = move(tier, user, "store1", "store2", "abort")
    write_wrapped(tier)
    assert status == 0 and stays(tier, user) == ("here", "gone"), out + err
    assert open(said, encoding="ascii").read() == f"{user['address']}|store1|store2|{user['address']}|store2|store1|"


def test_given_back_after_the_switch(tier, user):
    die_at_the_opening(tier, user)
    be(tier, "fail")
    status, out, err = move(tier, user, "store1", "store2")
    assert status == 75 and "stays where it was" in err, out + err
    assert stays(tier, user) == ("here", "arriving") and names(tier, user, "store1")
    token = send(tier, user)
    expect(tier, user, token)
    be(tier, "")
    finish_move(tier, user, "store1", "store2")
    expect(tier, user, token)


def test_given_back_while_the_new_store_is_away(tier, user):
    be(tier, "away")
    status, out, err = move(tier, user, "store1", "store2")
    assert status == 75 and "stays where it was" in err, out + err
    os.unlink(tier.flags + "is-away")
    be(tier, "")
    assert stays(tier, user) == ("here", "arriving") and names(tier, user, "store1")
    finish_move(tier, user, "store1", "store2")


def waiting(tier, user):
    """A tool before the last of the mail, and the process that keeps it waiting."""
    be(tier, "wait")
    os.mkfifo(tier.flags + "go")
    p = start_move(tier, user, "store1", "store2")
    wait_for(lambda: os.path.exists(tier.flags + "pid"), 60, "the last copy")
    be(tier, "")
    return p, int(open(tier.flags + "pid", encoding="ascii").read())


def test_a_second_tool_overtakes(tier, user):
    p, _ = waiting(tier, user)
    finish_move(tier, user, "store1", "store2")
    assert stays(tier, user) == ("gone", "here")
    go_on = os.open(tier.flags + "go", os.O_RDWR)  # does not wait for the reader
    os.write(go_on, b"x")
    out, err = p.communicate(timeout=60)
    os.close(go_on)
    assert p.returncode == 75 and "another move of the user has begun since" in err, out + err
    assert stays(tier, user) == ("gone", "here") and names(tier, user, "store2")
    expect(tier, user, send(tier, user))


def test_nothing_outlives_the_tool(tier, user):
    p, pid = waiting(tier, user)
    p.kill()
    p.communicate(timeout=60)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 30, "the end of what the tool had started")
    finish_move(tier, user, "store1", "store2")
