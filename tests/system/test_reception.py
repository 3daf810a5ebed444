"""What the front door takes and how it goes on: BINARYMIME, REQUIRETLS, XFORWARD, certificates that relay."""
import email
import hashlib
import random
import smtplib
import socket
import socketserver
import ssl
import subprocess
import threading

import pytest

import mail
from conftest import finish, free_port
from test_dane import A, MX, Zone, wire
from test_edge import SENDER, relaying_edge
from tier import wait_for


class TlsRelay(socketserver.StreamRequestHandler):
    """A next hop with STARTTLS; what it offers behind it stands in server.offers."""

    def handle(self):
        try:
            self.talk()
        except OSError:
            pass
        finally:
            self.connection.close()

    def talk(self):
        self.server.greeted += 1
        self.server.open.append(self.connection)
        self.wfile.write(b"220 relay\r\n")
        secure = False
        for line in iter(lambda: self.rfile.readline(), b""):  # STARTTLS makes another rfile
            verb = line[:4].upper()
            if verb == b"EHLO":
                words = self.server.offers if secure else [b"STARTTLS"]
                lines = [b"relay", *words]
                self.wfile.write(b"".join(b"250-%s\r\n" % w for w in lines[:-1]) + b"250 " + lines[-1] + b"\r\n")
            elif verb == b"STAR":
                self.wfile.write(b"220 go\r\n")
                self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
                self.rfile = self.connection.makefile("rb")
                self.wfile = socketserver._SocketWriter(self.connection)
                self.server.open.append(self.connection)
                secure = True
            elif verb == b"DATA":
                self.wfile.write(b"354 go\r\n")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.taken.append((self.server.mail_line, secure, text))
                self.wfile.write(b"250 done\r\n")
                return  # the next mail hears anew what is offered
            elif verb == b"QUIT":
                return
            elif verb == b"RCPT" and b"<bad@" in line:
                self.wfile.write(b"550 5.1.1 no\r\n")
                self.rfile.readline()
                return
            else:
                if verb == b"MAIL":
                    self.server.mail_line = line
                self.wfile.write(b"250 ok\r\n")


# ---- relaying by certificate ----

def make_client(tier, name, subject, signed):
    """A client's certificate and key, signed by the tier's authority or by itself; the pin of its key."""
    key, cert = tier.path("tls", f"{name}.key"), tier.path("tls", f"{name}.pem")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={subject}", "-keyout", key]
    if signed:
        tier.openssl("req", *new, "-out", cert + ".csr")
        tier.openssl("x509", "-req", "-in", cert + ".csr", "-CA", tier.ca_file, "-CAkey", tier.path("tls", "ca.key"),
                     "-CAcreateserial", "-days", "2", "-out", cert)
    else:
        tier.openssl("req", "-x509", *new, "-days", "2", "-out", cert)
    public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True)
    return hashlib.sha256(public.stdout).hexdigest()


def relayed_with(edge, client, port=None, before=None):
    """The reply to RCPT of a stranger's recipient elsewhere, from a client that shows this certificate."""
    context = edge.tls_context()
    if client is not None:
        context.load_cert_chain(edge.path("tls", f"{client}.pem"), edge.path("tls", f"{client}.key"))
    with smtplib.SMTP("localhost", port or edge.certs, timeout=30, local_hostname="client.example") as s:
        s.starttls(context=context)
        s.ehlo()
        if before is not None:
            assert s.docmd(before)[0] == 220
            s.ehlo()
        s.mail(SENDER)
        return s.rcpt("good@far.example")[0]


@pytest.mark.parametrize("client,code", [("pinned", 250), ("unpinned", 550), ("named", 250), ("other", 550), ("pretender", 550),
                                         (None, 550)])
def test_relay_by_certificate(edge, client, code):
    assert relayed_with(edge, client) == code
    assert relayed_with(edge, client, edge.port("mx")) == 550  # there nobody is asked for one


