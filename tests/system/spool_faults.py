"""The disk below an edge's spool fails, or its clock jumps, as a test says: spool_fault.c in the edge's processes."""
import mmap
import os
import struct
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
# As spool_fault.c has them: from 1 on.
POINTS = ["full at append", "EIO at append", "EIO at sync", "killed at append", "killed in append", "killed after append",
          "killed at sync", "killed after sync", "stands at sync", "read-only at append"]
REFUSING = ("full at append", "EIO at append", "read-only at append")  # these stay until the disk is healed
FIELDS = "5i"  # point, calls left, stays, hits, seconds that the clock is ahead


class Fault:
    """What is to happen, shared with the edge's processes."""

    def __init__(self, path):
        with open(path, "wb") as f:
            f.write(bytes(struct.calcsize(FIELDS)))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), struct.calcsize(FIELDS))

    def arm(self, point, number, stays=False):
        self.map[0:16] = struct.pack("4i", 0, number, int(stays), 0)
        self.map[0:4] = struct.pack("i", POINTS.index(point) + 1)

    def heal(self):
        self.map[0:4] = bytes(4)

    def hits(self):
        return struct.unpack(FIELDS, self.map[:])[3]

    def set_clock(self, ahead_s):
        self.map[16:20] = struct.pack("i", ahead_s)


def build(run_dir):
    path = os.path.join(run_dir, "spool_fault.so")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", path, os.path.join(HERE, "spool_fault.c"), "-ldl"], check=True,
                   timeout=120)
    return path


def preload(tier, library, name):
    """Of what the tier starts from now on the edge's processes alone have it."""
    spawn, fault = tier.spawn, Fault(library + f".{name}")

    def with_library(program, argv, log=None):
        if program != "edge":
            return spawn(program, argv, log)
        asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        return spawn(program, ["env", f"LD_PRELOAD={library}", f"SPOOL_FAULT={library}.{name}", f"ASAN_OPTIONS={asan}", *argv], log)
    tier.spawn = with_library
    return fault
