"""All that may change below live sessions, in one run: certificates, configuration, the program itself; under load."""
import contextlib
import os
import socket
import ssl
import threading
import time

import fake_imap
from mmp_clients import Knocks, fake_tier, metric, reload, upgrade
from rotation import Logins, new_pair, put, serial, served
from tier import wait_for

# of all sessions so many: those under OpenSSL cannot move, and stay with the processes that an upgrade replaces
KINDS = {"plain": 0.52, "tls 1.3, parked": 0.30, "tls 1.3, not parked": 0.09, "tls 1.2": 0.09}


def tier(new_tier, name):
    return fake_tier(new_tier, name, "watch_files 20ms;\n")


class Live(threading.Thread):
    """Sessions of every kind that are asked one after the other, again and again; who does not answer is lost."""
    def __init__(self, t, count):
        super().__init__(daemon=True)
        fake_imap.many_descriptors()
        self.t, self.held, self.lost, self.asked, self.over = t, [], [], 0, threading.Event()
        for kind, share in KINDS.items():
            self.park(kind != "tls 1.3, not parked")
            for _ in range(round(count * share)):
                self.held.append((kind, *self.log_in(kind)))
        self.park(True)

    def park(self, on):
        """A session keeps what held when it began."""
        extra, line = self.t.mmp_extra, "\ttls_park no;\n"
        self.t.mmp_extra = extra.replace(line, "") + ("" if on else line)
        if self.t.mmp_extra != extra:
            self.t.write_configs()
            reload(self.t)

    def log_in(self, kind):
        s = socket.create_connection(("127.0.0.1", self.t.port("imap" if kind == "plain" else "imaps")), timeout=60)
        if kind != "plain":
            context = self.t.tls_context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2 if kind == "tls 1.2" else ssl.TLSVersion.TLSv1_3
            s = context.wrap_socket(s, server_hostname="localhost")
        user, f = self.t.user("alice"), s.makefile("rb")
        f.readline()
        s.sendall(f"a LOGIN {user['address']} {user['password']}\r\n".encode())
        answer = f.readline()
        if not answer.startswith(b"a OK"):
            raise ConnectionError(f"{kind}: {answer!r}")
        return s, f

    def ask_all(self):
        for one in list(self.held):
            kind, s, f = one
            try:
                s.sendall(b"n NOOP\r\n")
                answer = f.readline()
                if not answer.startswith(b"n OK"):
                    raise ConnectionError(f"{answer!r}")
                self.asked += 1
            except (OSError, ConnectionError) as error:
                self.lost.append(f"{kind}: {error!r}")
                self.held.remove(one)

    def run(self):
        while not self.over.is_set():
            self.ask_all()

    def finish(self):
        self.over.set()
        self.join(300)
        self.ask_all()
        for _, s, f in self.held:
            with contextlib.suppress(OSError):
                f.close()
                s.close()


def due(turn, turns, count):
    """Of `count` things spread evenly over `turns`: is one due after this turn?"""
    return turn * count // turns > (turn - 1) * count // turns


def run(t, sessions, rotations, reloads, upgrades):
    """What happened, by name; dropped and refused are lists."""
    pairs, begun, slowest = [new_pair(t, f"turn{i}") for i in range(3)], time.monotonic(), 0
    live = Live(t, sessions)
    held, ready = len(live.held), time.monotonic()
    logins = Logins(t)
    with Knocks(t.port("imap")) as knocks:
        live.start()
        logins.start()
        for turn in range(1, rotations + 1):
            at, chain = time.monotonic(), pairs[turn % len(pairs)][0]
            put(t, *pairs[turn % len(pairs)])
            wait_for(lambda want=served(t, chain): serial(t) == want, 60, f"rotation {turn}")
            slowest = max(slowest, time.monotonic() - at)
            if due(turn, rotations, reloads):
                reload(t)
            if due(turn, rotations, upgrades):
                upgrade(t)
        done, failed = logins.finish()
    live.finish()
    return {"sessions": held, "rotations": rotations, "reloads": reloads, "upgrades": upgrades,
            "dropped": live.lost, "refused": knocks.refused + failed, "answers": live.asked, "connections": knocks.done + done,
            "taken": metric(t, "postern_mmp_sessions_taken_total"), "slowest_rotation_s": slowest,
            "log_in_s": ready - begun, "run_s": time.monotonic() - ready, "died": t.log("mmp").count("worker.died"),
            "load": os.getloadavg()[0]}
