"""ManageSieve through the multiplexor: Dovecot's server behind it, sieve-connect and sievelib in front."""
import base64
import json
import re
import socket
import subprocess

import pytest

import peers
from conftest import free_port
from mmp_clients import hang_up
from tier import port_answers, wait_for

SOURCE = "127.0.0.7"
SCRIPT = 'require ["fileinto"];\nif header :contains "subject" "urgent" { fileinto "Hot"; }\n# \xfcber\n'


def dovecot_extra(ports, more=""):
    listeners = "".join(f"  inet_listener sieve{k} {{\n    port = {p}\n  }}\n" for k, p in ports.items())
    return ("mail_max_userip_connections = 0\nprotocols = imap pop3 lmtp sieve\n"
            "service managesieve-login {\n  inet_listener sieve {\n    port = 0\n  }\n" + listeners + "}\n"
            "plugin {\n  sieve = file:~/sieve;active=~/.dovecot.sieve\n}\nlogin_trusted_networks = 127.0.0.1\n" + more)


def sieve_tier(new_tier, name, mmp, dovecot="", prepare=lambda t: None):
    t = new_tier(name, stores=1, needs=("mmp",))
    t.store_is_postern, t.use_redis, t.meter_rules = False, False, ""
    t.users = [u for u in t.users if u["store"] == 1]
    t.sieve, t.behind = free_port(), free_port()
    t.mmp_extra += f"\t{mmp}\n\tlistener sieve {{ address 127.0.0.1:{t.sieve}; protocol managesieve; }}\n"
    plain = t.store_entry
    t.store_entry = lambda k: plain(k) + f"posternStoreSievePort: {t.behind}\n"
    t.write_all()
    prepare(t)
    peers.start_dovecot(t, 1, dovecot_extra({1: t.behind}, dovecot.replace("RUN_DIR", t.run_dir)))
    wait_for(lambda: port_answers(t.behind), 30, "managesieve-login")
    t.start_daemon("mmp", "postern")
    wait_for(lambda: port_answers(t.sieve), 30, "sieve")
    return t


@pytest.fixture(scope="module")
def tier(new_tier):
    return sieve_tier(new_tier, "sieve", "auth_mechanisms PLAIN, LOGIN;")


def sieve_connect(tier, user, *args, password=None):
    return subprocess.run(["sieve-connect", "--server", "localhost", "--4", "--port", str(tier.sieve), "--user", user["address"],
                           "--tlscafile", tier.ca_file, "--passwordfd", "0", *args],
                          input=(password or user["password"]) + "\n", capture_output=True, text=True, timeout=60)


def read_until(f, start):
    lines = []
    while True:
        line = f.readline()
        assert line, lines
        lines.append(line)
        if line.startswith(start):
            return lines


def raw(tier, source=SOURCE):
    """A connection under TLS, its capabilities read."""
    s = socket.create_connection(("127.0.0.1", tier.sieve), timeout=60, source_address=(source, 0))
    f = s.makefile("rb")
    assert b'"STARTTLS"\r\n' in read_until(f, b"OK")
    s.sendall(b"STARTTLS\r\n")
    assert f.readline().startswith(b"OK")
    f.close()
    s = tier.tls_context().wrap_socket(s, server_hostname="localhost")
    f = s.makefile("rb")
    return s, f, read_until(f, b"OK")


def plain(user):
    return base64.b64encode(f"\0{user['address']}\0{user['password']}".encode())


def test_sieve_connect_manages_scripts(tier, tmp_path):
    user = tier.user("alice")
    script = tmp_path / "rules.sieve"
    script.write_text(SCRIPT, encoding="utf-8")
    up = sieve_connect(tier, user, "--upload", "--localsieve", str(script), "--remotesieve", "rules")
    assert up.returncode == 0, up.stdout + up.stderr
    assert sieve_connect(tier, user, "--activate", "--remotesieve", "rules").returncode == 0
    assert "rules" in sieve_connect(tier, user, "--list").stdout
    down = tmp_path / "down.sieve"
    got = sieve_connect(tier, user, "--download", "--localsieve", str(down), "--remotesieve", "rules")
    assert got.returncode == 0, got.stdout + got.stderr
    assert down.read_text(encoding="utf-8") == SCRIPT
    assert sieve_connect(tier, user, "--deactivate").returncode == 0
    assert sieve_connect(tier, user, "--delete", "--remotesieve", "rules").returncode == 0
    assert "rules" not in sieve_connect(tier, user, "--list").stdout


