"""Aliases, forwards, catch-alls, groups and rewritten return paths at work, with the directory in a file and in slapd,
Dovecot in the place of the stores and a next hop that notes all it hears."""
import os
import signal
import socketserver
import threading

import pytest

import mail
import peers
from conftest import TOP, finish, free_port
from test_edge import Edge, relaying_edge
from test_relay import ADDRESSES
from tier import wait_for

STRANGER = "visitor@elsewhere.example"


def user(name, domain, *lines):
    """A user without a password; its DN is below people of alice's domain."""
    return "\n".join([f"dn: uid={name},ou=people,dc=example-org,dc=postern", "objectClass: top", "objectClass: person",
                      "objectClass: organizationalPerson", "objectClass: inetOrgPerson", "objectClass: inetMailUser",
                      f"uid: {name}", f"cn: {name}", f"sn: {name}", f"mail: {name}@{domain}", *lines]) + "\n"


def group(name, *lines):
    return "\n".join([f"dn: cn={name},ou=groups,dc=postern", "objectClass: top", "objectClass: organizationalRole",
                      "objectClass: inetMailGroup", f"cn: {name}", f"mail: {name}@example.org", *lines]) + "\n"


ENTRIES = [
    "dn: ou=groups,dc=postern\nobjectClass: top\nobjectClass: organizationalUnit\nou: groups\n",
    "dn: dc=hosted,dc=postern\nobjectClass: top\nobjectClass: domain\nobjectClass: inetDomain\ndc: hosted\n"
    "associatedDomain: hosted.example\nmailDomainCatchallAddress: alice@example.org\n",
    "dn: dc=other-name,dc=postern\nobjectClass: top\nobjectClass: domain\nobjectClass: inetDomain\ndc: other-name\n"
    "associatedDomain: other-name.example\ninetCanonicalDomainName: example.org\n",
    user("fwd", "example.org", "mailDeliveryOption: forward", "mailForwardingAddress: good@far.example"),
    user("badfwd", "example.org", "mailDeliveryOption: forward", "mailForwardingAddress: bad@far.example"),
    user("both", "example.org", "mailDeliveryOption: mailbox", "mailDeliveryOption: forward", "mailHost: store1",
         "mailForwardingAddress: good@far.example"),
    user("gone", "example.org", "mailHost: store1", "mailUserStatus: deleted"),
    group("team", "mgrpRFC822MailMember: good@far.example", "uniqueMember: uid=alice,ou=people,dc=example-org,dc=postern",
          "uniqueMember: uid=long-gone,ou=people,dc=example-org,dc=postern", "mgrpRFC822MailMember: dave@example.net",
          "mgrpErrorsTo: bob@example.org", "mgrpAddHeader: List-Id: <team.example.org>"),
    group("badteam", "mgrpRFC822MailMember: bad@far.example", "mgrpRFC822MailMember: alice@example.org",
          "mgrpErrorsTo: bob@example.org"),
    group("found", "mgrpDeliverTo: ldap:///ou=people,dc=example-org,dc=postern?mail?one?(|(uid=alice)(uid=bob))"),
    group("board", "mgrpRFC822MailMember: alice@example.org", "mgrpRFC822MailMember: good@far.example",
          "mgrpModerator: mailto:bob@example.org", "mgrpAllowedBroadcaster: mailto:bob@example.org",
          "mgrpMsgRejectAction: toModerator"),
    group("closed", "mgrpRFC822MailMember: alice@example.org", "mgrpBroadcasterPolicy: SMTP_AUTH_REQUIRED",
          "mgrpMsgRejectText: members of staff only"),
    group("secret", "mgrpRFC822MailMember: alice@example.org", "mgrpRFC822MailMember: good@far.example",
          "mgrpAuthPassword: open sesame", "mgrpMsgPrefixText: To the club:", "mgrpMsgSuffixText: -- the club",
          "mgrpRemoveHeader: X-Mailer", "mgrpMsgRejectText: say the word"),
    group("guarded", "mgrpRFC822MailMember: alice@example.org", "mgrpRFC822MailMember: bob@example.org",
          "mgrpAuthPassword: open sesame", "mgrpModerator: mailto:bob@example.org", "mgrpMsgRejectAction: toModerator"),
    group("unattended", "mgrpAuthPassword: open sesame", "mgrpModerator: mailto:bob@example.org",
          "mgrpMsgRejectAction: toModerator"),
]
RULES = """
	rewrite old { address recipient; pattern "*@*.old.example"; to "$U@example.org"; }
	rewrite trap { address recipient; pattern "*@trap.example"; to "$U@far.example"; }
	rewrite senders { address sender, from; client ours; pattern "*@host.example.org"; to "$U@example.org"; }
	rewrite fields { address to; pattern "*@*.old.example"; to "$U@example.org"; }
"""
ALIASES = "sales@example.org: alice@example.org, gone@example.org, dave@example.net\n"


