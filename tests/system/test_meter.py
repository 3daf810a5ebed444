"""MeterMaid in a whole tier: what an operator sees, resets and bans with `postern meter`."""
import json
import socket

import pytest

import mail
from tier import wait_for

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
    assert refused[:1] in (b"4", b"5"), refused
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
