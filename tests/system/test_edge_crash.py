"""bench/edge-crash in small: every named point of what edge workers, queue, committers and store workers do is hit by kill -9
while mail flows; of what was answered 250 our stores have lost nothing, and have nothing twice. `make crash` is the long run of it."""
import os
import random
import subprocess

import pytest

from conftest import BIN, TOP, claim_all
from tier import STORE_PORTS, WELL_KNOWN

SECONDS = 60  # at most; it ends when each point was hit, which a busy machine may not come to


def port_base():
    """Of three edges, 10000 ports apart, and four stores."""
    offsets = [10000 * i + p for i in range(3) for p in WELL_KNOWN.values()] + [1000 * k + p for k in range(1, 5) for p in STORE_PORTS.values()]
    bases = list(range(3000, 6000, 7))
    random.shuffle(bases)
    return next(base for base in bases if claim_all([base + o for o in offsets]))


def figures(text):
    return {w[1]: int(w[2]) for w in map(str.split, text.splitlines()) if w[:1] == ["figure"]}


@pytest.mark.skipif(bool(os.environ.get("POSTERN_SAN")), reason="what is preloaded and ASan's own interceptors do not know each other")
def test_each_point_once(run_dir):
    library = os.path.join(run_dir, "fault_points.so")
    subprocess.run(["gcc", "-O1", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", library, os.path.join(TOP, "bench", "fault_points.c")], check=True, timeout=120)
    env = dict(os.environ, POSTERN_BIN=BIN, BENCH_TOOLS=str(run_dir), PORT_BASE=str(port_base()), CRASH_ALONE="1", CRASH_HITS="1",
               CRASH_MESSAGES="300", CRASH_SECONDS=str(SECONDS))
    done = subprocess.run([os.path.join(TOP, "bench", "edge-crash")], env=env, capture_output=True, text=True, timeout=15 * SECONDS, check=False)
    print(done.stdout)
    found = figures(done.stdout)
    assert "crash_postern_lost" in found, done.stdout + done.stderr
    assert (found["crash_postern_lost"], found["crash_postern_doubled"], found["crash_postern_foreign_lost"]) == (0, 0, 0)
    assert found["crash_postern_foreign_doubled"] == found["crash_postern_foreign_doubled_reply_lost"]
    assert found["crash_postern_accepted"] > 0 and found["crash_postern_kills"] >= found["crash_points"] // 3
    assert done.returncode == 0 or found["crash_hits_min"] == 0 or found["crash_messages"] < 300, done.stderr
