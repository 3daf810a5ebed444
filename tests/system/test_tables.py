"""Tables of access rules: a text, LMDB files of mdb_load and postmap, a real LDAP server; each of them also gone, damaged,
changed and silent."""
import json
import os
import signal
import subprocess

import pytest

import peers
from conftest import BIN, finish, free_port, free_port_base
from test_edge import Edge
from test_relay import Talk
from tier import wait_for

TOP = os.path.join(os.path.dirname(__file__), "..", "..")
NETWORK = "198.51.100."
RULES = """
	table senders { type lmdb; path %(base)s/senders; subdomains plain; }
	table clients { type lmdb; path %(base)s/clients.lmdb; }
	table helos { path %(base)s/helos; }
	table ways { path %(base)s/ways; }
	table people { type ldap; uri ldap://127.0.0.1:%(ldap)d; base "ou=access,dc=postern"; deadline 20s;
		filter "(&(objectClass=applicationProcess)(|(cn=%%s)(cn=local %%u of %%d)))"; result description; cache_ttl 0s; negative_ttl 0s; }
	table lost { type ldap; uri ldap://127.0.0.1:%(nobody)d; base "dc=postern"; filter "(cn=%%s)"; deadline 1s; }
	access clients { listener rules; client_table clients; action table; }
	access helos { listener rules; helo_table helos; action refuse; text "no such helo"; }
	access senders { listener rules; sender_table senders; action table; }
	access ways { listener rules; channel_table ways; action table; }
	access people { listener people; recipient_table people; action table; }
	access lost { listener lost; sender_table lost; action accept; }
	access stores { listener channels; channel store; sender to-store.example; action refuse; text "not into stores"; }
	access out { listener channels; channel smtp, relay; sender to-smtp.example; action refuse; text "not to elsewhere"; }
	access box { listener channels; channel box; action refuse; text "not into the box"; }
	channel box { type pipe; addresses box@example.org; program /bin/true; user nobody; }
"""
SENDERS = {"bad.example": "REJECT not you", "busy.example": "450 4.7.1 come later", "gone.example": "DISCARD",
           "fine.bad.example": "OK", "held.example": "HOLD look at it", "moved.example": "REDIRECT bob@example.org",
           "field.example": "PREPEND X-Table: was here", "tagged.example": "TAG from-a-table", "odd.example": "NONSENSE really",
           "dunno.example": "DUNNO", "number.example": "1700000000", "": "REJECT empty key", "<>": "550 5.7.1 no reports",
           "bye.example": "521 5.7.1 go away", "user@only.example": "REJECT one user", "boss@": "REJECT no bosses"}
ENTRIES = {"alice@example.org": ["REJECT said by ldap"], "local bob of example.org": ["450 4.7.1 bob is busy"],
           "carol@example.net": ["REJECT this", "DISCARD"]}


def dump(pairs):
    """What mdb_load(1) reads."""
    def text(word):
        return "".join(c if c.isalnum() else f"\\{ord(c):02x}" for c in word)
    lines = [f" {text(k)}\n {text(v)}\n" for k, v in sorted(pairs.items()) if k]
    return "VERSION=3\nformat=print\ntype=btree\nmapsize=1048576\nmaxreaders=126\nHEADER=END\n" + "".join(lines) + "DATA=END\n"


def mdb_load(path, pairs):
    """A new environment in the place of an old one."""
    os.makedirs(path + ".new")
    subprocess.run(["mdb_load", path + ".new"], input=dump(pairs), text=True, check=True, timeout=30)
    os.makedirs(path, exist_ok=True)
    os.rename(path + ".new/data.mdb", path + "/data.mdb")
    os.unlink(path + ".new/lock.mdb")
    os.rmdir(path + ".new")


def postmap(base, name, pairs):
    """In place, one transaction."""
    with open(f"{base}/{name}", "w", encoding="ascii") as f:
        f.write("".join(f"{k} {v}\n" for k, v in pairs.items()))
    with open(f"{base}/main.cf", "w", encoding="ascii") as f:
        f.write("compatibility_level = 3.6\n")
    subprocess.run(["postmap", "-c", base, f"lmdb:{base}/{name}"], check=True, timeout=30, capture_output=True)


def write(path, text):
    with open(path + ".new", "w", encoding="ascii") as f:
        f.write(text)
    os.rename(path + ".new", path)


