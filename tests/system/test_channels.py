"""Channels of the edge: programs and mailboxes of this host, as users of this host, with nothing but the edge running."""
import json
import mailbox
import os
import pwd
import re
import signal
import stat
import subprocess
from email import message_from_string
from email.message import EmailMessage
from email.policy import SMTP

import pytest

import mail
from conftest import finish, free_port_base, BIN
from tier import Tier, children_of, port_answers, wait_for

SENDER = "visitor@elsewhere.example"
EDGE_USER = "proxy"  # any users of a fresh Debian do

PROGRAM = r"""#!/usr/bin/python3
import json, os, resource, sys, time
place = os.environ["PLACE"]
name = os.path.join(place, os.environ["DELIVERY_ID"] + "." + os.environ["LOCAL"])
order = open(os.path.join(place, "order")).read().split() if os.path.exists(os.path.join(place, "order")) else ["0"]
if order[0] == "wait":
    open(name + ".waiting", "w").close()
    while not os.path.exists(os.path.join(place, "go")):
        time.sleep(0.02)
    order = ["0"]
if order[0] == "hang":
    time.sleep(3600)
if order[0] == "eat":
    x = bytearray(1 << 30)
if order[0] == "talk":
    sys.stdout.write("words " * 1000000)
if order[0] == "fork":
    if os.fork() == 0:
        os.setpgid(0, 0) if order[1:] else None
        time.sleep(3600)
if order[0] == "die":
    os.kill(os.getpid(), int(order[1]))
text = sys.stdin.buffer.read()
facts = dict(args=sys.argv[1:], env=dict(os.environ), uid=os.getuid(), gid=os.getgid(), groups=os.getgroups(),
             cwd=os.getcwd(), fds=sorted(int(n) for n in os.listdir("/proc/self/fd") if int(n) > 2),
             text=text.decode("latin-1"), nnp="NoNewPrivs:\t1" in open("/proc/self/status").read(),
             limits=dict(core=resource.getrlimit(resource.RLIMIT_CORE), cpu=resource.getrlimit(resource.RLIMIT_CPU),
                         space=resource.getrlimit(resource.RLIMIT_AS)))
with open(name + ".half", "w") as f:
    json.dump(facts, f)
os.rename(name + ".half", name + ".json")
if len(order) > 1 and order[0].isdigit():
    print(" ".join(order[1:]))
sys.exit(int(order[0]) if order[0].isdigit() else 0)
"""
CONVERTER = r"""#!/usr/bin/python3
import json, os, sys, time
env = os.environ
data = open(env["INPUT_FILE"], "rb").read()
assert sys.argv[1:] in ([], [env["INPUT_FILE"], env["OUTPUT_FILE"]])
if data.startswith(b"facts"):
    json.dump(dict(env=dict(env), uid=os.getuid(), headers=open(env["INPUT_HEADERS"]).read(),
                   message=open(env["MESSAGE_HEADERS"]).read()), open(env["OUTPUT_FILE"], "w"))
    open(env["OUTPUT_OPTIONS"], "w").write('OUTPUT_TYPE=application\nOUTPUT_SUBTYPE="json"\nOUTPUT_DISPOSITION=inline\n')
elif data.startswith(b"status "):
    open(env["OUTPUT_OPTIONS"], "w").write('STATUS=%s\nOUTPUT_DIAGNOSTIC="the program says so"\n' % data.split()[1].decode())
elif data.startswith(b"exit "):
    sys.exit(int(data.split()[1]))
elif data.startswith(b"hang"):
    time.sleep(3600)
elif data.startswith(b"much"):
    f = open(env["OUTPUT_FILE"], "wb")
    while True:
        f.write(b"x" * 65536)
elif data.startswith(b"link"):
    os.symlink("/etc/passwd", env["OUTPUT_FILE"])
elif not data.startswith(b"nothing"):
    open(env["OUTPUT_FILE"], "wb").write(data.upper())
"""
CHANNELS = """
	channel script {{ type pipe; program {place}/program; time 5s; memory 256M; retry_first 200ms; retry_max 1s;
		addresses script.example, .scripts.example; user news;
		arguments "-r", "{{address}}", "{{local}}", "x{{detail}}", "{{sender}}", "{{id}}"; environment "PLACE={place}/out"; }}
	channel own {{ type pipe; program {place}/program; uid_min 1; directory "{{home}}";
		arguments "{{user}}"; environment "PLACE={place}/out"; }}
	channel native {{ type local; uid_min 1; path "{place}/maildir/{{local}}"; retry_first 200ms; retry_max 1s; }}
	channel spoolfile {{ type local; format mbox; uid_min 1; group mail; path "{place}/mbox/{{local}}";
		addresses mbox.example; retry_first 200ms; retry_max 1s; }}
	channel procmail {{ type pipe; program /usr/bin/procmail; user news; arguments "-m", "{place}/procmailrc";
		addresses procmail.example; fields from, return-path, delivered-to; }}
	channel maildrop {{ type pipe; program /usr/bin/maildrop; user news; arguments "{place}/mailfilter";
		addresses maildrop.example; }}
	channel change {{ type conversion; user news; time 3s; addresses changed.scripts.example, dave@example.net;
		work_dir {place}/work;
		part safe {{ type image/gif; action keep; }}
		part virus {{ name *.exe, *.scr; action delete; text "An attachment was removed here."; }}
		part big {{ type application/zip; size_min 100k; action hold; text "a big archive"; }}
		part bad {{ type application/x-bad; action bounce; text "No such files here."; }}
		part gone {{ type application/x-gone; action drop; }}
		part up {{ type text/x-up, image/*; program {place}/convert; arguments "{{input}}", "{{output}}"; }}
		part soft {{ type application/x-soft; program {place}/convert; on_failure keep; }} }}
	channel pieces {{ type defragment; addresses pieces.scripts.example; defragment_lifetime 20s; }}
	channel later {{ type reprocess; addresses again.example; }}
	channel quarantine {{ type hold; addresses held.scripts.example, alice@example.org; }}
"""


