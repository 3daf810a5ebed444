"""Passes of the tier: a client that one host knows as good is spared its tests at another; Redis killed and frozen."""
import os
import signal
import time

import pytest

import names
from conftest import BIN, finish, free_port, free_port_base
from mail import message, new_token
from test_edge import Edge
from test_relay import Talk
from tier import port_answers, wait_for

DELAY = "20s"  # of the second host's greeting: nobody who is held back gets it before a test's time is over
RECORDS = [
    "2.0.0.127.bl.example. 60 IN A 127.0.0.2",
    *(f"{n}.0.18.198.in-addr.arpa. 60 IN PTR mx{n}.example." for n in range(1, 40)),
    *(f"mx{n}.example. 60 IN A 198.18.0.{n}" for n in range(1, 40)),
]


def make_edge(run_dir, name, redis_port, dns_port, delay):
    edge = Edge(run_dir / name, free_port_base(), BIN)
    edge.use_redis = False
    edge.workers = 1
    edge.meter_rules = ""
    edge.meter_extra = f"\tredis 127.0.0.1:{redis_port};\n"
    edge.root_extra = f"dns_servers 127.0.0.1:{dns_port};\n"
    edge.edge_extra = (f"\tbanner_delay {delay};\n\tdnsbl bl.example {{ }}\n\tspf off;\n\tsender_domain off;\n"
                       "\taccess all { action hold; }\n")
    edge.edge_listener_extra = "xclient_from 127.0.0.1/32;"
    edge.write_all()
    edge.start_edge()
    return edge


@pytest.fixture(scope="module")
def hosts(run_dir):
    class Hosts:
        dns_port = free_port()
        redis_port = free_port()
    h = Hosts()
    h.first = Edge(run_dir / "helpers", free_port_base(), BIN)
    os.makedirs(h.first.run_dir, exist_ok=True)
    names.start_unbound(h.first, port=h.dns_port, records=RECORDS, queries=True)
    start_redis(h)
    h.a = make_edge(run_dir, "a", h.redis_port, h.dns_port, "100ms")
    h.b = make_edge(run_dir, "b", h.redis_port, h.dns_port, DELAY)
    for edge in (h.a, h.b):
        wait_for(lambda e=edge: "dnsbl.good" in e.log("edge") and "meter.redis_up" in e.log("edge"), 30, "list and Redis")
    yield h
    finish(h.a)
    finish(h.b)
    h.first.stop_process("redis", signal.SIGKILL)
    h.first.stop_process("unbound")


def start_redis(h):
    h.first.spawn("redis", ["redis-server", "--bind", "127.0.0.1", "--port", str(h.redis_port), "--save", "",
                            "--appendonly", "no", "--dir", h.first.run_dir])
    wait_for(lambda: port_answers(h.redis_port), 20, "redis-server")


def asked(h, client):
    """How often the list, and the reverse zone, were asked about a client."""
    back = ".".join(reversed(client.split(".")))
    log = h.first.log("unbound")
    return log.count(f"{back}.bl.example. A IN"), log.count(f"{back}.in-addr.arpa. PTR IN")


def visit(edge, client, seconds=15):
    """The client comes; None: no greeting within that time."""
    t = Talk(edge)
    assert t.say(b"EHLO balancer.example") == 250
    t.socket.settimeout(seconds)
    try:
        assert t.say(b"XCLIENT ADDR=" + client.encode()) == 220
    except TimeoutError:
        t.socket.close()
        return None
    assert t.say(b"EHLO client.example") == 250
    return t


def send(t, edge, token):
    alice = edge.user("alice")["address"]
    assert t.say(b"MAIL FROM:<s@elsewhere.example>") == 250
    assert t.say(f"RCPT TO:<{alice}>".encode()) == 250
    assert t.say(b"DATA") == 354
    assert t.say(message(token, "s@elsewhere.example", [alice]).replace(b"\r\n.", b"\r\n..") + b".") == 250
    t.close()


def held(edge, token):
    """The Received field of the message as the spool has it."""
    import re
    for ident in re.findall(r"^([0-9A-Za-z]{8,})\b", edge.postern("queue", "list").stdout, re.M):
        text = edge.postern("queue", "cat", ident).stdout
        if token in text:
            return text
    return ""


