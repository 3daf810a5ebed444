"""Postfix policy services beside the front door: postgrey, policyd-spf, and one that lies."""
import hashlib
import os
import pwd
import smtplib
import socketserver
import ssl
import subprocess
import threading

import pytest

import mail
import names
from conftest import BIN, finish, free_port, free_port_base
from test_edge import SENDER, Edge, relaying_edge
from test_relay import Talk
from tier import port_answers, wait_for

RESOLVER = "127.77.0.1"
RECORDS = ["good.example. 60 IN A 192.0.2.1", 'good.example. 60 IN TXT "v=spf1 ip4:198.51.100.0/24 -all"']
OURS = ("reject", "hold", "redirect", "prepend", "bcc", "discard", "lie", "silence", "quit")


class Words(socketserver.StreamRequestHandler):
    """A service that does as the recipient's sub-address says: alice+hold@..."""
    ANSWERS = {"reject": b"action=550 5.7.9 as you wish\n\n", "hold": b"action=HOLD for a look\n\n",
               "redirect": b"action=REDIRECT bob@example.org\n\n", "prepend": b"action=PREPEND X-Policy: was here\n\n",
               "bcc": b"action=BCC bob@example.org\n\n", "discard": b"action=DISCARD\n\n", "lie": b"220 smtp.example\r\n\r\n",
               "silence": b""}

    def handle(self):
        request = {}
        for line in iter(self.rfile.readline, b""):
            name, _, value = line.rstrip(b"\n").partition(b"=")
            if name:
                request[name.decode()] = value.decode()
                continue
            self.server.asked.append(request)
            wish = request["recipient"].partition("@")[0].partition("+")[2]
            if wish == "quit":
                return
            self.wfile.write(self.ANSWERS.get(wish, b"action=DUNNO\n\n"))
            request = {}


class Inetd(socketserver.StreamRequestHandler):
    """Gives each connection to a program of its own, as Postfix's spawn(8) does."""

    def handle(self):
        subprocess.run(self.server.argv, stdin=self.connection, stdout=self.connection, timeout=120, check=False)


def serve(handler, **more):
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer.daemon_threads = True
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
    server.__dict__.update(more)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def start_postgrey(tier, port):
    base = tier.path("postgrey")
    os.makedirs(base)
    user = pwd.getpwnam("mail")
    os.chown(base, user.pw_uid, user.pw_gid)
    tier.spawn("postgrey", ["postgrey", f"--inet=127.0.0.1:{port}", f"--dbdir={base}", "--delay=1", "--user=mail",
                            "--group=mail", f"--pidfile={base}/pid", "--whitelist-clients=/dev/null",
                            "--whitelist-recipients=/dev/null"])
    wait_for(lambda: port_answers(port), 30, "postgrey")


def spf_argv(tier):
    """policyd-spf asks the resolver of resolv.conf: it gets one of its own."""
    resolv, conf = tier.path("resolv.conf"), tier.path("policyd.conf")
    with open(resolv, "w", encoding="ascii") as f:
        f.write(f"nameserver {RESOLVER}\n")
    with open(conf, "w", encoding="ascii") as f:
        f.write("debugLevel = 0\nTestOnly = 1\nHELO_reject = False\nMail_From_reject = Fail\nskip_addresses = 127.0.0.0/8\n")
    names.start_unbound(tier, host=RESOLVER, port=53, records=RECORDS)
    return ["unshare", "-m", "sh", "-c", f'mount --bind {resolv} /etc/resolv.conf && exec policyd-spf {conf}']


@pytest.fixture(scope="module")
def edge(run_dir):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    tier = Edge(run_dir / "policy", free_port_base(), BIN)
    tier.use_redis = False
    tier.workers = 1
    tier.at = {n: free_port() for n in ("grey", "spf", "words", "soft")}
    tier.write_all()
    grey = free_port()
    start_postgrey(tier, grey)
    tier.spf = serve(Inetd, argv=spf_argv(tier))
    tier.words = serve(Words, asked=[])
    words = tier.words.server_address[1]
    tier.edge_extra = "".join(
        f"\tlistener {n} {{ address 127.0.0.1:{p}; role internal; tls none; xclient_from 127.0.0.1/32; }}\n"
        for n, p in tier.at.items())
    tier.edge_extra += (
        f"\tpolicy grey {{ address 127.0.0.1:{grey}; listeners grey; timeout 20s; }}\n"
        f"\tpolicy spf {{ address 127.0.0.1:{tier.spf.server_address[1]}; listeners spf; timeout 30s; }}\n"
        f"\tpolicy words {{ address 127.0.0.1:{words}; listeners words; timeout 2s; dead_time 0s; }}\n"
        f"\tpolicy soft {{ address 127.0.0.1:{words}; listeners soft; timeout 2s; dead_time 0s; on_failure accept; }}\n")
    tier.start()
    yield tier
    for server in (tier.spf, tier.words):
        server.shutdown()
        server.server_close()
    for name in ("postgrey", "unbound"):
        tier.stop_process(name)
    finish(tier)


class From(Talk):
    """A client at an address of its own."""

    def __init__(self, edge, name, address="198.51.100.7"):
        super().__init__(edge, port=edge.at[name])
        assert self.say(b"EHLO client.example") == 250
        assert self.say(b"XCLIENT ADDR=" + address.encode()) == 220
        assert self.say(b"EHLO client.example") == 250


def send(edge, name, to, sender=SENDER, address="198.51.100.7"):
    """(code of RCPT or of the end of data, token)"""
    t, token = From(edge, name, address), mail.new_token()
    assert t.say(b"MAIL FROM:<" + sender.encode() + b">") == 250
    code = t.say(b"RCPT TO:<" + to.encode() + b">")
    if code == 250 and t.say(b"DATA") == 354:
        code = t.say(b"Subject: test " + token.encode() + b"\r\n\r\nhello\r\n.")
    t.close()
    return code, token


