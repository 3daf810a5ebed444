"""Clients and libraries at the store itself, unmodified: Roundcube's IMAP library, getmail, mbsync both ways, Python's.

MBSYNC_MESSAGES messages (100) go each way with mbsync; ten thousand in all: MBSYNC_MESSAGES=5000 make system
TESTS="tests/system/test_store_clients.py -k mbsync"
"""
import imaplib
import json
import os
import poplib
import re
import subprocess

import pytest

import mail
from mtas import UNPACKED

MESSAGES = int(os.environ.get("MBSYNC_MESSAGES") or 100)
ROUNDCUBE = os.path.join(UNPACKED, "usr/share/roundcube/program/lib/Roundcube")
GETMAIL = os.path.join(UNPACKED, "usr/bin/getmail")
SENDER = "visitor@elsewhere.example"

# What its web pages do with a mailbox: each answer is one field of the JSON that comes out.
WEBMAIL = r"""<?php
require $argv[1] . '/bootstrap.php';
[, , $port, $user, $secret, $text] = $argv;
$i = new rcube_imap_generic();
$told = ['in' => $i->connect('127.0.0.1', $user, $secret, ['port' => (int)$port, 'auth_type' => 'PLAIN', 'ident' => ['name' => 'webmail'],
    'timeout' => 60])];
$told['namespace'] = $i->getNamespace();
$told['delimiter'] = $i->getHierarchyDelimiter();
foreach (['QRESYNC', 'LIST-EXTENDED', 'SORT', 'THREAD', 'METADATA', 'ACL', 'QUOTA', 'LITERAL+', 'BINARY', 'MOVE', 'ESEARCH'] as $word)
    $told['has'][$word] = (bool)$i->getCapability($word);
$told['create'] = [$i->createFolder('Web/Sent', ['\\Sent']), $i->createFolder('Web/Gone'), $i->createFolder('Web/B&-C')];
$told['subscribe'] = [$i->subscribe('Web/Sent'), $i->unsubscribe('Web/Gone')];
$told['list'] = $i->listMailboxes('', 'Web/*', ['SUBSCRIBED', 'SPECIAL-USE']);
$told['lsub'] = $i->listSubscribed('', 'Web/*');
$told['append'] = [];
foreach ([['SEEN'], [], ['FLAGGED']] as $k => $flags) {
    $message = str_replace('@', (string)$k, $text);
    $told['append'][] = (bool)$i->append('Web/Sent', $message, $flags, '27-Nov-2026 0' . $k . ':00:00 +0000');
}
$plain = str_replace('@', '3', $text);
$told['append'][] = (bool)$i->append('Web/Sent', $plain, [], null, true);
$told['status'] = $i->status('Web/Sent', ['MESSAGES', 'UNSEEN', 'UIDNEXT', 'UIDVALIDITY']);
$told['select'] = $i->select('Web/Sent');
$told['counts'] = [$i->countMessages('Web/Sent'), $i->countUnseen('Web/Sent')];
$told['sort'] = $i->sort('Web/Sent', 'SUBJECT', '', true)->get();
$told['thread'] = $i->thread('Web/Sent', 'REFERENCES', '', true)->count();
$told['search'] = $i->search('Web/Sent', 'UNSEEN', true, ['ALL'])->get();
$told['index'] = $i->index('Web/Sent', '1:*', 'DATE', true, true, true)->get();
foreach ($i->fetchHeaders('Web/Sent', '1:*', true, true) as $uid => $head)
    $told['headers'][$uid] = [$head->subject, $head->size, $head->flags, is_array($head->bodystructure)];
$told['structure'] = $i->getStructure('Web/Sent', 1, true);
$told['part'] = trim($i->handlePartBody('Web/Sent', 1, true, '1'));
$told['whole'] = $i->handlePartBody('Web/Sent', 1, true, '');
$told['mime'] = count($i->fetchMIMEHeaders('Web/Sent', 1, ['1', '2']));
$told['flags'] = [$i->flag('Web/Sent', '2', 'ANSWERED'), $i->unflag('Web/Sent', '1', 'SEEN'), $i->flag('Web/Sent', '3', '$Forwarded')];
$told['copy'] = [$i->copy('1:2', 'Web/Sent', 'Web/Gone'), $i->move('3', 'Web/Sent', 'Web/B&-C')];
$told['expunge'] = [$i->flag('Web/Gone', '1', 'DELETED'), $i->expunge('Web/Gone', '1'), $i->countMessages('Web/Gone')];
$told['quota'] = $i->getQuota('INBOX');
$told['acl'] = [$i->setACL('Web/Sent', 'bob@example.org', 'lr'), $i->getACL('Web/Sent'), $i->myRights('Web/Sent'),
    is_array($i->listRights('Web/Sent', 'bob@example.org')), $i->deleteACL('Web/Sent', 'bob@example.org')];
$told['metadata'] = [$i->setMetadata('Web/Sent', ['/private/comment' => "two\r\nlines"]), $i->getMetadata('Web/Sent', ['/private/comment']),
    $i->deleteMetadata('Web/Sent', ['/private/comment'])];
$told['rename'] = [$i->renameFolder('Web/Gone', 'Web/Away'), $i->clearFolder('Web/Away'), $i->deleteFolder('Web/Away')];
$told['error'] = $i->error;
$i->closeConnection();
echo json_encode($told);
"""
TEXT = (b"From: Visitor <visitor@elsewhere.example>\r\nTo: carol@example.org\r\nSubject: letter @\r\nMessage-ID: <@.web@elsewhere.example>\r\n"
        b"Date: Fri, 27 Nov 2026 00:00:0@ +0000\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
        b"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\ndGV4dCBA\r\n"
        b"--x\r\nContent-Type: application/octet-stream; name=data\r\n\r\nxyz\r\n--x--\r\n").replace(b"dGV4dCBA", b"dGV4dA==")