def ldap_entries():
    out = "dn: ou=access,dc=postern\nobjectClass: organizationalUnit\nou: access\n\n"
    for name, values in ENTRIES.items():
        cn = name.replace("@", "\\40")
        out += f"dn: cn={cn},ou=access,dc=postern\nobjectClass: applicationProcess\ncn: {name}\n"
        out += "".join(f"description: {v}\n" for v in values) + "\n"
    return out


@pytest.fixture(scope="module")
def edge(run_dir):
    tier = Edge(run_dir / "tables", free_port_base(), BIN)
    tier.use_redis = False
    tier.workers = 1
    tier.at = {n: free_port() for n in ("rules", "people", "lost", "channels")}
    tier.ldap = free_port()
    tier.base = tier.path("access")
    os.makedirs(tier.base)
    mdb_load(f"{tier.base}/senders", SENDERS)
    postmap(tier.base, "clients", {NETWORK + "9": "REJECT a client", "203.0.113": "REJECT a network", NETWORK + "8": "OK",
                                  "2001:db8": "REJECT six"})
    write(f"{tier.base}/helos", "# names\nbad.helo yes\n.below.helo\n")
    write(f"{tier.base}/ways", "smtp 550 5.7.1 nothing leaves\n")
    tier.edge_extra = RULES % {"base": tier.base, "ldap": tier.ldap, "nobody": free_port()} + "".join(
        f"\tlistener {n} {{ address 127.0.0.1:{p}; role internal; tls none; xclient_from 127.0.0.1/32; "
        f"relay_from {NETWORK}0/24; }}\n" for n, p in tier.at.items())
    tier.write_all()
    peers.start_slapd(tier, tier.ldap, os.path.join(TOP, "conf/schema"))
    subprocess.run(["ldapadd", "-x", "-H", f"ldap://127.0.0.1:{tier.ldap}", "-D", "cn=admin,dc=postern", "-w", "admin-demo"],
                   input=ldap_entries(), text=True, check=True, timeout=30, capture_output=True)
    tier.start()
    yield tier
    tier.stop_process("slapd")
    finish(tier)


class Client(Talk):
    def __init__(self, edge, listener="rules", address=NETWORK + "7", helo="client.example"):
        super().__init__(edge, port=edge.at[listener])
        assert self.say(b"EHLO x.example") == 250
        assert self.say(b"XCLIENT ADDR=" + (b"IPV6:" if ":" in address else b"") + address.encode()) == 220
        assert self.say(b"EHLO " + helo.encode()) == 250

    def reply(self):
        while True:
            self.text = self.file.readline().decode()
            if self.text[3:4] != "-":
                return int(self.text[:3] or 0)

    def ask(self, sender, recipient="alice@example.org"):
        self.say(b"RSET")
        assert self.say(b"MAIL FROM:<" + sender.encode() + b">") == 250, self.text
        self.say(b"RCPT TO:<" + recipient.encode() + b">")
        return self.text


@pytest.fixture
def client(edge):
    t = Client(edge)
    yield t
    t.close()


def test_words_of_a_table(edge, client):
    for sender, reply in (("a@bad.example", "554 5.7.1 not you"), ("a@deep.bad.example", "554 5.7.1 not you"),
                          ("a@busy.example", "450 4.7.1 come later"), ("a@fine.bad.example", "250 2.1.5"), ("a@gone.example", "250 2.1.5"),
                          ("a@odd.example", "451 4.3.0"), ("a@dunno.example", "250 2.1.5"), ("a@number.example", "250 2.1.5"),
                          ("", "550 5.7.1 no reports"), ("user@only.example", "554 5.7.1 one user"), ("uSer+x@Only.example", "554 5.7.1"),
                          ("other@only.example", "250 2.1.5"), ("boss@far.example", "554 5.7.1 no bosses"), ("x@notbad.example", "250 2.1.5")):
        assert client.ask(sender).startswith(reply), (sender, client.text)
    assert client.ask("a@bye.example").startswith("521 5.7.1 go away") and client.file.readline() == b""


def test_what_is_done_with_the_mail(edge):
    for sender, user, marks in (("a@tagged.example", "alice", [b"X-Postern-Tag: from-a-table"]),
                                ("a@field.example", "alice", [b"X-Table: was here"]),
                                ("a@moved.example", "bob", [])):
        t = Client(edge)
        assert t.ask(sender).startswith("250") and t.say(b"DATA") == 354
        assert t.say(b"Subject: " + sender.encode() + b"\r\n\r\nhello\r\n.") == 250
        stored, = edge.wait_stored(edge.user(user), f"Subject: {sender}")
        assert all(m in stored for m in marks), stored
        t.close()
    t = Client(edge)
    assert t.ask("a@held.example").startswith("250") and t.say(b"DATA") == 354
    assert t.say(b"Subject: held\r\n\r\nhello\r\n.") == 250
    edge.wait_listed("access rule senders: look at it")
    assert edge.postern("queue", "delete", "sender=a@held.example").returncode == 0
    t.close()


