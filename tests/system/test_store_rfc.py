"""What the RFCs of the advertised extensions demand, one row for each demand, at one store; test_store_imap_ext.py has the
larger ones, tests/unit/store/test_imap*.c the exact transcripts."""
import re
import socket

import pytest

TEXT = "Subject: hello\r\nMessage-ID: <1@x.example>\r\nFrom: a@b.example\r\n\r\nbody text\r\n"
APPEND = "APPEND {} {{%d+}}\r\n%s" % (len(TEXT), TEXT)
# Each row is a session of its own, with a mailbox B of three messages selected (uids 1 to 3): the RFC and its section, commands, and
# what the answer to the last one is, as a pattern; "!" before it: what it must not hold.
ROWS = [
    ("3501 6.3.3 superior mailboxes are made", ["CREATE {}/x/y", 'LIST "" {}/%'], r"\* LIST \(\\HasChildren\) \"/\" {}/x\r\n"),
    ("3501 6.3.4 a mailbox with inferiors becomes Noselect", ["CREATE {}/x/y", "DELETE {}/x", 'LIST "" {}/%'], r"\\Noselect"),
    ("3501 6.3.8 the delimiter", ['LIST "" ""'], r'\* LIST \(\\Noselect\) "/" ""\r\n'),
    ("3501 6.3.11 APPEND never makes a mailbox", [APPEND.format("none")], r"NO \[TRYCREATE\]"),
    ("3501 6.4.8 a uid that is not there is no error", ["UID FETCH 99 FLAGS"], r"^x OK"),
    ("3501 6.4.5 BODY sets Seen and says so", ["FETCH 1 BODY[TEXT]"], r"\\Seen"),
    ("3501 6.3.2 EXAMINE changes nothing", ["EXAMINE {}", "FETCH 1 BODY[TEXT]"], r"!Seen"),
    ("3501 6.4.2 CLOSE tells of no EXPUNGE", ["STORE 1 +FLAGS (\\Deleted)", "CLOSE"], r"!EXPUNGE"),
    ("9051 6.4.4 SEARCH answers with ESEARCH", ["ENABLE IMAP4rev2", "SEARCH ALL"], r'\* ESEARCH \(TAG "x"\) ALL 1:3\r\n'),
    ("9051 6.3.2 no RECENT; the name is told", ["ENABLE IMAP4rev2", "SELECT {}"], r'EXISTS\r\n\* LIST \(\) "/" {}'),
    ("9051 6.3.2 no RECENT", ["ENABLE IMAP4rev2", "SELECT {}"], r"!RECENT"),
    ("2177 3 anything but DONE ends IDLE with BAD", ["IDLE", "over"], r"x BAD"),
    ("2971 3.3 NIL is a list", ["ID NIL"], r"\* ID \("),
    ("5161 3.1 what is unknown is passed over", ["ENABLE X-NONE CONDSTORE"], r"\* ENABLED CONDSTORE\r\n"),
    ("2342 5 namespaces", ["NAMESPACE"], r'\* NAMESPACE \(\("" "/"\)\)'),
    ("4315 3 APPENDUID", [APPEND.format("{}")], r"OK \[APPENDUID \d+ 4\]"),
    ("4315 3 COPYUID", ["CREATE {}c", "COPY 2:3 {}c"], r"OK \[COPYUID \d+ 2:3 1:2\]"),
    ("4315 2.1 UID EXPUNGE leaves the others", ["STORE 1:2 +FLAGS (\\Deleted)", "UID EXPUNGE 2"], r"^\* 2 EXPUNGE\r\nx OK"),
    ("3691 2 UNSELECT removes nothing", ["STORE 1 +FLAGS (\\Deleted)", "UNSELECT", "STATUS {} (MESSAGES)"], r"MESSAGES 3"),
    ("6851 4.3 COPYUID before EXPUNGE", ["CREATE {}m", "MOVE 1 {}m"], r"^\* OK \[COPYUID \d+ 1 1\].*\r\n\* 1 EXPUNGE"),
    ("3348 3 HasChildren", ["CREATE {}/k", 'LIST "" {}'], r"\\HasChildren"),
    ("5258 3.1 RECURSIVEMATCH alone", ['LIST (RECURSIVEMATCH) "" %'], r"x BAD"),
    ("5258 3.5 CHILDINFO", ["CREATE {}/s", "SUBSCRIBE {}/s", 'LIST (SUBSCRIBED RECURSIVEMATCH) "" {}'], r'\("CHILDINFO" \("SUBSCRIBED"\)\)'),
    ("5258 3 several patterns", ['LIST "" (INBOX {})'], r" {}\r\n.* INBOX\r\n"),
    ("5819 2 STATUS behind LIST", ['LIST "" {} RETURN (STATUS (MESSAGES))'], r"LIST .*\r\n\* STATUS {} \(MESSAGES 3\)"),
    ("8440 3 MYRIGHTS behind LIST", ['LIST "" {} RETURN (MYRIGHTS)'], r"\* MYRIGHTS {} lrswipkxteacd"),
    ("6154 3 CREATE with a use", ["CREATE {}u (USE (\\Junk))", 'LIST (SPECIAL-USE) "" {}u'], r"\\Junk"),
    ("6154 3 a use that is not offered", ["CREATE {}v (USE (\\All))"], r"NO \[USEATTR\]"),
    ("6154 4 an annotation says nothing else", ["SETMETADATA {} (/private/specialuse \"\\\\Sent\")"], r"NO \[USEATTR\]"),
    ("7162 3.1.3 MODIFIED", ["STORE 1 (UNCHANGEDSINCE 1) +FLAGS (x)"], r"OK \[MODIFIED 1\]"),
    ("7162 3.1.3 MODSEQ even if SILENT", ["STORE 1 (UNCHANGEDSINCE 99) +FLAGS.SILENT (x)"], r"\* 1 FETCH \((UID 1 )?MODSEQ \(\d+\)\)"),
    ("7162 3.2.8 HIGHESTMODSEQ of CLOSE", ["ENABLE QRESYNC", "STORE 1 +FLAGS (\\Deleted)", "CLOSE"], r"OK \[HIGHESTMODSEQ \d+\]"),
    ("7162 3.2.7 HIGHESTMODSEQ of EXPUNGE", ["ENABLE QRESYNC", "STORE 1 +FLAGS (\\Deleted)", "EXPUNGE"],
     r"\* VANISHED 1\r\nx OK \[HIGHESTMODSEQ \d+\]"),
    ("7162 3.2.11 CLOSED", ["ENABLE QRESYNC", "SELECT INBOX"], r"^\* OK \[CLOSED\]"),
    ("7162 3.2.6 VANISHED needs QRESYNC", ["UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)"], r"x BAD"),
    ("4731 3.1 nothing found", ["SEARCH RETURN (MIN COUNT) KEYWORD none"], r'\* ESEARCH \(TAG "x"\) COUNT 0\r\n'),
    ("5182 2.1 NO empties the result", ["SEARCH RETURN (SAVE) ALL", "SEARCH RETURN (SAVE) CHARSET X ALL", "FETCH $ UID"], r"!FETCH \("),
    ("5182 2.1 BAD leaves it", ["SEARCH RETURN (SAVE) ALL", "SEARCH RETURN (SAVE) NOKEY", "FETCH $ UID"], r"\* 3 FETCH"),
    ("5256 4 ORDEREDSUBJECT", ["THREAD ORDEREDSUBJECT UTF-8 ALL"], r"\* THREAD \(1 \(2\)\(3\)\)"),
    ("5256 3 charset", ["SORT (SUBJECT) X-NONE ALL"], r"NO \[BADCHARSET"),
    ("5032 4 zero is no interval", ["SEARCH OLDER 0"], r"x BAD"),
    ("3502 6.3.11 all or nothing", [APPEND.format("{}") + " {3+}\r\n\0\0\0", "NOOP"], r"!EXISTS"),
    ("3516 4.2 BINARY.SIZE", ["FETCH 1 BINARY.SIZE[1]"], r"BINARY.SIZE\[1\] 11"),
    ("3516 4.3 NUL that cannot be kept", ["APPEND {} ~{{3+}}\r\n\0ab"], r"NO \[UNKNOWN-CTE\]"),
    ("4469 5 a part that is not there", ['APPEND {} CATENATE (URL "/{}/;UID=99")'], r"NO \[BADURL"),
    ("4467 7 a URL without rump", ['GENURLAUTH "imap://a@b/INBOX/;UID=1" INTERNAL'], r"x (BAD|NO)"),
    ("4467 6 an URL that is no good is NIL", ['URLFETCH "imap://a@b/INBOX/;UID=1"'], r"\* URLFETCH \S+ NIL"),
    ("4314 3.1 unknown rights", ["SETACL {} bob@example.org !"], r"x BAD"),
    ("9208 3.1.2 a root that is not there", ["GETQUOTA none"], r"x NO"),
    ("9208 5.3 DELETED-STORAGE", ["STORE 1 +FLAGS (\\Deleted)", "STATUS {} (DELETED DELETED-STORAGE)"], r"DELETED 1 DELETED-STORAGE %d" % len(TEXT)),
    ("5464 4.2 no value is NIL", ["GETMETADATA {} /private/none"], r"/private/none NIL"),
    ("4978 3 a mechanism that is not there", ["COMPRESS LZW"], r"x (NO|BAD)"),
    ("8438 3 SIZE", ["STATUS {} (SIZE)"], r"SIZE %d" % (3 * len(TEXT))),
    ("8514 4.2 SAVEDATESUPPORTED", ["SEARCH SAVEDATESUPPORTED"], r"\* SEARCH 1 2 3\r\n"),
    ("8474 4.3 MAILBOXID", ["STATUS {} (MAILBOXID)"], r"MAILBOXID \(F\d+\)"),
    ("8474 5.2 THREADID", ["FETCH 1 THREADID"], r"THREADID NIL"),
    ("8970 3.1 PREVIEW LAZY", ["FETCH 1 (PREVIEW (LAZY))"], r'PREVIEW "body text"'),
    ("8508 3.4 no such message", ["UID REPLACE 99 {} {{3+}}\r\nabc"], r"x NO"),
    ("8508 3.3 one goes, one comes", ["UID REPLACE 2 {} {{3+}}\r\nabc"], r"APPENDUID \d+ 4\].*\r\n(\* .*\r\n)*\* 2 EXPUNGE\r\n(\* .*\r\n)*x OK"),
    ("5465 5 an unknown event", ["NOTIFY SET (PERSONAL (NoEvent))"], r"NO \[BADEVENT \("),
    ("5465 5.3 MessageNew alone", ["NOTIFY SET (PERSONAL (MessageNew))"], r"x BAD"),
    ("6855 3 no CHARSET", ["ENABLE UTF8=ACCEPT", "SEARCH CHARSET UTF-8 ALL"], r"x BAD"),
    ("6855 3 no separators in names", ["ENABLE UTF8=ACCEPT", 'CREATE "a\u2028"'], r"x NO"),
    ("7889 3 APPENDLIMIT", ["STATUS {} (APPENDLIMIT)"], r"APPENDLIMIT \d+"),
    ("9586 3 numbers are refused", ["ENABLE UIDONLY", "FETCH 1 FLAGS"], r"BAD \[UIDREQUIRED\]"),
    ("9586 3 numbers in SEARCH", ["ENABLE UIDONLY", "UID SEARCH 1:2"], r"BAD \[UIDREQUIRED\]"),
    ("9586 3.3 UIDFETCH", ["ENABLE UIDONLY", "UID FETCH 2 FLAGS"], r"\* 2 UIDFETCH \("),
    ("5255 3.2 a language that is not there", ["LANGUAGE xx"], r"x NO"),
    ("5255 3.2 fallback of subtags", ["LANGUAGE en-GB"], r'\* LANGUAGE \("en"\)'),
    ("7888 4 LITERAL+", ["NOOP"], r"^x OK"),
]