def test_a_certificate_is_not_its_clients(edge):
    """A host of our own that speaks for a client does not lend it its certificate."""
    assert relayed_with(edge, "pinned", before="XCLIENT ADDR=198.51.100.7") == 550


def offer(edge, words):
    """What the next hop offers from now on: connections that know something else are over."""
    edge.relay.offers = words
    while edge.relay.open:
        try:
            edge.relay.open.pop().shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def start_relay(tier, address, offers, name=None):
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer.daemon_threads = True
    server = socketserver.ThreadingTCPServer((address, tier.relay_port), TlsRelay)
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.context.load_cert_chain(tier.path("tls", f"{name or 'chain'}.pem"),
                                   tier.path("tls", f"{name}.key" if name else "key.pem"))
    server.taken, server.open, server.offers, server.mail_line, server.greeted = [], [], offers, b"", 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def edge(run_dir):
    tier = relaying_edge(run_dir, "reception", 1, "\tqueue_retry_max 4s;\n\tdead_backoff 2s;\n"
                         "\taccess watched { sender watched.example; action hold; text \"for a look\"; }\n"
                         "\taccess bob { sender far.example; recipient bob@example.org; action hold; }\n")
    tier.write_all()
    pin = make_client(tier, "pinned", "anybody", False)
    make_client(tier, "unpinned", "anybody", False)
    make_client(tier, "named", "printer.example.org", True)
    make_client(tier, "other", "scanner.example.org", True)
    make_client(tier, "pretender", "printer.example.org", False)
    tier.certs = free_port()
    colons = ":".join(pin[i:i + 2].upper() for i in range(0, 64, 2))
    tier.edge_extra += (f"\trelay_ca {tier.ca_file};\n\tlistener certs {{ address 127.0.0.1:{tier.certs}; role internal; "
                        f"relay_keys \"{colons}\"; relay_names printer.example.org; xclient_from 127.0.0.1/32; }}\n")
    tier.start()
    server = tier.relay = start_relay(tier, "127.0.0.1", [b"8BITMIME"])
    yield tier
    server.shutdown()
    server.server_close()
    finish(tier)


def relayed(edge, token):
    def there():
        return [t for t in list(edge.relay.taken) if token.encode() in t[2]]
    return wait_for(there, 20, "the relayed message")


# ---- BINARYMIME ----

def binary_message(token, payload):
    return (b"From: <visitor@elsewhere.example>\r\nTo: <alice@example.org>\r\nSubject: test " + token.encode() +
            b"\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"x y\"\r\n"
            b"Content-Transfer-Encoding: binary\r\n\r\n--x y\r\n\r\nplain text\r\n--x y\r\n"
            b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n" + payload +
            b"\r\n--x y--\r\n")


def send_chunks(s, sender, to, text, chunk):
    assert s.mail(sender, ["BODY=BINARYMIME"])[0] == 250
    for address in to:
        assert s.rcpt(address)[0] == 250
    code, reply = 250, b""
    for at in range(0, len(text), chunk):
        piece = text[at:at + chunk]
        s.send(b"BDAT %d%s\r\n" % (len(piece), b" LAST" if at + chunk >= len(text) else b"") + piece)
        code, reply = s.getreply()
    return code, reply


