"""An LMTP server that knows no delivery ids, and dies at named points: python3 crash_sink.py PORT BOOK FAULTS FIRST.

It keeps a message by a line in BOOK: "T number" (taken), written before its reply. "N number": another command has followed
that reply, so it was read. Another one may stand by: it begins when the lock of the book is free. FAULTS is the file of fault_points.c; the points of POINTS are its rows from FIRST on."""
import asyncio
import fcntl
import mmap
import os
import signal
import struct
import sys

VERBS = ("LHLO", "MAIL", "RCPT", "DATA")
POINTS = [f"sink: {what}" for v in VERBS for what in (f"{v} was read", f"after its reply to {v}")] + [
    "sink: the text was read, and is not kept", "sink: the text is kept, before its reply", "sink: after its reply to the text"]
HEAD, ROW = 64, struct.Struct("=iI")


class Rows:
    """The points and counters that are shared."""

    def __init__(self, path):
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)

    def get(self, i):
        return ROW.unpack_from(self.map, HEAD + i * ROW.size)

    def arm(self, i, left):
        struct.pack_into("=i", self.map, HEAD + i * ROW.size, left)

    def meet(self, i):
        left, hits = self.get(i)
        if left > 0:
            self.arm(i, left - 1)
        if left == 1:
            struct.pack_into("=I", self.map, HEAD + i * ROW.size + 4, hits + 1)
            os.kill(os.getpid(), signal.SIGKILL)


class Sink:
    def __init__(self, port, book, faults, first):
        self.port, self.first, self.rows = int(port), int(first), Rows(faults)
        self.lock = os.open(book + ".lock", os.O_WRONLY | os.O_CREAT, 0o644)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.book = os.open(book, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def meet(self, what):
        self.rows.meet(self.first + POINTS.index(f"sink: {what}"))

    def note(self, kind, number):
        os.write(self.book, f"{kind} {number}\n".encode())

    async def take(self, reader, writer):
        text = await reader.readuntil(b"\r\n.\r\n")
        number = text.split(b"X-Number: ", 1)[1].split(b"\r", 1)[0].decode()
        self.meet("the text was read, and is not kept")
        self.note("T", number)
        self.meet("the text is kept, before its reply")
        await self.say(writer, b"250 2.0.0 taken\r\n")
        self.meet("after its reply to the text")
        return number

    async def say(self, writer, reply):
        writer.write(reply)
        await writer.drain()

    async def command(self, reader, writer, verb):
        """The number of a message that was taken."""
        if verb not in VERBS:
            await self.say(writer, b"250 2.0.0 ok\r\n")
            return None
        self.meet(f"{verb} was read")
        await self.say(writer, {"LHLO": b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
                                "DATA": b"354 go on\r\n"}.get(verb, b"250 2.0.0 ok\r\n"))
        self.meet(f"after its reply to {verb}")
        return await self.take(reader, writer) if verb == "DATA" else None

    async def talk(self, reader, writer):
        last = None
        try:
            await self.say(writer, b"220 sink LMTP\r\n")
            while line := await reader.readline():
                if last is not None:
                    self.note("N", last)
                last = await self.command(reader, writer, line[:4].upper().decode("latin-1"))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.close()

    async def serve(self):
        server = await asyncio.start_server(self.talk, "127.0.0.1", self.port, limit=1 << 21)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(Sink(*sys.argv[1:5]).serve())
