"""Load for the benchmarks: a bounded number of clients that each do the same thing until a count is reached."""
import asyncio

SENDER = b"visitor@elsewhere.example"
HEAD = b"From: <" + SENDER + b">\r\nTo: <alice@example.org>\r\nSubject: bench\r\nMessage-ID: <1@bench.example>\r\n" \
       b"Date: Tue, 24 Nov 2026 00:00:00 +0000\r\n"
LINE = b"abcdefghij klmnopqrst uvwxyz abcdefghij klmnopqrst uvwxyz abcde\r\n"


class Refused(Exception):
    """A contender did not answer as it must: the figure would be worthless."""


async def expect(reader, prefix, last=True):
    """Reads lines up to one that starts with prefix; SMTP continuation lines are passed over."""
    while True:
        line = await reader.readline()
        if line.startswith(prefix) and not (last and line[3:4] == b"-"):
            return line
        if not line or (line[:1] in b"45" and line[:3].isdigit()) or b" NO " in line[:12] or b" BAD " in line[:12]:
            raise Refused(f"wanted {prefix!r}, got {line!r}")


async def imap_login(port, tls, user, password):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None)
    await expect(reader, b"* OK")
    for tag, words in ((b"a", f"LOGIN {user} {password}"), (b"b", "NOOP"), (b"c", "LOGOUT")):
        writer.write(tag + b" " + words.encode() + b"\r\n")
        await expect(reader, tag + b" OK", last=False)
    writer.close()


class Mailer:
    """One SMTP or LMTP connection; fresh: a new one for each message."""

    def __init__(self, port, hello, fresh):
        self.port, self.hello, self.fresh = port, hello, fresh
        self.reader = self.writer = None

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        await expect(self.reader, b"220")
        self.writer.write(self.hello + b" client.example\r\n")
        await expect(self.reader, b"250")

    async def close(self):
        if self.writer is not None:
            self.writer.write(b"QUIT\r\n")
            await expect(self.reader, b"221")
            self.writer.close()
            self.writer = None

    async def send(self, sender, recipients, text):
        if self.writer is None:
            await self.open()
        self.writer.write(b"MAIL FROM:<" + sender + b">\r\n" + b"".join(b"RCPT TO:<" + r + b">\r\n" for r in recipients) +
                          b"DATA\r\n")
        for _ in range(1 + len(recipients)):
            await expect(self.reader, b"250")
        await expect(self.reader, b"354")
        self.writer.write(text + b".\r\n")
        for _ in recipients if self.hello == b"LHLO" else (1,):
            await expect(self.reader, b"250")
        if self.fresh:
            await self.close()


async def repeat(count, clients, make):
    """make() gives one client's work for one turn, an async function of no argument, and its end."""
    left = count

    async def client():
        nonlocal left
        work, end = make()
        while left > 0:
            left -= 1
            await work()
        await end()
    await asyncio.gather(*(client() for _ in range(clients)))


async def nothing():
    """The end of a client that keeps nothing."""


def send_mail(mailer, recipient, text, count, clients):
    """mailer() gives a client its connection, text() the next message."""
    def one():
        m = mailer()
        return lambda: m.send(SENDER, [recipient], text()), m.close
    asyncio.run(repeat(count, clients, one))
