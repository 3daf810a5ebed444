"""MeterMaid in a whole tier: what an operator sees, resets and bans with `postern meter`."""
import json
import signal
import socket

import pytest

import mail
from conftest import free_port
from tier import port_answers, wait_for

RULES = """
	rule connects { on connect; key client/32,64, client/24,48; rate 500/1h, 900/1h; }
	rule guesses  { on auth; kind penalty; key client/32,64, user; rate 3/1h; }
"""


@pytest.fixture(scope="module")
def metered(new_tier):
    tier = new_tier("metered")
    tier.meter_rules = RULES
    tier.write_all()
    tier.start()
    return tier


def rows(tier, *words):
    """What the tool says as JSON; its exit status must be 0."""
    done = tier.postern("meter", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def banner(tier, service="mx"):
    with socket.create_connection(("127.0.0.1", tier.port(service)), timeout=30) as s:
        return s.makefile("rb").readline()


def test_rules_and_keys_are_shown(metered):
    assert banner(metered).startswith(b"220 ")
    assert {r["rule"] for r in rows(metered, "rules")} == {"connects", "guesses", "ban"}
    # workers that have just begun may have no Redis yet
    wait_for(lambda: banner(metered) and rows(metered, "show", "127.0.0.1"), 10, "a key in Redis")
    shown = {r["key"]: r for r in rows(metered, "show", "127.0.0.1")}
    assert shown["127.0.0.1/32"]["limit"] == "500/1h" and shown["127.0.0.0/24"]["limit"] == "900/1h"
    assert shown["127.0.0.1/32"]["used"] > 0


def test_a_ban_holds_everywhere_until_it_is_taken_back(metered):
    ban = rows(metered, "ban", "127.0.0.0/8", "--for", "10m")
    assert [(b["rule"], b["state"]) for b in ban] == [("ban", "banned")]
    assert [b["key"] for b in rows(metered, "bans")] == ["127.0.0.0/8"]
    refused = wait_for(lambda: not (line := banner(metered)).startswith(b"220 ") and line, 10, "the ban")
    assert refused[:1] in (b"4", b"5") and b"(limit ban)" in refused, refused
    wait_for(lambda: not banner(metered, "imap").startswith(b"* OK"), 10, "the ban in the multiplexor")
    assert rows(metered, "unban", "127.0.0.0/8")[0]["state"] == "off the list"
    wait_for(lambda: banner(metered).startswith(b"220 "), 10, "the end of the ban")


def test_a_reset_forgets_what_was_counted(metered):
    user = metered.user("alice")
    for n in range(4):
        with pytest.raises(mail.imaplib.IMAP4.error):
            mail.imap(metered, {"address": user["address"], "password": f"wrong{n}"})
    with pytest.raises(mail.imaplib.IMAP4.error):
        mail.imap(metered, user)
    key = f"127.0.0.1/32|{user['address']}"
    assert rows(metered, "show", key)[0]["used"] >= 3
    assert rows(metered, "reset", key)[0]["state"] == "reset"
    mail.imap(metered, user).logout()


def test_mistakes_of_the_operator_are_told(metered):
    assert metered.postern("meter", "show").returncode == 64
    assert metered.postern("meter", "ban", "192.0.2.0/24", "--for", "ever").returncode == 69
    assert "host bits" in metered.postern("meter", "ban", "192.0.2.1/24").stdout


def test_each_rule_has_its_metrics(metered):
    text = metered.metrics()
    assert 'postern_meter_rule_asked_total{rule="connects"} ' in text
    assert 'postern_meter_rule_over_total{rule="guesses"} ' in text
    assert text.count("# TYPE postern_meter_rule_asked_total counter\n") == 2  # once a program


# ---- several servers ----

def redis_command(port, *words):
    """One command, its answer as it came (at most one read's worth)."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(f"*{len(words)}\r\n".encode() + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in map(str.encode, words)))
        return s.recv(65536).decode()


@pytest.fixture(scope="module")
def watched(new_tier):
    """A tier whose limits are at a master with a replica, both watched by three Sentinels."""
    tier = new_tier("watched", stores=1)
    tier.use_redis = False
    tier.meter_rules = RULES
    tier.redis_ports = [free_port(), free_port()]
    tier.sentinel_ports = [free_port() for _ in range(3)]
    tier.meter_extra = ("\tredis_sentinel " + ", ".join(f"127.0.0.1:{p}" for p in tier.sentinel_ports) +
                        ";\n\tredis_master limits;\n")
    tier.write_all()
    for k, port in enumerate(tier.redis_ports):
        more = ["--replicaof", "127.0.0.1", str(tier.redis_ports[0])] if k else []
        tier.spawn(f"redis{k}", ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir",
                                 tier.run_dir, "--dbfilename", f"{k}.rdb", "--repl-diskless-sync-delay", "0", *more])
        wait_for(lambda p=port: port_answers(p), 20, "redis-server")
    wait_for(lambda: "state=online" in redis_command(tier.redis_ports[0], "INFO", "replication"), 20, "the replica")
    for k, port in enumerate(tier.sentinel_ports):
        with open(tier.path(f"sentinel{k}.conf"), "w", encoding="ascii") as f:
            f.write(f"port {port}\nbind 127.0.0.1\ndir {tier.run_dir}\n"
                    f"sentinel monitor limits 127.0.0.1 {tier.redis_ports[0]} 2\n"
                    "sentinel down-after-milliseconds limits 500\nsentinel failover-timeout limits 4000\n")
        tier.spawn(f"sentinel{k}", ["redis-server", tier.path(f"sentinel{k}.conf"), "--sentinel"])
    for port in tier.sentinel_ports:
        wait_for(lambda p=port: "slaves=1,sentinels=3" in redis_command(p, "INFO", "sentinel"), 30, "the Sentinels")
    tier.start()
    return tier


def test_a_tier_follows_its_sentinels(watched):
    def used():
        return max((r["used"] for r in rows(watched, "show", "127.0.0.1")), default=0)
    before = wait_for(lambda: banner(watched) and used(), 10, "a key at the master")
    watched.stop_process("redis0", signal.SIGKILL)
    up = f"meter.redis_up server=127.0.0.1:{watched.redis_ports[1]}"
    wait_for(lambda: banner(watched).startswith(b"220 ") and up in watched.log("edge"), 30, "the new master in the edge")
    wait_for(lambda: up in watched.log("mmp"), 30, "the new master in the multiplexor")
    wait_for(lambda: banner(watched) and used() > before, 10, "the count going on")
