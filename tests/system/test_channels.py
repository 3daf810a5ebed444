"""Channels of the edge: programs and mailboxes of this host, as users of this host, with nothing but the edge running."""
import json
import mailbox
import os
import pwd
import re
import signal
import stat
import subprocess

import pytest

from channel_host import CHANNELS, SENDER, in_maildir, running_host, send
from conftest import BIN
from tier import wait_for


@pytest.fixture(name="host", scope="module")
def host_with_channels(run_dir):
    yield from running_host(run_dir)


# ---- programs -----------------------------------------------------------------------------------------------------


def test_program(host):
    """What a program is told, and what it is not given."""
    host.clean()
    token, text = send(host, "Any.body+de-tail@script.example")
    host.wait_empty()
    facts, = host.facts()
    news = pwd.getpwnam("news")
    assert (facts["uid"], facts["gid"]) == (news.pw_uid, news.pw_gid)
    assert 0 not in facts["groups"] and facts["nnp"] and facts["fds"] in ([], [3])  # its own listing
    args = facts["args"]
    assert args[:5] == ["-r", "Any.body+de-tail@script.example", "Any.body", "xde-tail", SENDER]
    env = facts["env"]
    assert env["SENDER"] == SENDER and env["RECIPIENT"] == "Any.body+de-tail@script.example"
    assert set(env) - {"LC_CTYPE"} == {"HOME", "SENDER", "RECIPIENT", "LOCAL", "DOMAIN", "DETAIL", "DELIVERY_ID", "USER",
                                       "LOGNAME", "SHELL", "PATH", "PLACE"}
    assert env["USER"] == "news" and env["DELIVERY_ID"] == args[5] and facts["cwd"] == "/"
    assert facts["limits"]["core"] == [0, 0] and facts["limits"]["space"] == [256 << 20, 256 << 20]
    lines = facts["text"].split("\n")
    assert lines[0] == f"Return-Path: <{SENDER}>" and lines[1] == "Delivered-To: Any.body+de-tail@script.example"
    assert "\r" not in facts["text"]
    assert text.replace(b"\r\n", b"\n").decode("latin-1") in facts["text"]


def test_as_the_user(host):
    host.clean()
    token, _ = send(host, "man+x@example.org")
    host.wait_empty()
    facts, = host.facts()
    assert facts["uid"] == pwd.getpwnam("man").pw_uid and facts["args"] == ["man@example.org"]
    assert facts["cwd"] == os.path.realpath(pwd.getpwnam("man").pw_dir)
    assert token in facts["text"]


@pytest.mark.parametrize("recipient, said", [
    ("a|b@script.example", "characters"), ("`id`@script.example", "characters"), ("$HOME@script.example", "characters"),
    ("a/b@script.example", "characters"), ("-rf@script.example", "characters")])
def test_hostile_names(host, recipient, said):
    host.clean()
    send(host, recipient)
    host.wait_empty()
    assert host.facts() == []
    assert said in [line for line in host.log("edge").splitlines() if "queue.failed" in line][-1]


def test_hostile_sender(host):
    host.clean()
    send(host, "b@script.example", sender="-`x`|y@evil.example")
    host.wait_empty()
    facts, = host.facts()
    assert facts["args"][4] == "__x__y@evil.example" == facts["env"]["SENDER"]


@pytest.mark.parametrize("order, word", [
    ("67 nobody of that name", "queue.failed"), ("77 5.7.9 not for you", "queue.failed"), ("3", "queue.failed"),
    ("69 words", "queue.failed"), ("75 4.2.9 come again", "queue.deferred"), ("78 x", "queue.deferred"),
    ("die 9", "queue.deferred"), ("die 11", "queue.deferred"), ("eat", "queue.failed")])
