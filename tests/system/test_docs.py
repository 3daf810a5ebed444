"""The pages say what is so: those that are made from the .def rows are those of this tree, and the commands and configurations
that the others show are commands and configurations."""
import os
import re
import signal
import subprocess

import pytest

import mail
from conftest import BIN, TOP, claim_all
from shown import Commands, blocks, pages, samples, sessions
from tier import STORE_PORTS, WELL_KNOWN, wait_for

# What changes nothing that runs. Of `table build` only the file beside its text is new.
HARMLESS = {"check", "status", "who", "holds", "explain", "table query", "table build", "table get", "queue list", "queue summary",
            "queue show", "queue cat", "queue copies", "tlsrpt show", "meter rules", "meter top", "meter show", "meter bans",
            "config dump", "config sample", "config reference", "store check", "store domains"}


def need(*programs):
    missing = [p for p in programs if not os.path.exists(os.path.join(BIN, p))]
    if missing:
        pytest.skip(f"not built: {', '.join(missing)}")


def test_generated_pages_are_up_to_date():
    need("postern-store")
    p = subprocess.run([os.path.join(TOP, "docs", "generate"), "--check"], env={**os.environ, "POSTERN_BIN": BIN},
                       capture_output=True, text=True, timeout=60, check=False)
    assert p.returncode == 0, p.stdout + p.stderr


def test_shown_commands_are_there():
    commands, problems, n = Commands(), [], 0
    for page, words in commands.shown():
        problem = commands.problem([w.strip("[]") for w in words])
        problems += [f"{page}: postern {' '.join(words)}: {problem}"] if problem else []
        n += 1
    assert not problems, "\n".join(problems)
    assert n > 50, "where are they?"


# ---- commands, at a tier ----------------------------------------------------------------------------


class Host:
    """A supervised tier as the demonstration's, with a port of the thousands, and what stands for the words in capitals."""

    def __init__(self, tier):
        self.tier = tier
        tier.users += [dict(name="anna", domain="example.org", store=1, address="anna@example.org", password="anna-demo")]
        tier.start_supervised()
        with open(tier.path("blocked"), "w", encoding="ascii") as f:
            f.write("bad.example REJECT not you\n")
        self.values = {"FILE": tier.config_file("postern"), "A": "192.0.2.7", "F": "s@far.example", "R": "alice@example.org",
                       "USER": "alice@example.org", "KEY": "192.0.2.7", "ID": self.queued()}

    def queued(self):
        """A message that alice has, and that stays in the queue for somebody else."""
        alice = self.tier.user("alice")
        to = [alice["address"], "x@waits.example"]
        code, reply = mail.send(self.tier, to[0], to, mail.message(mail.new_token(), to[0], to), service="submission", user=alice)
        assert code == 250
        ident = next(w for w in re.split(r"[\s\[\]=]+", reply.decode()) if re.fullmatch(r"[a-z0-9]{18}", w))
        wait_for(lambda: ident in self.tier.postern("queue", "list").stdout, 20, "it in the queue")
        return ident

    def filled(self, words):
        """With the values, at this tier's places; None: something that has no value here."""
        out = [self.values.get(w, w) for w in words if not w.startswith("[")]
        if any(re.fullmatch("[A-Z]+", w) for w in out):
            return None
        out = [w.replace("build/run", self.tier.run_dir).replace("/etc/postern", self.tier.run_dir) for w in out]
        return out if "-c" in out else out + ["-c", self.tier.config_file("store1" if out[0] == "store" else "postern")]


@pytest.fixture(scope="module")
def host(new_tier):
    tier = new_tier("docs", needs=("mmp", "edge", "store", "meter"))
    tier.port_base = next(base for base in range(10000, 25000, 1000) if claim_all(ports_of(base)))
    tier.edge_extra += "\trelay_host 127.0.0.1:1;\n\ttable blocked { type file; path " + tier.path("blocked") + "; }\n"
    return Host(tier)


def ports_of(base, stores=3):
    return [base + p for p in WELL_KNOWN.values()] + [base + 1000 * k + p for k in range(1, stores + 1) for p in STORE_PORTS.values()]


def run_shown(host, words):
    """What it prints."""
    done = Commands.tool(*words)
    bad = done.returncode != 0 or done.stderr != "" or "No worker knows this id" in done.stdout
    assert not bad, f"{words}: status {done.returncode}: {done.stderr}{done.stdout[-500:]}"
    return done.stdout.replace(host.tier.run_dir, "/etc/postern")


def test_shown_commands_do_what_they_say(host):
    commands, ran = Commands(), set()
    for _, words in commands.shown():
        filled = host.filled(words)
        if commands.name(words) in HARMLESS and filled is not None and not commands.wants_more(words):
            run_shown(host, filled)
            ran.add(commands.name(words))
    assert {"who", "queue list", "queue show", "explain", "meter top", "store check", "store domains", "table get", "check"} <= ran


