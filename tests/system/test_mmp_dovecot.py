"""The multiplexor with the file directory in front of private Dovecots: real clients, real stores."""
import re
import socket
import subprocess
import time

import pytest

import mail
from mmp_clients import connect, hang_up
from mmp_dovecot import SENDER, all_log_in, metrics, put, raw_login, tier, try_login  # noqa: F401
# The reading programs are the same whatever is behind: these run here with the fixtures below.
from test_first_light import test_curl_reads, test_fetchmail_reads, test_imapflow_reads, test_mbsync_reads, test_mutt_reads  # noqa: F401
from tier import wait_for


SIZES = (200, 5000, 300000, 3000000)


@pytest.fixture(scope="module")
def sent(tier):
    """One message for dave, for the reading programs."""
    token = mail.new_token()
    user = tier.user("dave")
    text = mail.message(token, SENDER, [user["address"]], 3000)
    put(tier, user, text)
    mail.imap_wait(tier, user, token)
    return user, token, text


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


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_who_has_left_is_not_waited_for(tier, protocol):
    """It has its answer and the end, and keeps its side open: nothing of it is left here."""
    user = tier.user("alice")
    source = {"imap": "127.0.0.11", "pop3": "127.0.0.12"}[protocol]
    if protocol == "imap":
        s, f = raw_login(tier, user, source=source)
        s.sendall(b"b LOGOUT\r\n")
    else:
        s, f = connect(tier, tier.port("pop3s"), source)
        for line in (f"USER {user['address']}", f"PASS {user['password']}", "QUIT"):
            s.sendall(line.encode() + b"\r\n")
            if line != "QUIT":
                assert f.readline().startswith(b"+OK")
    assert (b"b OK" if protocol == "imap" else b"+OK") in f.read()
    tier.logged("mmp", rf"session\.end .*client={re.escape(source)}:.* why=store_closed")
    hang_up(s, f)


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


def test_no_password_in_any_log(tier):
    assert "-demo" not in tier.log("mmp")
