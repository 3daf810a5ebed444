"""As many sessions, or as much memory, as the workers may have: who is full leaves connections to the others, and 421 is for when
all are."""
import contextlib
import os
import signal
import socket

import pytest

import mail
from conftest import finish
from mmp_clients import metric
from test_edge import relaying_edge
from tier import wait_for

EACH = 10


@contextlib.contextmanager
def running_edge(run_dir, name, workers, option=""):
    tier = relaying_edge(run_dir, name, workers, f"\t{option}\n\tspf off;\n\treverse_names no;\n")
    try:
        tier.start()
        yield tier
    finally:
        finish(tier)


@pytest.fixture(name="full")
def two_full_workers(run_dir, request):
    """The edge and its sessions, as many as both workers may have: each of them was greeted."""
    with running_edge(run_dir, request.node.name[:24], 2, f"connections_max {EACH};") as tier, contextlib.ExitStack() as held:
        wait_for(lambda: accepting(tier) == 2, 20, "both workers")
        clients = []
        for i in range(2 * EACH):
            clients.append(held.enter_context(connected(tier)))
            assert greeting(clients[-1]).startswith(b"220 "), i
        wait_for(lambda: accepting(tier) == 0, 20, "two full workers")
        yield tier, clients


def connected(tier, **how):
    return socket.create_connection(("127.0.0.1", tier.port("mx")), timeout=30, **how)


def greeting(s):
    return s.makefile("rb").readline()


def accepting(tier):
    return metric(tier, "postern_edge_accepting", "edge-admin")


def one_more(tier):
    """What it hears."""
    with connected(tier) as s:
        return greeting(s)


def test_only_a_full_host_refuses(full):
    tier, held = full
    assert metric(tier, "postern_edge_shed_total", "edge-admin") == 0
    for _ in range(3):
        assert one_more(tier).startswith(b"421 4.3.2 ")
    assert "worker.full" in tier.log("edge")
    held.pop(0).close()
    wait_for(lambda: accepting(tier) == 1, 20, "room")
    for _ in range(5):
        assert one_more(tier).startswith(b"220 ")
        wait_for(lambda: accepting(tier) == 1, 20, "its end")
    assert metric(tier, "postern_edge_shed_total", "edge-admin") == 3


def test_one_that_dies_makes_room(full):
    tier, _ = full
    os.kill(tier.children()[-1], signal.SIGKILL)
    wait_for(lambda: accepting(tier) == 1, 20, "the next worker")
    assert one_more(tier).startswith(b"220 ")


def test_more_by_reload(full):
    tier, _ = full
    tier.edge_extra = tier.edge_extra.replace(f"connections_max {EACH};", f"connections_max {2 * EACH};")
    tier.write_configs()
    os.kill(tier.processes["edge"].pid, signal.SIGHUP)
    wait_for(lambda: accepting(tier) == 2, 20, "the new limit")
    assert one_more(tier).startswith(b"220 ")


# ---- memory -----------------------------------------------------------------------------------------

MEMORY_MAX, HOGS = 4 * 1024 * 1024, 40
HALF = b"x" * 78 + b"\r\n"


class Sender:
    """A client that stops where it likes."""

    def __init__(self, tier, token=None):
        self.token = token or mail.new_token()
        self.s = connected(tier)
        self.lines = self.s.makefile("rb")
        self.hears(b"220 ")

    def hears(self, start):
        line = self.lines.readline()
        while line[3:4] == b"-":
            line = self.lines.readline()
        assert line.startswith(start), line

    def says(self, line, start):
        self.s.sendall(line + b"\r\n")
        self.hears(start)

    def begins(self, to):
        self.says(b"EHLO client.example", b"250 ")
        self.says(b"MAIL FROM:<visitor@elsewhere.example>", b"250 ")
        self.says(f"RCPT TO:<{to}>".encode(), b"250 ")

    def sends_half(self, size):
        self.s.sendall(f"Subject: {self.token}\r\n\r\n".encode() + HALF * (size // len(HALF)))

    def ends(self):
        self.says(b".", b"250 ")


def test_a_worker_short_of_memory(run_dir):
    """Many half-sent messages bring it over its bound: new clients are told to come back, what is under way arrives, and nothing
    stays behind."""
    with running_edge(run_dir, "memory", 1, f"memory_max {MEMORY_MAX};") as tier:
        alice = tier.user("alice")
        value = lambda name: metric(tier, f"postern_edge_memory_{name}", "edge-admin")  # noqa: E731
        under_way, newcomer, *hogs = [Sender(tier) for _ in range(HOGS + 2)]
        newcomer.says(b"EHLO client.example", b"250 ")
        for sender in (under_way, *hogs):
            sender.begins(alice["address"])
        for hog in hogs:
            hog.says(b"DATA", b"354 ")
        assert value("pressed") == 0
        for hog in hogs:
            hog.sends_half(200_000)
        wait_for(lambda: one_more(tier).startswith(b"421 4.3.2 ") and value("bytes") >= MEMORY_MAX, 30, "the bound")
        assert value("pressed") == 1
        assert f"limit={MEMORY_MAX}" in next(x for x in tier.log("edge").splitlines() if " worker.memory " in x)
        newcomer.says(b"MAIL FROM:<visitor@elsewhere.example>", b"452 4.3.1 ")
        under_way.says(f"RCPT TO:<{tier.user('bob')['address']}>".encode(), b"452 4.3.1 ")
        under_way.says(b"DATA", b"354 ")
        under_way.sends_half(600_000)
        under_way.ends()
        tier.wait_stored(alice, under_way.token)
        for hog in hogs:
            hog.ends()
        for hog in hogs:
            assert len(tier.wait_stored(alice, hog.token)) == 1
        wait_for(lambda: one_more(tier).startswith(b"220 "), 30, "room again")
        newcomer.says(b"MAIL FROM:<visitor@elsewhere.example>", b"250 ")
        assert value("pressed") == 0 and value("refused_total") == 2
        assert tier.log("edge").count(" worker.memory ") == 1
        assert "worker.died" not in tier.log("edge")


def test_memory_of_tls_counts(run_dir):
    with running_edge(run_dir, "memory-tls", 1) as tier:
        value = lambda: metric(tier, "postern_edge_memory_bytes", "edge-admin")  # noqa: E731
        held = [mail.smtp(tier, "submissions")]
        before = value()
        held += [mail.smtp(tier, "submissions") for _ in range(30)]
        one_more(tier)
        assert 4 * 1024 < (value() - before) / 30 < 64 * 1024
        for s in held:
            s.close()
        wait_for(lambda: one_more(tier) and value() - before < 30 * 2048, 30, "their end")  # records stay


def test_an_address_with_too_many(run_dir):
    """connections_per_client_max: the last that may, the first that may not, and another address that may."""
    with running_edge(run_dir, "each", 1, "connections_per_client_max 3;") as tier:
        held = []
        for _ in range(3):
            held.append(connected(tier))
            assert greeting(held[-1]).startswith(b"220 ")
        assert one_more(tier).startswith(b"421 4.7.0 too many connections from your address [")
        with connected(tier, source_address=("127.0.0.2", 0)) as s:
            assert greeting(s).startswith(b"220 ")
        assert " why=client_busy" in next(x for x in tier.log("edge").splitlines() if " session.shed " in x)
        held.pop().close()
        wait_for(lambda: one_more(tier).startswith(b"220 "), 30, "room for the address")
        for s in held:
            s.close()