def test_ends(host, order, word):
    host.clean()
    host.order(order)
    before = len(host.log("edge"))
    send(host, "c@script.example")
    line = wait_for(lambda: next((x for x in host.log("edge")[before:].splitlines() if word in x), None), 20, word)
    if "5.7.9" in order or "4.2.9" in order:
        assert ("not for you" if "5.7.9" in order else "come again") in line and order.split()[1] not in line
    if word == "queue.deferred":
        host.order("0")
        host.postern("queue", "retry")
    host.wait_empty()


def test_output_is_cut(host):
    host.clean()
    host.order("talk")
    send(host, "d@script.example")
    host.wait_empty()
    lines = [x for x in host.log("edge").splitlines() if "run.ended" in x]
    assert "words words" in lines[-1] and len(lines[-1]) < 3000


@pytest.mark.parametrize("order", ["hang", "fork x"])
def test_time(host, order):
    """A program that does not end is ended; what it has left behind as well, if it is of its group."""
    host.clean()
    host.order(order)
    before = len(host.log("edge"))
    send(host, "e@script.example")
    if order == "hang":
        wait_for(lambda: "late=yes" in host.log("edge")[before:], 20, "the end of its time")
        host.order("0")
        host.postern("queue", "retry")
    host.wait_empty()


@pytest.mark.parametrize("channel", ["procmail", "maildrop"])
def test_real_programs(host, channel):
    token, text = send(host, f"someone@{channel}.example")
    host.wait_empty()
    box = mailbox.Maildir(host.place("dropped", channel), create=False)
    found = [m for m in box if token in str(m["Subject"])]
    assert len(found) == 1 and found[0]["Delivered-To"] == f"someone@{channel}.example"


def test_loop(host):
    """Mail that has been there does not go there again."""
    host.clean()
    send(host, "f@script.example", text=lambda t: f"Delivered-To: f@script.example\r\nSubject: {t}\r\n\r\nx\r\n".encode())
    host.wait_empty()
    assert host.facts() == [] and "goes round in a loop" in host.log("edge")


# ---- mailboxes ----------------------------------------------------------------------------------------------------


def test_maildir(host):
    token, text = send(host, "games@example.org", size=300000)
    host.wait_empty()
    (path, stored), = in_maildir(host, "games", token)
    st = os.stat(path)
    assert st.st_uid == pwd.getpwnam("games").pw_uid and stat.S_IMODE(st.st_mode) == 0o600
    assert text.replace(b"\r\n", b"\n") in stored and f",S={len(stored)}" in path
    box = mailbox.Maildir(host.place("maildir", "games"), create=False)
    assert [m["Return-Path"] for m in box if token in m["Subject"]] == [f"<{SENDER}>"]
    assert os.listdir(host.place("maildir", "games", "tmp")) == []


def test_mailbox_and_program(host):
    """One recipient, two ways, each once."""
    host.clean()
    token, _ = send(host, "backup@example.org")
    host.wait_empty()
    assert len(in_maildir(host, "backup", token)) == 1
    assert [f["args"] for f in host.facts()] == [["backup@example.org"]]


def test_no_such_user(host):
    before = len(host.log("edge"))
    send(host, "nobodyhere@example.org")
    host.wait_empty()
    assert "no such user on this host" in host.log("edge")[before:]


def test_mbox(host):
    tokens = [send(host, "games@mbox.example", text=lambda t: (
        f"Subject: {t}\r\n\r\nFrom me\r\n>From you\r\n>>From them\r\nFromage\r\n").encode())[0] for _ in range(5)]
    host.wait_empty()
    path = host.place("mbox", "games")
    box = mailbox.mbox(path, create=False)
    assert [m["Subject"] for m in box] == tokens
    assert all(m.get_from().startswith(SENDER) for m in box)
    assert box[0].get_payload() == ">From me\n>>From you\n>>>From them\nFromage\n"
    st = os.stat(path)
    assert st.st_uid == pwd.getpwnam("games").pw_uid and stat.S_IMODE(st.st_mode) == 0o600
    assert not os.path.exists(path + ".lock")


