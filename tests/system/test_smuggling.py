"""SMTP smuggling: whatever stands around a dot, one message stays one message at every next hop.

Every combination of bytes that some server takes for a line end goes before and behind a dot, followed by the words
of a second message. From strangers the message is refused at its true end. From a peer whose line ends are
normalised, and as a binary part, it is taken, and goes on to Postfix, Exim, OpenSMTPD and to our own front door.
"""
import email
import itertools
import socketserver
import threading

import pytest

import mail
from conftest import BIN, finish, free_port, free_port_base
from mtas import Exim, OpenSmtpd, Postfix
from test_edge import Edge, Names
from test_relay import Talk
from tier import wait_for

ENDS = [b"\n", b"\r", b"\r\n", b"\n\r", b"\r\r\n", b"\0\n", b"\r\0\n", b"\0"]
VARIANTS = [(a, b) for a, b in itertools.product(ENDS, ENDS)
            if not ((a + b"." + b).find(b"\r\n.\r\n") >= 0)]
HOPS = {"postfix": "127.0.0.2", "exim": "127.0.0.3", "opensmtpd": "127.0.0.4"}


class Zone(Names):
    ZONE = {(f"{n}.example", Names.A): [host] for n, host in HOPS.items()}


class Smuggler(Edge):
    """Relays to the servers of HOPS by their addresses; its own domains are the fourth next hop."""

    def prepare(self):
        self.normal = free_port()
        self.relay_port = free_port()
        dns = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Zone)
        threading.Thread(target=dns.serve_forever, daemon=True).start()
        self.dns = dns
        self.root_extra = f"dns_servers 127.0.0.1:{dns.server_address[1]};\n"
        self.edge_extra = (f"\trelay_port {self.relay_port};\n\terrors_max 1000;\n\terror_delay 0s;\n\tqueue_retry_first 500ms;\n"
                           f"\tlistener normal {{ address 127.0.0.1:{self.normal}; role internal; tls none; "
                           "normalize_from 127.0.0.0/8; relay_from 127.0.0.0/8; }\n")
        self.edge_listener_extra = "relay_from 127.0.0.0/8;"
        self.hops = [k(self, n, HOPS[n], self.relay_port)
                     for k, n in ((Postfix, "postfix"), (Exim, "exim"), (OpenSmtpd, "opensmtpd"))]


@pytest.fixture(scope="module")
def edge(run_dir):
    tier = Smuggler(run_dir / "smuggling", free_port_base(), BIN)
    tier.use_redis = False
    tier.workers = 1
    tier.meter_rules = ""
    tier.write_all()
    tier.prepare()
    try:
        tier.start()
        for hop in tier.hops:
            hop.start()
        yield tier
    finally:
        for hop in tier.hops:
            tier.stop_process(hop.name)
        tier.dns.shutdown()
        tier.dns.server_close()
        finish(tier)


def recipients(edge):
    return ["alice@example.org"] + [f"joe@{hop.domain}" for hop in edge.hops]


def text_of(token, before, behind, to):
    second = "".join(f"RCPT TO:<{a}>\r\n" for a in to).encode()
    return (f"From: <a@far.example>\r\nTo: <x@far.example>\r\nSubject: test {token}\r\n\r\nfirst".encode() + before + b"." + behind +
            b"MAIL FROM:<smuggler@far.example>\r\n" + second + b"DATA\r\nSubject: smuggled " + token.encode() +
            b"\r\n\r\nsecond\r\n")


def open_mail(t, edge, more=b""):
    assert t.say(b"MAIL FROM:<a@far.example>" + more) == 250
    for address in recipients(edge):
        assert t.say(b"RCPT TO:<" + address.encode() + b">") == 250


def everywhere(edge, token):
    """What each next hop has of it; waits until each has something."""
    def got():
        found = [edge.having(edge.user("alice"), token)]
        found += [[m for m in hop.messages() if token.encode() in m] for hop in edge.hops]
        last[:] = found
        return found if all(found) else None
    last = []
    try:
        return wait_for(got, 60, f"{token} at every next hop")
    except TimeoutError as error:
        said = [(hop.name, hop.said()) for hop, found in zip(edge.hops, last[1:]) if not found]
        raise TimeoutError(f"{error}; without it: {said or 'the store'}") from error


def subjects(text):
    return email.message_from_bytes(text)["Subject"]


def test_strangers_are_refused(edge):
    t = Talk(edge)
    assert t.say(b"EHLO client.example") == 250
    for before, behind in VARIANTS:
        open_mail(t, edge)
        assert t.say(b"DATA") == 354
        text = text_of("none", before, behind, recipients(edge))
        assert t.say(text + b".") == 550, (before, behind)
        assert t.say(b"NOOP") == 250, (before, behind)
    t.close()
    wait_for(edge.queue_is_empty, 10, "an empty queue")
    assert edge.stored(edge.user("alice")) == []


def test_normalised_messages_stay_one(edge):
    t = Talk(edge, port=edge.normal)
    assert t.say(b"EHLO client.example") == 250
    sent = []
    for before, behind in VARIANTS:
        open_mail(t, edge)
        assert t.say(b"DATA") == 354
        token = mail.new_token()
        code = t.say(text_of(token, before, behind, recipients(edge)) + b".")
        assert code == (550 if b"\0" in before + behind else 250), (before, behind)
        assert t.say(b"NOOP") == 250, (before, behind)
        if code == 250:
            sent.append(token)
    t.close()
    assert len(sent) > 10
    check_one_each(edge, sent)


def check_one_each(edge, sent):
    for token in sent:
        for found in everywhere(edge, token):
            assert [subjects(m) for m in found] == [f"test {token}"]
            assert b"second" in found[0].split(b"\r\n\r\n", 1)[1] or b"base64" in found[0]
    wait_for(edge.queue_is_empty, 60, "an empty queue")
    everything = edge.stored(edge.user("alice")) + [m for hop in edge.hops for m in hop.messages()]
    assert not [m for m in everything if "smuggled" in (subjects(m) or "")]


def test_binary_parts_stay_one(edge):
    t = Talk(edge)
    assert t.say(b"EHLO client.example") == 250
    sent = []
    for before, behind in [*VARIANTS, (b"\r\n", b"\r\n")]:
        token = mail.new_token()
        open_mail(t, edge, b" BODY=BINARYMIME")
        head = b"Subject: test " + token.encode() + b"\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        text = head + text_of(token, before, behind, recipients(edge))
        t.socket.sendall(b"BDAT %d LAST\r\n" % len(text) + text)
        assert t.reply() == 250
        sent.append(token)
    t.close()
    check_one_each(edge, sent)
