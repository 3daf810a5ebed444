"""Stores come and go: a third one by an edit of the directory, one that dies and returns."""

import pytest

import mail
from tier import wait_for

SENDER = "visitor@elsewhere.example"


def refused_login(tier, user):
    try:
        mail.imap(tier, user).logout()
        return None
    except mail.imaplib.IMAP4.error as error:
        return str(error)


def is_taken(tier, user):
    with mail.smtp(tier) as s:
        s.ehlo()
        s.mail(SENDER)
        return s.rcpt(user["address"])[0] == 250


def test_third_store_by_the_directory_alone(tier):
    pids = {name: tier.processes[name].pid for name in ("mmp", "edge")}
    tier.store_count = 3
    tier.users.append({"name": "erin", "domain": "example.org", "store": 3, "address": "erin@example.org",
                       "password": "erin-demo"})
    tier.write_configs()
    tier.start_store(3)
    tier.write_directory()
    user = tier.user("erin")
    # Each worker looks at the file once a second: all of them must have seen it.
    wait_for(lambda: all(refused_login(tier, user) is None for _ in range(8)), 30, "erin's login at every worker")
    wait_for(lambda: all(is_taken(tier, user) for _ in range(8)), 30, "erin's mail at every worker")
    token = mail.new_token()
    text = mail.message(token, SENDER, [user["address"]])
    assert mail.send(tier, SENDER, [user["address"], tier.user("alice")["address"]], text)[0] == 250
    assert [mail.original(g) for g in mail.imap_wait(tier, user, token)] == [text]
    assert [mail.original(g) for g in mail.pop3_bodies(tier, user, token)] == [text]
    assert pids == {name: tier.processes[name].pid for name in ("mmp", "edge")}
    assert all(tier.processes[name].poll() is None for name in ("mmp", "edge"))


def test_store_down_queues_answers_and_resumes(tier):
    bob, alice = tier.user("bob"), tier.user("alice")
    assert tier.stop_process("store2") == 0
    token = mail.new_token()
    text = mail.message(token, SENDER, [bob["address"]], 3000)
    code, reply = mail.send(tier, SENDER, [bob["address"], alice["address"]], text)
    assert code == 250, reply
    assert [mail.original(g) for g in mail.imap_wait(tier, alice, token)] == [text]
    wait_for(lambda: "bob@example.org" in tier.postern("queue", "list").stdout, 10, "bob in the queue list")
    answer = refused_login(tier, bob)
    assert answer is not None and "[UNAVAILABLE]" in answer
    with pytest.raises(mail.poplib.error_proto, match=r"SYS/TEMP"):
        mail.pop3(tier, bob)
    tier.start_store(2)
    assert [mail.original(g) for g in mail.imap_wait(tier, bob, token, seconds=60)] == [text]
    wait_for(lambda: "bob@example.org" not in tier.postern("queue", "list").stdout, 20, "an empty queue")
    assert len(mail.imap_wait(tier, bob, token, seconds=60)) == 1  # the other worker may not know yet that the store is back


def test_queue_survives_a_restart_of_the_edge(tier):
    bob = tier.user("bob")
    tier.stop_process("store2")
    tokens = [mail.new_token() for _ in range(5)]
    for token in tokens:
        assert mail.send(tier, SENDER, [bob["address"]], mail.message(token, SENDER, [bob["address"]]))[0] == 250
    assert tier.stop_process("edge") == 0
    tier.start_daemon("edge", "postern")
    tier.wait_edge()
    tier.start_store(2)
    for token in tokens:
        assert len(mail.imap_wait(tier, bob, token, seconds=60)) == 1


