"""Mail through spamd, rspamd, c-icap, and stand-ins for clamd and an ICAP server; each killed, frozen and lying too."""
import contextlib
import os
import platform
import re
import signal
import smtplib
import socketserver
import threading
import time

import pytest

import mail
from conftest import BIN, finish, free_port, free_port_base
from mtas import UNPACKED
from tier import Tier, port_answers, wait_for
from wedge import MARK, MILTER_LIES, SPAMD_LIES, Wedge

SENDER = "visitor@elsewhere.example"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
EICAR = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
LISTENERS = ("spamcheck", "spamtag", "spamwhole", "virus", "virussoft", "rspamd", "icap", "icapecho", "icapsoft", "icapnext")
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
C_ICAP = """
PidFile {base}/pid
CommandsSocket {base}/ctl
Port 127.0.0.1:{port}
StartServers 1
MaxServers 1
ThreadsPerChild 10
ServerName test
TmpDir {base}
ModulesDir {libs}/c_icap
ServicesDir {libs}/c_icap
TemplateDir {root}/usr/share/c_icap/templates/
TemplateDefaultLanguage en
LoadMagicFile {root}/etc/c-icap/c-icap.magic
ServerLog {base}/server.log
AccessLog {base}/access.log
Service echo srv_echo.so
Module common clamd_mod.so
clamd_mod.ClamdHost 127.0.0.1
clamd_mod.ClamdPort {clamd}
Service antivirus_module virus_scan.so
virus_scan.ScanFileTypes TEXT DATA EXECUTABLE ARCHIVE
virus_scan.MaxObjectSize 5M
virus_scan.DefaultEngine clamd
ServiceAlias avscan virus_scan?allow204=on&sizelimit=off&mode=simple
"""


class ScanSession(socketserver.StreamRequestHandler):
    """What c-icap asks of clamd: files by their names."""
    timeout = 30

    def handle(self):
        word = b"".join(iter(lambda: self.rfile.read(1), b"\0"))
        if word.startswith(b"zSCAN "):
            with open(word[6:], "rb") as f:
                found = b"Eicar-Test-Signature FOUND" if EICAR.encode() in f.read() else b"OK"
            self.wfile.write(word[6:] + b": " + found + b"\0")
        else:
            self.wfile.write({b"zPING": b"PONG", b"zVERSION": b"ClamAV 1.0.0/26000/Thu Jan  1 00:00:00 2026"}[word] + b"\0")


class IcapSession(socketserver.StreamRequestHandler):
    """An ICAP server that wants a preview and then the rest; `mode` says what it does in the middle."""
    timeout = 30

    def head(self):
        return b"".join(iter(self.rfile.readline, b"\r\n"))

    def body(self):
        while n := int(self.rfile.readline().split(b";")[0], 16):
            self.rfile.read(n + 2)
        self.rfile.readline()

    def handle(self):
        assert self.head().startswith(b"OPTIONS ")
        self.wfile.write(b"ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\nPreview: 100\r\nOptions-TTL: 0\r\n\r\n")
        asked = self.head()
        assert asked.startswith(b"RESPMOD ") and b"\r\nPreview: 100\r\n" in asked, asked
        self.head()
        self.head()
        self.body()
        self.wfile.write(b"ICAP/1.0 100 Continue\r\n\r\n")
        self.rfile.read(10)
        if self.server.mode == "hangs":
            self.server.released.wait(30)
        elif self.server.mode == "lies":
            self.wfile.write(b"ICAP/1.0 200 OK\r\nEncapsulated: res-body=5, res-hdr=0\r\n\r\n")
        elif self.server.mode == "floods":
            with contextlib.suppress(OSError):
                self.wfile.write(b"ICAP/1.0 204 OK\r\nX: " + 1024 * 1024 * b"x")


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

    def scanner(self, name, kind, port, more, timeout=None):
        self.edge_extra += (f"\tscanner {name} {{ type {kind}; address 127.0.0.1:{port}; listeners {name}; "
                            f"dead_time 200ms; timeout {timeout or ('3s' if kind == 'clamd' else '8s')}; {more} }}\n")

    def start_spamd(self):
        self.spawn("spamd", ["spamd", "-L", "-x", "-m", "2", "-i", "127.0.0.1", "-p", str(self.spamd_port), "-u", "nobody",
                             "--siteconfigpath", self.path("sa")])
        wait_for(lambda: port_answers(self.spamd_port), 120, "spamd")

    def start_rspamd(self):
        self.spawn("rspamd", ["rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", self.path("rspamd", "conf")])
        wait_for(lambda: port_answers(self.rspamd_port), 180, "rspamd")

    def start_c_icap(self):
        libs = os.path.join(UNPACKED, f"usr/lib/{platform.machine()}-linux-gnu")
        self.spawn("c-icap", ["env", f"LD_LIBRARY_PATH={libs}", os.path.join(UNPACKED, "usr/bin/c-icap"), "-N", "-D", "-f",
                              self.path("c-icap", "conf")])
        wait_for(lambda: port_answers(self.icap_port), 60, "c-icap")

    def end(self, name):
        """With all its children: they are of a process group of their own."""
        p = self.processes[name]
        os.killpg(p.pid, signal.SIGKILL)
        self.stop_process(name)

    @contextlib.contextmanager
    def away(self, name, how, start):
        """Frozen or killed with all its children, and back in the end: with a wedge in the middle of the next message that has
        MARK in it, else now."""
        group = self.processes[name].pid
        sign = {"frozen": signal.SIGSTOP, "killed": signal.SIGKILL}[how]
        try:
            if name in self.wedges:
                with self.wedges[name].harming(lambda: os.killpg(group, sign)):
                    yield
            else:
                os.killpg(group, sign)
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
    t.icap_port, t.fake_icap_port = free_port(), free_port()
    t.wedges = {"spamd": Wedge(t.spamd_port), "rspamd": Wedge(t.rspamd_port)}
    spamd_port = t.wedges["spamd"].port
    t.scanner("spamcheck", "spamd", spamd_port, "")
    t.scanner("spamtag", "spamd", spamd_port, "command symbols; on_hit tag;")
    t.scanner("spamwhole", "spamd", spamd_port, "command process; on_hit tag; on_failure accept;")
    t.scanner("virus", "clamd", t.clamd_port, "")
    t.scanner("virussoft", "clamd", t.clamd_port, "on_failure accept; on_hit tag;")
    t.scanner("icap", "icap", t.icap_port, "", "3s")
    t.scanner("icapecho", "icap", t.icap_port, "service echo; method reqmod; preview no;")
    t.scanner("icapsoft", "icap", t.fake_icap_port, "on_failure accept; on_hit tag;", "1s")
    t.scanner("icapnext", "icap", f"{t.fake_icap_port}, 127.0.0.1:{t.icap_port}", "", "1s")
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


