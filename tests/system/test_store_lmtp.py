"""LMTP into a store: CHUNKING, SMTPUTF8, BINARYMIME, sub-addresses, certificates of peers, and a mailbox that is full."""
import email
import imaplib
import smtplib
import socket

import pytest

HEAD = b"Subject: chunk\r\n\r\n"


@pytest.fixture(scope="module")
def store(new_tier):
    tier = new_tier(stores=1)
    tier.store_extra = (
        f"\tquota_bytes 20k;\n\tquota_over refuse;\n\tlmtp_ca {tier.ca_file};\n"
        f"\tlistener known {{ address 127.0.0.1:{tier.port_base + 2499}; protocol lmtp; tls starttls; lmtp_names mail.*; }}\n")
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
    assert "CHUNKING" in offers and "SMTPUTF8" in offers and "BINARYMIME" in offers


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
    assert not any(b"reset" in b for b in bodies(store))


def test_binary(store):
    """BINARYMIME (RFC 3030): any bytes in any chunks; the part comes out in an encoding that every reader knows."""
    c = Lmtp(store)
    c.begin("alice@example.org", more=" BODY=BINARYMIME")
    assert c.say("DATA").startswith("503 5.5.1 BINARYMIME comes by BDAT")
    raw = bytes(range(256)) * 3 + b"\n\r\0"
    head = b"Subject: octets\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    whole = head + raw
    for at in range(0, len(whole), 100):
        piece = whole[at:at + 100]
        c.socket.sendall(b"BDAT %d\r\n%s" % (len(piece), piece))
        assert c.answer().startswith("250"), at
    c.socket.sendall(b"BDAT 0 LAST\r\n")
    assert c.answer().startswith("250 2.1.5")
    found = email.message_from_bytes(bodies(store)[-1])
    assert found["Content-Transfer-Encoding"] == "base64" and found.get_payload(decode=True) == raw
    c.begin("alice@example.org", "carol@example.net", more=" BODY=BINARYMIME")
    bad = b"Subject: " + b"x" * 300000 + b"\r\n\r\n"  # a header section beyond what is converted
    c.socket.sendall(b"BDAT %d LAST\r\n%s" % (len(bad), bad))
    assert [c.answer()[:9], c.answer()[:9]] == ["554 5.6.1"] * 2
    assert c.say("NOOP").startswith("250")


def other_authority(tier):
    """A certificate of the right name that nobody knows."""
    chain, key = tier.path("tls", "alien.pem"), tier.path("tls", "alien.key")
    tier.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
                 f"/CN={tier.hostname}", "-keyout", key, "-out", chain)
    return chain, key


def test_certificates_of_peers(store):
    """lmtp_names: who may deliver shows a certificate (a listener beside the plain one)."""
    def lmtp(chain=None, key=None):
        context = store.tls_context()
        if chain:
            context.load_cert_chain(chain, key)
        s = smtplib.LMTP("127.0.0.1", store.port_base + 2499)
        s.ehlo_or_helo_if_needed()
        assert s.docmd("MAIL", "FROM:<a@b.example>")[0] == 530
        s.starttls(context=context)
        s.ehlo_or_helo_if_needed()
        return s
    own = store.path("tls", "chain.pem"), store.path("tls", "key.pem")
    for pair, code in (((), 554), (other_authority(store), 554), (own, 250)):
        with lmtp(*pair) as s:
            assert s.mail("a@b.example")[0] == code, pair
    assert store.log("store1").count("not in lmtp_names") == 2


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
