"""Notifications (RFC 3464, 6533) as other people's programs read them: Python's email, Sisimai, BounceParser, Postfix and Exim."""
import email
import email.policy
import json
import re
import smtplib
import socketserver
import subprocess
import threading

import pytest

import mail
from conftest import finish
from mtas import Exim, Postfix
from test_edge import relaying_edge
from tier import wait_for

SISIMAI = """use strict; use warnings; use Sisimai; binmode STDOUT, ':raw';
for my $path (@ARGV) {
	my $found = Sisimai->make($path, delivered => 1);
	print join("|", map { join "\t", $_->recipient->address, $_->action, $_->deliverystatus } @{ $found || [] }), "\n";
}
"""
BOUNCEPARSER = """use strict; use warnings; use Mail::DeliveryStatus::BounceParser; local $/;
for my $path (@ARGV) {
	open my $f, '<', $path or die;
	my $b = Mail::DeliveryStatus::BounceParser->new(<$f>);
	print join("\t", $b->is_bounce ? 1 : 0, map { $_->get('email'), $_->get('std_reason') // '' } $b->reports), "\n";
}
"""
NASTY = b"5.1.1 n\xc3\xb6 \x80\xff <script>\x01\t--boundary Action: delivered; =?utf-8?q?x?= " + b"y" * 700
NAMES = {"good": b"250 2.1.5 ok", "bad": b"550 5.1.1 nobody of that name", "late": b"451 4.3.0 come again", "own": b"451 4.3.0 come again", "nasty": b"550 " + NASTY}
UTF8, ORIGINAL = "d\u00f6rte@far.example", "\u00f6ld@x.example"


class Hop(socketserver.StreamRequestHandler):
    """A next hop without DSN: by the recipient's name it takes, refuses or defers. And the store, which keeps all."""

    def reply_to(self, line):
        name = re.search(rb"<([^@+>]*)", line)
        return NAMES.get(name[1].decode("utf-8", "replace") if name else "", b"250 ok" if self.server.is_store else b"550 5.7.9 no")

    def handle(self):
        self.wfile.write(b"220 hop\r\n")
        for line in iter(self.rfile.readline, b""):
            verb = line[:4].upper()
            if verb in (b"EHLO", b"LHLO"):
                self.wfile.write(b"250-hop\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 PIPELINING\r\n")
            elif verb == b"MAIL":
                path, to = line, []
                self.wfile.write(b"250 ok\r\n")
            elif verb == b"RCPT":
                reply = self.reply_to(line)
                to += [line] if reply[:1] == b"2" else []
                self.wfile.write(reply + b"\r\n")
            elif verb == b"DATA":
                self.wfile.write(b"354 go\r\n")
                text = b"".join(iter(self.rfile.readline, b".\r\n")).replace(b"\r\n..", b"\r\n.")
                with self.server.lock:
                    self.server.taken.append((path, to, text))
                self.wfile.write(b"250 2.0.0 done\r\n" * (len(to) if self.server.is_store else 1))
            elif verb == b"QUIT":
                return
            else:
                self.wfile.write(b"250 ok\r\n")


def hop(port, is_store):
    server = socketserver.ThreadingTCPServer(("127.0.0.1", port), Hop, bind_and_activate=False)
    server.allow_reuse_address = server.daemon_threads = True
    server.server_bind()
    server.server_activate()
    server.taken, server.is_store, server.lock = [], is_store, threading.Lock()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Reports:
    """An edge, what its users were told, and other mail servers beside it."""

    def __init__(self, run_dir):
        self.tier = relaying_edge(run_dir, "dsn", 1, "\tqueue_retry_max 1s;\n\tdelay_notice 1s;\n\tqueue_lifetime 1h;\n")
        self.tier.store_count = 1
        self.tier.users = [dict(u, store=1) for u in self.tier.users]
        self.tier.write_all()
        self.store = hop(self.tier.store_port(1, "lmtp"), True)
        self.relay = hop(self.tier.relay_port, False)
        self.tier.start_edge()
        self.alice = self.tier.user("alice")
        self.all = {}

    def end(self):
        finish(self.tier)
        for server in (self.store, self.relay):
            server.shutdown()
            server.server_close()

    def send(self, wishes, options=(), utf8=False, size=2000):
        """The message's token."""
        token = mail.new_token()
        text = mail.message(token, self.alice["address"], ["somebody@far.example"], size).replace(
            b"\r\n\r\n", b"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", 1)
        if utf8:
            text = text.replace(b"Subject: ", "Subject: gr\u00fc\u00dfe ".encode(), 1)
        with mail.smtp(self.tier, service="submission", user=self.alice) as s:
            s.command_encoding = "utf-8"
            s.ehlo()
            assert s.mail(self.alice["address"], ["BODY=8BITMIME", *options, *(["SMTPUTF8"] if utf8 else [])])[0] == 250
            for address, wish in wishes.items():
                assert s.rcpt(address, wish)[0] == 250, address
            assert s.data(text)[0] == 250
        return token

    def told(self, token):
        """Reports about a message of ours, as they came to the store."""
        with self.store.lock:
            return [t for path, _, t in self.store.taken if b"<>" in path and token.encode() in t]

    def wait_told(self, token, count=1):
        wait_for(lambda: len(self.told(token)) >= count, 30, "a report")
        return self.told(token)