def test_clients_and_names(edge):
    for address, helo, reply in ((NETWORK + "9", "x.example", "554 5.7.1 a client"), ("203.0.113.77", "x.example", "554 5.7.1 a network"),
                                 (NETWORK + "8", "bad.helo", "250"), (NETWORK + "7", "bad.helo", "550 5.7.1 no such helo"),
                                 (NETWORK + "7", "x.Below.helo", "550 5.7.1 no such helo"), (NETWORK + "7", "below.helo", "250"),
                                 ("2001:db8::1", "x.example", "554 5.7.1 six"), ("2001:db9::1", "x.example", "250")):
        t = Client(edge, address=address, helo=helo)
        assert t.ask("a@good.example").startswith(reply), (address, helo, t.text)
        t.close()


def test_ldap(edge):
    t = Client(edge, "people")
    for recipient, reply in (("alice@example.org", "554 5.7.1 said by ldap"), ("bob@example.org", "450 4.7.1 bob is busy"),
                             ("carol@example.net", "451 4.3.0"), ("*@example.org", "550 5.1.1"),
                             ('"alice@example.org)(cn=*"@example.org', "550 5.7.1 relay denied: routed"),
                             ("al*@example.org", "550 5.1.1"), ("(cn=*)@example.org", "501")):
        assert t.ask("a@good.example", recipient).startswith(reply), (recipient, t.text)
    t.close()


def test_ldap_that_hangs_holds_up_nobody_else(edge):
    slapd = edge.processes["slapd"]
    slow, quick = Client(edge, "people"), Client(edge)
    assert slow.say(b"MAIL FROM:<a@good.example>") == 250
    os.kill(slapd.pid, signal.SIGSTOP)
    try:
        slow.socket.sendall(b"RCPT TO:<alice@example.org>\r\n")
        for _ in range(3):
            assert quick.ask("a@bad.example").startswith("554")
    finally:
        os.kill(slapd.pid, signal.SIGCONT)
    assert slow.reply() == 554 and "said by ldap" in slow.text
    slow.close()
    quick.close()


def test_ldap_that_is_away_decides_nothing(edge):
    t = Client(edge, "lost")
    assert t.ask("a@good.example").startswith("451 4.3.0 local policy cannot be looked up now"), t.text
    t.close()


@pytest.mark.parametrize("sender,recipient,reply", [
    ("a@to-store.example", "alice@example.org", "550 5.7.1 not into stores"), ("a@to-store.example", "x@far.example", "250"),
    ("a@to-smtp.example", "alice@example.org", "250"), ("a@to-smtp.example", "x@far.example", "550 5.7.1 not to elsewhere"),
    ("a@to-smtp.example", "nobody@example.org", "550 5.1.1"), ("a@to-smtp.example", "x%far.example@example.org", "550 5.7.1 relay denied"),
    ("a@b.example", "box@example.org", "550 5.7.1 not into the box")])
def test_channels(edge, sender, recipient, reply):
    t = Client(edge, "channels")
    assert t.ask(sender, recipient).startswith(reply), t.text
    t.close()


def test_explained(edge):
    told = edge.postern("explain", "--ip", NETWORK + "7", "--from", "a@good.example", "--rcpt", "x@far.example", "--rcpt",
                        "alice@example.org", "--listener", "rules").stdout
    for words in ("<x@far.example> would go by smtp", "the table says: 550 5.7.1 nothing leaves", "550 5.7.1 nothing leaves",
                  "<alice@example.org> goes by store"):
        assert words in told, told


def query(edge, *words):
    done = edge.postern("table", "query", *words, "--json")
    rows = json.loads(done.stdout)
    row = rows[0] if isinstance(rows, list) else rows
    return row["answer"], row["key"], row["value"]


