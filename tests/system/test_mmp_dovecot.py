"""The multiplexor with the file directory in front of private Dovecots: real clients, real stores."""
import os
import re
import resource
import selectors
import signal
import smtplib
import socket
import subprocess
import threading
import time
import urllib.request

import pytest

import mail
import peers
from conftest import free_port
from mmp_clients import SERVICES, connect, hang_up, start_mmp
# The reading programs are the same whatever is behind: these run here with the fixtures below.
from test_first_light import test_curl_reads, test_fetchmail_reads, test_imapflow_reads, test_mbsync_reads, test_mutt_reads  # noqa: F401
from tier import children_of, wait_for

SENDER = "visitor@elsewhere.example"
DOVECOT = "mail_max_userip_connections = 0\n"  # every session comes from the multiplexor's address
SIZES = (200, 5000, 300000, 3000000)


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


@pytest.fixture(scope="module")
def sent(tier):
    """One message for dave, for the reading programs."""
    token = mail.new_token()
    user = tier.user("dave")
    text = mail.message(token, SENDER, [user["address"]], 3000)
    put(tier, user, text)
    mail.imap_wait(tier, user, token)
    return user, token, text


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


def rss_kib(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
            total += int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
    return total


# ---- byte for byte --------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["alice", "bob"])
def test_imap_and_pop3_read_what_was_put_in(tier, name):
    user = tier.user(name)
    for size in SIZES:
        token = mail.new_token()
        text = mail.message(token, SENDER, [user["address"]], size)
        put(tier, user, text)
        assert [mail.original(m) for m in mail.imap_wait(tier, user, token)] == [text]
        assert [mail.original(m) for m in mail.pop3_bodies(tier, user, token)] == [text]


def test_the_same_through_starttls(tier):
    user = tier.user("carol")
    token = mail.new_token()
    text = mail.message(token, SENDER, [user["address"]], 20000)
    put(tier, user, text)
    with mail.imap(tier, user, tls=False) as c:
        c.select("INBOX")
        number = c.search(None, "SUBJECT", token)[1][0].split()[0]
        assert mail.original(c.fetch(number, "(BODY.PEEK[])")[1][0][1]) == text
    p = mail.poplib.POP3("localhost", tier.port("pop3"), timeout=60)
    assert "STLS" in p.capa() and "USER" not in p.capa()
    p.stls(tier.tls_context())
    p.user(user["address"])
    p.pass_(user["password"])
    got = [b"\r\n".join(p.retr(n)[1]) + b"\r\n" for n in range(1, p.stat()[0] + 1)]
    p.quit()
    assert text in [mail.original(m) for m in got]


@pytest.mark.parametrize("literal", [b"{%d}", b"{%d+}"], ids=["synchronising", "non-synchronising"])
def test_a_large_upload(tier, literal):
    user = tier.user("alice")
    token = mail.new_token()
    text = mail.message(token, SENDER, [user["address"]], 8000000)
    s, f = raw_login(tier, user, more=b"b APPEND INBOX " + literal % len(text) + b"\r\n")
    if b"+" not in literal:
        assert f.readline().startswith(b"+ ")
    s.sendall(text + b"\r\nc LOGOUT\r\n")
    answers = f.read()
    assert b"b OK" in answers and b"c OK" in answers
    hang_up(s, f)
    assert mail.imap_bodies(tier, user, token) == [text]


def test_everything_pipelined_with_the_login(tier):
    """One write, in every protocol; the store's answers come once and in order."""
    user = tier.user("alice")
    commands = b"b NOOP\r\nc SELECT INBOX\r\nd FETCH 1 FLAGS\r\ne LOGOUT\r\n"
    s, f = raw_login(tier, user, more=commands)
    got = f.read()
    hang_up(s, f)
    assert re.findall(rb"^(\w) OK", got, re.M) == [b"b", b"c", b"d", b"e"]
    raw = socket.create_connection(("127.0.0.1", tier.port("pop3s")), timeout=60)
    with tier.tls_context().wrap_socket(raw, server_hostname="localhost") as p:
        p.sendall(f"USER {user['address']}\r\nPASS {user['password']}\r\nSTAT\r\nNOOP\r\nQUIT\r\n".encode())
        got = p.makefile("rb").read()
    assert re.fullmatch(rb"\+OK [^\r]*ready\r\n\+OK [^\r]*\r\n\+OK Logged in\r\n\+OK \d+ \d+\r\n\+OK[^\r]*\r\n\+OK[^\r]*\r\n", got), got


def test_capabilities_are_honest(tier):
    """Before the login what the edge does; after it the store's own words, byte for byte."""
    user = tier.user("alice")
    with socket.create_connection(("127.0.0.1", tier.store_port(1, "imap")), timeout=60) as s:
        f = s.makefile("rb")
        before = f.readline()
        s.sendall(f"a LOGIN {user['address']} {user['password']}\r\n".encode())
        own = re.search(rb"\[CAPABILITY ([^\]]*)\]", f.readline()).group(1)
    c = mail.imaplib.IMAP4("localhost", tier.port("imap"), timeout=60)
    assert "LOGINDISABLED" in c.capabilities and "STARTTLS" in c.capabilities and "IDLE" not in c.capabilities
    with pytest.raises(mail.imaplib.IMAP4.error, match="PRIVACYREQUIRED"):
        c.login(user["address"], user["password"])
    c.logout()
    raw = socket.create_connection(("127.0.0.1", tier.port("imaps")), timeout=60)
    with tier.tls_context().wrap_socket(raw, server_hostname="localhost") as s:
        f = s.makefile("rb")
        words = re.search(rb"\[CAPABILITY ([^\]]*)\]", f.readline()).group(1).split()
        assert all(w in before.split(b"]")[0].split() + [b"AUTH=PLAIN", b"AUTH=LOGIN"] for w in words), (words, before)
        s.sendall(f"a LOGIN {user['address']} {user['password']}\r\nb CAPABILITY\r\n".encode())
        assert re.search(rb"\[CAPABILITY ([^\]]*)\]", f.readline()).group(1) == own
        assert f.readline().split() == [b"*", b"CAPABILITY"] + own.split()


def test_idle_is_told_of_new_mail(tier):
    user = tier.user("bob")
    s, f = raw_login(tier, user, more=b"b SELECT INBOX\r\nc IDLE\r\n")
    while not f.readline().startswith(b"+"):
        pass
    put(tier, user, mail.message(mail.new_token(), SENDER, [user["address"]]))
    assert re.match(rb"\* \d+ EXISTS", f.readline())
    s.sendall(b"DONE\r\nd LOGOUT\r\n")
    assert b"c OK" in f.read()
    hang_up(s, f)


@pytest.mark.parametrize("how", ["imaps", "imap", "pop3s", "pop3"])
def test_openssl_s_client(tier, how):
    user = tier.user("alice")
    argv = ["openssl", "s_client", "-connect", f"localhost:{tier.port(how)}", "-CAfile", tier.ca_file,
            "-verify_return_error", "-verify_hostname", "localhost", "-quiet", "-crlf"]
    if not how.endswith("s"):
        argv += ["-starttls", how]
    if how.startswith("imap"):
        lines = f"a LOGIN {user['address']} {user['password']}\nb SELECT INBOX\nc LOGOUT\n"
        want = ["a OK", "b OK", "c OK"]
    else:
        lines = f"USER {user['address']}\nPASS {user['password']}\nSTAT\nQUIT\n"
        want = ["+OK Now the password", "+OK Logged in", "+OK Logging out"]
    got = subprocess.run(argv, input=lines.encode(), capture_output=True, timeout=60, check=False).stdout.decode()
    places = [got.find(w) for w in want]
    assert -1 not in places and places == sorted(places), got


def test_the_log_and_the_metrics_tell(tier):
    user = tier.user("alice")
    s, f = raw_login(tier, user, source="127.0.0.9", more=b"b LOGOUT\r\n")
    f.read()
    hang_up(s, f)
    line = wait_for(lambda: re.search(r"session\.end .*client=127\.0\.0\.9:.*", tier.log("mmp")), 10, "session.end").group(0)
    for words in ("protocol=imap", "listener=imaps", "tls=yes", "why=store_closed", "user=alice@example.org", "store=store1"):
        assert words in line, line
    assert re.search(r"postern_mmp_logins_total \d\d", metrics(tier))
    assert "postern_directory" in metrics(tier) and "postern_net" in metrics(tier)


# ---- refusals -------------------------------------------------------------------------------------

def test_wrong_password_and_unknown_user_look_the_same(tier):
    answers, times = [], []
    for address in ("alice@example.org", "nobody@example.org"):
        began = time.monotonic()
        with pytest.raises(mail.imaplib.IMAP4.error) as error:
            mail.imap(tier, {"address": address, "password": "wrong"})
        times.append(time.monotonic() - began)
        answers.append(re.sub(r"\(id \w+\)", "", str(error.value)))
        with pytest.raises(mail.poplib.error_proto, match=r"-ERR \[AUTH\]"):
            mail.pop3(tier, {"address": address, "password": "wrong"})
    assert answers[0] == answers[1] and "AUTHENTICATIONFAILED" in answers[0]
    assert min(times) >= 0.2
    log = tier.log("mmp")
    assert "why=wrong_secret" in log and "why=unknown_user" in log


def test_a_store_that_disagrees_is_no_wrong_password(tier):
    """The directory has accepted the password: the client must not ask for another one."""
    users = tier.path("dovecot1", "users")
    with open(users, encoding="ascii") as f:
        before = f.read()
    with open(users, "w", encoding="ascii") as f:
        f.write(before.replace("carol-demo", "other"))
    try:  # Dovecot looks at the file once a second
        wait_for(lambda: not try_login(tier, tier.user("carol")), 20, "Dovecot's refusal")
        with pytest.raises(mail.imaplib.IMAP4.error, match="UNAVAILABLE"):
            mail.imap(tier, tier.user("carol"))
        assert "store.disagrees" in tier.log("mmp")
    finally:
        with open(users, "w", encoding="ascii") as f:
            f.write(before)
    wait_for(lambda: all_log_in(tier, tier.user("carol")), 20, "carol's login")


def try_login(tier, user):
    try:
        mail.imap(tier, user).logout()
        return True
    except mail.imaplib.IMAP4.error:
        return False


def all_log_in(tier, user):
    """Often enough to meet every worker: each learns by itself."""
    return all(try_login(tier, user) for _ in range(12))


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


def test_a_killed_worker_costs_its_own_sessions_only(tier):
    before = workers_of(tier)
    assert len(before) == 2
    sessions, owner_of = [], []
    for _ in range(200):  # until each worker has some
        source = f"127.0.2.{1 + len(sessions)}"
        sessions.append(raw_login(tier, tier.user("alice"), source=source))
        owners = re.findall(rf"mmp/worker/\d\[(\d+)\] \S+ login\.ok .*client={source}:", tier.log("mmp"))
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


# ---- HAProxy --------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def balanced(new_tier, tier):
    """A second multiplexor behind HAProxy, with the first one's stores."""
    t = new_tier("balanced", needs=("mmp",))
    t.store_is_postern = False
    t.use_redis = False
    t.store_port = tier.store_port
    t.mmp_listener_extra = "proxy_from 127.0.0.1/32; proxy_timeout 2s;"
    t.meter_rules = "\trule guesses { on auth; key client/32,64; rate 2/1h; burst 2; }\n"
    t.front = {s: free_port() for s in SERVICES}
    t.write_all()
    t.start_daemon("mmp", "postern")
    peers.start_haproxy(t, {t.front[s]: t.port(s) for s in SERVICES})
    return t


def balanced_imap(t, user, source):
    """The answer to a login."""
    s, f = connect(t, t.front["imaps"], source)
    s.sendall(f"a LOGIN {user['address']} {user['password']}\r\nb LOGOUT\r\n".encode())
    answer = f.readline()
    hang_up(s, f)
    return answer


def test_haproxy_and_the_clients_address(balanced):
    user = balanced.user("alice")
    with mail.imaplib.IMAP4_SSL("localhost", balanced.front["imaps"], ssl_context=balanced.tls_context(), timeout=60) as c:
        c.login(user["address"], user["password"])
        assert c.select("INBOX")[0] == "OK"
    p = mail.poplib.POP3_SSL("localhost", balanced.front["pop3s"], context=balanced.tls_context(), timeout=60)
    p.user(user["address"])
    p.pass_(user["password"])
    p.quit()
    assert balanced_imap(balanced, user, "127.0.0.5").startswith(b"a OK")
    assert re.search(r"login\.ok .*client=127\.0\.0\.5:", balanced.log("mmp"))


def test_the_limit_is_the_clients_not_the_balancers(balanced):
    user = balanced.user("alice")
    answers = [balanced_imap(balanced, {**user, "password": f"wrong{n}"}, "127.0.0.6") for n in range(3)]
    assert [b"AUTHENTICATIONFAILED" in a for a in answers] == [True, True, False] and b"LIMIT" in answers[2]
    assert b"LIMIT" in balanced_imap(balanced, user, "127.0.0.6")
    assert balanced_imap(balanced, user, "127.0.0.7").startswith(b"a OK")


def test_health_checks_leave_no_trace(balanced):
    """HAProxy asks twice a second by PROXY LOCAL."""
    def checks():
        return int(re.search(r"postern_net_proxy_probes_total (\d+)", metrics(balanced)).group(1))
    had, log = checks(), balanced.log("mmp")
    wait_for(lambda: checks() >= had + 8, 20, "health checks")
    # A session of another test may end just now; a check leaves no line at all.
    fresh = balanced.log("mmp")[len(log):].splitlines()
    assert [line for line in fresh if "user=alice" not in line] == []
    assert not re.search(r" (warn|error) ", log), log


def test_a_listed_peer_must_send_a_header(balanced):
    with socket.create_connection(("127.0.0.1", balanced.port("imap")), timeout=30) as s:
        s.sendall(b"a NOOP\r\n")
        try:
            assert s.makefile("rb").read() == b""
        except ConnectionResetError:
            pass


def test_an_unlisted_peer_must_not(tier):
    with socket.create_connection(("127.0.0.1", tier.port("imap")), timeout=30) as s:
        s.sendall(b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 143\r\na LOGIN alice@example.org alice-demo\r\n")
        got = s.makefile("rb").read()
    assert b"BYE" in got and b"a OK" not in got
    assert "why=proxy_unlisted" in tier.log("mmp") and "192.0.2.1" not in tier.log("mmp")


# ---- TLS to the stores ----------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["starttls", "implicit"])
def test_tls_to_dovecot(new_tier, how):
    t = new_tier(f"secure-{how}", stores=1, needs=("mmp",))
    t.store_is_postern = False
    t.use_redis = False
    t.users = [u for u in t.users if u["store"] == 1]
    t.meter_rules = ""
    t.mmp_extra += f"\tstore_tls {how};\n"
    t.write_all()
    extra = (f"ssl = required\ndisable_plaintext_auth = yes\nssl_cert = <{t.path('tls/chain.pem')}\n"
             f"ssl_key = <{t.path('tls/key.pem')}\n")
    if how == "implicit":
        for name in ("imap", "pop3"):
            extra += f"service {name}-login {{\n  inet_listener {name} {{\n    ssl = yes\n  }}\n}}\n"
            entry = f"posternStore{name.title()}Port: "
            t.store_entry = (lambda k, old=t.store_entry, e=entry: old(k).replace(e, e.replace("Port", "sPort")))
        t.write_directory()
    peers.start_dovecot(t, 1, extra)
    start_mmp(t)
    user = t.user("alice")
    token = mail.new_token()
    text = mail.message(token, SENDER, [user["address"]], 200000)
    put(t, user, text)
    assert [mail.original(m) for m in mail.imap_wait(t, user, token)] == [text]
    assert [mail.original(m) for m in mail.pop3_bodies(t, user, token)] == [text]


def test_a_store_with_the_wrong_certificate_gets_no_password(new_tier):
    t = new_tier("stranger", stores=1, needs=("mmp",))
    t.store_is_postern = False
    t.use_redis = False
    t.meter_rules = ""
    t.mmp_extra += "\tstore_tls starttls;\n"
    t.write_all()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=stranger", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", t.path("tls", "s.key"),
                    "-out", t.path("tls", "s.pem")], check=True, capture_output=True)
    peers.start_dovecot(t, 1, f"ssl = required\nauth_verbose = yes\nssl_cert = <{t.path('tls/s.pem')}\n"
                              f"ssl_key = <{t.path('tls/s.key')}\n")
    start_mmp(t)
    with pytest.raises(mail.imaplib.IMAP4.error, match="UNAVAILABLE"):
        mail.imap(t, t.user("alice"))
    assert "certificate" in t.log("mmp")
    with open(t.path("dovecot1", "dovecot.log"), encoding="utf-8", errors="replace") as f:
        assert "user=<alice" not in f.read()


def test_no_password_in_any_log(tier, balanced):
    for t in (tier, balanced):
        assert "-demo" not in t.log("mmp")
