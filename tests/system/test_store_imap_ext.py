"""IMAP at the store itself, as Python's imaplib speaks it: extensions, and how long an answer takes."""
import imaplib
import os
import pty
import re
import select
import signal
import socket
import statistics
import time
import zlib

import pytest

import imapflow
import mail
from tier import wait_for

SENDER = "visitor@elsewhere.example"


@pytest.fixture(scope="module")
def store(new_tier):
    """One store without anything in front of it."""
    t = new_tier("imapx", stores=1, needs=("store",))
    t.store_extra = "\timap_progress_every 1s;\n"
    t.write_all()
    t.start_store(1)
    return t


def log_in(tier, name="alice"):
    """Waits for a store that is starting."""
    def attempt():
        m = imaplib.IMAP4("localhost", tier.store_port(1, "imap"), timeout=60)
        try:
            m.login(tier.user(name)["address"], tier.user(name)["password"])
            return m
        except imaplib.IMAP4.error as error:
            m.shutdown()
            if "UNAVAILABLE" not in str(error):
                raise
            return None
    return wait_for(attempt, 30, f"{name}'s login")


@pytest.mark.parametrize("size", [2_000, 100_000])
def test_append_waits_for_no_delayed_acknowledgement(store, size):
    """imaplib sends a literal and the line end behind it by themselves: Nagle holds the second until the first is
    acknowledged, which the kernel delays by 40 ms unless it is told that there is nothing to wait for."""
    m = log_in(store)
    text = mail.message(mail.new_token(), SENDER, [store.user("alice")["address"]], size)
    took = []
    for _ in range(15):
        start = time.monotonic()
        assert m.append("INBOX", None, None, text)[0] == "OK"
        took.append(time.monotonic() - start)
    m.logout()
    assert statistics.median(took) < 0.035, took


def flat(response):
    """imaplib's data as one string of bytes."""
    return b" ".join(b" ".join(part) if isinstance(part, tuple) else part for part in response if part)


def command(m, *words):
    """Any command: what came untagged, by its name."""
    m.untagged_responses.clear()
    name = words[0] if words[0] != "UID" else words[1]
    imaplib.Commands.setdefault(name, ("AUTH", "SELECTED"))
    imaplib.Commands.setdefault(words[0], ("AUTH", "SELECTED"))
    kind, data = m._simple_command(*words)
    assert kind == "OK", (words, data)
    return {key: flat(value) for key, value in m.untagged_responses.items()}


def test_resync_after_a_restart(store):
    """What a client knows by modseq is still right when the store has been started again."""
    m = log_in(store, "bob")
    for n in range(6):
        assert m.append("INBOX", None, None, b"Subject: %d\r\n\r\ntext\r\n" % n)[0] == "OK"
    command(m, "ENABLE", "QRESYNC")
    m.select("INBOX")
    before = {key: int(flat(m.response(key)[1])) for key in ("UIDVALIDITY", "HIGHESTMODSEQ")}
    command(m, "STORE", "2", "+FLAGS.SILENT", "(\\Flagged)")
    command(m, "STORE", "4", "+FLAGS.SILENT", "(\\Deleted)")
    assert b"4" in command(m, "EXPUNGE")["VANISHED"]
    m.logout()
    os.kill(store.processes["store1"].pid, signal.SIGTERM)
    store.processes["store1"].wait(timeout=60)
    store.start_store(1)
    m = log_in(store, "bob")
    command(m, "ENABLE", "QRESYNC")
    got = command(m, "SELECT", "INBOX", "(QRESYNC (%d %d))" % (before["UIDVALIDITY"], before["HIGHESTMODSEQ"]))
    assert got["VANISHED"] == b"(EARLIER) 4"
    assert re.fullmatch(rb"2 \(UID 2 FLAGS \(\\Flagged\) MODSEQ \(\d+\)\)", got["FETCH"]), got
    m.logout()


