"""The same tier with other people's parts: slapd as directory, Dovecot as store, HAProxy in front."""
import os
import signal
import socket
import struct

import pytest

import mail
import peers
from conftest import TOP, free_port
from tier import wait_for

SENDER = "visitor@elsewhere.example"


def cross(tier, names=("alice", "bob")):
    """One transaction to all, then IMAP and POP3 for each: byte for byte."""
    token = mail.new_token()
    to = [tier.user(n) for n in names]
    text = mail.message(token, SENDER, [u["address"] for u in to], 20000)
    code, reply = mail.send(tier, SENDER, [u["address"] for u in to], text)
    assert code == 250, reply
    for user in to:
        got = mail.imap_wait(tier, user, token)
        assert [mail.original(g) for g in got] == [text]
        assert [mail.original(g) for g in mail.pop3_bodies(tier, user, token)] == [text]


@pytest.fixture(scope="module")
def ldap_tier(new_tier):
    tier = new_tier("ldap")
    tier.ldap_port = free_port()
    tier.directory_block = (
        f"directory {{ backend ldap; uri ldap://127.0.0.1:{tier.ldap_port}; base \"dc=postern\"; verify bind; "
        "cache_ttl 1s; negative_ttl 1s; deadline 3s; }\n")
    tier.write_all()
    peers.start_slapd(tier, tier.ldap_port, os.path.join(TOP, "conf", "schema"))
    tier.start()
    return tier


def test_slapd_as_directory(ldap_tier):
    cross(ldap_tier)