def test_query(edge):
    assert query(edge, "senders", "bad.example") == ("found", "bad.example", "REJECT not you")
    assert query(edge, "senders", "a@deep.bad.example")[0] == "absent"
    assert query(edge, "senders", "a@deep.bad.example", "address") == ("found", "bad.example", "REJECT not you")
    assert query(edge, "clients", "203.0.113.9", "client") == ("found", "203.0.113", "REJECT a network")
    assert query(edge, "people", "alice@example.org") == ("found", "alice@example.org", "REJECT said by ldap")
    assert query(edge, "people", "nobody.example")[0] == "absent"
    assert query(edge, "people", "carol@example.net")[0] == "cannot be looked at"
    assert query(edge, "lost", "x")[0] == "cannot be looked at"
    assert query(edge, "none", "x") == ("cannot be looked at", "", "there is no table with this name")
    assert "means nothing" in edge.postern("table", "query", "senders", "x", "sideways").stdout


def test_changes_count(edge, client):
    """postmap's at once, with an inode of its own within two seconds."""
    assert client.ask("a@new.example").startswith("250")
    mdb_load(f"{edge.base}/senders", SENDERS | {"new.example": "REJECT new"})
    wait_for(lambda: client.ask("a@new.example").startswith("554 5.7.1 new"), 10, "the other file")
    postmap(edge.base, "clients", {NETWORK + "9": "REJECT a client", "203.0.113": "REJECT a network", NETWORK + "7": "REJECT me"})
    assert client.ask("a@good.example").startswith("554 5.7.1 me")
    postmap(edge.base, "clients", {NETWORK + "9": "REJECT a client", "203.0.113": "REJECT a network", NETWORK + "8": "OK"})
    assert client.ask("a@good.example").startswith("250")
    write(f"{edge.base}/helos", "client.example\n")
    wait_for(lambda: client.ask("a@good.example").startswith("550 5.7.1 no such helo"), 10, "the other text")
    write(f"{edge.base}/helos", "a 1\na 2\n")
    wait_for(lambda: "stands here for the second time" in edge.log("edge"), 10, "the mistake in the log")
    assert client.ask("a@good.example").startswith("550 5.7.1 no such helo")
    write(f"{edge.base}/helos", "bad.helo\n.below.helo\n")
    wait_for(lambda: client.ask("a@good.example").startswith("250"), 10, "the first text")


def build(edge, name, lines, *target):
    with open(f"{edge.base}/{name}", "w", encoding="ascii") as f:
        f.write("".join(lines))
    return edge.postern("table", "build", f"{edge.base}/{name}", *target)


def get(edge, file, key):
    done = edge.postern("table", "get", f"{edge.base}/{file}", key)
    return done.returncode, done.stdout.rstrip("\n")


def test_built_tables(edge, client):
    """In the place of files of mdb_load and postmap; liblmdb reads what is built, and the running edge sees it."""
    # values on pages of their own, three levels of pages
    many = {f"k{i:05}.example": "REJECT x" + "x" * (2000 if i % 997 == 0 else i % 60) for i in range(20000)}
    text = [f"{k}  {v}\n" for k, v in (SENDERS | many | {"built.example": "REJECT built"}).items() if k]
    done = build(edge, "senders.txt", text, f"{edge.base}/senders")
    assert done.stdout == f"{edge.base}/senders/data.mdb: {len(text)} keys\n", done.stderr
    wait_for(lambda: client.ask("a@built.example").startswith("554 5.7.1 built"), 10, "the built file")
    assert client.ask("a@k00997.example").startswith("554 5.7.1 xx") and client.ask("a@bad.example").startswith("554 5.7.1 not you")
    dumped = subprocess.run(["mdb_dump", "-p", f"{edge.base}/senders"], capture_output=True, text=True, timeout=30, check=True).stdout
    rows = dumped[dumped.index("HEADER=END"):].splitlines()[1:-1]
    assert dict(zip(rows[::2], rows[1::2])) == {" " + k: " " + v for k, v in (
        SENDERS | many | {"built.example": "REJECT built"}).items() if k}
    assert edge.postern("table", "build", f"{edge.base}/clients").returncode == 0  # what postmap was given
    asked = subprocess.run(["postmap", "-c", edge.base, "-q", NETWORK + "9", f"lmdb:{edge.base}/clients"], capture_output=True,
                           text=True, timeout=30, check=False)
    assert asked.stdout == "REJECT a client\n", asked.stderr
    assert get(edge, "clients.lmdb", "203.0.113") == (0, "REJECT a network") and get(edge, "senders", "BAD.example") == (0, "REJECT not you")
    assert get(edge, "clients.lmdb", "203.0.114") == (1, "")
    postmap(edge.base, "clients", {NETWORK + "9": "REJECT again", NETWORK + "8": "OK"})  # liblmdb goes on with it
    assert get(edge, "clients.lmdb", NETWORK + "9") == (0, "REJECT again")


