"""Certificates, keys and ticket keys that change while clients are there: swapped, refused, shared between hosts."""
import os
import re
import shutil
import subprocess
import urllib.request

import pytest

from mmp_clients import connect, hang_up, start_mmp
from rotation import Logins, answers, login, new_pair, put, serial, served
from tier import port_answers, wait_for

ROTATIONS, LIVE = 100, 40


def store_and_mmp(t):
    t.use_redis = False
    t.meter_rules = ""
    t.users = [u for u in t.users if u["store"] == 1]
    t.root_extra += "watch_files 20ms;\n"
    t.write_all()
    t.start_daemon("store", "store1", "store1")
    wait_for(lambda: port_answers(t.store_port(1, "imap")), 30, "store1 imap")
    start_mmp(t)
    return t


@pytest.fixture(scope="module")
def tls_tier(new_tier):
    return store_and_mmp(new_tier("tls", stores=1, needs=("mmp", "store")))


def test_a_hundred_rotations(tls_tier):
    """Every one is shown to who comes next; who is there, before and after the login, notices none."""
    t = tls_tier
    pairs = [new_pair(t, f"turn{i}") for i in range(3)]
    live = [login(t) for _ in range(LIVE)]
    early = connect(t, t.port("imaps"))
    load = Logins(t)
    load.start()
    for i in range(ROTATIONS):
        chain, key = pairs[i % len(pairs)]
        put(t, chain, key)
        want = served(t, chain)
        wait_for(lambda w=want: serial(t) == w, 20, f"rotation {i}")
        answers(*live[i % LIVE])
        answers(*early)
    done, failed = load.finish()
    assert not failed and done > ROTATIONS, (done, failed[:3])
    for s, f in live:
        answers(s, f)
        hang_up(s, f)
    hang_up(*early)
    assert "worker.died" not in t.log("mmp")
    assert len(re.findall(r"config\.files_taken ", t.log("mmp"))) >= ROTATIONS


def expired(t):
    chain, key = new_pair(t, "expired")
    t.openssl("req", "-new", "-key", key, "-subj", f"/CN={t.hostname}", "-out", t.path("tls", "leaf.csr"))
    with open(t.path("tls", "index"), "w", encoding="ascii"), open(t.path("tls", "ca.cnf"), "w", encoding="ascii") as f:
        f.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={t.path('tls', 'index')}\nnew_certs_dir={t.path('tls')}\n"
                f"default_md=sha256\npolicy=p\nrand_serial=yes\n[p]\ncommonName=supplied\n")
    t.openssl("ca", "-batch", "-config", t.path("tls", "ca.cnf"), "-cert", t.ca_file, "-keyfile", t.path("tls", "ca.key"),
              "-in", t.path("tls", "leaf.csr"), "-startdate", "20200101000000Z", "-enddate", "20210101000000Z",
              "-extfile", t.path("tls", "leaf.ext"), "-out", chain, "-notext")
    return chain, key


def half_written(t):
    chain, key = new_pair(t, "half")
    with open(chain, "r+", encoding="ascii") as f:
        f.truncate(os.path.getsize(chain) // 2)
    return chain, key


@pytest.mark.parametrize("make, why", [
    (lambda t: (new_pair(t, "other")[0], None), "does not fit"),
    (lambda t: (None, new_pair(t, "other")[1]), "does not fit"),
    (expired, "has expired"),
    (half_written, "cannot be read"),
], ids=["only-the-certificate", "only-the-key", "expired", "half-written"])
def test_a_broken_pair_is_refused(tls_tier, make, why):
    """Told with its reason; what was served is served on, also after a reload; the next good pair is taken."""
    t = tls_tier
    good = new_pair(t, "good")
    put(t, *good)
    wait_for(lambda: serial(t) == served(t, good[0]), 20, "the good pair")
    before = len(t.log("mmp"))
    put(t, *make(t))
    line = wait_for(lambda: re.search(r"tls\.pair_refused .*", t.log("mmp")[before:]), 20, "the refusal")
    assert why in line.group(0)
    assert serial(t) == served(t, good[0])
    if why != "has expired":  # a start and a reload take one that is merely old: better than none
        assert t.postern("reload").returncode != 0
        assert serial(t) == served(t, good[0])
    next_one = new_pair(t, "next")
    put(t, *next_one)
    wait_for(lambda: serial(t) == served(t, next_one[0]), 20, "the next pair")


def test_the_second_file_makes_the_pair_whole(tls_tier):
    """Whoever replaces one after the other sees both taken with the second."""
    t = tls_tier
    before = len(t.log("mmp"))
    chain, key = new_pair(t, "slow")
    put(t, chain, None)
    wait_for(lambda: "tls.pair_refused" in t.log("mmp")[before:], 20, "the refusal")
    put(t, None, key)
    wait_for(lambda: serial(t) == served(t, chain), 20, "the pair")


def test_a_file_that_is_gone(tls_tier):
    t = tls_tier
    now, before = serial(t), len(t.log("mmp"))
    os.rename(t.path("tls", "key.pem"), t.path("tls", "key.away"))
    wait_for(lambda: re.search(r"config\.file_refused file=\S*key\.pem .*No such file", t.log("mmp")[before:]), 20, "the event")
    assert serial(t) == now
    os.rename(t.path("tls", "key.away"), t.path("tls", "key.pem"))
    answers(*login(t))


def test_names_choose_certificates(new_tier):
    """SNI: by name, by wildcard, the first for all else; one of many is renewed and the others stay."""
    t = new_tier("names", stores=1, needs=("mmp", "store"))
    os.makedirs(t.run_dir, exist_ok=True)
    t.make_certificates()
    pairs = {}
    for i in range(20):
        with open(t.path("tls", "names.ext"), "w", encoding="ascii") as f:
            f.write(f"subjectAltName=DNS:mail.d{i}.example,DNS:*.w{i}.example\nbasicConstraints=CA:FALSE\n")
        pairs[i] = new_pair(t, f"d{i}", names="names.ext")
        t.tls_extra += f"\tcert d{i} {{ chain {pairs[i][0]}; key file:{pairs[i][1]}; }}\n"
    plain = t.common_text
    t.common_text = lambda name: re.sub(r"(tls \{\n)(.*?)(\tca [^\n]*\n)(\tcert default[^\n]*\n)", r"\1\3\4\2", plain(name), flags=re.S)
    store_and_mmp(t)
    assert serial(t) == served(t, t.path("tls", "chain.pem"))
    for i in (0, 7, 19):
        assert serial(t, f"mail.d{i}.example") == served(t, pairs[i][0])
        assert serial(t, f"any.w{i}.example", "pop3s") == served(t, pairs[i][0])
    old = {i: served(t, pairs[i][0]) for i in pairs}
    with open(t.path("tls", "names.ext"), "w", encoding="ascii") as f:
        f.write("subjectAltName=DNS:mail.d7.example\nbasicConstraints=CA:FALSE\n")
    new_pair(t, "d7", names="names.ext")
    wait_for(lambda: serial(t, "mail.d7.example") == served(t, pairs[7][0]) != old[7], 20, "the renewed one")
    assert serial(t, "mail.d8.example") == old[8]


# ---- session tickets ------------------------------------------------------------------------------

def resumes(t, session, save=None):
    """openssl s_client with a kept session: was it resumed? save: keep the new session there."""
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{t.port('imaps')}", "-servername", "localhost", "-CAfile", t.ca_file,
            "-ign_eof", "-sess_out", save or os.devnull] + (["-sess_in", session] if session else [])
    out = subprocess.run(argv, input="a LOGOUT\r\n", capture_output=True, text=True, timeout=30, check=False)
    found = re.search(r"^(New|Reused), TLS", out.stdout, re.M)
    assert found, out.stdout + out.stderr
    return found.group(1) == "Reused"


