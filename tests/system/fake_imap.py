"""A store that speaks just enough IMAP for thousands of sessions, and a crowd of clients for it; nothing but selectors.

Beside IMAP it takes FLOOD BYTES, which sends so many before its OK, and DEAF, after which it reads no more.

As a program: fake_imap.py PORT - the store, until it is ended; by SIGUSR1 in an orderly way, with a goodbye to each session."""
import contextlib
import os
import resource
import selectors
import signal
import socket
import sys
import threading
import time

READ = selectors.EVENT_READ


def many_descriptors(wanted=40000):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))


def answer(line):
    tag, _, rest = line.partition(b" ")
    verb = rest.split(b" ", 1)[0].upper()
    if verb == b"CAPABILITY":
        return b"* CAPABILITY IMAP4rev1\r\n" + tag + b" OK done\r\n"
    if verb == b"LOGOUT":
        return b"* BYE bye\r\n" + tag + b" OK done\r\n"
    return tag + b" OK [CAPABILITY IMAP4rev1] done\r\n"


def serve(port):
    many_descriptors()
    sel = selectors.DefaultSelector()
    signal.signal(signal.SIGUSR1, lambda *_: shut_down(sel))
    door = socket.create_server(("127.0.0.1", port), backlog=4096)
    door.setblocking(False)
    sel.register(door, READ, None)
    while True:
        for key, _ in sel.select():
            if key.fileobj is door:
                with contextlib.suppress(BlockingIOError):
                    for _ in range(64):
                        s, _ = door.accept()
                        s.setblocking(False)
                        s.send(b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
                        sel.register(s, READ, bytearray())
                continue
            read_one(sel, key)


def shut_down(sel):
    sessions = [key.fileobj for key in sel.get_map().values() if key.data is not None]
    for s in sessions:
        with contextlib.suppress(OSError):
            s.send(b"* BYE Server shutting down.\r\n")
    os._exit(0)


def read_one(sel, key):
    s, pending = key.fileobj, key.data
    try:
        got = s.recv(65536)
        pending += got
        last = not got
        while b"\r\n" in pending:
            line, _, rest = bytes(pending).partition(b"\r\n")
            pending[:] = rest
            if b" FLOOD " in line or b" DEAF" in line:
                sel.unregister(s)
                apart(s, line)
                return
            s.send(answer(line))
            last = last or b" LOGOUT" in line.upper()
    except (ConnectionError, BlockingIOError):
        last = True
    if last:
        sel.unregister(s)
        s.close()


DEAF = []


def apart(s, line):
    """It goes on without the selector."""
    if b" DEAF" in line:
        DEAF.append(s)
        return
    threading.Thread(target=flood, args=(s, line), daemon=True).start()


def flood(s, line):
    tag, _, rest = line.partition(b" FLOOD ")
    left, piece = int(rest), b"x" * 65534 + b"\r\n"
    s.setblocking(True)
    with contextlib.suppress(OSError):
        while left > 0:
            s.sendall(piece[:left])
            left -= len(piece[:left])
        s.sendall(tag + b" OK done\r\n")
    s.close()


class Crowd:
    """Plain sessions through the multiplexor, all of one user."""
    def __init__(self, port, user, source="127.0.0.1"):
        many_descriptors()
        self.port, self.user, self.source = port, user, source
        self.sessions, self.lost = [], []

    def add(self, n, at_once=100):
        """n more are logged in."""
        while n > 0:
            batch = [socket.create_connection(("127.0.0.1", self.port), timeout=30, source_address=(self.source, 0))
                     for _ in range(min(n, at_once))]
            n -= len(batch)
            login = f"a LOGIN {self.user['address']} {self.user['password']}\r\n".encode()
            for s in batch:
                s.sendall(login)
            self.sessions += [s for s in batch if self.wait(s, b"a OK")]

    def wait(self, s, wanted, seconds=60):
        """A line that begins so; else the session counts as lost."""
        s.settimeout(seconds)
        got = b""
        try:
            while not any(line.startswith(wanted) for line in got.split(b"\r\n")[:-1]):
                more = s.recv(4096)
                if not more:
                    raise ConnectionError(f"closed after {got!r}")
                got += more
                if b" NO " in got:
                    raise ConnectionError(f"refused: {got!r}")
            return True
        except OSError as error:
            self.lost.append(repr(error))
            s.close()
            return False

    def all_answer(self):
        """Each is asked, then each has answered."""
        for s in self.sessions:
            with contextlib.suppress(OSError):
                s.sendall(b"n NOOP\r\n")
        self.sessions = [s for s in self.sessions if self.wait(s, b"n OK")]
        return len(self.sessions)

    def close(self):
        for s in self.sessions:
            s.close()
        self.sessions = []


def greeted(port):
    """Connects, is greeted, leaves: the time it took. Raises when it was refused."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
        if not s.recv(200).startswith(b"* OK"):
            raise ConnectionError("not greeted")
        s.sendall(b"x LOGOUT\r\n")
        while s.recv(4096):
            pass
    return time.monotonic() - begun


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    serve(int(sys.argv[1]))
