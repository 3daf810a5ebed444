"""DANE (RFC 7672) and TLS for each domain: what DNSSEC says of a next hop's certificate decides whether mail goes there.
The name server here stands for a validating one: it sets AD for zones that it calls signed; test_dnssec.py has a real one."""
import hashlib
import json
import os
import re
import socket
import socketserver
import ssl
import subprocess
import threading

import pytest

import mail
from conftest import finish
from test_edge import relaying_edge
from tier import wait_for

A, CNAME, MX, TLSA = 1, 5, 15, 52
MANY = 12
NXDOMAIN, SERVFAIL = 3, 2


class Zone(socketserver.BaseRequestHandler):
    """server.records: (name, type) -> wire data or an rcode; server.signed: ends of names that are signed."""

    def handle(self):
        query, sock = self.request
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        kind, name = int.from_bytes(query[at + 1:at + 3], "big"), ".".join(labels)
        chain, names = [], [name]
        while kind != CNAME and (names[-1], CNAME) in self.server.records:
            (target,) = self.server.records[(names[-1], CNAME)]
            chain.append((names[-1], CNAME, wire(target)))
            names.append(target)
        found = self.server.records.get((names[-1], kind), [])
        known = any(n == names[-1] for n, _ in self.server.records)
        rcode = found if isinstance(found, int) else 0 if known else NXDOMAIN
        found = [] if isinstance(found, int) else [wire(d) for d in found] if kind == CNAME else found
        data = chain + [(names[-1], kind, d) for d in found]
        asked = query[3] & 0x20
        signed = asked and all(any(n == s or n.endswith("." + s) for s in self.server.signed) for n in names)
        flags = 0x8180 | rcode | (0x20 if signed else 0)
        body = b"".join(wire(n) + k.to_bytes(2, "big") + b"\0\1\0\0\0\5" + len(d).to_bytes(2, "big") + d for n, k, d in data)
        head = query[:2] + flags.to_bytes(2, "big") + b"\0\1" + len(data).to_bytes(2, "big") + b"\0\0\0\0"
        sock.sendto(head + query[12:at + 5] + body, self.client_address)


def wire(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


class Sink(socketserver.StreamRequestHandler):
    """A mail server; server.tls: its context, or None. server.taken: (recipient, under TLS?); server.knows: does it offer
    REQUIRETLS under TLS?"""

    def say(self, line):
        self.wfile.write(line + b"\r\n")
        self.wfile.flush()

    def under_tls(self):
        self.say(b"220 go")
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")

    def handle(self):
        tls, to = False, []
        self.say(b"220 sink")
        for line in iter(lambda: self.rfile.readline(), b""):  # STARTTLS changes rfile
            word = line[:4].upper()
            if word == b"EHLO":
                knows = tls and getattr(self.server, "knows", False)
                self.say(b"250-sink\r\n250-STARTTLS\r\n250 8BITMIME" if self.server.tls and not tls else
                         b"250-sink\r\n250 REQUIRETLS" if knows else b"250 sink")
            elif word == b"STAR":
                try:
                    self.under_tls()
                except (ssl.SSLError, OSError):
                    return
                tls = True
            elif word == b"RCPT":
                to.append(line.split(b"<")[1].split(b">")[0].decode())
                self.say(b"250 ok")
            elif word == b"DATA":
                self.say(b"354 go")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                self.server.taken += [(r, tls) for r in to]
                to = []
                self.say(b"250 taken")
            elif word == b"QUIT":
                return
            else:
                self.say(b"250 ok")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def sinks(tier, *where):
    """(address, TLS context or None): what they take stands in tier.taken."""
    tier.taken, servers = [], []
    for address, tls in where:
        server = Server((address, tier.relay_port), Sink)
        server.tls, server.taken = tls, tier.taken
        servers.append(server)
    return servers


def serve(servers):
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()


def serve_no_more(servers):
    for server in servers:
        server.shutdown()
        server.server_close()


def make_certificate(directory):
    key, chain = os.path.join(directory, "key.pem"), os.path.join(directory, "chain.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=sink", "-keyout", key, "-out", chain], check=True, capture_output=True)
    public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context, hashlib.sha256(public.stdout).digest()


