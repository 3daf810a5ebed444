"""Under load: ends that stop taking a gigabyte, and a directory and a Redis that die and come back. Nobody is restarted,
no session is stuck, nothing is told that is not so, and counters are right again."""
import collections
import contextlib
import json
import os
import re
import socket
import threading

import pytest

import fake_imap
import peers
from conftest import TOP, free_port
from mmp_clients import connect, fake_tier, metric, start_fake, start_mmp, status
from tier import port_answers, wait_for

GIB, MIB = 1 << 30, 1 << 20


# ---- ends that stop ------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def flooding(new_tier):
    return fake_tier(new_tier, "flood", workers=1)


def memory(t):
    """Bytes that belong to the worker alone."""
    pid = status(t)["workers"][0]["pid"]
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        found = re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", f.read(), re.M)
    return 1024 * sum(map(int, found))


def small(growth):
    return growth < MIB or os.environ.get("POSTERN_SAN")  # a sanitizer keeps what is freed


def moved(t):
    """Bytes of the sessions that are there, both ways."""
    return sum(s["bytes_in"] + s["bytes_out"] for s in json.loads(t.postern("who", "--json").stdout))


def stands_still(t):
    """True when nothing moves any more."""
    before = moved(t)
    return before > 0 and before == moved(t) == moved(t) and before


def log_in(t, how):
    if how == "tls":
        s, _ = connect(t, t.port("imaps"))
    else:
        s = socket.create_connection(("127.0.0.1", t.port("imap")), timeout=60)
        s.recv(1000)
    u = t.user("alice")
    s.sendall(f"a LOGIN {u['address']} {u['password']}\r\n".encode())
    got = b""
    while b"a OK" not in got:
        got += s.recv(1000)
    return s


def take(s, n):
    got, room = 0, bytearray(1 << 18)
    while got < n:
        more = s.recv_into(room)
        assert more > 0, got
        got += more
    return got


@pytest.mark.parametrize("how", ["plain", "tls"])
def test_a_reader_that_stops(flooding, how):
    """A gigabyte is on its way to a client that reads nothing; others are served; when it reads all is there."""
    t = flooding
    with log_in(t, how) as warm:
        warm.sendall(b"f FLOOD 8000000\r\n")
        take(warm, 8000000)
    wait_for(lambda: metric(t, "postern_mmp_piped_sessions") == 0, 20, "the end of the first")
    before = memory(t)
    with log_in(t, how) as s:
        s.sendall(f"f FLOOD {GIB}\r\n".encode())
        stuck = wait_for(lambda: stands_still(t), 30, "the stop")
        assert stuck < 64 * MIB
        assert small(memory(t) - before), memory(t) - before
        with log_in(t, how) as other:
            other.sendall(b"n NOOP\r\n")
            assert other.recv(100).startswith(b"n OK")
        if how == "plain":
            take(s, GIB + len(b"f OK done\r\n"))
            assert small(memory(t) - before), memory(t) - before
    wait_for(lambda: metric(t, "postern_mmp_piped_sessions") == 0, 20, "its end")


@pytest.mark.parametrize("how", ["plain", "tls"])
def test_a_store_that_stops_reading(flooding, how):
    """The client has a gigabyte for a store that takes nothing any more."""
    t = flooding
    before = memory(t)
    with log_in(t, how) as s:
        s.sendall(b"d DEAF\r\n")
        s.settimeout(2)
        sent = 0
        with contextlib.suppress(TimeoutError, OSError):
            while sent < GIB:
                sent += s.send(b"x" * 65536)
        assert sent < 64 * MIB
        assert wait_for(lambda: stands_still(t), 30, "the stop") < 64 * MIB
        assert small(memory(t) - before), memory(t) - before
        assert t.postern("kick", "user", t.user("alice")["address"]).returncode == 0
    wait_for(lambda: metric(t, "postern_mmp_piped_sessions") == 0, 20, "its end")


# ---- helpers that die ----------------------------------------------------------------------------

