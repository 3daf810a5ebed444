"""DANE (RFC 7672) with the DNS as it is: zones that ldns-signzone has signed, served by nsd, validated by unbound. test_dane.py
has the rest, with a name server that only says that its zones are signed."""
import json
import os

import pytest

import mail
from conftest import finish
from names import start_unbound
from signed_zones import EXPIRED, FAITHFUL, STRIPPED, TAMPERED, UNSIGNED, Tree
from test_copies import metric
from test_dane import make_certificate, serve, serve_no_more, sinks
from test_edge import relaying_edge
from tier import wait_for

TLS, PLAIN = "127.0.0.1", "127.0.0.2"
BY_DANE = "postern_edge_out_tls_dane_total"
DANE = ["good.example", "child.example", "aliased.example"]
# domain: under TLS?
GOES = {**{name: True for name in DANE}, "none.example": True, "noneplain.example": False, "half.example": True,
        "away.example": True, "unsigned.example": True, "plain.unsigned.example": False}
# domain: what the queue says of it
STAYS = {"wrong.example": "certificate", "bare.example": "TLS is required", "barewrong.example": "TLS is required",
         "tampered.example": "TLSA records cannot be looked up", "expired.example": "domain cannot be looked up",
         "stripped.example": "domain cannot be looked up"}


def domain(name, port, address, *tlsa):
    """Lines of a zone: its mail exchanger, where that is, what certificate it is to show."""
    return [f"{name}. 60 IN MX 5 mx.{name}.", f"mx.{name}. 60 IN A {address}",
            *(f"_{port}._tcp.mx.{name}. 60 IN TLSA 3 1 1 {digest}" for digest in tlsa)]


def zones(port, good):
    wrong = "00" * 32
    top = [*domain("good.example", port, TLS, wrong, good), *domain("wrong.example", port, TLS, wrong),
           *domain("bare.example", port, PLAIN, good), *domain("barewrong.example", port, PLAIN, wrong),
           *domain("none.example", port, TLS), *domain("noneplain.example", port, PLAIN), *domain("half.example", port, TLS),
           "away.example. 60 IN MX 5 mx.unsigned.example.",
           "aliased.example. 60 IN MX 5 mx.aliased.example.", "mx.aliased.example. 60 IN CNAME mx.child.example."]
    return {
        "example.": (FAITHFUL, top, {}),
        "child.example.": (FAITHFUL, domain("child.example", port, TLS, good), {}),
        # without validation it would be a certificate that fits
        "tampered.example.": (TAMPERED, domain("tampered.example", port, TLS, wrong), {wrong: good}),
        "expired.example.": (EXPIRED, domain("expired.example", port, TLS, good), {}),
        "stripped.example.": (STRIPPED, domain("stripped.example", port, TLS, good), {}),
        # what nobody vouches for is not looked at
        "unsigned.example.": (UNSIGNED, [*domain("unsigned.example", port, TLS, wrong),
                                         *domain("plain.unsigned.example", port, PLAIN, wrong)], {}),
        "_tcp.mx.half.example.": (UNSIGNED, [f"_{port}._tcp.mx.half.example. 60 IN TLSA 3 1 1 {wrong}"], {}),
    }


@pytest.fixture(scope="module")
def edge(run_dir):
    tier = relaying_edge(run_dir, "dnssec", 1, "")
    os.makedirs(tier.path("tls"), exist_ok=True)
    context, digest = make_certificate(tier.path("tls"))
    tier.tree = Tree(tier, zones(tier.relay_port, digest.hex()))
    tier.tree.start()
    tier.dns_port = start_unbound(tier, signed=tier.tree)
    servers = sinks(tier, (TLS, context), (PLAIN, None))
    serve(servers)
    tier.root_extra = f"dns_servers 127.0.0.1:{tier.dns_port};\n"
    tier.edge_extra = f"\tqueue_retry_first 500ms;\n\tqueue_retry_max 1s;\n\trelay_port {tier.relay_port};\n"
    tier.start()
    yield tier
    serve_no_more(servers)
    finish(tier)


def waiting(edge, attempts):
    """{domain: reason} of what was tried so often."""
    rows = json.loads(edge.postern("queue", "list", "--json").stdout)
    return {r["recipient"].split("@")[1]: r["reason"] for r in rows if r["attempts"] >= attempts}


def test_what_goes_and_what_stays(edge):
    alice = edge.user("alice")
    to = [f"x@{name}" for name in [*GOES, *STAYS]]
    code, reply = mail.send(edge, alice["address"], to, mail.message(mail.new_token(), alice["address"], to), service="submission",
                            user=alice)
    assert code == 250, reply
    wait_for(lambda: len(edge.taken) >= len(GOES), 30, "what may go")
    wait_for(lambda: len(waiting(edge, 2)) == len(STAYS), 30, "two attempts for what stays")
    assert sorted(edge.taken) == sorted((f"x@{name}", tls) for name, tls in GOES.items())
    reasons = waiting(edge, 2)
    assert sorted(reasons) == sorted(STAYS)
    assert all(why in reasons[name] for name, why in STAYS.items()), reasons
    assert metric(edge, BY_DANE) == len(DANE)


def test_signed_anew_it_goes(edge):
    """What stopped the mail was the signature, and nothing else."""
    mended = ["tampered.example", "expired.example", "stripped.example"]
    good = next(line.split()[-1] for line in edge.tree.zones["child.example."][1] if "TLSA" in line)
    for name in mended:
        edge.tree.zones[name + "."] = (FAITHFUL, domain(name, edge.relay_port, TLS, good), {})
    edge.tree.start()
    start_unbound(edge, port=edge.dns_port, signed=edge.tree)
    wait_for(lambda: len(edge.taken) >= len(GOES) + len(mended), 30, "what may go now")
    assert sorted(edge.taken[len(GOES):]) == sorted((f"x@{name}", True) for name in mended)
    assert metric(edge, BY_DANE) == len(DANE) + len(mended)
    assert sorted(waiting(edge, 1)) == sorted(set(STAYS) - set(mended))
