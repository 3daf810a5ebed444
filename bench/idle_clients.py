"""IMAP clients that log in, select INBOX, say IDLE and stay; and the time from a delivery's 250 to the notice of it."""
import multiprocessing
import select
import socket
import time

from tier import end_with_parent

EACH_MAX = 12500  # of one process: descriptors, and ports of one address


def read_until(sock, mark):
    got = b""
    while mark not in got:
        piece = sock.recv(65536)
        if not piece:
            raise RuntimeError(f"connection lost before {mark!r}: {got[-200:]!r}")
        got += piece
    return got


def start_idle(port, user, source):
    sock = socket.create_connection(("127.0.0.1", port), 60, (source, 0))
    read_until(sock, b"\r\n")
    for text, answer in ((b"a LOGIN %s %s" % user, b"a OK "), (b"b SELECT INBOX", b"b OK "), (b"c IDLE", b"+ ")):
        sock.sendall(text + b"\r\n")
        read_until(sock, answer)
    return sock


def child(pipe, port, users, first, count):
    end_with_parent()  # its own copy of the other end of the pipe keeps that open
    held = []
    try:
        for k in range(first, first + count):
            held.append(start_idle(port, users[k % len(users)], f"127.0.0.{2 + first // EACH_MAX}"))
    except (OSError, RuntimeError) as error:
        pipe.send((len(held), str(error)))
    else:
        pipe.send((count, ""))
    pipe.recv()  # until the end
    closed = 0
    for sock in held:
        sock.setblocking(False)
        try:
            while (piece := sock.recv(65536)):
                continue
            closed += piece == b""
        except BlockingIOError:
            pass
        except OSError:
            closed += 1
    pipe.send(closed)


class IdleClients:
    def __init__(self, port, users, count):
        self.parts, self.errors, self.count = [], [], 0
        for first in range(0, count, EACH_MAX):
            ours, theirs = multiprocessing.Pipe()
            part = multiprocessing.Process(target=child, args=(theirs, port, users, first, min(EACH_MAX, count - first)),
                                           daemon=True)  # or a failed run would wait for it
            part.start()
            self.parts.append((part, ours))
            n, error = ours.recv()
            self.count += n
            self.errors += [error] if error else []

    def end(self):
        """Returns how many had been closed by the other end."""
        closed = 0
        for _, pipe in self.parts:
            pipe.send("end")
            closed += pipe.recv()
        for part, _ in self.parts:
            part.join(60)
        return closed


def lmtp_step(sock, text, answer=b"250 "):
    sock.sendall(text)
    return read_until(sock, answer)


def notice_ms(lmtp_port, imap_port, user, count):
    """For each of `count` deliveries: from its 250 until the client in IDLE has the EXISTS; 0 when that came first."""
    idle = start_idle(imap_port, user, "127.0.0.1")
    sock = socket.create_connection(("127.0.0.1", lmtp_port), 60)
    read_until(sock, b"\r\n")
    lmtp_step(sock, b"LHLO bench.example\r\n")
    found = []
    for number in range(count):
        lmtp_step(sock, b"MAIL FROM:<visitor@elsewhere.example>\r\n")
        lmtp_step(sock, b"RCPT TO:<%s>\r\n" % user[0])
        lmtp_step(sock, b"DATA\r\n", b"354 ")
        sock.sendall(b"Subject: %d\r\n\r\nhello\r\n.\r\n" % number)
        at = {}
        while len(at) < 2:
            ready, _, _ = select.select([s for s in (idle, sock) if s not in at], [], [], 60)
            if not ready:
                raise RuntimeError("no notice in a minute")
            for s in ready:
                if (b" EXISTS" if s is idle else b"250 ") in s.recv(65536):
                    at[s] = time.monotonic()
        found.append(max(0.0, at[idle] - at[sock]) * 1000)
    idle.close()
    sock.close()
    return found