@pytest.mark.parametrize("size,chunk", [(1000, 97), (700_000, 50_000)])
def test_binary_parts_become_base64(edge, size, chunk):
    """At a store and at a next hop, neither of which knows BINARYMIME, the part has its bytes."""
    alice, token = edge.user("alice"), mail.new_token()
    rng = random.Random(size)
    payload = b"\n.\r\n.\n\r\0\r--x\n--x y\n\r\r\n" + rng.randbytes(size) + b"\r\n\n\r"
    with mail.smtp(edge, service="submission", user=alice) as s:
        s.ehlo()
        assert s.has_extn("binarymime") and s.has_extn("chunking")
        code, reply = send_chunks(s, alice["address"], [alice["address"], "good@far.example"],
                                  binary_message(token, payload), chunk)
        assert code == 250, reply
    texts = [*edge.wait_stored(alice, token), *[t[2] for t in relayed(edge, token)]]
    assert len(texts) == 2
    for text in texts:
        got = email.message_from_bytes(text)
        first, second = got.get_payload()
        assert got["Content-Transfer-Encoding"] == "8bit"
        assert first.get_payload().strip() == "plain text"
        assert second["Content-Transfer-Encoding"] == "base64"
        assert second.get_payload(decode=True) == payload


def test_binary_mail_that_breaks_its_word(edge):
    for text, code in ((b"Subject: a\nb: c\r\n\r\nx\r\n", 550), (b"Subject: a\r\n\r\nx\ny\r\n", 550),
                       (b"Content-Type: multipart/mixed\r\n\r\nx\r\n", 554)):
        with mail.smtp(edge) as s:
            s.ehlo()
            assert send_chunks(s, SENDER, ["alice@example.org"], text, 1000)[0] == code


# ---- REQUIRETLS ----

def send_required(edge, to, words=("REQUIRETLS",), change=lambda text: text):
    alice, token = edge.user("alice"), mail.new_token()
    with mail.smtp(edge, service="submission", user=alice) as s:
        s.ehlo()
        assert s.has_extn("requiretls")
        assert s.mail(alice["address"], words)[0] == 250
        assert s.rcpt(to)[0] == 250
        code, reply = s.data(change(mail.message(token, alice["address"], [to])))
        assert code == 250, reply
    return token


def test_requiretls_is_offered_under_tls_only(edge):
    with mail.smtp(edge) as s:
        s.ehlo()
        assert not s.has_extn("requiretls")
        assert s.mail(SENDER, ["REQUIRETLS"])[0] == 555
        s.starttls(context=edge.tls_context())
        s.ehlo()
        assert s.has_extn("requiretls")
        assert s.mail(SENDER, ["REQUIRETLS=1"])[0] == 501
        assert s.mail(SENDER, ["REQUIRETLS"])[0] == 250


def test_requiretls_goes_on(edge):
    offer(edge, [b"8BITMIME", b"REQUIRETLS"])
    token = send_required(edge, "good@far.example")
    (line, secure, _), = relayed(edge, token)
    assert b" REQUIRETLS" in line and secure


def test_requiretls_does_not_go_where_nobody_knows_it(edge):
    offer(edge, [b"8BITMIME"])
    token = send_required(edge, "good@far.example")
    notice, = edge.wait_stored(edge.user("alice"), token)
    assert b"Status: 5.7.30" in notice
    assert not any(token.encode() in t for _, _, t in edge.relay.taken)


@pytest.mark.parametrize("offers", [[b"8BITMIME", b"REQUIRETLS"], [b"8BITMIME"]])
def test_a_report_carries_the_wish(edge, offers):
    """RFC 8689 section 5: with the wish where it is known, under TLS in any case, and never the whole message."""
    token, far = mail.new_token(), "s@elsewhere.example"
    offer(edge, offers)
    context = edge.tls_context()
    context.load_cert_chain(edge.path("tls", "named.pem"), edge.path("tls", "named.key"))
    with smtplib.SMTP("localhost", edge.certs, timeout=30, local_hostname="printer.example.org") as s:
        s.starttls(context=context)
        s.ehlo()
        assert s.mail(far, ["REQUIRETLS"])[0] == 250
        assert s.rcpt("bad@far.example")[0] == 250
        assert s.data(mail.message(token, far, ["bad@far.example"]))[0] == 250

    def told():
        return [t for t in list(edge.relay.taken) if token.encode() in t[2] and b"<>" in t[0]]
    (line, secure, text), = wait_for(told, 20, "the report")
    assert secure and (b" REQUIRETLS" in line) == (b"REQUIRETLS" in offers)
    assert b"message/rfc822" not in text and b"text/rfc822-headers" in text


