"""MeterMaid in a whole tier: what an operator sees, resets and bans with `postern meter`."""
import json
import os
import select
import re
import signal
import smtplib
import socket
import subprocess

import pytest

import mail
from conftest import free_port
from tier import port_answers, wait_for

RULES = """
	rule connects { on connect; key client/32,64, client/24,48; rate 500/1h, 900/1h; }
	rule guesses  { on auth; kind penalty; key client/32,64, user; rate 3/1h; }
	rule near     { on login; kind list; networks 127.0.0.0/8; action tag; }
	rule mailing  { on mail; kind list; networks 127.0.0.0/8; action tag; tag local; }
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
    assert {r["rule"] for r in rows(metered, "rules")} == {"connects", "guesses", "near", "mailing", "ban"}
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


def test_tags_are_seen(metered):
    """In the log of logins and of mail, and in what is delivered."""
    user = metered.user("bob")
    with mail.imap(metered, user):
        pass
    wait_for(lambda: re.search(r"login\.ok .*user=bob@.* tags=near ", metered.log("mmp")), 10, "the tag of a login")
    with smtplib.SMTP("127.0.0.1", metered.port("mx"), timeout=30) as s:
        s.sendmail("a@far.example", [user["address"]], "Subject: tagged\r\n\r\nhello\r\n")
    wait_for(lambda: re.search(r"message\.received .* tags=local ", metered.log("edge")), 10, "the tag of a mail")
    with mail.imap(metered, user) as box:
        box.select()
        found = box.search(None, "SUBJECT", "tagged")[1][0].split()
        text = box.fetch(found[-1].decode(), "(BODY.PEEK[HEADER])")[1][0][1]
    assert b"\r\nX-Postern-Tag: local\r\n" in text, text


def test_mistakes_of_the_operator_are_told(metered):
    assert metered.postern("meter", "show").returncode == 64
    assert metered.postern("meter", "ban", "192.0.2.0/24", "--for", "ever").returncode == 69
    assert "host bits" in metered.postern("meter", "ban", "192.0.2.1/24").stdout


def test_each_rule_has_its_metrics(metered):
    text = metered.metrics()
    assert 'postern_meter_rule_asked_total{rule="connects"} ' in text
    assert 'postern_meter_rule_over_total{rule="guesses"} ' in text
    assert text.count("# TYPE postern_meter_rule_asked_total counter\n") == 2  # once a program


# ---- decisions seen, kept, and asked again ----

@pytest.fixture(scope="module")
def recorded(new_tier):
    """Decisions are recorded; mail from a sender is limited."""
    tier = new_tier("recorded", stores=1)
    tier.meter_rules = RULES + "\trule senders { on mail; key sender; rate 3/1h; action refuse; }\n"
    os.makedirs(tier.path("decisions"))
    os.chmod(tier.path("decisions"), 0o777)
    tier.meter_rules += f"\trecord {tier.path('decisions')};\n"
    tier.start()
    return tier


def send_from(tier, sender):
    """What MAIL FROM is answered."""
    with smtplib.SMTP("127.0.0.1", tier.port("mx"), timeout=30) as s:
        s.ehlo("client.example.net")
        return s.mail(sender)[0]


def simulate(tier, rules, *more):
    """The report of a simulation of all that is recorded, under these rules."""
    with open(tier.path("new.conf"), "w", encoding="utf-8") as f:
        f.write(f"hostname x.example.org;\nmetermaid {{\n{rules}}}\nedge {{ nothing of_this; }}\n")
    done = tier.postern("meter", "simulate", "--rules", tier.path("new.conf"), tier.path("decisions"), *more)
    return done


def test_decisions_are_watched_and_replayed(recorded):
    wait_for(lambda: banner(recorded) and rows(recorded, "show", "127.0.0.1"), 10, "Redis")
    watching = subprocess.Popen([os.path.join(recorded.bin_dir, "postern"), "meter", "watch", "on=mail", "user=nobody",
                                 "--json", "--for", "1s", "-c", recorded.config_file("postern")],
                                stdout=subprocess.PIPE, text=True)
    assert watching.communicate(timeout=30)[0] == ""  # nobody: filters hold
    watching = subprocess.Popen([os.path.join(recorded.bin_dir, "postern"), "meter", "watch", "on=mail", "limited",
                                 "--json", "-c", recorded.config_file("postern")], stdout=subprocess.PIPE, text=True)
    try:
        answers = wait_for(lambda: [send_from(recorded, "many@example.net") for _ in range(5)], 30, "answers")
        while select.select([watching.stdout], [], [], 0.5)[0] == []:  # it may have begun to watch later
            answers.append(send_from(recorded, "many@example.net"))
            assert len(answers) < 60
        seen = json.loads(watching.stdout.readline())
    finally:
        watching.terminate()  # SIGINT may be ignored where the tests run in the background
        watching.wait(10)
    assert answers[:3] == [250] * 3 and set(answers[3:]) == {550}, answers
    assert (seen["rule"], seen["action"], seen["sender"]) == ("senders", "refuse", "many@example.net")
    assert seen["client"] == "127.0.0.1"

    limited = len(answers) - 3
    same = RULES + "\trule senders { on mail; key sender; rate 3/1h; action refuse; }\n"

    def replay(rules):
        done = simulate(recorded, rules, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    wait_for(lambda: {r["rule"]: r["was"] for r in replay(same)["rules"]}["senders"] == limited, 10, "the records")
    assert (replay(same)["changed"], replay(same)["corrected"]) == (0, 0)
    narrow = replay(same.replace("3/1h", "1/1h"))
    assert (narrow["stopped"], narrow["let_in"]) == (2, 0)
    assert narrow["users"] == [{"name": "many@example.net", "stopped": 2, "let_in": 0, "otherwise": 0}]
    assert narrow["prefixes"][0]["name"] == "127.0.0.0/24"
    text = simulate(recorded, same.replace("3/1h", "1/1h")).stdout
    assert " 2 stopped, 0 let in" in text and "many@example.net" in text


def test_wrong_rules_are_not_replayed(recorded):
    done = simulate(recorded, "\trule a { on connect; key client; rate 0/1m; }\n")
    assert done.returncode == 78 and "new.conf:3:" in done.stderr and "force" in done.stderr
    assert recorded.postern("meter", "simulate", "/nonexistent").returncode == 64
    assert recorded.postern("meter", "watch", "color=red").returncode == 64


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