@pytest.fixture(scope="module")
def store(new_tier):
    t = new_tier("clients", stores=1, needs=("store",))
    t.write_all()
    t.start_store(1)
    return t


def log_in(tier, name):
    m = imaplib.IMAP4("127.0.0.1", tier.store_port(1, "imap"), timeout=60)
    m.login(tier.user(name)["address"], tier.user(name)["password"])
    return m


def run(argv, folder, allowed=(0,), **more):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False, env={**os.environ, "HOME": str(folder), **more})
    assert done.returncode in allowed, done.stdout[-2000:] + done.stderr[-2000:]
    return done


def test_roundcube(store, tmp_path):
    (tmp_path / "webmail.php").write_text(WEBMAIL)
    user = store.user("carol")
    told = json.loads(run(["php", "-d", "display_errors=stderr", str(tmp_path / "webmail.php"), ROUNDCUBE, str(store.store_port(1, "imap")),
                           user["address"], user["password"], TEXT.decode()], tmp_path).stdout)
    text = TEXT.replace(b"@", b"0").decode()
    assert told["in"] is True and told["delimiter"] == "/" and told["namespace"]["personal"] == [["", "/"]]
    assert all(told["has"].values()), told["has"]
    assert told["create"] == [True] * 3 and told["subscribe"] == [True] * 2
    assert sorted(told["list"]) == ["Web/B&-C", "Web/Gone", "Web/Sent"] and told["lsub"] == ["Web/Sent"]
    assert told["append"] == [True] * 4 and told["select"] is True and told["counts"] == [4, 3]
    assert [int(told["status"][k]) for k in ("MESSAGES", "UNSEEN", "UIDNEXT")] == [4, 3, 5]
    assert [int(n) for n in told["sort"]] == [1, 2, 3, 4] and told["thread"] == 4
    assert [int(n) for n in told["search"]] == [2, 3, 4] and len(told["index"]) == 4
    assert told["headers"]["1"] == ["letter 0", len(text), {"SEEN": True, "RECENT": True}, True], told["headers"]
    assert told["structure"][0][0].lower() == "text" and told["part"] == "dGV4dA==" and told["mime"] == 2
    assert told["whole"].strip() == text.strip()
    assert told["flags"] == [True] * 3 and told["copy"] == [True] * 2 and told["expunge"] == [True, True, 1]
    assert told["acl"][0] is True and sorted(told["acl"][1]["bob@example.org"]) == ["l", "r"] and "a" in told["acl"][2]
    assert told["acl"][3:] == [True, True]
    assert told["metadata"] == [True, {"Web/Sent": {"/private/comment": "two\r\nlines"}}, True]
    assert told["rename"] == [True] * 3, told["error"]


