"""Reports of TLS (RFC 8460): what was counted reaches those who ask for it, by mail and over HTTPS, and says what happened.
The domain that takes the reports has an MTA-STS policy that nobody could keep: reports go there all the same."""
import base64
import email
import gzip
import json
import os
import subprocess
import threading

import pytest

import mail
from conftest import finish
from names import start_unbound
from test_dane import Server, Sink
from test_edge import relaying_edge
from test_mta_sts import BOTH, PLAIN, SELF_SIGNED, Policies, options, pair, policy, records, rows, self_signed, start_web
from tier import wait_for

REPORTS = "127.0.0.5"
LONG = [f"mx{k}.{'x' * 60}.{'y' * 60}.long.example" for k in range(2, 60)]  # 7 KiB, each stands in the report twice
DOMAINS = {
    "wild": (policy("enforce", "*.wild.example"), [BOTH]),
    "long": (policy("enforce", *LONG, "mx1.long.example"), [BOTH]),
    "plain": (policy("enforce", "mx1.plain.example"), [PLAIN]),
    "foreign": (policy("enforce", "mail.elsewhere.example"), [BOTH]),
    "untrusted": (policy("enforce", "mx1.untrusted.example"), [SELF_SIGNED]),
    "othername": (policy("enforce", "mx1.othername.example"), [SELF_SIGNED]),
    "two": (policy("enforce", "mx1.two.example"), [SELF_SIGNED]),  # and another address: SECOND
    "testing": (policy("testing", "mx1.testing.example"), [SELF_SIGNED]),
    "testingmx": (policy("testing", "mail.elsewhere.example"), [PLAIN]),
    "none": (policy("none"), [BOTH]), "nonebad": (policy("none"), [PLAIN]),
    "missing": ("missing", [PLAIN]), "malformed": (b"nonsense", [PLAIN]), "selfsigned": ("certificate", [PLAIN]),
    "silent": (policy("enforce", "*.silent.example"), [BOTH]),  # asks for no reports
    "reports": (policy("enforce", "mail.elsewhere.example"), [REPORTS]),
}
SECOND = f"mx1.two.example. 1 IN A {PLAIN}"
STAYS = ["plain", "foreign", "untrusted", "othername", "two"]
# domain: (policy, success?, result of the failure)
EXPECTED = {
    "wild": ("sts", True, None), "long": ("sts", True, None), "plain": ("sts", False, "starttls-not-supported"), "foreign": ("sts", False, "validation-failure"),
    "untrusted": ("sts", False, "certificate-not-trusted"), "othername": ("sts", False, "certificate-not-trusted"),
    "two": ("sts", False, {"certificate-not-trusted": SELF_SIGNED, "starttls-not-supported": PLAIN}),
    "testing": ("sts", False, "certificate-not-trusted"), "testingmx": ("sts", False, "validation-failure"),
    "none": ("no-policy-found", True, None), "nonebad": ("no-policy-found", False, "starttls-not-supported"),
    "missing": ("sts", False, "sts-policy-fetch-error"), "malformed": ("sts", False, "sts-policy-invalid"),
    "selfsigned": ("sts", False, "sts-webpki-invalid"),
}


class Keeper(Sink):
    """Keeps what it takes: server.kept, (sender, bytes)."""

    def handle(self):
        sender, lines, inside = b"", [], False
        self.say(b"220 reports")
        for line in self.rfile:
            if inside:
                if line == b".\r\n":
                    inside = False
                    self.server.kept.append((sender, b"".join(lines)))
                    self.say(b"250 taken")
                else:
                    lines.append(line[1:] if line.startswith(b".") else line)
            elif line.upper().startswith(b"MAIL"):
                sender, lines = line.split(b"<")[1].split(b">")[0], []
                self.say(b"250 ok")
            elif line.upper().startswith(b"DATA"):
                inside = True
                self.say(b"354 go")
            elif line.upper().startswith(b"QUIT"):
                return
            else:
                self.say(b"250 reports")


def take_post(handler):
    body = handler.rfile.read(int(handler.headers["Content-Length"]))
    handler.server.posted.append((handler.path, handler.headers["Content-Type"], body))
    handler.answer(b"", 201)


def make_dkim(tier):
    """Options for the edge, and what opendkim takes for the domain's zone: one service of it is tlsrpt."""
    zone = ""
    for kind, raw in (("rsa", 0), ("ed25519", 32)):  # of Ed25519 the last bytes alone stand there: RFC 8463 section 4
        key = tier.path(f"{kind}.pem")
        tier.openssl("genpkey", "-algorithm", kind, "-out", key)
        public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
        zone += f"{kind}._domainkey.example.org v=DKIM1; k={kind}; s=email:tlsrpt; p={base64.b64encode(public[-raw:]).decode()}\n"
    with open(tier.path("dkim.dns"), "w", encoding="ascii") as f:
        f.write(zone)
    with open(tier.path("dkim.conf"), "w", encoding="ascii") as f:
        f.write(f"Mode v\nTestDNSData file:{tier.path('dkim.dns')}\nSyslog no\nAlwaysAddARHeader yes\nAuthservID checker\n"
                "Socket local:/unused\nRequireSafeKeys no\n")
    return sign_with(tier, "rsa")


