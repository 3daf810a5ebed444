"""As many sessions as the workers may have: who is full leaves connections to the others, and 421 is for when all are."""
import os
import signal
import socket

import pytest

from conftest import finish
from mmp_clients import metric
from test_edge import relaying_edge
from tier import wait_for

EACH = 10
OPTIONS = "\tconnections_max {};\n\tspf off;\n\treverse_names no;\n"


@pytest.fixture(name="full")
def two_full_workers(run_dir, request):
    """The edge and its sessions, as many as both workers may have: each of them was greeted."""
    tier = relaying_edge(run_dir, request.node.name[:24], 2, OPTIONS.format(EACH))
    tier.start()
    wait_for(lambda: accepting(tier) == 2, 20, "both workers")
    held = []
    for i in range(2 * EACH):
        held.append(socket.create_connection(("127.0.0.1", tier.port("mx")), timeout=30))
        assert greeting(held[-1]).startswith(b"220 "), i
    wait_for(lambda: accepting(tier) == 0, 20, "two full workers")
    yield tier, held
    for s in held:
        s.close()
    finish(tier)


def greeting(s):
    return s.makefile("rb").readline()


def accepting(tier):
    return metric(tier, "postern_edge_accepting", "edge-admin")


def one_more(tier):
    """What it hears."""
    with socket.create_connection(("127.0.0.1", tier.port("mx")), timeout=30) as s:
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
