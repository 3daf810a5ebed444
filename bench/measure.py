"""CPU time of process trees, and trials of several contenders in turn."""
import os
import statistics
import struct
import time

TICK = os.sysconf("SC_CLK_TCK")


def stat_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        return f.read().rsplit(")", 1)[1].split()


def tree(root):
    """The process and all its descendants."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parents.setdefault(int(stat_of(name)[1]), []).append(int(name))
            except (OSError, IndexError):
                continue
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += parents.get(pid, [])
    return found


def cpu_s(root):
    """Seconds of user and system time: of living processes, to the microsecond, and of children that were waited for, in
    ticks of the sum."""
    total = 0
    for pid in tree(root):
        try:
            own, ended = task_ns(pid), sum(int(x) for x in stat_of(pid)[13:15])
        except (OSError, IndexError):
            continue
        total += own / 1e9 + ended / TICK
    return total


def task_ns(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total


def cpu_exact(root):
    """Nanoseconds of every living process of the tree."""
    found = {}
    for pid in tree(root):
        try:
            found[pid] = task_ns(pid)
        except OSError:
            continue
    return found


def cpu_exact_between_s(before, after):
    """What processes that are there at the end used; to the microsecond, where ticks are too coarse."""
    return sum(ns - before.get(pid, 0) for pid, ns in after.items()) / 1e9


def user_bytes(root):
    """Memory of their own of a tree of processes, what is shared counted once."""
    total = 0
    for pid in tree(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
                total += sum(int(line.split()[1]) * 1024 for line in f if line.startswith("Pss_Anon:"))
        except OSError:
            continue
    return total


def settled(read, seconds=5):
    """The value once it stays: kernels free late."""
    last = read()
    for _ in range(seconds * 4):
        time.sleep(0.25)
        now = read()
        if abs(now - last) <= 65536:
            return now
        last = now
    return last


SOCKET_CACHES = {"TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi", "eventpoll_pwq", "tcp_bind_bucket",
                 "request_sock_TCP"}


def kernel_bytes():
    """What the kernel holds for sockets, descriptors and their polling, of everybody (needs root)."""
    total = 0
    with open("/proc/slabinfo", encoding="ascii") as f:
        for line in f:
            words = line.split()
            if words[0] in SOCKET_CACHES:
                total += int(words[1]) * int(words[3])
    return total


def trials(contenders, rounds, count, load, exact=False):
    """load(contender) does `count` things. Returns {name: [(CPU ms each, things/s), ...]}; the first round, in
    which caches fill, is not counted. Contenders take turns, so that what else the machine does meets all.
    exact: for programs whose processes stay."""
    figures = {c.name: [] for c in contenders}
    for turn in range(rounds + 1):
        for c in contenders:
            before, begun = cpu_exact(c.pid) if exact else cpu_s(c.pid), time.monotonic()
            load(c)
            took = time.monotonic() - begun
            used = cpu_exact_between_s(before, cpu_exact(c.pid)) if exact else cpu_s(c.pid) - before
            if turn > 0:
                figures[c.name].append((used * 1000 / count, count / took))
    return figures


def report(title, figures, ours="postern"):
    print(f"\n{title}")
    print(f"  {'':<16}{'CPU ms each: median':>20}{'min':>9}{'max':>9}{'per second':>12}{'CPU, peer/ours':>16}")
    base = statistics.median(c for c, _ in figures[ours])
    for name, rows in figures.items():
        cpu = [c for c, _ in rows]
        middle = statistics.median(cpu)
        print(f"  {name:<16}{middle:>20.3f}{min(cpu):>9.3f}{max(cpu):>9.3f}{statistics.median(r for _, r in rows):>12.0f}"
              f"{middle / base if base else float('nan'):>16.2f}")


def disk_bytes(root):
    """Bytes that the living processes of the tree have caused to be written to disk."""
    total = 0
    for pid in tree(root):
        try:
            with open(f"/proc/{pid}/io", encoding="ascii") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("write_bytes"))
        except OSError:
            continue
    return total


class SyncCounter:
    """How often a program that is started inside it asks the disk to make something durable (count_syncs.c)."""

    def __init__(self, path, tools):
        self.path, self.tools = path, tools
        with open(path, "wb") as f:
            f.write(bytes(8))
        os.chmod(path, 0o666)

    def __enter__(self):
        os.environ["LD_PRELOAD"], os.environ["POSTERN_SYNC_COUNT"] = os.path.join(self.tools, "count_syncs.so"), self.path
        return self

    def __exit__(self, *args):
        del os.environ["LD_PRELOAD"], os.environ["POSTERN_SYNC_COUNT"]

    def read(self):
        with open(self.path, "rb") as f:
            return struct.unpack("=Q", f.read(8))[0]