@contextlib.contextmanager
def serving(port, session):
    with Clamd(("127.0.0.1", port), session) as server:
        server.released = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join(10)


@pytest.fixture()
def clamd(tier):
    with serving(tier.clamd_port, ClamdSession) as server:
        yield server


@pytest.fixture()
def fake_icap(tier):
    with serving(tier.fake_icap_port, IcapSession) as server:
        yield server


@pytest.fixture(scope="module")
def c_icap(tier):
    if not os.path.isfile(os.path.join(UNPACKED, "usr/bin/c-icap")):
        pytest.skip("needs make deps-unpacked")
    port, base = free_port(), tier.path("c-icap")
    os.makedirs(base, exist_ok=True)
    with open(os.path.join(base, "conf"), "w", encoding="ascii") as f:
        f.write(C_ICAP.format(base=base, port=tier.icap_port, clamd=port, root=UNPACKED,
                              libs=os.path.join(UNPACKED, f"usr/lib/{platform.machine()}-linux-gnu")))
    with serving(port, ScanSession):
        tier.start_c_icap()
        yield
        tier.end("c-icap")


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


# ---- ICAP ----

def test_c_icap(tier, c_icap):
    token, code, reply = tier.send("icap", "hello")
    assert code == 250, reply
    assert re.findall(rb"^X-Virus-Status: (.*?)\r?$", tier.stored(token), re.M) == [b"Clean"]
    for line in (EICAR, EICAR + 3000 * ("\r\n" + 70 * "x")):  # within the preview, and beyond it
        token, code, reply = tier.send("icap", line)
        assert code == 550, reply
        assert tier.nothing(token)


def test_c_icap_sends_it_back(tier, c_icap):
    """A message that is larger than all buffers together comes back while it is still being sent."""
    token, code, reply = tier.send("icapecho", "\r\n".join(70 * chr(97 + i % 26) for i in range(40000)))
    assert code == 250, reply
    assert b"\r\nX-Virus-Status: Clean\r\n" in tier.stored(token)


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_c_icap_away(tier, c_icap, how):
    with tier.away("c-icap", how, tier.start_c_icap):
        token, code, reply = tier.send("icap", "hello")
        assert code == 451, reply
        assert tier.nothing(token)
    heals(tier, "icap", 550, EICAR)


@pytest.mark.parametrize("mode", ["hangs", "dies", "lies", "floods"])
def test_icap_fails_in_the_middle(tier, c_icap, fake_icap, mode):
    """The next address decides; without one, nothing has changed."""
    fake_icap.mode = mode
    token, code, reply = tier.send("icapsoft", 3000 * (70 * "x" + "\r\n") + EICAR)
    assert code == 250, reply
    assert b"\r\nX-Virus-Status: Clean, forged\r\n" in tier.stored(token)
    token, code, reply = tier.send("icapnext", EICAR)
    assert code == 550, reply
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
