"""The postern tool against scripted programs: what it starts, restarts, stops, asks and prints.

The tool finds its programs beside itself, so a copy of it lives in a folder with scripts that are named
like the programs, take the same arguments and write down every signal they get.
"""
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from conftest import BIN, REPORTS, free_port
from tier import wait_for

PROGRAM = r'''#!@PYTHON@
import json, os, re, signal, socket, sys
name = os.path.basename(sys.argv[0])[8:]
folder = os.path.dirname(os.path.abspath(sys.argv[0]))
config, ask, check = "", None, False
words = sys.argv[1:]
while words:
    w = words.pop(0)
    if w == "-c": config = words.pop(0)
    elif w == "-p": ask = words.pop(0)
    elif w == "-o": words.pop(0)
    elif w == "-t": check = True
text = open(config).read() if config else ""
if check:
    if "mistake" in text:
        sys.stderr.write(f"{config}:1:1: a mistake of all\n{config}:2:1: one of {name}\n2 errors\n")
        sys.exit(78)
    sys.exit(0)
if ask:
    what, _, section = ask.partition("=")
    print("\ntls\n" + name if what == "sections" else f"# {what} of {section or 'top'}")
    sys.exit(0)
label = re.sub(r".*/|\.conf", "", config) if name == "store" else name
def note(word):
    with open(os.path.join(folder, "events"), "a") as f:
        f.write(f"{label} {word}\n")
def stop(signum, frame):
    note("end")
    os._exit(3 if "ends-badly" in text else 0)
if "takes-no-signals" not in text: signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGHUP, lambda s, f: note("reload"))
signal.signal(signal.SIGUSR1, lambda s, f: note("drain"))
note("start")
if "dies-young" in text and name == "mmp":
    sys.exit(1)
run_dir = re.search(r"run_dir (\S+);", text).group(1)
os.makedirs(run_dir, exist_ok=True)
path = f"{run_dir}/{name}.sock"
if os.path.exists(path): os.unlink(path)
s = socket.socket(socket.AF_UNIX)
s.bind(path)
s.listen(16)
ANSWERS = {
    ("mmp", "who"): [[{"id": "s1", "user": "alice@example.org", "client": "192.0.2.1:5", "protocol": "imap",
                       "store": "store1", "since": 1790000000, "bytes_in": 10, "bytes_out": 20480, "tls": "TLSv1.3"}],
                     [{"id": "s2", "user": "b\u001b[2Jo\nb", "client": "192.0.2.2:5"}]],
    ("edge", "queue list"): [[]],
    ("edge", "queue list sender=a"): [[{"id": "k1", "recipient": "r1"}, {"more": True, "after": "k1"}]],
    ("edge", "queue list sender=a after=k1"): [[{"more": True, "after": "k7"}]],
    ("edge", "queue list sender=a after=k7"): [[{"id": "k9", "recipient": "r2"}]],
    ("edge", "queue list sender=b"): [[{"id": "k1", "recipient": f"r{n}"} for n in range(5000)] + [{"more": True, "after": "k1"}]],
    ("edge", "queue list sender=c"): [[{"id": "k1", "recipient": "r1"}, {"more": True, "after": ""}]],
    ("mmp", "meter top"): [[{"rule": "r", "key": "k", "count": 3, "limit": 9, "retry_s": 0}],
                           [{"rule": "r", "key": "k", "count": 5, "limit": 9, "retry_s": 0}]],
    ("edge", "anything at all"): [{"x": 1}],
}
def answer(words):
    if words == ["status"]:
        return {"ok": True, "program": name, "version": "0", "pid": os.getpid(), "phase": "running", "uptime_s": 3,
                "revision": "00", "workers": [{"role": "worker", "index": 0, "pid": 1, "state": "up",
                                              "healthy": "unhealthy" not in text, "restarts": 0, "uptime_s": 1}]}
    if words == ["metrics"]:
        return {"ok": True, "metrics": f"# HELP x_total X.\n# TYPE x_total counter\nx_total 1\n"}
    if words == ["reload"] and "refuses" in text:
        return {"ok": False, "error": "configuration refused", "errors": ["f:1:1: nonsense"]}
    if words in (["reload"], ["drain"]):
        return {"ok": True}
    data = ANSWERS.get((name, " ".join(words)))
    if data is None:
        return {"ok": False, "error": "unknown command"}
    return {"ok": True, "silent": 0, "answers": [{"role": "worker", "index": i, "pid": 1, "data": d}
                                                 for i, d in enumerate(data)]}
while True:
    try:
        c, _ = s.accept()
        line = c.makefile().readline()
        reply = "garbage\n" if "garbage" in text else json.dumps(answer(json.loads(line)["words"])) + "\n"
        c.sendall(reply.encode())
        c.close()
    except (OSError, ValueError):
        pass
'''


