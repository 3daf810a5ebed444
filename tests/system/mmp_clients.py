"""Bare connections to the multiplexor over TLS, for what mail programs and libraries do not do."""
import socket

from tier import port_answers, wait_for

SERVICES = ("imap", "imaps", "pop3", "pop3s")


def start_mmp(tier):
    tier.start_daemon("mmp", "postern")
    for service in SERVICES:
        wait_for(lambda s=service: port_answers(tier.port(s)), 30, service)


def connect(tier, port, source="127.0.0.1", name="localhost"):
    """A TLS connection that has been greeted: (socket, file of its input)."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0))
    s = tier.tls_context().wrap_socket(raw, server_hostname=name)
    f = s.makefile("rb")
    f.readline()
    return s, f


def hang_up(s, f):
    """Both: the file keeps the socket open."""
    f.close()
    s.close()
