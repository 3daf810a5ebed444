"""How would a login go? `postern explain --login` tells before it is tried, and the login that is tried then goes that way."""
import json
import re
import socket

import pytest

from mmp_clients import start_fake, start_mmp
from tier import wait_for

RULES = """\trule logins { on login; key user; rate 100/1h; }
\trule guesses { on auth; key client/32,64, user; rate 100/1h; }
\trule three { on session; kind concurrency; key user; limit 3; }
\trule nets { on connect; kind list; networks 192.0.2.0/24; action refuse; }
"""
# name, more of the entry, what a login gets
ODD = [("disabled", "mailUserStatus: disabled", "status_closed"), ("onhold", "mailUserStatus: hold", "status_held"),
       ("poponly", "mailAllowedServiceAccess: +pop:*", "service_denied"), ("nowhere", "", "no_store"),
       ("both", "mailHost: dead\nmailHost: store1", None), ("buried", "mailHost: dead", "store_down")]


@pytest.fixture(scope="module", params=["tables", "redis"])
def t(new_tier, request):
    t = new_tier(request.param, stores=1, needs=("mmp",))
    t.store_is_postern, t.use_redis, t.workers = False, request.param == "redis", 1
    t.meter_rules = RULES
    t.mmp_listener_extra = "allow_plaintext_auth yes;"
    t.users = [u for u in t.users if u["store"] == 1]
    # the dead one stays known as that for the whole test
    t.mmp_extra = ("\tstore_facts none; store_retry_min 10m; store_retry_max 10m; store_return 0s; auth_failure_delay 100ms;\n"
                   "\tstore \"store1\" { connections_max 5; }\n")
    plain = t.directory_text

    def text():
        out = plain() + ("\ndn: cn=dead,ou=stores,dc=postern\nobjectClass: posternStore\ncn: dead\n"
                         "posternStoreHost: 127.0.0.1\nposternStoreImapPort: 9\n")
        for name, more, _ in ODD:
            user = {"name": name, "domain": "example.org", "address": f"{name}@example.org", "password": f"{name}-demo", "store": 1}
            entry = t.user_entry(user).rstrip("\n")
            if "mailHost" in more or name == "nowhere":
                entry = re.sub(r"\nmailHost: .*", "", entry)
            out += f"\n{entry}\n{more}".rstrip("\n") + "\n"
        return out
    t.directory_text = text
    t.write_all()
    if t.use_redis:
        t.start_redis()
    start_fake(t)
    start_mmp(t)
    return t


def explain(t, user, *more, ip="127.0.0.1"):
    """Checks and answers."""
    done = t.postern("explain", "--login", user, "--ip", ip, *more, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return {row["check"]: row["answer"] for row in json.loads(done.stdout)}


def decision(t, user, *more, **how):
    return explain(t, user, *more, **how)["decision (worker 0)"]


def log_in(t, user, password=None):
    """The session, or why it was refused."""
    s = socket.create_connection(("127.0.0.1", t.port("imap")), timeout=30)
    f = s.makefile("rb")
    f.readline()
    s.sendall(f"a LOGIN {user} {password or user.split('@')[0] + '-demo'}\r\n".encode())
    answer = f.readline()
    f.close()
    if b"a OK" in answer:
        return s
    s.close()
    return re.findall(rf"login\.refused .*user={re.escape(user)} why=(\w+)", t.log("mmp"))[-1]


def counted(t):
    return t.postern("meter", "rules").stdout, t.postern("meter", "top").stdout


def test_a_login_that_would_go(t):
    before, logged = counted(t), t.log("mmp")
    for _ in range(5):
        told = explain(t, "Alice@Example.ORG")
        assert told["decision (worker 0)"] == "store store1"
    assert told["listener"].startswith("imap, imap") and told["directory"] == "alice@example.org"
    assert told["account"] == "status active; services all: may log in"
    assert "nets" in told["meter connect"] and "guesses|127.0.0.1/32|alice@example.org" in told["meter auth"]
    assert "logins|alice@example.org" in told["meter login"] and "three|alice@example.org" in told["meter session"]
    assert re.match(r"127\.0\.0\.1:\d+, login password; 0 connections of 5, 0 wait; good$", told["store store1 (worker 0)"])
    assert counted(t) == before and t.log("mmp") == logged  # nothing was counted, logged or dialled
    table = t.postern("explain", "--login", "alice@example.org", "--ip", "127.0.0.1").stdout
    assert re.search(r"decision \(worker 0\) +store store1", table), table


@pytest.mark.parametrize("name,why", [(name, why) for name, _, why in ODD] + [("nobody", "unknown_user")])
def test_the_login_goes_as_was_told(t, name, why):
    user = f"{name}@example.org"
    log_in(t, user, None if why != "unknown_user" else "x")  # what is dead is known as that now
    told = decision(t, user)
    got = log_in(t, user)
    if why is None:
        assert told == "store store1"
        got.close()
    else:
        assert told == f"refused: {why}" and got == why
    if name in ("both", "buried"):
        assert "dead for" in explain(t, user)["store dead (worker 0)"]


def test_other_listeners(t):
    assert decision(t, "poponly@example.org", "--protocol", "pop3").startswith("store store1")
    told = explain(t, "alice@example.org", "--listener", "imaps")
    assert told["listener"] == "imaps, imap"


def test_rules_that_refuse(t):
    told = explain(t, "alice@example.org", ip="192.0.2.7")
    assert told["decision (worker 0)"] == "refused: limited" and told["meter connect"].startswith("refuses by nets")
    held = [log_in(t, "alice@example.org") for _ in range(3)]
    told = explain(t, "alice@example.org")
    assert told["decision (worker 0)"] == "refused: limited" and "by three" in told["meter session"]
    assert "3 connections of 5" in told["store store1 (worker 0)"]
    assert log_in(t, "alice@example.org") == "limited"
    for s in held:
        s.close()
    wait_for(lambda: decision(t, "alice@example.org") == "store store1", 20, "the end of the sessions")


def test_holds_and_failures(t):
    t.postern("hold", "user", "alice@example.org")
    assert decision(t, "alice@example.org") == "refused: held" == f"refused: {log_in(t, 'alice@example.org')}"
    t.postern("release", "user", "alice@example.org")
    t.postern("hold", "store", "store1")
    told = explain(t, "alice@example.org")
    assert "held by order" in told["store store1 (worker 0)"] and told["decision (worker 0)"] == "refused: held"
    assert log_in(t, "alice@example.org") == "held"
    t.postern("release", "store", "store1")
    assert decision(t, "alice@example.org") == "store store1"

    def failures():
        return re.match(r"(\d+) lately.* after (\d+) ms", explain(t, "carol@example.net")["failures (worker 0)"]).groups()
    had, soon = map(int, failures())
    for n in range(4):
        assert log_in(t, "carol@example.net", f"wrong{n}") == "wrong_secret"
    now, later = map(int, failures())
    assert now == had + 4 and later > soon


def test_what_cannot_be_asked(t):
    for bad, why in ((("--login", "x"), "needed"), (("--login", "x", "--ip", "here"), "not an address"),
                     (("--login", "x", "--ip", "::1", "--listener", "none"), "no such listener"),
                     (("--login", "x", "--ip", "::1", "--protocol", "ftp"), "no such protocol"),
                     (("--login", "x", "--ip", "::1", "--from", "y"), "expected")):
        done = t.postern("explain", *bad)
        assert why in done.stdout, done
