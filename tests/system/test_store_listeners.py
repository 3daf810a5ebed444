"""The listeners of a store's worker: room for so many sessions each, reloads, PROXY headers that an upgrade finds under way."""
import socket

import pytest

from conftest import free_port
from mmp_clients import control, upgrade
from tier import wait_for

PATIENCE = 30
HALF, REST = b"PROXY TCP4 192.0.2.7 ", b"192.0.2.1 4711 143\r\n"


@pytest.fixture
def store(new_tier, request):
    t = new_tier(f"listeners-{request.node.name[5:20]}", stores=1, needs=("store",))
    t.workers, t.supervised = 1, True
    t.a, t.b, t.c = free_port(), free_port(), free_port()
    narrow(t, 1)
    t.start_store(1)
    knock(t.store_port(1, "imap")).close()
    return t


def listener(name, more, *ports):
    return f"\tlistener {name} {{ address {', '.join(f'127.0.0.1:{p}' for p in ports)}; protocol imap; {more} }}\n"


def narrow(t, room, *others, more=""):
    t.store_extra = listener("narrow", f"sessions_max {room}; {more}", t.a, t.b) + "".join(others)
    t.write_all()


def reload(t):
    assert control(t, "store", "reload", "store1-run")["ok"]


def former(t):
    """Processes of the old binary that are still there."""
    return control(t, "store", "status", "store1-run")["former"]


def join(port, words=b""):
    s = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    s.sendall(words)
    return s


def greeting(s):
    return s.recv(1000)


def knock(port, words=b""):
    s = join(port, words)
    assert greeting(s).startswith(b"* OK")
    return s


def waits(t, *clients):
    """The worker has had its turn, since somebody who came later was greeted elsewhere; they have heard nothing."""
    knock(t.store_port(1, "imap")).close()
    for s in clients:
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.recv(1)
        s.settimeout(PATIENCE)


def heard(*clients):
    """Those that have something to read, which they keep."""
    got = []
    for s in clients:
        s.setblocking(False)
        try:
            assert s.recv(100, socket.MSG_PEEK).startswith(b"* OK")
            got.append(s)
        except BlockingIOError:
            pass
        s.settimeout(PATIENCE)
    return got


def test_room(store):
    """Of all addresses of the listener together, and as the newest configuration says."""
    inside, second, third, fourth = knock(store.a), join(store.b), join(store.a), join(store.b)
    waits(store, second, third, fourth)
    inside.close()
    wait_for(lambda: heard(second, third, fourth), PATIENCE, "the next one")
    left = [s for s in (second, third, fourth) if s not in heard(second, third, fourth)]
    assert len(left) == 2
    waits(store, *left)
    narrow(store, 3)
    reload(store)
    assert all(greeting(s).startswith(b"* OK") for s in left)
    narrow(store, 2)
    reload(store)
    late = join(store.a)
    waits(store, late)
    left.pop().close()  # as many as there is room for are still there
    waits(store, late)
    left.pop().close()
    assert greeting(late).startswith(b"* OK")


def test_reload(store):
    """A listener comes, another gets PROXY headers, and goes: who knocks there is not left to wait."""
    narrow(store, 5, listener("wide", "", store.c), more="proxy_from 127.0.0.1;")
    reload(store)
    knock(store.c)
    half = join(store.a, HALF)
    knock(store.b, HALF + REST)
    narrow(store, 6, listener("wide", "", store.c), more="proxy_from 127.0.0.1;")
    reload(store)
    half.sendall(REST)  # only the room has changed
    assert greeting(half).startswith(b"* OK")
    wait_for(lambda: "client=192.0.2.7:4711" in store.log("store1"), PATIENCE, "the client of the header")
    store.store_extra = listener("wide", "", store.c)
    store.write_all()
    reload(store)
    assert join(store.a).recv(100) == b""
    knock(store.c)


def test_upgrade(store):
    """Whose header is half there is greeted by the old process, which goes after the last session."""
    narrow(store, 5, more="proxy_from 127.0.0.1;")
    reload(store)
    half = join(store.a, HALF)
    waits(store, half)
    upgrade(store, "store", config="store1")
    knock(store.a, HALF + REST).close()
    half.sendall(REST)
    assert greeting(half).startswith(b"* OK")
    assert former(store)
    half.close()
    wait_for(lambda: not former(store), PATIENCE, "the end of the old one")
    assert "worker.died" not in store.log("store1")
