"""What stores learn of the clients behind the multiplexor, by command and by header; logins for the user by the
multiplexor's own secret; stores under TLS with a pinned key."""
import base64
import hashlib
import os
import poplib
import re
import subprocess

import pytest

import peers
from mmp_clients import connect, hang_up, start_mmp
from tier import port_answers, wait_for

SOURCE = "127.0.0.5"


def imap_login(tier, user, source=SOURCE):
    """The answer's line and the open session."""
    s, f = connect(tier, tier.port("imaps"), source)
    s.sendall(f"a LOGIN {user['address']} {user['password']}\r\n".encode())
    return f.readline(), s, f


def pop3_login(tier, user, source=SOURCE):
    s, f = connect(tier, tier.port("pop3s"), source)
    s.sendall(f"USER {user['address']}\r\nPASS {user['password']}\r\n".encode())
    assert f.readline().startswith(b"+OK")
    return f.readline(), s, f


def session_id(tier, user, source=SOURCE):
    """Of the newest login in the multiplexor's log."""
    return re.findall(rf"login\.ok id=(\w+) client={re.escape(source)}:\d+ user={user['address']}", tier.log("mmp"))[-1]


def one_of_each(tier, user):
    """An IMAP and a POP3 session after another: their ids."""
    ids = []
    for login, ok, bye in ((imap_login, b"a OK", b"b LOGOUT\r\n"), (pop3_login, b"+OK", b"QUIT\r\n")):
        answer, s, f = login(tier, user)
        assert answer.startswith(ok), (answer, tier.log("mmp"))
        s.sendall(bye)
        assert f.read() != b""
        hang_up(s, f)
        ids.append(session_id(tier, user))
    return ids


# ---- our own store --------------------------------------------------------------------------------

def postern_tier(new_tier, name, facts, listener_extra="", store="", mmp=""):
    t = new_tier(name, stores=1, needs=("mmp", "store"))
    t.use_redis = False
    t.meter_rules = ""
    t.users = [u for u in t.users if u["store"] == 1]
    t.mmp_extra += f"\tstore store1 {{ facts {facts}; }}\n{mmp}"
    t.store_extra = store
    plain = t.store_config_text
    t.store_config_text = lambda k: re.sub(r"(protocol (?:imap|pop3);)", rf"\1 {listener_extra}", plain(k))
    t.write_all()
    t.start_daemon("store", "store1", "store1")
    for p in ("imap", "pop3"):
        wait_for(lambda p=p: port_answers(t.store_port(1, p)), 30, p)
    start_mmp(t)
    return t


def test_the_store_logs_the_client_and_our_id(new_tier):
    t = postern_tier(new_tier, "told", "command")
    for found in one_of_each(t, t.user("alice")):
        for event in ("login.ok", "session.end"):
            wait_for(lambda e=event, i=found: re.search(rf"{re.escape(e)} id={i} .*client={SOURCE}", t.log("store1")), 20, event)


def test_the_store_reads_a_proxy_header(new_tier):
    t = postern_tier(new_tier, "header", "proxy", "proxy_from 127.0.0.0/8;")
    one_of_each(t, t.user("alice"))
    wait_for(lambda: len(re.findall(rf"login\.ok .*client={SOURCE}", t.log("store1"))) == 2, 20, "two logins")


def test_the_store_lets_us_log_in_for_others(new_tier):
    t = postern_tier(new_tier, "proxy", "command; login proxy; user edge; secret edge-demo",
                     store="\tproxy_user edge;\n\tproxy_secret edge-demo;\n")
    one_of_each(t, t.user("alice"))
    wait_for(lambda: len(re.findall(rf"login\.ok .*user=alice@example\.org client={SOURCE}", t.log("store1"))) == 2, 20, "two logins")
    refused, s, f = imap_login(t, {**t.user("alice"), "password": "wrong"})
    assert b"AUTHENTICATIONFAILED" in refused
    hang_up(s, f)


# ---- Dovecot --------------------------------------------------------------------------------------

def dovecot_tier(new_tier, name, mmp, extra, prepare=lambda t: None):
    t = new_tier(name, stores=1, needs=("mmp",))
    t.store_is_postern = False
    t.use_redis = False
    t.meter_rules = ""
    t.users = [u for u in t.users if u["store"] == 1]
    t.mmp_extra += f"\t{mmp}\n"
    t.write_all()
    prepare(t)
    t.write_configs()
    peers.start_dovecot(t, 1, extra.replace("RUN_DIR", t.run_dir))
    start_mmp(t)
    return t


def test_dovecot_logs_the_client_and_our_id(new_tier):
    t = dovecot_tier(new_tier, "trusted", "store_facts command;", "login_trusted_networks = 127.0.0.1\n")
    for found in one_of_each(t, t.user("alice")):
        wait_for(lambda i=found: re.search(rf"Login: user=<alice@example\.org>.* rip={SOURCE}, .*session=<{i}>", peers.dovecot_log(t)),
                 20, "Dovecot's line")