class Logins(threading.Thread):
    """Logs in and out until told to stop; counts what the answers were."""
    def __init__(self, t, name="alice"):
        super().__init__(daemon=True)
        self.t, self.user, self.said, self.over = t, t.user(name), collections.Counter(), threading.Event()

    def once(self):
        with socket.create_connection(("127.0.0.1", self.t.port("imap")), timeout=30) as s:
            s.sendall(f"a LOGIN {self.user['address']} {self.user['password']}\r\n".encode())
            got = b""
            while not re.search(rb"^a .*\r\n", got, re.M):
                more = s.recv(1000)
                if not more:
                    return "closed"
                got += more
            answer = re.search(rb"^a (OK|NO \[[A-Z]+\]|NO|BAD)", got, re.M).group(1).decode()
            if answer == "OK":
                s.sendall(b"z LOGOUT\r\n")
                while s.recv(1000):
                    pass
            return answer

    def run(self):
        while not self.over.is_set():
            try:
                self.said[self.once()] += 1
            except OSError as error:
                self.said[repr(error)] += 1

    def until(self, word, more, seconds=30):
        had = self.said[word]
        wait_for(lambda: self.said[word] >= had + more, seconds, f"{more} times {word}: {self.said}")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(60)


def nobody_is_stuck(t):
    wait_for(lambda: metric(t, "postern_mmp_prelogin_sessions") == 0, 30, "sessions before login")
    assert "worker.died" not in t.log("mmp") and "worker.killed" not in t.log("mmp")


def test_the_directory_dies_and_returns(new_tier):
    """slapd: sessions live on, logins are refused as unavailable, never as wrong; they work again by themselves."""
    t = fake_tier_with_slapd(new_tier)
    crowd = fake_imap.Crowd(t.port("imap"), t.user("alice"))
    crowd.add(50)
    with Logins(t) as load:
        load.until("OK", 20)
        for _ in range(2):
            t.stop_process("slapd")
            load.until("NO [UNAVAILABLE]", 5)
            assert crowd.all_answer() == 50
            peers.run_slapd(t, t.ldap_port)
            load.until("OK", 20)
    assert set(load.said) <= {"OK", "NO [UNAVAILABLE]"}, load.said
    assert crowd.all_answer() == 50 and not crowd.lost
    nobody_is_stuck(t)
    crowd.close()


def fake_tier_with_slapd(new_tier):
    port = free_port()

    def prepared(name, **more):
        t = new_tier(name, **more)
        t.ldap_port = port
        t.directory_block = (f"directory {{ backend ldap; uri ldap://127.0.0.1:{port}; base \"dc=postern\"; verify bind; "
                             "cache_ttl 1s; negative_ttl 1s; verify_ttl 0s; deadline 3s; }\n")
        write = t.write_all

        def write_all():
            write()
            peers.start_slapd(t, port, os.path.join(TOP, "conf", "schema"))
        t.write_all = write_all
        return t
    return fake_tier(prepared, "slapd")


RULE = "\trule sessions { on session; kind concurrency; key user; limit 8; lease 12s; action refuse; on_loss open; }\n"


def test_redis_dies_and_returns(new_tier):
    """While it is away on_loss decides; when it is back, empty, what is held is counted again within the lease."""
    t = new_tier("redis", stores=1, needs=("mmp",))
    t.store_is_postern = False
    t.meter_rules = RULE
    t.workers = 2
    t.drain_timeout = "1s"
    t.mmp_listener_extra = "allow_plaintext_auth yes;"
    t.users = [u for u in t.users if u["store"] == 1]
    t.mmp_extra += "\tstore_facts none;\n"
    t.write_all()
    t.start_redis()
    start_fake(t)
    start_mmp(t)
    held = fake_imap.Crowd(t.port("imap"), t.user("alice"))
    held.add(5, at_once=1)

    def used():
        rows = json.loads(t.postern("meter", "show", t.user("alice")["address"], "--json").stdout)
        return max((r["used"] for r in rows), default=0)
    wait_for(lambda: used() == 5, 20, "five sessions")
    with Logins(t, "carol") as load:
        load.until("OK", 10)
        t.stop_process("redis")
        load.until("OK", 20)  # open
        held.add(1)
        assert held.all_answer() == 6 and not held.lost
        t.start_redis()
        wait_for(lambda: used() == 6, 12, "all six, counted again within the lease")
        load.until("OK", 10)
    assert set(load.said) == {"OK"}, load.said
    held.add(2, at_once=1)
    assert len(held.sessions) == 8 and not held.lost
    wait_for(lambda: held.add(1) or held.lost, 20, "one too many")  # a question that has no answer in time is open, too
    assert "LIMIT" in held.lost[0]
    held.close()
    wait_for(lambda: used() == 0, 20, "none")
    nobody_is_stuck(t)