@pytest.mark.parametrize("kind", ["SimpleIMAPRetriever", "SimplePOP3Retriever"])
def test_getmail(store, tmp_path, kind):
    """Reads what is there once, and what came later at the next run."""
    user, protocol = store.user("bob"), "imap" if "IMAP" in kind else "pop3"
    for folder in ("mail", "state"):
        (tmp_path / folder).mkdir()
    (tmp_path / "deliver").write_text(f"#!/bin/sh\ncat >$(mktemp {tmp_path}/mail/XXXXXX)\n")  # it delivers no Maildir as root
    (tmp_path / "deliver").chmod(0o755)
    (tmp_path / "state/getmailrc").write_text(
        f"[retriever]\ntype = {kind}\nserver = 127.0.0.1\nport = {store.store_port(1, protocol)}\nusername = {user['address']}\n"
        f"password = {user['password']}\ntimeout = 10\n[destination]\ntype = MDA_external\npath = {tmp_path}/deliver\n"
        "unixfrom = false\nallow_root_commands = true\n[options]\nread_all = false\ndelivered_to = false\nreceived = false\nuse_peek = true\n")
    m, tokens = log_in(store, "bob"), []
    for turn in range(2):
        for _ in range(3):
            tokens.append(mail.new_token())
            assert m.append("INBOX", None, None, mail.message(tokens[-1], SENDER, [user["address"]], 2000))[0] == "OK"
        fetch(["/usr/bin/python3", "-B", GETMAIL, "--getmaildir", str(tmp_path / "state")], tmp_path,
              PYTHONPATH=os.path.join(UNPACKED, "usr/lib/python3/dist-packages"))
        got = [p.read_bytes() for p in (tmp_path / "mail").iterdir()]
        assert all(any(t.encode() in text for text in got) for t in tokens)
        if turn == 0:
            known = len(got)
    assert known + 3 <= len(got) < known + len(tokens)
    m.logout()


def fetch(argv, folder, **more):
    """getmail forks for each message and may miss the signal of a child that ended at once; that message comes again."""
    for _ in range(5):
        done = run(argv, folder, allowed=(0, 127), **more)
        if done.returncode == 0:
            return
        assert "waiting child pid" in done.stderr, done.stderr
    raise AssertionError(done.stderr)


def maildir_texts(folder):
    """{subject: flags in the name} of a Maildir."""
    return {re.search(rb"^Subject: (\S+)", p.read_bytes(), re.M)[1].decode(): p.name.partition(":2,")[2]
            for part in ("cur", "new") for p in (folder / part).iterdir()}


def subjects(store):
    m = log_in(store, "dave")
    m.select("Sync", readonly=True)
    found, data = {}, m.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
    for head, text in (d for d in data if isinstance(d, tuple)):
        found[text.split()[1].decode()] = b"\\Flagged" in head
    m.logout()
    return found