# domain: mail exchanger, its address, its TLSA records, signed
def domains(digest):
    good, wrong = b"\3\1\1" + digest, b"\3\1\1" + bytes(32)
    return {
        "good": ("127.0.0.1", [wrong, good], True), "wrong": ("127.0.0.1", [wrong], True),
        "unsigned": ("127.0.0.1", [wrong], False), "broken": ("127.0.0.1", SERVFAIL, True),
        "none": ("127.0.0.1", [], True), "bare": ("127.0.0.2", [good], True), "plain": ("127.0.0.2", [], True),
        "unusable": ("127.0.0.1", [b"\1\1\1" + bytes(32)], True), "required": ("127.0.0.1", [], True),
        "wanted": ("127.0.0.1", [good], True), "verified": ("127.0.0.1", [], False),
        "fresh": ("127.0.0.1", [good], True),
    }


# domain: (ends of names that are signed, what its mail exchanger is an alias of, TLSA by name below the domain)
def aliases(digest):
    good, wrong = b"\3\1\1" + digest, b"\3\1\1" + bytes(32)
    return {
        "aliased": (["aliased.example"], "real.aliased.example", {"real": [good], "mx": [wrong]}),
        "aliasedwrong": (["aliasedwrong.example"], "real.aliasedwrong.example", {"real": [wrong], "mx": [good]}),
        "aliasown": (["aliasown.example"], "real.aliasown.example", {"mx": [wrong]}),
        "aliasowngood": (["aliasowngood.example"], "real.aliasowngood.example", {"mx": [good]}),
        # what it stands for is not signed: its own records alone count
        "halfsigned": (["halfsigned.example", "_tcp.mx.halfsigned.example"], "real.far.example", {"mx": [wrong]}),
        "halfsignedgood": (["halfsignedgood.example"], "real.far.example", {"mx": [good]}),
        "unsignedalias": ([], "real.signed.example", {"mx": [wrong]}),
        "shared": (["shared.example"], None, {"mx": "tlsa.shared.example", "tlsa": [wrong]}),
        "sharedgood": (["sharedgood.example"], None, {"mx": "tlsa.sharedgood.example", "tlsa": [good]}),
    }


def put_aliases(dns, digest, port):
    for name, (signed, target, tlsa) in aliases(digest).items():
        dns.signed += signed
        dns.records[(f"{name}.example", MX)] = [b"\0\5" + wire(f"mx.{name}.example")]
        if target:
            dns.records[(f"mx.{name}.example", CNAME)] = [target]
        dns.records[(target or f"mx.{name}.example", A)] = [socket.inet_aton("127.0.0.1")]
        for host, what in tlsa.items():
            owner = f"tlsa.{name}.example" if host == "tlsa" else f"_{port}._tcp.{host}.{name}.example"
            dns.records[(owner, CNAME if isinstance(what, str) else TLSA)] = [what] if isinstance(what, str) else what
    dns.records[(f"_{port}._tcp.real.far.example", TLSA)] = [b"\3\1\1" + bytes(31) + b"x"]
    dns.signed += ["signed.example"]


def put_many(dns, digest, port):
    """Of a domain's mail exchangers the last one alone is good for anything."""
    dns.signed.append("many.example")
    dns.records[("many.example", MX)] = [bytes([0, k]) + wire(f"mx{k}.many.example") for k in range(1, MANY + 1)]
    for k in range(1, MANY + 1):
        dns.records[(f"mx{k}.many.example", A)] = [socket.inet_aton("127.0.0.2" if k < MANY else "127.0.0.1")]
    dns.records[(f"_{port}._tcp.mx{MANY}.many.example", TLSA)] = [b"\3\1\1" + digest]