class Host(Tier):
    """An edge whose channels lead to this host."""

    def start(self):
        self.write_all()
        self.start_edge()

    def start_edge(self):
        self.start_daemon("edge", "postern")
        wait_for(lambda: port_answers(self.port("mx")), 30, "mx")

    def common_text(self, run_name):
        return super().common_text(run_name) + f"user {EDGE_USER};\n"

    def user_entry(self, user):
        text = super().user_entry(user)
        return text.rstrip("\n") + "\n" + "".join(f"{line}\n" for line in user.get("lines", ()))

    def directory_text(self):
        group = ("dn: cn=team,ou=people,dc=example-org,dc=postern\nobjectClass: top\nobjectClass: groupOfNames\n"
                 "objectClass: inetMailGroup\ncn: team\nmail: team@example.org\nmailDeliveryOption: members_offline\n"
                 "mgrpErrorsTo: owner@example.org\nmgrpRFC822MailMember: one@script.example\n"
                 "mgrpRFC822MailMember: two@script.example\nmgrpRFC822MailMember: man@example.org\n"
                 "mgrpRFC822MailMember: nobody.there@example.org\n")
        return super().directory_text() + "\n" + group

    def place(self, *parts):
        return self.path("place", *parts)

    def role(self, role):
        """Pids of its processes, as the log has them."""
        found = {}
        for line in self.log("edge").splitlines():
            if "worker.started" in line and f"role={role} " in line:
                found[int(re.search(r"pid=(\d+)", line).group(1))] = True
        return [pid for pid in found if pid in dict(children_of(self.processes["edge"].pid))]

    def queue(self, *words):
        return json.loads(self.postern("queue", "list", *words, "--json").stdout)

    def wait_empty(self, seconds=30):
        wait_for(lambda: not self.queue(), seconds, "an empty queue")

    def order(self, text):
        with open(self.place("out", "order"), "w", encoding="ascii") as f:
            f.write(text)

    def facts(self):
        out = self.place("out")
        return [json.load(open(os.path.join(out, n), encoding="utf-8"))
                for n in sorted(os.listdir(out)) if n.endswith(".json")]

    def clean(self):
        for name in os.listdir(self.place("out")):
            os.unlink(self.place("out", name))


