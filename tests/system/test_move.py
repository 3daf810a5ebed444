"""postern user move: a user goes to another store and back while mail arrives and flags change; the tool and both
stores are killed on the way. What was accepted is there once, under the numbers that clients knew."""
import imaplib
import os
import random
import re
import signal
import socket
import stat
import subprocess
import threading

import mail
import pytest
from conftest import TOP, free_port, kill_daemon
from peers import start_slapd
from tier import children_of, wait_for

SENDER = "visitor@elsewhere.example"
STEPS = ("copy", "hold", "last", "switch", "open", "release", "purge")


def write_move(tier, extra="", **wrapped):
    """wrapped: texts of programs in place of the stores' own, which they get as {binary} and {config}."""
    commands = {}
    for name in ("store1", "store2"):
        binary, config = f"{tier.bin_dir}/postern-store", tier.config_file(name)
        commands[name] = f"{binary} -c {config}"
        if name in wrapped:
            commands[name] = tier.path(f"program-of-{name}")
            with open(commands[name], "w", encoding="ascii") as f:
                f.write(wrapped[name].replace("{binary}", repr(binary)).replace("{config}", repr(config)))
            os.chmod(commands[name], stat.S_IRWXU)
    stores = "".join(f"\tstore {name} {{ command \"{command}\"; }}\n" for name, command in commands.items())
    tier.root_extra = f"move {{\n{stores}{extra}}}\n"
    tier.write_configs()


def start_all(t):
    """Two stores and what is in front of them."""
    for k in (1, 2):
        t.start_store(k)
    t.start_daemon("mmp", "postern")
    t.start_daemon("edge", "postern")
    t.wait_edge()
    return t


@pytest.fixture(scope="module")
def tier(new_tier):
    t = new_tier()
    t.use_redis = False
    t.meter_rules = ""
    t.write_all()
    write_move(t)
    return start_all(t)


def start_move(tier, user, source, target, *more):
    argv = [os.path.join(tier.bin_dir, "postern"), "user", "move", user["address"], source, target, *more, "-c",
            tier.config_file("postern")]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def move(tier, user, source, target, *more):
    p = start_move(tier, user, source, target, *more)
    out, err = p.communicate(timeout=120)
    return p.returncode, out, err


def stay(tier, user, store):
    return tier.postern("store", "stay", user["address"], config=store).stdout.strip()


def names(tier, user, store):
    """Does the directory?"""
    return f"mailHost: {store}" in open(tier.path("directory.ldif"), encoding="utf-8").read().split(f"uid: {user['name']}")[1][:200]


def send(tier, user):
    token = mail.new_token()
    code, said = mail.send(tier, SENDER, [user["address"]], mail.message(token, SENDER, [user["address"]], 500))
    assert code == 250, said
    return token


def direct(tier, user, store):
    """IMAP at the store itself."""
    m = imaplib.IMAP4("127.0.0.1", tier.store_port(store, "imap"))
    m.login(user["address"], user["password"])
    return m


def everything(m):
    """All that a client can know of a mail account."""
    found = {}
    for row in m.list()[1]:
        name = row.decode().rsplit(' "/" ', 1)[1]
        typ, data = m.status(name, "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ DELETED SIZE MAILBOXID)")
        assert typ == "OK", data
        m.select(name, readonly=True)
        rows = m.uid("FETCH", "1:*", "(FLAGS MODSEQ INTERNALDATE SAVEDATE EMAILID RFC822.SIZE BODY.PEEK[])")[1]
        rows = sorted(r if isinstance(r, bytes) else b"".join(r) for r in rows if r is not None)
        gone = m.uid("SEARCH", "RETURN", "(ALL)", "ALL")[1]
        found[row] = (data[0].split(b"(", 1)[1], rows, gone, m.getacl(name)[1], annotations(m, name))
    return found, sorted(m.lsub()[1]), annotations(m, '""')


def annotations(m, name):
    imaplib.Commands.setdefault("GETMETADATA", ("AUTH", "SELECTED"))
    assert m._simple_command("GETMETADATA", "(DEPTH infinity)", name, "(/private /shared)")[0] == "OK"
    return m.response("METADATA")[1]


