"""Small clients the tests share: send by SMTP, read by IMAP and POP3, always bounded in time."""
import imaplib
import poplib
import random
import smtplib
import string
import uuid

from tier import wait_for

TRACE = (b"received", b"return-path", b"delivered-to", b"x-original-to", b"x-cyrus-session-id", b"x-sieve")


def new_token():
    return uuid.uuid4().hex[:16]


def message(token, sender, recipients, size=200, seed=0):
    """Bytes with CRLF line ends; awkward lines (dots, long, empty, 8-bit) are part of the body."""
    rng = random.Random(f"{token}{seed}")
    head = (f"From: <{sender}>\r\nTo: {', '.join(recipients)}\r\nSubject: test {token}\r\n"
            f"Date: Tue, 24 Nov 2026 00:00:00 +0000\r\nMessage-ID: <{token}@test.example>\r\n\r\n")
    lines = [".", "..", ".leading dot", "", "From the start", "\u00e4\u00f6\u00fc", "x" * 900, "", "."]
    size_now = sum(len(line) + 2 for line in lines)
    while size_now < size:
        line = "".join(rng.choices(string.ascii_letters + " .", k=rng.randrange(1, 76)))
        lines.append(line)
        size_now += len(line) + 2
    return head.encode() + "\r\n".join(lines).encode() + b"\r\n"


def tls_not_required(text):
    """The message with the field of RFC 8689."""
    return b"TLS-Required: (it is no secret) No\r\n" + text


def smtp(tier, service="mx", tls=False, user=None):
    port = tier.port(service)
    if service == "submissions":
        s = smtplib.SMTP_SSL("localhost", port, context=tier.tls_context(), timeout=60, local_hostname="client.example")
    else:
        s = smtplib.SMTP("localhost", port, timeout=60, local_hostname="client.example")
        if tls or user is not None:
            s.starttls(context=tier.tls_context())
    if user is not None:
        s.login(user["address"], user["password"])
    return s


def send(tier, sender, recipients, text, options=(), **how):
    """Returns (code, reply) of the end of data; raises when no recipient was taken. options: of MAIL."""
    with smtp(tier, **how) as s:
        s.ehlo_or_helo_if_needed()
        code, reply = s.mail(sender, ["BODY=8BITMIME", *options])
        if code == 250:
            taken = [s.rcpt(r) for r in recipients]
            if any(c == 250 for c, _ in taken):
                return s.data(text)
            return taken[0]
        return code, reply


def imap(tier, user, port=None, tls=True):
    port = port or tier.port("imaps" if tls else "imap")
    if tls:
        c = imaplib.IMAP4_SSL("localhost", port, ssl_context=tier.tls_context(), timeout=60)
    else:
        c = imaplib.IMAP4("localhost", port, timeout=60)
        c.starttls(tier.tls_context())
    c.login(user["address"], user["password"])
    return c


def imap_bodies(tier, user, token, mailbox="INBOX"):
    """Every message whose subject has the token, as bytes."""
    with imap(tier, user) as c:
        c.select(mailbox, readonly=True)
        numbers = c.search(None, "SUBJECT", token)[1][0].split()
        return [c.fetch(n, "(BODY.PEEK[])")[1][0][1] for n in numbers]


def imap_wait(tier, user, token, count=1, seconds=30):
    def enough():
        try:
            found = imap_bodies(tier, user, token)
        except imaplib.IMAP4.error as error:
            if "UNAVAILABLE" not in str(error):  # a store that has just come back
                raise
            return None
        return found if len(found) >= count else None
    return wait_for(enough, seconds, f"{count} message(s) {token} for {user['address']}")


def pop3(tier, user):
    c = poplib.POP3_SSL("localhost", tier.port("pop3s"), context=tier.tls_context(), timeout=60)
    c.user(user["address"])
    c.pass_(user["password"])
    return c


def pop3_bodies(tier, user, token):
    c = pop3(tier, user)
    try:
        found = []
        for n in range(1, c.stat()[0] + 1):
            text = b"\r\n".join(c.retr(n)[1]) + b"\r\n"
            if token.encode() in text:
                found.append(text)
        return found
    finally:
        c.quit()


def original(stored):
    """The message as it was sent: without the trace fields that the tier put on top."""
    while stored.split(b":", 1)[0].lower() in TRACE:
        end = stored.index(b"\r\n") + 2
        while stored[end:end + 1] in (b" ", b"\t"):
            end = stored.index(b"\r\n", end) + 2
        stored = stored[end:]
    return stored