def new_key():
    return os.urandom(80)


def put_keys(t, *keys):
    with open(t.path("tickets.new"), "wb") as f:
        f.write(b"".join(keys))
    os.rename(t.path("tickets.new"), t.path("tickets"))


def keys_taken(t, before):
    wait_for(lambda: re.search(r"config\.files_taken files=\S*tickets ", t.log("mmp")[before:]), 20, "the keys")


@pytest.fixture(scope="module")
def two_hosts(new_tier):
    """A and B: two multiplexors that share nothing but the file of keys."""
    hosts = []
    for name in ("host-a", "host-b"):
        t = new_tier(name, stores=1, needs=("mmp", "store"))
        os.makedirs(t.run_dir, exist_ok=True)
        t.tls_extra = f"\tticket_key file:{t.path('tickets')};\n"
        t.workers = 2
        hosts.append(t)
    first = new_key()
    for t in hosts:
        put_keys(t, first)
        if t is hosts[1]:  # the same certificate: a ticket is bound to what its client trusts
            shutil.copytree(hosts[0].path("tls"), t.path("tls"))
        store_and_mmp(t)
    return hosts, first


def test_resumption_across_hosts_and_rotations(two_hosts):
    (a, b), first = two_hosts
    session = a.path("session")
    assert not resumes(a, None, session)
    assert resumes(b, session)
    assert all(resumes(t, session) for t in (a, b) * 4)  # whichever worker accepts
    second = new_key()
    for t in (b, a):
        before = len(t.log("mmp"))
        put_keys(t, second, first)
        keys_taken(t, before)
    assert resumes(b, session)
    assert not resumes(b, None, session)  # sealed by the second key
    assert resumes(a, session)
    for t in (a, b):
        before = len(t.log("mmp"))
        put_keys(t, new_key())
        keys_taken(t, before)
    assert not resumes(a, session)
    assert not resumes(b, session)


def test_bad_keys_are_refused(two_hosts):
    (a, _), _ = two_hosts
    session = a.path("session")
    assert not resumes(a, None, session)
    before = len(a.log("mmp"))
    put_keys(a, b"x" * 81)
    wait_for(lambda: re.search(r"config\.file_refused .*ticket_key: 1 to 16 keys of 80 bytes", a.log("mmp")[before:]), 20, "the event")
    assert resumes(a, session)


def test_own_keys_are_shared_by_workers_and_rotated(new_tier):
    """Without a file: every worker of the host resumes, over rotations, and not beyond the keys that are kept."""
    t = new_tier("own", stores=1, needs=("mmp", "store"))
    t.workers = 2
    t.tls_extra = "\tticket_rotate 1s;\n"
    store_and_mmp(t)

    def rotations():
        with urllib.request.urlopen(f"http://127.0.0.1:{t.port('admin')}/metrics", timeout=5) as r:
            return int(re.search(r"^postern_tls_ticket_rotations_total (\d+)", r.read().decode(), re.M).group(1))
    session = t.path("session")
    assert not resumes(t, None, session)
    at = rotations()
    assert all(resumes(t, session) for _ in range(6))
    wait_for(lambda: rotations() > at, 20, "a rotation")
    assert resumes(t, session) or rotations() > at + 3
    wait_for(lambda: rotations() > at + 4, 30, "rotations")
    assert not resumes(t, session)
