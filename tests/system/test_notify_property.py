"""What senders are told, whatever ways their mail goes and whatever becomes of it there: NOTIFY=NEVER is silence, who wants to
hear hears once, nobody else does, and ENVID and ORCPT come back as they were. Of an alias with
several behind it, who asks for success hears that it was expanded, of a list that it was delivered, and no more (RFC 3461 5.2.7).

Messages are made at random from a seed, which is printed; NOTIFY_SEED repeats a run, NOTIFY_MESSAGES makes a longer one. They are
sent to two edges, one behind the other; from there they go to stores, programs, other hosts that offer DSN and that do not, Postfix
among them, by way of forwards, aliases, groups and lists, at once and by the station reprocess. What is expected follows from
what the hops answered."""
import collections
import os
import pwd
import random
import smtplib
import time
import urllib.request

import pytest

import dsn_chain
import mail
from channel_host import EDGE_USER, Host
from conftest import BIN, finish, free_port, free_port_base
from dsn_chain import ALICE, OWNER, RELAYED, SENDERS, STORE, STRANGER, Plan
from mtas import Postfix
from names import start_unbound
from test_addresses import group, user
from test_edge import Edge
from tier import wait_for

SEED = int(os.environ.get("NOTIFY_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
MESSAGES = int(os.environ.get("NOTIFY_MESSAGES", "150"))
PROGRAM = "#!/bin/sh\ncat > /dev/null\ncase $LOCAL in ok*) exit 0;; rcpt*) exit 67;; *) exit 75;; esac\n"
PLAIN, DSN, POSTFIX, OLD, BEYOND, FRONT = (f"127.0.0.{n}" for n in (21, 22, 5, 6, 23, 9))
CLIENT = "198.18.0.9"  # of strangers, as a host of ours in front of the edge says
OPTIONS = """	dsn all; spf mark; errors_max 1000; error_delay 0s; unknown_max 1000; expanded_recipients_max 1000;
	srs_domain example.org; srs_keys "0123456789abcdef"; delay_notice 1s; queue_lifetime 4s; queue_retry_first 300ms; queue_retry_max 1s;
	channel script {{ type pipe; program {place}/program; addresses script.example; user news; retry_first 300ms; retry_max 1s; }}
	channel later {{ type reprocess; addresses example.net; }}
"""


class Mta(Postfix):
    """Two doors, one of them without DSN; what it takes goes on to a host without DSN."""
    tls = False
    SERVICES = Postfix.SERVICES + ("trace unix - - n - 0 bounce",)

    def write(self, name, text):
        if name == "master.cf":
            text += f"{OLD}:{self.port} inet n - n - - smtpd\n  -o smtpd_discard_ehlo_keywords=dsn,silent-discard\n"
        return super().write(name, text)

    def is_empty(self):
        return not any(files for name in ("maildrop", "incoming", "active", "deferred")
                       for _, _, files in os.walk(os.path.join(self.base, "queue", name)))


class Main(Host):
    """The edge whose addresses most recipients have."""

    def directory_text(self):
        entries = ["dn: ou=groups,dc=postern\nobjectClass: top\nobjectClass: organizationalUnit\nou: groups\n"]
        entries += [user(name, domain, "mailHost: store1") for name, domain in self.plan.users]
        entries += [user(name, "example.org", "mailDeliveryOption: forward", *(f"mailForwardingAddress: {t}" for t in targets))
                    for name, targets in self.plan.forwards]
        for name, targets, has_owner, again in self.plan.groups:
            more = [f"mgrpErrorsTo: {OWNER}"] * has_owner + ["mailDeliveryOption: members_offline"] * again
            entries.append(group(name, *(f"mgrpRFC822MailMember: {t}" for t in targets), *more))
        return super(Host, self).directory_text() + "\n" + "\n".join(entries)

    def write_all(self):
        super().write_all()
        with open(self.path("aliases"), "w", encoding="ascii") as f:
            f.write("".join(f"{name}: {', '.join(targets)}\n" for name, targets in self.plan.aliases))


def messages_in(tier):
    """Those that have not ended, with what their senders are to be told."""
    with urllib.request.urlopen(f"http://127.0.0.1:{tier.port('edge-admin')}/metrics", timeout=10) as r:
        return next(int(line.split()[1]) for line in r.read().decode().splitlines() if line.startswith("postern_edge_queue_messages "))


class Chain:
    def __init__(self, run_dir, plan):
        self.plan, self.heard, self.hops = plan, [], []
        self.main = self.make(Main, run_dir, "main", [("alice", "sender.example"), ("owner", "example.org"), ("keeper", "example.org"), ("forged", "example.net")])
        self.main.plan = plan
        self.far = self.make(Edge, run_dir, "far", [("alice", "sender.example")])
        self.far.hostname = "mail.sender.example"
        self.main_extra()
        self.far.edge_extra = f"\trelay_host 127.0.0.1:{self.main.port('mx')};\n\tqueue_retry_first 500ms; queue_retry_max 1s;\n"

    @staticmethod
    def make(kind, run_dir, name, users):
        t = kind(os.path.join(run_dir, name), free_port_base(1), BIN, stores=1)
        t.use_redis, t.workers, t.meter_rules = False, 1, ""
        t.users = [dict(name=n, domain=d, store=1, address=f"{n}@{d}", password=f"{n}-demo") for n, d in users]
        return t

    def main_extra(self):
        m = self.main
        m.edge_extra = f"\trelay_port {self.port()};\n" + OPTIONS.format(place=m.place())
        m.edge_listener_extra = f"relay_from 127.0.0.1/32; xclient_from {FRONT}/32;"
        m.directory_block = (f"directory {{ backend file; file {m.path('directory.ldif')}; alias_file {m.path('aliases')}; "
                             "default_domain example.org; }\n")

    def port(self):
        if not hasattr(self, "mx"):
            self.mx = free_port()
        return self.mx

    def start(self):
        m = self.main
        for folder in ("spool", "place"):
            os.makedirs(m.path(folder), exist_ok=True)
        os.chown(m.path("spool"), pwd.getpwnam(EDGE_USER).pw_uid, -1)
        with open(m.place("program"), "w", encoding="ascii") as f:
            f.write(PROGRAM)
        os.chmod(m.place("program"), 0o755)
        records = [f"{d}. 1 IN MX 1 mx.{d}." for d in ("plain.example", "dsn.example", "postfix-mx.example", "old-mx.example", "aligned.example", "elsewhere.example")]
        records += [f"mx.{d}. 1 IN A {host}" for d, host in (("plain.example", PLAIN), ("dsn.example", DSN), ("postfix-mx.example", POSTFIX),
                                                              ("old-mx.example", OLD), ("aligned.example", PLAIN), ("elsewhere.example", PLAIN))]
        records += [f"{d}. 1 IN MX 1 mx.elsewhere.example." for d in ("example.net", "example.org")]
        records.append('example.net. 1 IN TXT "v=spf1 -all"')
        records.append(f'aligned.example. 1 IN TXT "v=spf1 ip4:{CLIENT} -all"')
        os.makedirs(m.run_dir, exist_ok=True)
        m.root_extra = f"dns_servers 127.0.0.1:{start_unbound(m, records=records)};\n"
        self.hops = [dsn_chain.hop("store", "127.0.0.1", t.store_port(1, "lmtp"), self.heard, is_store=True) for t in (m, self.far)]
        self.hops += [dsn_chain.hop(name, host, self.mx, self.heard, dsn=name == "dsn")
                      for name, host in (("plain", PLAIN), ("dsn", DSN), ("beyond", BEYOND))]
        self.postfix = Mta(m, "postfix", POSTFIX, self.mx)
        self.postfix.relay_to = (BEYOND, self.mx)
        self.postfix.start()
        m.write_all()
        m.start_edge()
        self.far.write_all()
        self.far.start_edge()

    def end(self):
        for h in self.hops:
            h.shutdown()
            h.server_close()
        for tier in (self.far, self.main):
            if os.path.isdir(tier.run_dir):
                finish(tier)

    # ---- sending ----
    def dial(self, entry):
        if entry in ("far edge", "edge"):
            tier = self.far if entry == "far edge" else self.main
            return mail.smtp(tier, service="submission", user=tier.user("alice"))
        if entry == "null":
            return mail.smtp(self.main)
        s = smtplib.SMTP("localhost", self.main.port("mx"), timeout=60, local_hostname="client.example", source_address=(FRONT, 0))
        s.ehlo()
        assert s.docmd(f"XCLIENT ADDR={CLIENT}")[0] == 220
        return s

    def send(self, m):
        sender = SENDERS[m.entry]
        text = (f"Delivered-To: {m.round}\r\n" if m.round else "").encode() + mail.message(m.token, sender or ALICE, ["x@x.example"], 300).replace(
            b"Subject: test ", b"Subject: ")
        with self.dial(m.entry) as s:
            s.ehlo()
            assert s.mail(sender, m.options)[0] == 250
            m.taken = [r for r in m.recipients if s.rcpt(r.address, r.options)[0] == 250]
            if m.taken:
                m.code = s.data(text)[0]

    def wait_quiet(self):
        """In the order in which mail goes on."""
        for is_empty in (lambda: messages_in(self.far) == 0, lambda: messages_in(self.main) == 0, self.postfix.is_empty):
            wait_for(is_empty, 120, "everything to have ended")


# ---- what is expected -----------------------------------------------------------------------------


class Oracle:
    """From the hops' answers: who is told what. Keys are (who, of whom, kind, ORCPT, ENVID)."""

    def __init__(self, plan, heard):
        self.must, self.may = collections.Counter(), set()
        self.heard = collections.defaultdict(list)
        for h in heard:
            self.heard[h.leaf].append(h)
        for m in plan.messages:
            for r in m.taken if m.code == 250 else ():
                self.expect(m, r)

    def end_of(self, m, r, leaf):
        """What became of it where our edges last had it: failed, delivered, relayed, or known to a hop that reports itself."""
        outcome = leaf.rstrip("0123456789")
        if outcome == "gone":
            return "failed"
        if r.way == "postfix":
            return "relayed" if self.heard[leaf][-1].code == 250 else "failed"
        if r.way == "old-postfix":
            return "relayed"
        if leaf not in self.heard:  # a program
            return "delivered" if outcome == "ok" else "failed"
        last = self.heard[leaf][-1]
        if last.code != 250:
            return "failed"
        return "known" if last.dsn else "delivered" if last.hop == "store" else "relayed"

    def is_refused_at_once(self, leaf):
        tries = self.heard.get(leaf, ())
        return leaf.startswith("gone") or (len(tries) == 1 and tries[0].hop == "store" and tries[0].code >= 500)

    def is_refused_at_door(self, m):
        """By the main edge, while the far one waits: it is one mail to one store, for nobody who takes it. The far edge knows of the
        recipients, and of nobody behind them."""
        there = [r for r in m.taken if r.way != "gone"]
        return (m.entry == "far edge" and len({r.way == "list" for r in there}) == 1 and
                all(r.way in ("store", "forward", "alias", "group", "list") and not r.wants("SUCCESS") and
                    (r.address == m.round or all(map(self.is_refused_at_once, r.leaves))) for r in there))

    def was_late(self, leaf):
        """It waited, was tried, and waited on after a notice was due, for so long that the notice was written before the end."""
        tries = [h.at for h in self.heard[leaf]]
        return any(at - tries[0] > 1.2 and after - at > 0.5 for at, after in zip(tries, tries[1:]))

    def expect(self, m, r):
        who = self.who(m)
        is_list = r.way.endswith("list") and m.entry != "null"
        if r.address == m.round or self.is_refused_at_door(m):
            if who and r.wants("FAILURE"):
                self.add(m, r, who, r.address.split("@")[0], "failed")
            return
        if who and m.entry != "own" and r.wants("SUCCESS") and (is_list or len(r.leaves) > 1):
            self.add(m, r, who, r.address.split("@")[0], "delivered" if is_list else "expanded")
        for leaf in r.leaves:
            end = self.end_of(m, r, leaf)
            told = OWNER if is_list else who
            wants = (lambda what: what != "SUCCESS") if is_list else (lambda what: what in (r.notify_behind or "FAILURE,DELAY").split(","))
            if told and (end == "failed" and wants("FAILURE") or end in ("delivered", "relayed") and wants("SUCCESS") and m.entry != "own"):
                self.add(m, None if is_list else r, told, leaf, end)
            if told and wants("DELAY"):
                self.may.add((told, leaf))
                if self.was_late(leaf) and r.way not in RELAYED[2:]:
                    self.add(m, None if is_list else r, told, leaf, "delayed")

    @staticmethod
    def who(m):
        """Who hears of it, were it to end now: nobody without a return path, and no stranger whose address may be borrowed."""
        return "" if m.entry in ("null", "stranger", "forged") else SENDERS[m.entry]

    def add(self, m, r, who, leaf, kind):
        self.must[who, leaf, kind, r.orcpt if r else "", m.envid if r else ""] += 1


def reports(chain):
    """Postfix makes an ORCPT where there is none, as it may."""
    found = [r for h in chain.heard if h.sender == "" and h.code == 250 and h.text for r in dsn_chain.reports_of(h)]
    for r in found:
        r.original = "" if r.by == "postfix.example" and r.original == r.final else r.original
    # the door that offers no DSN knows of no wishes: what is said there is not ours to answer for
    return [r for r in found if not (r.by == "postfix.example" and r.final.endswith("@old-mx.example"))]


@pytest.fixture(scope="module", name="chain")
def _chain(run_dir):
    if os.geteuid() != 0:
        pytest.skip("programs that run as other users, and Postfix, need root")
    print(f"NOTIFY_SEED={SEED} NOTIFY_MESSAGES={MESSAGES}")
    chain = Chain(run_dir, Plan(SEED, MESSAGES))
    try:
        chain.start()
        for m in chain.plan.messages:
            chain.send(m)
        chain.wait_quiet()
        yield chain
    finally:
        chain.end()


def test_who_is_told_of_what(chain):
    oracle = Oracle(chain.plan, chain.heard)
    told = collections.Counter((r.to, r.leaf, r.action, r.original, r.envid) for r in reports(chain))
    print(f"{sum(told.values())} told of, {dict(collections.Counter(k[2] for k in told.elements()))}; "
          f"{sum(m.code == 250 for m in chain.plan.messages)} messages taken")
    missing = oracle.must - told
    extra = told - oracle.must
    for key in [k for k in extra if k[2] == "delayed" and k[:2] in oracle.may]:
        del extra[key]
    assert not missing and not extra, explain(chain, missing, extra)


def explain(chain, missing, extra):
    lines = [f"NOTIFY_SEED={SEED} NOTIFY_MESSAGES={MESSAGES}"]
    for what, keys in (("missing", missing), ("too much", extra)):
        for key in list(keys)[:8]:
            m, r = chain.plan.of_leaf.get(key[1], (None, None))
            lines.append(f"{what}: {key}\n  {m}\n  {r}\n  " + "\n  ".join(f"{h.hop} {h.mail} {h.rcpt} {h.code}" for h in chain.heard if h.leaf == key[1]))
    return "\n".join(lines)


def test_never_is_silence(chain):
    silent = {leaf for leaf, (m, r) in chain.plan.of_leaf.items() if r.notify == "NEVER" and not (r.way.endswith("list") and m.entry != "null")}
    assert len(silent) > MESSAGES / 5
    assert not [r for r in reports(chain) if r.leaf in silent]


def test_wishes_go_along(chain):
    """As they came, to hosts that offer DSN, at each attempt, but for SUCCESS to one of several; not to others, and not through a
    list (RFC 3461 5.2.1, 5.2.2, 5.2.7)."""
    names = ("RET=", "ENVID=", "NOTIFY=", "ORCPT=")
    seen = collections.Counter()
    for h in chain.heard:
        m, r = chain.plan.of_leaf.get(h.leaf, (None, None))
        if m is None or r.way == "postfix":
            continue
        is_list = r.way.endswith("list") and m.entry != "null"
        said = {w for w in (h.mail + " " + h.rcpt).split() if w.startswith(names)}
        assert said == (set(m.options + r.options_behind()) if h.dsn and not is_list else set()), (m, r, h)
        seen[h.dsn, is_list] += 1
    assert len(seen) == 4, seen


def test_what_comes_back(chain):
    """The message, when it failed and the sender wanted all of it; else its header."""
    seen = collections.Counter()
    for r in reports(chain):
        m, given = chain.plan.of_leaf.get(r.leaf, (None, None))
        if m is None or r.by == "postfix.example":
            continue
        assert r.token == m.token
        is_list = given.way.endswith("list") and m.entry != "null" and r.to == OWNER
        if r.full or r.action == "failed":
            assert r.full == (m.ret == "FULL" and not is_list), (m, given, r)
        seen[r.action, r.full] += 1
    assert len(seen) >= 4, seen
