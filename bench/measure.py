"""CPU time of process trees, and trials of several contenders in turn."""
import os
import re
import statistics
import struct
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")
LISTENING = "0A"  # in /proc/net/tcp


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


def listens(root, port):
    """Does a process of the tree listen at that TCP port?"""
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{root}/net/{table}", encoding="ascii") as f:
                rows = [line.split() for line in f][1:]
        except OSError:  # the process has ended
            continue
        inodes |= {f"socket:[{row[9]}]" for row in rows if row[3] == LISTENING and int(row[1].rpartition(":")[2], 16) == port}
    return any(link in inodes for pid in tree(root) for link in links_of(pid))


def links_of(pid):
    """What its descriptors are."""
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for fd in fds:
        try:
            yield os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue


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


def held_by(root):
    """How many descriptors a tree of processes has."""
    return sum(len(list(links_of(pid))) for pid in tree(root))


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


# Kernel objects behind each thing that a process holds, by the names of their slab caches
OF_SOCKET, OF_FILE, OF_POLL = ("TCP", "sock_inode_cache", "lsm_inode_cache"), ("filp", "dentry", "lsm_file_cache"), \
    ("eventpoll_epi", "eventpoll_pwq", "ep_head")


def object_sizes():
    """Of each slab cache that has a name of its own (needs root)."""
    with open("/proc/slabinfo", encoding="ascii") as f:
        return {words[0]: int(words[3]) for words in map(str.split, f) if words[3].isdigit()}


def descriptors(pids):
    """What these processes hold open, each thing once: the inodes of their sockets, the number of other things, and
    how often the kernel polls something for them."""
    sockets, others, polled = set(), set(), 0
    for pid in pids:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
                if target.startswith("socket:["):
                    sockets.add(target[8:-1])
                    continue
                others.add((pid, fd))
                if target == "anon_inode:[eventpoll]":
                    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as f:
                        polled += sum(line.startswith("tfd:") for line in f)
            except FileNotFoundError:
                continue
    return sockets, len(others), polled


def queued_bytes(inodes):
    """Memory of what waits in these TCP sockets, either way."""
    total = 0
    out = subprocess.run(["ss", "-tmneHO"], check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        inode, memory = re.search(r" ino:(\d+) ", line), re.search(r"skmem:\(([^)]*)\)", line)
        if inode and memory and inode.group(1) in inodes:
            sizes = dict(re.findall(r"\b([a-z]+)(\d+)", memory.group(1)))
            total += sum(int(sizes[name]) for name in ("r", "w", "o", "bl"))
    return total


def kernel_bytes(root):
    """What the kernel holds for a tree of processes: the objects behind its sockets, files and polling, and what waits in
    the sockets. Counted, not weighed: what the slab caches hold in all changes with whatever else the machine does, by more
    than the differences that are looked for."""
    sizes = object_sizes()
    sockets, others, polled = descriptors(tree(root))

    def of(names):
        return sum(sizes.get(name, 0) for name in names)
    return len(sockets) * of(OF_SOCKET + OF_FILE) + others * of(OF_FILE) + polled * of(OF_POLL) + queued_bytes(sockets)


def trials(contenders, rounds, count, load, exact=False):
    """load(contender) does `count` things. Returns {name: [(CPU ms each, things/s), ...]}; the first round, in
    which caches fill, is not counted. Contenders take turns, so that what else the machine does meets all, and begin at
    the other end each round, so that nobody always comes behind the same one.
    exact: for programs whose processes stay."""
    figures = {c.name: [] for c in contenders}
    for turn in range(rounds + 1):
        for c in contenders if turn % 2 else contenders[::-1]:
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
