"""Chains of hops for notifications: two edges, Postfix, next hops and stores that do as a recipient's name says and note what
they heard; and a plan of messages, made from a seed, with what each recipient wants to hear."""
import dataclasses
import email
import email.policy
import random
import re
import socketserver
import threading
import time

ALICE = "alice@sender.example"       # a user of ours
OWNER = "owner@example.org"          # of lists
STRANGER = "visitor@elsewhere.example"
ALIGNED = "visitor@aligned.example"  # SPF says that it is who it says
FORGED = "forged@example.net"         # a user of ours, of whom SPF says the contrary; and one of whom it says nothing
OWN = "keeper@example.org"
EVER = ("", "NEVER", "SUCCESS", "FAILURE", "DELAY", "SUCCESS,FAILURE", "SUCCESS,DELAY", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY")
OUTCOMES = ("ok", "rcpt", "data", "late", "full", "wait")
PIPES = ("ok", "rcpt", "wait")


@dataclasses.dataclass
class Recipient:
    """way: how it goes on from the edge whose address it is. leaves: local parts of those who get the mail in the end; each is
    used once, begins with what becomes of it, and is known by its number."""
    address: str
    way: str
    notify: str
    orcpt: str
    leaves: list

    @property
    def options(self):
        return ([f"NOTIFY={self.notify}"] if self.notify else []) + ([f"ORCPT=rfc822;{self.orcpt}"] if self.orcpt else [])

    @property
    def notify_behind(self):
        """What those behind the address are to report (RFC 3461 5.2.7.3): nothing of success, when it stands for several."""
        left = [w for w in self.notify.split(",") if w != "SUCCESS"]
        return self.notify if len(self.leaves) == 1 or not self.notify else ",".join(left) or "NEVER"

    def options_behind(self):
        return [f"NOTIFY={self.notify_behind}" if o.startswith("NOTIFY=") else o for o in self.options]

    def wants(self, what):
        return what in (self.notify or "FAILURE,DELAY").split(",")


@dataclasses.dataclass
class Message:
    """entry: where and by whom it is sent, see ENTRIES."""
    number: int
    entry: str
    ret: str
    envid: str
    recipients: list
    round: str  # an address that it has been forwarded for already
    code: int = 0
    taken: list = dataclasses.field(default_factory=list)
    sent_at: float = 0

    @property
    def token(self):
        return f"m{self.number}x"

    @property
    def options(self):
        return ([f"RET={self.ret}"] if self.ret else []) + ([f"ENVID={self.envid}"] if self.envid else [])


ENTRIES = ("far edge", "edge", "edge", "null", "stranger", "aligned", "forged", "own")
SENDERS = {"far edge": ALICE, "edge": ALICE, "null": "", "stranger": STRANGER, "aligned": ALIGNED, "forged": FORGED, "own": OWN}
STORE = ("store", "again-store")
RELAYED = ("plain", "dsn", "postfix", "old-postfix")
FORWARDS = ("forward", "again-forward", "alias", "group", "again-group", "list", "again-list")
HOSTS = {"plain": "plain.example", "dsn": "dsn.example", "postfix": "postfix-mx.example", "old-postfix": "old-mx.example",
         "pipe": "script.example"}


class Plan:
    """Messages, and the directory and aliases that they need."""

    def __init__(self, seed, count):
        self.rng, self.number = random.Random(seed), 0
        self.users, self.forwards, self.groups, self.aliases = [], [], [], []
        self.messages = [self.message(n) for n in range(count)]
        self.of_leaf = {leaf: (m, r) for m in self.messages for r in m.recipients for leaf in (r.address.split("@")[0], *r.leaves)}

    def leaf(self, ways, outcomes=OUTCOMES):
        """An address at which somebody gets it, whose name says what becomes of it there."""
        self.number += 1
        way, outcome = self.rng.choice(ways), self.rng.choice(outcomes)
        if "postfix" in way and outcome not in ("ok", "rcpt", "data"):
            outcome = "rcpt"  # its times are long
        if way == "pipe" and outcome not in PIPES:
            outcome = "rcpt"
        name = f"{outcome}{self.number}"
        if way in STORE:
            self.users.append((name, "example.net" if way.startswith("again") else "example.org"))
            return name, f"{name}@{self.users[-1][1]}"
        return name, f"{name}@{HOSTS[way]}"

    def behind(self, way):
        """Somebody for whom others get it."""
        self.number += 1
        name, again = f"{way.split('-')[-1]}{self.number}", way.startswith("again")
        # who leaves and who does not, behind one address
        leaves = [self.leaf(("store", "plain", "dsn", "pipe")) for _ in range(self.rng.randint(1, 3))]
        targets = [address for _, address in leaves]
        if way.endswith("forward"):
            self.forwards.append((name, targets))
            if again:  # whoever is in a group that is looked up afterwards
                self.groups.append((f"team-{name}", [f"{name}@example.org"], False, True))
                name = f"team-{name}"
        elif way == "alias":
            self.aliases.append((f"{name}@example.org", targets))
        else:
            if self.rng.random() < 0.3:
                self.number += 1
                targets.append(f"gone{self.number}@example.org")
                leaves.append((f"gone{self.number}", targets[-1]))
            self.groups.append((name, targets, way.endswith("list"), again))
        return f"{name}@example.org", [leaf for leaf, _ in leaves]

    def recipient(self, entry):
        outside = entry in ("stranger", "aligned", "forged", "own")
        ways = STORE + FORWARDS + ("pipe",) + (() if outside else RELAYED) + (("gone",) if entry == "far edge" else ())
        if entry == "aligned" and self.rng.random() < 0.7:
            ways = FORWARDS
        way = self.rng.choice(ways)
        if way in FORWARDS:
            address, leaves = self.behind(way)
        elif way == "gone":
            self.number += 1
            leaves = [f"gone{self.number}"]
            address = f"{leaves[0]}@example.org"
        else:
            leaf, address = self.leaf((way,))
            leaves = [leaf]
        orcpt = f"old{self.number}@x.example" if self.rng.random() < 0.5 else ""
        notify = "NEVER" if self.rng.random() < 0.3 else self.rng.choice(EVER)
        return Recipient(address, way, notify, orcpt, leaves)

    def message(self, number):
        entry = self.rng.choice(ENTRIES)
        recipients = [self.recipient(entry) for _ in range(self.rng.choice((1, 1, 2, 3, 5)))]
        loops = [r.address for r in recipients if r.way in FORWARDS]
        return Message(number, entry, self.rng.choice(("", "FULL", "HDRS")), f"q{number}" if self.rng.random() < 0.6 else "", recipients,
                       self.rng.choice(loops) if loops and self.rng.random() < 0.15 else "")


# ---- hops -----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Heard:
    """One recipient of one transaction, and its last answer."""
    hop: str
    mail: str   # the line
    rcpt: str
    code: int
    at: float
    dsn: bool   # was offered
    text: bytes = b""

    @property
    def sender(self):
        return self.mail.split("<", 1)[1].split(">", 1)[0]

    @property
    def address(self):
        return self.rcpt.split("<", 1)[1].split(">", 1)[0]

    @property
    def leaf(self):
        return self.address.split("@", 1)[0]


class Hop(socketserver.StreamRequestHandler):
    REFUSED = {"rcpt": b"550 5.1.1 nobody of that name", "wait": b"451 4.2.1 come again"}

    def answer(self, leaf):
        """To RCPT: by the name, and by how often it was there."""
        outcome, s = re.match("[a-z]*", leaf)[0], self.server
        with s.lock:
            s.tries[leaf] = tries = s.tries.get(leaf, 0) + 1
        if outcome == "full":
            return b"452 4.2.2 over quota" if tries < 3 else b"552 5.2.2 over quota"
        if outcome == "late":
            return b"451 4.2.1 come again" if tries < 3 else b"250 2.1.5 ok"
        return self.REFUSED.get(outcome, b"250 2.1.5 ok")

    def note(self, line, reply, text=b""):
        s = self.server
        h = Heard(s.name, self.mail, line, int(reply[:3]), time.monotonic(), s.dsn, text)
        with s.lock:
            s.heard.append(h)
        return h

    def on_rcpt(self, line):
        reply = self.answer(line.split("<", 1)[1].split("@", 1)[0].split(">", 1)[0])
        if reply[:1] == b"2":
            self.to.append(line)
        else:
            self.note(line, reply)
        return reply + b"\r\n"

    def on_text(self):
        """To a store each has its own answer."""
        self.wfile.write(b"354 go\r\n")
        text = b"".join(iter(self.rfile.readline, b".\r\n"))
        bad = [r.split("<", 1)[1].startswith("data") for r in self.to]
        if not self.server.is_store:
            bad = [any(bad)] * len(bad)
        replies = [b"554 5.6.0 not this text" if b else b"250 2.0.0 done" for b in bad]
        for line, reply in zip(self.to, replies):
            self.note(line, reply, text)
        return b"\r\n".join(replies if self.server.is_store else replies[:1]) + b"\r\n"

    def handle(self):
        self.wfile.write(b"220 hop\r\n")
        self.mail, self.to = "", []
        for raw in iter(self.rfile.readline, b""):
            line, reply = raw.decode().strip(), b"250 2.0.0 ok\r\n"
            verb = line[:4].upper()
            if verb in ("EHLO", "LHLO"):
                reply = b"250-hop\r\n250-8BITMIME\r\n" + (b"250-DSN\r\n" if self.server.dsn else b"") + b"250 PIPELINING\r\n"
            elif verb == "MAIL":
                self.mail, self.to = line, []
            elif verb == "RCPT":
                reply = self.on_rcpt(line)
            elif verb == "DATA":
                reply = self.on_text() if self.to else b"503 5.5.1 to whom?\r\n"
            self.wfile.write(reply)
            if verb == "QUIT":
                return


def hop(name, host, port, heard, is_store=False, dsn=False):
    server = socketserver.ThreadingTCPServer((host, port), Hop, bind_and_activate=False)
    server.allow_reuse_address = server.daemon_threads = True
    server.request_queue_size = 64
    server.server_bind()
    server.server_activate()
    server.name, server.heard, server.is_store, server.dsn = name, heard, is_store, dsn
    server.lock, server.tries = threading.Lock(), {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


# ---- reports --------------------------------------------------------------------------------------


@dataclasses.dataclass
class Report:
    """What is said of one recipient."""
    to: str
    by: str
    token: str
    envid: str
    final: str
    action: str
    original: str
    full: bool

    @property
    def leaf(self):
        return self.final.split("@", 1)[0]


def reports_of(h):
    """Of a message that was taken from a null sender."""
    m = email.message_from_bytes(h.text, policy=email.policy.SMTP)
    if m.get_content_type() != "multipart/report":
        return []
    _, status, original = m.get_payload()
    whole, *each = status.get_payload()
    text = original.as_bytes()
    found = re.search(rb"Subject: (m\d+x)", text)

    def value(fields, name):
        return (fields[name] or "").split(";", 1)[-1].strip()
    return [Report(h.address, value(whole, "Reporting-MTA"), found[1].decode() if found else "", (whole["Original-Envelope-Id"] or "").strip(),
                   value(f, "Final-Recipient"), f["Action"].strip(), value(f, "Original-Recipient"),
                   original.get_content_type() == "message/rfc822") for f in each]
