"""What the RFCs of POP3 demand, one row for each demand, at one store; test_store_pop3.py has what takes more than one session,
tests/unit/store/test_pop3*.c the exact transcripts."""
import base64
import re
import socket

import pytest

import mail
from conftest import free_port

HEADER = "Subject: gr\u00fc\u00dfe\r\nFrom: a@b.example\r\n".encode()
TEXTS = [HEADER + b"\r\n..one\r\n.\r\ntw\xc3\xb6\r\nthree\r\n", b"Subject: plain\r\n\r\nbody\r\n", b"Subject: last\r\n\r\nbody\r\n"]
LOGIN = ["USER {user}", "PASS {password}"]
PLAIN = "{plain}"
# Each row is a session of its own, plain at first and taken for a stranger: the RFC and its section, commands, and the answer to the
# last one as a pattern; "!" before it: what it must not hold. "TLS" begins TLS; "a|b" is sent in one piece.
ROWS = [
    ("1939 4 greeting, without APOP's timestamp", [], rb"^\+OK [^<]*$"),
    ("1939 7 APOP is not there", ["TLS", "APOP a 0123456789abcdef0123456789abcdef"], rb"^-ERR"),
    ("1939 3 keywords in any case", ["TLS", "user {user}", "pass {password}", "sTaT"], rb"^\+OK 3 \d+"),
    ("1939 3 an unknown command", ["FROB"], rb"^-ERR"),
    ("1939 3 a command of another state", ["STAT"], rb"^-ERR"),
    ("1939 4 USER is of this state only", ["TLS", *LOGIN, "USER {user}"], rb"^-ERR"),
    ("1939 5 STAT: two numbers behind one space", ["TLS", *LOGIN, "STAT"], rb"^\+OK 3 %d(\r| )" % sum(map(len, TEXTS))),
    ("1939 5 STAT without what is marked", ["TLS", *LOGIN, "DELE 2", "STAT"], rb"^\+OK 2 %d(\r| )" % (len(TEXTS[0]) + len(TEXTS[2]))),
    ("1939 5 LIST: all", ["TLS", *LOGIN, "LIST"], rb"\r\n1 %d\r\n2 %d\r\n3 %d\r\n\.\r\n$" % tuple(map(len, TEXTS))),
    ("1939 5 LIST without what is marked", ["TLS", *LOGIN, "DELE 1", "LIST"], rb"!\n1 "),
    ("1939 5 LIST of one is one line", ["TLS", *LOGIN, "LIST 2"], rb"^\+OK 2 %d\r\n$" % len(TEXTS[1])),
    ("1939 5 LIST of one that is marked", ["TLS", *LOGIN, "DELE 2", "LIST 2"], rb"^-ERR"),
    ("1939 5 LIST of none", ["TLS", *LOGIN, "LIST 4"], rb"^-ERR"),
    ("1939 3 no number 0", ["TLS", *LOGIN, "RETR 0"], rb"^-ERR"),
    ("1939 5 RETR, dots stuffed, a dot at the end", ["TLS", *LOGIN, "RETR 1"], rb"\r\n\.\.\.one\r\n\.\.\r\ntw\xc3\xb6\r\nthree\r\n\.\r\n$"),
    ("1939 5 RETR of one that is marked", ["TLS", *LOGIN, "DELE 1", "RETR 1"], rb"^-ERR"),
    ("1939 5 DELE twice", ["TLS", *LOGIN, "DELE 1", "DELE 1"], rb"^-ERR"),
    ("1939 5 NOOP", ["TLS", *LOGIN, "NOOP"], rb"^\+OK"),
    ("1939 5 RSET", ["TLS", *LOGIN, "DELE 1", "RSET", "STAT"], rb"^\+OK 3 "),
    ("1939 6 QUIT before the login", ["QUIT"], rb"^\+OK[^\n]*\n$"),
    ("1939 7 TOP 0: header and blank line", ["TLS", *LOGIN, "TOP 2 0"], rb"Subject: plain\r\n\r\n\.\r\n$"),
    ("1939 7 TOP: more lines than there are", ["TLS", *LOGIN, "TOP 2 99"], rb"\r\n\r\nbody\r\n\.\r\n$"),
    ("1939 7 TOP without a number of lines", ["TLS", *LOGIN, "TOP 2"], rb"^-ERR"),
    ("1939 7 TOP below zero", ["TLS", *LOGIN, "TOP 2 -1"], rb"^-ERR"),
    ("1939 7 TOP of one that is marked", ["TLS", *LOGIN, "DELE 2", "TOP 2 1"], rb"^-ERR"),
    ("1939 7 UIDL: 1 to 70 of 0x21 to 0x7E", ["TLS", *LOGIN, "UIDL"], rb"\r\n1 [!-~]{1,70}\r\n2 [!-~]{1,70}\r\n3 [!-~]{1,70}\r\n\.\r\n$"),
    ("1939 7 UIDL of one", ["TLS", *LOGIN, "UIDL 3"], rb"^\+OK 3 [!-~]{1,70}\r\n$"),
    ("1939 7 UIDL of one that is marked", ["TLS", *LOGIN, "DELE 3", "UIDL 3"], rb"^-ERR"),
    ("1939 7 PASS only behind USER", ["TLS", "PASS x"], rb"^-ERR"),
    ("1939 7 a secret with spaces is one argument", ["TLS", "USER {user}", "PASS a b c"], rb"^-ERR \[AUTH\]"),
    ("1939 7 USER of nobody is no news", ["TLS", "USER nobody@example.org"], rb"^\+OK"),
    ("2449 4 commands of 255 octets", ["TLS", "USER " + "x" * 248, "PASS x"], rb"^-ERR \[AUTH\]"),
    ("2449 5 CAPA before the login", ["CAPA"], rb"\r\nTOP\r\nUIDL\r\nRESP-CODES\r\n(.*\r\n)*IMPLEMENTATION Postern\r\n\.\r\n$"),
    ("2449 5 CAPA takes no argument", ["CAPA x"], rb"^-ERR"),
    ("2449 6.6 each in its turn", ["TLS", *LOGIN, "STAT|LIST 1|NOOP"], rb"^\+OK 3 \d+\r\n\+OK 1 \d+\r\n\+OK"),
    ("2449 6.6 pipelined login", ["TLS", "USER {user}|PASS {password}|STAT"], rb"^\+OK [^\n]*\n\+OK [^\n]*\n\+OK 3 "),
    ("2449 6.7 EXPIRE before the login: the least of all", ["CAPA"], rb"\r\nEXPIRE 30 USER\r\n"),
    ("2449 6.7 EXPIRE behind it: the user's", ["TLS", *LOGIN, "CAPA"], rb"\r\nEXPIRE 60\r\n"),
    ("2595 2.2 no USER without TLS", ["CAPA"], rb"!\nUSER"),
    ("2595 2.2 no PLAIN without TLS", ["CAPA"], rb"!\nSASL"),
    ("2595 2.2 no password without TLS", ["USER {user}"], rb"^-ERR"),
    ("2595 4 STLS is offered", ["CAPA"], rb"\r\nSTLS\r\n"),
    ("2595 4 and not twice", ["TLS", "CAPA"], rb"!STLS"),
    ("2595 4 STLS twice", ["TLS", "STLS"], rb"^-ERR"),
    ("2595 4 STLS behind the login", ["TLS", *LOGIN, "STLS"], rb"^-ERR"),
    ("2595 4 STLS takes no argument", ["STLS x"], rb"^-ERR"),
    ("2595 4 what was said before STLS is forgotten", ["USER {user}", "TLS", "PASS {password}"], rb"^-ERR"),
    ("2595 4 CAPA behind STLS", ["TLS", "CAPA"], rb"\r\nUSER\r\nSASL PLAIN\r\n"),
    ("2595 4 nothing is taken from before STLS", ["STLS|QUIT"], rb"!Goodbye"),
    ("5034 4 AUTH with an initial response", ["TLS", "AUTH PLAIN " + PLAIN], rb"^\+OK 3 messages"),
    ("5034 4 AUTH without: an empty challenge", ["TLS", "AUTH PLAIN"], rb"^\+ \r\n$"),
    ("5034 4 and then the response", ["TLS", "AUTH PLAIN", PLAIN], rb"^\+OK 3 messages"),
    ("5034 4 * cancels", ["TLS", "AUTH PLAIN", "*"], rb"^-ERR"),
    ("5034 4 = is an empty response", ["TLS", "AUTH PLAIN ="], rb"^-ERR"),
    ("5034 4 no base64", ["TLS", "AUTH PLAIN", "%%%"], rb"^-ERR"),
    ("5034 4 a mechanism that is not there", ["TLS", "AUTH GSSAPI"], rb"^-ERR"),
    ("5034 4 not a second time", ["TLS", "AUTH PLAIN " + PLAIN, "AUTH PLAIN " + PLAIN], rb"^-ERR"),
    ("5034 4 not behind PASS", ["TLS", *LOGIN, "AUTH PLAIN"], rb"^-ERR"),
    ("5034 5 responses of 12288 octets", ["TLS", "AUTH PLAIN", "A" * 12280], rb"^-ERR (?!.*too long)"),
    ("3206 4 AUTH-RESP-CODE is told", ["CAPA"], rb"\r\nAUTH-RESP-CODE\r\n"),
    ("3206 4 wrong password", ["TLS", "USER {user}", "PASS wrong"], rb"^-ERR \[AUTH\] "),
    ("3206 4 nobody", ["TLS", "USER nobody@example.org", "PASS wrong"], rb"^-ERR \[AUTH\] "),
    ("6856 2 UTF8 in both states", ["CAPA"], rb"\r\nUTF8\r\n"),
    ("6856 2 UTF8 in both states", ["TLS", *LOGIN, "CAPA"], rb"\r\nUTF8\r\n"),
    ("6856 2.1 UTF8 takes no argument", ["UTF8 x"], rb"^-ERR"),
    ("6856 2 UTF8 is of the first state", ["TLS", *LOGIN, "UTF8"], rb"^-ERR"),
    ("6856 2.1 as it is", ["TLS", "UTF8", *LOGIN, "RETR 1"], re.escape(HEADER)),
    ("6856 2.1 TOP as it is", ["TLS", "UTF8", *LOGIN, "TOP 1 0"], re.escape(HEADER)),
    ("6856 2.1 nothing beyond ASCII without it", ["TLS", *LOGIN, "TOP 1 0"], rb"![\x80-\xff]"),
    ("6856 2.1 a surrogate of the size that LIST told", ["TLS", *LOGIN, "RETR 1"], rb"Subject: gr\?\?\?\?e\r\nFrom: a@b.example\r\n\r\n"),
    ("6856 2.1 no STLS behind UTF8", ["UTF8", "STLS"], rb"^-ERR"),
    ("6856 3.2 LANG in both states", ["CAPA"], rb"\r\nLANG\r\n"),
    ("6856 3.2 a listing", ["LANG"], rb"^\+OK[^\n]*\nen English\r\n\.\r\n$"),
    ("6856 3.2 the tag and a space", ["TLS", *LOGIN, "LANG en"], rb"^\+OK en \S"),
    ("6856 3.2 what the administrator prefers", ["LANG *"], rb"^\+OK en \S"),
    ("6856 3.2 a language that is not there", ["LANG MUL"], rb"^-ERR"),
]


