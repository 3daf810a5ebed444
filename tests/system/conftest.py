"""Fixtures: tiers on private ports, real peers (slapd, Dovecot, HAProxy), and what tests wait with.

Every process is started by a fixture in a directory of its own and ended by it, by pid; an end with
a status other than 0, or a sanitizer's report in a log, fails the test that used the fixture.
"""
import os
import random
import re
import signal
import socket
import stat
import sys

import pytest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "conf", "demo"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tier import STORE_PORTS, WELL_KNOWN, Tier, children_of, wait_for  # noqa: E402

BIN = os.environ.get("POSTERN_BIN", os.path.join(TOP, "build", "bin"))
REPORTS = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "check failed:", "UndefinedBehaviorSanitizer")


claims = {}  # port: a name in this network namespace that is taken as long as this process lives


def claim(port):
    """Is the port nobody's? Then it is ours, also before anything listens on it: several files run at a time."""
    name, probe = socket.socket(socket.AF_UNIX), socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with probe:
        try:
            name.bind(f"\0postern-test-port-{port}")
            probe.bind(("127.0.0.1", port))
        except OSError:
            name.close()
            return False
    claims[port] = name
    return True


def claim_all(ports):
    got = [port for port in ports if port not in claims and claim(port)]
    if len(got) < len(ports):
        for port in got:
            claims.pop(port).close()
    return len(got) == len(ports)


def free_port_base(stores=3):
    """A base whose every derived port is claimed; all stay below the range of outgoing ports."""
    offsets = [*WELL_KNOWN.values()] + [1000 * k + p for k in range(1, stores + 1) for p in STORE_PORTS.values()]
    bases = list(range(3000, 26000, 7))
    random.shuffle(bases)
    for base in bases:
        if claim_all([base + o for o in offsets]):
            return base
    raise RuntimeError("no free ports")


def free_port():
    while True:
        port = random.randrange(26500, 32700)
        if claim_all([port]):
            return port


def sanitizer_reports(directory):
    found = []
    for name in sorted(os.listdir(directory)):
        if name.endswith(".log"):
            with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as f:
                text = f.read()
            for mark in REPORTS:
                at = text.find(mark)
                if at >= 0:
                    found.append(f"{name}: {text[max(0, at - 200):at + 3000]}")
                    break
    return found


def finish(tier, expect_zero=True):
    codes = tier.stop()
    reports = sanitizer_reports(tier.run_dir)
    assert not reports, "\n".join(reports)
    if expect_zero:
        bad = {n: c for n, c in codes.items() if c not in (0, None) and n not in ("slapd", "haproxy", "dovecot", "postfix")}
        assert not bad, f"exit statuses: {bad}; logs in {tier.run_dir}"


def kill_daemon(tier, name):
    """kill -9 of a master and its children, which hold its sockets until they are gone."""
    p = tier.processes.pop(name)
    children = [pid for pid, _ in children_of(p.pid)]
    p.kill()
    p.wait(10)
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), 60, f"the end of {name}'s processes")


def rss_kib(pids):
    """Resident memory of these processes together."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
            total += int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
    return total


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("t")
    os.chmod(path, 0o755)
    for parent in (path.parent, path.parent.parent):
        if not parent.stat().st_mode & stat.S_ISVTX:  # with --basetemp it may be /tmp itself
            os.chmod(parent, 0o755)
    return path


@pytest.fixture(scope="module")
def new_tier(run_dir):
    """Makes tiers; a test module changes their settings and starts them; they end with the module."""
    made = []

    def make(name="tier", stores=2, needs=("mmp", "edge", "store")):
        missing = [n for n in needs if not os.path.exists(os.path.join(BIN, f"postern-{n}"))]
        if missing:
            pytest.skip(f"not built: {', '.join('postern-' + n for n in missing)}")
        tier = Tier(os.path.join(run_dir, name), free_port_base(), BIN, stores)
        tier.edge_extra = "\tqueue_retry_first 500ms;\n\tqueue_retry_max 4s;\n\tdead_backoff 2s;\n"
        tier.mmp_extra = "\tstore_retry_max 2s;\n\tauth_failure_delay 200ms;\n"
        made.append(tier)
        return tier
    yield make
    problems = []
    for tier in made:
        try:
            finish(tier)
        except AssertionError as error:
            problems.append(str(error))
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="module")
def tier(new_tier):
    """The plain tier of the demonstration: two stores, file directory, Redis."""
    t = new_tier()
    t.start()
    return t
