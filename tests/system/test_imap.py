"""The store's own IMAP: clients that keep account of what they were told, a committer that dies, IDLE, the end.

Client keeps the list of uids that the protocol lets it deduce and checks every untagged line against it: a
sequence number that is wrong once is found by whoever is told about it.
"""
import os
import random
import re
import signal
import socket
import threading
import time

import pytest

from tier import wait_for

SECONDS = 8
DATA = re.compile(rb"\* (\d+) (EXISTS|EXPUNGE|FETCH)(.*)", re.S)


class Wrong(Exception):
    pass


class Client:
    def __init__(self, tier, user, mailbox=None, seed=0):
        self.random = random.Random(seed)
        self.socket = socket.create_connection(("127.0.0.1", tier.store_port(1, "imap")), timeout=60)
        self.file = self.socket.makefile("rb")
        self.number, self.uids, self.heard = 0, [], []
        assert self.line().startswith(b"* OK ")
        self.ok(f"LOGIN {user['address']} {user['password']}")
        if mailbox is not None:
            self.ok(f"SELECT {mailbox}")

    def close(self):
        self.file.close()
        self.socket.close()

    def wrong(self, what):
        raise Wrong(f"{what}\n" + "\n".join(repr(h) for h in self.heard[-40:]))

    def line(self):
        whole = piece = self.file.readline()
        while piece and (literal := re.search(rb"\{(\d+)\}\r\n$", piece)):
            whole += self.file.read(int(literal.group(1)))
            piece = self.file.readline()
            whole += piece
        if not piece:
            self.wrong("the server closed")
        self.heard.append(whole[:200])
        del self.heard[:-60]
        return whole

    def take(self, line, no_expunge):
        data = DATA.match(line)
        if data is None:
            return
        n, kind = int(data.group(1)), data.group(2)
        if kind == b"EXISTS":
            if n < len(self.uids):
                self.wrong("EXISTS shrinks")
            self.uids += [None] * (n - len(self.uids))
        elif not 1 <= n <= len(self.uids) or (kind == b"EXPUNGE" and no_expunge):
            self.wrong("no such number, or not now")
        elif kind == b"EXPUNGE":
            del self.uids[n - 1]
        elif uid := re.search(rb"UID (\d+)", data.group(3)):
            if self.uids[n - 1] not in (None, int(uid.group(1))):
                self.wrong(f"{n} was {self.uids[n - 1]}")
            self.uids[n - 1] = int(uid.group(1))

    def say(self, command, no_expunge=False):
        """The tagged line's text, and all lines before it."""
        self.number += 1
        tag = b"t%d " % self.number
        if command.startswith("SELECT"):
            self.uids = []
        self.heard.append(command)
        self.socket.sendall(tag + command.encode() + b"\r\n")
        lines = []
        while True:
            line = self.line()
            if line.startswith(tag):
                if line[len(tag):].startswith(b"BAD"):
                    self.wrong("BAD")
                return line[len(tag):], lines
            self.take(line, no_expunge)
            lines.append(line)

    def ok(self, command, no_expunge=False):
        text, lines = self.say(command, no_expunge)
        if not text.startswith(b"OK"):
            self.wrong(text)
        return lines

    def some(self):
        first = self.random.randint(1, len(self.uids))
        return f"{first}:{min(len(self.uids), first + self.random.randint(0, 5))}"

    def step(self):
        """One command at random; the mailbox holds about a hundred messages."""
        flags = self.random.choice(["\\Seen", "\\Flagged \\Answered", "word", "\\Deleted"])
        how = self.random.choice(["+FLAGS", "-FLAGS", "FLAGS", "+FLAGS.SILENT"])
        if len(self.uids) < 10 or (len(self.uids) < 100 and self.random.random() < 0.2):
            self.ok("APPEND crowd (%s) {25+}\r\nSubject: x\r\n\r\n0123456789\n" % self.random.choice(["", "word"]))
            return
        some = self.some()
        command, no_expunge = self.random.choice([
            (f"STORE {some} {how} ({flags})", True), (f"FETCH {some} (UID FLAGS)", True),
            (f"FETCH {some} (UID BODY.PEEK[])", True), ("SEARCH UNSEEN", True), ("UID FETCH 1:* FLAGS", False),
            (f"MOVE {some} crowd", False), (f"UID STORE 1:* {how} ({flags})", False), ("NOOP", False),
            (f"COPY {some} crowd" if len(self.uids) < 100 else f"MOVE {some} elsewhere", False),
            ("EXPUNGE", False), ("CHECK", False), ("UID SEARCH ALL", False), ("SELECT crowd", False)])
        self.ok(command, no_expunge)


