"""Many IMAP clients do random things to the same mailboxes while the committer is killed now and then; each keeps account
of what it is told, and all of it is held against one model at the end. Every other connection of a client is UIDONLY (RFC 9586).

A run of STRESS_SECS seconds (15), STRESS_CLIENTS clients (6), a kill every STRESS_KILL seconds (4; 0: never);
STRESS_SEED says which run. Half an hour: STRESS_SECS=1800 STRESS_KILL=60 make system TESTS=tests/system/test_stress.py
"""
import collections
import imaplib
import os
import random
import re
import signal
import socket
import threading
import time

import pytest

from tier import port_answers, wait_for

SECS, CLIENTS, KILL = (int(os.environ.get(n) or d) for n, d in (("STRESS_SECS", 15), ("STRESS_CLIENTS", 6), ("STRESS_KILL", 4)))
SEED = int(os.environ.get("STRESS_SEED") or time.time())
BOXES = ("INBOX", "Other")


class Lost(Exception):
    """The connection is gone: what was under way may have happened or not."""


class Model:
    """What all clients know together. A message has a number in its subject; which uid it got is learned once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.number = 0
        self.appended, self.maybe = {}, set()  # number -> mailbox, acknowledged; attempted
        self.removed = {b: set() for b in BOXES}  # uids that somebody was told of as expunged
        self.numbers = {b: {} for b in BOXES}  # uid -> number
        self.marks = {}  # (mailbox, uid, keyword) -> True, False; None: not sure
        self.notes = {}  # (mailbox, entry) -> value; None: not sure
        self.texts = {}  # number -> octets behind the header
        self.commands = collections.Counter()

    def learn(self, box, uid, number):
        with self.lock:
            assert self.numbers[box].setdefault(uid, number) == number, f"{box} uid {uid} was another message"

    def next_number(self, text_size):
        with self.lock:
            self.number += 1
            self.texts[self.number] = text_size
            self.maybe.add(self.number)
            return self.number

    def size(self, number):
        return len(head(number)) + self.texts[number]


def head(number):
    return b"Subject: %d\r\n\r\n" % number


def uids_of(text):
    """The members of a uid-set."""
    for part in text.split(b","):
        first, _, last = part.partition(b":")
        yield from range(int(first), int(last or first) + 1)


class Client:
    def __init__(self, tier, model, k, seed):
        self.tier, self.model, self.k, self.random = tier, model, k, random.Random(seed)
        self.keyword = f"$c{k}"
        self.socket = None
        self.by_uid = k % 2 == 0  # of the connection before
        self.done = self.refused = 0

    # ---- the wire ----
    def open(self):
        user = self.tier.user("alice")
        self.socket = socket.create_connection(("127.0.0.1", self.tier.store_port(1, "imap")), timeout=60)
        self.file = self.socket.makefile("rb")
        self.tag, self.uids, self.count, self.box = 0, [], 0, None
        self.line()
        assert self.ask(f"LOGIN {user['address']} {user['password']}"), "login refused"
        self.by_uid = not self.by_uid
        assert not self.by_uid or self.ask("ENABLE UIDONLY"), "UIDONLY refused"
        self.select()

    def line(self):
        text = self.file.readline()
        if not text.endswith(b"\r\n"):
            raise Lost
        while True:
            literal = re.search(rb"\{(\d+)\}\r\n$", text)
            if literal is None:
                return text
            text += self.file.read(int(literal[1])) + self.file.readline()

    def ask(self, command, *literals, stable=False, end=b""):
        """True: OK. stable: no EXPUNGE may come (RFC 9051 section 7.5.1). end: what follows the literals."""
        self.tag += 1
        tag = b"t%d" % self.tag
        self.lines = []
        self.model.commands[" ".join(command.split()[:2] if command.startswith("UID") else command.split()[:1])] += 1
        try:
            self.socket.sendall(tag + b" " + command.encode() + b"".join(b" {%d+}\r\n%s" % (len(x), x) for x in literals) + end + b"\r\n")
            while True:
                text = self.line()
                if text.startswith(tag + b" "):
                    assert not text.startswith(tag + b" BAD"), (command, text)
                    self.refused += not text.startswith(tag + b" OK")
                    return text.startswith(tag + b" OK")
                self.untagged(text, stable)
        except (OSError, EOFError) as error:
            raise Lost from error

    def untagged(self, text, stable):
        if text.startswith(b"* BYE"):
            raise Lost
        self.lines.append(text)
        m = re.match(rb"\* (\d+) (EXISTS|EXPUNGE|FETCH|UIDFETCH)(.*)", text, re.S)
        if m is None:
            if text.startswith(b"* VANISHED "):
                self.vanished(text.split()[2])
            return
        n, kind = int(m[1]), m[2]
        assert kind == b"EXISTS" or self.by_uid == (kind == b"UIDFETCH"), text
        if kind == b"UIDFETCH":
            self.known(n, m[3])
        elif self.by_uid:
            assert n >= self.count, f"EXISTS {n} below {self.count}"
            self.count = n
        elif kind == b"EXISTS":
            assert n >= len(self.uids), f"EXISTS {n} below {len(self.uids)}"
            self.uids += [None] * (n - len(self.uids))
        elif kind == b"EXPUNGE":
            assert not stable, f"EXPUNGE in {self.lines}"
            assert 1 <= n <= len(self.uids), text
            uid = self.uids.pop(n - 1)
            if uid is not None:
                with self.model.lock:
                    self.model.removed[self.box].add(uid)
        else:
            self.fetched(n, m[3])

    def vanished(self, uids):
        """In a UIDONLY session uids is a set without an order, and count what EXISTS and VANISHED made of it."""
        assert self.by_uid, uids
        for uid in uids_of(uids):
            self.count -= 1
            if uid in self.uids:
                self.uids.remove(uid)
            with self.model.lock:
                self.model.removed[self.box].add(uid)
        assert len(self.uids) <= self.count, (len(self.uids), self.count)

    def fetched(self, n, rest):
        assert 1 <= n <= len(self.uids), (n, len(self.uids), rest)
        uid = re.search(rb"UID (\d+)", rest)
        if uid is None:
            return
        uid = int(uid[1])
        assert self.uids[n - 1] in (None, uid), f"{n} was uid {self.uids[n - 1]} and is {uid}"
        assert all(u is None or u < uid for u in self.uids[max(0, n - 3):n - 1]), "uids do not ascend"
        self.uids[n - 1] = uid
        self.told(uid, rest)

    def known(self, uid, rest):
        if uid not in self.uids:
            self.uids.append(uid)
        assert len(self.uids) <= self.count, (len(self.uids), self.count)
        self.told(uid, rest)

    def told(self, uid, rest):
        number = re.search(rb"Subject: (\d+)", rest)
        if number is not None:
            self.model.learn(self.box, uid, int(number[1]))
            size = re.search(rb"RFC822\.SIZE (\d+)", rest)
            assert size is None or int(size[1]) == self.model.size(int(number[1])), rest
        flags = re.search(rb"FLAGS \(([^)]*)\)", rest)
        mark = self.model.marks.get((self.box, uid, self.keyword))
        if flags is not None and mark is not None:
            assert (self.keyword.encode() in flags[1].split()) == mark, f"uid {uid}: {flags[1]}, {self.keyword} {mark}"

    # ---- what clients do ----
    def select(self):
        self.uids, self.count, self.box = [], 0, self.random.choice(BOXES)
        if not self.ask(f"SELECT {self.box}"):
            raise Lost
        self.all_flags()

    def all_flags(self):
        there = self.count if self.by_uid else len(self.uids)
        self.ask(("UID FETCH 1:* (FLAGS)" if self.by_uid else "FETCH 1:* (UID FLAGS)") if there else "NOOP", stable=not self.by_uid and there)

    def new(self):
        """A message that nobody has made yet, and its number."""
        size = self.random.randrange(3000)
        number = self.model.next_number(size + 2)
        return number, head(number) + b"x" * size + b"\r\n"

    def append(self):
        box, messages = self.random.choice(BOXES), [self.new() for _ in range(self.random.choice((1, 1, 1, 2, 3)))]
        if self.ask(f"APPEND {box}", *(text for _, text in messages)):
            for number, _ in messages:
                self.model.appended[number] = box

    def some(self):
        known = [u for u in self.uids if u is not None]
        return self.random.choice(known) if known else None

    def catenate(self):
        """A header of its own before the text of a message that is there, or was (RFC 4469)."""
        uid, box = self.some(), self.random.choice(BOXES)
        old = self.model.numbers[self.box].get(uid)
        if old is None:
            return
        number = self.model.next_number(self.model.texts[old])
        if self.ask(f"APPEND {box} CATENATE (TEXT", head(number), end=b" URL \"/%s/;UID=%d/;SECTION=TEXT\")" % (self.box.encode(), uid)):
            self.model.appended[number] = box

    def replace(self):
        uid, box, (number, text) = self.some(), self.random.choice(BOXES), self.new()
        if uid is not None and self.ask(f"UID REPLACE {uid} {box}", text):
            self.model.appended[number] = box
            with self.model.lock:
                self.model.removed[self.box].add(uid)

    def note(self):
        """Nobody else has this entry (RFC 5464)."""
        box, entry = self.random.choice(BOXES), f"/private/vendor/stress/c{self.k}"
        known = self.model.notes.get((box, entry))
        if known is not None and self.random.random() < 0.5:
            assert self.ask(f"GETMETADATA {box} {entry}")
            assert any(known in line for line in self.lines if line.startswith(b"* METADATA")), (known, self.lines)
            return
        value = b"<%d>" % self.random.randrange(10**9)
        self.model.notes[box, entry] = None
        if self.ask(f"SETMETADATA {box} ({entry}", value, end=b")"):
            self.model.notes[box, entry] = value

    def mark(self):
        uid, on = self.some(), self.random.random() < 0.6
        if uid is None:
            return
        key = (self.box, uid, self.keyword)
        self.model.marks[key] = None  # nobody else changes this keyword
        if self.ask(f"UID STORE {uid} {'+' if on else '-'}FLAGS ({self.keyword})"):
            self.model.marks[key] = on

    def seen(self):
        if self.by_uid:
            uid = self.some()
            self.ask(f"UID STORE {uid}:{uid + 5} +FLAGS.SILENT (\\Seen)" if uid else "NOOP")
        elif self.uids:
            first = self.random.randrange(len(self.uids)) + 1
            self.ask(f"STORE {first}:{min(first + 5, len(self.uids))} +FLAGS.SILENT (\\Seen)", stable=True)

    def expunge(self):
        uid = self.some()
        if uid is None:
            return
        some = f"{uid}:{uid + 60}" if len(self.uids) > 400 else uid  # a mailbox does not grow for half an hour
        if self.ask(f"UID STORE {some} +FLAGS (\\Deleted)"):
            self.ask(f"UID EXPUNGE {some}" if self.by_uid or self.random.random() < 0.7 else "EXPUNGE")

    def move(self):
        uid = self.some()
        if uid is not None:
            self.ask(f"UID {self.random.choice(('MOVE', 'COPY'))} {uid} {self.random.choice(BOXES)}")

    def fetch(self):
        items = "FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)]"
        if self.by_uid:
            self.ask(f"UID FETCH {self.some() or 1}:* ({items})")
        elif self.uids:
            self.ask(f"FETCH {self.random.randrange(len(self.uids)) + 1}:* (UID {items})", stable=True)

    def search(self):
        found = self.ask(f"{'UID ' if self.by_uid else ''}SEARCH KEYWORD {self.keyword}", stable=not self.by_uid)
        for n in (int(x) for line in self.lines if found and line.startswith(b"* SEARCH") for x in line.split()[2:]):
            assert self.by_uid or 1 <= n <= len(self.uids), f"SEARCH found {n} of {len(self.uids)}"
            uid = n if self.by_uid else self.uids[n - 1]
            assert self.model.marks.get((self.box, uid, self.keyword)) is not False or uid is None

    def order(self):
        uid = self.some()
        for command in ("SORT (SUBJECT)", "THREAD REFERENCES"):
            if uid is not None and self.ask(f"UID {command} UTF-8 UID {uid}:*"):
                assert len([x for x in self.lines if x.startswith(b"* " + command.split()[0].encode())]) == 1, self.lines

    def check(self):
        self.ask("NOOP")
        self.all_flags()

    def run(self, until):
        work = [self.append] * 5 + [self.mark] * 5 + [self.fetch] * 3 + [self.note] * 2 + [
            self.catenate, self.replace, self.seen, self.expunge, self.expunge, self.expunge, self.move, self.search, self.order, self.check,
            self.select]
        work += work + [lambda: self.ask("LOGOUT")]
        while time.monotonic() < until:
            try:
                if self.socket is None:
                    self.open()
                self.random.choice(work)()
                self.done += 1
            except Lost:
                self.socket = None
                wait_for(lambda: port_answers(self.tier.store_port(1, "imap")), 60, "the store after a lost connection")
        if self.socket is not None:
            self.socket.close()


@pytest.fixture(scope="module")
def store(new_tier):
    tier = new_tier(stores=1)
    tier.write_all()
    tier.start_store(1)
    return tier


def committer_pid(store):
    return int(re.findall(r"worker\.started role=committer index=0 pid=(\d+)", store.log("store1"))[-1])


def kill_now_and_then(store, until, over):
    """Kills a committer each KILL seconds; over: no client is at work any more."""
    kills = 0
    while KILL > 0 and time.monotonic() + KILL < until and not over.wait(KILL):
        pid = committer_pid(store)
        os.kill(pid, signal.SIGKILL)
        kills += 1
        wait_for(lambda p=pid: committer_pid(store) != p, 60, "another committer")
    return kills


def test_stress(store):
    model, errors = Model(), []
    user = store.user("alice")
    m = imaplib.IMAP4("127.0.0.1", store.store_port(1, "imap"))
    m.login(user["address"], user["password"])
    assert m.create("Other")[0] == "OK"
    m.logout()
    clients = [Client(store, model, k, SEED + k) for k in range(CLIENTS)]
    until = time.monotonic() + SECS
    ended, over = [], threading.Event()

    def work(client):
        try:
            client.run(until)
        except BaseException as error:  # told by the main thread
            errors.append((client.k, repr(error)))
        ended.append(client.k)
        if len(ended) == CLIENTS:
            over.set()
    threads = [threading.Thread(target=work, args=(c,)) for c in clients]
    for t in threads:
        t.start()
    kills = kill_now_and_then(store, until, over)
    for t in threads:
        t.join(SECS + 120)
    assert not errors, f"seed {SEED}: {errors}"
    assert all(c.done > 10 for c in clients), [c.done for c in clients]
    print(f"seed {SEED}: {CLIENTS} clients, {sum(model.commands.values())} commands, {sum(c.refused for c in clients)} refused, "
          f"{kills} kills; {dict(model.commands)}")
    hold_against(store, model)


def hold_against(store, model):
    """A fresh client sees what the model says."""
    last = Client(store, model, 98, SEED)  # an even one is not UIDONLY at first
    last.open()
    found = set()
    for box in BOXES:
        last.uids, last.count, last.box = [], 0, box
        assert last.ask(f"SELECT {box}")
        if last.uids:
            assert last.ask("FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        there = {}
        for line in last.lines:
            m = re.match(rb"\* \d+ FETCH .*UID (\d+) FLAGS \(([^)]*)\).*Subject: (\d+)", line, re.S)
            if m is not None:
                there[int(m[1])] = m[2].decode().split()
                found.add(int(m[3]))
        assert len(there) == len(last.uids)
        assert not there.keys() & model.removed[box], f"seed {SEED}: came back: {sorted(there.keys() & model.removed[box])}"
        for (where, uid, keyword), on in model.marks.items():
            if where == box and uid in there and on is not None:
                assert (keyword in there[uid]) == on, f"seed {SEED}: {box} uid {uid}: {there[uid]}, {keyword} {on}"
        for (where, entry), value in model.notes.items():
            if where == box and value is not None:
                assert last.ask(f"GETMETADATA {box} {entry}") and any(value in line for line in last.lines), (box, entry, value)
    assert found <= model.maybe, f"seed {SEED}: from nowhere: {sorted(found - model.maybe)}"
    gone = {number for box in BOXES for uid, number in model.numbers[box].items() if uid in model.removed[box]}
    lost = set(model.appended) - found - gone
    # Removed before anybody had seen its subject: told as EXPUNGE of a message without a number.
    removed_unknown = sum(len(model.removed[box] - model.numbers[box].keys()) for box in BOXES)
    assert len(lost) <= removed_unknown, f"seed {SEED}: lost {sorted(lost)}, {removed_unknown} unknown"
    done = store.postern("store", "check", config="store1")
    assert done.returncode == 0, done.stdout