def plant(kind, path):
    games = pwd.getpwnam("games").pw_uid
    other = path + ".other"
    with open(other, "w", encoding="ascii") as f:
        f.write("keep\n")
    if kind == "link":
        os.symlink(other, path)
    elif kind == "hard":
        os.link(other, path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "owner":
        os.rename(other, path)
        other = path
    elif kind == "open":
        os.rename(other, path)
        os.chmod(path, 0o666)
        other = path
    if kind != "owner":
        for name in (other, path):
            os.chown(name, games, -1, follow_symlinks=False)
    return other


@pytest.mark.parametrize("kind", ["link", "hard", "fifo", "owner", "open"])
def test_planted(host, kind):
    """What others could have put where the mailbox is is not written to; when it is gone the mail is there."""
    path = host.place("mbox", "games")
    if os.path.lexists(path):
        os.unlink(path)
    other = plant(kind, path)
    before = len(host.log("edge"))
    token, _ = send(host, "games@mbox.example")
    wait_for(lambda: "queue.deferred" in host.log("edge")[before:], 20, "a refusal")
    assert open(other, encoding="ascii").read() == "keep\n"
    os.unlink(path)
    if other != path:
        os.unlink(other)
    host.postern("queue", "retry")
    host.wait_empty()
    assert token in open(path, encoding="utf-8").read()


def test_locks(host):
    """Another program's lock is waited for; one that is left by a process that is gone is not."""
    path = host.place("mbox", "games")
    lock = path + ".lock"
    with open(lock, "w", encoding="ascii") as f:
        f.write("other")
    token, _ = send(host, "games@mbox.example")
    wait_for(lambda: host.queue("state=running"), 20, "a delivery that waits")
    size = os.path.getsize(path) if os.path.exists(path) else 0
    os.unlink(lock)
    host.wait_empty()
    assert os.path.getsize(path) > size


def test_half_is_cut(host):
    """A process that died in the middle has left its lock, which says how long the mailbox was."""
    path = host.place("mbox", "games")
    games = pwd.getpwnam("games").pw_uid
    whole = b"From a@b Thu Jan  1 00:00:00 1970\nSubject: whole\n\nx\n\n"
    with open(path, "wb") as f:
        f.write(whole + b"From a@b Thu Jan  1 00:00:00 1970\nSubject: ha")
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    with open(path + ".lock", "w", encoding="ascii") as f:
        f.write(f"postern {gone.pid} {'a' * 18} 0 {len(whole)} open\n")
    for name in (path, path + ".lock"):
        os.chown(name, games, -1)
    os.chmod(path, 0o600)
    token, _ = send(host, "games@mbox.example")
    host.wait_empty()
    assert [m["Subject"] for m in mailbox.mbox(path)] == ["whole", f"test {token}"]


# ---- holding ------------------------------------------------------------------------------------------------------


def test_hold(host):
    """It waits, also over a restart of the queue, until it is released; then it is not held again."""
    host.clean()
    token, _ = send(host, "x@held.scripts.example")
    wait_for(lambda: host.queue("state=held"), 20, "held mail")
    os.kill(host.role("queue")[0], signal.SIGKILL)
    row, = wait_for(lambda: host.queue("state=held"), 20, "held mail")
    assert row["reason"] == "held by channel quarantine" and host.facts() == []
    words, = json.loads(host.postern("queue", "summary", "--json").stdout)
    assert (words["destination"], words["recipients"]) == ("held.scripts.example", 1) and words["bytes"] == row["bytes"]
    host.postern("queue", "release", row["id"])
    host.wait_empty()
    assert token in host.facts()[0]["text"]


def test_hold_of_a_user(host):
    """Mail for a store goes by way of the channel, too, and on from there: it waits for its store, and may be rerouted."""
    host.clean()
    token, _ = send(host, "alice@example.org")
    row, = wait_for(lambda: host.queue("state=held"), 20, "held mail")
    host.postern("queue", "release", row["id"])
    wait_for(lambda: [r for r in host.queue() if r["state"] == "waiting" and r["attempts"]], 20, "an attempt")
    assert "no such" in host.postern("queue", "reroute", row["id"], "to=channel:frob").stderr
    host.postern("queue", "reroute", row["id"], "to=channel:script")
    host.wait_empty()
    assert token in host.facts()[0]["text"]


# ---- reprocess ----------------------------------------------------------------------------------------------------


def test_group_later(host):
    """The members of a group are looked for after its mail was taken; its return path counts, and its refusals."""
    host.clean()
    before = len(host.log("edge"))
    token, _ = send(host, "team@example.org", size=200000)
    wait_for(lambda: len(host.facts()) == 3, 20, "three members' mail")
    assert {f["env"]["RECIPIENT"] for f in host.facts()} == {"one@script.example", "two@script.example", "man@example.org"}
    assert all(token in f["text"] and f["env"]["SENDER"] == "owner@example.org" for f in host.facts())
    for words, there in (("List-Id: <team.example.org>", True), ("to the team", True), ("\nDate:", False)):
        assert all((words in f["text"]) == there for f in host.facts()), words
    log = host.log("edge")[before:]
    assert re.search(r"queue.moved .*recipient=team@example.org channel=later end=moved", log)
    assert "queue.notbounced" in log or "queue.bounced" in log  # of nobody.there
    host.wait_empty()


def test_reprocess_again(host):
    """What waits for a store that is away goes where the user's mail goes now, but for what has been there."""
    host.clean()
    token, _ = send(host, "bob@example.org")
    send(host, "bob@example.org", text=lambda t: f"Delivered-To: bob@example.org\r\nSubject: {t}\r\n\r\nx\r\n".encode())

    def both_are_held():  # an order passes over what is being tried at that moment
        host.postern("queue", "hold", "all")
        return [r["state"] for r in host.queue()] == ["held"] * 2
    wait_for(both_are_held, 20, "both to be held")
    host.user("bob")["lines"] = ["mailDeliveryOption: forward", "mailForwardingAddress: bob@script.example",
                                 "mailForwardingAddress: bob@elsewhere.example"]
    before = len(host.log("edge"))
    host.write_directory()
    wait_for(lambda: re.search(r"edge/queue.* directory.file_loaded", host.log("edge")[before:]), 20, "the new directory")
    host.postern("queue", "reroute", "all", "to=channel:later")
    host.postern("queue", "release", "all")
    host.wait_empty()
    facts, = host.facts()
    assert token in facts["text"] and facts["env"]["RECIPIENT"] == "bob@script.example"
    assert re.search(r"queue.failed .*recipient=bob@example.org .*code=554 .*goes round in a loop", host.log("edge")[before:])


def test_reprocess_refused(host):
    """Who is gone by now is refused."""
    carol = host.user("carol")
    send(host, carol["address"])
    row, = wait_for(lambda: [r for r in host.queue() if r["attempts"]], 20, "an attempt")
    host.postern("queue", "hold", row["id"])
    host.users.remove(carol)
    before = len(host.log("edge"))
    host.write_directory()
    wait_for(lambda: re.search(r"edge/queue.* directory.file_loaded", host.log("edge")[before:]), 20, "the new directory")
    host.postern("queue", "reroute", row["id"], "to=channel:later")
    host.postern("queue", "release", row["id"])
    host.wait_empty()
    assert re.search(r"queue.failed .*recipient=carol@.* code=550 text=.no such mailbox", host.log("edge")[before:])


# ---- the end of processes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["queue", "runner"])
def test_killed(host, role):
    """One of them dies while a program runs: the mail is delivered by another run."""
    host.clean()
    host.order("wait")
    with host.gate() as open_gate:
        token, _ = send(host, f"{role}@script.example")
        wait_for(lambda: [n for n in os.listdir(host.place("out")) if n.endswith(".waiting")], 20, "the program")
        os.kill(host.role(role)[0], signal.SIGKILL)
        open_gate()
        host.wait_empty()
    assert any(token in f["text"] for f in host.facts())
    host.clean()


def test_killed_again_and_again(host):
    """Whatever dies while mail goes into a maildir: every message is there, and once."""
    tokens = []
    for i in range(40):
        tokens.append(send(host, "games@example.org", size=60000)[0])
        if i % 4 == 3:
            role = ("queue", "runner")[(i // 4) % 2]
            for pid in host.role(role):
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda r=role: host.role(r), 20, role)
    wait_for(lambda: (host.postern("queue", "retry"), not host.queue())[1], 60, "an empty queue")
    assert [len(in_maildir(host, "games", t)) for t in tokens] == [1] * len(tokens)


@pytest.fixture(name="bare")
def host_without_channels(run_dir):
    yield from running_host(run_dir, "bare", "")


def test_first_and_last_channel(bare):
    """A reload is enough for the first channel that runs something, and after one without it the runner ends its work and goes."""
    def reload_with(channels):
        bare.edge_extra = without + channels.format(place=bare.place())
        bare.write_all()
        done = bare.postern("reload")
        assert "reloaded" in done.stdout, done

    without = bare.edge_extra
    wait_for(lambda: bare.role("queue"), 20, "the queue")
    assert not bare.role("runner")
    reload_with(CHANNELS)
    token, _ = send(bare, "a@script.example")
    bare.wait_empty()
    assert [token in f["text"] for f in bare.facts()] == [True]
    bare.order("wait")
    with bare.gate() as open_gate:
        late, _ = send(bare, "b@script.example")
        wait_for(lambda: [n for n in os.listdir(bare.place("out")) if n.endswith(".waiting")], 20, "the program")
        runner, = bare.role("runner")
        reload_with("")
        assert bare.role("runner") == [runner]
        open_gate()
        wait_for(lambda: not bare.role("runner"), 20, "the end of the runner")
    assert [late in f["text"] for f in bare.facts()].count(True) == 1
    bare.wait_empty()
    assert "worker.died" not in bare.log("edge")


# ---- settings -----------------------------------------------------------------------------------------------------

MISTAKES = """hostname mail.example.org;
run_dir run;
directory { backend file; }
edge {
	listener mx { address 127.0.0.1:25; role mx; tls none; }
	channel a { type pipe; }
	channel b { type pipe; program /bin/true; arguments "{nothing}"; }
	channel c { type local; path mailboxes; }
	channel store { type pipe; program /bin/true; }
	channel d { concurrency 1; }
	channel e { type pipe; program /bin/true; user root; }
	channel f { type pipe; program /bin/true; fields frob; }
	channel g { type pipe; program /bin/true; environment "x"; }
	channel h { type pipe; program /bin/true; user "{sender}"; }
	channel "i j" { type hold; }
	channel k { type conversion; user news; }
	channel l { type conversion; part x { program /bin/true; } }
	channel m { type conversion; user news; part x { action keep; program /bin/true; } }
	channel n { type hold; part x { action keep; } }
}
"""


def test_mistakes(run_dir):
    path = os.path.join(run_dir, "mistakes.conf")
    with open(path, "w", encoding="ascii") as f:
        f.write(MISTAKES)
    done = subprocess.run([os.path.join(BIN, "postern-edge"), "-t", "-c", path], capture_output=True, text=True, timeout=30,
                          check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 78
    for line, word in ((6, "program"), (7, "{nothing}"), (8, "path"), (9, "always"), (10, "type"), (11, "root"), (12, "frob"),
                       (13, "NAME=VALUE"), (14, "user"), (15, "letters"), (16, "needs part"), (17, "user"), (18, "action program"), (19, "for conversion")):
        assert any(f"mistakes.conf:{line}:" in t and word in t for t in told.splitlines()), (line, word, told)
