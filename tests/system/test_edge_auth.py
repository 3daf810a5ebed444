"""AUTH at the edge's submission by every mechanism, with GNU SASL, swaks and curl."""
import base64
import json
import re
import smtplib
import subprocess
import time

import pytest

import mail
from tier import wait_for


def client_certificate(t):
    """alice's, of an authority of its own."""
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    t.openssl("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=clients", "-addext", "basicConstraints=critical,CA:TRUE",
              "-keyout", t.path("clients.key"), "-out", t.path("clients.pem"))
    t.openssl("req", *new_key, "-subj", "/CN=Alice", "-keyout", t.path("alice.key"), "-out", t.path("alice.csr"))
    with open(t.path("alice.ext"), "w", encoding="ascii") as f:
        f.write("subjectAltName=email:alice@example.org\n")
    t.openssl("x509", "-req", "-in", t.path("alice.csr"), "-CA", t.path("clients.pem"), "-CAkey", t.path("clients.key"),
              "-CAcreateserial", "-days", "2", "-extfile", t.path("alice.ext"), "-out", t.path("alice.pem"))


def provider_key(t):
    t.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", t.path("provider.key"))
    t.openssl("pkey", "-in", t.path("provider.key"), "-pubout", "-out", t.path("provider.pem"))


def token(t, address, seconds=3600):
    def part(raw):
        return base64.urlsafe_b64encode(raw).rstrip(b"=")
    claims = {"iss": "https://id.example", "email": address, "exp": int(time.time()) + seconds}
    text = part(b'{"alg":"RS256"}') + b"." + part(json.dumps(claims).encode())
    signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", t.path("provider.key")], input=text, check=True,
                               capture_output=True).stdout
    return (text + b"." + part(signature)).decode()


@pytest.fixture(scope="module")
def tier(new_tier):
    t = new_tier("auth")
    t.use_redis, t.meter_rules = False, ""
    t.edge_extra += ("\tauth_failure_delay 200ms;\n\tauth_mechanisms SCRAM-SHA-256-PLUS, SCRAM-SHA-256, CRAM-MD5, OAUTHBEARER, XOAUTH2,"
                     f" EXTERNAL, PLAIN, LOGIN;\n\tclient_ca {t.path('clients.pem')};\n\toauth_keys {t.path('provider.pem')};\n"
                     "\toauth_issuer \"https://id.example\";\n")
    t.write_all()
    client_certificate(t)
    provider_key(t)
    t.start()
    return t


def came_in(tier, mechanism, address="alice@example.org"):
    wait_for(lambda: re.search(rf"auth\.ok .*user={re.escape(address)} mechanism={mechanism} tls=yes", tier.log("edge")), 20,
             f"{mechanism} in the log")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "CRAM-MD5", "PLAIN", "LOGIN"])
def test_gsasl_logs_in(tier, mechanism):
    """With channel binding GNU SASL speaks -PLUS only."""
    for password, good in (("alice-demo", True), ("alice-wrong", False)):
        argv = ["gsasl", "--client", "--smtp", f"--mechanism={mechanism}", "--authentication-id=alice@example.org",
                f"--password={password}", f"--x509-ca-file={tier.ca_file}", "--starttls"]
        argv += [] if mechanism.endswith("-PLUS") else ["--no-cb"]
        done = subprocess.run([*argv, "localhost", str(tier.port("submission"))], input=b"\n", capture_output=True, timeout=60)
        said = done.stdout + done.stderr
        assert (b"235 2.7.0" in said) == good and (b"535 5.7.8" in said) != good, said.decode(errors="replace")
    came_in(tier, mechanism)


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "PLAIN", "LOGIN"])
def test_swaks_logs_in(tier, mechanism):
    argv = ["swaks", "--server", "127.0.0.1", "--port", str(tier.port("submission")), "-tls", "--auth", mechanism,
            "--auth-user", "dave@example.net", "--auth-password", "dave-demo", "--quit-after", "AUTH"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    came_in(tier, mechanism, "dave@example.net")


def curl(tier, tmp_path, *args):
    """Sends a message as alice to herself: (curl's status, what it said, token, text)."""
    word = mail.new_token()
    text = mail.message(word, "alice@example.org", ["alice@example.org"], 300)
    (tmp_path / "m").write_bytes(text)
    done = subprocess.run(["curl", "-sS", "-v", "--cacert", tier.ca_file, "--mail-from", "alice@example.org", "--mail-rcpt",
                           "alice@example.org", "-T", str(tmp_path / "m"), *args,
                           f"smtps://localhost:{tier.port('submissions')}"], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr, word, text


def test_curl_sends_with_a_token(tier, tmp_path):
    options = ["--user", "alice@example.org:", "--login-options", "AUTH=OAUTHBEARER"]
    status, said, word, text = curl(tier, tmp_path, *options, "--oauth2-bearer", token(tier, "alice@example.org"))
    assert status == 0, said
    assert [mail.original(m) for m in mail.imap_wait(tier, tier.user("alice"), word)] == [text]
    came_in(tier, "OAUTHBEARER")
    for bad in (token(tier, "alice@example.org", -600), token(tier, "bob@example.org"), "a.b.c"):
        status, said, _, _ = curl(tier, tmp_path, *options, "--oauth2-bearer", bad)
        assert status != 0 and "235 " not in said, said


def test_smtplib_logs_in_with_xoauth2(tier):
    def say(bearer):
        return lambda challenge=None: "" if challenge else f"user=alice@example.org\1auth=Bearer {bearer}\1\1"
    with mail.smtp(tier, "submission", tls=True) as s:
        s.ehlo()
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            s.auth("XOAUTH2", say(token(tier, "alice@example.org", -600)))
        assert refused.value.smtp_code == 535
        assert s.auth("XOAUTH2", say(token(tier, "alice@example.org")))[0] == 235
    came_in(tier, "XOAUTH2")


def test_curl_sends_with_a_certificate(tier, tmp_path):
    options = ["--user", "alice@example.org:", "--login-options", "AUTH=EXTERNAL"]
    certificate = ["--cert", tier.path("alice.pem"), "--key", tier.path("alice.key")]
    status, said, word, text = curl(tier, tmp_path, *options, *certificate)
    assert status == 0, said
    assert [mail.original(m) for m in mail.imap_wait(tier, tier.user("alice"), word)] == [text]
    came_in(tier, "EXTERNAL")
    status, said, _, _ = curl(tier, tmp_path, *options)
    assert status != 0 and "235 " not in said and "EXTERNAL" not in said.replace("AUTH=EXTERNAL", ""), said


def test_no_mechanism_before_tls_or_on_mx(tier):
    for service in ("submission", "mx"):
        with mail.smtp(tier, service) as s:
            s.ehlo()
            assert not s.has_extn("auth")
            assert s.docmd("AUTH", "SCRAM-SHA-256")[0] in (538, 502)
