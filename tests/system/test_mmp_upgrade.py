"""At a binary upgrade what the multiplexor has goes on in the new processes: sessions, orders; and what cannot move, or was not moved
because a process died in the middle, is served where it is."""
import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import zlib

import pytest

import changes
import echo_imap
import fake_imap
from mmp_clients import Knocks, connect, control, fake_tier, hang_up, metric, ready, reload, running, start_mmp, status, upgrade
from tier import port_answers, wait_for

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def echo_tier(new_tier, name, store_tls, workers=2, listener=""):
    """The multiplexor in front of a store that echoes."""
    t = new_tier(name, stores=1, needs=("mmp",))
    t.store_is_postern, t.use_redis, t.workers = False, False, workers
    t.meter_rules = "\trule many { on session; kind concurrency; key user; limit 200; }\n"
    t.root_extra = "upgrade_linger 60s;\n"
    t.mmp_listener_extra = "allow_plaintext_auth yes;" + listener
    t.users = [u for u in t.users if u["store"] == 1]
    t.mmp_extra += "\tstore_facts none;\n" + ("\tstore_tls implicit;\n" if store_tls else "")
    if store_tls:
        t.store_entry = lambda k, old=t.store_entry: old(k).replace("posternStoreImapPort", "posternStoreImapsPort")
    t.write_all()
    pair = [t.path("tls", "chain.pem"), t.path("tls", "key.pem")] if store_tls else []
    t.spawn("echo", [sys.executable, "-B", echo_imap.__file__, str(t.store_port(1, "imap")), *pair])
    wait_for(lambda: port_answers(t.store_port(1, "imap")), 30, "the store")
    start_mmp(t)
    return t


def who(t):
    return sorted((row["id"], row["user"], row["client"], row["since"], row["tls"])
                  for row in json.loads(t.postern("who", "--json").stdout))


async def talk_through_upgrades(t, talkers, upgrades):
    work = asyncio.gather(*(one.talk() for one in talkers))

    async def all_went_on():
        more = asyncio.gather(*(one.echoes(20) for one in talkers))
        await asyncio.wait({work, more}, return_when=asyncio.FIRST_COMPLETED)
        assert not work.done(), work.exception()

    await asyncio.wait_for(all_went_on(), 60)
    for turn in range(1, upgrades + 1):
        await asyncio.to_thread(upgrade, t)
        await asyncio.wait_for(all_went_on(), 60)
        # the old one has nothing left and goes, long before its time
        await asyncio.to_thread(wait_for, lambda: not status(t)["former"], 30, "the end of the old one")
        assert metric(t, "postern_mmp_sessions_taken_total") == turn * len(talkers)
    for one in talkers:
        one.over = True
    await work


@pytest.mark.parametrize("store_tls", [False, True], ids=["plain", "tls"])
def test_sessions_move_while_they_talk(new_tier, store_tls):
    """Half of them under TLS; each sends and gets without a pause. Every old process is gone while its sessions live on."""
    t = echo_tier(new_tier, f"moves-{store_tls}", store_tls)
    user = t.user("alice")

    async def run():
        talkers = [echo_imap.Talker(n) for n in range(16)]
        for one in talkers:
            await one.log_in(t.port("imaps" if one.number % 2 else "imap"), user, t.tls_context() if one.number % 2 else None)
        before = await asyncio.to_thread(who, t)
        assert len(before) == len(talkers)
        await talk_through_upgrades(t, talkers, 3)
        assert all(one.echoed == one.sent for one in talkers)
        return before
    before = asyncio.run(run())
    wait_for(lambda: metric(t, "postern_mmp_piped_sessions") == 0, 20, "the end of all")
    ended = t.logged("mmp", r"session\.end id=(\w+) .*user=alice", len(before))
    assert sorted(ended) == sorted(row[0] for row in before)  # each once, by whom had it last
    log = t.log("mmp")
    assert "sessions.kept" not in log and "worker.died" not in log and "worker.killed" not in log


