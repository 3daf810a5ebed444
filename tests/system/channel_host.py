"""An edge whose channels lead to programs and mailboxes of this host, as users of this host."""
import contextlib
import json
import os
import pwd
import re
import signal
import subprocess

import pytest

import mail
from conftest import finish, free_port_base, BIN
from tier import Tier, children_of, port_answers, wait_for

SENDER = "visitor@elsewhere.example"
EDGE_USER = "proxy"  # any users of a fresh Debian do

PROGRAM = r"""#!/usr/bin/python3
import json, os, resource, signal, sys
place = os.environ["PLACE"]
name = os.path.join(place, os.environ["DELIVERY_ID"] + "." + os.environ["LOCAL"])
order = open(os.path.join(place, "order")).read().split() if os.path.exists(os.path.join(place, "order")) else ["0"]
if order[0] == "wait":
    open(name + ".waiting", "w").close()
    os.close(os.open(os.path.join(place, "go"), os.O_RDONLY))  # until somebody has it open for writing
    order = ["0"]
if order[0] == "hang":
    signal.pause()
if order[0] == "eat":
    x = bytearray(1 << 30)
if order[0] == "talk":
    sys.stdout.write("words " * 1000000)
if order[0] == "fork":
    if os.fork() == 0:
        os.setpgid(0, 0) if order[1:] else None
        signal.pause()
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
import json, os, signal, sys
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
    signal.pause()
elif data.startswith(b"spawn"):
    left = os.fork()
    if left != 0:
        name = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(env["INPUT_FILE"]))), "out", "left")
        open(name + ".half", "w").write(str(left))
        os.rename(name + ".half", name)
    signal.pause()
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
                 "mgrpRFC822MailMember: nobody.there@example.org\nmgrpAddHeader: List-Id: <team.example.org>\n"
                 "mgrpRemoveHeader: Date\nmgrpMsgPrefixText: to the team\n")
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

    def delete_all(self):
        """An order passes over what is being tried at that moment."""
        def none_is_left():
            self.postern("queue", "delete", "all")
            return not self.queue()
        wait_for(none_is_left, 30, "an empty queue")

    @contextlib.contextmanager
    def gate(self):
        """Programs that wait for it go on when the block's value has been called; a later one does not stop there at all."""
        opened = []
        os.mkfifo(self.place("out", "go"), 0o644)
        yield lambda: opened.append(os.open(self.place("out", "go"), os.O_RDWR))
        for fd in opened:
            os.close(fd)

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


def end_programs(host):
    """Those that have left their group on purpose."""
    for pid in (int(n) for n in os.listdir("/proc") if n.isdigit()):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                ours = host.place("program").encode() in f.read()
        except OSError:
            continue
        if ours:
            os.kill(pid, signal.SIGKILL)


def running_host(run_dir, name="channels", channels=CHANNELS):
    """For a fixture: the edge with these channels, and its end."""
    if os.geteuid() != 0:
        pytest.skip("becoming other users takes root")
    h = Host(os.path.join(run_dir, name), free_port_base(), BIN)
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
                    + channels.format(place=h.place()))
    h.start()
    yield h
    finish(h)
    end_programs(h)


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
