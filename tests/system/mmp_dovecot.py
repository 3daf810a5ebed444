"""The multiplexor in front of two private Dovecots: the tier of several test files, and what they ask of it."""
import smtplib
import urllib.request

import pytest

import mail
import peers
from mmp_clients import connect, start_mmp
from tier import children_of


SENDER = "visitor@elsewhere.example"
DOVECOT = "mail_max_userip_connections = 0\n"  # every session comes from the multiplexor's address


@pytest.fixture(scope="module")
def tier(new_tier):
    t = new_tier("dovecot", stores=3, needs=("mmp",))
    t.store_count = 2
    t.store_is_postern = False
    t.use_redis = False
    t.workers = 2
    t.meter_rules = "\trule failed-logins { on auth; key client/32,64, user; rate 100/1m; burst 100; }\n"
    t.write_all()
    for k in (1, 2):
        peers.start_dovecot(t, k, DOVECOT)
    start_mmp(t)
    return t


def put(tier, user, text):
    """Into the user's Dovecot by LMTP, past the multiplexor."""
    with smtplib.LMTP("127.0.0.1", tier.store_port(user["store"], "lmtp"), local_hostname="client.example") as s:
        s.mail(SENDER, ["BODY=8BITMIME"])
        assert s.rcpt(user["address"])[0] == 250
        assert s.data(text)[0] == 250


def raw_login(tier, user, service="imaps", source="127.0.0.1", more=b""):
    """A TLS connection that has logged in: (socket, file of its input)."""
    s, f = connect(tier, tier.port(service), source)
    s.sendall(f"a LOGIN {user['address']} {user['password']}\r\n".encode() + more)
    line = f.readline()
    assert line.startswith(b"a OK"), line
    return s, f


def metrics(tier):
    with urllib.request.urlopen(f"http://127.0.0.1:{tier.port('admin')}/metrics", timeout=5) as r:
        return r.read().decode()


def workers_of(tier):
    return [pid for pid, _ in children_of(tier.processes["mmp"].pid)]


def try_login(tier, user):
    try:
        mail.imap(tier, user).logout()
        return True
    except mail.imaplib.IMAP4.error:
        return False


def all_log_in(tier, user):
    """Often enough to meet every worker: each learns by itself."""
    return all(try_login(tier, user) for _ in range(12))
