"""Mail through spamd, rspamd and a stand-in for clamd; each killed, frozen and lying too."""
import contextlib
import os
import re
import signal
import smtplib
import socketserver
import threading
import time

import pytest

import mail
from conftest import BIN, finish, free_port, free_port_base
from tier import Tier, port_answers, wait_for
from wedge import MARK, MILTER_LIES, SPAMD_LIES, Wedge

SENDER = "visitor@elsewhere.example"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
EICAR = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
LISTENERS = ("spamcheck", "spamtag", "spamwhole", "virus", "virussoft", "rspamd")
SPAMD_RULES = "loadplugin Mail::SpamAssassin::Plugin::Check\nloadplugin Mail::SpamAssassin::Plugin::BodyEval\n"
RSPAMD = """
.include "/etc/rspamd/common.conf"
options {{
    pidfile = "{base}/pid"; filters = "regexp"; local_addrs = []; temp_dir = "{base}"; cache_file = "{base}/cache";
    hs_cache_dir = "{base}"; disable_hyperscan = true; url_tld = "{base}/tld"; control_socket = "{base}/control mode=0600";
    dns {{ nameserver = ["127.0.0.1:1"]; timeout = 50ms; retransmits = 1; }}
}}
logging {{ type = "console"; level = "info"; color = false; }}
worker "rspamd_proxy" {{
    bind_socket = "127.0.0.1:{port}"; milter = yes; timeout = 60s; count = 1;
    upstream "local" {{ default = yes; self_scan = yes; }}
}}
"""


class Clamd(socketserver.ThreadingTCPServer):
    """INSTREAM, as clamd speaks it; `mode` says what it does wrong."""
    allow_reuse_address = True
    daemon_threads = True
    mode = "honest"


class ClamdSession(socketserver.StreamRequestHandler):
    timeout = 30

    def message(self):
        assert self.rfile.read(10) == b"zINSTREAM\0"
        whole = b""
        while n := int.from_bytes(self.rfile.read(4), "big"):
            whole += self.rfile.read(n)
            if self.server.mode == "dies":
                return None
        return whole

    def handle(self):
        whole = self.message()
        if whole is None:
            return
        if self.server.mode == "hangs":
            self.server.released.wait(30)
        elif self.server.mode == "lies":
            self.wfile.write(b"stream: perhaps\0")
        else:
            self.wfile.write(b"stream: " + (b"Eicar-Test-Signature FOUND" if EICAR.encode() in whole else b"OK") + b"\0")


class Scanned(Tier):
    def prepare(self):
        self.at = {n: free_port() for n in LISTENERS}
        self.edge_extra += "".join(f"\tlistener {n} {{ address 127.0.0.1:{p}; role internal; tls none; }}\n"
                                   for n, p in self.at.items())
        self.write_all()

    def scanner(self, name, kind, port, more):
        self.edge_extra += (f"\tscanner {name} {{ type {kind}; address 127.0.0.1:{port}; listeners {name}; "
                            f"dead_time 200ms; timeout {'3s' if kind == 'clamd' else '8s'}; {more} }}\n")

    def start_spamd(self):
        self.spawn("spamd", ["spamd", "-L", "-x", "-m", "2", "-i", "127.0.0.1", "-p", str(self.spamd_port), "-u", "nobody",
                             "--siteconfigpath", self.path("sa")])
        wait_for(lambda: port_answers(self.spamd_port), 120, "spamd")

    def start_rspamd(self):
        self.spawn("rspamd", ["rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", self.path("rspamd", "conf")])
        wait_for(lambda: port_answers(self.rspamd_port), 180, "rspamd")

    def end(self, name):
        """With all its children: they are of a process group of their own."""
        p = self.processes[name]
        os.killpg(p.pid, signal.SIGKILL)
        self.stop_process(name)

    @contextlib.contextmanager
    def away(self, name, how, start):
        """Frozen or killed with all its children in the middle of the next message with MARK in it, and back in the end."""
        group = self.processes[name].pid
        sign = {"frozen": signal.SIGSTOP, "killed": signal.SIGKILL}[how]
        try:
            with self.wedges[name].harming(lambda: os.killpg(group, sign)):
                yield
        finally:
            if how == "frozen":
                os.killpg(group, signal.SIGCONT)
            else:
                self.stop_process(name)
                start()

    def send(self, listener, line, token=None):
        token = token or mail.new_token()
        text = (f"From: <{SENDER}>\r\nTo: <alice@example.org>\r\nSubject: test {token}\r\nX-Spam-Status: No, forged\r\n"
                "X-Virus-Status: Clean, forged\r\nDate: Tue, 24 Nov 2026 00:00:00 +0000\r\n"
                f"Message-ID: <{token}@test.example>\r\n\r\n{line}\r\n").encode()
        with smtplib.SMTP("127.0.0.1", self.at[listener], timeout=90, local_hostname="client.example") as s:
            s.ehlo()
            assert s.mail(SENDER)[0] == 250
            assert s.rcpt("alice@example.org")[0] == 250
            code, reply = s.data(text)
        return token, code, reply

    def stored(self, token):
        return mail.imap_wait(self, self.user("alice"), token)[0]

    def nothing(self, token):
        return not mail.imap_bodies(self, self.user("alice"), token)


