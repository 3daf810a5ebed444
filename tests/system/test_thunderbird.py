"""A client like Thunderbird: what it sends for an account from the first start on, in its order and its way of writing, with
several connections, at the store itself and through the multiplexor. It is not the program itself: there is none without a
display here; the sequence is that of its protocol log."""
import base64
import re
import smtplib
import socket

import pytest

import mail

SENDER = "visitor@elsewhere.example"
HEADERS = ("From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To "
           "List-Id Auto-Submitted")
CHUNK = 65536


class Connection:
    """Tags are numbers; names are quoted; literals wait for the continuation."""

    def __init__(self, tier, port, user):
        self.user, self.tag, self.closed = user, 0, False
        self.socket = socket.create_connection(("localhost", port), timeout=60)
        self.file = self.socket.makefile("rb")
        assert self.file.readline().startswith(b"* OK")
        assert b"STARTTLS" in self.ok("capability")
        self.ok("STARTTLS")
        self.file.close()
        self.socket = tier.tls_context().wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")
        capability = self.ok("capability")
        assert b"AUTH=PLAIN" in capability
        secret = base64.b64encode(f"\0{user['address']}\0{user['password']}".encode()).decode()
        if b"SASL-IR" in capability:
            self.ok("authenticate PLAIN " + secret)
        else:
            self.send("authenticate PLAIN")
            assert self.file.readline().startswith(b"+")
            self.raw(secret)
            self.answer()
        self.capability = self.ok("capability")

    def raw(self, text):
        self.socket.sendall(text.encode() + b"\r\n" if isinstance(text, str) else text + b"\r\n")

    def send(self, command):
        self.tag += 1
        self.raw(f"{self.tag} {command}")

    def line(self):
        """One response line with its literals."""
        heard = self.file.readline()
        assert heard, self.user["address"]
        while True:
            literal = re.search(rb"\{(\d+)\}\r\n$", heard)
            if literal is None:
                return heard
            heard += self.file.read(int(literal[1])) + self.file.readline()

    def answer(self):
        heard = b""
        while True:
            line = self.line()
            if line.startswith(b"%d " % self.tag):
                assert line.startswith(b"%d OK" % self.tag), heard + line
                return heard + line
            heard += line

    def ok(self, command):
        self.send(command)
        return self.answer()

    def append(self, name, flags, text):
        self.send(f'append "{name}" ({flags}) {{{len(text)}}}')
        assert self.line().startswith(b"+")
        self.raw(text)
        return self.answer()

    def idle(self):
        self.send("IDLE")
        assert self.line().startswith(b"+")

    def done(self):
        self.raw("DONE")
        return self.answer()

    def body(self, uid):
        """By chunks, as its partial fetches do; the size is known."""
        size = int(re.search(rb"RFC822.SIZE (\d+)", self.ok(f"UID fetch {uid} (UID RFC822.SIZE)"))[1])
        text = b""
        for at in range(0, size, CHUNK):
            heard = self.ok(f"UID fetch {uid} (UID RFC822.SIZE BODY.PEEK[]<{at}.{CHUNK}>)")
            found = re.search(rb"BODY\[\]<%d> \{(\d+)\}\r\n" % at, heard)
            text += heard[found.end():found.end() + int(found[1])]
        assert len(text) == size
        return text

    def logout(self):
        self.send("logout")
        assert self.line().startswith(b"* BYE")
        self.socket.close()


@pytest.fixture(scope="module")
def tier(new_tier):
    t = new_tier("bird", stores=1, needs=("mmp", "store"))
    t.use_redis = False
    t.write_all()
    t.start_store(1)
    t.start_daemon("mmp", "postern")
    return t


@pytest.fixture(params=["store", "mmp"])
def door(request, tier):
    """Of each door a user of its own, so that both begin with an empty account."""
    port = tier.store_port(1, "imap") if request.param == "store" else tier.port("imap")
    return tier, port, tier.user("alice" if request.param == "store" else "carol")


def deliver(tier, user, size):
    token = mail.new_token()
    text = mail.message(token, SENDER, [user["address"]], size)
    with smtplib.LMTP("localhost", tier.store_port(1, "lmtp")) as s:
        s.sendmail(SENDER, [user["address"]], text, ["BODY=8BITMIME"])
    return text


def start_up(tier, port, user):
    """The first connection: who are you, where are the folders."""
    c = Connection(tier, port, user)
    assert c.ok('ID ("name" "Thunderbird" "version" "128.5.0")').startswith(b"* ID ")
    if b"NAMESPACE" in c.capability:
        assert b'* NAMESPACE (("" "/"))' in c.ok("namespace")
    assert b"ENABLE" in c.capability and b"* ENABLED CONDSTORE" in c.ok("ENABLE CONDSTORE")
    assert b'"/" INBOX' in c.ok('list (subscribed) "" "*" return (special-use)')
    assert b"INBOX" in c.ok('lsub "" "*"') and b"INBOX" in c.ok('list "" "INBOX"')
    return c


def make_folders(c):
    for name, use in (("Trash", "\\Trash"), ("Sent", "\\Sent"), ("Drafts", "\\Drafts")):
        c.ok(f'create "{name}" (USE ({use}))' if b"CREATE-SPECIAL-USE" in c.capability else f'create "{name}"')
        c.ok(f'subscribe "{name}"')
    heard = c.ok('list (subscribed) "" "*" return (special-use)')
    assert all(re.search(rb"\\%s[^\n]*%s\r\n" % (name, name), heard) for name in (b"Trash", b"Sent", b"Drafts")), heard