@pytest.fixture(scope="module")
def store(new_tier):
    t = new_tier("pop3rfc", stores=1, needs=("store",))
    carol = t.user("carol")["address"]
    t.store_extra = ('\tpop3_surrogate yes;\n'
                     f'\texpire others {{ folders INBOX; users "bob@*"; age 30d; }}\n'
                     f'\texpire hers {{ folders INBOX; users "{carol}"; age 60d; }}\n'
                     f'\texpire junk {{ folders Junk; age 1d; }}\n')
    open_door(t)
    with mail.imap(t, t.user("carol"), port=t.store_port(1, "imap"), tls=False) as m:
        for text in TEXTS:
            assert m.append("INBOX", None, None, text)[0] == "OK"
    return t


def open_door(t):
    """For strangers: they come from far away, as the PROXY header says, and are not believed."""
    t.door = free_port()
    t.store_extra += (f"\tlistener far {{ address 127.0.0.1:{t.door}; protocol pop3; tls starttls; proxy_from 127.0.0.1; }}\n")
    t.write_all()
    t.start_store(1)


class Session:
    def __init__(self, tier):
        self.user, self.context = tier.user("carol"), tier.tls_context()
        self.socket = socket.create_connection(("127.0.0.1", tier.door), timeout=60)
        self.socket.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 110\r\n")
        self.heard = b""

    def line(self):
        while b"\n" not in self.heard:
            more = self.socket.recv(65536)
            if not more:
                break
            self.heard += more
        line, end, self.heard = self.heard.partition(b"\n")
        return line + end

    def answer(self, command):
        words = command.upper().split()
        first = text = self.line()
        long = words[:1] in (["RETR"], ["TOP"], ["CAPA"]) or words in (["LIST"], ["UIDL"], ["LANG"])
        while long and first.startswith(b"+OK") and not text.endswith(b"\r\n.\r\n"):
            text += self.line()
        return text

    def ask(self, row):
        if row == "TLS":
            assert self.ask("STLS").startswith(b"+OK")
            self.socket = self.context.wrap_socket(self.socket, server_hostname="localhost")
            return b""
        plain = base64.b64encode(f"\0{self.user['address']}\0{self.user['password']}".encode()).decode()
        line = row.replace("{user}", self.user["address"]).replace("{password}", self.user["password"]).replace(PLAIN, plain)
        commands = line.split("|")
        self.socket.sendall("".join(c + "\r\n" for c in commands).encode())
        return b"".join(self.answer(c) for c in commands)