def sign_with(tier, kind):
    return f"\ttls_report_dkim_key file:{tier.path(kind + '.pem')};\n\ttls_report_dkim_selector {kind};\n"


def another_report(edge, kind):
    """One more delivery, and the report of it signed with another key."""
    edge.edge_extra = edge.edge_extra.replace(sign_with(edge, "rsa"), sign_with(edge, kind))
    edge.write_all()
    assert "reloaded" in edge.postern("reload").stdout
    kept, alice, to = len(edge.kept), edge.user("alice"), ["x@wild.example"]
    text = mail.message(mail.new_token(), alice["address"], to)
    code, reply = mail.send(edge, alice["address"], to, text, service="submission", user=alice)
    assert code == 250, reply
    wait_for(lambda: shown(edge).get("wild"), 30, "a count")
    edge.postern("tlsrpt", "send")
    wait_for(lambda: len(edge.kept) > kept, 30, "its report")


def verdict_of(tier, text):
    """What opendkim has to say about it."""
    with open(tier.path("signed.eml"), "wb") as f:
        f.write(text)
    done = subprocess.run(["opendkim", "-x", tier.path("dkim.conf"), "-v", "-t", tier.path("signed.eml")],
                          capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def edge(run_dir):
    tier = relaying_edge(run_dir, "tlsrpt", 1, "")
    tier.make_certificates()
    Policies.do_POST = take_post
    tier.web = start_web(tier, {**DOMAINS, "expired": ("certificate", []), "wronghost": ("certificate", [])})
    tier.web.posted = []
    both = pair(tier, "both", [f"mx1.{n}.example" for n, (_, a) in DOMAINS.items() if a == [BOTH]])
    servers, tier.taken = [tier.web], []
    for address, handler, context in ((PLAIN, Sink, None), (SELF_SIGNED, Sink, self_signed(tier, "sink")), (BOTH, Sink, both),
                                      (REPORTS, Keeper, None)):
        server = Server((address, tier.relay_port), handler)
        server.tls, server.taken, server.kept = context, tier.taken, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    tier.kept = servers[-1].kept
    lines = records(DOMAINS, {}) + [SECOND]
    uris = f"mailto:tls@reports.example,https://mta-sts.reports.example:{tier.web.server_address[1]}/v1"
    for name in DOMAINS:
        if name != "silent":
            lines.append(f'_smtp._tls.{name}.example. 1 IN TXT "v=TLSRPTv1; rua={uris}"')
    tier.root_extra = f"dns_servers 127.0.0.1:{start_unbound(tier, records=lines)};\n"
    tier.edge_extra = options(tier) + "\ttls_reports yes;\n\ttls_report_organisation \"An \\\"Example\\\"\";\n\ttls_report_from tls@example.org;\n"
    tier.edge_extra += make_dkim(tier)
    tier.start()
    yield tier
    tier.web.over.set()
    for server in servers:
        server.shutdown()
        server.server_close()
    finish(tier)


def shown(edge):
    return {r["domain"].split(".")[0]: r for r in json.loads(edge.postern("tlsrpt", "show", "--json").stdout)}


def report_of(text):
    """(domain, report): a message as RFC 8460 section 5.3 wants it, opened."""
    m = email.message_from_bytes(text)
    assert m.get_content_type() == "multipart/report" and m.get_param("report-type") == "tlsrpt"
    assert m["TLS-Report-Submitter"] == "mail.example.org" and m["From"] == "<tls@example.org>"
    words, packed = m.get_payload()
    assert words.get_content_type() == "text/plain" and packed.get_content_type() == "application/tlsrpt+gzip"
    report = json.loads(gzip.decompress(packed.get_payload(decode=True)))
    assert report["report-id"] in m["Subject"] and m["TLS-Report-Domain"] in packed.get_filename()
    return m["TLS-Report-Domain"], report


def test_counted_and_kept(edge):
    alice = edge.user("alice")
    to = [f"x@{n}.example" for n in DOMAINS if n != "reports"]
    code, reply = mail.send(edge, alice["address"], to, mail.message(mail.new_token(), alice["address"], to), service="submission",
                            user=alice)
    assert code == 250, reply
    wait_for(lambda: len(edge.taken) == len(to) - len(STAYS), 30, "what may go")
    to = [f"y@{n}.example" for n in STAYS]  # not held up; what it was judged by is counted all the same, and that alone
    text = mail.tls_not_required(mail.message(mail.new_token(), alice["address"], to))
    assert mail.send(edge, alice["address"], to, text, service="submission", user=alice)[0] == 250
    wait_for(lambda: len([r for r, _ in edge.taken if r in to]) == len(STAYS), 30, "what is not held up")
    wait_for(lambda: all(rows(edge).get(n, {}).get("attempts", 0) >= 1 for n in STAYS), 30, "an attempt for what stays")
    edge.postern("queue", "hold", "all")
    before = shown(edge)
    for name, (kind, good, _) in EXPECTED.items():
        row = before[name]
        assert row["policy"] == kind and (row["good"] > 0) == good and (row["bad"] > 0) != good, row
    edge.stop_process("edge")
    assert os.path.exists(edge.path("spool", "tls-reports"))
    edge.start_edge()
    wait_for(lambda: edge.postern("tlsrpt", "show", "--json").stdout, 20, "the queue process")
    after = shown(edge)
    assert all(after[n]["good"] == r["good"] and after[n]["bad"] >= r["bad"] for n, r in before.items())


def test_reports(edge):
    counted = shown(edge)
    done = edge.postern("tlsrpt", "send", "--json")
    assert json.loads(done.stdout)[0]["policies"] == len(counted), done
    wait_for(lambda: len(edge.kept) >= len(EXPECTED) and len(edge.web.posted) >= len(EXPECTED), 30, "the reports")
    assert all(sender == b"" for sender, _ in edge.kept)
    mailed = dict(report_of(text) for _, text in edge.kept)
    assert sorted(mailed) == sorted(f"{n}.example" for n in EXPECTED)
    for name, (kind, good, result) in EXPECTED.items():
        report = mailed[f"{name}.example"]
        assert report["organization-name"] == 'An "Example"' and report["contact-info"] == "tls@example.org"
        assert report["date-range"]["start-datetime"] <= report["date-range"]["end-datetime"]
        (told,) = report["policies"]
        assert told["policy"]["policy-type"] == kind and told["policy"]["policy-domain"] == f"{name}.example"
        assert told["summary"]["total-successful-session-count"] == counted[name]["good"]
        assert told["summary"]["total-failure-session-count"] == counted[name]["bad"]
        if good:
            assert "failure-details" not in told
            continue
        failures = told["failure-details"]
        assert {f["result-type"] for f in failures} == (set(result) if name == "two" else {result}), (name, failures)
        assert sum(f["failed-session-count"] for f in failures) == counted[name]["bad"]
        assert all(f["receiving-mx-hostname"] == f"mx1.{name}.example" for f in failures)
        assert all("receiving-ip" in f or name == "foreign" for f in failures)
    failures = mailed["two.example"]["policies"][0]["failure-details"]
    assert {f["result-type"]: f["receiving-ip"] for f in failures} == EXPECTED["two"][2]  # each attempt is a session with each
    assert [f["failed-session-count"] for f in failures] == [counted["two"]["bad"] // 2] * 2
    wild = mailed["wild.example"]["policies"][0]["policy"]
    assert wild["policy-string"] == ["version: STSv1", "mode: enforce", "max_age: 86400", "mx: *.wild.example"]
    assert wild["mx-host"] == ["*.wild.example"]
    assert mailed["long.example"]["policies"][0]["policy"]["mx-host"] == [*LONG, "mx1.long.example"]
    posted = {json.loads(gzip.decompress(body))["policies"][0]["policy"]["policy-domain"]: json.loads(gzip.decompress(body))
              for path, kind, body in edge.web.posted if (path, kind) == ("/v1", "application/tlsrpt+gzip")}
    assert posted == mailed


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_signed(edge, kind):
    """Reports that come by mail are signed; a real verifier takes them as they came, and none that was changed."""
    if kind != "rsa":
        another_report(edge, kind)
    text = edge.kept[-1][1]
    tags = dict(t.strip().split("=", 1) for t in email.message_from_bytes(text)["DKIM-Signature"].split(";"))
    assert (tags["d"], tags["s"], tags["a"], "l" in tags) == ("example.org", kind, f"{kind}-sha256", False)
    told = verdict_of(edge, text)
    assert f"verification (s={kind}, d=example.org, " in told and "-bit key) succeeded" in told, told
    for old, new in ((b"\nFrom: <tls@", b"\nFrom: <tlz@"), (b"This is a report", b"This is no report"),
                     (b"\nTo: ", b"\nFrom: <x@evil.example>\nTo: ")):
        assert old in text and "succeeded" not in verdict_of(edge, text.replace(old, new, 1))


def test_no_loop(edge):
    """The delivery of reports is not counted, and what was told is not told again."""
    wait_for(lambda: not [r for r in rows(edge) if r == "reports"], 20, "the reports to be gone")
    assert shown(edge) == {}
    kept = len(edge.kept)
    assert json.loads(edge.postern("tlsrpt", "send", "--json").stdout)[0]["policies"] == 0
    assert len(edge.kept) == kept