class Hop(socketserver.StreamRequestHandler):
    """A next hop: notes what it hears, refuses bad@..."""

    def handle(self):
        self.wfile.write(b"220 hop\r\n")
        sender, recipients = None, []
        for line in iter(self.rfile.readline, b""):
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.wfile.write(b"250-hop\r\n250 8BITMIME\r\n")
            elif verb == b"RCPT" and b"<bad@" in line:
                self.wfile.write(b"550 5.1.1 nobody of that name\r\n")
            elif verb == b"DATA":
                self.wfile.write(b"354 go\r\n")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.taken.append((sender, recipients, text))
                sender, recipients = None, []
                self.wfile.write(b"250 done\r\n")
            elif verb == b"QUIT":
                return
            else:
                inner = line.decode("utf-8", "replace").split("<", 1)[-1].split(">")[0]
                if verb == b"MAIL":
                    sender = inner
                elif verb == b"RCPT":
                    recipients.append(inner)
                self.wfile.write(b"250 ok\r\n")


class Tiers(Edge):
    def directory_text(self):
        return super().directory_text() + "\n" + "\n".join(ENTRIES)


def with_directory(run_dir, name, backend, options=""):
    """Not started yet; a slapd is there if it wants one."""
    tier = relaying_edge(run_dir, name, 1, "\tqueue_retry_max 2s;\n\terrors_max 200;\n\terror_delay 0s;\n\tunknown_max 100;\n"
                         "\texpanded_recipients_max 2;\n\tsrs_domain example.org;\n\tsrs_keys \"0123456789abcdef\";\n" + RULES + options)
    tier.__class__ = Tiers
    directory = f"backend file; file {tier.path('directory.ldif')};"
    if backend == "ldap":
        tier.ldap_port = free_port()
        directory = f"backend ldap; uri ldap://127.0.0.1:{tier.ldap_port}; base \"dc=postern\";"
    tier.directory_block = f"directory {{ {directory} alias_file {tier.path('aliases')}; default_domain example.org; }}\n"
    tier.write_all()
    with open(tier.path("aliases"), "w", encoding="ascii") as f:
        f.write(ALIASES)
    if backend == "ldap":
        peers.start_slapd(tier, tier.ldap_port, os.path.join(TOP, "conf", "schema"))
    return tier


@pytest.fixture(scope="module", params=["file", "ldap"])
def edge(run_dir, request):
    tier = with_directory(run_dir, request.param, request.param)
    server = socketserver.ThreadingTCPServer(("127.0.0.1", tier.relay_port), Hop)
    server.daemon_threads = True
    server.taken = tier.taken = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tier.start()
    yield tier
    server.shutdown()
    server.server_close()
    finish(tier)


def send(edge, sender, recipients, **how):
    token = mail.new_token()
    text = how.pop("text", None) or mail.message(token, sender, recipients)
    code, reply = mail.send(edge, sender, recipients, text, **how)
    return token, code, reply.decode()


