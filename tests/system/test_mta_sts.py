"""MTA-STS (RFC 8461): policies from a web server that may lie, unbound in front of the domains, Postfix as the next hop that
does everything right, and others that do not."""
import http.server
import json
import os
import re
import ssl
import threading

import pytest

import mail
import peers
from conftest import finish, free_port
from names import start_unbound
from test_dane import Server, Sink, statuses
from test_edge import relaying_edge
from tier import wait_for

GOOD, PLAIN, SELF_SIGNED, BOTH, NOBODY = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"


def policy(mode, *mx, max_age=86400):
    return "\r\n".join(["version: STSv1", f"mode: {mode}", f"max_age: {max_age}"] + [f"mx: {m}" for m in mx] + [""]).encode()


# domain: (what its policy host answers, addresses of mx1, mx2 ...)
DOMAINS = {
    "good": (policy("enforce", "mx1.good.example"), [GOOD]),
    "wild": (policy("enforce", "*.wild.example"), [BOTH]),
    "second": (policy("enforce", "mx3.second.example"), [BOTH, PLAIN, BOTH]),
    "foreign": (policy("enforce", "mail.elsewhere.example"), [BOTH]),
    "plain": (policy("enforce", "mx1.plain.example"), [PLAIN]),
    "untrusted": (policy("enforce", "mx1.untrusted.example"), [SELF_SIGNED]),
    "othername": (policy("enforce", "mx1.othername.example"), [GOOD]),
    "testing": (policy("testing", "mx1.testing.example"), [SELF_SIGNED]),
    "testingmx": (policy("testing", "mail.elsewhere.example"), [PLAIN]),
    "none": (policy("none"), [PLAIN]),
    "tested": (policy("testing", "mx1.tested.example"), [BOTH]),
    "half": (policy("testing", "mx1.half.example", "mx2.half.example"), [PLAIN, NOBODY]),
    "overridden": (policy("enforce", "mail.elsewhere.example"), [PLAIN]),
    # the policy cannot be had: mail goes as if there were none
    "redirect": ("redirect", [PLAIN]), "endless": ("endless", [PLAIN]), "slow": ("slow", [PLAIN]), "large": ("large", [PLAIN]),
    "html": ("html", [PLAIN]), "missing": ("missing", [PLAIN]), "malformed": (b"version: STSv1\nmode: enforce\n", [PLAIN]),
    "expired": ("certificate", [PLAIN]), "wronghost": ("certificate", [PLAIN]), "selfsigned": ("certificate", [PLAIN]),
}
GOES = {"wild": True, "second": True, "testing": True, "testingmx": False, "none": False, "half": False, "tested": True, "overridden": False, "redirect": False,
        "endless": False, "slow": False, "large": False, "html": False, "missing": False, "malformed": False, "expired": False,
        "wronghost": False, "selfsigned": False}
STAYS = {"foreign": "MTA-STS policy does not name", "plain": "TLS is required", "untrusted": "certificate", "othername": "certificate"}
FAILS = {"redirect": "answered 301", "endless": "in time", "slow": "in time", "large": "too large", "html": "text/plain",
         "missing": "answered 404", "malformed": "no policy", "expired": "certificate", "wronghost": "certificate",
         "selfsigned": "certificate"}