def test_mistakes_build_nothing(edge):
    before = {f: os.stat(f"{edge.base}/{f}").st_ino for f in os.listdir(edge.base)}
    done = build(edge, "wrong", ["a 1\n", "  more\n", "# x\n", "A 2\n"], f"{edge.base}/clients.lmdb")
    assert done.returncode == 78 and f"{edge.base}/wrong:4: the key stands here for the second time" in done.stderr
    for target in ("helos", "wrong", "none/x", "clients.lmdb/x"):
        done = build(edge, "wrong", ["a 1\n"], f"{edge.base}/{target}")
        assert done.returncode == 69 and done.stdout == "", (target, done.stderr)
        assert f"{edge.base}/{target}: " in done.stderr
    assert edge.postern("table", "build", f"{edge.base}/nothing").returncode == 78
    assert get(edge, "helos", "x")[0] == 69 and get(edge, "nothing", "x")[0] == 69
    assert {f: os.stat(f"{edge.base}/{f}").st_ino for f in os.listdir(edge.base) if f != "wrong"} == before


def test_damaged_files_decide_nothing(edge, client):
    """Cut and overwritten in place, under the worker that has it open: it lives, and nobody is let in or refused by mistake."""
    worker = edge.children()
    path = f"{edge.base}/clients.lmdb"
    with open(path, "rb") as f:
        good = f.read()
    for bad in (b"", good[:100], good[:4096], good[:8192], good[:4096] + b"\xff" * (len(good) - 4096), b"\0" * len(good),
                good[:8192] + b"\xff" * (len(good) - 8192)):
        with open(path, "r+b") as f:
            f.truncate(0)
            f.write(bad)
        assert client.ask("a@good.example").startswith("451 4.3.0"), bad[:20]
    with open(path, "r+b") as f:
        f.truncate(0)
        f.write(good)
    assert client.ask("a@good.example").startswith("250"), client.text
    assert edge.children() == worker and "directory.table_broken" in edge.log("edge")


def test_reload_with_questions_under_way(edge):
    slapd = edge.processes["slapd"]
    t = Client(edge, "people")
    assert t.say(b"MAIL FROM:<a@good.example>") == 250
    os.kill(slapd.pid, signal.SIGSTOP)
    try:
        t.socket.sendall(b"RCPT TO:<alice@example.org>\r\n")
        assert "edge: reloaded" in edge.postern("reload").stdout
    finally:
        os.kill(slapd.pid, signal.SIGCONT)
    assert t.reply() == 554 and "said by ldap" in t.text
    t.close()


def test_mistakes_are_told(edge, tmp_path):
    with open(edge.path("postern.conf"), encoding="utf-8") as f:
        text = f.read()
    bad = "".join(f"\t{line}\n" for line in (
        "table senders { path /x; }", "table nofile { type lmdb; }", "table l { type ldap; filter \"(cn=%s)\"; }",
        "table f { type ldap; uri ldap://h; base x; filter \"(cn=%q)\"; }", "access a { sender_table nowhere; action refuse; }",
        "access b { action table; }", "access c { channel nowhere; action refuse; }",
        "access d { listener nowhere; action refuse; }", "access e { sender \"far.example REJECT\"; action refuse; }",
        f"access f {{ recipient {'x' * 321}; action refuse; }}", "access g { client_name_table nowhere; client_name .far.example; action refuse; }",
        "reverse_names no;"))
    with open(tmp_path / "bad.conf", "w", encoding="utf-8") as f:
        f.write(text.replace("\ttable senders {", bad + "\ttable senders {", 1))
    done = subprocess.run([os.path.join(BIN, "postern"), "-c", str(tmp_path / "bad.conf"), "check"], capture_output=True, text=True,
                          timeout=30, check=False)
    told = done.stdout + done.stderr
    assert done.returncode != 0
    for words in ('a second "table" with the title', "table nofile: path is missing", "table l: uri and base are wanted", "table f: filter is",
                  'there is no listener "nowhere"', '"far.example REJECT" is no address', 'x..." is longer than any address',
                  "names of clients need reverse_names", 'there is no table "nowhere"', "action table needs a table", 'there is no channel "nowhere"'):
        assert words in told, told