@pytest.fixture(scope="module")
def tier(run_dir):
    t = Scanned(os.path.join(run_dir, "scanned"), free_port_base(), BIN)
    t.use_redis = False
    t.meter_rules = ""  # some tests connect as fast as they can
    t.workers = 1
    t.spamd_port, t.clamd_port, t.rspamd_port = free_port(), free_port(), free_port()
    t.wedges = {"spamd": Wedge(t.spamd_port), "rspamd": Wedge(t.rspamd_port)}
    spamd_port = t.wedges["spamd"].port
    t.scanner("spamcheck", "spamd", spamd_port, "")
    t.scanner("spamtag", "spamd", spamd_port, "command symbols; on_hit tag;")
    t.scanner("spamwhole", "spamd", spamd_port, "command process; on_hit tag; on_failure accept;")
    t.scanner("virus", "clamd", t.clamd_port, "")
    t.scanner("virussoft", "clamd", t.clamd_port, "on_failure accept; on_hit tag;")
    t.edge_extra += (f"\tmilter rspamd {{ address 127.0.0.1:{t.wedges['rspamd'].port}; listeners rspamd; dead_time 200ms; "
                     "command_timeout 8s; content_timeout 8s; }\n")
    t.prepare()
    for name in ("sa", "rspamd"):
        os.makedirs(t.path(name), exist_ok=True)
        os.chmod(t.path(name), 0o777)
    for name, text in (("sa/local.cf", "required_score 5\n"), ("sa/init.pre", SPAMD_RULES), ("rspamd/tld", "example\norg\n"),
                       ("rspamd/conf", RSPAMD.format(base=t.path("rspamd"), port=t.rspamd_port))):
        with open(t.path(name), "w", encoding="ascii") as f:
            f.write(text)
    for k in (1, 2):
        t.start_store(k)
    t.start_daemon("mmp", "postern")
    t.start_spamd()
    t.start_rspamd()
    t.start_daemon("edge", "postern")
    t.wait_edge()
    yield t
    for wedge in t.wedges.values():
        wedge.end()
    t.end("spamd")
    t.stop_process("rspamd")
    finish(t)


@pytest.fixture()
def clamd(tier):
    with Clamd(("127.0.0.1", tier.clamd_port), ClamdSession) as server:
        server.released = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join(10)


def heals(tier, listener, code=250, line="hello"):
    wait_for(lambda: tier.send(listener, line)[1] == code, 60, f"{listener} heals")


# ---- spamd ----

def test_spamd_check(tier):
    token, code, reply = tier.send("spamcheck", "hello")
    assert code == 250, reply
    head = tier.stored(token).split(b"\r\n\r\n", 1)[0]
    assert re.findall(rb"^X-Spam-Status: (.*)\r?$", head, re.M)[0].startswith(b"No, score=")
    assert b"forged" not in re.sub(rb"X-Virus-Status.*", b"", head)
    token, code, reply = tier.send("spamcheck", GTUBE)
    assert code == 550 and b"[" in reply, reply
    assert tier.nothing(token)


def test_spamd_symbols_as_a_tag(tier):
    token, code, reply = tier.send("spamtag", GTUBE)
    assert code == 250, reply
    stored = tier.stored(token)
    assert b"\r\nX-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=" in stored
    assert re.search(rb"tests=(?:\w+,\s+)*GTUBE\b", stored)


