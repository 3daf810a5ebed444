"""Text indexes of mailboxes: the same answers as without, with less to read; filled, killed, damaged, removed."""
import os
import re
import signal
import subprocess
import urllib.request

import pytest

from test_store_rfc import Session
from tier import children_of, port_answers, wait_for

WORDS = "alpha beta gamma delta epsilon zeta Größe Ärger naïve коробка 漢字 2026-11".split()
# BODY and TEXT, short and long, in parts of words, of all scripts, combined; none of them may have another answer with an index
SEARCHES = ["BODY gamma", "TEXT subject-7", "BODY ammagamma", "NOT BODY alpha", "OR BODY zeta TEXT subject-3", "BODY ga", "TEXT e",
            "BODY {7}\r\nGrö\u00dfe", "BODY {6}\r\n漢字", "BODY {14}\r\nКоробка", "BODY \"alpha beta\"", "BODY encoded-5", "BODY attached",
            "TEXT absent-anywhere", "SUBJECT subject-1 BODY delta", "BODY \"\"", "UNSEEN BODY beta UID 40:70"]


def message(i):
    words = [WORDS[(i * k + k) % len(WORDS)] for k in range(1, 6)]
    text = " ".join(words) + "".join(WORDS[i % 6:i % 6 + 2]) + f" encoded-{i}\r\n"
    if i % 3 == 0:
        import base64
        body = base64.encodebytes(text.encode()).decode().replace("\n", "\r\n")
        head = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n"
    elif i % 3 == 1:
        body, head = text, "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    else:
        body = f"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n--b\r\nContent-Type: application/x\r\n\r\nattached\r\n--b--\r\n"
        head = "Content-Type: multipart/mixed; boundary=b\r\n"
    return f"Subject: subject-{i}\r\nMIME-Version: 1.0\r\n{head}\r\n{body}"


def append(s, box, i):
    text = message(i)
    s.say(f"APPEND {box} {{{len(text.encode())}+}}\r\n{text}")


def found(s, keys):
    if "{" in keys:  # a literal, of octets
        head, text = keys.split("\r\n", 1)
        keys = re.sub(r"\{\d+\}", f"{{{len(text.encode())}+}}", head) + "\r\n" + text
    heard = s.say(f"UID SEARCH CHARSET UTF-8 {keys}")
    return re.search(r"\* SEARCH([ \d]*)\r\n", heard).group(1).split()


def all_found(s):
    return [found(s, keys) for keys in SEARCHES]


def spared(t):
    with urllib.request.urlopen(f"http://127.0.0.1:{t.port('admin')}/metrics", timeout=5) as r:
        return int(re.search(r"postern_store_search_spared_total (\d+)", r.read().decode()).group(1))


def begin_store(t):
    t.start_daemon("store", "store1", "store1")
    wait_for(lambda: port_answers(t.store_port(1, "imap")), 30, "store1 imap")


@pytest.fixture(scope="module", name="store")
def _store(new_tier):
    t = new_tier("textindex", stores=1, needs=("store",))
    t.root_extra += f"admin {{ store 127.0.0.1:{t.port('admin')}; }}\n"
    t.store_extra += "\ttext_index yes;\n\ttext_index_from 1;\n"
    t.write_all()
    begin_store(t)
    return t


def folder(t):
    root, = wait_for(lambda: [r for r, dirs, _ in os.walk(t.run_dir) if "log" in dirs and "index" in dirs], 30, "the partition")
    return os.path.join(root, "text")


def files(t):
    return sorted(f for f in os.listdir(folder(t)) if re.fullmatch("[0-9a-f]{16}", f)) if os.path.isdir(folder(t)) else []


def filled(t, s, keys="BODY absent-anywhere"):
    """Searches until an index knows all messages: then none is read."""
    def known():
        before, n = spared(t), len(found(s, "ALL"))
        return found(s, keys) == [] and spared(t) - before == n
    wait_for(known, 30, "an index that knows all")