def test_sieve_connect_is_told_of_a_wrong_password(tier):
    got = sieve_connect(tier, tier.user("alice"), "--list", password="wrong")
    assert got.returncode != 0
    assert "Authentication failed" in got.stdout + got.stderr
    wait_for(lambda: "why=wrong_secret" in tier.log("mmp"), 20, "the refusal")


def test_sievelib_reads_and_writes(tier):
    managesieve = pytest.importorskip("sievelib.managesieve")
    user = tier.user("alice")
    client = managesieve.Client("localhost", tier.sieve)
    assert client.connect(user["address"], user["password"], starttls=True, authmech="PLAIN")
    assert client.putscript("lib", SCRIPT)
    assert client.getscript("lib").split() == SCRIPT.split()
    assert client.deletescript("lib")
    client.logout()


def test_extensions_are_those_of_the_store(tier):
    """What is shown after the first login is what the store has of our list, and its own list after the login."""
    user = tier.user("alice")
    s, f, _ = raw(tier)
    s.sendall(b'AUTHENTICATE "PLAIN" "' + plain(user) + b'"\r\nCAPABILITY\r\nLOGOUT\r\n')
    assert f.readline() == b'OK "Logged in"\r\n'
    own = read_until(f, b"OK")
    assert any(b"Dovecot" in line for line in own)
    hang_up(s, f)
    s, f, shown = raw(tier)
    def words(lines):
        return set(next(line for line in lines if line.startswith(b'"SIEVE"')).split(b'"')[3].split())
    assert words(shown) <= words(own) and b"fileinto" in words(shown)
    hang_up(s, f)


def test_who_and_kick(tier):
    user = tier.user("alice")
    s, f, _ = raw(tier)
    s.sendall(b'AUTHENTICATE "PLAIN" {%d+}\r\n' % len(plain(user)) + plain(user) + b"\r\n")
    assert f.readline() == b'OK "Logged in"\r\n'
    rows = json.loads(tier.postern("who", "--json").stdout or "[]")
    rows = rows if isinstance(rows, list) else rows.get("sessions", [])
    assert [r for r in rows if r["user"] == user["address"] and r["protocol"] == "managesieve"], rows
    assert tier.postern("kick", "user", user["address"]).returncode == 0
    rest = f.read()
    assert rest in (b"", b'BYE (TRYLATER) "Ended by the administrator, connect again"\r\n')
    hang_up(s, f)
    wait_for(lambda: re.search(r"session\.end id=\w+ .*protocol=managesieve .*why=kicked", tier.log("mmp")), 20, "its end")


def test_dovecot_logs_the_client_and_our_id(tier):
    user = tier.user("alice")
    s, f, _ = raw(tier)
    s.sendall(b'AUTHENTICATE "PLAIN" "' + plain(user) + b'"\r\nLOGOUT\r\n')
    f.read()
    hang_up(s, f)
    found = tier.logged("mmp", rf"login\.ok id=(\w+) client={re.escape(SOURCE)}:\d+ user={user['address']}")[-1]
    wait_for(lambda: re.search(rf"managesieve-login: Info: Login: user=<alice@example\.org>.* rip={SOURCE}.*session=<{found}>",
                               peers.dovecot_log(tier)), 20, "Dovecot's line")


def write_masters(t):
    with open(t.path("masters"), "w", encoding="ascii") as f:
        f.write("edge:{PLAIN}edge-demo\n")


@pytest.mark.parametrize("login", ["proxy", "master"])
def test_login_for_the_user_over_the_stores_tls(new_tier, login):
    """Our own secret opens the mailbox; nobody's password does, and the store's certificate is verified."""
    dovecot = ("ssl = required\nssl_cert = <RUN_DIR/tls/chain.pem\nssl_key = <RUN_DIR/tls/key.pem\n"
               "auth_master_user_separator = *\n"
               "passdb {\n  driver = passwd-file\n  master = yes\n  args = RUN_DIR/masters\n}\n")
    t = sieve_tier(new_tier, login, f"store_tls starttls; store_login {login}; store_user edge; store_secret edge-demo;",
                   dovecot, write_masters)
    user = t.user("alice")
    s, f, _ = raw(t)
    s.sendall(b'AUTHENTICATE "PLAIN" "' + plain(user) + b'"\r\nLISTSCRIPTS\r\nLOGOUT\r\n')
    assert f.readline() == b'OK "Logged in"\r\n'
    assert f.readline().startswith(b"OK")
    hang_up(s, f)
    assert sieve_connect(t, user, "--list", password="wrong").returncode != 0
    t.stop_process("dovecot1")