def fill(tier, user, store):
    m = direct(tier, user, store)
    m.create("Work/Deep")
    m.create("Empty")
    m.subscribe("Work/Deep")
    m.setacl("Work/Deep", "bob@example.org", "lrs")
    m.setacl("Work/Deep", "-anyone", "p")
    imaplib.Commands.setdefault("SETMETADATA", ("AUTH", "SELECTED"))
    for name, entries in (("Work/Deep", '(/private/comment "mine" /shared/vendor/x "\\"all\\"")'), ('""', '(/private/x "1")')):
        assert m._simple_command("SETMETADATA", name, entries)[0] == "OK"
    m.subscribe("not-there")
    m.unsubscribe("INBOX")
    for n in range(60):
        flags = ("", r"\Seen", r"\Flagged $Label", r"\Answered Word", r"\Deleted")[n % 5]
        assert m.append("INBOX" if n % 2 else "Work/Deep", f"({flags})", f'"{1 + n % 28:02d}-Jan-2020 10:00:00 +0130"',
                        mail.message(f"fill{n}", SENDER, [user["address"]], 300 + 7000 * (n % 7 == 0)))[0] == "OK"
    m.select("INBOX")
    m.expunge()
    m.uid("STORE", "1:8", "+FLAGS", r"(\Seen Other)")
    m.uid("COPY", "2:5", "Work/Deep")
    m.uid("MOVE", "6:7", "Empty")
    m.logout()


def vanished(m, name):
    """What QRESYNC tells of expunged messages."""
    m.send(b"q1 ENABLE QRESYNC\r\n")
    while not m.readline().startswith(b"q1 "):
        pass
    uidvalidity = m.status(name, "(UIDVALIDITY)")[1][0].split()[-1].rstrip(b")")
    m.send(b"q2 SELECT " + name.encode() + b" (QRESYNC (" + uidvalidity + b" 1))\r\n")
    lines = []
    while not lines or not lines[-1].startswith(b"q2 "):
        lines.append(m.readline())
    return [line for line in lines if line.startswith(b"* VANISHED") or b"UIDNEXT" in line]


def test_everything_is_as_it_was(tier):
    user = tier.user("alice")
    fill(tier, user, 1)
    m = direct(tier, user, 1)
    before, gone = everything(m), vanished(m, "INBOX")
    assert all(b"EMAILID (M" in row for box in before[0].values() for row in box[1] if row != b")")
    assert b"/private/x" in before[2][0]
    assert any(b"/shared/vendor/x" in box[4][0] for box in before[0].values() if box[4][0])
    m.logout()
    assert len(gone) == 2
    code, out, err = move(tier, user, "store1", "store2")
    assert code == 0 and "is at store2" in out, out + err
    m = direct(tier, user, 2)
    assert everything(m) == before
    assert vanished(m, "INBOX") == gone
    m.logout()
    assert (stay(tier, user, "store1"), stay(tier, user, "store2")) == ("gone", "here")
    assert names(tier, user, "store2")
    with pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"):
        direct(tier, user, 1)
    for k in (1, 2):
        done = tier.postern("store", "check", config=f"store{k}")
        assert done.returncode == 0, done.stdout


def lmtp(tier, store, *lines):
    """Last reply to a few LMTP lines."""
    with socket.create_connection(("127.0.0.1", tier.store_port(store, "lmtp")), timeout=20) as s:
        f = s.makefile("rb")
        f.readline()
        for line in lines:
            s.sendall(line.encode() + b"\r\n")
            reply = f.readline()
            while reply[3:4] == b"-":
                reply = f.readline()
        return reply


def test_the_old_store_sends_mail_away(tier):
    user = tier.user("alice")
    reply = lmtp(tier, 1, "LHLO x", "MAIL FROM:<>", f"RCPT TO:<{user['address']}>")
    assert reply.startswith(b"451 4.2.1"), reply