def test_postgrey_sends_away_and_lets_in(edge):
    assert send(edge, "grey", "alice@example.org")[0] == 450

    def let_in():
        code, token = send(edge, "grey", "alice@example.org")
        return token if code == 250 else None
    token = wait_for(let_in, 30, "postgrey to let it in")
    stored, = edge.wait_stored(edge.user("alice"), token)
    assert b"\r\nX-Greylist: delayed " in stored
    assert send(edge, "grey", "alice@example.org", sender="other@elsewhere.example")[0] == 450


def test_policyd_spf(edge):
    code, token = send(edge, "spf", "alice@example.org", "a@good.example", "198.51.100.7")
    assert code == 250
    stored, = edge.wait_stored(edge.user("alice"), token)
    assert b"Received-SPF: Pass" in stored
    assert send(edge, "spf", "alice@example.org", "a@good.example", "203.0.113.7")[0] == 550


@pytest.mark.parametrize("wish,code", [("reject", 550), ("lie", 451), ("silence", 451), ("quit", 451), ("none", 250)])
def test_refusals_and_failures(edge, wish, code):
    assert send(edge, "words", f"alice+{wish}@example.org")[0] == code
    assert send(edge, "soft", f"alice+{wish}@example.org")[0] == (550 if code == 550 else 250)


def test_hold_and_release(edge):
    code, token = send(edge, "words", "alice+hold@example.org")
    assert code == 250
    alice = edge.user("alice")

    def held():
        listed = edge.postern("queue", "list", "state=held").stdout
        return "alice+hold@example.org" in listed and "for a look" in listed
    wait_for(held, 20, "held in the queue, with the reason")
    assert edge.having(alice, token) == []
    assert edge.postern("queue", "release", "all").returncode == 0
    assert len(edge.wait_stored(alice, token)) == 1


def test_other_recipients_and_fields(edge):
    alice, bob = edge.user("alice"), edge.user("bob")
    code, token = send(edge, "words", "alice+redirect@example.org")
    assert code == 250
    assert len(edge.wait_stored(bob, token)) == 1 and edge.having(alice, token) == []
    code, token = send(edge, "words", "alice+bcc@example.org")
    assert code == 250
    assert len(edge.wait_stored(bob, token)) == 1 and len(edge.wait_stored(alice, token)) == 1
    code, token = send(edge, "words", "alice+prepend@example.org")
    assert code == 250
    assert b"\r\nX-Policy: was here\r\n" in edge.wait_stored(alice, token)[0]
    code, token = send(edge, "words", "alice+discard@example.org")
    assert code == 250
    assert edge.having(alice, token) == []
    asked = edge.words.asked[-1]
    assert asked["protocol_state"] == "RCPT" and asked["client_address"] == "198.51.100.7"
    assert asked["sender"] == SENDER and asked["helo_name"] == "client.example"


# ---- certificates ------------------------------------------------------------------------------------

def signed_client(t):
    """A client's certificate, and the authority's; the digests that openssl makes of it and of its key."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    t.openssl("req", "-x509", *key, "-days", "2", "-subj", "/O=Example/CN=Clients & Sons", "-keyout", t.path("ca.key"),
              "-addext", "basicConstraints=critical,CA:TRUE", "-out", t.path("clients.pem"))
    t.openssl("req", *key, "-subj", "/O=Example/CN=Alice Example", "-keyout", t.path("c.key"), "-out", t.path("c.csr"))
    t.openssl("x509", "-req", "-in", t.path("c.csr"), "-CA", t.path("clients.pem"), "-CAkey", t.path("ca.key"), "-CAcreateserial",
              "-days", "2", "-out", t.path("c.pem"))
    with open(t.path("c.pem"), encoding="ascii") as f:
        whole = ssl.PEM_cert_to_DER_cert(f.read())
    public = subprocess.run(["openssl", "pkey", "-in", t.path("c.key"), "-pubout", "-outform", "DER"], check=True,
                            capture_output=True).stdout
    return [hashlib.sha256(raw).hexdigest().upper() for raw in (whole, public)]


def colons(digest):
    return ":".join(digest[i:i + 2] for i in range(0, len(digest), 2))


def test_certificates(run_dir):
    """A client with a certificate that we trust, and one with none."""
    words = serve(Words, asked=[])
    tier = relaying_edge(run_dir, "policy-cert", 1, "")
    tier.edge_extra += f"\tclient_ca {tier.path('clients.pem')};\n\tpolicy words {{ address 127.0.0.1:{words.server_address[1]}; at rcpt; }}\n"
    tier.write_all()
    whole, public = signed_client(tier)
    tier.start()
    alice = tier.user("alice")

    def asked(certificate):
        context = tier.tls_context()
        if certificate:
            context.load_cert_chain(tier.path("c.pem"), tier.path("c.key"))
        with smtplib.SMTP_SSL("localhost", tier.port("submissions"), context=context, timeout=60) as s:
            s.login(alice["address"], alice["password"])
            s.mail(alice["address"])
            assert s.rcpt(alice["address"])[0] == 250
        return words.asked[-1]
    try:
        with_one, without = asked(True), asked(False)
        assert with_one["ccert_subject"] == "Alice+20Example" and with_one["ccert_issuer"] == "Clients+20&+20Sons"
        assert with_one["ccert_fingerprint"] == colons(whole) and with_one["ccert_pubkey_fingerprint"] == colons(public)
        for name in ("subject", "issuer", "fingerprint", "pubkey_fingerprint"):
            assert without[f"ccert_{name}"] == ""
        assert with_one["stress"] == ""
    finally:
        finish(tier)
        words.shutdown()