def test_spamd_process(tier):
    token, code, reply = tier.send("spamwhole", GTUBE)
    assert code == 250, reply
    stored = tier.stored(token)
    assert b"\r\nContent-Type: multipart/mixed;" in stored
    assert b"\r\nX-Spam-Flag: YES\r\n" in stored
    assert GTUBE.encode() in stored


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_spamd_away(tier, how):
    with tier.away("spamd", how, tier.start_spamd):
        begun = time.monotonic()
        token, code, reply = tier.send("spamcheck", MARK)
        assert code == 451, reply
        assert tier.nothing(token)
        token, code, reply = tier.send("spamwhole", GTUBE)
        assert code == 250, reply
        assert b"multipart" not in tier.stored(token)
        assert time.monotonic() - begun < 60
    heals(tier, "spamcheck")


@pytest.mark.parametrize("lie", SPAMD_LIES)
def test_spamd_that_lies_in_the_middle(tier, lie):
    heals(tier, "spamcheck")
    with tier.wedges["spamd"].telling(SPAMD_LIES[lie]):
        token, code, reply = tier.send("spamcheck", MARK)
    assert code == 451, reply
    assert tier.nothing(token)
    heals(tier, "spamcheck", 550, GTUBE)


# ---- clamd ----

def test_clamd(tier, clamd):
    heals(tier, "virus")
    token, code, reply = tier.send("virus", "hello")
    assert code == 250, reply
    assert re.findall(rb"^X-Virus-Status: (.*?)\r?$", tier.stored(token), re.M) == [b"Clean"]
    token, code, reply = tier.send("virus", EICAR)
    assert code == 550, reply
    assert tier.nothing(token)
    token, code, reply = tier.send("virussoft", EICAR)
    assert code == 250, reply
    assert b"\r\nX-Virus-Status: Infected (Eicar-Test-Signature)\r\n" in tier.stored(token)


@pytest.mark.parametrize("mode", ["hangs", "dies", "lies"])
def test_clamd_fails(tier, clamd, mode):
    heals(tier, "virus")
    clamd.mode = mode
    token, code, reply = tier.send("virus", "hello")
    assert code == 451, reply
    assert tier.nothing(token)
    token, code, reply = tier.send("virussoft", EICAR)
    assert code == 250, reply
    assert b"forged" in tier.stored(token)


def test_clamd_is_not_there(tier):
    token, code, reply = tier.send("virus", "hello")
    assert code == 451, reply
    assert tier.nothing(token)


# ---- rspamd ----

def test_rspamd(tier):
    token, code, reply = tier.send("rspamd", "hello")
    assert code == 250, reply
    assert mail.original(tier.stored(token)).endswith(b"\r\n\r\nhello\r\n")
    token, code, reply = tier.send("rspamd", GTUBE)
    assert code == 554 and b"Gtube" in reply, reply
    assert tier.nothing(token)


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_rspamd_away(tier, how):
    with tier.away("rspamd", how, tier.start_rspamd):
        token, code, reply = tier.send("rspamd", MARK)
        assert code == 451, reply
        assert tier.nothing(token)
        with smtplib.SMTP("127.0.0.1", tier.at["rspamd"], timeout=60) as s:
            s.ehlo()
            assert s.mail(SENDER)[0] == 451
            assert s.noop()[0] == 250

    def again():
        with smtplib.SMTP("127.0.0.1", tier.at["rspamd"], timeout=60) as s:
            s.ehlo()
            return s.mail(SENDER)[0] == 250
    wait_for(again, 60, "rspamd heals")
    assert tier.send("rspamd", GTUBE)[1] == 554


@pytest.mark.parametrize("lie", MILTER_LIES)
def test_rspamd_that_lies_in_the_middle(tier, lie):
    def asked():
        """It is tried again when dead_time is over."""
        with smtplib.SMTP("127.0.0.1", tier.at["rspamd"], timeout=60) as s:
            s.ehlo()
            return s.mail(SENDER)[0] == 250
    wait_for(asked, 60, "rspamd is asked")
    with tier.wedges["rspamd"].telling(MILTER_LIES[lie]):
        token, code, reply = tier.send("rspamd", MARK)
    assert code == 451, reply
    assert tier.nothing(token)
    wait_for(asked, 60, "rspamd heals")
    assert tier.send("rspamd", GTUBE)[1] == 554


def test_log(tier):
    wait_for(lambda: "message.scanned" in tier.log("edge"), 10, "scans in the log")
    lines = [e for e in tier.log("edge").splitlines() if "message.scanned" in e]
    assert any("filter=spamcheck" in e and "verdict=hit" in e for e in lines)
    assert any("filter=virus" in e and "verdict=clean" in e for e in lines)