@pytest.fixture(scope="module", name="reports")
def _reports(run_dir):
    r = Reports(run_dir)
    try:
        kinds = {
            "failed": ({"bad@far.example": ["NOTIFY=FAILURE", "ORCPT=rfc822;old+2Bbad@x.example"]}, ["RET=HDRS", "ENVID=q+2B1"], False),
            "full": ({"bad@far.example": []}, ["RET=FULL"], False),
            "nasty": ({"nasty@far.example": ["ORCPT=x400;+2Fc+3Dde+20Action:+20delivered"]}, ["ENVID=a+20b+20Action:+20x"], False),
            "delayed": ({"late@far.example": ["NOTIFY=DELAY,FAILURE"]}, [], False),
            "relayed": ({"good@far.example": ["NOTIFY=SUCCESS"]}, [], False),
            "delivered": ({r.tier.user("bob")["address"]: ["NOTIFY=SUCCESS"]}, [], False),
            "utf8": ({UTF8: ["NOTIFY=FAILURE", f"ORCPT=utf-8;{ORIGINAL}"]}, ["RET=HDRS"], True),
            "coded": ({"bad@far.example": [r"ORCPT=utf-8;\x{F6}ld@x.example"]}, [], False),
            "own": ({"own@far.example": ["NOTIFY=FAILURE"]}, [], False),
            "utf8-full": ({UTF8: ["NOTIFY=FAILURE"], "bad@far.example": []}, ["RET=FULL"], True),
        }
        tokens = {name: r.send(*how) for name, how in kinds.items()}
        bounce = ("queue", "bounce", "recipient=own@far.example", "--json")
        wait_for(lambda: json.loads(r.tier.postern(*bounce).stdout)[0]["recipients"] == 1, 30, "an order")
        for name, token in tokens.items():
            r.all[name] = r.wait_told(token)[0]
        yield r
    finally:
        r.end()


OURS = {"own": "X-Postern; returned by the administrator of this host"}
ACTIONS = {"failed": "failed", "own": "failed", "coded": "failed", "full": "failed", "nasty": "failed", "delayed": "delayed", "relayed": "relayed",
           "delivered": "delivered", "utf8": "failed", "utf8-full": "failed"}


@pytest.mark.parametrize("kind", ACTIONS)
def test_python(reports, kind):
    """Without a defect; the fields are what RFC 3464 and RFC 6533 say, and pure ASCII where they must be."""
    m = email.message_from_bytes(reports.all[kind], policy=email.policy.SMTP)
    assert m.get_content_type() == "multipart/report"
    words, status, original = m.get_payload()
    assert not [d for part in m.walk() for d in part.defects]
    utf8 = kind.startswith("utf8")
    assert status.get_content_type() == ("message/global-delivery-status" if utf8 else "message/delivery-status")
    assert "message/" + m.get_param("report-type") == status.get_content_type()
    wanted = {"full": "message/rfc822", "utf8": "message/global-headers", "utf8-full": "message/global"}
    assert original.get_content_type() == wanted.get(kind, "text/rfc822-headers")
    assert words.get_content_type() == "text/plain"
    raw = reports.all[kind].split(b"delivery-status\r\n", 1)[1].split(b"\r\n--", 1)[0]
    assert utf8 or all(c < 128 for c in raw)
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    if utf8:
        assert f"Final-Recipient: utf-8; {UTF8}\r\n".encode() in raw
        assert ("Original-Recipient: utf-8; " + ORIGINAL).encode() in raw or kind != "utf8"
        assert b"SMTPUTF8" in next(p for p, _, t in reports.store.taken if t == reports.all[kind])
    else:
        fields = status.get_payload()[1]
        assert fields["Action"] == ACTIONS[kind] and re.fullmatch(r"[245]\.\d+\.\d+", fields["Status"])
        assert len(status.get_payload()) == 2, "one recipient, whatever its texts say"
        assert fields["Final-Recipient"].startswith("rfc822;")
        if kind in OURS:
            assert fields["Diagnostic-Code"] == OURS[kind] and "Remote-MTA" not in fields
        else:
            assert fields["Remote-MTA"] == ("dns; store1" if kind == "delivered" else "dns; [127.0.0.1]")
            assert re.match(rf"smtp; [245]\d\d {re.escape(fields['Status'])} ", fields["Diagnostic-Code"])
        assert reports.all[kind].split(b"\r\n\r\n", 1)[0].isascii()
    if kind == "coded":
        assert rb"Original-Recipient: utf-8; \x{F6}ld@x.example" in raw
    if kind == "failed":
        assert status.get_payload()[0]["Original-Envelope-Id"] == "q+1"
        assert fields["Original-Recipient"] == "rfc822; old+bad@x.example"


