#!/usr/bin/python3 -B
"""An example of who reads what happens to mail: prints each event once, and goes on where it was after a stop.

usage: events_consumer.py HOST PORT STREAM POSITION_FILE [SECONDS]

The store adds each event to the stream at least once; one that comes again has the same "id", which is greater than
that of all before it in its partition. So the greatest id that was seen is all there is to remember; with several
partitions, one for each stream or partition. SECONDS: ends when nothing has come for so long.
"""
import json
import os
import socket
import sys


class Redis:
    """As much of the protocol as XREAD needs."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host, int(port)))
        self.file = self.socket.makefile("rb")

    def call(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("Redis has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        return rest


def parse_id(text):
    return tuple(int(n) for n in text.split("-"))


def read_position(path):
    try:
        with open(path, encoding="ascii") as f:
            entry, last = f.read().split()
        return entry, parse_id(last)
    except FileNotFoundError:
        return "0", (0, 0)


def write_position(path, entry, last):
    with open(path + ".new", "w", encoding="ascii") as f:
        f.write(f"{entry} {last[0]}-{last[1]}\n")
        f.flush()
        os.fsync(f.fileno())
    os.rename(path + ".new", path)


def main(host, port, stream, position, seconds="0"):
    redis = Redis(host, port)
    entry, last = read_position(position)
    while True:
        found = redis.call("XREAD", "COUNT", 1000, "BLOCK", int(float(seconds) * 1000), "STREAMS", stream, entry)
        if found is None:
            return 0
        for entry_id, fields in found[0][1]:
            event = json.loads(fields[1])
            if parse_id(event["id"]) > last:
                print(json.dumps(event), flush=True)
                last = parse_id(event["id"])
            entry = entry_id.decode()
        write_position(position, entry, last)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