def test_compressed_over_tls(store):
    """A message larger than every buffer, packed under TLS both ways."""
    m = imaplib.IMAP4("localhost", store.store_port(1, "imap"), timeout=60)
    m.starttls(store.tls_context())
    m.login(store.user("alice")["address"], store.user("alice")["password"])
    text = mail.message(mail.new_token(), SENDER, [store.user("alice")["address"]], 3_000_000)
    pack, unpack = zlib.compressobj(9, zlib.DEFLATED, -15), zlib.decompressobj(-15)
    m.sock.sendall(b"z COMPRESS DEFLATE\r\n")
    assert m.file.readline().startswith(b"z OK ")

    def ask(line, end):
        m.sock.sendall(pack.compress(line) + pack.flush(zlib.Z_SYNC_FLUSH))
        heard = b""
        while not re.search(end, heard[-300:]):
            heard += unpack.decompress(m.sock.recv(65536))
        return heard
    ask(b"a EXAMINE INBOX\r\n", rb"a OK .*\r\n")
    ask(b"a APPEND INBOX {%d}\r\n" % len(text), rb"\+ go on\r\n")
    ask(text + b"\r\n", rb"a OK \[APPENDUID .*\r\n")
    heard = ask(b"b FETCH * BODY.PEEK[]\r\n", rb"b OK .*\r\n")
    assert b"{%d}\r\n" % len(text) + text + b")\r\nb OK" in heard
    m.sock.close()


def test_imapflow(store):
    """Compressed by itself, as the store offers that."""
    user, token = store.user("carol"), mail.new_token()
    text = mail.message(token, SENDER, [user["address"]], 200_000)
    with log_in(store, "carol") as m:
        assert m.append("INBOX", None, None, text)[0] == "OK"
    told = imapflow.check(store, store.store_port(1, "imap"), "starttls", (user, token, text))
    assert "COMPRESS=DEFLATE" in told["capabilities"] and "MOVE" in told["capabilities"]


def test_sort_thread_and_quota_in_imaplib(store):
    m = log_in(store)
    m.select("INBOX")
    assert m.sort("(REVERSE SIZE)", "UTF-8", "ALL")[0] == "OK"
    assert m.thread("REFERENCES", "UTF-8", "ALL")[0] == "OK"
    assert m.getquotaroot("INBOX")[0] == "OK"
    m.logout()


def run_on_a_terminal(argv):
    """Until it ends; what it drew."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, {**os.environ, "TERM": "xterm", "LINES": "24", "COLUMNS": "80"})
    drawn = b""
    try:
        while select.select([fd], [], [], 60)[0]:
            drawn += os.read(fd, 65536)
    except OSError:  # the other side is closed
        pass
    os.close(fd)
    os.waitpid(pid, 0)
    return drawn


def test_mutt_deletes_a_message(store, tmp_path):
    """mutt enables CONDSTORE, QRESYNC and COMPRESS when they are offered; twice, so that it resynchronises."""
    user = store.user("bob")
    rc = tmp_path / "muttrc"
    rc.write_text(f"""set folder=imap://localhost:{store.store_port(1, "imap")}/ spoolfile=+INBOX