class Session:
    def __init__(self, tier, login=True):
        user = tier.user("carol")
        self.socket = socket.create_connection(("127.0.0.1", tier.store_port(1, "imap")), timeout=60)
        self.file = self.socket.makefile("rb")
        self.file.readline()
        if login:
            self.say(f"LOGIN {user['address']} {user['password']}")

    def say(self, command, continued=False):
        """The answer up to the tagged line, or a continuation; literals as they come."""
        self.socket.sendall((b"" if continued else b"x ") + command.encode() + b"\r\n")
        heard = b""
        while True:
            line = self.file.readline()
            assert line, (command, heard)
            heard += line
            literal = re.search(rb"\{(\d+)\}\r\n$", line)
            if literal:
                heard += self.file.read(int(literal[1]))
            elif line.startswith((b"x ", b"+ ")):
                return heard.decode()

    def close(self):
        self.file.close()
        self.socket.close()


@pytest.fixture(scope="module")
def store(new_tier):
    t = new_tier("rfc", stores=1, needs=("store",))
    t.write_all()
    t.start_store(1)
    return t


@pytest.mark.parametrize("k", range(len(ROWS)), ids=[row[0].replace(" ", "-") for row in ROWS])
def test_demand(store, k):
    _, commands, wanted = ROWS[k]
    box = f"B{k}"
    s = Session(store)
    s.say(f"CREATE {box}")
    for _ in range(3):
        s.say(APPEND.format(box))
    s.say(f"SELECT {box}")
    heard = ""
    for n, command in enumerate(commands):
        heard = s.say(command.replace("{{", "\1").replace("}}", "\2").replace("{}", box).replace("\1", "{").replace("\2", "}"),
                      n > 0 and commands[n - 1] == "IDLE")
    s.close()
    pattern = wanted.lstrip("!").replace("{}", box)
    assert (re.search(pattern, heard, re.M) is None) == wanted.startswith("!"), heard


def test_before_login(store):
    """SASL-IR (RFC 4959), LITERAL+ in LOGIN, and that the rest is not there yet."""
    user = store.user("carol")
    s = Session(store, login=False)
    heard = s.say("CAPABILITY")
    assert "SASL-IR" in heard and "LITERAL+" in heard and "LITERAL-" not in heard and "MOVE" not in heard
    assert s.say("SELECT INBOX").startswith("x BAD")
    assert s.say("AUTHENTICATE PLAIN").startswith("+ ")
    assert s.say("*", True).startswith("x BAD")
    assert s.say("LOGIN {%d+}\r\n%s {%d+}\r\n%s" % (len(user["address"]), user["address"], len(user["password"]), user["password"])).startswith("x OK")
    assert "SASL-IR" not in s.say("CAPABILITY")
    s.close()
