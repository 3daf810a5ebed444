"""A new binary in the place of the one that runs: nobody is refused, nobody is dropped, and one that is no good changes nothing."""
import json
import os
import re
import signal
import smtplib
import stat

import pytest

import fake_imap
import mail
from mmp_clients import Knocks, connect, fake_tier, hang_up, metric, reload, running, start_mmp, status, upgrade
from tier import port_answers, wait_for

SESSIONS = int(os.environ.get("POSTERN_SESSIONS", "1000"))
UPGRADES, RELOADS_EACH = 5, 4


def test_upgrades_and_reloads_under_load(new_tier):
    """Live sessions of every generation answer to the end; every connection in between is greeted."""
    t = fake_tier(new_tier, "load")
    crowd = fake_imap.Crowd(t.port("imap"), t.user("alice"))
    secure = connect(t, t.port("imaps"))
    with Knocks(t.port("imap")) as knocks:
        logins = 0
        crowd.add(SESSIONS // 2)
        for turn in range(1, UPGRADES + 1):
            before = status(t)["pid"]
            upgrade(t)
            assert status(t)["pid"] != before
            crowd.add(SESSIONS // 2 // UPGRADES)
            for _ in range(RELOADS_EACH):
                reload(t)
            assert crowd.all_answer() == SESSIONS // 2 + SESSIONS // 2 // UPGRADES * turn, crowd.lost[:3]
            assert metric(t, "postern_mmp_logins_total") >= logins  # of all generations
            logins = metric(t, "postern_mmp_logins_total")
    assert not knocks.refused and not crowd.lost and knocks.done > 20, (knocks.done, knocks.refused[:3], crowd.lost[:3])
    secure[0].sendall(b"a NOOP\r\n")
    assert secure[1].readline().startswith(b"a OK")
    hang_up(*secure)
    held = len(crowd.sessions)
    # the old ones still count and can be asked: who, kick and the metrics reach them
    wait_for(lambda: metric(t, "postern_mmp_piped_sessions") == held, 20, "the gauge of all generations")
    assert len(json.loads(t.postern("who", "--json").stdout)) == held
    crowd.close()
    wait_for(lambda: not status(t)["former"], 30, "the end of the old ones")
    log = t.log("mmp")
    assert "worker.died" not in log and "worker.killed" not in log and log.count("upgrade.done") == UPGRADES


# ---- what is no good ------------------------------------------------------------------------------

def script(t, name, text):
    """A folder with a program of the multiplexor's name."""
    folder = t.path(name)
    os.makedirs(folder)
    path = os.path.join(folder, "postern-mmp")
    with open(path, "w", encoding="ascii") as f:
        f.write(f"#!/bin/sh\n{text}\n")
    os.chmod(path, stat.S_IRWXU)
    return folder


def test_a_program_that_is_no_good(new_tier):
    """Not there, dies, is silent, does not get healthy: told why; the old one serves on, with the sessions it has."""
    t = fake_tier(new_tier, "bad", "upgrade_timeout 1s;\n")
    crowd = fake_imap.Crowd(t.port("imap"), t.user("alice"))
    crowd.add(20)
    first = status(t)["pid"]
    cases = [(t.path("nothing"), "status 70"), (script(t, "dies", "exit 3"), "status 3"),
             (script(t, "hangs", "exec tail -f /dev/null"), "not ready in time")]
    for folder, why in cases:
        t.root_extra = f"upgrade_timeout 1s;\nprogram_dir {folder};\n"
        t.write_configs()
        reload(t)
        done = t.postern("upgrade", "mmp")
        assert done.returncode != 0 and why in done.stdout + done.stderr, done
        assert status(t)["pid"] == first and status(t)["phase"] == "running"
        crowd.add(2)
        assert crowd.all_answer() == len(crowd.sessions)
    t.root_extra = "upgrade_timeout 1s;\n"
    t.write_configs()
    reload(t)
    good = t.directory_text()
    os.rename(t.path("directory.ldif"), t.path("directory.away"))  # the old one goes on with what it has read
    done = t.postern("upgrade", "mmp")
    assert done.returncode != 0 and "not ready in time" in done.stdout + done.stderr
    assert status(t)["pid"] == first
    crowd.add(2)
    with open(t.path("directory.ldif"), "w", encoding="utf-8") as f:
        f.write(good)
    t.root_extra = ""  # a good one has the time that it needs
    t.write_configs()
    reload(t)
    upgrade(t)
    assert status(t)["pid"] != first
    assert crowd.all_answer() == len(crowd.sessions) and not crowd.lost
    assert metric(t, "postern_upgrades_failed_total") == len(cases) + 1  # counted on by the new one
    crowd.close()


def test_a_stop_during_an_upgrade(new_tier):
    """The new program does not outlive the daemon that it was to replace."""
    t = fake_tier(new_tier, "early")
    t.root_extra = f"program_dir {script(t, 'hangs', 'exec tail -f /dev/null')};\n"
    t.write_configs()
    reload(t)
    t.processes["mmp"].send_signal(signal.SIGUSR2)
    new = wait_for(lambda: re.search(r"upgrade\.started pid=(\d+)", t.log("mmp")), 20, "the new program").group(1)
    assert t.stop_process("mmp") == 0
    wait_for(lambda: not os.path.exists(f"/proc/{new}"), 20, "its end")
    assert 'upgrade.failed' in t.log("mmp")


def test_signals_and_the_pid_file(new_tier):
    """The first pid stands for the daemon: what it is sent the new one does, and it ends when that ends."""
    t = fake_tier(new_tier, "pids")
    first = t.processes["mmp"].pid

    def written():
        with open(t.path("edge-run", "mmp.pid"), encoding="ascii") as f:
            return int(f.read())
    assert written() == first == status(t)["pid"]
    os.kill(first, signal.SIGUSR2)
    second = wait_for(lambda: written() != first and written(), 20, "the new pid")
    wait_for(lambda: status(t)["pid"] == second and status(t)["phase"] == "running", 20, "the new master")
    os.kill(first, signal.SIGUSR2)
    third = wait_for(lambda: written() not in (first, second) and written(), 20, "the next pid")
    wait_for(lambda: status(t)["pid"] == third and status(t)["phase"] == "running", 20, "the third master")
    wait_for(lambda: not os.path.exists(f"/proc/{second}"), 20, "the end of the one in between")
    os.kill(first, signal.SIGHUP)
    wait_for(lambda: re.search(rf"mmp\[{third}\] info config\.reloaded", t.log("mmp")), 20, "a reload there")
    assert t.processes["mmp"].poll() is None
    assert t.stop_process("mmp") == 0
    assert not os.path.exists(f"/proc/{third}") and not os.path.exists(t.path("edge-run", "mmp.pid"))
    with pytest.raises(OSError):
        port_answers(t.port("imap"))
    start_mmp(t)  # and the addresses are free


# ---- edge and store -------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def whole(new_tier):
    t = new_tier("whole", stores=1)
    t.users = [u for u in t.users if u["store"] == 1]
    t.use_redis = False
    t.meter_rules = ""
    t.start()
    running(t, "edge")
    return t


def subjects(t):
    with mail.imap(t, t.user("alice")) as box:
        box.select("INBOX")
        found = box.search(None, "ALL")[1][0].split()
        return [re.search(rb"Subject: ([^\r\n]*)", box.fetch(n, "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1][0][1]).group(1).decode()
                for n in found]


def test_the_edge_in_the_middle_of_a_mail(whole):
    """A transaction that is open, and a spool that holds mail: both go on, each message arrives once."""
    t = whole
    t.stop_process("store1")
    with smtplib.SMTP("127.0.0.1", t.port("mx"), timeout=30) as s:
        s.sendmail("x@remote.example", [t.user("alice")["address"]], b"Subject: spooled\r\n\r\nx\r\n")
    s = smtplib.SMTP("127.0.0.1", t.port("mx"), timeout=60)
    s.ehlo("client.example")
    s.mail("x@remote.example")
    s.rcpt(t.user("alice")["address"])
    for i in range(2):
        before = status(t, "edge")["pid"]
        upgrade(t, "edge")
        assert status(t, "edge")["pid"] != before
        with smtplib.SMTP("127.0.0.1", t.port("mx"), timeout=30) as other:
            other.sendmail("x@remote.example", [t.user("alice")["address"]], f"Subject: after {i}\r\n\r\nx\r\n".encode())
    assert s.data(b"Subject: open\r\n\r\nx\r\n")[0] == 250  # by the spool of the newest
    s.quit()
    t.start_store(1)
    wanted = ["after 0", "after 1", "open", "spooled"]
    wait_for(lambda: sorted(subjects(t)) == wanted, 60, "all mail")
    wait_for(lambda: "empty" in t.postern("queue", "list").stdout, 30, "an empty queue")
    assert sorted(subjects(t)) == wanted
    wait_for(lambda: not status(t, "edge")["former"], 30, "the end of the old ones")
    assert t.processes["edge"].poll() is None
    pid = status(t, "edge")["pid"]
    assert t.stop_process("edge") == 0 and not os.path.exists(f"/proc/{pid}")
    t.start_daemon("edge", "postern")
    wait_for(lambda: port_answers(t.port("mx")), 30, "mx")
    running(t, "edge")


def test_the_store_below_its_sessions(whole):
    """A session of the old process sees what the new one delivers, and changes what it has."""
    t = whole
    with mail.imap(t, t.user("alice")) as box:
        box.select("INBOX")
        count = int(box.select("INBOX")[1][0])
        for i in range(2):
            upgrade(t, "store", config="store1")
            with smtplib.SMTP("127.0.0.1", t.port("mx"), timeout=30) as s:
                s.sendmail("x@remote.example", [t.user("alice")["address"]], f"Subject: new {i}\r\n\r\nx\r\n".encode())
            box.noop()
            wait_for(lambda n=count + i + 1: int(box.select("INBOX")[1][0]) == n, 30, "the new message")
            assert box.append("INBOX", None, None, b"Subject: own\r\n\r\nx\r\n")[0] == "OK"
            count += 1
    assert "worker.died" not in t.log("store1")


def test_under_the_supervisor(new_tier):
    """`postern run` sees its child go on; nothing is started anew, and all of it ends with it."""
    t = new_tier("run", stores=1)
    t.users = [u for u in t.users if u["store"] == 1]
    t.use_redis = False
    t.meter_rules = ""
    t.start_supervised()
    for program in ("mmp", "edge"):
        running(t, program)
        before = status(t, program)["pid"]
        upgrade(t, program)
        assert status(t, program)["pid"] != before
    with smtplib.SMTP("127.0.0.1", t.port("mx"), timeout=30) as s:
        s.sendmail("x@remote.example", [t.user("alice")["address"]], b"Subject: one\r\n\r\nx\r\n")
    wait_for(lambda: subjects(t) == ["one"], 30, "the mail")
    pids = [status(t, p)["pid"] for p in ("mmp", "edge")]
    assert t.stop_process("postern", seconds=60) == 0
    assert not any(os.path.exists(f"/proc/{p}") for p in pids)
    assert "run.died" not in t.log("postern")
