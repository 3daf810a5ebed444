"""The least IMAP client that can ask for a hundred thousand messages: it reads up to the tagged answer and keeps nothing."""
import socket

from load import Refused

PIECE = 1 << 20


class ImapClient:
    def __init__(self, port, user):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=600)
        self.number = 0
        self.socket.recv(PIECE)
        self.command(b"LOGIN %s %s" % (user[0].encode(), user[1].encode()))

    def command(self, text):
        """Returns the number of bytes of the answer."""
        self.number += 1
        tag = b"t%d" % self.number
        self.socket.sendall(tag + b" " + text + b"\r\n")
        total, tail = 0, b""
        while True:
            piece = self.socket.recv(PIECE)
            total += len(piece)
            tail = (tail + piece)[-4096:] if len(piece) < 4096 else piece[-4096:]
            at = tail.rfind(b"\n" + tag + b" ") + 1 if not tail.startswith(tag) else 0
            if tail.endswith(b"\r\n") and tail.startswith(tag + b" ", at):
                if not tail.startswith(tag + b" OK", at):
                    raise Refused(f"{text[:60]!r}: {tail[at:]!r}")
                return total
            if not piece:
                raise Refused(f"{text[:60]!r}: connection lost")

    def close(self):
        self.command(b"LOGOUT")
        self.socket.close()