def make_place(host):
    for name, mode in (("", 0o755), ("out", 0o777), ("maildir", 0o777), ("mbox", 0o777), ("dropped", 0o777)):
        os.makedirs(host.place(name), exist_ok=True)
        os.chmod(host.place(name), mode)
    for name in ("spool", "tmp"):
        os.makedirs(host.path(name), exist_ok=True)
        os.chown(host.path(name), pwd.getpwnam(EDGE_USER).pw_uid, -1)
    os.makedirs(host.place("work"), exist_ok=True)
    os.chown(host.place("work"), pwd.getpwnam("news").pw_uid, -1)
    texts = {"program": PROGRAM, "convert": CONVERTER, "procmailrc": f"DEFAULT={host.place('dropped')}/procmail/\nLOGFILE=\n",
             "mailfilter": f'to "{host.place("dropped")}/maildrop"\n'}
    for name, text in texts.items():
        with open(host.place(name), "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(host.place(name), 0o755 if name in ("program", "convert") else 0o644)
    news = pwd.getpwnam("news")
    os.chown(host.place("mailfilter"), news.pw_uid, news.pw_gid)
    os.chmod(host.place("mailfilter"), 0o600)
    subprocess.run(["/usr/bin/maildirmake.maildrop", host.place("dropped", "maildrop")], check=True)
    for base, dirs, files in os.walk(host.place("dropped", "maildrop")):
        for name in [base] + [os.path.join(base, f) for f in dirs + files]:
            os.chown(name, news.pw_uid, news.pw_gid)


@pytest.fixture(scope="module")
def host(run_dir):
    if os.geteuid() != 0:
        pytest.skip("becoming other users takes root")
    h = Host(os.path.join(run_dir, "channels"), free_port_base(), BIN)
    h.use_redis = False
    h.workers = 1
    h.users += [
        dict(name="games", domain="example.org", store=1, address="games@example.org", password="x",
             lines=["mailDeliveryOption: native"]),
        dict(name="man", domain="example.org", store=1, address="man@example.org", password="x",
             lines=["mailDeliveryOption: program", "mailProgramDeliveryInfo: own"]),
        dict(name="backup", domain="example.org", store=1, address="backup@example.org", password="x",
             lines=["mailDeliveryOption: native", "mailDeliveryOption: program", "mailProgramDeliveryInfo: own"]),
        dict(name="nobodyhere", domain="example.org", store=1, address="nobodyhere@example.org", password="x",
             lines=["mailDeliveryOption: unix"]),
    ]
    os.makedirs(h.run_dir, exist_ok=True)
    make_place(h)
    h.edge_extra = (f"\ttemp_dir {h.path('tmp')};\n\tqueue_retry_first 200ms;\n\tqueue_retry_max 1s;\n"
                    + CHANNELS.format(place=h.place()))
    h.start()
    yield h
    finish(h)


def send(host, *recipients, sender=SENDER, text=None, size=400):
    token = mail.new_token()
    text = text(token) if text else mail.message(token, sender, recipients, size)
    code, reply = mail.send(host, sender, list(recipients), text)
    assert code == 250, reply
    return token, text


def in_maildir(host, user, token, folders=("new", "cur")):
    found = []
    for folder in folders:
        path = host.place("maildir", user, folder)
        for name in sorted(os.listdir(path)) if os.path.isdir(path) else ():
            with open(os.path.join(path, name), "rb") as f:
                text = f.read()
            if token.encode() in text:
                found.append((os.path.join(path, name), text))
    return found


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
    log = host.log("edge")[before:]
    assert re.search(r"queue.moved .*recipient=team@example.org channel=later end=moved", log)
    assert "queue.notbounced" in log or "queue.bounced" in log  # of nobody.there
    host.wait_empty()


def test_reprocess_again(host):
    """What waits for a store that is away goes where the user's mail goes now."""
    host.clean()
    token, _ = send(host, "bob@example.org")
    row, = wait_for(lambda: [r for r in host.queue() if r["attempts"]], 20, "an attempt")
    host.postern("queue", "hold", row["id"])
    host.user("bob")["lines"] = ["mailDeliveryOption: forward", "mailForwardingAddress: bob@script.example"]
    before = len(host.log("edge"))
    host.write_directory()
    wait_for(lambda: re.search(r"edge/queue.* directory.file_loaded", host.log("edge")[before:]), 20, "the new directory")
    host.postern("queue", "reroute", row["id"], "to=channel:later")
    host.postern("queue", "release", row["id"])
    host.wait_empty()
    facts, = host.facts()
    assert token in facts["text"] and facts["env"]["RECIPIENT"] == "bob@script.example"


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


# ---- defragment ---------------------------------------------------------------------------------------------------


def piece(part_id, number, total, text, subject="outer", sender=SENDER):
    of = f"; total={total}" if total else ""
    return (f"From: <{sender}>\r\nX-Outer: {number}\r\nSubject: {subject} {number}\r\nMessage-ID: <{number}.{part_id}>\r\n"
            f"MIME-Version: 1.0\r\nContent-Type: message/partial; id=\"{part_id}\"; number={number}{of}\r\n\r\n").encode() + text


def split(token, count, size=3000):
    """A message cut at line ends."""
    whole = (b"Subject: " + token.encode() + b"\r\nMessage-ID: <whole." + token.encode() + b">\r\nX-Inner: no\r\n"
             b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n")
    lines = [whole] + [b"line %d of it\r\n" % i for i in range(size)]
    step = -(-len(lines) // count)
    return [b"".join(lines[i:i + step]) for i in range(0, len(lines), step)]


@pytest.mark.parametrize("order, restart", [((1, 2, 3), False), ((3, 1, 2), True), ((2, 3, 1), False)])
def test_pieces(host, order, restart):
    """They wait for each other, also over a restart of the queue, and become what they were cut from."""
    host.clean()
    token = mail.new_token()
    parts = split(token, 3, 30000)
    to = "z@pieces.scripts.example"
    for n, number in enumerate(order):
        if restart and n == 2:
            os.kill(host.role("queue")[0], signal.SIGKILL)
            wait_for(lambda: len(host.queue()) == 2, 20, "two pieces")
        assert mail.send(host, SENDER, [to], piece(token, number, 3 if number == 3 else 0, parts[number - 1]))[0] == 250
        if n < 2:
            wait_for(lambda w=n: len(host.queue("state=waiting")) == w + 1, 20, "a piece that waits")
            assert host.facts() == []
    host.wait_empty()
    facts, = host.facts()
    head, body = facts["text"].split("\n\n", 1)
    assert f"Subject: {token}\n" in head + "\n" and "X-Outer: 1" in head and f"<whole.{token}>" in head
    assert "X-Inner" not in head and "outer" not in head and "partial" not in head
    assert body.encode() == b"".join(parts).split(b"\r\n\r\n", 1)[1].replace(b"\r\n", b"\n")


def test_pieces_that_do_not_fit(host):
    """Another total, a number that is there already, another sender's: they do not disturb, and go on as they are."""
    host.clean()
    token, to = mail.new_token(), "z@pieces.scripts.example"
    parts = split(token, 2)

    def post(number, total, text, sender=SENDER):
        assert mail.send(host, sender, [to], piece(token, number, total, text, sender=sender))[0] == 250
    post(1, 2, parts[0])
    wait_for(lambda: len(host.queue("state=waiting")) == 1, 20, "a piece that waits")
    post(1, 2, b"Subject: again\r\n\r\nx\r\n")
    post(2, 3, b"other total\r\n")
    post(3, 0, b"beyond\r\n")
    post(2, 1000000, b"huge\r\n")
    wait_for(lambda: len(host.facts()) == 4, 20, "four that do not fit")
    assert all("message/partial" in f["text"] for f in host.facts())
    post(2, 2, b"not mine\r\n", "stranger@evil.example")
    wait_for(lambda: len(host.queue("state=waiting")) == 2, 20, "two groups")
    post(2, 2, parts[1])
    wait_for(lambda: len(host.facts()) == 5, 20, "the whole")
    whole = [f for f in host.facts() if "message/partial" not in f["text"]]
    assert len(whole) == 1 and "line 2999 of it" in whole[0]["text"] and "not mine" not in whole[0]["text"]
    host.wait_empty(60)  # the stranger's has waited long enough
    assert sum("not mine" in f["text"] for f in host.facts()) == 1


# ---- conversion ---------------------------------------------------------------------------------------------------


def multipart(token, *parts):
    m = EmailMessage()
    m["Subject"], m["From"], m["To"] = f"test {token}", f"<{SENDER}>", "x@changed.scripts.example"
    m.set_content(f"hello {token}\n")
    for kind, data, name in parts:
        m.add_attachment(data, *kind.split("/"), filename=name)
    return m.as_bytes(policy=SMTP)


def convert(host, *parts, before=None):
    host.clean()
    token = mail.new_token()
    text = multipart(token, *parts)
    code, reply = mail.send(host, SENDER, ["x@changed.scripts.example"], text)
    assert code == 250, reply
    return token, text


def converted(host, *parts):
    _, text = convert(host, *parts)
    host.wait_empty()
    facts, = host.facts()
    assert os.listdir(host.place("work")) == []
    return text, facts["text"], message_from_string(facts["text"])


def test_conversion(host):
    """Some parts become others, some go, and the rest keeps every byte."""
    facts = b"facts" + b"x" * 200
    text, got, m = converted(host, ("text/x-up", b"some text", "a.txt"), ("image/gif", b"GIF", "b.gif"),
                             ("application/octet-stream", b"MZ", "c.EXE"), ("image/png", facts, "d e;.png"))
    kinds = [(p.get_content_type(), p.get_payload(decode=True)) for p in m.walk() if not p.is_multipart()]
    assert kinds[1] == ("text/x-up", b"SOME TEXT") and kinds[2] == ("image/gif", b"GIF")
    assert kinds[3] == ("text/plain", b"An attachment was removed here.") and kinds[4][0] == "application/json"
    told = json.loads(kinds[4][1])
    env = told["env"]
    assert told["uid"] == pwd.getpwnam("news").pw_uid and "d e" in told["headers"] and "hello" not in told["message"]
    assert (env["INPUT_TYPE"], env["INPUT_SUBTYPE"], env["INPUT_ENCODING"]) == ("image", "png", "base64")
    assert (env["PART_NUMBER"], env["ATTACHMENT_NUMBER"]) == ("5", "5") and env["INPUT_NAME"] == "d_e_.png"
    assert (env["INPUT_CHANNEL"], env["OUTPUT_CHANNEL"]) == ("others", "script")
    boundary = m.get_boundary()
    pieces, old = got.split(f"--{boundary}"), text.decode("latin-1").replace("\r\n", "\n").split(f"--{boundary}")
    assert len(pieces) == len(old) and pieces[1] == old[1] and pieces[3] == old[3] and pieces[6] == old[6]


def test_not_converted(host):
    """What no rule is about goes on as it is, in the same message."""
    before = len(host.log("edge"))
    text, got, _ = converted(host, ("application/pdf", b"x" * 1000, "x.pdf"), ("text/x-up", b"nothing here", "n"))
    assert text.decode("latin-1").replace("\r\n", "\n") in got
    assert "end=past" in host.log("edge")[before:]


def test_single_part(host):
    host.clean()
    code, _ = mail.send(host, SENDER, ["x@changed.scripts.example"],
                        b"Subject: s\r\nContent-Type: text/x-up\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=\r\nc\r\n")
    assert code == 250
    host.wait_empty()
    m = message_from_string(host.facts()[0]["text"])
    assert m["Subject"] == "s" and m["MIME-Version"] == "1.0" and m.get_payload(decode=True) == b"A=BC\r\n"


@pytest.mark.parametrize("part, word", [
    (("application/x-bad", b"x", "x"), "No such files here."), (("application/x-gone", b"x", "x"), "end=dropped"),
    (("text/x-up", b"status 178029946 ", "x"), "the program says so"), (("text/x-up", b"status 178030259 ", "x"), "end=dropped"),
    (("text/x-up", b"status bounce ", "x"), "the program says so")])
def test_conversion_ends_it(host, part, word):
    before = len(host.log("edge"))
    convert(host, part)
    host.wait_empty()
    assert word in host.log("edge")[before:] and host.facts() == []


@pytest.mark.parametrize("part, why", [
    (("application/zip", b"PK" * 100000, "x.zip"), "a big archive"), (("text/x-up", b"status 178030250 ", "x"), "the program says so")])
def test_conversion_holds(host, part, why):
    _, text = convert(host, part)
    row, = wait_for(lambda: host.queue("state=held"), 20, "held mail")
    assert row["reason"] == why and host.facts() == []
    host.postern("queue", "release", row["id"])
    host.wait_empty()
    assert text.decode("latin-1").replace("\r\n", "\n") in host.facts()[0]["text"]


@pytest.mark.parametrize("data", [b"status 178030178 ", b"status delete "])
def test_conversion_deletes(host, data):
    _, _, m = converted(host, ("text/x-up", data, "x"))
    assert [p.get_payload() for p in m.walk() if not p.is_multipart()][1] == "the program says so"


@pytest.mark.parametrize("data", [b"exit 1", b"hang", b"much", b"link", b"status frob "])
def test_conversion_fails(host, data):
    """A program that fails: the mail is tried again, or goes on without it where the rule says so."""
    before = len(host.log("edge"))
    convert(host, ("text/x-up", data, "x"))
    wait_for(lambda: "program for part 2 failed" in host.log("edge")[before:], 20, "a failure")
    host.postern("queue", "delete", "all")
    text, got, _ = converted(host, ("application/x-soft", data, "x"))
    assert text.decode("latin-1").replace("\r\n", "\n") in got


def test_conversion_of_a_user(host):
    """Mail for a store goes by way of the conversion, too."""
    before = len(host.log("edge"))
    token, _ = send(host, "dave@example.net", text=lambda t: multipart(t, ("text/x-up", b"x", "x")))
    wait_for(lambda: re.search(r"queue.moved .*dave@example.net channel=change end=moved", host.log("edge")[before:]), 20, "a move")
    wait_for(lambda: [r for r in host.queue() if r["attempts"]], 20, "an attempt at the store")
    host.postern("queue", "delete", "all")


def test_killed_while_converting(host):
    """Whatever dies on the way, each message arrives."""
    host.clean()
    tokens = []
    for i in range(24):
        tokens.append(mail.new_token())
        assert mail.send(host, SENDER, ["x@changed.scripts.example"], multipart(tokens[-1], ("text/x-up", b"x" * 50000, "x")))[0] == 250
        if i % 6 == 5:
            role = ("queue", "runner")[(i // 6) % 2]
            for pid in host.role(role):
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda r=role: host.role(r), 20, role)
    wait_for(lambda: (host.postern("queue", "retry"), not host.queue())[1], 60, "an empty queue")
    texts = [f["text"] for f in host.facts()]
    assert all(any(t in text for text in texts) for t in tokens)
    host.clean()


# ---- the end of processes -----------------------------------------------------------------------------------------


def test_killed_queue(host):
    """The queue dies while a program runs: the program ends, and the mail is delivered by another run."""
    host.clean()
    host.order("wait")
    token, _ = send(host, "g@script.example")
    wait_for(lambda: [n for n in os.listdir(host.place("out")) if n.endswith(".waiting")], 20, "the program")
    os.kill(host.role("queue")[0], signal.SIGKILL)
    with open(host.place("out", "go"), "w", encoding="ascii"):
        pass
    host.wait_empty()
    assert any(token in f["text"] for f in host.facts())
    host.clean()


def test_killed_runner(host):
    host.clean()
    host.order("wait")
    token, _ = send(host, "h@script.example")
    wait_for(lambda: [n for n in os.listdir(host.place("out")) if n.endswith(".waiting")], 20, "the program")
    os.kill(host.role("runner")[0], signal.SIGKILL)
    with open(host.place("out", "go"), "w", encoding="ascii"):
        pass
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