def test_idle_sessions_move_and_answer(new_tier):
    """Who, kick and limits know them in the new process as they were in the old."""
    t = echo_tier(new_tier, "idle", False)
    user = t.user("alice")
    plain = [connect_plain(t, user) for _ in range(20)]
    secure = []
    for _ in range(20):
        s, f = connect(t, t.port("imaps"))
        s.sendall(f"a LOGIN {user['address']} {user['password']}\r\n".encode())
        assert f.readline().startswith(b"a OK")
        secure.append((s, f))
    before = who(t)
    assert len(before) == 40
    for _ in range(2):
        upgrade(t)
        wait_for(lambda: not status(t)["former"], 30, "the end of the old one")
        assert who(t) == before
        for s, f in plain + secure:
            s.sendall(b"are you there\r\n")
            assert f.readline() == b"are you there\r\n"
    counted = t.postern("meter", "show", user["address"]).stdout
    assert re.search(r"\b40\b", counted), counted
    t.postern("kick", "user", user["address"])
    wait_for(lambda: metric(t, "postern_mmp_piped_sessions") == 0, 20, "the kick")
    for s, f in plain + secure:
        f.read()
        hang_up(s, f)
    assert t.log("mmp").count("why=kicked") == 40


def connect_plain(t, user):
    s = socket.create_connection(("127.0.0.1", t.port("imap")), timeout=60)
    f = s.makefile("rb")
    f.readline()
    s.sendall(f"a LOGIN {user['address']} {user['password']}\r\n".encode())
    assert f.readline().startswith(b"a OK")
    return s, f


def test_everything_changes_at_once(new_tier):
    """The small form of `make bench-mmp-changes`."""
    told = changes.run(changes.tier(new_tier, "changes"), 100, 6, 3, 2)
    assert not told["dropped"] and not told["refused"] and told["died"] == 0, told
    assert told["answers"] > told["sessions"] == 100 and told["connections"] > 20, told
    assert told["taken"] >= 2 * 82, told  # all but those under OpenSSL, twice; and who has just logged in to log out again


# ---- what stays -----------------------------------------------------------------------------------

def log_in_over(t, version):
    context = t.tls_context()
    context.maximum_version = version
    s = context.wrap_socket(socket.create_connection(("127.0.0.1", t.port("imaps")), timeout=60), server_hostname="localhost")
    f = s.makefile("rb")
    f.readline()
    return logged_in(t, s, f)


def logged_in(t, s, f):
    user = t.user("alice")
    s.sendall(f"a LOGIN {user['address']} {user['password']}\r\n".encode())
    assert f.readline().startswith(b"a OK")
    return s, f


def answers(s, f):
    s.sendall(b"n NOOP\r\n")
    return f.readline().startswith(b"n OK")


def places(t):
    """How many sessions `postern who` shows in the column `former`, by its word."""
    rows = [row["former"] for row in json.loads(t.postern("who", "--json").stdout)]
    return {word: rows.count(word) for word in rows}


@pytest.fixture(scope="module")
def kinds(new_tier):
    """A session of every kind that cannot move and of two that can, by name, in a multiplexor with one worker."""
    t = fake_tier(new_tier, "kinds", "upgrade_linger 60s;\n", workers=1)
    held = {"tls 1.3 parked": log_in_over(t, ssl.TLSVersion.TLSv1_3), "tls 1.2": log_in_over(t, ssl.TLSVersion.TLSv1_2),
            "plain": connect_plain(t, t.user("alice")), "half closed": connect_plain(t, t.user("alice"))}
    held["half closed"][0].sendall(b"n DEAF\r\n")
    held["half closed"][0].shutdown(socket.SHUT_WR)
    t.mmp_extra += "\ttls_park no;\n"
    t.write_configs()
    reload(t)
    held["tls 1.3 unparked"] = log_in_over(t, ssl.TLSVersion.TLSv1_3)
    return t, held


def test_what_cannot_move_stays(kinds):
    """It is served where it is, is told of in the log and by `who`, and orders of the new process reach it, over two upgrades."""
    t, held = kinds
    for turn in range(2):
        upgrade(t)
        wait_for(lambda n=turn + 1: metric(t, "postern_mmp_sessions_taken_total") == 2 * n, 20, "those that move")
        wait_for(lambda: places(t) == {"no": 2, "tls": 2, "half_closed": 1}, 20, f"what stays: {places(t)}")
        assert all(answers(*ends) for kind, ends in held.items() if kind != "half closed")
    assert t.log("mmp").count("sessions.stay sessions=3 tls=2 half_closed=1 ending=0") == 1  # the second one had nothing that stays
    assert json.loads(t.postern("kick", "user", t.user("alice")["address"], "--json").stdout)
    for s, f in held.values():
        f.read()
        hang_up(s, f)
    wait_for(lambda: not status(t)["former"], 30, "the end of the old ones")
    assert t.log("mmp").count("why=kicked") == len(held)