set imap_user="{user["address"]}" imap_pass="{user["password"]}" ssl_starttls=no ssl_force_tls=no
set imap_qresync=yes imap_condstore=yes imap_deflate=yes header_cache={tmp_path}/cache sort=date
set move=no delete=yes mail_check=0 wait_key=no
push "<delete-message><sync-mailbox><exit>"
""")
    for _ in range(2):
        m = log_in(store, "bob")
        m.select("INBOX")
        count = int(m.untagged_responses["EXISTS"][-1])
        m.logout()
        drawn = run_on_a_terminal(["mutt", "-n", "-F", str(rc)])
        m = log_in(store, "bob")
        m.select("INBOX")
        assert int(m.untagged_responses["EXISTS"][-1]) == count - 1, drawn[-2000:]
        m.logout()


# ---- raw lines -----------------------------------------------------------------------------------------------------


class Raw:
    """A connection on which bytes are said as they are."""

    def __init__(self, tier, name="alice", select=None):
        log_in(tier, name).logout()
        self.sock = socket.create_connection(("localhost", tier.store_port(1, "imap")), timeout=60)
        self.file = self.sock.makefile("rb")
        assert self.file.readline().startswith(b"* OK ")
        user = tier.user(name)
        assert b" OK " in self.ask("LOGIN %s %s" % (user["address"], user["password"]))[-1]
        if select:
            assert b" OK " in self.ask(f"SELECT {select}")[-1]

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def line(self):
        """One response, literals in it included."""
        heard = self.file.readline()
        while (literal := re.search(rb"\{(\d+)\}\r\n$", heard)) is not None:
            heard += self.file.read(int(literal[1])) + self.file.readline()
        assert heard.endswith(b"\r\n"), heard
        return heard

    def until_tagged(self, tag=b"a"):
        heard = [self.line()]
        while not heard[-1].startswith(tag + b" "):
            heard.append(self.line())
        return heard

    def ask(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        self.send(b"a " + data + b"\r\n")
        return self.until_tagged()

    def ok(self, text):
        heard = self.ask(text)
        assert heard[-1].startswith(b"a OK "), heard
        return heard[:-1] if len(heard) > 1 else heard

    def close(self):
        self.file.close()
        self.sock.close()


def committer_pid(tier):
    return int(re.findall(r"worker\.started role=committer index=0 pid=(\d+)", tier.log("store1"))[-1])


def test_several_messages_at_once(store):
    """All or none, large ones among them, each with its flags and its date; and the set of their UIDs."""
    c = Raw(store, "carol", select="INBOX")
    big = b"Subject: big\r\n\r\n" + b"0123456789abcde\r\n" * 9000
    c.send(b"a APPEND INBOX (\\Seen one) \"17-Jul-1996 02:44:25 -0700\" {%d}\r\n" % len(big))
    assert c.line() == b"+ go on\r\n"
    c.send(big + b" (\\Draft two) {%d+}\r\n" % len(big) + big + b" {14}\r\n")
    assert c.line() == b"+ go on\r\n"
    c.send(b"Subject: x\r\n\r\n\r\n")
    done = c.until_tagged()[-1]
    first, last = map(int, re.match(rb"a OK \[APPENDUID \d+ (\d+):(\d+)\]", done).groups())
    assert last - first == 2
    heard = c.ok("UID FETCH %d:%d (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])" % (first, last))
    assert b"one" in heard[0] and b"17-Jul-1996 09:44:25 +0000" in heard[0] and big in heard[0]
    assert b"two" in heard[1] and b"\\Draft" in heard[1] and big in heard[1]
    assert b"RFC822.SIZE 14 BODY[] {14}\r\nSubject: x\r\n\r\n)" in heard[2]
    before = c.ok("STATUS INBOX (MESSAGES SIZE UIDNEXT)")
    c.send(b"a APPEND INBOX {%d+}\r\n" % len(big) + big + b" (\\Nonsense) {%d+}\r\n" % len(big) + big + b"\r\n")
    assert c.until_tagged()[-1].startswith(b"a BAD Unknown system flag")
    assert c.ok("STATUS INBOX (MESSAGES SIZE UIDNEXT)") == before
    c.close()


def test_catenate(store):
    """A draft made of parts of stored messages and of new text, the store killed behind the answer."""
    c = Raw(store, "carol")
    text = mail.message(mail.new_token(), SENDER, [store.user("carol")["address"]], 700_000)
    c.ok("CREATE cat")
    c.send(b"a APPEND cat {%d+}\r\n" % len(text) + text + b"\r\n")
    assert c.until_tagged()[-1].startswith(b"a OK [APPENDUID ")
    c.send(b"a APPEND cat (\\Draft) CATENATE (URL \"/cat/;UID=1/;SECTION=HEADER\" TEXT {7+}\r\nbefore\n"
           b" URL \"/cat/;UID=1/;SECTION=TEXT\" URL \"imap://carol@any.example/cat/;UID=1/;PARTIAL=0.5\" TEXT {3}\r\n")
    assert c.line() == b"+ go on\r\n"
    c.send(b"end)\r\n")
    assert re.match(rb"a OK \[APPENDUID \d+ 2\] ", c.until_tagged()[-1])
    os.kill(committer_pid(store), signal.SIGKILL)
    head, body = text.split(b"\r\n\r\n", 1)
    want = head + b"\r\n\r\nbefore\r\n" + body + text[:5] + b"end"
    wait_for(lambda: b" OK " in c.ask("CREATE behind-%d" % time.monotonic_ns())[-1], 60, "the committer")
    c.ok("EXAMINE cat")
    assert c.ok("FETCH 2 BODY.PEEK[]")[0] == b"* 2 FETCH (BODY[] {%d}\r\n" % len(want) + want + b")\r\n"
    assert c.ask('APPEND cat CATENATE (URL "/cat/;UID=7")')[-1].startswith(b"a NO [BADURL /cat/;UID=7] ")
    c.close()


def test_uidonly(store):
    c = Raw(store, "carol", select="INBOX")
    for n in range(3):
        c.send(b"a APPEND INBOX {14+}\r\nSubject: %d\r\n\r\n\r\n" % n)
        c.until_tagged()
    uids = re.findall(rb"\d+", c.ok("UID SEARCH ALL")[0])[-3:]
    assert c.ok("ENABLE UIDONLY") == [b"* ENABLED UIDONLY\r\n"]
    assert c.ask("FETCH 1 FLAGS")[-1].startswith(b"a BAD [UIDREQUIRED] ")
    heard = c.ok("UID FETCH %s (FLAGS)" % uids[0].decode())
    assert heard[0].startswith(b"* %s UIDFETCH (FLAGS (" % uids[0])
    c.ok("UID STORE %s +FLAGS.SILENT (\\Deleted)" % uids[1].decode())
    assert c.ok("EXPUNGE")[0] == b"* VANISHED %s\r\n" % uids[1]
    c.close()


def test_progress_is_told(store):
    """A committer that has stopped: whoever waits for it is told that the command is still at work."""
    c = Raw(store, "dave")
    pid = committer_pid(store)
    os.kill(pid, signal.SIGSTOP)
    try:
        c.send(b"tag1 CREATE waits\r\n")
        assert c.line() == b'* OK [INPROGRESS ("tag1" NIL NIL)] Still at work\r\n'
        assert c.line() == b'* OK [INPROGRESS ("tag1" NIL NIL)] Still at work\r\n'
    finally:
        os.kill(pid, signal.SIGCONT)
    heard = [line for line in c.until_tagged(b"tag1") if b"INPROGRESS" not in line]
    assert re.fullmatch(rb"tag1 OK \[MAILBOXID \(F\d+\)\] CREATE completed\r\n", heard[-1])
    c.close()


def test_annotations_outlive_the_committer(store):
    c = Raw(store, "carol")
    big = b"\x00\x01\xff" * 2000
    c.ok("CREATE notes")
    c.ok(b'SETMETADATA notes (/shared/comment "for all" /private/vendor/example/blob ~{%d+}\r\n' % len(big) + big + b")")
    c.ok('SETMETADATA "" (/private/comment "mine")')
    os.kill(committer_pid(store), signal.SIGKILL)
    assert c.ok("GETMETADATA (MAXSIZE 5999 DEPTH infinity) notes (/private /shared)")[0] == \
        b'* METADATA notes (/shared/comment "for all")\r\n'
    assert c.ok("GETMETADATA (DEPTH infinity) notes (/private)")[0] == \
        b"* METADATA notes (/private/vendor/example/blob ~{6000}\r\n" + big + b")\r\n"
    wait_for(lambda: c.ask('SETMETADATA "" (/private/comment NIL /private/new "1")')[-1].startswith(b"a OK"), 60, "it is back")
    assert c.ok('GETMETADATA (DEPTH 1) "" /private')[0] == b'* METADATA "" (/private/new "1")\r\n'
    c.close()


def test_urls_for_others(store):
    """Made by one user, read by another, also behind a restart; void when the key is made anew."""
    c, other = Raw(store, "carol"), Raw(store, "bob")
    text = mail.message(mail.new_token(), SENDER, [store.user("carol")["address"]], 500_000)
    c.ok("CREATE lent")
    c.send(b"a APPEND lent {%d+}\r\n" % len(text) + text + b"\r\n")
    assert c.until_tagged()[-1].startswith(b"a OK ")
    address = store.user("carol")["address"].replace("@", "%40")
    made = c.ok(f'GENURLAUTH "imap://{address}@mail.example/lent/;uid=1;urlauth=user+{store.user("bob")["address"]}" INTERNAL')[0]
    url = re.fullmatch(rb'\* GENURLAUTH ("imap://.*:internal:[0-9a-f]{66}")\r\n', made)[1]
    os.kill(committer_pid(store), signal.SIGKILL)
    assert other.ok(b"URLFETCH " + url)[0] == b"* URLFETCH " + url + b" {%d}\r\n" % len(text) + text + b"\r\n"
    assert c.ok(b"URLFETCH " + url) == [b"* URLFETCH " + url + b" NIL\r\n"]
    wait_for(lambda: c.ask("RESETKEY lent")[-1].startswith(b"a OK [URLMECH INTERNAL]"), 60, "a new key")
    assert other.ok(b"URLFETCH " + url) == [b"* URLFETCH " + url + b" NIL\r\n"]
    c.close()
    other.close()


def test_notify(store):
    """What another session and the edge do is told between commands, also when the committer came back."""
    c, other = Raw(store, "carol"), Raw(store, "carol")
    c.ok("CREATE seen")
    c.ok("SELECT INBOX")
    assert c.ok("NOTIFY SET STATUS (selected (MessageNew (UID ENVELOPE) MessageExpunge FlagChange)) "
                "(subtree seen (MessageNew MessageExpunge MailboxName)) (personal (MailboxName))")[0] \
        .startswith(b"* STATUS seen (MESSAGES 0 UIDNEXT 1 ")
    other.send(b"a APPEND seen {14+}\r\nSubject: x\r\n\r\n\r\n")
    assert other.until_tagged()[-1].startswith(b"a OK")
    assert c.line().startswith(b"* STATUS seen (MESSAGES 1 UIDNEXT 2 ")
    other.ok("CREATE seen/below")
    assert c.line() == b'* LIST () "/" seen/below\r\n'
    other.ok("RENAME seen/below elsewhere")
    assert c.line() == b'* LIST () "/" elsewhere ("OLDNAME" (seen/below))\r\n'
    other.send(b"a APPEND INBOX {19+}\r\nSubject: notice\r\n\r\n\r\n")
    assert other.until_tagged()[-1].startswith(b"a OK")
    heard = [c.line() for _ in range(3)]
    assert b" EXISTS" in heard[0] and re.match(rb"\* \d+ FETCH \(UID \d+ ENVELOPE \(NIL \"notice\" ", heard[2]), heard
    os.kill(committer_pid(store), signal.SIGKILL)
    wait_for(lambda: other.ask("DELETE elsewhere")[-1].startswith((b"a OK", b"a NO [NONEXISTENT]")), 60, "the committer")
    assert c.line() == b'* LIST (\\NonExistent) "/" elsewhere\r\n'
    c.ok("NOTIFY NONE")
    c.close()
    other.close()
