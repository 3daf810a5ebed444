"""Tricks to have a stranger's mail relayed: whatever is said, the next hop hears nothing."""
import socket
import socketserver
import threading

import pytest

from conftest import finish
from test_edge import relaying_edge

FAR = "victim@far.example"
MAIL = b"MAIL FROM:<visitor@elsewhere.example>"
ADDRESSES = [
    f"<{FAR}>", "<victim%far.example@example.org>", "<victim%far.example@mail.example.org>",
    "<victim%far.example@[127.0.0.1]>", "<victim%far.example@localhost>", "<far.example!victim@example.org>",
    "<far.example!victim>", "<example.org!far.example!victim>", "<@example.org:victim@far.example>",
    "<@mail.example.org,@example.org:victim@far.example>", "<@far.example:alice@far.example>",
    '<"victim@far.example"@example.org>', '<"victim@far.example">', '<"victim%far.example"@example.org>',
    '<"far.example!victim"@example.org>', "<victim@far.example@example.org>", "<victim@example.org@far.example>",
    "<victim@far.example.>", "<VICTIM@FAR.EXAMPLE>", "<victim@[127.0.0.1]>", "<victim@[127.0.0.2]>",
    "<victim@[IPv6:::1]>", "<victim@[far.example]>", "<victim@2130706433>", "<victim@127.0.0.1>", "<victim@localhost>",
    "<victim@example.org.far.example>", "<victim@far.example,alice@example.org>", "<alice@example.org,victim@far.example>",
    "<alice@example.org>,<victim@far.example>", "<alice@example.org> <victim@far.example>", "victim@far.example",
    f"<{FAR}> NOTIFY=SUCCESS ORCPT=rfc822;alice@example.org", f"<{FAR}> ORCPT=rfc822;victim@far.example",
    "<victim @far.example>", "<victim(alice@example.org)@far.example>", "<victim@far.example(@example.org)>",
    "<alice@example.org\x00@far.example>", "<victim@far.example\x00@example.org>", "<alice@example.org\t@far.example>",
    "<alice+victim%far.example@example.org>", "<postmaster%far.example@example.org>", "<postmaster@far.example>",
    "<abuse@far.example>", "<victim\\@far.example@example.org>", "<victim@far\\.example>", "<|/bin/sh@far.example>",
    "</dev/null@far.example>", "<victim=far.example@example.org>", "<victim@exаmple.org>", "<victim@ｅxample.org>",
    "<victim@example。org>", "<victim@xn--exmple-4nf.org>",
]


class Sink(socketserver.StreamRequestHandler):
    def handle(self):
        self.server.heard.append(self.client_address)


@pytest.fixture(scope="module")
def edge(run_dir):
    tier = relaying_edge(run_dir, "relay", 1, "\trecipients_max 3;\n\town_addresses 192.0.2.25/32, 2001:db8::25/128;\n\terrors_max 100;\n\terror_delay 0s;\n\tunknown_max 100;\n")
    tier.directory_block = f"directory {{\n\tbackend file;\n\tfile {tier.path('directory.ldif')};\n\tdefault_domain example.org;\n}}\n"
    server = socketserver.ThreadingTCPServer(("127.0.0.1", tier.relay_port), Sink)
    server.heard = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tier.start()
    tier.heard = server.heard
    yield tier
    server.shutdown()
    server.server_close()
    finish(tier)


class Talk:
    """A client that says what it likes, line by line."""

    def __init__(self, edge, service="mx", before=b"", port=None):
        self.socket = socket.create_connection(("127.0.0.1", port or edge.port(service)), timeout=30)
        self.socket.sendall(before)
        self.file = self.socket.makefile("rb")
        self.greeting = self.reply()

    def reply(self):
        while True:
            line = self.file.readline()
            if len(line) < 4 or line[3:4] != b"-":
                return int(line[:3] or b"0")

    def say(self, line):
        try:
            self.socket.sendall(line + b"\r\n")
        except OSError:
            return 0
        return self.reply()

    def close(self):
        self.file.close()
        self.socket.close()


def try_to_send(t, recipient):
    """The reply to RCPT; a message follows if it was a good one."""
    code = t.say(b"RCPT TO:" + recipient)
    if code // 100 == 2 and t.say(b"DATA") == 354:
        t.say(b"Subject: relayed\r\n\r\nrelayed\r\n.")
    return code


def nothing_left(edge):
    assert edge.queue_is_empty()
    assert edge.heard == []


