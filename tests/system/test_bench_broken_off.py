"""A benchmark that is broken off by a signal leaves no process, no client and no folder behind (bench/broken_off.py)."""
import contextlib
import os
import signal
import subprocess
import sys

import pytest

from conftest import BIN, TOP, free_port_base
from tier import wait_for

# Its own signal comes a second time while it ends, as from make and a terminal: that does not keep the rest from ending.
RUN = """
import multiprocessing, os, signal, sys
from contenders import ground_of
from idle_clients import child
from tier import end_with_parent

number = int(sys.argv[1])
with ground_of() as ground:
    ground.tier.write_all()
    program = ground.tier.spawn("program", ["tail", "-f", "/dev/null"])
    stop = ground.tier.stop
    ground.tier.stop = lambda: (os.kill(os.getpid(), number), stop(), print("all has ended", flush=True))
    ours, theirs = multiprocessing.Pipe()
    client = multiprocessing.Process(target=child, args=(theirs, 0, [], 0, 0), daemon=True)
    client.start()
    ours.recv()
    forked = os.fork()
    if forked == 0:
        end_with_parent()
        os.write(theirs.fileno(), b"x")
        signal.pause()
    os.read(ours.fileno(), 1)
    print(program.pid, client.pid, forked, flush=True)
    signal.pause()
"""


def gone(pid):
    return not os.path.exists(f"/proc/{pid}")


@contextlib.contextmanager
def bench_run(folder, number):
    """A run of its own session, and the pids of a program and two clients that it has started."""
    path = os.pathsep.join(os.path.join(TOP, *p) for p in (("bench",), ("conf", "demo")))
    env = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder), "PORT_BASE": str(free_port_base()), "POSTERN_BIN": BIN}
    # whoever runs the tests may ignore a signal, as nohup does: then the run would, too
    with subprocess.Popen([sys.executable, "-B", "-c", RUN, str(int(number))], env=env, stdout=subprocess.PIPE, text=True,
                          start_new_session=True, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)) as run:
        pids = list(map(int, run.stdout.readline().split()))
        assert len(pids) == 3 and not any(map(gone, pids))
        yield run, pids


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
def test_all_ends_with_a_run_that_is_broken_off(tmp_path, number):
    with bench_run(tmp_path, number) as (run, pids):
        os.killpg(run.pid, number)  # a terminal tells the clients as well, which are forked
        assert run.communicate(timeout=30)[0] == "all has ended\n"
        assert run.returncode == 128 + number
    wait_for(lambda: all(map(gone, pids)), 10, "the run's processes")
    assert os.listdir(tmp_path) == []


def test_a_run_that_is_killed_takes_its_programs_and_clients_along(tmp_path):
    with bench_run(tmp_path, signal.SIGTERM) as (run, pids):
        run.kill()
    wait_for(lambda: all(map(gone, pids)), 10, "the run's processes")
