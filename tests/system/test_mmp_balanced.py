"""The multiplexor behind HAProxy, with the clients' addresses; and TLS to Dovecot behind it."""
import re
import socket
import subprocess

import pytest

import mail
import peers
from conftest import free_port
from mmp_clients import SERVICES, connect, hang_up, start_mmp
from mmp_dovecot import SENDER, metrics, put, tier  # noqa: F401
from tier import wait_for


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
    lost = {"name": "lost", "domain": "example.org", "store": 9, "address": "lost@example.org", "password": "lost-demo"}
    t.users = [*t.users, lost]
    plain = t.directory_text
    t.directory_text = lambda: (plain() + "\ndn: cn=store9,ou=stores,dc=postern\nobjectClass: posternStore\ncn: store9\n"
                                f"posternStoreHost: 127.0.0.1\nposternStoreImapPort: {t.front['imap']}\n")
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
    assert balanced.logged("mmp", r"login\.ok .*client=127\.0\.0\.5:")


def test_the_limit_is_the_clients_not_the_balancers(balanced):
    user = balanced.user("alice")
    answers = [balanced_imap(balanced, {**user, "password": f"wrong{n}"}, "127.0.0.6") for n in range(3)]
    assert [b"AUTHENTICATIONFAILED" in a for a in answers] == [True, True, False] and b"LIMIT" in answers[2]
    assert b"LIMIT" in balanced_imap(balanced, user, "127.0.0.6")
    assert balanced_imap(balanced, user, "127.0.0.7").startswith(b"a OK")


def test_health_checks_leave_no_trace(balanced):
    """HAProxy asks twice a second by PROXY LOCAL; another balancer only looks whether the port answers."""
    def checks():
        return int(re.search(r"postern_net_proxy_probes_total (\d+)", metrics(balanced)).group(1))
    had, log = checks(), balanced.log("mmp")
    for _ in range(5):
        socket.create_connection(("127.0.0.1", balanced.port("imap")), timeout=30).close()
    wait_for(lambda: checks() >= had + 13, 20, "health checks")
    # A session of another test may end just now; a check leaves no line at all.
    fresh = balanced.log("mmp")[len(log):].splitlines()
    assert [line for line in fresh if "user=alice" not in line] == []
    assert not re.search(r" (warn|error) ", log), log


def test_a_store_that_is_the_balancer(balanced):
    """Its address leads back to us, where no listener has it: the login ends at the first greeting and does not go round."""
    log = balanced.log("mmp")
    assert b"UNAVAILABLE" in balanced_imap(balanced, balanced.user("lost"), "127.0.0.8")
    fresh = balanced.log("mmp")[len(log):]
    assert re.search(r'store\.loop .*store=store9 .*detail="mail\.example\.org multiplexor ready"', fresh), fresh
    assert len(re.findall(r"login\.refused .*user=lost@", fresh)) == 1, fresh


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
    assert "user=<alice" not in peers.dovecot_log(t)


def test_no_password_in_any_log(tier, balanced):
    for t in (tier, balanced):
        assert "-demo" not in t.log("mmp")
