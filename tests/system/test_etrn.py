"""ETRN (RFC 1985): who may ask, what is said, and that mail goes out then and not at its own time."""
import socketserver
import threading

import pytest

import names
from conftest import BIN, finish, free_port, free_port_base
from mail import message, new_token, smtp
from test_edge import Edge
from test_relay import Talk
from tier import wait_for

FAR = ("far.example", "sub.far.example", "other.example")


class Hop(socketserver.StreamRequestHandler):
    """Takes every message."""

    def handle(self):
        self.say(b"220 hop")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"DATA":
                self.say(b"354 go")
                text = b""
                for part in self.rfile:
                    if part == b".\r\n":
                        break
                    text += part
                self.server.got.append(text.decode())
            self.say(b"221 bye" if verb == b"QUIT" else b"250 ok")
            if verb == b"QUIT":
                return

    def say(self, text):
        self.wfile.write(text + b"\r\n")


@pytest.fixture(scope="module")
def edge(run_dir):
    tier = Edge(run_dir / "etrn", free_port_base(), BIN)
    tier.use_redis = False
    tier.workers = 1
    tier.relay_port = free_port()
    tier.write_all()
    dns = names.start_unbound(tier, records=[f"{n}. 60 IN A 127.0.0.1" for n in FAR])
    tier.root_extra = f"dns_servers 127.0.0.1:{dns};\n"
    tier.edge_extra = f"\trelay_port {tier.relay_port};\n\tqueue_retry_first 1h;\n\tqueue_retry_max 1h;\n"
    tier.edge_listener_extra = ("relay_from 127.0.0.1/32; xclient_from 127.0.0.1/32; etrn_from 127.0.0.1/32; "
                                "etrn_users alice@example.org; etrn_nodes far.example, .far.example, other.example;")
    tier.write_all()
    tier.start_edge()
    yield tier
    finish(tier)


def tried(edge, domain):
    text = edge.postern("queue", "list", f"domain={domain}", "state=waiting").stdout
    return f"@{domain}" in text and "refused" in text


def queue_mail(edge, domain):
    """Mail that waits: its next hop is away, and the next try is an hour off."""
    token = new_token()
    to = f"x@{domain}"
    with smtp(edge) as s:
        s.sendmail("s@elsewhere.example", [to], message(token, "s@elsewhere.example", [to]))
    wait_for(lambda: tried(edge, domain), 20, "the first try has failed")
    return token


def start_hop(edge):
    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True
    server = Server(("127.0.0.1", edge.relay_port), Hop)
    server.got = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def hello(edge, **where):
    t = Talk(edge, **where)
    assert t.say(b"EHLO customer.example") == 250
    return t


@pytest.mark.parametrize("node,domains", [("far.example", ["far.example"]), ("@far.example", ["sub.far.example"])])
def test_mail_goes_out_now(edge, node, domains):
    tokens = [queue_mail(edge, d) for d in domains]
    waits = queue_mail(edge, "other.example")
    hop = start_hop(edge)
    try:
        t = hello(edge)
        assert t.say(b"ETRN " + node.encode()) == 253
        wait_for(lambda: all(any(token in text for text in hop.got) for token in tokens), 20, "it is delivered")
        assert not any(waits in text for text in hop.got)
        assert t.say(b"ETRN " + node.encode()) == 458, "once in etrn_interval"
        t.close()
    finally:
        hop.shutdown()
        hop.server_close()


def test_nothing_waits(edge):
    t = hello(edge)
    assert t.say(b"ETRN none.far.example") == 251
    t.close()


@pytest.mark.parametrize("line,code", [
    (b"ETRN", 501), (b"ETRN [127.0.0.1]", 501), (b"ETRN a..b", 501), (b"ETRN " + b"a" * 300, 501),
    (b"ETRN #queue", 458), (b"ETRN elsewhere.example", 459), (b"ETRN notfar.example", 459)])
def test_what_is_no_node_of_ours(edge, line, code):
    t = hello(edge)
    assert t.say(line) == code
    assert t.say(b"NOOP") == 250
    t.close()


def test_not_before_ehlo_nor_within_a_mail(edge):
    t = Talk(edge)
    assert t.say(b"ETRN far.example") == 503
    assert t.say(b"EHLO customer.example") == 250
    assert t.say(b"MAIL FROM:<a@elsewhere.example>") == 250
    assert t.say(b"ETRN far.example") == 503
    t.close()


def test_strangers_may_not_ask(edge):
    with smtp(edge) as s:
        s.ehlo("customer.example")
        assert s.has_extn("etrn")
        assert s.docmd("XCLIENT", "ADDR=198.18.0.9")[0] == 220
        s.ehlo("stranger.example")
        assert not s.has_extn("etrn")
        assert s.docmd("ETRN", "far.example")[0] == 459


@pytest.mark.parametrize("user,code", [("alice", 251), ("bob", 459)])
def test_users_who_may_ask(edge, user, code):
    with smtp(edge, "submission", tls=True) as s:
        assert s.docmd("XCLIENT", "ADDR=198.18.0.9")[0] == 220
        s.ehlo("client.example")
        u = edge.user(user)
        s.login(u["address"], u["password"])
        assert s.docmd("ETRN", f"{user}.far.example")[0] == code