def perl(reports, script, kinds):
    """What the script prints of each kind."""
    paths = [reports.tier.path(f"{kind}.eml") for kind in kinds]
    for kind, path in zip(kinds, paths):
        with open(path, "wb") as f:
            f.write(reports.all[kind].replace(b"\r\n", b"\n"))
    p = subprocess.run(["perl", "-e", script, *paths], capture_output=True, timeout=60, check=False)
    assert p.returncode == 0, p.stderr
    return dict(zip(kinds, p.stdout.decode("utf-8", "replace").splitlines()))


def test_sisimai(reports):
    bob = reports.tier.user("bob")["address"]
    assert perl(reports, SISIMAI, ("failed", "full", "nasty", "delayed", "relayed", "delivered")) == {
        "failed": "bad@far.example\tfailed\t5.1.1", "full": "bad@far.example\tfailed\t5.1.1",
        "nasty": "nasty@far.example\tfailed\t5.1.1", "delayed": "late@far.example\tdelayed\t4.3.0",
        "relayed": "good@far.example\trelayed\t2.0.0", "delivered": f"{bob}\tdelivered\t2.0.0"}


def test_bounceparser(reports):
    """One report each; it believes Original-Recipient, where there is one."""
    assert perl(reports, BOUNCEPARSER, ("failed", "full", "nasty")) == {
        "failed": "1\told+bad@x.example\tuser_unknown", "full": "1\tbad@far.example\tuser_unknown",
        "nasty": "1\t/c=de Action: delivered\tuser_unknown"}


class Strict(Postfix):
    """With all its checks of MIME and 8-bit text."""

    def restrictions(self):
        return super().restrictions() + (
            "\nstrict_mime_encoding_domain = yes\nstrict_8bitmime_body = yes\nstrict_rfc821_envelopes = yes")


def mail_to(mta, text, utf8):
    with smtplib.SMTP(mta.host, mta.port, timeout=60, local_hostname="client.example") as s:
        s.ehlo()
        s.mail("", ["BODY=8BITMIME"] + (["SMTPUTF8"] if utf8 else []))
        s.rcpt(f"anybody@{mta.domain}")
        return s.data(text)


class Asking(Exim):
    """With its checks of the header, and of how the text is folded."""

    def checks(self):
        return ("acl_smtp_data = look\n", "look:\n  require verify = header_syntax\n  require verify = header_names_ascii\n"
                "  deny condition = ${if >{$max_received_linelength}{998}}\n  accept\n")


@pytest.mark.parametrize("make, host", [(Strict, "127.0.0.5"), (Asking, "127.0.0.6")], ids=["postfix", "exim"])
def test_mtas(reports, make, host):
    """They take every report, and keep each as it is but for fields of their own."""
    mta = make(reports.tier, "postfix" if make is Strict else "exim", host, reports.tier.port_base + 3025)
    mta.start()
    answers = {kind: mail_to(mta, text, kind.startswith("utf8")) for kind, text in reports.all.items()}
    assert all(code == 250 for code, _ in answers.values()), answers
    wait_for(lambda: len(mta.messages()) == len(answers), 30, "the reports")
    assert all(any(text in m for m in mta.messages()) for text in reports.all.values())