@pytest.mark.parametrize("utf8", [b"", b" SMTPUTF8"])
def test_addresses(edge, utf8):
    taken = []
    for address in ADDRESSES:
        t = Talk(edge)
        assert t.say(b"EHLO client.example") == 250
        assert t.say(MAIL + utf8) == 250
        if try_to_send(t, address.encode()) // 100 == 2:
            taken.append(address)
        t.close()
    assert taken == []
    nothing_left(edge)


@pytest.mark.parametrize("sender", [b"<victim@far.example>", b"<>", b"<alice@example.org>", b"<@example.org:a@example.org>",
                                    b"<postmaster@example.org>", b"<MAILER-DAEMON@example.org>", b"<root@localhost>",
                                    b"<a@[127.0.0.1]>", b"<alice@example.org> AUTH=alice@example.org", b"<> AUTH=<>"])
def test_senders(edge, sender):
    t = Talk(edge)
    t.say(b"EHLO localhost")
    t.say(b"MAIL FROM:" + sender)
    assert try_to_send(t, f"<{FAR}>".encode()) // 100 == 5
    t.close()
    nothing_left(edge)


@pytest.mark.parametrize("claim", [
    b"XCLIENT ADDR=10.0.0.1", b"XCLIENT ADDR=127.0.0.1 LOGIN=alice@example.org", b"XCLIENT LOGIN=alice@example.org",
    b"XFORWARD ADDR=127.0.0.1 NAME=localhost", b"PROXY TCP4 10.0.0.1 127.0.0.1 4000 25", b"AUTH PLAIN AGEAYg==",
    b"AUTH EXTERNAL =", b"AUTH ANONYMOUS", b"ETRN far.example", b"TURN", b"ATRN far.example", b"HELO localhost",
    b"EHLO mail.example.org", b"EHLO [127.0.0.1]", b"LHLO mail.example.org"])
def test_claims(edge, claim):
    t = Talk(edge)
    t.say(b"EHLO client.example")
    t.say(claim)
    if t.say(MAIL) == 250:
        assert try_to_send(t, f"<{FAR}>".encode()) // 100 == 5
    t.close()
    nothing_left(edge)


@pytest.mark.parametrize("before", [
    b"PROXY TCP4 10.0.0.1 127.0.0.1 4000 25\r\n",
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x0a\x00\x00\x01\x7f\x00\x00\x01\x10\x00\x00\x19",
    b"EHLO localhost\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<victim@far.example>\r\nDATA\r\nx\r\n.\r\n"])
def test_before_the_greeting(edge, before):
    t = Talk(edge, before=before)
    if t.greeting == 220:
        t.say(b"EHLO localhost")
        t.say(MAIL)
        assert try_to_send(t, f"<{FAR}>".encode()) // 100 in (0, 5)  # 0: it hung up
    t.close()
    nothing_left(edge)


@pytest.mark.parametrize("text", [
    b"a\n.\nMAIL FROM:<alice@example.org>\nRCPT TO:<victim@far.example>\nDATA\nrelayed\n.",
    b"a\r.\rMAIL FROM:<alice@example.org>\rRCPT TO:<victim@far.example>\rDATA\rrelayed\r.",
    b"a\r\n.\nMAIL FROM:<alice@example.org>\r\nRCPT TO:<victim@far.example>\r\nDATA\r\nrelayed",
    b"To: victim@far.example\r\nBcc: victim@far.example\r\nResent-To: victim@far.example\r\n\r\nx",
    b"Disposition-Notification-To: victim@far.example\r\nReturn-Receipt-To: victim@far.example\r\n\r\nx",
    b"Apparently-To: victim@far.example\r\nErrors-To: victim@far.example\r\n\r\nx"])
def test_content(edge, text):
    t = Talk(edge)
    t.say(b"EHLO client.example")
    t.say(MAIL)
    assert t.say(b"RCPT TO:<alice@example.org>") == 250
    assert t.say(b"DATA") == 354
    t.say(text + b"\r\n.")
    t.close()
    nothing_left(edge)


def test_submission_is_no_way_round(edge):
    t = Talk(edge, "submission")
    t.say(b"EHLO client.example")
    assert t.say(b"MAIL FROM:<alice@example.org>") == 530
    assert t.say(f"RCPT TO:<{FAR}>".encode()) == 503
    assert t.say(b"DATA") == 503
    assert t.say(b"BDAT 4 LAST\r\na\r\n") == 503
    t.close()
    nothing_left(edge)


def test_bdat_without_a_recipient(edge):
    t = Talk(edge)
    t.say(b"EHLO client.example")
    t.say(MAIL)
    assert t.say(f"RCPT TO:<{FAR}>".encode()) == 550
    assert t.say(b"BDAT 14 LAST\r\nSubject: a\r\n") == 503
    t.close()
    nothing_left(edge)