def heard(edge, token, seconds=20):
    return wait_for(lambda: [t for t in edge.taken if token.encode() in t[2]], seconds, "mail at the next hop")


def copies(edge, name, token):
    return len(edge.having(edge.user(name), token))


def quiet(edge, token, *names):
    """Nothing of it is anywhere but where it was looked for."""
    wait_for(edge.queue_is_empty, 20, "an empty queue")
    for name in names:
        assert copies(edge, name, token) == 0
    return [t for t in edge.taken if token.encode() in t[2]]


def test_other_names(edge):
    for address in ("nobody-at-all@hosted.example", "alice@other-name.example", "alice+box@other-name.example"):
        token, code, reply = send(edge, STRANGER, [address])
        assert code == 250, reply
        edge.wait_stored(edge.user("alice"), token)
        assert quiet(edge, token, "bob", "dave") == []


def test_alias_with_a_member_that_is_gone(edge):
    token, code, reply = send(edge, STRANGER, ["sales@example.org", "dave@example.net"])
    assert code == 250, reply
    edge.wait_stored(edge.user("alice"), token)
    edge.wait_stored(edge.user("dave"), token)
    wait_for(edge.queue_is_empty, 20, "an empty queue")
    assert (copies(edge, "alice", token), copies(edge, "dave", token)) == (1, 1)
    assert copies(edge, "bob", token) == 0


def test_the_owner_of_a_mail_is_told_of_the_gone_member(edge):
    alice = edge.user("alice")
    token, code, reply = send(edge, alice["address"], ["sales@example.org"], service="submission", user=alice)
    assert code == 250, reply
    found = edge.wait_stored(alice, token, 2)
    report = [m for m in found if b"multipart/report" in m]
    assert len(report) == 1 and b"gone@example.org" in report[0]


def test_forward_leaves_with_a_return_path_of_ours(edge):
    token, code, reply = send(edge, STRANGER, ["fwd@example.org"])
    assert code == 250, reply
    (sender, recipients, text), = heard(edge, token)
    assert sender.startswith("SRS0=") and sender.endswith("=elsewhere.example=visitor@example.org")
    assert recipients == ["good@far.example"]
    assert text.startswith(b"Delivered-To: fwd@example.org\r\nReceived:") or b"\r\nDelivered-To: fwd@example.org\r\n" in text
    # a report comes back, and goes on to the first sender
    back, code, reply = send(edge, "", [sender])
    assert code == 250, reply
    assert [(s, r) for s, r, _ in heard(edge, back)] == [("", [STRANGER])]
    # nothing else does
    for return_path, to in ((STRANGER, sender), ("", sender.replace("visitor", "victim")),
                            ("", sender.replace("SRS0=", "SRS0=A")), ("", "SRS0=AAAAAAAA=AA=far.example=victim@example.org"),
                            ("", "SRS1=AAAAAAAA=far.example==AAAA=AA=x=victim@example.org")):
        other, code, reply = send(edge, return_path, [to])
        assert code == 550, (to, reply)
    wait_for(edge.queue_is_empty, 20, "an empty queue")
    assert [t for t in edge.taken if "victim" in str(t[1])] == []
    assert len([t for t in edge.taken if token.encode() in t[2] and t[1] == [STRANGER]]) == 0


def test_forward_of_our_own_sender_is_left_alone(edge):
    alice = edge.user("alice")
    token, code, reply = send(edge, alice["address"], ["fwd@example.org"], service="submission", user=alice)
    assert code == 250, reply
    assert [(s, r) for s, r, _ in heard(edge, token)] == [(alice["address"], ["good@far.example"])]
    token, code, reply = send(edge, "", ["fwd@example.org"])
    assert code == 250, reply
    assert [s for s, _, _ in heard(edge, token)] == [""]