@pytest.fixture(scope="module")
def edge(run_dir):
    os.makedirs(os.path.join(run_dir, "dane"), exist_ok=True)
    context, digest = make_certificate(os.path.join(run_dir, "dane"))
    tier = relaying_edge(run_dir, "dane", 1, "")
    dns = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Zone)
    dns.records, dns.signed = {}, []
    for name, (address, tlsa, signed) in domains(digest).items():
        dns.records[(f"{name}.example", MX)] = [b"\0\5" + wire(f"mx.{name}.example")]
        dns.records[(f"mx.{name}.example", A)] = [socket.inet_aton(address)]
        dns.records[(f"_{tier.relay_port}._tcp.mx.{name}.example", TLSA)] = tlsa
        dns.signed += [f"{name}.example"] if signed else []
    put_aliases(dns, digest, tier.relay_port)
    put_many(dns, digest, tier.relay_port)
    servers = [dns, *sinks(tier, ("127.0.0.1", context), ("127.0.0.2", None))]
    tier.sink = servers[1]
    tier.sink.knows = True
    serve(servers)
    tier.root_extra = f"dns_servers 127.0.0.1:{dns.server_address[1]};\n"
    tier.edge_extra = (f"\tqueue_retry_first 500ms;\n\tqueue_retry_max 1s;\n\trelay_port {tier.relay_port};\n"
                       "\tnext_hop required.example { tls dane; }\n\tnext_hop wanted.example { tls dane; }\n"
                       "\tnext_hop verified.example { tls must; }\n")
    tier.start()
    yield tier
    serve_no_more(servers)
    finish(tier)


ALIASES_GO = ["aliased", "aliasowngood", "halfsignedgood", "unsignedalias", "sharedgood"]
ALIASES_STAY = ["aliasedwrong", "aliasown", "halfsigned", "shared"]
GOES = {"good": True, "unsigned": True, "none": True, "plain": False, "unusable": True, "wanted": True}
STAYS = ["wrong", "broken", "bare", "required", "verified"]


def test_what_goes_and_what_stays(edge):
    alice = edge.user("alice")
    to = [f"x@{name}.example" for name in list(GOES) + STAYS]
    text = mail.message(mail.new_token(), alice["address"], to)
    code, reply = mail.send(edge, alice["address"], to, text, service="submission", user=alice)
    assert code == 250, reply
    wait_for(lambda: len(edge.taken) >= len(GOES), 20, "what may go")
    assert sorted(edge.taken) == sorted((f"x@{name}.example", tls) for name, tls in GOES.items())

    def waiting():
        rows = json.loads(edge.postern("queue", "list", "--json").stdout)
        return {r["recipient"]: r for r in rows if r["attempts"] >= 2}

    wait_for(lambda: len(waiting()) == len(STAYS), 20, "two attempts for what stays")
    assert sorted(waiting()) == sorted(f"x@{name}.example" for name in STAYS)
    assert len(edge.taken) == len(GOES)
    reasons = {r.split("@")[1].split(".")[0]: row["reason"] for r, row in waiting().items()}
    assert "TLSA" in reasons["broken"] and "DANE is required" in reasons["required"]
    assert "TLS is required" in reasons["bare"]


def test_aliases(edge):
    alice = edge.user("alice")
    to = [f"y@{name}.example" for name in ALIASES_GO + ALIASES_STAY]
    code, reply = mail.send(edge, alice["address"], to, mail.message(mail.new_token(), alice["address"], to), service="submission",
                            user=alice)
    assert code == 250, reply

    def tried():
        rows = json.loads(edge.postern("queue", "list", "--json").stdout)
        return {r["recipient"]: r["reason"] for r in rows if r["attempts"] >= 2 and r["recipient"].startswith("y@")}

    wait_for(lambda: len(tried()) == len(ALIASES_STAY), 20, "two attempts for what stays")
    assert sorted(tried()) == sorted(f"y@{name}.example" for name in ALIASES_STAY)
    assert all("certificate" in reason for reason in tried().values()), tried()

    def taken():
        return sorted((r, tls) for r, tls in edge.taken if r.startswith("y@"))
    wait_for(lambda: len(taken()) >= len(ALIASES_GO), 20, "what may go")
    assert taken() == sorted((f"y@{name}.example", True) for name in ALIASES_GO)