def test_dovecot_limits_the_client_and_not_the_multiplexor(new_tier):
    t = dovecot_tier(new_tier, "limited", "store_facts command;",
                     "login_trusted_networks = 127.0.0.1\nmail_max_userip_connections = 2\n")
    user = t.user("alice")
    held = [imap_login(t, user, source) for source in ("127.0.0.5", "127.0.0.5", "127.0.0.6", "127.0.0.6")]
    assert all(answer.startswith(b"a OK") for answer, _, _ in held)
    refused, s, f = imap_login(t, user, "127.0.0.5")
    assert b"[LIMIT]" in refused
    for a, b in [(s, f)] + [(s2, f2) for _, s2, f2 in held]:
        hang_up(a, b)


@pytest.mark.parametrize("mmp, seen", [("store_facts none;", "127.0.0.1"), ("store_facts command;", "127.0.0.1")],
                         ids=["silent", "untrusted"])
def test_dovecot_sees_us(new_tier, mmp, seen):
    """Told nothing, or not believing it."""
    t = dovecot_tier(new_tier, f"plain-{mmp[12:-1]}", mmp, "")
    one_of_each(t, t.user("alice"))
    wait_for(lambda: len(re.findall(rf"Login: user=<alice@example\.org>.* rip={seen}, ", peers.dovecot_log(t))) == 2, 20, "Dovecot's lines")


def test_dovecot_reads_a_proxy_header(new_tier):
    extra = "haproxy_trusted_networks = 127.0.0.1\n" + "".join(
        f"service {p}-login {{\n  inet_listener {p} {{\n    haproxy = yes\n  }}\n}}\n" for p in ("imap", "pop3"))
    t = dovecot_tier(new_tier, "haproxy", "store_facts proxy;", extra)
    one_of_each(t, t.user("alice"))
    wait_for(lambda: len(re.findall(rf"Login: user=<alice@example\.org>.* rip={SOURCE}, ", peers.dovecot_log(t))) == 2, 20,
             "Dovecot's lines")


# ---- logins for the user --------------------------------------------------------------------------

MASTER = """auth_master_user_separator = *
passdb {
  driver = passwd-file
  args = RUN_DIR/masters
  master = yes
  result_success = continue
}
"""


def with_masters(t):
    with open(t.path("masters"), "w", encoding="ascii") as f:
        f.write("edge:{PLAIN}edge-demo\n")


@pytest.mark.parametrize("how", ["proxy", "master"])
def test_dovecot_lets_a_master_user_in(new_tier, how):
    """The users' own passwords are unknown to Dovecot: it must be the multiplexor's that opens."""
    t = dovecot_tier(new_tier, f"dovecot-{how}", f"store_login {how}; store_user edge; store_secret edge-demo;",
                     MASTER, with_masters)
    with open(t.path("dovecot1", "users"), "w", encoding="ascii") as f:
        f.writelines(f"{u['address']}:{{PLAIN}}nobody-knows\n" for u in t.users)
    one_of_each(t, t.user("alice"))
    refused, s, f = imap_login(t, {**t.user("alice"), "password": "edge-demo"})
    assert b"AUTHENTICATIONFAILED" in refused
    hang_up(s, f)
    assert "edge-demo" not in t.log("mmp")


# ---- TLS ------------------------------------------------------------------------------------------

def pin_of(t):
    key = subprocess.run(["openssl", "x509", "-in", t.path("tls/chain.pem"), "-noout", "-pubkey"], check=True,
                         capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], check=True, input=key, capture_output=True).stdout
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_dovecot_with_a_pinned_key(new_tier, right):
    def pin(t):
        value = pin_of(t) if right else base64.b64encode(bytes(32)).decode()
        t.mmp_extra += f"\tstore store1 {{ tls starttls; verify none; pins \"{value}\"; }}\n"
    extra = "ssl = required\nssl_cert = <RUN_DIR/tls/chain.pem\nssl_key = <RUN_DIR/tls/key.pem\n"
    t = dovecot_tier(new_tier, f"pinned-{right}", "", extra, pin)
    if right:
        one_of_each(t, t.user("alice"))
        return
    refused, s, f = imap_login(t, t.user("alice"))
    assert b"UNAVAILABLE" in refused
    hang_up(s, f)
    assert "not a pinned one" in t.log("mmp") and "user=<alice" not in peers.dovecot_log(t)


# ---- logins that send no password -----------------------------------------------------------------