def test_a_loop_over_other_hosts_ends(edge):
    token, code, reply = send(edge, STRANGER, ["both@example.org"])
    assert code == 250, reply
    (sender, _, text), = heard(edge, token)
    token, code, reply = send(edge, sender, ["both@example.org"], text=text)
    assert code == 554 and "5.4.6" in reply
    _, code, reply = send(edge, sender, ["both@example.org", "alice@example.org"], text=text)
    assert code == 250, reply
    wait_for(edge.queue_is_empty, 20, "an empty queue")


def test_group(edge):
    token, code, reply = send(edge, STRANGER, ["team@example.org", "alice@example.org"])
    assert code == 250, reply
    edge.wait_stored(edge.user("dave"), token)
    edge.wait_stored(edge.user("alice"), token)
    assert [(s, r) for s, r, _ in heard(edge, token)] == [("bob@example.org", ["good@far.example"])]
    wait_for(edge.queue_is_empty, 20, "an empty queue")
    assert [copies(edge, n, token) for n in ("alice", "bob", "dave")] == [1, 0, 1]
    stored = edge.having(edge.user("dave"), token)[0]
    assert stored.startswith(b"Return-Path: <bob@example.org>")
    for text in (stored, heard(edge, token)[0][2]):
        assert b"\nList-Id: <team.example.org>\r\n" in text
    assert b"List-Id" not in edge.having(edge.user("alice"), token)[0]  # the client has named her itself
    assert "directory.server_down" not in edge.log("edge")


def test_owner_of_a_group_gets_the_reports(edge):
    token, code, reply = send(edge, STRANGER, ["badteam@example.org"])
    assert code == 250, reply
    report = edge.wait_stored(edge.user("bob"), token)[0]
    assert b"Final-Recipient: rfc822; bad@far.example" in report
    assert copies(edge, "alice", token) == 1


def test_group_by_search(edge):
    token, code, reply = send(edge, STRANGER, ["found@example.org"])
    assert code == 250, reply
    for name in ("alice", "bob"):
        edge.wait_stored(edge.user(name), token)
    assert quiet(edge, token, "dave") == []


def test_moderated_group(edge):
    token, code, reply = send(edge, STRANGER, ["board@example.org"])
    assert code == 250, reply
    edge.wait_stored(edge.user("bob"), token)
    assert quiet(edge, token, "alice") == []
    token, code, reply = send(edge, "bob@example.org", ["board@example.org"])  # anybody can say so
    assert code == 250, reply
    edge.wait_stored(edge.user("bob"), token)
    assert quiet(edge, token, "alice") == []
    bob = edge.user("bob")
    token, code, reply = send(edge, bob["address"], ["board@example.org"], service="submission", user=bob)
    assert code == 250, reply
    edge.wait_stored(edge.user("alice"), token)
    assert len(heard(edge, token)) == 1


def test_group_for_users_only(edge):
    _, code, reply = send(edge, "alice@example.org", ["closed@example.org"])
    assert code == 550 and "5.7.2" in reply and "members of staff only" in reply
    alice = edge.user("alice")
    token, code, reply = send(edge, alice["address"], ["closed@example.org"], service="submission", user=alice)
    assert code == 250, reply
    edge.wait_stored(alice, token)


def approved(token, word, recipients):
    text = mail.message(token, STRANGER, recipients)
    return b"X-Mailer: x\r\n" + (b"Approved: %s\r\n" % word if word else b"") + text