class Policies(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, body, status=200, kind="text/plain; charset=utf-8", **fields):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def endless(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not self.server.over.wait(0.05):
            self.wfile.write(b"1\r\nx\r\n")

    def do_GET(self):
        host = self.headers["Host"].split(":")[0]
        name = host.removeprefix("mta-sts.").removesuffix(".example")
        self.server.asked.append(name)
        if self.path != "/.well-known/mta-sts.txt" or not host.startswith("mta-sts."):
            return self.answer(b"", 400)
        what = self.server.policies[name]
        try:
            if isinstance(what, bytes):
                self.answer(what)
            elif what == "redirect":
                self.answer(b"", 301, Location=f"https://mta-sts.foreign.example:{self.server.server_address[1]}{self.path}")
            elif what == "endless":
                self.endless()
            elif what == "slow":
                self.server.over.wait(60)
            elif what == "large":
                self.answer(policy("enforce", "mail.elsewhere.example") + b"x: y\n" * 20000)
            elif what == "html":
                self.answer(policy("enforce", "mail.elsewhere.example"), kind="text/html")
            elif what == "certificate":
                self.answer(policy("enforce", "mail.elsewhere.example"))
            else:
                self.answer(b"", 404)
        except OSError:
            pass  # it had enough


class Web(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # handshakes that fail


def pair(tier, name, names, days=2):
    base = tier.path("tls")
    with open(os.path.join(base, f"{name}.ext"), "w", encoding="ascii") as f:
        f.write("subjectAltName=" + ",".join("DNS:" + n for n in names) + "\n")
    chain, key = os.path.join(base, f"{name}.pem"), os.path.join(base, f"{name}.key")
    tier.make_pair(chain, key, days=days, names=f"{name}.ext")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


def self_signed(tier, name):
    base = tier.path("tls")
    chain, key = os.path.join(base, f"{name}.pem"), os.path.join(base, f"{name}.key")
    tier.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                 "-addext", f"subjectAltName=DNS:mx1.untrusted.example,DNS:mta-sts.{name}.example", "-keyout", key, "-out", chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


def start_web(tier, domains):
    """One server for all policy hosts; who it is, SNI says."""
    contexts = {"expired": pair(tier, "expired", ["mta-sts.expired.example"], days=-1),
                "wronghost": pair(tier, "wronghost", ["mta-sts.good.example"]), "selfsigned": self_signed(tier, "selfsigned")}
    web = Web(("127.0.0.1", free_port()), Policies)
    web.policies, web.asked, web.over = {n: p for n, (p, _) in domains.items()}, [], threading.Event()
    usual = pair(tier, "web", [f"mta-sts.{n}.example" for n in domains if n not in contexts])

    def choose(sock, name, context):
        short = (name or "").removeprefix("mta-sts.").removesuffix(".example")
        if short in contexts:
            sock.context = contexts[short]
    usual.sni_callback = choose
    web.socket = usual.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    return web


def records(domains, ids):
    lines = []
    for name, (_, addresses) in domains.items():
        for k, address in enumerate(addresses, 1):
            lines += [f"{name}.example. 1 IN MX {k} mx{k}.{name}.example.", f"mx{k}.{name}.example. 1 IN A {address}"]
        lines += [f"mta-sts.{name}.example. 1 IN A 127.0.0.1", f'_mta-sts.{name}.example. 1 IN TXT "v=STSv1; id={ids.get(name, "1")};"',
                  f'_mta-sts.{name}.example. 1 IN TXT "something else"']
    return lines


def start_postfix(tier):
    with open(tier.path("tls", "good.pem"), encoding="ascii") as f:
        assert "BEGIN" in f.read()
    peers.start_postfix(tier, f"""myhostname = mx1.good.example
virtual_mailbox_domains = good.example, othername.example
virtual_mailbox_base = {tier.path("postfix", "mail")}
virtual_mailbox_maps = static:box/
virtual_minimum_uid = 1
virtual_uid_maps = static:{os.stat(tier.path("postfix-owner")).st_uid}
virtual_gid_maps = static:{os.stat(tier.path("postfix-owner")).st_gid}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_loglevel = 1
smtpd_tls_received_header = yes
smtpd_tls_cert_file = {tier.path("tls", "good.pem")}
smtpd_tls_key_file = {tier.path("tls", "good.key")}
""", {tier.relay_port: {}})


def start_sinks(tier, domains):
    both = pair(tier, "both", [f"mx{k}.{n}.example" for n, (_, a) in domains.items() for k in range(1, len(a) + 1) if a[k - 1] == BOTH])
    tier.taken, sinks = [], []
    for address, context in ((PLAIN, None), (SELF_SIGNED, self_signed(tier, "sink")), (BOTH, both)):
        sink = Server((address, tier.relay_port), Sink)
        sink.tls, sink.taken = context, tier.taken
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        sinks.append(sink)
    sinks[-1].knows = True
    return sinks


def options(tier):
    return (f"\tqueue_retry_first 500ms;\n\tqueue_retry_max 1s;\n\trelay_port {tier.relay_port};\n\tmta_sts_port {tier.web.server_address[1]};\n"
            f"\tmta_sts_ca {tier.ca_file};\n\tmta_sts_timeout 2s;\n\tnext_hop overridden.example {{ tls may; }}\n")


@pytest.fixture(scope="module")
def edge(run_dir):
    tier = relaying_edge(run_dir, "mta-sts", 1, "")
    os.makedirs(tier.path("postfix-owner"), exist_ok=True)
    if os.geteuid() == 0:
        import pwd
        owner = pwd.getpwnam("postfix")
        os.chown(tier.path("postfix-owner"), owner.pw_uid, owner.pw_gid)
    tier.make_certificates()
    tier.web = start_web(tier, DOMAINS)
    pair(tier, "good", ["mx1.good.example"])
    sinks = start_sinks(tier, DOMAINS)
    start_postfix(tier)
    tier.dns_port = start_unbound(tier, records=records(DOMAINS, {}))
    tier.root_extra = f"dns_servers 127.0.0.1:{tier.dns_port};\n"
    tier.edge_extra = options(tier)
    tier.start()
    yield tier
    tier.web.over.set()
    for server in [*sinks, tier.web]:
        server.shutdown()
        server.server_close()
    finish(tier)


def send(edge, *names, change=lambda text: text, wishes=()):
    alice = edge.user("alice")
    to = [f"x@{name}.example" for name in names]
    text = change(mail.message(mail.new_token(), alice["address"], to))
    code, reply = mail.send(edge, alice["address"], to, text, service="submission", user=alice, options=wishes)
    assert code == 250, reply


def taken(edge, name):
    return [tls for r, tls in edge.taken if r == f"x@{name}.example"]


def rows(edge):
    return {r["recipient"].split("@")[1].split(".")[0]: r for r in json.loads(edge.postern("queue", "list", "--json").stdout)}


def in_postfix(edge):
    folder = edge.path("postfix", "mail", "box", "new")
    return [open(os.path.join(folder, n), encoding="utf-8").read() for n in os.listdir(folder)] if os.path.isdir(folder) else []


def test_what_goes_and_what_stays(edge):
    send(edge, "good", *GOES, *STAYS)
    wait_for(lambda: len(edge.taken) >= len(GOES), 30, "what may go")
    assert sorted(edge.taken) == sorted((f"x@{name}.example", tls) for name, tls in GOES.items())
    wait_for(lambda: in_postfix(edge), 20, "what Postfix takes")
    assert "TLSv1.3" in in_postfix(edge)[0] and "good.example" in in_postfix(edge)[0]
    wait_for(lambda: len([r for r in rows(edge).values() if r["attempts"] >= 2]) == len(STAYS), 30, "two attempts for what stays")
    for name, word in STAYS.items():
        assert word in rows(edge)[name]["reason"], rows(edge)[name]
    assert len(edge.taken) == len(GOES) and len(in_postfix(edge)) == 1
    log = edge.log("edge")
    for name, word in FAILS.items():
        lines = [line for line in log.splitlines() if "sts.failed" in line and f"domain={name}.example" in line]
        assert len(lines) == 1 and word in lines[0], (name, lines)
    assert 'domain=good.example id=1 mode=enforce' in log
    assert "redirect" in edge.web.asked and edge.web.asked.count("foreign") == 1  # nobody followed
    assert "overridden" not in edge.web.asked


def test_where_the_time_went(edge):
    """before the queue / in it / until a connection could be used / with the next hop, of what went and of what waits"""
    def delays(line):
        return [float(d) for d in re.search(r"delays=([0-9./]+) ", line).group(1).split("/")]
    gone = [line for line in edge.log("edge").splitlines() if "queue.delivered" in line and "good.example" in line]
    assert len(gone) == 1
    before, queued, setup, talk = delays(gone[0])
    assert 0 < setup < 30 and 0 < talk < 30 and before < 30 and queued < 30
    row = rows(edge)["foreign"]
    shown = json.loads(edge.postern("queue", "show", row["id"], "--json").stdout)
    (mine,) = [r for r in shown if "foreign" in r["recipient"]]
    assert len(mine["delays"].split("/")) == 4 and float(mine["delays"].split("/")[3]) == 0  # nobody was talked to
    assert sum(float(d) for d in mine["delays"].split("/")) <= row["age_s"] + 30


def test_requiretls_needs_a_policy(edge):
    """Without DNSSEC a policy has to say whose mail exchanger it is (RFC 8689 section 8.2), if only one under test, and the public
    authorities vouch for that; what the operator says of the domain does not replace it."""
    alice, token = edge.user("alice"), mail.new_token()
    edge.taken.clear()
    to = [f"r@{n}.example" for n in ("wild", "second", "tested", "foreign", "none", "testing", "testingmx", "overridden")]
    code, reply = mail.send(edge, alice["address"], to, mail.message(token, alice["address"], to), service="submission", user=alice,
                            options=["REQUIRETLS"])
    assert code == 250, reply
    wait_for(lambda: len(statuses(edge.having(alice, token))) == 5, 30, "the reports")
    assert statuses(edge.having(alice, token)) == {n: "5.7.10" for n in ("foreign", "none", "testing", "testingmx", "overridden")}
    wait_for(lambda: len(edge.taken) >= 3, 30, "what may go")
    assert sorted(edge.taken) == [(f"r@{n}.example", True) for n in ("second", "tested", "wild")]


def test_who_does_not_require_tls_is_not_held_up(edge):
    """TLS-Required: no (RFC 8689): what waits without the field goes with it, under TLS where that is there."""
    edge.taken.clear()
    send(edge, *STAYS, "wild", change=mail.tls_not_required)
    wait_for(lambda: len(edge.taken) >= 4 and len(in_postfix(edge)) >= 2, 20, "what is not held up")
    assert sorted(edge.taken) == [("x@foreign.example", True), ("x@plain.example", False), ("x@untrusted.example", True),
                                  ("x@wild.example", True)]
    (text,) = [t for t in in_postfix(edge) if "TLS-Required: (it is no secret) No" in t]
    assert "TLSv1.3" in text and "for <x@othername.example>" in text
    assert sorted(rows(edge)) == sorted(STAYS)  # those without it


def test_remembered_and_refused_for_a_while(edge):
    """What is known is not fetched again, nor what could not be had."""
    before = list(edge.web.asked)
    edge.taken.clear()
    send(edge, "wild", "missing")
    wait_for(lambda: len(edge.taken) >= 2, 20, "both")
    assert sorted(edge.taken) == [("x@missing.example", False), ("x@wild.example", True)]
    assert edge.web.asked == before


def test_a_new_id_is_fetched_and_a_lost_host_changes_nothing(edge):
    edge.taken.clear()
    edge.web.policies["wild"] = "missing"  # a new record, and no policy behind it: the old one goes on
    edge.web.policies["missing"] = policy("enforce", "mail.elsewhere.example")
    start_unbound(edge, port=edge.dns_port, records=records(DOMAINS, {"wild": "2", "missing": "2"}))
    before = len(edge.web.asked)

    def again():
        send(edge, "wild", "missing")
        wait_for(lambda: taken(edge, "wild") and ("missing" in rows(edge) or taken(edge, "missing")), 20, "answers")
        return sorted(set(edge.web.asked[before:])) == ["missing", "wild"]
    wait_for(again, 30, "the new records to be seen")
    assert all(taken(edge, "wild"))  # under TLS, as before
    wait_for(lambda: "missing" in rows(edge) and "MTA-STS" in rows(edge)["missing"]["reason"], 20, "the new policy")


def test_kept_over_restarts(edge):
    """Neither record nor policy host are there any more; what was known goes on."""
    edge.stop_process("edge")
    with open(os.path.join(edge.path("spool"), "mta-sts"), encoding="ascii") as f:
        kept = f.read().splitlines()
    assert any(line.startswith("wild.example 1 ") and line.endswith(" enforce 86400 *.wild.example") for line in kept), kept
    assert not any("expired" in line for line in kept)
    start_unbound(edge, port=edge.dns_port, records=[r for r in records(DOMAINS, {}) if "mta-sts" not in r])
    edge.taken.clear()
    before = list(edge.web.asked)
    edge.start_edge()
    send(edge, "wild", "foreign", "testing")
    wait_for(lambda: len(edge.taken) >= 2, 20, "what goes")
    assert sorted(edge.taken) == [("x@testing.example", True), ("x@wild.example", True)]
    wait_for(lambda: "MTA-STS" in rows(edge)["foreign"]["reason"], 20, "what stays")
    assert edge.web.asked == before


def test_off_for_the_channel(edge):
    edge.stop_process("edge")
    edge.edge_extra = options(edge) + "\tchannel smtp { mta_sts no; }\n"
    edge.write_configs()
    edge.taken.clear()
    edge.start_edge()
    wait_for(lambda: taken(edge, "foreign") and taken(edge, "plain"), 30, "what waited")
    wait_for(lambda: not rows(edge), 20, "the rest")


def restart_patient(edge):
    """Nothing is tried again by itself as long as the test runs; policies are known from before."""
    edge.stop_process("edge")
    edge.edge_extra = options(edge).replace("queue_retry_first 500ms", "queue_retry_first 1h").replace("queue_retry_max 1s", "queue_retry_max 1h")
    edge.write_configs()
    edge.taken.clear()
    edge.start_edge()


def wait_deferred(edge, *names):
    def deferred():
        found = rows(edge)
        return all(name in found and found[name]["attempts"] == 1 for name in names)
    wait_for(deferred, 30, f"one attempt for {names}")


def test_what_wants_less_does_not_wait_for_what_wants_more(edge):
    """A domain that one message has to wait for is not down for another that wants less of it."""
    restart_patient(edge)
    send(edge, "half", wishes=["REQUIRETLS"])
    send(edge, "foreign", "untrusted")
    wait_deferred(edge, "half", "foreign", "untrusted")
    send(edge, "half")
    send(edge, "foreign", "untrusted", change=mail.tls_not_required)
    wait_for(lambda: len(edge.taken) >= 3, 60, "what wants less")
    assert sorted(edge.taken) == [("x@foreign.example", True), ("x@half.example", False), ("x@untrusted.example", True)]
    send(edge, "foreign", "untrusted")  # its going there says nothing of the others
    send(edge, "half", wishes=["REQUIRETLS"])
    send(edge, "good")
    wait_for(lambda: len(in_postfix(edge)) >= 3 and "good" not in rows(edge), 30, "what came last")
    found = json.loads(edge.postern("queue", "list", "--json").stdout)
    assert sorted(r["recipient"] for r in found) == sorted(2 * [f"x@{n}.example" for n in ("half", "foreign", "untrusted")])
    assert all(r["attempts"] <= 1 for r in found) and len(edge.taken) == 3, found
