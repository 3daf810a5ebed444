"""The multiplexor in front of Cyrus: the reading programs, ManageSieve, and logins for the user by proxy authorization."""
import imaplib
import smtplib
import subprocess

import pytest

import mail
from conftest import free_port
from cyrus import start_cyrus
# The reading programs are the same whatever is behind: these run here with the fixtures below.
from test_first_light import test_curl_reads, test_fetchmail_reads, test_imapflow_reads, test_mbsync_reads, test_mutt_reads  # noqa: F401
from test_mmp_sieve import sieve_connect
from tier import port_answers, wait_for

SENDER = "visitor@elsewhere.example"


def cyrus_tier(new_tier, name, mmp, users, extra=""):
    t = new_tier(name, stores=1, needs=("mmp",))
    t.store_is_postern, t.use_redis, t.meter_rules = False, False, ""
    t.users = [u for u in t.users if u["store"] == 1]
    t.sieve, behind = free_port(), free_port()
    t.mmp_extra += f"\t{mmp}\n\tlistener sieve {{ address 127.0.0.1:{t.sieve}; protocol managesieve; }}\n"
    plain = t.store_entry
    t.store_entry = lambda k: plain(k) + f"posternStoreSievePort: {behind}\n"
    t.write_all()
    start_cyrus(t, 1, behind, users, extra)
    t.start_daemon("mmp", "postern")
    for port in (t.port("imaps"), t.port("pop3s"), t.sieve):
        wait_for(lambda port=port: port_answers(port), 30, "mmp")
    return t


@pytest.fixture(scope="module")
def tier(new_tier):
    return cyrus_tier(new_tier, "cyrus", "preauth yes;",
                      [("alice", "example.org", "alice-demo"), ("carol", "example.net", "carol-demo")])


def put(tier, user, text):
    """A login makes the mailbox; then by LMTP, past the multiplexor."""
    mail.imap(tier, user).logout()
    with smtplib.LMTP("127.0.0.1", tier.store_port(1, "lmtp"), local_hostname="client.example") as s:
        s.mail(SENDER)
        assert s.rcpt(user["address"])[0] == 250
        assert s.data(text)[0] == 250


@pytest.fixture(scope="module")
def sent(tier):
    """One message, for the reading programs."""
    token, user = mail.new_token(), tier.user("carol")
    text = mail.message(token, SENDER, [user["address"]], 3000)
    put(tier, user, text)
    mail.imap_wait(tier, user, token)
    return user, token, text


def test_imap_and_pop3_read_what_was_put_in(tier):
    user = tier.user("alice")
    for size in (200, 300000):
        token = mail.new_token()
        text = mail.message(token, SENDER, [user["address"]], size)
        put(tier, user, text)
        assert [mail.original(m) for m in mail.imap_wait(tier, user, token)] == [text]
        assert [mail.original(m) for m in mail.pop3_bodies(tier, user, token)] == [text]


def test_capabilities_after_login_are_the_stores(tier):
    with mail.imap(tier, tier.user("alice")) as c:
        words = c.capability()[1][0].split()
        assert b"XLIST" in words or b"MAILBOX-REFERRALS" in words or b"XMOVE" in words or b"OBJECTID" in words, words
        assert not [w for w in words if w.startswith(b"AUTH=")]


def test_a_wrong_password_is_refused(tier):
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        mail.imap(tier, {**tier.user("alice"), "password": "wrong"})


def test_sieve_connect_manages_scripts(tier, tmp_path):
    user, script = tier.user("alice"), tmp_path / "rules.sieve"
    script.write_text('require "fileinto";\nfileinto "Hot";\n', encoding="ascii")
    up = sieve_connect(tier, user, "--upload", "--localsieve", str(script), "--remotesieve", "rules")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "rules" in sieve_connect(tier, user, "--list").stdout


def test_login_for_the_user(new_tier):
    """Cyrus knows no password of alice's: the multiplexor says PLAIN on her behalf, after SCRAM with the client."""
    t = cyrus_tier(new_tier, "proxy", "auth_mechanisms SCRAM-SHA-256, PLAIN; store_login proxy; store_user \"edge@cyrus.example.org\";"
                   " store_secret edge-demo;", [("edge", "cyrus.example.org", "edge-demo")], "proxyservers: edge")
    user, token = t.user("alice"), mail.new_token()
    text = mail.message(token, SENDER, [user["address"]], 300)
    put(t, user, text)
    assert [mail.original(m) for m in mail.imap_wait(t, user, token)] == [text]
    assert [mail.original(m) for m in mail.pop3_bodies(t, user, token)] == [text]
    assert sieve_connect(t, user, "--list").returncode == 0
    done = subprocess.run(["gsasl", "--client", "--imap", "--mechanism=SCRAM-SHA-256", f"--authentication-id={user['address']}",
                           f"--authorization-id={user['address']}", f"--password={user['password']}",
                           f"--x509-ca-file={t.ca_file}", "--starttls", "--no-cb", "localhost", str(t.port("imap"))],
                          input=b"\n", capture_output=True, timeout=60)
    assert b"Logged in" in done.stdout, done.stdout + done.stderr