def test_group_with_a_password(edge):
    """Who gives it posts; nobody sees it, also not those beside the group, who get the mail as it was sent."""
    for word in (b"", b"Open sesame", b"open"):
        _, code, reply = send(edge, STRANGER, ["secret@example.org"], text=approved("none", word, ["secret@example.org"]))
        assert code == 550 and "5.7.2" in reply and "say the word" in reply
    token = mail.new_token()
    to = ["secret@example.org", "dave@example.net"]
    _, code, reply = send(edge, STRANGER, to, text=approved(token, b"open sesame", to))
    assert code == 250, reply
    dave = edge.wait_stored(edge.user("dave"), token)[0]
    assert mail.original(dave) == approved(token, b"", to)
    for text in (edge.wait_stored(edge.user("alice"), token)[0], heard(edge, token)[0][2]):
        head, body = text.split(b"\r\n\r\n", 1)
        assert b"Approved" not in head and b"X-Mailer" not in head and b"sesame" not in text
        assert body.startswith(b"To the club:\r\n") and body.rstrip().endswith(b"\r\n-- the club")


def test_group_with_a_password_and_moderators(edge):
    for word, names in ((b"no", ["bob"]), (b"open sesame", ["alice", "bob"])):
        token = mail.new_token()
        _, code, reply = send(edge, STRANGER, ["guarded@example.org"], text=approved(token, word, ["guarded@example.org"]))
        assert code == 250, reply
        for name in names:
            assert b"Approved" not in edge.wait_stored(edge.user(name), token)[0]
        assert quiet(edge, token, *({"alice"} - set(names))) == []
        assert copies(edge, "bob", token) == 1


def test_group_without_members(edge):
    """The password is right, so no moderator is asked, and there is nobody else."""
    token = mail.new_token()
    to = ["unattended@example.org"]
    _, code, reply = send(edge, STRANGER, to, text=approved(token, b"open sesame", to))
    assert code == 550 and "5.2.4" in reply, reply
    _, code, reply = send(edge, STRANGER, to, text=approved(token, b"wrong", to))
    assert code == 250, reply
    edge.wait_stored(edge.user("bob"), token)


def test_nothing_is_relayed_all_the_same(edge):
    """The tricks of test_relay.py against a host with catch-alls, aliases, forwards and groups."""
    before = len(edge.taken)
    for address in ADDRESSES + [f"<{t}@hosted.example>" for t in (
            "victim%far.example", "far.example!victim", '"victim@far.example"', "victim=far.example", "SRS0=a=b=far.example=victim")]:
        with mail.smtp(edge) as s:
            s.ehlo()
            s.mail(STRANGER)
            if s.docmd("RCPT", "TO:" + address.encode("utf-8").decode("latin-1") if address.isascii() else "TO:<x@far.example>")[0] == 250:
                s.data(b"Subject: relayed\r\n\r\nrelayed\r\n")
    wait_for(edge.queue_is_empty, 20, "an empty queue")
    assert edge.taken[before:] == []


def test_copies_are_bounded(edge):
    """Each recipient that is forwarded is a copy in the spool; aliases of our own users are none."""
    with mail.smtp(edge) as s:
        s.ehlo()
        s.mail(STRANGER)
        codes = [s.rcpt(r)[0] for r in ("fwd@example.org", "sales@example.org", "both@example.org", "team@example.org",
                                        "found@example.org", "FWD@example.org", "alice@example.org")]
        s.rset()
    assert codes == [250, 250, 250, 452, 250, 250, 250]


def test_rewrite_rules(edge):
    """Envelope for all, header for our own users; a rule opens no relay."""
    token = mail.new_token()
    text = mail.message(token, "alice@host.example.org", ["dave <alice@www.old.example>", "x@far.example"])
    alice = edge.user("alice")
    _, code, reply = send(edge, STRANGER, ["alice@www.old.example"], text=text)
    assert code == 250, reply
    stored, = edge.wait_stored(alice, token)
    assert mail.original(stored) == text  # the header of a stranger is its own
    _, code, reply = send(edge, STRANGER, ["victim@trap.example"])
    assert code == 550 and "relay denied" in reply
    token = mail.new_token()
    text = mail.message(token, "alice@host.example.org", ["dave <alice@www.old.example>", "x@far.example"])
    _, code, reply = send(edge, "alice@host.example.org", ["alice@www.old.example"], service="submission", user=alice, text=text)
    assert code == 250, reply
    stored, = edge.wait_stored(alice, token)
    want = text.replace(b"<alice@host.example.org>", b"<alice@example.org>", 1).replace(b"www.old.example", b"example.org", 1)
    assert stored.startswith(b"Return-Path: <alice@example.org>") and mail.original(stored) == want