def test_again_and_back(tier):
    user = tier.user("alice")
    code, out, err = move(tier, user, "store1", "store2")
    assert code == 0 and "is at store2" in out, out + err  # it is done already
    code, _, err = move(tier, user, "store1", "store2", "abort")
    assert code == 75 and "already" in err
    m = direct(tier, user, 2)
    before = everything(m)
    m.logout()
    code, out, err = move(tier, user, "store2", "store1")
    assert code == 0 and "is at store1" in out, out + err
    m = direct(tier, user, 1)
    assert everything(m) == before
    m.logout()


def test_what_is_refused(tier):
    user, bob = tier.user("alice"), tier.user("bob")
    code, _, err = move(tier, bob, "store1", "store2")
    assert code == 75 and "names the new store already" in err, err
    direct(tier, bob, 2).logout()
    code, _, err = move(tier, bob, "store1", "store2")
    assert code == 64 and "not at store1" in err, err
    assert move(tier, user, "store1", "store3")[0] == 64
    assert move(tier, user, "store1", "store1")[0] == 64
    m = direct(tier, user, 2) if stay(tier, user, "store2") == "here" else None
    assert m is None
    # A user of that name who has mail at the new store is somebody's mail: it is not thrown away.
    other = direct(tier, tier.user("carol"), 2)
    other.append("INBOX", "", None, b"Subject: mine\r\n\r\nmine\r\n")
    other.logout()
    direct(tier, tier.user("carol"), 1).logout()
    code, _, err = move(tier, tier.user("carol"), "store1", "store2")
    assert code == 75 and "exists" in err, err
    assert stay(tier, tier.user("carol"), "store1") == "here"


def test_a_directory_that_does_not_agree_stops_it_before_anything_is_held(tier):
    user = tier.user("dave")
    direct(tier, user, 1).logout()  # at the wrong store
    code, _, err = move(tier, user, "store1", "store2")
    assert code == 75 and "directory" in err and "hold" not in err, err
    assert stay(tier, user, "store1") == "here"


def test_a_user_without_mail(tier):
    """There and back; the store that is left takes nothing for the user."""
    tier.users.append(dict(name="erin", domain="example.org", store=2, address="erin@example.org", password="erin-demo"))
    tier.write_directory()
    user = tier.user("erin")
    for source, target in (("store2", "store1"), ("store1", "store2")):
        code, out, err = move(tier, user, source, target)
        assert code == 0 and "has no mail" in out, out + err
        assert stay(tier, user, source) == "gone"
        reply = lmtp(tier, int(source[-1]), "LHLO x", "MAIL FROM:<>", f"RCPT TO:<{user['address']}>")
        assert reply.startswith(b"451 4.2.1"), reply
        reply = lmtp(tier, int(target[-1]), "LHLO x", "MAIL FROM:<>", f"RCPT TO:<{user['address']}>")
        assert reply.startswith(b"250"), reply


def test_abort(tier):
    """Everything up to the directory can be taken back."""
    user = tier.user("bob")
    m = direct(tier, user, 2)
    m.append("INBOX", "", None, b"Subject: one\r\n\r\none\r\n")
    before = everything(m)
    p = start_move(tier, user, "store2", "store1")
    read_to(p, "last")
    p.kill()
    p.wait(20)
    p.stdout.close(), p.stderr.close()
    if stay(tier, user, "store1") == "arriving":
        assert m.noop()[0] == "OK"
        m.select("INBOX")
        with pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"):
            direct(tier, user, 1)
        if stay(tier, user, "store2") == "leaving":
            assert b"UNAVAILABLE" in m.store("1", "+FLAGS", r"(\Seen)")[1][0]
        code, out, err = move(tier, user, "store2", "store1", "abort")
        assert code == 0 and "is at store2" in out, out + err
        assert (stay(tier, user, "store2"), stay(tier, user, "store1")) == ("here", "gone")
        m.close()
        assert everything(m) == before
    m.logout()


# ---- under load, with everything dying ------------------------------------------------------------------------