def test_a_drain_reaches_every_generation(kinds):
    """Who waits before a login in a process that was replaced, twice over, is told as well."""
    t, _ = kinds
    waiting = []
    for _ in range(2):
        waiting.append(connect(t, t.port("imaps")))
        upgrade(t)
    waiting.append(connect(t, t.port("imaps")))
    assert ready(t) == 200
    assert control(t, "mmp", "drain")["ok"]
    for s, f in waiting:
        assert b"going down" in f.read()
        hang_up(s, f)
    assert ready(t) == 503
    with pytest.raises(ConnectionRefusedError):  # nobody waits in a queue that nobody looks into
        connect(t, t.port("imaps"))
    assert "net.accept_failed" not in t.log("mmp")
    wait_for(lambda: not status(t)["former"], 30, "the end of the old ones")


def test_compressed_sessions_move(new_tier):
    """Behind COMPRESS the bytes are the client's and the store's own: the stream goes on where it was."""
    t = new_tier("compressed", stores=1, needs=("mmp", "store"))
    t.use_redis, t.meter_rules, t.workers = False, "", 1
    t.mmp_listener_extra = "allow_plaintext_auth yes;"
    t.users = [u for u in t.users if u["store"] == 1]
    t.write_all()
    t.start_store(1)
    start_mmp(t)
    pack, unpack = zlib.compressobj(9, zlib.DEFLATED, -15), zlib.decompressobj(-15)
    s, f = connect(t, t.port("imaps"))
    logged_in(t, s, f)
    s.sendall(b"z COMPRESS DEFLATE\r\n")
    assert f.readline().startswith(b"z OK")

    def said(line, end):
        s.sendall(pack.compress(line) + pack.flush(zlib.Z_SYNC_FLUSH))
        heard = b""
        while end not in heard:
            heard += unpack.decompress(f.read1(65536))
        return heard
    for turn in range(3):
        assert b"* STATUS" in said(b"a%d STATUS INBOX (MESSAGES)\r\n" % turn, b"a%d OK" % turn)
        upgrade(t)
        wait_for(lambda: not status(t)["former"], 30, "the end of the old one")
    assert metric(t, "postern_mmp_sessions_taken_total") == 3
    said(b"b LOGOUT\r\n", b"b OK")
    hang_up(s, f)


# ---- orders ---------------------------------------------------------------------------------------

def test_orders_outlast_their_process(new_tier):
    """A hold and a kick over a time are known to the new workers before they accept, and to one that replaces a dead one."""
    t = fake_tier(new_tier, "orders", "upgrade_linger 60s;\n")
    alice = t.user("alice")
    crowd = fake_imap.Crowd(t.port("imap"), alice)
    crowd.add(40)
    assert t.postern("kick", "store", "store1", "1000").returncode == 0
    t.postern("hold", "user", alice["address"].upper(), "500")
    t.postern("hold", "store", "other", "500")
    t.postern("release", "store", "OTHER")

    def none_gets_in(n=6):
        crowd.lost, before = [], len(crowd.sessions)
        crowd.add(n)
        return len(crowd.sessions) == before and len(crowd.lost) == n and all("UNAVAILABLE" in why for why in crowd.lost)

    def held():
        return [(row["value"], 400 < row["left_s"] <= 500) for row in json.loads(t.postern("holds", "--json").stdout)]
    assert none_gets_in() and held() == [(alice["address"].upper(), True)]
    with Tries(t.port("imap"), alice) as tries:
        for _ in range(2):
            upgrade(t)
            assert none_gets_in()
    assert tries.refused > 5 and not tries.other, tries.other[:3]
    wait_for(lambda: not status(t)["former"], 30, "the end of the old ones")
    assert held() == [(alice["address"].upper(), True)]
    for worker in status(t)["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)
    running(t)
    wait_for(lambda: all(w["state"] == "up" for w in status(t)["workers"]), 30, "new workers")
    assert none_gets_in() and held() == [(alice["address"].upper(), True)]
    t.postern("release", "user", alice["address"])
    upgrade(t)
    crowd.sessions, crowd.lost = [], []
    crowd.add(4)
    assert len(crowd.sessions) == 4 and held() == []
    assert t.postern("kick", "store", "store1", "1").returncode == 0  # the kick of before is still going on, and this one is as well
    for s in crowd.sessions:
        s.recv(4096)
    crowd.close()


class Tries(Knocks):
    """Logs in again and again; what is neither refused for now nor let in is noted, and so is who gets in."""
    def __init__(self, port, user):
        super().__init__(port)
        self.user, self.other, self.refused = user, [], 0

    def run(self):
        while not self.over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=30) as s, s.makefile("rb") as f:
                    f.readline()
                    s.sendall(f"a LOGIN {self.user['address']} {self.user['password']}\r\n".encode())
                    answer = f.readline()
                    if answer.startswith(b"a NO [UNAVAILABLE]"):
                        self.refused += 1
                    else:
                        self.other.append(answer)
            except OSError as error:
                self.other.append(error)


