"""A store that takes an IMAP login and from then on echoes every byte, and clients that send bytes through the multiplexor without
a pause and check what comes back: no byte lost, doubled or out of order.

As a program: echo_imap.py PORT [CHAIN KEY] - the store, until it is ended; under TLS from the first byte with a certificate."""
import asyncio
import hashlib
import os
import signal
import ssl
import sys

BLOCK = 4096
WINDOW = 256  # blocks of a talker that may be under way


async def serve_one(reader, writer):
    try:
        writer.write(b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
        tag = (await reader.readline()).split(b" ")[0]
        writer.write(tag + b" OK [CAPABILITY IMAP4rev1] in\r\n")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (OSError, ssl.SSLError):
        pass
    writer.close()


async def serve(port, pair):
    context = None
    if pair:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
    server = await asyncio.start_server(serve_one, "127.0.0.1", port, ssl=context)
    await server.serve_forever()


class Talker:
    """One session that never stops talking until it is told to; `echoed` bytes have come back as they were sent."""
    def __init__(self, number):
        self.number, self.sent, self.echoed, self.over = number, 0, 0, False
        self.room, self.goal, self.reached = asyncio.Semaphore(WINDOW), 0, asyncio.Event()

    def block(self, at):
        """Of a stream that is the session's own: a block that stood elsewhere would be seen."""
        return hashlib.sha512(f"{self.number} {at}".encode()).digest() * (BLOCK // 64)

    async def log_in(self, port, user, context):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, ssl=context,
                                                                 server_hostname="localhost" if context else None)
        assert (await self.reader.readline()).startswith(b"* OK")
        self.writer.write(f"a LOGIN {user['address']} {user['password']}\r\n".encode())
        answer = await self.reader.readline()
        assert answer.startswith(b"a OK"), answer

    async def send(self):
        while not self.over:
            await self.room.acquire()
            self.writer.write(self.block(self.sent))
            self.sent += 1
            await self.writer.drain()

    async def check(self):
        while not self.over or self.echoed < self.sent:
            got = await asyncio.wait_for(self.reader.readexactly(BLOCK), 60)
            assert got == self.block(self.echoed), (self.number, self.echoed)
            self.echoed += 1
            self.room.release()
            if self.echoed >= self.goal:
                self.reached.set()

    async def echoes(self, more):
        """Returns when so many blocks more have come back."""
        self.goal = self.echoed + more
        self.reached.clear()
        await self.reached.wait()

    async def talk(self):
        await asyncio.gather(self.send(), self.check())
        self.writer.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2:]))