@pytest.mark.parametrize("words,field", [([], "No"), (["REQUIRETLS"], None)])
def test_a_report_says_that_tls_is_not_required(edge, words, field):
    """As the message did (RFC 8689 section 5), but REQUIRETLS stands above that."""
    offer(edge, [b"8BITMIME", b"REQUIRETLS"])
    token = send_required(edge, "bad@far.example", words, mail.tls_not_required)
    notice, = edge.wait_stored(edge.user("alice"), token)
    assert email.message_from_bytes(notice)["TLS-Required"] == field
    assert b"TLS-Required: (it is no secret) No" in notice  # the message that came back


def test_requiretls_to_a_store_on_this_host(edge):
    token = send_required(edge, "bob@example.org")
    assert edge.wait_stored(edge.user("bob"), token)


# ---- access rules ----

def test_a_rule_holds_mail_until_it_is_released(edge):
    token, alice = mail.new_token(), edge.user("alice")
    text = mail.message(token, "a@watched.example", [alice["address"]])
    code, reply = mail.send(edge, "a@watched.example", [alice["address"]], text)
    assert code == 250, reply

    def held():
        listed = edge.postern("queue", "list", "state=held").stdout
        return alice["address"] in listed and "access rule watched: for a look" in listed
    wait_for(held, 20, "held in the queue, with the reason")
    assert edge.having(alice, token) == []
    assert edge.postern("queue", "release", "all").returncode == 0
    stored, = edge.wait_stored(alice, token)
    assert mail.original(stored) == text


def test_a_rule_holds_one_recipients_copy(edge):
    """The others have theirs at once."""
    token, alice, bob = mail.new_token(), edge.user("alice"), edge.user("bob")
    to = [alice["address"], bob["address"]]
    text = mail.message(token, "a@far.example", to)
    code, reply = mail.send(edge, "a@far.example", to, text)
    assert code == 250, reply
    edge.wait_stored(alice, token)
    assert edge.having(bob, token) == []
    wait_for(lambda: bob["address"] in edge.postern("queue", "list", "state=held").stdout, 20, "held")
    assert edge.postern("queue", "release", f"recipient={bob['address']}").returncode == 0
    stored, = edge.wait_stored(bob, token)
    assert mail.original(stored) == text


# ---- header sections that hide something ----

@pytest.mark.parametrize("fields,code", [
    (["X-A: 1"] * 1900, 250), (["X-A: 1"] * 2100, 552), (["X-A: " + "a" * 900] * 200, 250), (["X-A: " + "a" * 900] * 400, 552),
    (["X-A: 1" + "\r\n " + "a" * 900] * 400, 552),
    # what is looked at (256 KiB) ends before, within and behind the mark's name
    *((["X-A: " + "a" * 993] * 260 + ["X-A: " + "a" * (2110 - d)], 552) for d in (0, 6, 14))])
def test_no_field_hides_behind_many(edge, fields, code):
    """What is not looked through is not taken: a mark of ours could stand there."""
    alice, token = edge.user("alice"), mail.new_token()
    text = "\r\n".join([f"Subject: {token}", *fields, "X-Postern-Tag: forged", "", "hello", ""]).encode()
    assert mail.send(edge, "a@far.example", [alice["address"]], text)[0] == code
    if code == 250:
        stored, = edge.wait_stored(alice, token)
        assert b"X-Postern-Tag" not in stored and stored.count(b"X-A:") == len(fields)


# ---- mail exchangers that differ ----