class Load(threading.Thread):
    """Mail by SMTP, and an IMAP client that marks and moves what it sees; both try again."""

    def __init__(self, tier, user, seed):
        super().__init__(daemon=True)
        self.tier, self.user, self.rng = tier, user, random.Random(seed)
        self.accepted, self.unsure, self.known, self.flagged = set(), set(), {}, {}
        self.stopping, self.number, self.failure = False, 0, None

    def deliver(self):
        self.number += 1
        token = f"load{self.number:05d}x"
        self.unsure.add(token)
        try:
            code, _ = mail.send(self.tier, SENDER, [self.user["address"]],
                                mail.message(token, SENDER, [self.user["address"]], self.rng.choice((300, 5000))))
        except (OSError, mail.smtplib.SMTPException):
            return
        self.unsure.discard(token)
        if code == 250:
            self.accepted.add(token)

    def look(self):
        """Messages keep their uid: what was seen once under a number stays there."""
        try:
            with mail.imap(self.tier, self.user) as c:
                c.select("INBOX")
                validity = c.response("UIDVALIDITY")[1][0]
                rows = c.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
                for row in rows:
                    if isinstance(row, tuple):
                        uid = row[0].split(b"UID ")[1].split()[0]
                        subject = row[1].strip()
                        key = (validity, uid)
                        if self.known.setdefault(key, subject) != subject:
                            self.failure = f"{key} was {self.known[key]}, is {subject}"
                if self.known:
                    uid = self.rng.choice(list(self.known))[1]
                    word = f"W{self.rng.randrange(20)}"
                    if c.uid("STORE", uid.decode(), "+FLAGS", f"({word})")[0] == "OK":
                        self.flagged.setdefault(uid, set()).add(word.encode())
        except (OSError, imaplib.IMAP4.error):
            return

    def run(self):
        while not self.stopping:
            self.deliver()
            if self.number % 3 == 0:
                self.look()


def read_to(p, step):
    """Reads what the tool tells until it is at that step; False: it ended before."""
    for line in p.stderr:
        if line.rstrip().endswith(f": {step}"):
            return True
    return False


def kill_store(tier, store):
    """The master and its children at once; then it is started again."""
    kill_daemon(tier, f"store{store}")
    tier.start_store(store)


def kill_committer(tier, store):
    for pid, argv in children_of(tier.processes[f"store{store}"].pid):
        os.kill(pid, signal.SIGKILL)


def finish_move(tier, user, source, target):
    """The same command until it says that it is done."""
    def again():
        code, out, err = move(tier, user, source, target)
        assert code in (0, 69, 75), f"{code} {out}{err}"
        if code != 0:
            raise ValueError(f"{code} {out}{err}")  # is told if it stays so
        return True
    wait_for(again, 180, "the move")


def somewhere_inside(p, rng):
    """Where a step begins, or where a program that the tool has started works; a short step may be over by then."""
    if rng.random() < 0.5:
        wait_for(lambda: children_of(p.pid) or p.poll() is not None, 30, "a program of the tool")


def disturbed_move(tier, user, source, target, rng, step):
    p = start_move(tier, user, source, target)
    reached = read_to(p, step)
    what = rng.choice(("tool", "old store", "new store", "committers"))
    if what == "tool":
        somewhere_inside(p, rng)
        p.kill()
    elif what == "committers":
        kill_committer(tier, int(source[-1]))
        kill_committer(tier, int(target[-1]))
    else:
        kill_store(tier, int((source if what == "old store" else target)[-1]))
    err = p.stderr.read()
    p.stdout.close()
    p.stderr.close()
    p.wait(180)
    print(step, what, reached, p.returncode, err)
    finish_move(tier, user, source, target)


def subjects(m):
    m.select("INBOX", readonly=True)
    rows = m.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
    return {r[0].split(b"UID ")[1].split()[0]: (r[1].strip().split()[-1].decode(), r[0]) for r in rows if isinstance(r, tuple)}


