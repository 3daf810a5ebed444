"""LMTP into a store: CHUNKING, SMTPUTF8, sub-addresses, and a mailbox that is full."""
import imaplib
import socket

import pytest

HEAD = b"Subject: chunk\r\n\r\n"


@pytest.fixture(scope="module")
def store(new_tier):
    tier = new_tier(stores=1)
    tier.store_extra = "\tquota_bytes 20k;\n\tquota_over refuse;\n"
    tier.write_all()
    tier.start_store(1)
    return tier


class Lmtp:
    def __init__(self, tier):
        self.socket = socket.create_connection(("127.0.0.1", tier.store_port(1, "lmtp")), timeout=20)
        self.file = self.socket.makefile("rb")
        assert self.answer().startswith("220")
        self.offers = self.say("LHLO client.example")

    def answer(self):
        lines = []
        while True:
            line = self.file.readline().decode()
            lines.append(line.rstrip())
            if line[3:4] != "-":
                return "\n".join(lines)

    def say(self, text):
        self.socket.sendall((text if isinstance(text, bytes) else text.encode()) + b"\r\n")
        return self.answer()

    def begin(self, *users, more=""):
        assert self.say(f"MAIL FROM:<s@elsewhere.example>{more}").startswith("250")
        for user in users:
            assert self.say(f"RCPT TO:<{user}>").startswith("250"), user


def bodies(tier, name="alice", mailbox="INBOX"):
    user = tier.user(name)
    m = imaplib.IMAP4("127.0.0.1", tier.store_port(1, "imap"))
    m.login(user["address"], user["password"])
    status, data = m.select(mailbox, readonly=True)
    found = [p[1] for p in m.fetch("1:*", "(BODY.PEEK[])")[1] if isinstance(p, tuple)] if data != [b"0"] else []
    m.logout()
    return found


def test_offers(store):
    offers = Lmtp(store).offers
    assert "CHUNKING" in offers and "SMTPUTF8" in offers and "BINARYMIME" not in offers


def test_chunks(store):
    c = Lmtp(store)
    c.begin("alice@example.org", "carol@example.net")
    c.socket.sendall(b"BDAT %d\r\n%s" % (len(HEAD), HEAD))
    assert c.answer() == f"250 2.0.0 {len(HEAD)} octets received"
    assert c.say("RCPT TO:<dave@example.net>").startswith("503")
    assert c.say("DATA").startswith("503")
    c.socket.sendall(b"BDAT 0\r\n")
    assert c.answer().startswith("250")
    text = b".\r\nQUIT\r\n..\r\n"  # no dots are stuffed, no words are commands
    for byte in b"BDAT %d LAST\r\n%sNOOP\r\n" % (len(text), text):
        c.socket.sendall(bytes([byte]))
    assert [c.answer()[:3] for _ in range(3)] == ["250", "250", "250"]
    for name in ("alice", "carol"):
        assert bodies(store, name)[-1].endswith(HEAD + text)


def test_chunks_refused(store):
    c = Lmtp(store)
    c.socket.sendall(b"BDAT 8 LAST\r\nQUIT\r\nXXNOOP\r\n")  # nobody to deliver to: read for nothing
    assert c.answer().startswith("503") and c.answer().startswith("250")
    for bad in (b"a\nb\r\n", b"a\rb\r\n", b"a\0\r\n", b"a\r"):
        c.begin("alice@example.org")
        c.socket.sendall(b"BDAT %d\r\n%s" % (len(HEAD), HEAD))
        assert c.answer().startswith("250")
        c.socket.sendall(b"BDAT %d LAST\r\n%s" % (len(bad), bad))
        assert c.answer().startswith("550 5.6.0"), bad
    c.begin("alice@example.org")
    c.socket.sendall(b"BDAT 19\r\nSubject: reset\r\n\r\nx")
    assert c.answer().startswith("250")
    assert c.say("RSET").startswith("250")
    assert c.say("MAIL FROM:<s@elsewhere.example> BODY=BINARYMIME").startswith("501")
    assert not any(b"reset" in b for b in bodies(store))


def test_utf8(store):
    c = Lmtp(store)
    assert c.say("MAIL FROM:<jörg@elsewhere.example>").startswith("501")
    c.begin("bücher@example.org", "alice+übung@example.org", more=" SMTPUTF8")
    assert c.say("DATA").startswith("354")
    assert c.say(b"Subject: gr\xc3\xbc\xc3\x9fe\r\n\r\nx\r\n.").startswith("250")
    assert c.answer().startswith("250")
    assert b"with UTF8LMTP id" in bodies(store)[-1]


def test_full(store):
    c = Lmtp(store)
    big = HEAD + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 200
    c.begin("full@example.org")
    c.socket.sendall(b"BDAT %d LAST\r\n%s" % (len(big), big))
    assert c.answer().startswith("250")
    c.begin("full@example.org")  # there is room for something
    c.socket.sendall(b"BDAT %d LAST\r\n%s" % (len(big), big))
    assert c.answer().startswith("552 5.2.2")
    assert c.say("MAIL FROM:<s@elsewhere.example> SIZE=15000").startswith("250")
    assert c.say("RCPT TO:<full@example.org>").startswith("552 5.2.2")
    assert c.say("RCPT TO:<alice@example.org>").startswith("250")