def test_mbsync_both_ways(store, tmp_path):
    """New, changed and removed messages of each side reach the other, and a run without news does nothing."""
    user = store.user("dave")
    m = log_in(store, "dave")
    assert m.create("Sync")[0] == "OK"
    m.logout()
    box = tmp_path / "mail"
    (tmp_path / "boxes").mkdir()
    for part in ("cur", "new", "tmp"):
        (box / part).mkdir(parents=True)
    (tmp_path / "rc").write_text(
        f"IMAPAccount a\nHost 127.0.0.1\nPort {store.store_port(1, 'imap')}\nUser {user['address']}\nPass {user['password']}\nSSLType None\n"
        f"AuthMechs LOGIN\n\nIMAPStore far\nAccount a\n\nMaildirStore near\nInbox {box}\nPath {tmp_path}/boxes/\n\nChannel both\nFar :far:Sync\n"
        "Near :near:\nSync All\nExpunge Both\nSyncState *\n")
    sync = ["mbsync", "-c", str(tmp_path / "rc"), "both"]
    append_many(store, [f"far{n}" for n in range(MESSAGES)])
    for n in range(MESSAGES):
        (box / "new" / f"1.{n}.near").write_bytes(b"Subject: near%d\n\ntext %d\n" % (n, n))
    run(sync, tmp_path)
    everything = {f"{side}{n}" for side in ("far", "near") for n in range(MESSAGES)}
    assert set(subjects(store)) == set(maildir_texts(box)) == everything
    m = log_in(store, "dave")
    m.select("Sync")
    for words in (("STORE", "1:5", "+FLAGS", "(\\Flagged)"), ("STORE", "6:8", "+FLAGS", "(\\Deleted)"), ("EXPUNGE",)):
        assert m._simple_command(*words)[0] == "OK"
    m.logout()
    gone = [p for part in ("cur", "new") for p in (box / part).iterdir() if re.search(rb"^Subject: near[0-3]\b", p.read_bytes(), re.M)]
    for p in gone:
        p.unlink()
    marked = next(p for part in ("cur", "new") for p in (box / part).iterdir() if re.search(rb"^Subject: near9\b", p.read_bytes(), re.M))
    marked.rename(box / "cur" / (marked.name.partition(":2,")[0] + ":2,FS"))
    run(sync, tmp_path)
    far, near = subjects(store), maildir_texts(box)
    assert set(far) == set(near) and len(far) == 2 * MESSAGES - 3 - 4 and len(gone) == 4
    assert {name for name, on in far.items() if on} == {name for name, flags in near.items() if "F" in flags}
    assert sum(far.values()) == 6 and far["near9"]
    before = subjects(store)
    run(sync, tmp_path)
    assert subjects(store) == before and maildir_texts(box) == near


def append_many(store, names):
    m = log_in(store, "dave")
    for first in range(0, len(names), 250):
        parts = b"".join(b" {%d+}\r\n%s" % (len(x), x) for x in (b"Subject: %s\r\n\r\ntext\r\n" % n.encode() for n in names[first:first + 250]))
        m.send(b"many APPEND Sync" + parts + b"\r\n")
        line = m.readline()
        while not line.startswith(b"many "):
            line = m.readline()
        assert line.startswith(b"many OK"), line
    m.logout()


def test_poplib(store):
    """UIDL, TOP, RETR, DELE, and the extensions Python's library knows."""
    user, token = store.user("alice"), mail.new_token()
    text = mail.message(token, SENDER, [user["address"]], 3000)
    m = log_in(store, "alice")
    assert m.append("INBOX", None, None, text)[0] == "OK"
    for keeps in (True, False):
        p = poplib.POP3("127.0.0.1", store.store_port(1, "pop3"), timeout=60)
        assert {"UIDL", "TOP", "PIPELINING"} <= set(p.capa())
        p.user(user["address"])
        p.pass_(user["password"])
        count, size = p.stat()
        assert count == len(p.list()[1]) == len(p.uidl()[1]) and size > 0
        assert b"\r\n".join(p.retr(count)[1]).rstrip() == text.rstrip() and len(p.top(count, 0)[1]) < len(p.retr(count)[1])
        p.dele(count)
        if keeps:
            p.rset()
        p.quit()
    m.select("INBOX")
    assert m.search(None, "SUBJECT", token)[1] == [b""]
    m.logout()


