"""What changes below live sessions in front of Dovecot: stores come, die and freeze, settings change, a worker is killed; and many at once."""
import os
import re
import resource
import selectors
import signal
import socket
import threading
import time

import pytest

import mail
import peers
from conftest import free_port, rss_kib
from mmp_clients import hang_up
from mmp_dovecot import DOVECOT, SENDER, all_log_in, metrics, put, raw_login, tier, try_login, workers_of  # noqa: F401
from tier import children_of, wait_for


# ---- the tier changes -----------------------------------------------------------------------------

def test_a_third_store_by_editing_the_directory(tier):
    before = workers_of(tier)
    s, f = raw_login(tier, tier.user("alice"))
    erin = {"name": "erin", "domain": "example.org", "store": 3, "address": "erin@example.org", "password": "erin-demo"}
    tier.users.append(erin)
    tier.store_count = 3
    peers.start_dovecot(tier, 3, DOVECOT)
    tier.write_directory()
    wait_for(lambda: all_log_in(tier, erin), 20, "erin's login")
    token = mail.new_token()
    text = mail.message(token, SENDER, [erin["address"]], 5000)
    put(tier, erin, text)
    assert [mail.original(m) for m in mail.imap_wait(tier, erin, token)] == [text]
    assert [mail.original(m) for m in mail.pop3_bodies(tier, erin, token)] == [text]
    s.sendall(b"b NOOP\r\n")
    assert f.readline().startswith(b"b OK")
    hang_up(s, f)
    assert workers_of(tier) == before