@pytest.mark.parametrize("commands,want", [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_demand(store, commands, want):
    s = Session(store)
    got = s.answer("")
    for command in commands:
        got = s.ask(command)
    s.socket.close()
    assert (re.search(want.removeprefix(b"!"), got) is None) == want.startswith(b"!"), got


def test_login_delay(new_tier):
    """RFC 2449 6.5 and 8.1.1: in whichever worker; a refused login is none."""
    t = new_tier("pop3delay", stores=1, needs=("store",))
    t.workers = 2
    t.store_extra = "\tpop3_login_delay 1d;\n"
    open_door(t)
    s = Session(t)
    s.answer("")
    s.ask("TLS")
    assert b"\r\nLOGIN-DELAY 86400\r\n" in s.ask("CAPA")
    assert s.ask("USER {user}|PASS wrong").startswith(b"+OK")
    assert s.ask("USER {user}|PASS {password}").split(b"\n")[1].startswith(b"+OK")
    assert b"\r\nLOGIN-DELAY 86400\r\n" in s.ask("CAPA")
    s.ask("QUIT")
    for _ in range(5):
        s = Session(t)
        s.answer("")
        s.ask("TLS")
        assert s.ask("USER {user}|PASS {password}").split(b"\n")[1].startswith(b"-ERR [LOGIN-DELAY] ")
