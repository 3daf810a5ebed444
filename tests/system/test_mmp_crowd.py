"""Thousands of connections that never log in: the budget of bytes and sessions holds, and who means it gets in."""
import contextlib
import os
import socket
import ssl

import fake_imap
from mmp_clients import fake_tier, metric, status
from tier import wait_for

CROWD = int(os.environ.get("POSTERN_CROWD", "3000"))
BUDGET, EACH = 8 * 1024 * 1024, 300
EVICTED = {"imap": b"* BYE [UNAVAILABLE] Too busy", "pop3": b"-ERR [SYS/TEMP] Too busy"}


def resident(t):
    """Bytes of all workers."""
    pages = 0
    for w in status(t)["workers"]:
        with open(f"/proc/{w['pid']}/statm", encoding="ascii") as f:
            pages += int(f.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def silent(t):
    return socket.create_connection(("127.0.0.1", t.port("imap")), timeout=30)


def pop3_silent(t):
    return socket.create_connection(("127.0.0.1", t.port("pop3")), timeout=30)


def dripping(t):
    """A command that never ends; the rest comes byte by byte."""
    s = silent(t)
    s.sendall(b"a LOGIN " + b"x" * 4000)
    return s


def literal(t):
    s = silent(t)
    s.sendall(b"a LOGIN {500+}\r\n" + b"x" * 499)
    return s


def half_hello(t):
    """The head of a TLS record, and nothing behind it."""
    s = socket.create_connection(("127.0.0.1", t.port("imaps")), timeout=30)
    s.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    return s


def under_tls(t):
    """A whole handshake, and silence."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    raw = socket.create_connection(("127.0.0.1", t.port("imaps")), timeout=30)
    return context.wrap_socket(raw)


def last_words(s):
    got = b""
    s.settimeout(30)
    with contextlib.suppress(OSError):
        while more := s.recv(4096):
            got += more
    return got


def test_a_crowd_that_never_logs_in(new_tier):
    t = fake_tier(new_tier, "crowd", mmp_extra=f"\tconnections_prelogin_max {EACH};\n\tprelogin_memory_max {BUDGET};\n")
    fake_imap.many_descriptors()
    good = fake_imap.Crowd(t.port("imap"), t.user("alice"))
    good.add(20)
    before, crowd, kinds = resident(t), [], (silent, dripping, half_hello, literal, under_tls, pop3_silent)
    for i in range(CROWD):
        with contextlib.suppress(OSError):  # who is evicted during its own handshake
            crowd.append((kinds[i % len(kinds)], kinds[i % len(kinds)](t)))
        for kind, s in crowd[-5:]:
            if kind is dripping:
                with contextlib.suppress(OSError):
                    s.sendall(b"y")
        if i % 100 == 0:
            assert metric(t, "postern_mmp_prelogin_bytes") <= BUDGET
            assert metric(t, "postern_mmp_prelogin_sessions") <= 2 * EACH
            good.add(1)
    good.add(20)
    assert not good.lost and good.all_answer() == len(good.sessions) == 40 + CROWD // 100
    grown = resident(t) - before
    assert grown < 3 * BUDGET or os.environ.get("POSTERN_SAN"), grown  # a sanitizer keeps what is freed
    assert metric(t, "postern_mmp_shed_total") > CROWD / 2
    for kind, s in crowd[:12]:
        if kind in (silent, pop3_silent, dripping):
            assert EVICTED["pop3" if kind is pop3_silent else "imap"] in last_words(s), kind
    for _, s in crowd:
        s.close()
    wait_for(lambda: metric(t, "postern_mmp_prelogin_sessions") == 0, 30, "their end")
    assert metric(t, "postern_mmp_prelogin_bytes") == 0
    assert "worker.died" not in t.log("mmp")
    good.close()


def test_full_workers_let_others_wait(new_tier):
    """With every worker full a connection waits, unrefused, and is served when somebody leaves."""
    t = fake_tier(new_tier, "full", mmp_extra="\tconnections_max 10;\n")
    good = fake_imap.Crowd(t.port("imap"), t.user("alice"))
    good.add(20, at_once=1)
    wait_for(lambda: metric(t, "postern_mmp_full_workers") == 2, 20, "two full workers")
    late = fake_imap.Crowd(t.port("imap"), t.user("alice"))
    waiting = socket.create_connection(("127.0.0.1", t.port("imap")), timeout=1)
    try:
        waiting.recv(100)
        raise AssertionError("it was greeted")
    except TimeoutError:
        pass
    good.sessions.pop().close()
    waiting.settimeout(30)
    assert waiting.recv(200).startswith(b"* OK")
    waiting.close()
    late.add(1)
    assert not good.lost and not late.lost and good.all_answer() == 19
    assert "worker.full" in t.log("mmp")
    good.close()
    late.close()