def test_nothing_is_lost_or_doubled_under_load(tier):
    user = tier.user("bob")
    rng = random.Random(int(os.environ.get("MOVE_SEED", "7")))
    load = Load(tier, user, 11)
    here, there = "store2", "store1"
    direct(tier, user, 2).logout()
    finish_move(tier, user, here, there)
    here, there = there, here
    load.start()
    for step in STEPS * int(os.environ.get("MOVE_ROUNDS", "1")):
        disturbed_move(tier, user, here, there, rng, step)
        here, there = there, here
    load.stopping = True
    load.join(120)
    assert load.failure is None, load.failure
    assert len(load.accepted) > 10

    def all_there():
        m = direct(tier, user, int(here[-1]))
        have = [s for s, _ in subjects(m).values()]
        m.logout()
        return load.accepted <= set(have)
    wait_for(all_there, 60, "everything that was accepted")
    m = direct(tier, user, int(here[-1]))
    found = subjects(m)
    names = [s for s, _ in found.values() if s.startswith("load")]
    assert len(names) == len(set(names)), "a message is there twice"
    assert not set(names) - load.accepted - load.unsure
    validity = m.response("UIDVALIDITY")[1][0]
    for (known_validity, uid), subject in load.known.items():
        assert known_validity == validity and found[uid][0] == subject.split()[-1].decode()
    for uid, words in load.flagged.items():
        assert all(w in found[uid][1] for w in words), (uid, words, found[uid])
    m.logout()
    for k in (1, 2):
        done = tier.postern("store", "check", config=f"store{k}")
        assert done.returncode == 0, done.stdout


# ---- other directories --------------------------------------------------------------------------------------------

def test_ldap(tier):
    """mailHost is another after one modify; a server that says no stops the move before the new store opens."""
    port = free_port()
    tier.write_directory()
    start_slapd(tier, port, os.path.join(TOP, "conf", "schema"))
    user = tier.user("dave")
    direct(tier, user, 2).logout()
    for password, status in (("wrong", 75), ("admin-demo", 0)):
        tier.directory_block = (f"directory {{ backend ldap; uri ldap://127.0.0.1:{port}; base dc=postern; "
                                f"bind_dn \"cn=admin,dc=postern\"; bind_password {password}; }}\n")
        write_move(tier)
        code, out, err = move(tier, user, "store2", "store1")
        assert code == status, out + err
        assert ("hold" in err) == (status == 0)
    found = subprocess.run(["ldapsearch", "-x", "-LLL", "-H", f"ldap://127.0.0.1:{port}", "-b", "dc=postern",
                            "(mail=dave@example.net)", "mailHost"], capture_output=True, text=True, timeout=20, check=True)
    assert re.findall("mailHost: (.*)", found.stdout) == ["store1"]
    assert stay(tier, user, "store1") == "here"


def test_command(tier):
    """switch_command gets the three words, whatever characters they hold, and may fail at first."""
    said = tier.path("said")
    script = tier.path("switch.sh")
    with open(script, "w", encoding="ascii") as f:
        f.write(f"#!/bin/sh\nprintf '%s|' \"$@\" >> {said}\n[ -e {said}.ok ]\n")
    os.chmod(script, 0o755)
    tier.directory_block = None
    write_move(tier, f"\tswitch_by command;\n\tswitch_command {script};\n")
    user = {"address": "odd'$`id`&#@example.org"}
    assert lmtp(tier, 1, "LHLO x", "MAIL FROM:<>", f"RCPT TO:<{user['address']}>", "DATA",
                "Subject: odd\r\n\r\nodd\r\n.").startswith(b"250")
    code, _, err = move(tier, user, "store1", "store2")
    assert code == 75 and "switch_command" in err, err
    assert (stay(tier, user, "store1"), stay(tier, user, "store2")) == ("leaving", "arriving")
    open(said + ".ok", "w", encoding="ascii").close()
    code, out, err = move(tier, user, "store1", "store2")
    assert code == 0, out + err
    assert open(said, encoding="ascii").read() == f"{user['address']}|store1|store2|" * 2
    assert (stay(tier, user, "store1"), stay(tier, user, "store2")) == ("gone", "here")