def look_at(c, name):
    """A folder is opened: numbers, flags of all, headers of what is not known yet."""
    heard = c.ok(f'select "{name}" (CONDSTORE)')
    assert re.search(rb"\[UIDVALIDITY \d+\]", heard) and b"\\*)" in heard
    modseq = int(re.search(rb"\[HIGHESTMODSEQ (\d+)\]", heard)[1])
    uids = [int(u) for u in re.findall(rb"UID (\d+)", c.ok("UID fetch 1:* (FLAGS)"))]
    if uids:
        heads = c.ok(f"UID fetch {uids[0]}:{uids[-1]} (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS ({HEADERS})])")
        assert len(re.findall(rb"BODY\[HEADER.FIELDS \(", heads)) == len(uids)
    return uids, modseq


def throw_away(c, uids):
    """The two ways to the Trash: with MOVE, and as it was before."""
    assert b"MOVE" in c.capability
    heard = c.ok(f'uid move {uids[0]} "Trash"')
    assert b"COPYUID" in heard and b"EXPUNGE" in heard
    assert b"COPYUID" in c.ok(f'uid copy {uids[1]} "Trash"')
    assert b"\\Deleted" in c.ok(f"uid store {uids[1]} +FLAGS (\\Deleted \\Seen)")
    assert b"EXPUNGE" in c.ok("expunge")


def test_the_first_day(door):
    tier, port, user = door
    c = start_up(tier, port, user)
    make_folders(c)
    texts = [deliver(tier, user, size) for size in (500, 200000, 3000)]
    uids, _ = look_at(c, "INBOX")
    assert uids == [1, 2, 3]
    assert [mail.original(c.body(uid)) for uid in uids] == texts
    assert b"\\Seen" not in c.ok("UID fetch 1:* (FLAGS)")
    c.ok("uid store 1:2 +Flags (\\Seen)")
    assert b"NonJunk" in c.ok("uid store 2 +FLAGS (NonJunk)") and b"$Forwarded" in c.ok("uid store 2 +Flags ($Forwarded)")
    assert b"QUOTAROOT" in c.ok('getquotaroot "INBOX"') and b"MYRIGHTS" in c.ok('myrights "INBOX"')
    throw_away(c, [1, 3])
    c.ok("check")
    trash = Connection(tier, port, user)
    assert look_at(trash, "Trash")[0] == [1, 2]
    trash.ok("uid store 1:* +FLAGS (\\Deleted)")
    trash.ok("close")
    assert b"MESSAGES 0" in c.ok('STATUS "Trash" (UIDNEXT MESSAGES UNSEEN RECENT)')
    trash.logout()
    c.logout()


def test_mail_that_comes_and_goes(door):
    """IDLE while another connection sends; what was sent is found again by its Message-ID."""
    tier, port, user = door
    c, other = start_up(tier, port, user), Connection(tier, port, user)
    known, _ = look_at(c, "INBOX")
    c.idle()
    text = deliver(tier, user, 700)
    line = c.line()
    while b"EXISTS" not in line:
        line = c.line()
    c.done()
    new = [int(u) for u in re.findall(rb"UID (\d+)", c.ok(f"UID fetch {max(known, default=0) + 1}:* (FLAGS)"))]
    assert len(new) == 1 and mail.original(c.body(new[0])) == text
    sent = f"Message-ID: <{mail.new_token()}@bird.example>\r\nSubject: sent\r\n\r\nbody\r\n".encode()
    assert b"APPENDUID" in other.append("Sent", "\\Seen", sent)
    look_at(other, "Sent")
    ident = re.search(rb"<.*>", sent)[0].decode()
    assert re.search(rb"\* SEARCH \d+\r\n", other.ok(f'UID SEARCH UNDELETED HEADER "Message-ID" "{ident}"'))
    other.idle()
    assert b"APPENDUID" in c.append("Sent", "\\Seen $MDNSent", sent)
    line = other.line()
    while b"EXISTS" not in line:
        line = other.line()
    other.done()
    other.logout()
    c.logout()


def test_offline(door):
    """What was done without a connection is played back, and what others did meanwhile is fetched by CHANGEDSINCE."""
    tier, port, user = door
    c = start_up(tier, port, user)
    deliver(tier, user, 400)
    uids, modseq = look_at(c, "INBOX")
    c.logout()
    with mail.imap(tier, user, port=tier.store_port(1, "imap"), tls=False) as m:
        m.select()
        m.uid("STORE", str(uids[-1]), "+FLAGS", "(elsewhere)")
    deliver(tier, user, 300)
    c = start_up(tier, port, user)
    c.ok('select "INBOX" (CONDSTORE)')
    changed = c.ok(f"UID fetch 1:* (FLAGS) (CHANGEDSINCE {modseq})")
    assert [int(u) for u in re.findall(rb"UID (\d+)", changed)] == [uids[-1], uids[-1] + 1], changed
    assert b"elsewhere" in changed and changed.count(b"MODSEQ (") == 2
    c.ok(f"uid store {uids[-1]} +Flags (\\Flagged)")
    assert b"APPENDUID" in c.append("Drafts", "\\Draft \\Seen", b"Subject: offline\r\n\r\nbody\r\n")
    assert b"COPYUID" in c.ok(f'uid move {uids[-1]} "Trash"')
    for name in ("Trash", "Drafts"):
        assert look_at(c, name)[0]
    c.logout()