def test_requiretls_goes_to_the_exchanger_that_knows_it(run_dir, edge):
    """The first one does not offer it, the second does."""
    tier = relaying_edge(run_dir, "exchangers", 1, "")
    tier.write_all()
    dns = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Zone)
    dns.signed = ["far.example"]
    dns.records = {("far.example", MX): [b"\0\12" + wire("one.far.example"), b"\0\24" + wire("two.far.example")],
                   ("one.far.example", A): [socket.inet_aton("127.0.0.1")], ("two.far.example", A): [socket.inet_aton("127.0.0.2")]}
    threading.Thread(target=dns.serve_forever, daemon=True).start()
    tier.root_extra = f"dns_servers 127.0.0.1:{dns.server_address[1]};\n"
    tier.edge_extra = f"\trelay_port {tier.relay_port};\n\tqueue_retry_first 1h;\n"
    tier.edge_listener_extra = "relay_from 127.0.0.1/32;"
    with open(tier.path("tls", "far.ext"), "w", encoding="ascii") as f:
        f.write("subjectAltName=DNS:one.far.example,DNS:two.far.example\nbasicConstraints=CA:FALSE\n")
    tier.make_pair(tier.path("tls", "far.pem"), tier.path("tls", "far.key"), names="far.ext")
    tier.write_configs()
    hops = [start_relay(tier, address, offers, "far") for address, offers in (
        ("127.0.0.1", [b"8BITMIME"]), ("127.0.0.2", [b"8BITMIME", b"REQUIRETLS"]))]
    tier.start_edge()
    try:
        tier.relay = hops[1]
        token = send_required(tier, "good@far.example")
        (line, secure, _), = relayed(tier, token)
        assert b" REQUIRETLS" in line and secure
        assert hops[0].greeted > 0 and hops[0].taken == []
    finally:
        finish(tier)
        for hop in [*hops, dns]:
            hop.shutdown()
            hop.server_close()


# ---- priority ----

def test_priority_goes_on(edge):
    """MT-PRIORITY (RFC 6710) from users, or what the header says, to next hops that know it."""
    alice = edge.user("alice")
    offer(edge, [b"8BITMIME", b"MT-PRIORITY MIXER"])
    for params, field, told in ((["MT-PRIORITY=7"], "Priority: non-urgent", b"7"), (["MT-PRIORITY=-9"], "X-A: b", b"-9"),
                                ([], "X-Priority: 1 (Highest)", b"4"), ([], "Precedence: bulk", b"-4"), ([], "Priority: normal", None),
                                (["MT-PRIORITY=0"], "Priority: urgent", None)):
        token = mail.new_token()
        with mail.smtp(edge, service="submission", user=alice) as s:
            s.ehlo()
            assert s.has_extn("mt-priority")
            assert s.mail(alice["address"], params)[0] == 250
            assert s.rcpt("good@far.example")[0] == 250
            assert s.data(field.encode() + b"\r\n" + mail.message(token, alice["address"], ["good@far.example"]))[0] == 250
        (line, _, _), = relayed(edge, token)
        assert (b" MT-PRIORITY=" in line) == (told is not None) and (told is None or b" MT-PRIORITY=" + told in line), (field, line)
    offer(edge, [b"8BITMIME"])
    token = mail.new_token()
    with mail.smtp(edge, service="submission", user=alice) as s:
        s.ehlo()
        for bad in ("MT-PRIORITY=10", "MT-PRIORITY", "MT-PRIORITY=+1"):
            assert s.mail(alice["address"], [bad])[0] == 501
        assert s.mail(alice["address"], ["MT-PRIORITY=3"])[0] == 250
        assert s.rcpt("good@far.example")[0] == 250
        assert s.data(mail.message(token, alice["address"], ["good@far.example"]))[0] == 250
    (line, _, _), = relayed(edge, token)
    assert b"MT-PRIORITY" not in line


def test_strangers_are_not_asked_how_urgent_they_are(edge):
    with mail.smtp(edge) as s:
        s.ehlo()
        assert not s.has_extn("mt-priority")
        assert s.mail(SENDER, ["MT-PRIORITY=9"])[0] == 555