def damage(path):
    """All of it: what a log beside the file still has would be believed, and would mend the file."""
    for end in ("-wal", ""):
        if os.path.exists(path + end):
            with open(path + end, "r+b") as f:
                f.write(os.urandom(max(5000, os.path.getsize(path + end))))


def box(store, name, n):
    s = Session(store)
    s.say(f"CREATE {name}")
    for i in range(n):
        append(s, name, i)
    s.say(f"SELECT {name}")
    return s


def test_same_answers(store):
    s = box(store, "One", 60)
    before = all_found(s)  # nothing is known yet, or not all
    assert [len(f) for f in before[:4]] != [0, 0, 0, 0] and before[SEARCHES.index("BODY attached")] == []
    filled(store, s)
    assert all_found(s) == before
    for i in range(60, 90):
        append(s, "One", i)
    after = all_found(s)
    assert all(set(a) >= set(b) for a, b in zip(after, before))
    filled(store, s)
    assert all_found(s) == after
    s.say("STORE 1:45 +FLAGS (\\Deleted)")
    s.say("EXPUNGE")
    left = all_found(s)
    assert left == [[u for u in f if int(u) > 45] for f in after]
    s.say("CREATE Copy")
    s.say("COPY 1:* Copy")
    s.say("SELECT Copy")
    there = all_found(s)
    filled(store, s)
    assert all_found(s) == there and [len(f) for f in there[:-1]] == [len(f) for f in left[:-1]]  # the last names uids
    s.close()


def test_killed_while_filling(store):
    """Workers and committer are killed at any moment; answers stay, and the index becomes whole."""
    s = box(store, "Two", 120)
    wanted = all_found(s)
    for _ in range(5):
        s.close()
        for pid, _ in children_of(store.processes["store1"].pid):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: port_answers(store.store_port(1, "imap")), 30, "store1 imap")

        def comes_back():
            again = Session(store)
            if "OK" in again.say("SELECT Two").splitlines()[-1]:
                return again
            again.close()
            return None
        s = wait_for(comes_back, 60, "the mailbox")
        assert all_found(s) == wanted
    filled(store, s)
    assert all_found(s) == wanted
    s.close()


def test_damaged(store):
    """What is no index is marked and never believed."""
    before = files(store)
    s = box(store, "Three", 30)
    wanted = all_found(s)
    filled(store, s)
    name, = set(files(store)) - set(before)
    path = os.path.join(folder(store), name)
    s.close()

    def marked():  # by the first session after those that still have the old one, of which the last may mend the file as it ends
        damage(path)
        s = Session(store)
        s.say("SELECT Three")
        assert all_found(s) == wanted
        s.close()
        return os.path.exists(path + ".bad")
    wait_for(marked, 30, "the mark of a damaged index")
    assert store.logged("store1", r"text_index\.damaged")
    s = Session(store)
    s.say("SELECT Three")
    n = spared(store)
    assert all_found(s) == wanted and spared(store) == n
    s.close()


def test_removed(store):
    """A deleted mailbox leaves no index; a start without the option leaves none at all; reconstruct leaves none."""
    before = files(store)
    s = box(store, "Four", 10)
    filled(store, s)
    name, = set(files(store)) - set(before)
    s.say("UNSELECT")
    s.say("DELETE Four")
    s.close()
    store.stop_process("store1")
    begin_store(store)
    wait_for(lambda: name not in files(store), 30, "no index of the deleted mailbox")
    assert files(store) != []
    store.stop_process("store1")
    out = subprocess.run([os.path.join(store.bin_dir, "postern-store"), "-c", store.config_file("store1"), "reconstruct", "primary"],
                         capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out
    assert files(store) == []
    begin_store(store)
    s = Session(store)
    s.say("SELECT One")
    filled(store, s)
    s.close()
    store.stop_process("store1")
    store.store_extra = store.store_extra.replace("text_index yes", "text_index no")
    store.write_all()
    begin_store(store)
    wait_for(lambda: files(store) == [], 30, "no index")
