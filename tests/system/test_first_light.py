"""A message crosses the whole tier: sent and read with the programs people use, byte for byte."""
import os
import re
import shutil
import smtplib
import subprocess

import pytest

import imapflow
import mail
from tier import wait_for

SENDER = "visitor@elsewhere.example"


def run(argv, **more):
    return subprocess.run(argv, capture_output=True, timeout=60, check=True, **more)


def send_smtplib(tier, to, text, path):
    code, reply = mail.send(tier, SENDER, [u["address"] for u in to], text)
    assert code == 250, reply


def send_smtplib_tls(tier, to, text, path):
    code, reply = mail.send(tier, SENDER, [u["address"] for u in to], text, tls=True)
    assert code == 250, reply


def send_submission(tier, to, text, path):
    user = tier.user("carol")
    code, reply = mail.send(tier, user["address"], [u["address"] for u in to], text, service="submission", user=user)
    assert code == 250, reply


def send_submissions(tier, to, text, path):
    user = tier.user("carol")
    code, reply = mail.send(tier, user["address"], [u["address"] for u in to], text, service="submissions", user=user)
    assert code == 250, reply


def send_curl(tier, to, text, path):
    rcpt = [w for u in to for w in ("--mail-rcpt", u["address"])]
    run(["curl", "-sS", "--cacert", tier.ca_file, "--ssl-reqd", "--url", f"smtp://localhost:{tier.port('mx')}",
         "--mail-from", SENDER, *rcpt, "--upload-file", path])


def send_swaks(tier, to, text, path):
    run(["swaks", "--server", f"localhost:{tier.port('mx')}", "--helo", "client.example", "-tls", "--from", SENDER,
         "--to", ",".join(u["address"] for u in to), "--data", f"@{path}"])


SENDERS = [send_smtplib, send_smtplib_tls, send_submission, send_submissions, send_curl, send_swaks]


@pytest.mark.parametrize("how", SENDERS, ids=lambda f: f.__name__)
def test_every_sender_reaches_both_stores(tier, tmp_path, how):
    token = mail.new_token()
    to = [tier.user("alice"), tier.user("bob")]
    text = mail.message(token, SENDER, [u["address"] for u in to], 5000)
    if how is send_swaks:
        text = text.replace("\u00e4\u00f6\u00fc".encode(), b"ascii only")
    path = tmp_path / "message"
    path.write_bytes(text)
    how(tier, to, text, str(path))
    for user in to:
        got = mail.imap_wait(tier, user, token)
        assert len(got) == 1
        assert mail.original(got[0]).rstrip(b"\r\n") == text.rstrip(b"\r\n")
        by_pop = mail.pop3_bodies(tier, user, token)
        assert len(by_pop) == 1
        assert mail.original(by_pop[0]).rstrip(b"\r\n") == text.rstrip(b"\r\n")


@pytest.fixture(scope="module")
def sent(tier):
    """One message for dave, for the reading programs."""
    token = mail.new_token()
    user = tier.user("dave")
    text = mail.message(token, SENDER, [user["address"]], 3000)
    code, reply = mail.send(tier, SENDER, [user["address"]], text)
    assert code == 250, reply
    mail.imap_wait(tier, user, token)
    return user, token, text


