"""kill -9 of anything, at random moments, while mail flows: what was answered 250 arrives exactly once."""
import collections
import os
import random
import signal
import threading
import time

import mail
from tier import children_of, wait_for

MESSAGES = int(os.environ.get("CRASH_MESSAGES", "5000"))
SENDERS = 8
SENDER = "visitor@elsewhere.example"


class Sender(threading.Thread):
    """Sends its share; each message has its own token. A lost connection is a message without an answer."""

    def __init__(self, tier, numbers, seed):
        super().__init__(daemon=True)
        self.tier, self.numbers, self.rng = tier, numbers, random.Random(seed)
        self.accepted = {}
        self.unanswered = {}
        self.refused = 0
        self.left = len(numbers)

    def one(self, number):
        token = f"m{number:05d}x"
        size = self.rng.choice((300, 3000, 3000, 20000, 300000))
        to = self.rng.choice((("alice",), ("bob",), ("alice", "bob"), ("alice", "bob", "carol", "dave")))
        addresses = [self.tier.user(n)["address"] for n in to]
        text = mail.message(token, SENDER, addresses, size, number)
        self.unanswered[token] = addresses
        try:
            code, _ = mail.send(self.tier, SENDER, addresses, text)
        except (OSError, mail.smtplib.SMTPException):
            return
        del self.unanswered[token]
        if code == 250:
            self.accepted[token] = addresses
        else:
            self.refused += 1

    def run(self):
        for number in self.numbers:
            self.one(number)
            self.left -= 1


def victims(tier):
    """Every process that may die: workers, queue and committers by their masters, masters, Redis."""
    found = []
    for name in ("mmp", "edge", "store1", "store2"):
        p = tier.processes.get(name)
        if p is not None and p.poll() is None:
            found += [("child of " + name, pid) for pid, _ in children_of(p.pid)]
    found += [("store1", None), ("store2", None), ("redis", None)]
    return found


def restart(tier, name):
    p = tier.processes.pop(name)
    children = children_of(p.pid)  # they hold the listening sockets until they have seen that it died
    p.kill()
    p.wait(10)
    for pid, _ in children:
        wait_for(lambda pid=pid: not os.path.exists(f"/proc/{pid}"), 20, f"{name}'s child")
    if name == "redis":
        tier.start_redis()
    else:
        tier.start_store(int(name[-1]))


def kill_one(tier, rng, count):
    what, pid = rng.choice(victims(tier))
    count[what] += 1
    if pid is None:
        restart(tier, what)
        return
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def counts_at(tier, name):
    """How often each token is in the user's INBOX."""
    found = collections.Counter()
    with mail.imap(tier, tier.user(name)) as c:
        c.select("INBOX", readonly=True)
        for item in c.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]:
            if isinstance(item, tuple):
                found[item[1].decode().strip().split()[-1]] += 1
    return found


def queue_is_empty(tier):
    p = tier.postern("queue", "list", "--json")
    return p.returncode == 0 and "@" not in p.stdout


def test_nothing_acknowledged_is_lost_or_doubled(new_tier):
    tier = new_tier("crash")
    tier.meter_rules = "\trule all { on connect; key client/32; rate 100000/1s; burst 100000; action defer; on_loss open; }\n"
    tier.workers = 2
    tier.start()
    for u in tier.users:
        mail.imap(tier, u).logout()
    senders = [Sender(tier, range(i, MESSAGES, SENDERS), i) for i in range(SENDERS)]
    for s in senders:
        s.start()
    rng = random.Random(4711)
    killed = collections.Counter()
    while any(s.is_alive() for s in senders):
        before = sum(s.left for s in senders)
        target = before - rng.randrange(10, 60)
        deadline = time.monotonic() + 20
        while sum(s.left for s in senders) > target and any(s.is_alive() for s in senders) and time.monotonic() < deadline:
            senders[0].join(0.02)
        kill_one(tier, rng, killed)
    wait_for(lambda: queue_is_empty(tier), 180, "an empty queue")
    accepted = {t: a for s in senders for t, a in s.accepted.items()}
    unanswered = {t: a for s in senders for t, a in s.unanswered.items()}
    lost, doubled, strange = [], [], []
    for u in tier.users:
        found = counts_at(tier, u["name"])
        for token, addresses in accepted.items():
            if u["address"] in addresses and found[token] != 1:
                (lost if found[token] == 0 else doubled).append((token, u["address"], found[token]))
        strange += [(t, u["address"]) for t, n in found.items() if t not in accepted and t not in unanswered]
        doubled += [(t, u["address"], n) for t, n in found.items() if n > 1 and t in unanswered]
    print(f"accepted {len(accepted)} unanswered {len(unanswered)} refused {sum(s.refused for s in senders)} "
          f"killed {dict(killed)} lost {len(lost)} doubled {len(doubled)}")
    assert not lost and not doubled, (lost[:10], doubled[:10])
    assert len(accepted) > MESSAGES / 4 and sum(killed.values()) > 10
    assert not [t for t in strange if t[0].startswith("m") and t[0].endswith("x") and t[0] in accepted]
