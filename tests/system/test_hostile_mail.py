"""Mail that was made to hurt, at the store itself: it is taken or refused in clear words, can be read and searched, and costs
no more memory than is its due."""
import imaplib
import os
import re
import socket

import pytest

from tier import children_of, wait_for

MB = 1024 * 1024
KEPT_MAX = 48 * MB  # of anonymous memory, by all processes of the store, for whatever was taken
PEAK_MAX = 500 * MB  # a message of 100 MiB is held once by who reads it, beside what maps it from its file


@pytest.fixture(scope="module")
def store(new_tier):
    t = new_tier("hostile", stores=1, needs=("store",))
    t.store_extra = "\tmessage_size_max 200M;\n"
    t.write_all()
    t.start_store(1)
    wait_for(lambda: log_in(t), 30, "a login").logout()
    return t


def log_in(tier):
    user = tier.user("alice")
    m = imaplib.IMAP4("localhost", tier.store_port(1, "imap"), timeout=300)
    try:
        m.login(user["address"], user["password"])
        return m
    except imaplib.IMAP4.error:
        m.shutdown()
        return None


def memory(tier, field):
    """The sum of a line of /proc/PID/status over the processes of the store, in bytes."""
    total = 0
    for pid, _ in children_of(tier.processes["store1"].pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            total += int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M)[1]) * 1024
    return total


def assert_bounded(store, before):
    """Since the anonymous memory was `before`. A sanitizer keeps what is freed."""
    if not os.environ.get("POSTERN_SAN"):
        assert memory(store, "RssAnon") - before < KEPT_MAX
        assert memory(store, "VmHWM") < PEAK_MAX


def lmtp(tier, text):
    """The reply at the end of data."""
    with socket.create_connection(("127.0.0.1", tier.store_port(1, "lmtp")), timeout=300) as s:
        f = s.makefile("rb")

        def reply():
            while (line := f.readline())[3:4] == b"-":
                pass
            return line
        assert reply().startswith(b"220")
        for line in (b"LHLO h.example", b"MAIL FROM:<a@b.example>", b"RCPT TO:<%s>" % tier.user("alice")["address"].encode(), b"DATA"):
            s.sendall(line + b"\r\n")
            answer = reply()
            assert answer[:1] in b"23", (line, answer)
        s.sendall(re.sub(rb"(?m)^\.", b"..", text) + b"\r\n.\r\n")
        return reply()


def nested(depth):
    """Multiparts in multiparts."""
    head = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(depth))
    return b"Subject: nested\r\n" + head + b"Content-Type: text/plain\r\n\r\nthe needle\r\n"


def in_messages(depth):
    return b"Subject: messages\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * depth + b"\r\nthe needle\r\n"