def same(stored, text):
    assert mail.original(stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")).rstrip() == text.rstrip()


def test_curl_reads(tier, sent):
    user, token, text = sent
    who = ["--cacert", tier.ca_file, "--user", f"{user['address']}:{user['password']}"]
    same(run(["curl", "-sS", *who, f"imaps://localhost:{tier.port('imaps')}/INBOX;MAILINDEX=1"]).stdout, text)
    same(run(["curl", "-sS", *who, "--ssl-reqd", f"imap://localhost:{tier.port('imap')}/INBOX;MAILINDEX=1"]).stdout, text)
    same(run(["curl", "-sS", *who, f"pop3s://localhost:{tier.port('pop3s')}/1"]).stdout, text)
    same(run(["curl", "-sS", *who, "--ssl-reqd", f"pop3://localhost:{tier.port('pop3')}/1"]).stdout, text)


def test_mbsync_reads(tier, sent, tmp_path):
    user, token, text = sent
    (tmp_path / "mail").mkdir()
    (tmp_path / "rc").write_text(
        f"IMAPAccount postern\nHost localhost\nPort {tier.port('imaps')}\nUser {user['address']}\nPass {user['password']}\n"
        f"SSLType IMAPS\nCertificateFile {tier.ca_file}\n\nIMAPStore far\nAccount postern\n\n"
        f"MaildirStore near\nPath {tmp_path}/mail/\nInbox {tmp_path}/mail/INBOX\nSubFolders Verbatim\n\n"
        "Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\n")
    run(["mbsync", "-c", str(tmp_path / "rc"), "-a"], env={**os.environ, "HOME": str(tmp_path)})
    found = [p.read_bytes() for p in (tmp_path / "mail").rglob("*") if p.is_file() and p.parent.name in ("new", "cur")]
    assert len(found) == 1
    same(re.sub(rb"^X-TUID: [^\r\n]*\r?\n", b"", found[0], flags=re.M), text)  # mbsync's own mark


def test_fetchmail_reads(tier, sent, tmp_path):
    user, token, text = sent
    rc = tmp_path / "rc"
    rc.write_text(f"poll localhost protocol imap service {tier.port('imaps')} username \"{user['address']}\" "
                  f"password \"{user['password']}\" ssl sslcertck sslcertfile {tier.ca_file} keep fetchall no rewrite "
                  f"mda \"cat >>{tmp_path}/got\"\n")
    rc.chmod(0o600)
    run(["fetchmail", "-f", str(rc), "--nosyslog", "--pidfile", str(tmp_path / "pid"), "-i", str(tmp_path / "ids")],
        env={**os.environ, "HOME": str(tmp_path), "USER": "root"})
    got = (tmp_path / "got").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    body = text.split(b"\r\n\r\n", 1)[1].rstrip()
    assert body in got and f"Subject: test {token}".encode() in got


def test_mutt_reads(tier, sent, tmp_path):
    user, token, text = sent
    (tmp_path / "rc").write_text(
        f"set ssl_ca_certificates_file={tier.ca_file}\nset imap_user=\"{user['address']}\"\n"
        f"set imap_pass=\"{user['password']}\"\nset copy=no\nset confirmappend=no\nset confirmcreate=no\nset delete=no\n"
        f"set mbox_type=mbox\nset folder={tmp_path}\nset sleep_time=0\n"
        f"set ssl_force_tls=yes\nset imap_check_subscribed=no\nset header_cache=\nset mail_check=600\nset wait_key=no\n"
        f"push '<limit>~s {token}<enter><tag-pattern>~s {token}<enter><tag-prefix><copy-message>{tmp_path}/got<enter><quit>'\n")
    env = {**os.environ, "HOME": str(tmp_path), "TERM": "xterm"}
    script = shutil.which("script")
    command = f"mutt -n -F {tmp_path}/rc -f imaps://localhost:{tier.port('imaps')}/INBOX"
    subprocess.run([script, "-qec", command, "/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=env,
                   timeout=60, check=False)
    got = wait_for(lambda: (tmp_path / "got").exists() and (tmp_path / "got").read_bytes(), 10, "mutt's copy")
    body = text.split(b"\r\n\r\n", 1)[1].rstrip().replace(b"\r\n", b"\n")
    assert body.replace(b"\nFrom the start", b"\n>From the start") in got or body in got


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_imapflow_reads(tier, sent, tls):
    imapflow.check(tier, tier.port("imaps" if tls == "implicit" else "imap"), tls, sent)


def test_unknown_and_foreign_recipients_are_refused(tier):
    with mail.smtp(tier) as s:
        s.ehlo()
        s.mail(SENDER)
        assert s.rcpt("nobody@example.org")[0] == 550
        for foreign in ("someone@elsewhere.example", "someone%elsewhere.example@example.org",
                        "elsewhere.example!someone@example.org", "@example.org:someone@elsewhere.example",
                        "\"someone@elsewhere.example\"@example.org", "someone@[127.0.0.1]"):
            code, reply = s.rcpt(foreign)
            assert 500 <= code < 600, (foreign, code, reply)
        assert s.rcpt(tier.user("alice")["address"])[0] == 250


def test_submission_needs_authentication_and_tls(tier):
    with mail.smtp(tier, "submission") as s:
        s.ehlo()
        assert not s.has_extn("auth")
        assert s.mail("alice@example.org")[0] == 530
        with pytest.raises(smtplib.SMTPException):
            s.login("alice@example.org", "alice-demo")
    with mail.smtp(tier, "submission", tls=True) as s:
        s.ehlo()
        with pytest.raises(smtplib.SMTPAuthenticationError):
            s.login("alice@example.org", "wrong")


def test_wrong_password_and_unknown_user_look_the_same(tier):
    answers = []
    for address, password in (("alice@example.org", "wrong"), ("nobody@example.org", "wrong")):
        with pytest.raises(mail.imaplib.IMAP4.error) as error:
            mail.imap(tier, {"address": address, "password": password})
        answers.append(str(error.value).split("]")[0])
    assert answers[0] == answers[1]
    assert "AUTHENTICATIONFAILED" in answers[0]


def test_ids_lead_from_the_reply_to_the_logs(tier):
    token = mail.new_token()
    user = tier.user("alice")
    code, reply = mail.send(tier, SENDER, [user["address"]], mail.message(token, SENDER, [user["address"]]))
    assert code == 250
    stored = mail.imap_wait(tier, user, token)[0]
    transaction = next(w for w in reply.decode().replace("[", " ").replace("]", " ").replace("=", " ").split()
                       if len(w) == 18 and w.encode() in stored)
    assert transaction in tier.log("edge")
    wait_for(lambda: transaction in tier.log("store1"), 10, "the store's log line")


def test_the_tool_and_the_metrics_show_it(tier):
    with mail.imap(tier, tier.user("alice")):
        who = wait_for(lambda: "alice@example.org" in tier.postern("who").stdout, 10, "alice in postern who")
        assert who
    assert tier.postern("queue", "list").returncode == 0
    assert tier.postern("meter", "top").returncode == 0
    assert "postern_" in tier.metrics()
    # The control socket's next connection gets the descriptor that the metrics' one had.
    who = tier.postern("who")
    assert who.returncode == 0, who.stderr


def test_no_password_in_any_log(tier):
    for name in ("mmp", "edge", "store1", "store2"):
        assert "-demo" not in tier.log(name)