def dry(edge, sender, *recipients, ip="192.0.2.7", more=()):
    words = [w for r in recipients for w in ("--rcpt", r)]
    return edge.postern("explain", "--ip", ip, "--helo", "client.example", "--from", sender, *words, *more).stdout


def test_dry_run(edge):
    """The same session decides, and nothing comes of it."""
    refused = edge.log("edge").count("recipient.refused")
    before = len(edge.taken)
    told = dry(edge, "alice@example.org", "sales@example.org", "x@far.example", "nobody@example.org", "board@example.org",
               more=("--listener", "submission", "--user", "alice@example.org"))
    for words in ("on listener submission", "<sales@example.org> stands for 3", "RCPT TO:<sales@example.org>: 250 2.1.5",
                  "RCPT TO:<x@far.example>: 250", "RCPT TO:<nobody@example.org>: 550 5.1.1", "sender_owner",
                  "<board@example.org> stands for 1", "limits, policy services and filters are not asked"):
        assert words in told, told
    told = dry(edge, "", "x@far.example", "alice@example.org", ip="127.0.0.1")
    assert "RCPT TO:<x@far.example>: 550 5.7.1 relay denied" in told and "RCPT TO:<alice@example.org>: 250" in told
    told = dry(edge, "bob@example.org", "alice@example.org", more=("--listener", "submission", "--user", "alice@example.org"))
    assert "MAIL FROM:<bob@example.org>: 550 5.7.1" in told and "RCPT TO" not in told
    told = dry(edge, "a@b.example", "alice@example.org", more=("--listener", "submission"))
    assert "MAIL FROM:<a@b.example>: 530" in told
    for bad in (("--ip", "nonsense", "--from", "", "--rcpt", "a@b"), ("--from", "", "--rcpt", "a@b"), ("--ip", "192.0.2.1", "--from", "x"),
                ("--ip", "192.0.2.1", "--from", "x", "--rcpt", "a\r\nQUIT"), ("--ip", "192.0.2.1", "--from", "", "--rcpt", "a@b",
                                                                              "--listener", "none")):
        told = edge.postern("explain", *bad).stdout
        assert "dry_run" in told and "RCPT TO" not in told, told
    assert edge.log("edge").count("recipient.refused") == refused
    assert edge.queue_is_empty() and len(edge.taken) == before


def test_a_group_that_takes_too_long(run_dir):
    """expansion_timeout: the directory hangs behind one recipient; it gets 451, and the others of the mail get it."""
    tier = with_directory(run_dir, "slow", "ldap", "\texpansion_timeout 1s;\n")
    tier.start()
    slapd, token, alice = tier.processes["slapd"], mail.new_token(), tier.user("alice")
    try:
        with mail.smtp(tier) as s:
            s.ehlo()
            s.mail(STRANGER)
            assert s.rcpt(alice["address"])[0] == 250
            os.kill(slapd.pid, signal.SIGSTOP)
            code, reply = s.rcpt("found@example.org")
            os.kill(slapd.pid, signal.SIGCONT)
            assert code == 451 and reply.startswith(b"4.3.0 looking up the recipients took too long"), reply
            assert s.data(mail.message(token, STRANGER, [alice["address"]]))[0] == 250
            assert len(tier.wait_stored(alice, token)) == 1
        again, code, reply = send(tier, STRANGER, ["found@example.org"])
        assert code == 250, reply
        for name in ("alice", "bob"):
            tier.wait_stored(tier.user(name), again)
    finally:
        os.kill(slapd.pid, signal.SIGCONT)
        finish(tier)
