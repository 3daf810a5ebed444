"""Bare connections to the multiplexor, what it says of itself, and one in front of a store of ours."""
import json
import re
import socket
import sys
import threading
import urllib.error
import urllib.request

import fake_imap

from tier import port_answers, wait_for

SERVICES = ("imap", "imaps", "pop3", "pop3s")


def start_mmp(tier):
    """Until every port answers and every worker is there: the master's listeners answer before that."""
    tier.start_daemon("mmp", "postern")
    running(tier)
    for service in SERVICES:
        wait_for(lambda s=service: port_answers(tier.port(s)), 30, service)


def connect(tier, port, source="127.0.0.1", name="localhost"):
    """A TLS connection that has been greeted: (socket, file of its input)."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0))
    s = tier.tls_context().wrap_socket(raw, server_hostname=name)
    f = s.makefile("rb")
    f.readline()
    return s, f


def hang_up(s, f):
    """Both: the file keeps the socket open."""
    f.close()
    s.close()


def control(t, program, word, run="edge-run"):
    """The control socket's own words."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(t.path(run, f"{program}.sock"))
        s.sendall(json.dumps({"words": [word]}).encode() + b"\n")
        return json.loads(s.makefile().readline())


def status(t, program="mmp"):
    return control(t, program, "status")


def running(t, program="mmp"):
    wait_for(lambda: status(t, program)["phase"] == "running", 30, program)


def metric(t, name, service="admin"):
    with urllib.request.urlopen(f"http://127.0.0.1:{t.port(service)}/metrics", timeout=5) as r:
        return int(re.search(rf"^{re.escape(name)} (\d+)$", r.read().decode(), re.M).group(1))


def ready(t):
    """What a balancer is told: 200 or 503."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{t.port('admin')}/healthz/ready", timeout=5) as r:
            return r.status
    except urllib.error.HTTPError as error:
        return error.code


def fake_name(store):
    return "fake" if store == 1 else f"fake{store}"


def start_fake(t, store=1):
    """In the place of a store of the tier."""
    t.spawn(fake_name(store), [sys.executable, "-B", fake_imap.__file__, str(t.store_port(store, "imap"))])
    wait_for(lambda: port_answers(t.store_port(store, "imap")), 30, "the fake store")


def kill_fake(t, store=1):
    fake = t.processes.pop(fake_name(store))
    fake.kill()
    fake.wait(10)


def fake_tier(new_tier, name, root_extra="", mmp_extra="", workers=2, stores=1):
    """The multiplexor in front of fake stores, plain."""
    t = new_tier(name, stores=stores, needs=("mmp",))
    t.store_is_postern = False
    t.use_redis = False
    t.meter_rules = ""
    t.root_extra = root_extra
    t.mmp_listener_extra = "allow_plaintext_auth yes;"
    t.users = [u for u in t.users if u["store"] <= stores]
    t.workers = workers
    t.drain_timeout = "1s"
    t.mmp_extra += "\tstore_facts none;\n" + (mmp_extra or "\tconnections_max 100000;\n")
    t.write_all()
    for store in range(1, stores + 1):
        start_fake(t, store)
    start_mmp(t)
    return t


def reload(t):
    assert control(t, "mmp", "reload")["ok"]


def upgrade(t, program="mmp", config="postern"):
    done = t.postern("upgrade", program, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    first = t.processes.get(program if config == "postern" else config)
    assert first is None or first.poll() is None  # it stays for as long as the daemon does
    return done


class Knocks(threading.Thread):
    """Connects again and again; what is not greeted is noted."""
    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.done, self.refused, self.over = port, 0, [], threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                fake_imap.greeted(self.port)
                self.done += 1
            except OSError as error:
                self.refused.append(repr(error))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(60)