def know(h, client):
    """The client is good, and both hosts can know it."""
    before = passes(h)
    send(visit(h.a, client), h.a, new_token())
    wait_for(lambda: passes(h) == before + 1, 10, "the pass in Redis")


def redis(h, *words):
    import subprocess
    return subprocess.run(["redis-cli", "-p", str(h.redis_port), *words], capture_output=True, text=True,
                          timeout=20).stdout.strip()


def passes(h):
    return int(redis(h, "ZCARD", "{postern}:passes") or 0)


def count(edge):
    return sum(float(line.split()[-1]) for line in edge_metrics(edge).splitlines()
               if line.startswith("postern_edge_passed_total"))


def edge_metrics(edge):
    import urllib.request
    with urllib.request.urlopen(f"http://127.0.0.1:{edge.port('edge-admin')}/metrics", timeout=5) as r:
        return r.read().decode()


def test_a_pass_holds_at_the_other_host(hosts):
    client = "198.18.0.1"
    know(hosts, client)
    lists, names_asked = asked(hosts, client)
    assert lists == 1 and names_asked == 1
    used = count(hosts.b)
    t = visit(hosts.b, client)
    assert t is not None, "a known client was held back"
    token = new_token()
    send(t, hosts.b, token)
    assert asked(hosts, client) == (1, 1)
    wait_for(lambda: count(hosts.b) == used + 1, 10, "the metric")
    assert "mx1.example" in wait_for(lambda: held(hosts.b, token), 10, "the message")
    ttls = [redis(hosts, "PTTL", key) for key in redis(hosts, "KEYS", "*pass*").splitlines()]
    assert ttls and all(int(ttl) > 0 for ttl in ttls)


def test_who_only_connects_is_not_remembered(hosts):
    before = passes(hosts)
    visit(hosts.a, "198.18.0.2").close()
    know(hosts, "198.18.0.3")
    assert passes(hosts) == before + 1
    assert visit(hosts.b, "198.18.0.2", 3) is None


def test_misbehaviour_takes_it_away(hosts):
    client = "198.18.0.4"
    know(hosts, client)
    t = visit(hosts.b, client)
    before = passes(hosts)
    assert t.say(b"NOOP \0") == 500
    t.close()
    wait_for(lambda: passes(hosts) == before - 1, 10, "the pass is gone")
    assert asked(hosts, client) == (1, 1)
    assert visit(hosts.b, client, 3) is None
    assert asked(hosts, client) == (2, 2), "it is looked up again"


def test_a_listing_takes_it_away(hosts):
    """Its pass for the lists is over (here: taken out by hand), and now it is listed."""
    client = "198.18.0.5"
    know(hosts, client)
    redis(hosts, "HDEL", "{postern}:pass:c6120005", "lists")
    names.start_unbound(hosts.first, port=hosts.dns_port, records=RECORDS + ["5.0.18.198.bl.example. 60 IN A 127.0.0.2"],
                        queries=True)
    before = passes(hosts)
    t = Talk(hosts.b)
    assert t.say(b"EHLO balancer.example") == 250
    assert t.say(b"XCLIENT ADDR=" + client.encode()) == 554
    t.close()
    wait_for(lambda: passes(hosts) == before - 1, 10, "the pass is gone")


@pytest.mark.parametrize("harm", [signal.SIGSTOP, signal.SIGKILL])
def test_redis_away(hosts, harm):
    """All tests run, as without it; nothing is lost, nobody waits for it; and it is used again when it is back."""
    client = f"198.18.0.{6 + (harm == signal.SIGKILL)}"
    know(hosts, client)
    process = hosts.first.processes["redis"]
    process.send_signal(harm)
    send(visit(hosts.a, client), hosts.a, new_token())
    assert visit(hosts.b, client, 3) is None
    if harm == signal.SIGSTOP:
        process.send_signal(signal.SIGCONT)
    else:
        process.wait()
        hosts.first.processes.pop("redis")
        start_redis(hosts)
    deadline = time.monotonic() + 30
    while True:
        send(visit(hosts.a, client), hosts.a, new_token())
        if passes(hosts) > 0:
            break
        assert time.monotonic() < deadline, "it is not used again"

    def greeted():
        t = visit(hosts.b, client, 3)
        if t is not None:
            t.close()
        return t is not None
    wait_for(greeted, 30, "known again at the other host")
