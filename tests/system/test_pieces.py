"""Pieces that become a message once, however the queue dies while it is written down; and what the whole asks of reports."""
import json
import mmap
import os
import struct
import subprocess

import pytest

import mail
from channel_host import running_host
from conftest import TOP
from test_channel_content import SENDER, piece, split
from tier import wait_for

CHANNELS = """
	channel script {{ type pipe; program {place}/program; addresses pieces.example; user news; retry_first 200ms; retry_max 1s;
		environment "PLACE={place}/out"; }}
	channel pieces {{ type defragment; addresses pieces.example; defragment_lifetime 10m; }}
"""
TO, ROW, ENDS_MAX = "z@pieces.example", struct.Struct("=qqqq"), 4096


class Fault:
    """See append_fault.c."""

    def __init__(self, run_dir):
        self.library, path = os.path.join(run_dir, "append_fault.so"), os.path.join(run_dir, "append_fault")
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", self.library, os.path.join(TOP, "tests", "system", "append_fault.c")],
                       check=True, timeout=120)
        with open(path, "wb") as f:
            f.write(ROW.pack(-1, 0, 0, 0) + bytes(8 * ENDS_MAX))
        os.chmod(path, 0o666)
        self.env = dict(LD_PRELOAD=self.library, APPEND_FAULT=path,
                        ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)

    def arm(self, left):
        struct.pack_into("=q", self.map, 0, left)

    written = property(lambda self: ROW.unpack_from(self.map)[1])
    deaths = property(lambda self: ROW.unpack_from(self.map)[2])

    def ends(self):
        """Where each record ended."""
        return struct.unpack_from(f"={ROW.unpack_from(self.map)[3]}q", self.map, ROW.size)


@pytest.fixture(name="fault", scope="module")
def _fault(run_dir):
    return Fault(run_dir)


@pytest.fixture(name="host", scope="module")
def _host(run_dir, fault):
    with pytest.MonkeyPatch.context() as m:
        for name, value in fault.env.items():
            m.setenv(name, value)
        made = running_host(run_dir, channels=CHANNELS)
        host = next(made)
    yield host
    next(made, None)


def restart(host, fault):
    """So that the master is as patient as at its first start."""
    host.stop_process("edge")
    with pytest.MonkeyPatch.context() as m:
        for name, value in fault.env.items():
            m.setenv(name, value)
        host.start_edge()
    wait_for(lambda: host.postern("queue", "list").returncode == 0, 30, "the queue")


def make_whole(host, fault, left):
    """Three pieces; the queue dies when so many bytes have been written from the last one on. Where its records ended, in bytes
    from then on."""
    host.clean()
    token = mail.new_token()
    parts = split(token, 3, 30)
    for number in (2, 1):
        assert mail.send(host, SENDER, [TO], piece(token, number, 3, parts[number - 1]))[0] == 250
    wait_for(lambda: len(host.queue("state=waiting")) == 2, 30, "two pieces that wait")
    before = fault.written
    fault.arm(left)
    assert mail.send(host, SENDER, [TO], piece(token, 3, 3, parts[2]))[0] == 250
    wait_for(lambda: host.facts(), 60, "the whole")
    host.wait_empty(60)
    fault.arm(-1)
    texts = [f["text"] for f in host.facts()]
    assert len(texts) == 1 and "message/partial" not in texts[0], texts
    assert texts[0].split("\n\n", 1)[1] == b"".join(parts).split(b"\r\n\r\n", 1)[1].decode().replace("\r\n", "\n")
    return [end - before for end in fault.ends() if end > before]


def test_once_whenever_the_queue_dies(host, fault):
    """Between any two records, and in the middle of one."""
    ends = make_whole(host, fault, -1)
    for n in ends[:-1] + [(ends[1] + ends[2]) // 2]:
        restart(host, fault)
        before = fault.deaths
        make_whole(host, fault, n)
        assert fault.deaths == before + 1, n


@pytest.mark.parametrize("wishes, whole", [
    (("NEVER", "FAILURE"), "NEVER"), (("FAILURE", "NEVER"), "NEVER"), (("SUCCESS", "FAILURE"), "SUCCESS,FAILURE"), (("", ""), ""),
    (("", "SUCCESS"), "SUCCESS,FAILURE,DELAY"), (("DELAY", "DELAY"), "DELAY")])
def test_wishes_of_the_whole(host, wishes, whole):
    """Those of its pieces together, and the first one's names; silence, if one of them wants it."""
    host.clean()
    host.order("75 later")
    token, alice = mail.new_token(), host.user("alice")
    for number, (wish, text) in enumerate(zip(wishes, split(token, 2, 30)), 1):
        with mail.smtp(host, service="submission", user=alice) as s:
            s.ehlo()
            assert s.mail(alice["address"], [f"ENVID=e{number}"])[0] == 250
            assert s.rcpt(TO, [f"ORCPT=rfc822;o{number}@x.example"] + ([f"NOTIFY={wish}"] if wish else []))[0] == 250
            assert s.data(piece(token, number, 2, text))[0] == 250
    row = wait_for(lambda: (q := host.queue()) and len(q) == 1 and "later" in q[0]["reason"] and q[0], 30, "the whole, which waits")
    shown, = json.loads(host.postern("queue", "show", row["id"], "--json").stdout)
    assert (shown["notify"], shown["orcpt"], shown["envid"]) == (whole, "rfc822;o1@x.example", "e1")
    assert shown["trusted"]
    # what is being tried at the moment is not deleted
    wait_for(lambda: host.postern("queue", "delete", row["id"]) and not host.queue(), 30, "an empty queue")
