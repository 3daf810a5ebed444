"""unbound as the only name server of a test: what it is told, NXDOMAIN for all else, SERVFAIL where a zone is broken."""
import os

from conftest import free_port
from tier import wait_for

DEAD_PORT = 9  # discard: nobody answers


def config(base, host, port, records=(), redirects=None, broken=(), queries=False, signed=None):
    """records: lines of a zone file; redirects: {zone: rdata for every name in it}; broken: zones without a server;
    queries: each is a line of the log; signed: a Tree of signed_zones.py, what its server says is validated."""
    modules = "validator iterator" if signed else "iterator"
    lines = ["server:", f"\tinterface: {host}@{port}", "\tdo-daemonize: no", '\tchroot: ""', '\tusername: ""',
             f"\tdirectory: {base}", f"\tpidfile: {base}/unbound.pid", '\tlogfile: ""', "\tuse-syslog: no",
             "\taccess-control: 127.0.0.0/8 allow", f'\tmodule-config: "{modules}"', "\tdo-not-query-localhost: no",
             "\tnum-threads: 1", "\tso-reuseport: no", "\toutgoing-range: 64", '\tlocal-zone: "." static',
             '\tlocal-zone: "127.in-addr.arpa." static']
    lines += ["\tlog-queries: yes"] if queries else []
    lines += [f'\tlocal-zone: "{zone}" redirect\n\tlocal-data: "{zone} 1 IN {data}"' for zone, data in (redirects or {}).items()]
    lines += [f'\tlocal-zone: "{zone}" transparent' for zone in broken]
    lines += ["\tlocal-data: '" + r + "'" for r in records]
    for zone in broken:
        lines += ["forward-zone:", f'\tname: "{zone}"', f"\tforward-addr: 127.0.0.1@{DEAD_PORT}"]
    lines += signed.resolver() if signed else []
    return "\n".join(lines) + "\n"


def answers(host, port):
    """True once it answers a question by UDP."""
    import socket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.sendto(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\4ping\0\0\1\0\1", (host, port))
        return s.recv(512)[:2] == b"\x12\x34"


def start_unbound(tier, name="unbound", host="127.0.0.1", port=None, **data):
    """Returns its port. Called again for the same name it starts anew with other data, at the same port."""
    base = tier.path(name)
    os.makedirs(base, exist_ok=True)
    port = port or free_port()
    tier.stop_process(name)
    path = os.path.join(base, "unbound.conf")
    with open(path, "w", encoding="ascii") as f:
        f.write(config(base, host, port, **data))
    tier.spawn(name, ["unbound", "-d", "-c", path])
    wait_for(lambda: answers(host, port), 30, "unbound")
    return port