def rcpt(edge, recipient, service="mx"):
    t = Talk(edge, service)
    assert t.say(b"EHLO client.example") == 250 and t.say(MAIL) == 250
    t.socket.sendall(b"RCPT TO:" + recipient.encode() + b"\r\n")
    answer = t.file.readline().decode()
    return t, answer


@pytest.mark.parametrize("recipient,answer", [
    ("<alice@[127.0.0.1]>", "250"), ("<alice@[192.0.2.25]>", "250"), ("<Alice+x@[IPv6:2001:DB8::25]>", "250"),
    ("<alice@[IPv6:::ffff:192.0.2.25]>", "250"), ("<nobody@[192.0.2.25]>", "550 5.1.1"), ("<postmaster@[192.0.2.25]>", "550 5.1.1"),
    ("<alice@[192.0.2.26]>", "550 5.7.1 relay denied"), ("<alice@[IPv6:::]>", "550 5.7.1 relay denied"),
    ("<alice@[0.0.0.0]>", "550 5.7.1 relay denied"), ("<alice@192.0.2.25>", "550 5.7.1 relay denied"),
    ("<victim%far.example@[192.0.2.25]>", "550 5.7.1"), ("<far.example!victim@[192.0.2.25]>", "550 5.7.1"),
    ('<"victim@far.example"@[192.0.2.25]>', "550 5.7.1"), ("<@[192.0.2.25]:victim@far.example>", "501"), ("<@example.org:victim@[192.0.2.26]>", "550 5.7.1"),
    ("<victim@[192.0.2.25]@far.example>", "501"), ("<victim@[192.0.2.25].far.example>", "501")])
def test_own_address_literals(edge, recipient, answer):
    """RFC 5321 section 4.1.3: a user of ours by the address of this host, and no way out."""
    t, heard = rcpt(edge, recipient)
    assert heard.startswith(answer), heard
    t.close()
    nothing_left(edge)


def test_mail_to_an_own_address_literal(edge):
    t, heard = rcpt(edge, "<alice@[192.0.2.25]>")
    assert heard.startswith("250") and t.say(b"DATA") == 354 and t.say(b"Subject: to-a-literal\r\n\r\nhello\r\n.") == 250
    edge.wait_stored(edge.user("alice"), "to-a-literal")
    t.close()


def test_each_limit_that_is_announced(edge):
    """RFC 9422: what LIMITS says is so, and one more is too many."""
    t = Talk(edge)
    t.socket.sendall(b"EHLO client.example\r\n")
    line, limits = b"250-", {}
    while line[3:4] == b"-":
        line = t.file.readline()
        if line[4:].startswith(b"LIMITS "):
            limits = dict(word.split("=") for word in line[11:].decode().split())
    assert list(limits) == ["RCPTMAX"]  # one that is new wants a test here
    most = int(limits["RCPTMAX"])
    users = [u["address"].encode() for u in edge.users]
    assert 0 < most <= len(users) and t.say(MAIL) == 250
    for user in users[:most]:
        assert t.say(b"RCPT TO:<" + user + b">") == 250
    assert t.say(b"RCPT TO:<one-more@example.org>") == 452 and t.say(b"RCPT TO:<" + users[0] + b">") == 452
    assert t.say(b"DATA") == 354 and t.say(b"Subject: as many as may be\r\n\r\nhello\r\n.") == 250
    for user in edge.users:
        if user["address"].encode() in users[:most]:
            edge.wait_stored(user, "as many as may be")
    assert t.say(MAIL) == 250 and t.say(b"RCPT TO:<" + users[0] + b">") == 250  # it is of one message
    t.close()


@pytest.mark.parametrize("word", [b"EHLO client.example", b"HELO client.example"])
def test_more_than_ehlo_before_its_answer(edge, word):
    """RFC 2920: who was offered nothing yet has to wait, on mx listeners."""
    t = Talk(edge)
    t.socket.sendall(word + b"\r\n" + MAIL + b"\r\n")
    assert t.file.read().startswith(b"554 5.5.0 you did not wait for the answer to EHLO")
    t.close()
    t = Talk(edge, "submission")
    t.socket.sendall(word + b"\r\n" + MAIL + b"\r\n")
    assert t.reply() == 250 and t.reply() == 530
    t.close()
    t = Talk(edge)
    assert t.say(word) == 250 and t.say(MAIL + b"\r\nRCPT TO:<alice@example.org>\r\nRSET") == 250
    assert t.reply() == 250 and t.reply() == 250
    t.close()
