"""A pipe between the edge and a real filter, which does harm in the middle of a message.

A message with MARK in it is where the harm is done: as MARK passes on its way to the filter, `harm` is called (to kill or freeze the
filter), or from there on what the filter answers is changed by `lie`. Without either all bytes pass as they are."""
import contextlib
import socket
import socketserver
import threading

MARK = "the harm is done here"


def packet(code, data=b""):
    """Of the milter protocol."""
    return (len(data) + 1).to_bytes(4, "big") + code + data


# What a filter says in the place of its answer; None: the first half of the answer, and nothing more
LIES = {"garbage": b"\xff\xfe" * 300, "http": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "cut": None, "empty": b"\0\0\0\0"}
MILTER_LIES = LIES | {"forged_code": packet(b"y", b"250 2.0.0 all is well\0"), "forged_lines": packet(b"y", b"550 5.7.1 no\r\n250 ok\r\n\0"),
                      "forged_edit": packet(b"h", b"X-A\0no end") + packet(b"c"),
                      "out_of_turn": packet(b"O", (6).to_bytes(4, "big") + b"\0" * 8)}
SPAMD_LIES = LIES | {"forged_score": b"SPAMD/1.1 0 EX_OK\r\nSpam: Perhaps ; many / few\r\n\r\n",
                     "forged_length": b"SPAMD/1.1 0 EX_OK\r\nContent-length: 99999999999\r\nSpam: False ; 0.0 / 5.0\r\n\r\nx",
                     "no_verdict": b"SPAMD/1.1 0 EX_OK\r\n\r\n"}


class Session(socketserver.BaseRequestHandler):
    def handle(self):
        wedge, self.marked = self.server, threading.Event()
        kind = socket.AF_UNIX if isinstance(wedge.to, str) else socket.AF_INET
        with socket.socket(kind) as far:
            try:
                far.connect(wedge.to if kind == socket.AF_UNIX else ("127.0.0.1", wedge.to))
            except OSError:
                return
            back = threading.Thread(target=self.answers, args=(far,), daemon=True)
            back.start()
            self.questions(far)
            back.join(60)

    def questions(self, far):
        seen = b""
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                seen = (seen + data)[-100000:]
                if MARK.encode() in seen and not self.marked.is_set():
                    self.marked.set()
                    if self.server.harm is not None:
                        self.server.harm()
                far.sendall(data)
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_WR)

    def answers(self, far):
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                if self.server.lying and self.marked.is_set():
                    lie = self.server.lie
                    self.request.sendall(data[:len(data) // 2] if lie is None else lie)
                    break
                self.request.sendall(data)
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


class Wedge(socketserver.ThreadingTCPServer):
    """Listens at self.port; to: a port of this host, or the path of a socket."""
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, to):
        super().__init__(("127.0.0.1", 0), Session)
        self.to, self.harm, self.lying, self.lie = to, None, False, None
        self.port = self.server_address[1]
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @contextlib.contextmanager
    def harming(self, harm):
        self.harm = harm
        try:
            yield
        finally:
            self.harm = None

    @contextlib.contextmanager
    def telling(self, lie):
        self.lie, self.lying = lie, True
        try:
            yield
        finally:
            self.lying = False

    def end(self):
        self.shutdown()
        self.server_close()
        self.thread.join(10)