def test_a_dead_store_is_told_at_once_and_hurts_nobody(tier):
    alice, bob = tier.user("alice"), tier.user("bob")
    s, f = raw_login(tier, alice)
    tier.stop_process("dovecot2")
    try:
        for _ in range(5):
            began = time.monotonic()
            with pytest.raises(mail.imaplib.IMAP4.error, match="UNAVAILABLE"):
                mail.imap(tier, bob)
            with pytest.raises(mail.poplib.error_proto, match=r"-ERR \[SYS/TEMP\]"):
                mail.pop3(tier, bob)
            assert time.monotonic() - began < 5
            with mail.imap(tier, alice) as c:
                assert c.select("INBOX")[0] == "OK"
        with pytest.raises(mail.imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            mail.imap(tier, {"address": bob["address"], "password": "wrong"})
        s.sendall(b"b NOOP\r\n")
        assert f.readline().startswith(b"b OK")
        hang_up(s, f)
    finally:
        peers.start_dovecot(tier, 2, DOVECOT)
    wait_for(lambda: all_log_in(tier, bob), 20, "bob's login after the return of his store")
    assert "why=store_down fault=store" in tier.log("mmp")


def test_a_frozen_store_hurts_nobody(tier):
    p = tier.processes["dovecot2"]
    frozen = [p.pid] + [pid for pid, _ in children_of(p.pid)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        waiting = [socket.create_connection(("127.0.0.1", tier.port("imaps")), timeout=60) for _ in range(5)]
        for raw in waiting:
            s = tier.tls_context().wrap_socket(raw, server_hostname="localhost")
            s.sendall(b"a LOGIN bob@example.org bob-demo\r\n")
        for name in ("alice", "carol"):
            began = time.monotonic()
            with mail.imap(tier, tier.user(name)) as c:
                assert c.select("INBOX")[0] == "OK"
            assert time.monotonic() - began < 5
        for raw in waiting:
            raw.close()
    finally:
        for pid in reversed(frozen):
            os.kill(pid, signal.SIGCONT)
    wait_for(lambda: all_log_in(tier, tier.user("bob")), 40, "bob's login")


def greeting(tier):
    with socket.create_connection(("127.0.0.1", tier.port("imap")), timeout=30) as s:
        return s.makefile("rb").readline()


def test_reload_with_sessions_open(tier):
    before = workers_of(tier)
    s, f = raw_login(tier, tier.user("alice"))
    early = socket.create_connection(("127.0.0.1", tier.port("imap")), timeout=60)
    e = early.makefile("rb")
    assert b"X-FRESH" not in e.readline()
    plain = tier.mmp_extra
    tier.mmp_extra += "\timap_capability IMAP4rev1, LITERAL+, SASL-IR, ID, X-FRESH;\n"
    tier.write_configs()
    tier.processes["mmp"].send_signal(signal.SIGHUP)
    wait_for(lambda: b"X-FRESH" in greeting(tier), 20, "the new settings")
    early.sendall(b"a CAPABILITY\r\nb LOGOUT\r\n")
    assert b"X-FRESH" not in e.read()
    early.close()
    s.sendall(b"b NOOP\r\n")
    assert f.readline().startswith(b"b OK")
    tier.mmp_extra += "\tnonsense 1;\n\tidle_timeout soon;\n"
    tier.write_configs()
    tier.processes["mmp"].send_signal(signal.SIGHUP)
    wait_for(lambda: "nonsense" in tier.log("mmp") and "soon" in tier.log("mmp"), 20, "the errors in the log")
    assert b"X-FRESH" in greeting(tier)
    tier.mmp_extra = plain
    tier.write_configs()
    tier.processes["mmp"].send_signal(signal.SIGHUP)
    wait_for(lambda: b"X-FRESH" not in greeting(tier), 20, "the old settings")
    s.sendall(b"c NOOP\r\nd LOGOUT\r\n")
    assert b"c OK" in f.read()
    hang_up(s, f)
    assert workers_of(tier) == before


def test_a_store_tells_what_it_can_do_before_anybody_logs_in(tier):
    plain = tier.mmp_extra
    words = "\timap_capability IMAP4rev1, LITERAL+, IDLE, X-NONE;\n"
    tier.mmp_extra += words
    tier.stop_process("mmp")
    tier.write_configs()
    tier.start_daemon("mmp", "postern")
    try:
        wait_for(lambda: b"X-NONE" in greeting(tier), 20, "greetings")  # nobody has been anywhere
        tier.mmp_extra += "\tstore store1 { }\n\tstore store2 { }\n"
        tier.write_configs()
        tier.stop_process("mmp")
        tier.start_daemon("mmp", "postern")
        wait_for(lambda: not any(b"X-NONE" in greeting(tier) for _ in range(20)), 20, "both workers have asked")
        assert b"IDLE" in greeting(tier)
    finally:
        tier.mmp_extra = plain
        tier.write_configs()
        tier.stop_process("mmp")
        tier.start_daemon("mmp", "postern")
        wait_for(lambda: all_log_in(tier, tier.user("alice")), 20, "logins")


def test_a_killed_worker_costs_its_own_sessions_only(tier):
    before = workers_of(tier)
    assert len(before) == 2
    sessions, owner_of = [], []
    for _ in range(200):  # until each worker has some
        source = f"127.0.2.{1 + len(sessions)}"
        sessions.append(raw_login(tier, tier.user("alice"), source=source))
        owners = tier.logged("mmp", rf"mmp/worker/\d\[(\d+)\] \S+ login\.ok .*client={source}:")
        owner_of.append(int(owners[0]))
        if min(owner_of.count(pid) for pid in before) >= 2:
            break
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: len(workers_of(tier)) == 2 and before[0] not in workers_of(tier), 20, "a new worker")
    for (s, f), owner in zip(sessions, owner_of):
        if owner == before[1]:
            s.sendall(b"b NOOP\r\n")
            assert f.readline().startswith(b"b OK")
        else:
            with pytest.raises((OSError, AssertionError)):
                s.sendall(b"b NOOP\r\n")
                assert f.readline() != b""
        hang_up(s, f)
    for _ in range(10):
        assert try_login(tier, tier.user("alice")) and try_login(tier, tier.user("bob"))


# ---- many -----------------------------------------------------------------------------------------

class FakeStore(threading.Thread):
    """Takes every IMAP login and is silent from then on: a Dovecot of 2,000 processes is not needed here."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", port), backlog=1000)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.wake, self.woken = socket.socketpair()
        self.selector.register(self.woken, selectors.EVENT_READ)
        self.open = set()

    def run(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.woken:
                    return
                if key.fileobj is self.listener:
                    self.greet(self.listener.accept()[0])
                else:
                    self.answer(key.fileobj)

    def greet(self, s):
        self.selector.register(s, selectors.EVENT_READ)
        self.open.add(s)
        s.sendall(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] fake\r\n")

    def answer(self, s):
        try:
            data = s.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(s)
            self.open.discard(s)
            s.close()
        elif b"AUTHENTICATE" in data:
            s.sendall(data.split()[0] + b" OK [CAPABILITY IMAP4rev1] in\r\n")
        else:
            s.sendall(data)

    def stop(self):
        self.wake.send(b"x")
        self.join(20)
        for s in [self.listener, self.wake, self.woken, *self.open]:
            s.close()


def echoes(tier, user):
    try:
        for _ in range(12):
            hang_up(*raw_login(tier, user))
        return True
    except AssertionError:
        return False


@pytest.fixture
def crowd(tier):
    """A user on a fake store."""
    port = free_port()
    fake = FakeStore(port)
    fake.start()
    user = {"name": "frank", "domain": "example.org", "store": 9, "address": "frank@example.org", "password": "frank-demo"}
    plain = tier.directory_text()
    entry = (f"\ndn: cn=store9,ou=stores,dc=postern\nobjectClass: posternStore\ncn: store9\n"
             f"posternStoreHost: 127.0.0.1\nposternStoreImapPort: {port}\n\n")
    with open(tier.path("directory.ldif.new"), "w", encoding="utf-8") as f:
        f.write(plain + entry + tier.user_entry(user))
    os.rename(tier.path("directory.ldif.new"), tier.path("directory.ldif"))
    wait_for(lambda: echoes(tier, user), 20, "frank's login")
    yield user, fake
    fake.stop()
    tier.write_directory()


@pytest.mark.parametrize("service", ["imaps"])
def test_two_thousand_idle_sessions(tier, crowd, service):
    user, fake = crowd
    count = 2000
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert limit > 3 * count, "too few descriptors for this test"
    before = rss_kib(workers_of(tier))
    held = [raw_login(tier, user, service) for _ in range(count)]
    each = (rss_kib(workers_of(tier)) - before) / count
    print(f"{each:.1f} KiB for each idle TLS session")
    assert each < (400 if os.environ.get("POSTERN_SAN") else 60), f"{each} KiB for each session"
    for name in ("alice", "bob"):
        began = time.monotonic()
        with mail.imap(tier, tier.user(name)) as c:
            assert c.select("INBOX")[0] == "OK"
        assert time.monotonic() - began < 5
    for s, f in held[::100]:
        s.sendall(b"still here\r\n")
        assert f.readline() == b"still here\r\n"
    for s, f in held:
        hang_up(s, f)
    wait_for(lambda: re.search(r"postern_mmp_piped_sessions 0\n", metrics(tier)), 60, "the end of all sessions")
    wait_for(lambda: not fake.open, 20, "the end of the stores' sides")
