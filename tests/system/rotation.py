"""Certificates that change, and who logs in meanwhile."""
import os
import shutil
import ssl
import subprocess
import threading

from mmp_clients import connect, hang_up


def serial(t, name="localhost", port="imaps"):
    """Of the certificate that a new connection is shown."""
    s, f = connect(t, t.port(port), name=name)
    try:
        return s.getpeercert()["serialNumber"]
    finally:
        hang_up(s, f)


def served(t, path):
    out = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-serial"], check=True, capture_output=True, text=True)
    return out.stdout.strip().split("=")[1]


def put(t, chain, key):
    """In the place of the pair that is served, each file atomically, as certbot and its kin do."""
    for source, name in ((chain, "chain.pem"), (key, "key.pem")):
        if source is not None:
            shutil.copy(source, t.path("tls", name + ".new"))
            os.rename(t.path("tls", name + ".new"), t.path("tls", name))


def new_pair(t, name, **more):
    chain, key = t.path("tls", f"{name}.chain"), t.path("tls", f"{name}.key")
    t.make_pair(chain, key, **more)
    return chain, key


def login(t):
    s, f = connect(t, t.port("imaps"))
    u = t.user("alice")
    s.sendall(f"a LOGIN {u['address']} {u['password']}\r\n".encode())
    assert f.readline().startswith(b"a OK")
    return s, f


def answers(s, f):
    s.sendall(b"n NOOP\r\n")
    while not (line := f.readline()).startswith(b"n "):
        assert line != b""
    assert line.startswith(b"n OK")


class Logins(threading.Thread):
    """Logs in and out until it is told to stop; counts both ends."""
    def __init__(self, t):
        super().__init__(daemon=True)
        self.t, self.done, self.failed, self.over = t, 0, [], threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                s, f = login(self.t)
                hang_up(s, f)
                self.done += 1
            except (OSError, AssertionError, ssl.SSLError) as error:
                self.failed.append(repr(error))

    def finish(self):
        self.over.set()
        self.join(30)
        return self.done, self.failed