def statuses(notices):
    """What reports say of each recipient."""
    found = [re.findall(rb"Final-Recipient: rfc822; ?(\S+)\r\nAction: failed\r\nStatus: (\S+)", n) for n in notices]
    return {to.decode().split("@")[1].split(".")[0]: status.decode() for pairs in found for to, status in pairs}


def require_tls(edge, token, *names, ret="RET=FULL"):
    alice = edge.user("alice")
    to = [f"r@{name}.example" for name in names]
    code, reply = mail.send(edge, alice["address"], to, mail.message(token, alice["address"], to), service="submission", user=alice,
                            options=["REQUIRETLS", ret])
    assert code == 250, reply


def test_who_requires_tls_hears_at_once(edge):
    """REQUIRETLS (RFC 8689 section 4.2.1): a name that DNSSEC vouches for, a certificate that proves it, the wish offered: or the
    sender is told at once, without the body (section 5), unless it may do another time."""
    alice, token = edge.user("alice"), mail.new_token()
    lost = ["wrong", "unsigned", "none", "plain", "bare", "unusable"]
    require_tls(edge, token, "good", "many", "broken", *lost)
    wait_for(lambda: {("r@good.example", True), ("r@many.example", True)} <= set(edge.taken), 20, "what may go")

    def told():
        notices = edge.having(alice, token)
        return notices if len(statuses(notices)) == len(lost) else None
    notices = wait_for(told, 20, "the reports")
    assert statuses(notices) == {name: "5.7.10" for name in lost}
    assert not any(b"message/rfc822" in n for n in notices) and any(b"neither DNSSEC nor an MTA-STS" in n for n in notices)
    waiting = [r["recipient"] for r in json.loads(edge.postern("queue", "list", "--json").stdout) if r["recipient"].startswith("r@")]
    assert waiting == ["r@broken.example"]
    assert sorted(r for r, _ in edge.taken if r.startswith("r@")) == ["r@good.example", "r@many.example"]
    edge.sink.knows, token = False, mail.new_token()
    require_tls(edge, token, "fresh")  # connections that are kept know what was offered then
    assert statuses(edge.wait_stored(alice, token)) == {"fresh": "5.7.30"}


def test_who_does_not_require_tls_is_not_held_up(edge):
    """TLS-Required: no (RFC 8689): neither wrong nor unknown records keep the mail, what the operator says does."""
    alice = edge.user("alice")
    to = [f"z@{name}.example" for name in ["good"] + STAYS]
    text = mail.tls_not_required(mail.message(mail.new_token(), alice["address"], to))
    code, reply = mail.send(edge, alice["address"], to, text, service="submission", user=alice)
    assert code == 250, reply

    def taken():
        return sorted((r, tls) for r, tls in edge.taken if r.startswith("z@"))
    wait_for(lambda: len(taken()) >= 4, 20, "what is not held up")

    def waiting():
        rows = json.loads(edge.postern("queue", "list", "--json").stdout)
        return sorted(r["recipient"] for r in rows if r["attempts"] >= 2 and r["recipient"].startswith("z@"))
    wait_for(lambda: waiting() == ["z@required.example", "z@verified.example"], 20, "two attempts for what the operator says")
    assert taken() == [("z@bare.example", False), ("z@broken.example", True), ("z@good.example", True), ("z@wrong.example", True)]
