"""The DNS as it is: unbound with block lists that are good, dead, or answer everything, and SPF zones good and broken."""
import itertools
import time

import pytest

import names
from conftest import BIN, finish, free_port, free_port_base
from test_edge import Edge
from test_relay import Talk
from tier import wait_for

LISTED = "198.18.0.7"
RECORDS = [
    "2.0.0.127.bl.example. 60 IN A 127.0.0.2", "7.0.18.198.bl.example. 60 IN A 127.0.0.2",
    "elsewhere.example. 60 IN A 192.0.2.1", "pass.example. 60 IN A 192.0.2.1", "fail.example. 60 IN A 192.0.2.1",
    "temp.example. 60 IN A 192.0.2.1", "null.example. 60 IN MX 0 .",
    'pass.example. 60 IN TXT "v=spf1 ip4:198.18.0.0/15 -all"',
    'fail.example. 60 IN TXT "v=spf1 -all exp=why.%{d}"',
    'why.fail.example. 60 IN TXT "%{i} is no server of %{d}"',
    'temp.example. 60 IN TXT "v=spf1 include:broken.example -all"',
]
HEALTHY = ["2.0.0.127.turn.example. 1 IN A 127.0.0.2"]
CLIENTS = (f"198.{18 + i // 65536}.{i // 256 % 256}.{i % 256}" for i in itertools.count(256))


@pytest.fixture(scope="module")
def edge(run_dir):
    tier = Edge(run_dir / "names", free_port_base(), BIN)
    tier.use_redis = False
    tier.workers = 1
    tier.meter_rules = ""
    tier.write_all()
    tier.dns_port = free_port()
    set_names(tier, HEALTHY, {})
    tier.root_extra = f"dns_servers 127.0.0.1:{tier.dns_port};\n"
    tier.edge_extra = ("\tdnsbl_check_interval 1s;\n\tdnsbl_timeout 1s;\n\tspf enforce;\n" +
                       "".join(f"\tdnsbl {zone} {{ }}\n" for zone in ("bl.example", "liar.example", "dead.example",
                                                                      "turn.example")))
    tier.edge_listener_extra = "xclient_from 127.0.0.1/32;"
    tier.start()
    wait_for(lambda: "dnsbl.good" in tier.log("edge") and "list=liar.example" in tier.log("edge"), 60, "lists are tested")
    yield tier
    tier.stop_process("unbound")
    finish(tier)


def set_names(tier, more, redirects):
    names.start_unbound(tier, port=tier.dns_port, records=RECORDS + more,
                        redirects={"liar.example.": "A 127.255.255.254", **redirects},
                        broken=("dead.example.", "broken.example."))


def greeting(edge, client):
    """What a client at that address is greeted with, and the connection."""
    t = Talk(edge)
    assert t.say(b"EHLO client.example") == 250
    return t.say(b"XCLIENT ADDR=" + client.encode()), t


def refused(edge, n):
    """How many of n clients, each at an address of its own network, are turned away."""
    count = 0
    for client in itertools.islice(CLIENTS, 0, n * 256, 256):
        code, t = greeting(edge, client)
        count += code != 220
        t.close()
    return count


def events(edge, word, zone):
    return [line for line in edge.log("edge").splitlines() if f" {word} " in line and f"list={zone}" in line]


def wait_event(edge, word, zone, n, seconds=60):
    wait_for(lambda: len(events(edge, word, zone)) >= n, seconds, f"{word} of {zone}")


def test_lists(edge):
    """The good one counts; one that answers 127.255.255.254 to everything and one that is dead harm nobody."""
    assert greeting(edge, LISTED)[0] == 554
    assert refused(edge, 100) == 0
    wait_event(edge, "dnsbl.broken", "liar.example", 1)
    wait_event(edge, "dnsbl.broken", "dead.example", 1)
    assert not events(edge, "dnsbl.broken", "bl.example")


@pytest.mark.parametrize("answer", ["A 127.255.255.254", "A 127.0.0.2"])
def test_a_list_turns(edge, answer):
    """One that was good begins to answer everything: nobody is refused for an error code, and within 60 s it is known
    and counts no more whatever it says. When it is good again it counts again."""
    broken, good = (len(events(edge, w, "turn.example")) for w in ("dnsbl.broken", "dnsbl.good"))
    begun = time.monotonic()
    set_names(edge, [], {"turn.example.": answer})
    if answer.endswith("254"):
        while len(events(edge, "dnsbl.broken", "turn.example")) == broken:
            assert refused(edge, 10) == 0
            assert time.monotonic() - begun < 60
    wait_event(edge, "dnsbl.broken", "turn.example", broken + 1, 60)
    assert refused(edge, 100) == 0
    assert greeting(edge, LISTED)[0] == 554
    set_names(edge, HEALTHY, {})
    wait_event(edge, "dnsbl.good", "turn.example", good + 1, 60)


@pytest.mark.parametrize("sender,code,words", [
    ("a@pass.example", 250, b""), ("a@elsewhere.example", 250, b""),
    ("a@fail.example", 550, b"fail.example explains: 198.18.1.1 is no server of fail.example"),
    ("a@temp.example", 451, b"4.7.24"), ("a@nowhere.example", 550, b"5.1.8"), ("a@broken.example", 450, b"4.1.8"),
    ("a@null.example", 550, b"5.7.27"), ("", 250, b""),
])
def test_senders(edge, sender, code, words):
    t = greeting(edge, "198.18.1.1")[1]
    assert t.say(b"EHLO elsewhere.example") == 250
    t.socket.sendall(b"MAIL FROM:<" + sender.encode() + b">\r\n")
    line = t.file.readline()
    assert (int(line[:3]), words in line) == (code, True), line
    t.close()
