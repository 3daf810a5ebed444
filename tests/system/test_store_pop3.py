"""POP3 at the store itself: what holds across workers, restarts and a committer that dies."""
import os
import poplib
import re
import signal
import smtplib

import pytest

import mail
from tier import children_of, wait_for

SENDER = "visitor@elsewhere.example"
SIZES = (0, 500, 16384, 65536, 1 << 20)


@pytest.fixture(scope="module")
def store(new_tier):
    """One store without anything in front of it; two workers, so that what they must agree on is tried."""
    t = new_tier("pop", stores=1, needs=("store",))
    t.workers = 2
    t.write_all()
    t.start_store(1)
    return t


def log_in(tier, name="alice"):
    """Waits for a store that is starting; every other refusal is the caller's."""
    def attempt():
        p = poplib.POP3("localhost", tier.store_port(1, "pop3"), timeout=60)
        p.stls(tier.tls_context())
        try:
            p.user(tier.user(name)["address"])
            p.pass_(tier.user(name)["password"])
            return p
        except poplib.error_proto as error:
            p.close()
            if "[SYS/TEMP]" not in str(error):
                raise
            return None
    return wait_for(attempt, 30, f"{name}'s login")


def deliver(tier, name="alice", size=200):
    address = tier.user(name)["address"]
    text = mail.message(mail.new_token(), SENDER, [address], size)
    with smtplib.LMTP("localhost", tier.store_port(1, "lmtp")) as s:
        s.sendmail(SENDER, [address], text, ["BODY=8BITMIME"])
    return text


def read(p, number):
    return b"".join(line + b"\r\n" for line in p.retr(number)[1])


def empty(tier, name):
    p = log_in(tier, name)
    for number in range(1, p.stat()[0] + 1):
        p.dele(number)
    p.quit()


def test_every_byte_and_every_size(store):
    log_in(store).quit()
    texts = [deliver(store, size=size) for size in SIZES]
    p = log_in(store)
    sizes = [int(line.split()[1]) for line in p.list()[1]]
    got = [read(p, n + 1) for n in range(len(texts))]
    assert [mail.original(g) for g in got] == texts
    assert [len(g) for g in got] == sizes and p.stat() == (len(texts), sum(sizes))
    for n, text in enumerate(got):
        head, body = text.split(b"\r\n\r\n", 1)
        top = b"".join(line + b"\r\n" for line in p.top(n + 1, 5)[1])
        assert top == head + b"\r\n\r\n" + b"".join(line + b"\r\n" for line in body.split(b"\r\n")[:5])
    p.quit()


def test_unique_ids_outlive_the_store(store):
    p = log_in(store)
    before = p.uidl()[1]
    p.quit()
    assert all(re.fullmatch(rb"\d+ \d+\.\d+", line) for line in before) and len(before) == len(SIZES)
    assert store.stop_process("store1") == 0
    store.start_store(1)
    p = log_in(store)
    assert p.uidl()[1] == before
    p.quit()


def test_one_session_in_whichever_worker(store):
    first = log_in(store)
    for _ in range(20):
        with pytest.raises(poplib.error_proto, match=r"\[IN-USE\]"):
            log_in(store)
    log_in(store, "carol").quit()
    first.quit()
    for _ in range(20):
        log_in(store).quit()


def test_beside_imap(store):
    p = log_in(store)
    count = p.stat()[0]
    c = mail.imap(store, store.user("alice"), port=store.store_port(1, "imap"), tls=False)
    c.select()
    c.store("1", "+FLAGS", r"(\Deleted)")
    c.expunge()
    with pytest.raises(poplib.error_proto, match="gone"):
        p.retr(1)
    p.dele(1)
    p.dele(2)
    p.quit()
    c.noop()
    assert c.search(None, "ALL")[1][0].split() == [str(n + 1).encode() for n in range(count - 2)]
    c.store("1", "+FLAGS", r"(\Deleted)")
    p = log_in(store)
    assert p.stat()[0] == count - 3  # thrown away, and not yet taken out
    p.quit()
    c.store("1", "-FLAGS", r"(\Deleted)")
    c.logout()


def test_no_quit_no_deletion(store):
    p = log_in(store)
    count = p.stat()[0]
    p.dele(1)
    p.close()

    def again():
        try:
            return log_in(store)
        except poplib.error_proto as error:
            assert "IN-USE" in str(error)
            return None
    p = wait_for(again, 10, "the lock of a connection that was dropped")
    assert p.stat()[0] == count
    p.quit()


def test_committer_dies_before_quit(store):
    empty(store, "alice")
    deliver(store)
    keep = deliver(store)
    p = log_in(store)
    p.dele(1)
    started = re.findall(r"worker\.started role=committer index=0 pid=(\d+)", store.log("store1"))
    assert int(started[-1]) in [pid for pid, _ in children_of(store.processes["store1"].pid)]
    os.kill(int(started[-1]), signal.SIGKILL)
    assert p.quit().startswith(b"+OK")
    p = log_in(store)
    assert p.stat()[0] == 1 and mail.original(read(p, 1)) == keep
    p.quit()


def test_drain_waits_for_what_is_marked(store):
    p, idle = log_in(store), log_in(store, "carol")
    p.dele(1)
    os.kill(store.processes["store1"].pid, signal.SIGTERM)
    idle.sock.settimeout(20)
    assert idle.sock.recv(1000).startswith(b"-ERR [SYS/TEMP] ")
    assert p.noop().startswith(b"+OK") and p.quit().startswith(b"+OK")
    assert store.processes.pop("store1").wait(20) == 0
    store.start_store(1)
    p = log_in(store)
    assert p.stat()[0] == 0
    p.quit()