@pytest.fixture(scope="module")
def sasl_tier(new_tier):
    """alice's password stands in the directory, carol's SCRAM keys only."""
    keys = subprocess.run(["gsasl", "--mkpasswd", "--mechanism", "SCRAM-SHA-256", "--password", "carol-demo",
                           "--iteration-count", "8192"], check=True, capture_output=True, text=True).stdout.strip()
    made = []

    def make():
        if not made:
            t = postern_tier(new_tier, "sasl", "command; login proxy; user edge; secret edge-demo",
                             store="\tproxy_user edge;\n\tproxy_secret edge-demo;\n",
                             mmp="\tauth_mechanisms SCRAM-SHA-256-PLUS, SCRAM-SHA-256, CRAM-MD5, PLAIN;\n\tapop yes;\n")
            with open(t.path("directory.ldif"), encoding="utf-8") as f:
                text = f.read()
            with open(t.path("directory.ldif.new"), "w", encoding="utf-8") as f:
                f.write(text.replace("userPassword: carol-demo", f"userPassword: {keys}"))
            os.rename(t.path("directory.ldif.new"), t.path("directory.ldif"))
            wait_for(lambda: gsasl(t, "SCRAM-SHA-256", "carol@example.net", "carol-demo"), 20, "carol's keys")
            made.append(t)
        return made[0]
    return make


def gsasl(tier, mechanism, address, password):
    """GNU SASL's own client over STARTTLS; True when it is in. With channel binding it speaks -PLUS only."""
    argv = ["gsasl", "--client", "--imap", f"--mechanism={mechanism}", f"--authentication-id={address}",
            f"--authorization-id={address}", f"--password={password}", f"--x509-ca-file={tier.ca_file}", "--starttls"]
    if not mechanism.endswith("-PLUS"):
        argv.append("--no-cb")
    done = subprocess.run([*argv, "localhost", str(tier.port("imap"))], input=b"\n", capture_output=True, timeout=60)
    print((done.stdout + done.stderr).decode(errors="replace"))
    return re.search(rb"\. OK .*Logged in", done.stdout) is not None


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "CRAM-MD5", "PLAIN"])
def test_gsasl_logs_in(sasl_tier, mechanism):
    t = sasl_tier()
    assert gsasl(t, mechanism, "alice@example.org", "alice-demo")
    assert not gsasl(t, mechanism, "alice@example.org", "alice-wrong")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN"])
def test_keys_without_a_password(sasl_tier, mechanism):
    t = sasl_tier()
    assert gsasl(t, mechanism, "carol@example.net", "carol-demo")
    assert not gsasl(t, mechanism, "carol@example.net", "carol-wrong")


def test_poplib_logs_in_by_apop(sasl_tier):
    t = sasl_tier()
    for password, good in (("alice-demo", True), ("alice-wrong", False)):
        p = poplib.POP3_SSL("localhost", t.port("pop3s"), context=t.tls_context(), timeout=60)
        try:
            assert p.apop("alice@example.org", password).startswith(b"+OK") and good
        except poplib.error_proto as error:
            assert b"[AUTH]" in error.args[0] and not good
        p.close()


def test_fetchmail_logs_in_by_apop(sasl_tier, tmp_path):
    t = sasl_tier()
    rc = tmp_path / "rc"
    rc.write_text(f'poll localhost protocol APOP port {t.port("pop3s")} user "alice@example.org" password "alice-demo" '
                  f'ssl sslcertck sslcertfile {t.ca_file} mda "/bin/true"\n')
    rc.chmod(0o600)
    done = subprocess.run(["fetchmail", "-f", str(rc), "-v", "--check"], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "FETCHMAILHOME": str(tmp_path)})
    assert "APOP alice@example.org" in done.stdout and done.returncode in (0, 1), done.stdout + done.stderr


# ---- orders ---------------------------------------------------------------------------------------

def test_kick_hold_and_release(new_tier):
    """A user's mailbox is moved: hold, kick, (move), release; and a store is drained."""
    t = dovecot_tier(new_tier, "orders", "", "mail_max_userip_connections = 0\n")
    user = t.user("alice")
    answer, s, f = imap_login(t, user)
    assert answer.startswith(b"a OK"), (answer, t.log("mmp"))
    assert "alice@example.org" in t.postern("hold", "user", user["address"], "60").stdout
    assert "1" in t.postern("kick", "user", user["address"]).stdout
    f.read()
    hang_up(s, f)
    answer, s, f = imap_login(t, user)
    assert b"[UNAVAILABLE]" in answer
    hang_up(s, f)
    assert "alice@example.org" in t.postern("holds").stdout
    assert t.postern("release", "user", user["address"]).returncode == 0
    held = [imap_login(t, user) for _ in range(6)]
    assert all(a.startswith(b"a OK") for a, _, _ in held)
    t.postern("hold", "store", "store1")
    t.postern("kick", "store", "store1", "2")
    for _, s, f in held:
        f.read()
        hang_up(s, f)
    wait_for(lambda: "Nobody" in t.postern("who").stdout, 20, "the end of all sessions")
    answer, s, f = imap_login(t, user)
    assert b"[UNAVAILABLE]" in answer
    hang_up(s, f)
    assert t.postern("kick", "everybody", "x").returncode == 64
    assert len(t.logged("mmp", r"session\.end .*why=kicked", 7)) == 7