def test_wrong_password_at_slapd(ldap_tier):
    with pytest.raises(mail.imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        mail.imap(ldap_tier, {"address": "alice@example.org", "password": "wrong"})


def test_names_with_filter_characters_find_nobody(ldap_tier):
    for name in ("*@example.org", "alice)(uid=*@example.org", "alice*@example.org", "al\\69ce@example.org"):
        with pytest.raises(mail.imaplib.IMAP4.error):
            mail.imap(ldap_tier, {"address": f'"{name}"' if "*" in name or "\\" in name else name, "password": "alice-demo"})


def test_directory_away_is_never_unknown_user(ldap_tier):
    tier = ldap_tier
    tier.stop_process("slapd")
    try:
        with mail.smtp(tier) as s:
            s.ehlo()
            s.mail(SENDER)
            code, reply = s.rcpt("dave@example.net")
            assert 400 <= code < 500, (code, reply)
        with pytest.raises(mail.imaplib.IMAP4.error, match="UNAVAILABLE"):
            mail.imap(tier, tier.user("dave"))
        with pytest.raises(mail.poplib.error_proto, match=r"SYS/TEMP"):
            mail.pop3(tier, tier.user("dave"))
    finally:
        peers.run_slapd(tier, tier.ldap_port)
    wait_for(lambda: try_login(tier, tier.user("dave")), 30, "logins after slapd's return")
    cross(tier, ("carol", "dave"))


def try_login(tier, user):
    try:
        mail.imap(tier, user).logout()
        return True
    except mail.imaplib.IMAP4.error:
        return False


@pytest.fixture(scope="module")
def dovecot_tier(new_tier):
    tier = new_tier("dovecot")
    tier.store_is_postern = False
    tier.write_all()
    for k in (1, 2):
        peers.start_dovecot(tier, k)
    tier.start()
    return tier


def test_dovecot_as_store(dovecot_tier):
    cross(dovecot_tier)


def test_pipelined_commands_reach_dovecot_in_order(dovecot_tier):
    tier = dovecot_tier
    user = tier.user("alice")
    with socket.create_connection(("127.0.0.1", tier.port("imaps")), timeout=30) as raw:
        with tier.tls_context().wrap_socket(raw, server_hostname="localhost") as s:
            s.sendall(f"a LOGIN {user['address']} {user['password']}\r\nb NOOP\r\nc SELECT INBOX\r\nd LOGOUT\r\n".encode())
            got = b""
            while True:
                piece = s.recv(65536)
                if not piece:
                    break
                got += piece
    places = [got.index(x) for x in (b"a OK", b"b OK", b"c OK", b"d OK")]
    assert places == sorted(places)


@pytest.fixture(scope="module")
def balanced_tier(new_tier):
    tier = new_tier("balanced")
    tier.mmp_listener_extra = "proxy_from 127.0.0.1/32;"
    tier.edge_listener_extra = "proxy_from 127.0.0.1/32;"
    tier.edge_extra += "\tsender_domain off; spf off; reverse_names no;\n"  # its clients' addresses are not local
    tier.meter_rules = ("\trule connects { on connect; key client/32,64; rate 5/1h; burst 5; action defer; "
                        "on_loss open; }\n")
    tier.front = {s: free_port() for s in ("mx", "imaps")}
    tier.write_all()
    tier.start_redis()
    for k in (1, 2):
        tier.start_store(k)
    tier.start_daemon("mmp", "postern")
    tier.start_daemon("edge", "postern")
    for words in (("who",), ("queue", "list")):  # connections would count for the rule
        wait_for(lambda w=words: tier.postern(*w).returncode == 0, 30, f"postern {words[0]}")
    peers.start_haproxy(tier, {tier.front[s]: tier.port(s) for s in tier.front})
    return tier


def via_proxy_v2(tier, service, source, lines=()):
    """Connects as a balancer would, with a PROXY v2 header for `source`; returns the whole answer."""
    header = (b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", 12) + socket.inet_aton(source) +
              socket.inet_aton("198.51.100.1") + struct.pack("!HH", 40000, tier.port(service)))
    with socket.create_connection(("127.0.0.1", tier.port(service)), timeout=30) as s:
        s.sendall(header[:9])
        s.sendall(header[9:])
        f = s.makefile("rb")
        out = [f.readline()]
        for line in lines:
            s.sendall(line)
            out.append(f.readline())
        s.shutdown(socket.SHUT_WR)
        f.read()
        return out


def test_haproxy_passes_mail_and_clients_address(balanced_tier):
    tier = balanced_tier
    token = mail.new_token()
    user = tier.user("alice")
    text = mail.message(token, SENDER, [user["address"]])
    with mail.smtplib.SMTP("127.0.0.1", tier.front["mx"], timeout=60, local_hostname="client.example") as s:
        assert s.sendmail(SENDER, [user["address"]], text) == {}
    with mail.imaplib.IMAP4_SSL("localhost", tier.front["imaps"], ssl_context=tier.tls_context(), timeout=60) as c:
        c.login(user["address"], user["password"])
        c.select("INBOX")
        assert c.search(None, "SUBJECT", token)[1][0]


def test_received_log_and_throttle_use_the_address_in_the_header(balanced_tier):
    tier = balanced_tier
    token = mail.new_token()
    user = tier.user("bob")
    text = mail.message(token, SENDER, [user["address"]]).replace(b"\r\n.", b"\r\n..")
    out = via_proxy_v2(tier, "mx", "192.0.2.77", [
        b"HELO client.example\r\n", b"MAIL FROM:<" + SENDER.encode() + b">\r\n",
        b"RCPT TO:<" + user["address"].encode() + b">\r\n", b"DATA\r\n", text + b".\r\n", b"QUIT\r\n"])
    assert [line[:3] for line in out] == [b"220", b"250", b"250", b"250", b"354", b"250", b"221"], out
    with mail.imaplib.IMAP4_SSL("localhost", tier.front["imaps"], ssl_context=tier.tls_context(), timeout=60) as c:
        c.login(user["address"], user["password"])
        c.select("INBOX")
        number = wait_for(lambda: c.search(None, "SUBJECT", token)[1][0].split(), 20, "the message")[0]
        stored = c.fetch(number, "(RFC822)")[1][0][1]
    assert b"192.0.2.77" in stored.split(b"\r\n\r\n")[0]
    assert "192.0.2.77" in tier.log("edge")
    codes = [via_proxy_v2(tier, "mx", "192.0.2.99", [b"QUIT\r\n"])[0][:3] for _ in range(8)]
    assert codes[:5] == [b"220"] * 5 and b"421" in codes[5:], codes
    assert via_proxy_v2(tier, "mx", "192.0.2.100", [b"QUIT\r\n"])[0][:3] == b"220"


def test_health_checks_are_not_counted(balanced_tier):
    """HAProxy checks twice a second by PROXY LOCAL; the limit of 5 an hour never met it."""
    tier = balanced_tier
    for name in ("mmp", "edge"):
        assert "error" not in [line.split()[2] for line in tier.log(name).splitlines() if len(line.split()) > 3]


@pytest.mark.parametrize("service", ["mx", "imap", "pop3"])
@pytest.mark.parametrize("header", [
    b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 25\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12)], ids=["v1", "v2"])
def test_header_from_an_unlisted_peer_is_refused(tier, service, header):
    with socket.create_connection(("127.0.0.1", tier.port(service)), timeout=30) as s:
        s.sendall(header + b"NOOP\r\n")
        got = b""
        try:
            while True:
                piece = s.recv(4096)
                if not piece:
                    break
                got += piece
        except ConnectionResetError:
            pass
    assert b"192.0.2.1" not in got
    name = "edge" if service == "mx" else "mmp"
    wait_for(lambda: "proxy" in tier.log(name).lower(), 10, "a log line that names the reason")



def test_a_process_that_was_frozen_goes_on(dovecot_tier):
    """A store that stops answering does not take the multiplexor with it."""
    tier = dovecot_tier
    p = tier.processes["dovecot2"]
    p.send_signal(signal.SIGSTOP)
    try:
        cross(tier, ("alice", "carol"))
    finally:
        p.send_signal(signal.SIGCONT)
    cross(tier)
