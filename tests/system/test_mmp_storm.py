"""Stores that die and come back with many sessions: clients are told one after the other, and come back one after the other."""
import re
import selectors
import signal
import time

import pytest

import fake_imap
import peers
from mmp_clients import fake_tier, kill_fake, metric, ready, reload, start_fake, start_mmp
from tier import wait_for

MANY, WINDOW = 300, 4
IDLE = 3.2  # a client that was silent for so long counts as idle


def ends_of(sessions, seconds, heard=None):
    """When each was closed, from now; those that were not are missing. heard: what each was told before."""
    sel, begun, ends = selectors.DefaultSelector(), time.monotonic(), []
    for s in sessions:
        s.setblocking(False)
        sel.register(s, selectors.EVENT_READ)
    while len(ends) < len(sessions) and time.monotonic() - begun < seconds:
        for key, _ in sel.select(0.1):
            try:
                got = key.fileobj.recv(4096)
                over = not got
                if heard is not None:
                    heard[key.fileobj] = heard.get(key.fileobj, b"") + got
            except ConnectionError:
                over = True
            if over:
                ends.append(time.monotonic() - begun)
                sel.unregister(key.fileobj)
    sel.close()
    return ends


def fall_idle(crowd):
    """The clock is the multiplexor's own: nothing else tells that a client has been silent."""
    last = time.monotonic()
    wait_for(lambda: time.monotonic() - last > IDLE, 30, "idleness")
    return crowd.sessions


@pytest.mark.parametrize("how", ["dies", "goodbye"])
def test_a_store_that_goes_ends_its_sessions_over_time(new_tier, how):
    """It is killed, or says goodbye to all of them: their clients hear of either one after the other."""
    t = fake_tier(new_tier, how, mmp_extra=f"\tstore_lost_spread {WINDOW}s;\n")
    crowd = fake_imap.Crowd(t.port("imap"), t.user("alice"))
    crowd.add(MANY)
    sessions = fall_idle(crowd)
    busy, sessions = sessions[0], sessions[1:]
    t.processes.pop("fake").send_signal(signal.SIGKILL if how == "dies" else signal.SIGUSR1)
    wait_for(lambda: metric(t, "postern_mmp_sessions_spread_total") > MANY / 2, 20, "the loss")
    busy.sendall(b"n NOOP\r\n")  # who asks is answered: by the end
    busy.settimeout(WINDOW / 2)
    words = b"" if how == "dies" else b"* BYE Server shutting down.\r\n"
    try:
        assert busy.makefile("rb").read() == words
    except ConnectionError:
        assert how == "dies"
    heard = {}
    ends = ends_of(sessions, WINDOW + 20, heard)
    assert len(ends) == len(sessions)
    assert all(heard.get(s, b"") == words for s in sessions)
    # ten of each worker at once; of the rest no half second of the window has more than its share, twice over
    for part in range(1, 2 * WINDOW):
        n = sum(part / 2 <= e < (part + 1) / 2 for e in ends)
        assert n <= 2 * MANY / (2 * WINDOW), (part, sorted(ends))
    assert re.search(r"store\.lost store=store1 sessions=\d+ window_ms=4000", t.log("mmp"))
    crowd.close()
    wait_for(lambda: metric(t, "postern_mmp_piped_sessions") == 0, 20, "no session")
    assert "worker.died" not in t.log("mmp")


def test_a_store_that_returns(new_tier):
    """Nobody gets in while it is away; when it is back all do, one after the other, and none is refused for it."""
    t = fake_tier(new_tier, "returns", workers=1, mmp_extra="\tstore_retry_min 100ms;\n\tstore_return 3s;\n\tstore_queue_timeout 30s;\n")
    kill_fake(t)
    crowd = fake_imap.Crowd(t.port("imap"), t.user("alice"))
    crowd.add(1)
    assert len(crowd.lost) == 1 and "UNAVAILABLE" in crowd.lost[0]
    crowd.lost = []
    start_fake(t)

    def back():
        crowd.add(1)
        crowd.lost = []
        return crowd.sessions
    wait_for(back, 20, "the first login")
    assert t.logged("mmp", r"store\.back ")
    had = len(crowd.sessions)
    crowd.add(100, at_once=100)
    assert not crowd.lost and len(crowd.sessions) == had + 100
    # one after the other: the newest waited for its turn longer than the eldest
    took = [int(ms) for ms in t.logged("mmp", r"login\.ok .* ms=(\d+)", had + 100)[-100:]]
    assert max(took) > 300, took
    assert crowd.all_answer() == had + 100
    crowd.close()


READY = "\tconnections_max 1000;\n\tauth_failures_max 100;\n\tstore_retry_min 100ms;\n\tstore_return 0s;\n\tready_stores %s;\n"


