#!/usr/bin/python3 -B
"""What stands behind the contenders of a benchmark and costs as little as Python can: an IMAP store that says
yes to everything, and an LMTP server that takes every message and keeps none. Usage: sink.py IMAP_PORT LMTP_PORT
"""
import asyncio
import sys


async def imap(reader, writer):
    writer.write(b"* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR] sink\r\n")
    try:
        while line := await reader.readline():
            tag, _, rest = line.partition(b" ")
            verb = rest.split()[0].upper() if rest.split() else b""
            if verb == b"AUTHENTICATE" and len(rest.split()) < 3:
                writer.write(b"+ \r\n")
                await reader.readline()
            while verb == b"LOGIN" and line.endswith((b"}\r\n", b"+}\r\n")):
                size = int(line[line.rindex(b"{") + 1:-3].rstrip(b"+"))
                if not line.endswith(b"+}\r\n"):
                    writer.write(b"+ go on\r\n")
                await reader.readexactly(size)
                line = await reader.readline()
            if verb == b"CAPABILITY":
                writer.write(b"* CAPABILITY IMAP4rev1 LITERAL+ SASL-IR\r\n")
            if verb == b"LOGOUT":
                writer.write(b"* BYE\r\n" + tag + b" OK bye\r\n")
                break
            writer.write(tag + b" OK done\r\n")
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    writer.close()


async def lmtp(reader, writer):
    writer.write(b"220 sink LMTP\r\n")
    recipients = 0
    try:
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"LHLO":
                writer.write(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE\r\n")
            elif verb == b"RCPT":
                recipients += 1
                writer.write(b"250 2.1.5 ok\r\n")
            elif verb == b"DATA":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 2.0.0 taken\r\n" * recipients)
                recipients = 0
            elif verb == b"QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                break
            else:
                recipients = 0
                writer.write(b"250 2.0.0 ok\r\n")
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    writer.close()


async def main():
    limit = 16 * 1024 * 1024
    servers = [await asyncio.start_server(imap, "127.0.0.1", int(sys.argv[1]), limit=limit, backlog=1024),
               await asyncio.start_server(lmtp, "127.0.0.1", int(sys.argv[2]), limit=limit, backlog=1024)]
    await asyncio.gather(*(s.serve_forever() for s in servers))

if __name__ == "__main__":
    asyncio.run(main())