class Host:
    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.running = None
        os.makedirs(folder)
        shutil.copy(os.path.join(BIN, "postern"), self.path("postern"))
        for name in ("mmp", "edge", "store"):
            with open(self.path(f"postern-{name}"), "w", encoding="utf-8") as f:
                f.write(PROGRAM.replace("@PYTHON@", sys.executable))
            os.chmod(self.path(f"postern-{name}"), stat.S_IRWXU)

    def path(self, name):
        return os.path.join(self.folder, name)

    def config(self, name, sections, extra=""):
        with open(self.path(name + ".conf"), "w", encoding="utf-8") as f:
            f.write(f"{extra}\nrun_dir {self.path(name + '-run')};\n" + sections)
        return ["-c", self.path(name + ".conf")]

    def edge(self, extra=""):
        return self.config("edge-host", f"admin {{ address 127.0.0.1:{self.port}; }} mmp {{ }} edge {{ }}\n", extra)

    def both(self, extra=""):
        return self.edge(extra) + self.config("store1", "store { }\n")

    def tool(self, *words):
        return subprocess.run([self.path("postern"), *words], capture_output=True, text=True, timeout=60, check=False)

    def run(self, *words):
        with open(self.path("run.log"), "ab") as log:
            self.running = subprocess.Popen([self.path("postern"), "run", *words], stdout=log, stderr=log)

    def log(self):
        with open(self.path("run.log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def events(self):
        if not os.path.exists(self.path("events")):
            return []
        with open(self.path("events"), encoding="utf-8") as f:
            return f.read().split("\n")[:-1]

    def wait_ready(self):
        wait_for(lambda: "run.ready" in self.log(), 20, "run.ready")

    def pids(self):
        text = self.tool("status", "--json", *self.both()).stdout
        return {p["label"]: p.get("pid") for p in json.loads(text)}

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def stop(self, sig=signal.SIGTERM):
        self.running.send_signal(sig)
        code = self.running.wait(30)
        self.running = None
        return code


@pytest.fixture
def host(tmp_path):
    h = Host(str(tmp_path / "bin"))
    yield h
    if h.running is not None:
        h.running.kill()
        h.running.wait(10)
    if os.path.exists(h.path("run.log")):
        assert not [mark for mark in REPORTS if mark in h.log()], h.log()


def test_run_starts_restarts_and_stops_in_order(host):
    host.run(*host.both())
    host.wait_ready()
    assert host.get("/healthz/live") == (200, "live\n")
    assert host.get("/healthz/ready") == (200, "ready\n")
    assert host.get("/nothing")[0] == 404
    status, metrics = host.get("/metrics")
    assert status == 200
    assert metrics.count("# HELP x_total") == 1
    for label in ("store1", "mmp", "edge"):
        assert f'x_total{{program="{label}"}} 1' in metrics and f'postern_up{{program="{label}"}} 1' in metrics
    before = host.pids()
    os.kill(before["mmp"], signal.SIGKILL)
    wait_for(lambda: host.pids().get("mmp") not in (None, before["mmp"]), 20, "a new mmp")
    after = host.pids()
    assert (after["edge"], after["store1"]) == (before["edge"], before["store1"])
    assert "run.died" in host.log() and "signal=9" in host.log()
    host.running.send_signal(signal.SIGHUP)
    wait_for(lambda: sorted(e for e in host.events() if "reload" in e) == ["edge reload", "mmp reload", "store1 reload"],
             20, "reload of all")
    assert host.stop() == 0
    ends = [e for e in host.events() if e.endswith(" end")]
    assert sorted(ends) == ["edge end", "mmp end", "store1 end"] and ends[-1] == "store1 end"


def test_interrupt_and_bad_end(host):
    host.run(*host.both("#ends-badly"))
    host.wait_ready()
    assert host.stop(signal.SIGINT) == 70
    assert len([e for e in host.events() if e.endswith(" end")]) == 3


def test_told_to_end_before_it_takes_signals(host):
    host.run(*host.both("#takes-no-signals"))
    host.wait_ready()
    assert host.stop() == 0
    assert host.events().count("mmp start") == 1 and [e for e in host.events() if e.endswith(" end")] == ["store1 end"]


def test_children_end_when_the_tool_is_killed(host):
    host.run(*host.both())
    host.wait_ready()
    host.running.kill()
    host.running.wait(10)
    wait_for(lambda: len([e for e in host.events() if e.endswith(" end")]) == 3, 20, "the end of all")


def test_backoff_grows(host):
    host.run(*host.edge("#dies-young"))
    delays = wait_for(lambda: (lambda found: found if len(found) >= 5 else None)(
        [w[11:] for line in host.log().split("\n") if "run.died" in line for w in line.split() if "restart_ms=" in w]),
        30, "five deaths")
    assert delays[:5] == ["0", "100", "200", "400", "800"]
    assert host.events().count("edge start") == 1
    assert host.stop() == 0


def test_run_refuses_a_bad_file(host):
    host.run(*host.both("mistake x;"))
    assert host.running.wait(30) == 78
    host.running = None
    assert host.events() == [] and "unknown option" in host.log()


def test_check_tells_each_error_once(host):
    good = host.tool("check", *host.both())
    assert (good.returncode, good.stderr) == (0, "") and good.stdout.count("good for") == 3
    bad = host.tool("check", *host.both("#mistake"))
    lines = bad.stderr.split("\n")
    assert bad.returncode == 78 and sum("a mistake of all" in line for line in lines) == 1
    assert any("one of mmp" in line for line in lines) and any("one of edge" in line for line in lines)
    assert "3 errors" in lines
    as_json = json.loads(host.tool("check", "--json", *host.both("#mistake")).stdout)
    assert as_json["ok"] is False and len(as_json["errors"]) == 3
    assert host.tool("check", "-c", host.path("none.conf")).returncode == 78


def test_questions(host):
    both = host.both()
    host.run(*both)
    host.wait_ready()
    who = host.tool("who", *both)
    assert who.returncode == 0 and "alice@example.org" in who.stdout and "20.0k" in who.stdout
    assert "\x1b" not in who.stdout and "b?[2Jo?b" in who.stdout
    assert len(json.loads(host.tool("who", "--json", *both).stdout)) == 2
    queue = host.tool("queue", "list", *both)
    assert (queue.returncode, queue.stdout) == (0, "The queue is empty.\n")
    top = json.loads(host.tool("meter", "top", "--json", *both).stdout)
    assert [(r["key"], r["count"]) for r in top] == [("k", 5)]
    status = host.tool("status", *both)
    assert status.returncode == 0 and status.stdout.count("running") == 3
    assert host.tool("reload", *both).stdout.count("reloaded") == 3
    assert host.tool("ask", "edge", "anything", "at", "all", *both).stdout == "worker 0:\nx  1\n"
    unknown = host.tool("ask", "edge", "nonsense", *both)
    assert unknown.returncode == 69 and "unknown command" in unknown.stderr
    assert host.tool("status", "--run-dir", host.path("edge-host-run")).stdout.count("running") == 2
    assert host.stop() == 0
    down = host.tool("status", *both)
    assert down.returncode == 69 and down.stderr.count("not running") == 3


def test_long_queues(host):
    """The tool asks on until it has everything, or 5000 rows; then it says that this was not all."""
    host.run(*host.edge())
    host.wait_ready()
    done = host.tool("queue", "list", "sender=a", "--json", *host.edge())
    assert [r["recipient"] for r in json.loads(done.stdout)] == ["r1", "r2"] and done.stderr == ""
    done = host.tool("queue", "list", "sender=b", "--json", *host.edge())
    assert len(json.loads(done.stdout)) == 5000 and "not all" in done.stderr
    assert "postern queue list sender=b after=k1" in done.stderr and done.returncode == 0
    done = host.tool("queue", "list", "sender=c", *host.edge())
    assert "r1" in done.stdout and "not all" in done.stderr and "Ask again: postern queue list sender=c" in done.stderr


def test_hostile_answers(host):
    both = host.both("#garbage")
    host.run(*both)
    wait_for(lambda: os.path.exists(host.path("edge-host-run/mmp.sock")), 20, "mmp.sock")
    who = wait_for(lambda: (lambda p: p if "not JSON" in p.stderr else None)(host.tool("who", *both)), 20, "an answer")
    assert who.returncode == 69
    host.both("#refuses")
    assert host.get("/healthz/ready")[0] == 503
    assert host.stop() == 0


def test_reload_tells_what_was_refused(host):
    both = host.both("#refuses")
    host.run(*both)
    host.wait_ready()
    refused = host.tool("reload", *both)
    assert refused.returncode == 78 and "f:1:1: nonsense" in refused.stderr
    assert host.stop() == 0


def test_config(host):
    sample = host.tool("config", "sample")
    assert sample.returncode == 0
    assert sample.stdout.count("# sample of top") == 1 and sample.stdout.count("# sample of tls") == 1
    for name in ("mmp", "edge", "store"):
        assert f"# sample of {name}" in sample.stdout
    dump = host.tool("config", "dump", *host.both())
    assert dump.returncode == 0 and dump.stdout.count("# dump of tls") == 2  # once a file


def test_usage(host):
    assert host.tool().returncode == 64
    assert host.tool("fly").returncode == 64
    assert host.tool("queue").returncode == 64
    assert host.tool("who", "--help").returncode == 0
    assert host.tool("meter", "top", "a", "b").returncode == 64
    assert host.tool("--version").stdout.startswith("postern ")