def test_shown_output_is_what_they_print(host):
    """But for numbers."""
    for page, words, output in sessions():
        told = run_shown(host, host.filled(words))
        if output:
            assert re.sub(r"\d+", "N", told) == re.sub(r"\d+", "N", output), (page, words)


def pasted(host, text, folder):
    """(status, output) of a shell block of README.md: as it is there, but for the ports."""
    more = host.tier.port_base // 1000 - 20
    text = re.sub(r"(?<=[:\s])2[0-9]{4}\b", lambda m: str(int(m.group(0)) + 1000 * more), text)
    text = text.replace("s/:22/:23/", f"s/:{22 + more}/:{23 + more}/")
    with open(folder / "out", "w+b") as out:  # a pipe would stay open as long as what is started in the background
        code = subprocess.run(["bash", "-ec", text], cwd=folder, stdout=out, timeout=60, check=False).returncode
        out.seek(0)
        return code, out.read()


def test_a_third_store(host, tmp_path):
    """README.md: its first block starts the store, its second one finds a user there as soon as the directory is read."""
    start, use = [text for page, text in samples("sh") if page == "README.md" and "erin" in text]
    os.mkdir(tmp_path / "build")
    os.symlink(host.tier.run_dir, tmp_path / "build" / "run")
    os.symlink(BIN, tmp_path / "build" / "bin")
    assert pasted(host, start, tmp_path) == (0, b"")
    try:
        wait_for(lambda: pasted(host, use, tmp_path)[1].endswith(b"Subject: hello\r\n\r\nhi\r\n"), 30, "her mail")
    finally:
        with open(host.tier.path("store3-run", "store.pid"), encoding="ascii") as f:
            os.kill(int(f.read()), signal.SIGTERM)
        wait_for(lambda: "daemon.stopped" in host.tier.log("store3"), 20, "its end")


# ---- configurations ---------------------------------------------------------------------------------

# What a sample leaves out because it is not about that: goes into the section where the text from there on has no such words.
COMPLETE = (
    ("store", r"\blistener ", "partition primary { path /var/lib/postern; } listener imap { address 127.0.0.1:143; protocol imap; }"),
    ("edge", r"\blistener [a-z]+ +\{", "listener mx { address 127.0.0.1:25; role mx; tls starttls; }"),
    ("tls", r"\bcert ", "cert default { chain /etc/postern/tls/chain.pem; key file:/etc/postern/tls/key.pem; }"),
    ("directory", r"\bbackend ", 'backend ldap; uri ldap://ldap.example.org; base "dc=example,dc=org";'),
)
BARE = {"rule": "metermaid", "rewrite": "edge"}  # blocks that are shown without their section


def completed(text):
    if not re.search(r"(?m)^(edge|store)\s*\{", text):
        text += "edge { }\n"
    for section, words, more in COMPLETE:
        begin = re.compile(rf"(?m)^{section}\s*\{{")
        if section in ("tls", "directory") and not begin.search(text):
            text += f"{section} {{ }}\n"
        at = begin.search(text)
        if at and not re.search(words, text[at.end():]):
            text = f"{text[:at.end()]} {more}\n{text[at.end():]}"
    return text


def configurations(text):
    """The whole ones that are meant: where a section stands on two lines, for two hosts, each line is one."""
    if text.split()[0] in BARE:
        text = f"{BARE[text.split()[0]]} {{\n{text}}}\n"
    lines = re.findall(r"(?m)^([a-z]+) \{ .*\n", text)
    return [completed(one) for one in (text.splitlines(True) if len(set(lines)) < len(lines) else [text])]


@pytest.fixture(scope="module")
def etc(new_tier):
    """What samples name below /etc/postern."""
    tier = new_tier("etc", needs=("mmp", "edge", "store", "meter"))
    tier.write_all()
    for name, size in (("peer.secret", 20), ("copies", 40), ("tls/tickets", 160)):
        with open(tier.path(name), "wb") as f:
            f.write(b"x" * size)
    return tier


def check(etc, text):
    path = etc.path("shown.conf")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace("/etc/postern", etc.run_dir))
    return Commands.tool("check", "-c", path)


def test_shown_configurations_are_good(etc):
    n = 0
    for page, text in samples("conf"):
        for whole in configurations(text):
            done = check(etc, whole)
            assert done.returncode == 0, f"{page}:\n{whole}\n{done.stderr}"
            n += 1
    assert n >= 10, "where are they?"


def test_blocks_say_what_they_are():
    for page, text in pages().items():
        for word, block in blocks(text):
            assert word in ("sh", "console", "conf", "text"), (page, word)
            assert word != "text" or "{" not in block, f"{page}: is this a configuration?\n{block}"


@pytest.mark.parametrize("name", ["one-host", "beside-postfix"])
def test_examples_are_good(etc, name):
    with open(os.path.join(TOP, "conf", "example", name, "postern.conf"), encoding="utf-8") as f:
        done = check(etc, f.read())
    assert done.returncode == 0, done.stderr
