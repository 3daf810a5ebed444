"""While a daemon drains, and while it ends, nobody who comes is left waiting: told in the words of the protocol, or refused."""
import poplib
import signal
import smtplib
import socket
import ssl
import threading

import pytest

from conftest import free_port
from mmp_clients import control, running, upgrade
from tier import wait_for

PATIENCE = 20  # seconds after which a client of these tests hangs


def heard(port, context=None):
    """All that a new client is told before the connection closes; None: refused."""
    try:
        s = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    except ConnectionRefusedError:
        return None
    except ConnectionResetError:  # the socket began to refuse while they were about to meet
        return b""
    try:
        if context is not None:
            s = context.wrap_socket(s, server_hostname="localhost")
        with s, s.makefile("rb") as f:
            return f.read()
    except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
        return b""


def begin(t, daemon, how):
    """A drain or a stop; the master knows of it, the workers do very soon."""
    if how == "drain":
        assert control(t, daemon.rstrip("1"), "drain", f"{daemon}-run")["ok"]
    else:
        t.processes[daemon].send_signal(signal.SIGTERM)
    wait_for(lambda: "daemon.draining" in t.log(daemon), PATIENCE, "the drain")


class Newcomers(threading.Thread):
    """One after the other, until the first is refused."""
    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.told, self.hung = port, [], None
        self.start()

    def run(self):
        try:
            while (words := heard(self.port)) is not None:
                self.told.append(words)
        except TimeoutError as error:
            self.hung = error


def ends(t, daemon, how, late, words):
    """It stops soon; who comes until then hears these words, or nothing."""
    if how == "drain":
        t.processes[daemon].send_signal(signal.SIGTERM)
    assert t.processes[daemon].wait(PATIENCE) == 0
    late.join(PATIENCE)
    assert late.hung is None and not late.is_alive()
    assert all(told == b"" or told.startswith(words) for told in late.told), late.told


def one_store(new_tier, name):
    t = new_tier(name, stores=1, needs=("edge", "store"))
    t.users = [u for u in t.users if u["store"] == 1]
    t.use_redis, t.meter_rules, t.drain_timeout, t.workers = False, "", "60s", 1
    return t


@pytest.mark.parametrize("how", ["drain", "stop"])
def test_the_edge_says_421(new_tier, how):
    """A transaction that was begun is finished meanwhile; TLS from the first byte has no room for words and closes."""
    t = one_store(new_tier, f"edge-{how}")
    t.write_all()
    t.start_store(1)
    t.start_daemon("edge", "postern")
    running(t, "edge")
    begun = smtplib.SMTP("127.0.0.1", t.port("mx"), timeout=60)
    begun.ehlo("client.example")
    begun.mail("x@remote.example")
    begun.rcpt(t.user("alice")["address"])
    begin(t, "edge", how)
    for service in ("mx", "submission"):
        words = wait_for(lambda s=service: (w := heard(t.port(s))).startswith(b"421") and w, PATIENCE, f"421 of {service}")
        assert words.startswith(b"421 4.3.2 service is going down") and words.endswith(b"]\r\n") and words.count(b"\n") == 1
    assert heard(t.port("submissions")) == b""
    late = Newcomers(t.port("mx"))
    assert begun.data(b"Subject: begun\r\n\r\nx\r\n")[0] == 250
    assert begun.docmd("NOOP")[0] == 421
    begun.close()
    ends(t, "edge", how, late, b"421 4.3.2")
    assert "session.shed" in t.log("edge") and "why=drained" in t.log("edge")


@pytest.mark.parametrize("how", ["drain", "stop"])
def test_the_store_says_goodbye(new_tier, how):
    """In the place of the greeting, also under TLS, and to whom waited for room. Who has something marked may finish; if it
    has the place of who waits, that one is closed."""
    t = one_store(new_tier, f"store-{how}")
    imaps, narrow, single = free_port(), free_port(), free_port()
    t.store_extra = (f"\tlistener imaps {{ address 127.0.0.1:{imaps}; protocol imap; tls implicit; }}\n"
                     f"\tlistener narrow {{ address 127.0.0.1:{narrow}; protocol imap; sessions_max 1; }}\n"
                     f"\tlistener single {{ address 127.0.0.1:{single}; protocol pop3; tls starttls; sessions_max 1; }}\n")
    t.write_all()
    t.start_store(1)
    with smtplib.LMTP("127.0.0.1", t.store_port(1, "lmtp")) as s:
        s.sendmail("x@remote.example", [t.user("alice")["address"]], b"Subject: one\r\n\r\nx\r\n")
    begun = poplib.POP3("127.0.0.1", single, timeout=60)
    begun.stls(t.tls_context())
    begun.user(t.user("alice")["address"])
    begun.pass_(t.user("alice")["password"])
    begun.dele(1)
    inside = socket.create_connection(("127.0.0.1", narrow), timeout=PATIENCE)
    assert inside.recv(100).startswith(b"* OK")
    waits = socket.create_connection(("127.0.0.1", narrow), timeout=PATIENCE)
    shut = socket.create_connection(("127.0.0.1", single), timeout=PATIENCE)
    begin(t, "store1", how)
    assert waits.makefile("rb").read().startswith(b"* BYE [UNAVAILABLE] Server is shutting down")
    assert shut.recv(100) == b"" and heard(single) == b""
    for service, words in (("imap", b"* BYE [UNAVAILABLE] Server is shutting down"),
                           ("pop3", b"-ERR [SYS/TEMP] Server is shutting down"), ("lmtp", b"421 4.3.2 Service shuts down [")):
        told = heard(t.store_port(1, service))
        assert told.startswith(words) and told.count(b"\n") == 1, (service, told)
    assert heard(imaps, t.tls_context()).startswith(b"* BYE [UNAVAILABLE]")
    late = Newcomers(t.store_port(1, "imap"))
    assert begun.quit().startswith(b"+OK")
    ends(t, "store1", how, late, b"* BYE")
    for s in (inside, waits, shut):
        s.close()


def policy_answer(path):
    """What a mail server's question gets; b"": closed without an answer."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(PATIENCE)
        s.connect(path)
        try:
            s.sendall(b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\n\n")
            return s.recv(100)
        except (ConnectionResetError, BrokenPipeError):
            return b""


def test_the_policy_service_closes(new_tier):
    """So that the mail server goes by its default at once. The old process of an upgrade leaves newcomers to the new one."""
    t = new_tier("policy", stores=0, needs=("meter",))
    t.use_redis, t.meter_rules, t.workers, t.supervised = False, "", 1, True
    t.write_all()
    t.start_daemon("meter", "postern")
    running(t, "meter")
    path = t.path("policy.sock")
    kept = socket.socket(socket.AF_UNIX)  # a question half asked: the old process stays until it is whole
    kept.connect(path)
    kept.sendall(b"request=smtpd_access_policy\n")
    wait_for(lambda: policy_answer(path).startswith(b"action="), PATIENCE, "an answer")
    upgrade(t, "meter")
    assert all(policy_answer(path).startswith(b"action=") for _ in range(50))
    kept.sendall(b"protocol_state=RCPT\nclient_address=192.0.2.1\n\n")
    assert kept.recv(100).startswith(b"action=")
    kept.close()
    assert control(t, "meter", "drain")["ok"]
    wait_for(lambda: policy_answer(path) == b"", PATIENCE, "the drain")