def test_a_balancer_is_told_the_truth(new_tier):
    """/healthz/ready with two stores that die and come back, by each rule; nobody logs in for a store to be found again."""
    t = fake_tier(new_tier, "ready", stores=2, mmp_extra=READY % "any")
    crowds = {1: fake_imap.Crowd(t.port("imap"), t.user("alice")), 2: fake_imap.Crowd(t.port("imap"), t.user("bob"))}

    def number(which):
        return metric(t, f'postern_mmp_stores_{which}{{protocol="imap"}}')

    def known(store, which, wanted):
        """Logins until every worker has met the store: each counts by itself."""
        def met():
            crowds[store].add(1)
            return number(which) == wanted
        wait_for(met, 20, f"store {store} {which}")
        crowds[store].close()

    def rule(word):
        t.mmp_extra = t.mmp_extra.rsplit("ready_stores", 1)[0] + f"ready_stores {word};\n"
        t.write_configs()
        reload(t)

    crowds[1].add(1)
    kill_fake(t, 2)
    crowds[2].add(1)  # no login has reached it: it is not missed
    assert (number("down"), ready(t)) == (0, 200)
    start_fake(t, 2)
    known(1, "up", 2)
    known(2, "up", 4)
    kill_fake(t, 1)
    known(1, "down", 2)
    assert (number("up"), ready(t)) == (2, 200)  # any: the others are served
    rule("all")
    wait_for(lambda: ready(t) == 503, 20, "not ready without one of all")
    kill_fake(t, 2)
    known(2, "down", 4)
    rule("none")
    wait_for(lambda: ready(t) == 200, 20, "ready whatever the stores do")
    rule("any")
    wait_for(lambda: ready(t) == 503, 20, "not ready without any")
    start_fake(t, 2)
    wait_for(lambda: ready(t) == 200, 20, "ready by itself")
    start_fake(t, 1)
    wait_for(lambda: (number("up"), number("down"), ready(t)) == (4, 0, 200), 20, "all of them, by themselves")
    assert "worker.died" not in t.log("mmp")


def test_kicks_of_a_store_are_spread(new_tier):
    """Without a number of seconds: over thirty; with one: over that. The first share goes at once."""
    t = fake_tier(new_tier, "kicks")
    crowd = fake_imap.Crowd(t.port("imap"), t.user("alice"))
    crowd.add(120)
    assert "120" not in t.postern("kick", "store", "store1", "3").stdout  # of each worker its own
    ends = ends_of(crowd.sessions, 20)
    assert len(ends) == 120 and sum(e < 0.4 for e in ends) < 100 and max(ends) > 1
    crowd.sessions = []
    crowd.add(60)
    t.postern("kick", "store", "store1")
    wait_for(lambda: metric(t, "postern_mmp_piped_sessions") < 60, 20, "the first")
    assert metric(t, "postern_mmp_piped_sessions") > 30
    t.postern("kick", "store", "store1", "0")
    wait_for(lambda: metric(t, "postern_mmp_piped_sessions") == 0, 20, "the rest")


def test_a_stop_says_goodbye(new_tier):
    """The multiplexor itself goes: its sessions end before drain_timeout, one after the other, and are told why."""
    t = fake_tier(new_tier, "stops", root_extra="")
    t.drain_timeout = "4s"
    t.write_configs()
    assert t.postern("reload").stdout.startswith("mmp: reloaded")
    crowd = fake_imap.Crowd(t.port("imap"), t.user("alice"))
    crowd.add(200)
    mmp = t.processes["mmp"]
    mmp.send_signal(signal.SIGTERM)
    heard = {}
    ends = ends_of(crowd.sessions, 30, heard)
    assert len(ends) == 200 and all(b"* BYE" in words for words in heard.values())
    assert sum(e < 1 for e in ends) < 150 and max(ends) < 4
    assert t.stop_process("mmp") == 0
    assert t.log("mmp").count("why=stopped") == 200


def test_dovecot_is_killed(new_tier):
    """The same with a real store: all its sessions break at once, and its clients do not."""
    t = new_tier("dovecot", stores=1, needs=("mmp",))
    t.store_is_postern = False
    t.use_redis = False
    t.meter_rules = ""
    t.workers = 1
    t.drain_timeout = "1s"
    t.mmp_listener_extra = "allow_plaintext_auth yes;"
    t.users = [u for u in t.users if u["store"] == 1]
    t.mmp_extra += "\tstore_lost_spread 3s;\n\tstore_retry_min 100ms;\n"
    t.write_all()
    limits = "mail_max_userip_connections = 0\nservice imap-login {\n  client_limit = 1000\n}\nservice imap {\n  process_limit = 100\n}\n"
    peers.start_dovecot(t, 1, limits)
    start_mmp(t)
    crowd = fake_imap.Crowd(t.port("imap"), t.user("alice"))
    crowd.add(40)
    sessions = fall_idle(crowd)
    assert t.stop_process("dovecot1", signal.SIGINT) is not None
    ends = ends_of(sessions, 30)
    assert len(ends) == 40
    peers.start_dovecot(t, 1, limits)
    crowd.sessions = []

    def back():
        crowd.add(1)
        return crowd.sessions
    wait_for(back, 20, "a login")
    crowd.lost = []
    crowd.add(20)
    assert not crowd.lost and crowd.all_answer() == 21
    crowd.close()