# ---- a process dies in the middle -----------------------------------------------------------------

@pytest.fixture(scope="module")
def fault(run_dir):
    path = os.path.join(run_dir, "handover_fault.so")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", path, os.path.join(TOP, "tests", "system", "handover_fault.c")],
                   check=True, timeout=120)
    return path


def talk_once(s, f, word):
    """The echo of a word that nobody else has said, exactly once: with two owners it would come twice, or in parts."""
    try:
        s.sendall(word + b"\r\n")
        return f.readline() == word + b"\r\n"
    except ConnectionError:
        return False


MANY = 100


@pytest.mark.parametrize("point,number,gone", [
    ("offer", 1, 0), ("accept", 60, None), ("commit", 50, None), ("committed", 1, MANY - 1), ("committed", 50, MANY - 50)])
def test_a_worker_is_killed_in_the_middle(new_tier, fault, monkeypatch, point, number, gone):
    """Who dies costs what was its own, to the session; the other side serves the rest, once each, and nobody is refused. gone: how
    many that is; None: those that had been committed to the one that died."""
    monkeypatch.setenv("LD_PRELOAD", fault)
    monkeypatch.setenv("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")
    died = f"{fault}.{point}.{number}"
    monkeypatch.setenv("HANDOVER_FAULT", f"{point}:{number}:{died}")
    t = echo_tier(new_tier, f"killed-{point}-{number}", False, workers=1)
    monkeypatch.undo()
    ends = [connect_plain(t, t.user("alice")) for _ in range(MANY)]
    before = who(t)
    with Knocks(t.port("imap")) as knocks:
        upgrade(t)
        wait_for(lambda: os.path.exists(died) and "signal=9" in t.log("mmp"), 30, "the death")
        if gone is None:
            told = wait_for(lambda: re.search(r"sessions\.kept sessions=(\d+) why=gone|sessions\.given sessions=\d+ left=0", t.log("mmp")),
                            30, "what the old one kept")
            gone = MANY - int(told.group(1) or 0)
        wait_for(lambda: metric(t, "postern_mmp_piped_sessions") == MANY - gone, 30, f"all but {gone}")
        wait_for(lambda: status(t)["workers"][0]["state"] == "up", 30, "the new worker")
    live = [n for n, (s, f) in enumerate(ends) if talk_once(s, f, b"word %d of %s" % (n, point.encode()))]
    assert len(live) == MANY - gone, (gone, live)
    # of those who knock one after the other the one that it had just accepted may be cut off; the door was never shut
    assert len(knocks.refused) <= 1 and "refused" not in "".join(knocks.refused).lower() and knocks.done > 0, knocks.refused
    shown = who(t)
    assert len(shown) == len(live) and set(shown) <= set(before)
    fresh = connect_plain(t, t.user("alice"))
    assert talk_once(*fresh, b"somebody new")
    for s, f in [*ends, fresh]:
        with contextlib.suppress(OSError):
            s.shutdown(socket.SHUT_WR)
            assert f.read() == b""  # and nothing came twice
        hang_up(s, f)
    wait_for(lambda: metric(t, "postern_mmp_piped_sessions") == 0 and not status(t)["former"], 30, "the end of all")
    ended = t.logged("mmp", r"session\.end id=(\w+) .*user=alice", len(live) + 1)
    assert len(ended) == len(set(ended)) == len(live) + 1
    t.stop()
