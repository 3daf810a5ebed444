"""Channels of the edge that change what passes: pieces that become whole, and parts that programs convert."""
import json
import os
import pwd
import re
import signal
from email import message_from_string
from email.message import EmailMessage
from email.policy import SMTP

import pytest

import mail
from channel_host import SENDER, running_host, send
from tier import wait_for


@pytest.fixture(name="host", scope="module")
def host_with_channels(run_dir):
    yield from running_host(run_dir)


# ---- defragment ---------------------------------------------------------------------------------------------------


def piece(part_id, number, total, text, subject="outer", sender=SENDER):
    of = f"; total={total}" if total else ""
    return (f"From: <{sender}>\r\nX-Outer: {number}\r\nSubject: {subject} {number}\r\nMessage-ID: <{number}.{part_id}>\r\n"
            f"MIME-Version: 1.0\r\nContent-Type: message/partial; id=\"{part_id}\"; number={number}{of}\r\n\r\n").encode() + text


def split(token, count, size=3000):
    """A message cut at line ends."""
    whole = (b"Subject: " + token.encode() + b"\r\nMessage-ID: <whole." + token.encode() + b">\r\nX-Inner: no\r\n"
             b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n")
    lines = [whole] + [b"line %d of it\r\n" % i for i in range(size)]
    step = -(-len(lines) // count)
    return [b"".join(lines[i:i + step]) for i in range(0, len(lines), step)]


@pytest.mark.parametrize("order, restart", [((1, 2, 3), False), ((3, 1, 2), True), ((2, 3, 1), False)])
def test_pieces(host, order, restart):
    """They wait for each other, also over a restart of the queue, and become what they were cut from."""
    host.clean()
    token = mail.new_token()
    parts = split(token, 3, 30000)
    to = "z@pieces.scripts.example"
    for n, number in enumerate(order):
        if restart and n == 2:
            os.kill(host.role("queue")[0], signal.SIGKILL)
            wait_for(lambda: len(host.queue()) == 2, 20, "two pieces")
        assert mail.send(host, SENDER, [to], piece(token, number, 3 if number == 3 else 0, parts[number - 1]))[0] == 250
        if n < 2:
            wait_for(lambda w=n: len(host.queue("state=waiting")) == w + 1, 20, "a piece that waits")
            assert host.facts() == []
    host.wait_empty()
    facts, = host.facts()
    head, body = facts["text"].split("\n\n", 1)
    assert f"Subject: {token}\n" in head + "\n" and "X-Outer: 1" in head and f"<whole.{token}>" in head
    assert "X-Inner" not in head and "outer" not in head and "partial" not in head
    assert body.encode() == b"".join(parts).split(b"\r\n\r\n", 1)[1].replace(b"\r\n", b"\n")


def test_pieces_that_do_not_fit(host):
    """Another total, a number that is there already, another sender's: they do not disturb, and go on as they are."""
    host.clean()
    token, to = mail.new_token(), "z@pieces.scripts.example"
    parts = split(token, 2)

    def post(number, total, text, sender=SENDER):
        assert mail.send(host, sender, [to], piece(token, number, total, text, sender=sender))[0] == 250
    post(1, 2, parts[0])
    wait_for(lambda: len(host.queue("state=waiting")) == 1, 20, "a piece that waits")
    post(1, 2, b"Subject: again\r\n\r\nx\r\n")
    post(2, 3, b"other total\r\n")
    post(3, 0, b"beyond\r\n")
    post(2, 1000000, b"huge\r\n")
    wait_for(lambda: len(host.facts()) == 4, 20, "four that do not fit")
    assert all("message/partial" in f["text"] for f in host.facts())
    post(2, 2, b"not mine\r\n", "stranger@evil.example")
    wait_for(lambda: len(host.queue("state=waiting")) == 2, 20, "two groups")
    post(2, 2, parts[1])
    wait_for(lambda: len(host.facts()) == 5, 20, "the whole")
    whole = [f for f in host.facts() if "message/partial" not in f["text"]]
    assert len(whole) == 1 and "line 2999 of it" in whole[0]["text"] and "not mine" not in whole[0]["text"]
    host.wait_empty(60)  # the stranger's has waited long enough
    assert sum("not mine" in f["text"] for f in host.facts()) == 1


# ---- conversion ---------------------------------------------------------------------------------------------------


def multipart(token, *parts):
    m = EmailMessage()
    m["Subject"], m["From"], m["To"] = f"test {token}", f"<{SENDER}>", "x@changed.scripts.example"
    m.set_content(f"hello {token}\n")
    for kind, data, name in parts:
        m.add_attachment(data, *kind.split("/"), filename=name)
    return m.as_bytes(policy=SMTP)


def convert(host, *parts, before=None):
    host.clean()
    token = mail.new_token()
    text = multipart(token, *parts)
    code, reply = mail.send(host, SENDER, ["x@changed.scripts.example"], text)
    assert code == 250, reply
    return token, text


def converted(host, *parts):
    _, text = convert(host, *parts)
    host.wait_empty()
    facts, = host.facts()
    assert os.listdir(host.place("work")) == []
    return text, facts["text"], message_from_string(facts["text"])


def test_conversion(host):
    """Some parts become others, some go, and the rest keeps every byte."""
    facts = b"facts" + b"x" * 200
    text, got, m = converted(host, ("text/x-up", b"some text", "a.txt"), ("image/gif", b"GIF", "b.gif"),
                             ("application/octet-stream", b"MZ", "c.EXE"), ("image/png", facts, "d e;.png"))
    kinds = [(p.get_content_type(), p.get_payload(decode=True)) for p in m.walk() if not p.is_multipart()]
    assert kinds[1] == ("text/x-up", b"SOME TEXT") and kinds[2] == ("image/gif", b"GIF")
    assert kinds[3] == ("text/plain", b"An attachment was removed here.") and kinds[4][0] == "application/json"
    told = json.loads(kinds[4][1])
    env = told["env"]
    assert told["uid"] == pwd.getpwnam("news").pw_uid and "d e" in told["headers"] and "hello" not in told["message"]
    assert (env["INPUT_TYPE"], env["INPUT_SUBTYPE"], env["INPUT_ENCODING"]) == ("image", "png", "base64")
    assert (env["PART_NUMBER"], env["ATTACHMENT_NUMBER"]) == ("5", "5") and env["INPUT_NAME"] == "d_e_.png"
    assert (env["INPUT_CHANNEL"], env["OUTPUT_CHANNEL"]) == ("others", "script")
    boundary = m.get_boundary()
    pieces, old = got.split(f"--{boundary}"), text.decode("latin-1").replace("\r\n", "\n").split(f"--{boundary}")
    assert len(pieces) == len(old) and pieces[1] == old[1] and pieces[3] == old[3] and pieces[6] == old[6]


def test_not_converted(host):
    """What no rule is about goes on as it is, in the same message."""
    before = len(host.log("edge"))
    text, got, _ = converted(host, ("application/pdf", b"x" * 1000, "x.pdf"), ("text/x-up", b"nothing here", "n"))
    assert text.decode("latin-1").replace("\r\n", "\n") in got
    assert "end=past" in host.log("edge")[before:]


def test_single_part(host):
    host.clean()
    code, _ = mail.send(host, SENDER, ["x@changed.scripts.example"],
                        b"Subject: s\r\nContent-Type: text/x-up\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=\r\nc\r\n")
    assert code == 250
    host.wait_empty()
    m = message_from_string(host.facts()[0]["text"])
    assert m["Subject"] == "s" and m["MIME-Version"] == "1.0" and m.get_payload(decode=True) == b"A=BC\r\n"


@pytest.mark.parametrize("part, word", [
    (("application/x-bad", b"x", "x"), "No such files here."), (("application/x-gone", b"x", "x"), "end=dropped"),
    (("text/x-up", b"status 178029946 ", "x"), "the program says so"), (("text/x-up", b"status 178030259 ", "x"), "end=dropped"),
    (("text/x-up", b"status bounce ", "x"), "the program says so")])
def test_conversion_ends_it(host, part, word):
    before = len(host.log("edge"))
    convert(host, part)
    host.wait_empty()
    assert word in host.log("edge")[before:] and host.facts() == []


@pytest.mark.parametrize("part, why", [
    (("application/zip", b"PK" * 100000, "x.zip"), "a big archive"), (("text/x-up", b"status 178030250 ", "x"), "the program says so")])
def test_conversion_holds(host, part, why):
    _, text = convert(host, part)
    row, = wait_for(lambda: host.queue("state=held"), 20, "held mail")
    assert row["reason"] == why and host.facts() == []
    host.postern("queue", "release", row["id"])
    host.wait_empty()
    assert text.decode("latin-1").replace("\r\n", "\n") in host.facts()[0]["text"]


@pytest.mark.parametrize("data", [b"status 178030178 ", b"status delete "])
def test_conversion_deletes(host, data):
    _, _, m = converted(host, ("text/x-up", data, "x"))
    assert [p.get_payload() for p in m.walk() if not p.is_multipart()][1] == "the program says so"


@pytest.mark.parametrize("data", [b"exit 1", b"hang", b"much", b"link", b"status frob "])
def test_conversion_fails(host, data):
    """A program that fails: the mail is tried again, or goes on without it where the rule says so."""
    before = len(host.log("edge"))
    convert(host, ("text/x-up", data, "x"))
    wait_for(lambda: "program for part 2 failed" in host.log("edge")[before:], 20, "a failure")
    host.delete_all()
    text, got, _ = converted(host, ("application/x-soft", data, "x"))
    assert text.decode("latin-1").replace("\r\n", "\n") in got


def test_conversion_of_a_user(host):
    """Mail for a store goes by way of the conversion, too."""
    before = len(host.log("edge"))
    token, _ = send(host, "dave@example.net", text=lambda t: multipart(t, ("text/x-up", b"x", "x")))
    wait_for(lambda: re.search(r"queue.moved .*dave@example.net channel=change end=moved", host.log("edge")[before:]), 20, "a move")
    wait_for(lambda: [r for r in host.queue() if r["attempts"]], 20, "an attempt at the store")
    host.delete_all()


@pytest.mark.parametrize("role", ["queue", "runner"])
def test_nothing_of_a_conversion_is_left(host, role):
    """When nobody waits for it any more its program ends with all that this has begun."""
    convert(host, ("text/x-up", b"spawn", "x"))
    left = host.place("out", "left")
    wait_for(lambda: os.path.exists(left), 20, "the program")
    with open(left, encoding="ascii") as f:
        path = f"/proc/{f.read()}"
    assert os.path.exists(path)
    os.kill(host.role(role)[0], signal.SIGKILL)
    wait_for(lambda: not os.path.exists(path), 10, "its end")
    wait_for(lambda: host.role(role), 20, role)
    host.delete_all()


def test_killed_while_converting(host):
    """Whatever dies on the way, each message arrives."""
    host.clean()
    tokens = []
    for i in range(24):
        tokens.append(mail.new_token())
        assert mail.send(host, SENDER, ["x@changed.scripts.example"], multipart(tokens[-1], ("text/x-up", b"x" * 50000, "x")))[0] == 250
        if i % 6 == 5:
            role = ("queue", "runner")[(i // 6) % 2]
            for pid in host.role(role):
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda r=role: host.role(r), 20, role)
    wait_for(lambda: (host.postern("queue", "retry"), not host.queue())[1], 60, "an empty queue")
    texts = [f["text"] for f in host.facts()]
    assert all(any(t in text for text in texts) for t in tokens)
    host.clean()