@pytest.fixture(scope="module")
def store(new_tier):
    t = new_tier("imap", stores=1, needs=("store",))
    t.write_all()
    t.start_store(1)

    def ready():  # every worker has found its committer
        try:
            for _ in range(8):
                Client(t, t.user("alice")).close()
            return True
        except Wrong:
            return False
    wait_for(ready, 30, "a store that lets everybody in")
    return t


def crowd(store, work, clients=6):
    """Runs work(i) in that many threads; the first failure is the test's."""
    failures = []

    def run(i):
        try:
            work(i)
        except (Wrong, OSError, AssertionError) as error:
            failures.append(f"client {i}: {error}")
    threads = [threading.Thread(target=run, args=(i,)) for i in range(clients)]
    for t in threads:
        t.start()
    return threads, failures


def test_numbers_are_right_for_everybody(store):
    alice = store.user("alice")
    first = Client(store, alice)
    first.ok("CREATE crowd")
    first.ok("CREATE elsewhere")
    until = time.monotonic() + SECONDS
    clients = [Client(store, alice, "crowd", seed=i) for i in range(6)]

    def work(i):
        while time.monotonic() < until:
            clients[i].step()
    threads, failures = crowd(store, work)
    for t in threads:
        t.join()
    assert not failures, failures[0]
    first.ok("SELECT crowd")
    first.ok("UID FETCH 1:* FLAGS")

    def all_agree():
        for c in clients:
            c.ok("UID FETCH 1:* FLAGS")
        return all(c.uids == first.uids for c in clients)
    wait_for(all_agree, 10, "the same mailbox in every session")
    for c in clients + [first]:
        c.close()


def committer_pid(store):
    return int(re.findall(r"worker\.started role=committer index=0 pid=(\d+)", store.log("store1"))[-1])


def test_committer_killed_under_load(store):
    alice = store.user("alice")
    first = Client(store, alice)
    first.ok("CREATE durable")
    stored, lock, done = set(), threading.Lock(), threading.Event()

    def work(i):
        c = Client(store, alice, "durable")
        n = 0
        while not done.is_set():
            token, n = f"token-{i}-{n}-", n + 1
            body = f"Subject: {token}\r\n\r\n{'x' * 200}\r\n"
            text, _ = c.say(f"APPEND durable {{{len(body)}+}}\r\n{body}")
            if text.startswith(b"OK"):
                with lock:
                    stored.add(token)
            elif b"[UNAVAILABLE]" not in text:
                c.wrong(text)
        c.close()
    threads, failures = crowd(store, work, 4)
    for _ in range(3):
        before, pid = len(stored), committer_pid(store)
        wait_for(lambda b=before: failures or len(stored) > b + 50, 60, "messages stored")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda p=pid: committer_pid(store) != p, 30, "another committer")
    before = len(stored)
    wait_for(lambda: failures or len(stored) > before + 50, 60, "messages stored again")
    done.set()
    for t in threads:
        t.join()
    assert not failures, failures[0]
    c = Client(store, alice, "durable")
    found = [re.search(rb"token-[\d-]+", line).group(0).decode()
             for line in c.ok("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])") if b"token-" in line]
    assert stored <= set(found), "an acknowledged message is lost"
    assert len(found) == len(set(found)), "a message is there twice"
    c.close()


def test_idle_hears_across_workers(store):
    alice = store.user("alice")
    first = Client(store, alice)
    first.ok("CREATE heard")
    idle = [Client(store, alice, "heard") for _ in range(6)]
    for c in idle:
        c.socket.sendall(b"i IDLE\r\n")
        assert c.line().startswith(b"+ ")
    first.ok("APPEND heard {3+}\r\na:b")
    for c in idle:
        assert c.line() == b"* 1 EXISTS\r\n"
        c.close()


def test_large_message_byte_for_byte(store):
    rng = random.Random(7)
    body = b"Subject: large\r\n\r\n" + b"".join(
        bytes(rng.choices(range(1, 256), k=rng.randrange(200))).replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"
        for _ in range(60000))
    c = Client(store, store.user("alice"))
    c.ok("CREATE large")
    c.socket.sendall(b"a APPEND large {%d}\r\n" % len(body))
    assert c.line().startswith(b"+ ")
    c.socket.sendall(body + b"\r\n")
    assert c.line().startswith(b"a OK [APPENDUID ")
    c.ok("SELECT large")
    lines = c.ok("FETCH 1 BODY.PEEK[]")
    assert lines[0] == b"* 1 FETCH (BODY[] {%d}\r\n%s)\r\n" % (len(body), body)
    c.close()


def test_stop_says_goodbye(store):
    c = Client(store, store.user("alice"), "INBOX")
    c.socket.sendall(b"i IDLE\r\n")
    assert c.line().startswith(b"+ ")
    assert store.stop_process("store1") == 0
    assert c.line().startswith(b"* BYE [UNAVAILABLE] ")
    c.close()