MAIL = {
    "10,000 nested parts": nested(10_000),
    "10,000 messages in messages": in_messages(10_000),
    "100,000 parts beside each other": b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\nx\r\n" * 100_000 + b"--b\r\n\r\nthe needle",
    "a header of 100 MiB": b"Subject: " + b"x" * (100 * MB) + b"\r\n\r\nthe needle",
    "a folded header of 100 MiB": b"Subject: a\r\n" + b" 0123456789abcde\r\n" * (100 * MB // 18) + b"\r\nthe needle",
    "1,000,000 header lines": b"".join(b"X-%d: y\r\n" % n for n in range(1_000_000)) + b"\r\nthe needle",
    "1,000,000 fields of one name": b"To: a@b\r\n" * 1_000_000 + b"\r\nthe needle",
    "100,000 addresses": b"To: " + b",\r\n ".join(b'"n%d" <n%d@example.org>' % (n, n) for n in range(100_000)) + b"\r\n\r\nthe needle",
    "100,000 parameters": b"Content-Type: text/plain" + b"".join(b";\r\n p%d*0*=utf-8''x" % n for n in range(100_000)) + b"\r\n\r\nthe needle",
    "100,000 references": b"Message-ID: <m@x>\r\nReferences:" + b"".join(b"\r\n <r%d@x>" % n for n in range(100_000)) + b"\r\n\r\nthe needle",
    "a boundary that never comes": b'Content-Type: multipart/mixed; boundary="none"\r\n\r\nthe needle\r\n--other\r\n',
    "no boundary at all": b"Content-Type: multipart/mixed\r\n\r\nthe needle\r\n--\r\n----\r\n",
    "boundaries within each other": b'Content-Type: multipart/mixed; boundary="a"\r\n\r\n--a\r\nContent-Type: multipart/mixed; '
                                    b'boundary="ab"\r\n\r\n--ab\r\n\r\nthe needle\r\n--a--\r\n--ab--\r\n--a\r\n',
    "broken quoting": b'Content-Type: text/plain; name="\\\r\nFrom: "((((\r\nTo: <<<>>>,;:@\r\nDate: Xyz, 99 Foo 0000\r\n\r\nthe needle',
    "broken base64": b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\ndGhlIG5lZWRsZQ==\r\n=!!=\xff\r\n",
    "broken quoted-printable": b"Content-Transfer-Encoding: quoted-printable\r\n\r\nthe needle =\r\n=Z=\r\n=" + b"=" * 5000,
    "unknown charsets": b"Subject: =?nonsense?B?AAAA?= =?utf-8?Q?=FF=FE?= =?utf-8?X?x?= =?=?=?=\r\nContent-Type: text/plain; "
                        b"charset=nonsense\r\n\r\nthe needle \xff\xfe",
    "bytes that are no UTF-8": b"Subject: \xc3\x28 \xf8\x88\x80\x80\x80\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nthe needle \xed\xa0\x80",
    "no header": b"\r\nthe needle",
    "only a header": b"the needle",
    "colons": b":" * 100_000 + b"\r\n: the needle\r\n\r\n",
}

# Behind the bounds of what is looked through, or in lines that are no header fields.
UNFOUND = ("10,000 nested parts", "10,000 messages in messages", "100,000 parts beside each other", "a folded header of 100 MiB",
           "only a header", "colons")

ASKED = ("(FLAGS UID RFC822.SIZE ENVELOPE)", "(BODY BODYSTRUCTURE)", "(PREVIEW)", "(BODY.PEEK[HEADER.FIELDS (SUBJECT TO)])",
         "(BODY.PEEK[1]<0.100>)", "(BODY.PEEK[1.1.1.1.1.1]<0.100>)", "(BINARY.SIZE[1])", "(BODY.PEEK[]<0.100>)",
         "(BODY.PEEK[TEXT]<0.100>)")


def look(m, has_needle):
    """Everything that reads a message; each command gets its answer."""
    m.select("INBOX")
    for items in ASKED:
        typ, data = m.fetch("*", items)
        assert typ in ("OK", "NO") and data, items
        assert typ == "OK" or b"UNKNOWN-CTE" in data[0], (items, data)
    for keys in ("SUBJECT nothing", "TEXT nothing", "HEADER X-1 zzz"):
        assert m.search(None, keys) == ("OK", [b""]), keys
    assert m.search(None, 'TEXT "the needle"')[1] == [b"1"] or not has_needle
    imaplib.Commands["SORT"] = ("SELECTED",)
    assert m.sort("(SUBJECT FROM TO DATE)", "UTF-8", "ALL") == ("OK", [b"1"])
    assert m.thread("REFERENCES", "UTF-8", "ALL")[0] == "OK"
    m.store("1", "+FLAGS", r"(\Deleted)")
    m.expunge()


@pytest.mark.parametrize("case", MAIL)
def test_hostile_mail(store, case):
    """By LMTP and by APPEND. What is left of it in memory, and what it took at its worst, have their bounds."""
    text, before = MAIL[case], memory(store, "RssAnon")
    pids = [pid for pid, _ in children_of(store.processes["store1"].pid)]
    found = case not in UNFOUND
    reply = lmtp(store, text)
    assert re.match(rb"250 |5\d\d |452 ", reply), reply
    m = log_in(store)
    if reply.startswith(b"250"):
        look(m, found)
    assert m.append("INBOX", None, None, text)[0] == "OK"
    look(m, found)
    m.logout()
    assert [pid for pid, _ in children_of(store.processes["store1"].pid)] == pids, "a process has died"
    assert_bounded(store, before)


def test_nul(store):
    """Not stored: LMTP and APPEND say so, a binary literal too, and the session goes on."""
    text = b"Subject: nul\r\n\r\n" + b"a\0b\r\n" * 1000
    assert re.match(rb"5\d\d |250 ", lmtp(store, text))
    m = log_in(store)
    typ, data = m.append("INBOX", None, None, text)
    assert typ == "NO" and b"NUL" in data[0]
    m.select("INBOX")
    for row in m.fetch("1:*", "(BODY.PEEK[])")[1] or []:
        assert row is None or b"\0" not in (row[1] if isinstance(row, tuple) else row)
    assert m.noop()[0] == "OK"
    m.logout()


def commands():
    deep = 5000
    yield b"SEARCH " + b"(" * deep + b"ALL" + b")" * deep, b"BAD"
    yield b"SEARCH " + b"NOT " * deep + b"ALL", b"BAD"
    yield b"SEARCH " + b"OR ALL " * deep + b"ALL", b"BAD"
    yield b"FETCH 1:* (" + b"BODY[" + b"1." * deep + b"1] " + b")", b"BAD"
    yield b"FETCH " + b",".join(b"%d" % n for n in range(1, 12000, 2)) + b" FLAGS", b"BAD"
    yield b"FETCH 1:* (" + b" ".join([b"BODY.PEEK[]"] * 3000) + b")", b"BAD"
    yield b"STORE 1 FLAGS (" + b" ".join(b"k%d" % n for n in range(3000)) + b")", b"BAD"
    yield b'LIST "" (' + b" ".join([b"%" * 20] * 1000) + b")", b"BAD"
    yield b'LIST "" "' + b"*a" * 500 + b'"', b"OK"
    yield b"CREATE " + b"a/" * 2000, b"NO"
    yield b"CREATE \"" + b"&" * 300 + b"\"", b"NO"
    yield b"GETMETADATA INBOX (" + b" ".join([b"/private/a"] * 3000) + b")", b"BAD"
    yield b"URLFETCH " + b" ".join([b"imap://x"] * 3000), b"BAD"
    yield b"SORT (" + b" ".join([b"SUBJECT"] * 3000) + b") UTF-8 ALL", b"BAD"
    yield b"ENABLE " + b" ".join([b"X"] * 9000), b"OK"
    yield b"ID (" + b" ".join([b'"a" "b"'] * 3000) + b")", b"BAD"
    yield b"APPEND INBOX (" + b" ".join(b"k%d" % n for n in range(3000)) + b") {3+}\r\na:b", b"BAD"
    yield b"APPEND INBOX CATENATE (" + b" ".join([b"URL x"] * 3000) + b")", b"NO"
    yield b"UID FETCH 4294967295:4294967296 FLAGS", b"BAD"


def test_hostile_commands(store):
    """Each is answered in the session that goes on; nothing is kept of them."""
    m = log_in(store)
    m.append("INBOX", None, None, b"Subject: x\r\n\r\ny\r\n")
    m.select("INBOX")
    before = memory(store, "RssAnon")
    for n, (command, want) in enumerate(commands()):
        m.send(b"h%d " % n + command + b"\r\n")
        while not (line := m.readline()).startswith(b"h%d " % n):
            assert line, command[:60]
        assert line.split()[1] == want, (command[:60], line)
        assert m.noop()[0] == "OK"
    m.logout()
    assert_bounded(store, before)
    store.logged("store1", r"session\.end")
