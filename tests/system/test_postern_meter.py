"""postern-meter beside a real Postfix: as a policy service and as a milter, with the same rules; Redis away, the
service killed, reloads."""
import os
import re
import signal
import smtplib
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

import peers
from conftest import TOP, free_port
from tier import children_of, port_answers, wait_for

RULES = """
	rule rcpts    { on rcpt; key client/32,64; rate 3/1h; on_loss open; }
	rule senders  { on mail; key sender; rate 3/1h; action refuse; on_loss closed; }
	rule messages { on message; key sender_domain; rate 4/1h; cost recipients; exempt 203.0.113.0/24; on_loss share; }
	rule bytes    { on message; key client/32; rate 20000/1h; cost bytes; on_loss open; }
	rule sessions { on connect; kind concurrency; key client/32,64; limit 2; exempt 127.0.0.0/24; on_loss open; }
	rule knocks   { on connect; key client/24; rate 40/1h; action disconnect; exempt 127.0.0.0/24; on_loss open; }
	rule marked   { on mail; kind list; networks 198.51.100.0/24; action tag; tag newcomer; }
"""


SAMPLE = os.path.join(TOP, "conf", "example", "beside-postfix")
N = {"policy": 1, "milter": 2}  # the clients of each way are others


def sample_settings():
    """What the sample for Postfix sets."""
    text = re.sub(r"(?m)^#.*\n", "", open(os.path.join(SAMPLE, "main.cf"), encoding="ascii").read())
    return dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in re.sub(r"\n\s+", " ", text).split("\n") if line)


class Beside:
    """One Postfix with an smtpd for each way to ask, and the service."""

    def __init__(self, tier):
        self.tier = tier
        self.policy, self.milter, self.admin = free_port(), free_port(), free_port()
        self.ports = {name: free_port() for name in ("policy", "milter", "early", "lenient", "unix", "lenient_milter", "sample")}
        os.makedirs(tier.run_dir, mode=0o755, exist_ok=True)

    def write(self, rules=RULES, settings=""):
        t = self.tier
        with open(t.config_file("meter"), "w", encoding="ascii") as f:
            f.write(f"run_dir {t.path('meter-run')};\nadmin {{ meter 127.0.0.1:{self.admin}; }}\nmeter {{\n"
                    f"\tlistener postfix {{ address 127.0.0.1:{self.policy}, unix:{t.path('policy.sock')}; }}\n"
                    f"\tmilter 127.0.0.1:{self.milter};\n{settings}\n}}\n"
                    f"metermaid {{\n\tredis 127.0.0.1:{t.port('redis')};\n{rules}}}\n")

    def start(self):
        self.tier.start_redis()
        self.write()
        self.start_service()
        ask = f"check_policy_service inet:127.0.0.1:{self.policy}"
        easy = f"check_policy_service {{ inet:127.0.0.1:{self.policy}, default_action=DUNNO, timeout=5s, try_limit=1 }}"
        milter = f"inet:127.0.0.1:{self.milter}"
        peers.start_postfix_store(self.tier, {
            self.ports["policy"]: {"smtpd_recipient_restrictions": ask, "smtpd_end_of_data_restrictions": ask},
            self.ports["unix"]: {"smtpd_recipient_restrictions": f"check_policy_service unix:{self.tier.path('policy.sock')}"},
            self.ports["sample"]: {name: value.replace("unix:private/postern", f"unix:{self.tier.path('policy.sock')}")
                                   for name, value in sample_settings().items()},
            self.ports["early"]: {"smtpd_delay_reject": "no", "smtpd_client_restrictions": ask},
            self.ports["lenient"]: {"smtpd_recipient_restrictions": easy},
            self.ports["milter"]: {"smtpd_milters": milter},
            self.ports["lenient_milter"]: {"smtpd_milters": milter, "milter_default_action": "accept"},
        })

    def start_service(self):
        self.tier.start_daemon("meter", "meter")
        wait_for(lambda: port_answers(self.policy) and port_answers(self.milter), 20, "postern-meter")
        wait_for(lambda: self.ready() == 200, 20, "Redis in postern-meter")

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/healthz/ready", timeout=5) as r:
                return r.status
        except urllib.error.HTTPError as e:
            return e.code

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as r:
            return r.read().decode()

    def worker(self, role):
        """The pid of a process of the service, from its log."""
        pids = re.findall(rf"worker\.started role={role} index=0 pid=(\d+)", self.tier.log("meter"))
        return int(pids[-1])

    def client(self, way, address):
        """A client whose address Postfix takes to be this one."""
        s = smtplib.SMTP("127.0.0.1", self.ports[way], timeout=30)
        s.ehlo("client.example")
        code, text = s.docmd("XCLIENT", f"ADDR={address} NAME=client.example")
        assert code == 220, (code, text)
        s.ehlo("client.example")
        return s


@pytest.fixture(scope="module")
def beside(new_tier):
    b = Beside(new_tier("beside", needs=("meter",)))
    b.start()
    return b


def send(s, sender, to, body="hello\r\n"):
    """The replies to MAIL, each RCPT, and the message; stops at a refused sender."""
    replies = [s.docmd("MAIL", f"FROM:<{sender}>")]
    if replies[0][0] != 250:
        return replies
    replies += [s.docmd("RCPT", f"TO:<{a}>") for a in to]
    if any(code == 250 for code, _ in replies[1:]):
        assert s.docmd("DATA")[0] == 354
        s.send(f"Subject: test\r\nFrom: {sender}\r\n\r\n{body}\r\n.\r\n".encode())
        replies.append(s.getreply())
    s.docmd("RSET")
    return replies


def codes(replies):
    return [code for code, _ in replies]


def refusal_is_logged(b, text):
    """The id of a refusal leads to the line that says everything."""
    rule, ident = re.search(r"limit (\S+) is reached.* \[(\w{18})\]", text.decode()).groups()
    line = wait_for(lambda: re.search(rf".*policy\.refused id={ident} .*", b.tier.log("meter")), 10, "the log line").group(0)
    assert f"rule={rule} " in line
    return rule, line


@pytest.mark.parametrize("way", ["policy", "unix", "milter", "sample"])
def test_recipients_are_counted(beside, way):
    address = {"policy": "192.0.2.1", "unix": "192.0.2.2", "milter": "192.0.2.3", "sample": "192.0.2.4"}[way]
    with beside.client(way, address) as s:
        got = send(s, f"a@{way}.example", [f"u{n}@example.org" for n in range(4)])
    assert codes(got)[:5] == [250, 250, 250, 250, 450], got
    rule, line = refusal_is_logged(beside, got[4][1])
    assert rule == "rcpts" and f"client={address} " in line and "recipient=u3@example.org" in line


@pytest.mark.parametrize("way", ["policy", "milter"])
def test_a_sender_is_counted_once_a_mail(beside, way):
    sender = f"b@{way}1.example"
    for n in range(3):
        with beside.client(way, f"203.0.113.{10 * n + N[way]}") as s:
            assert set(codes(send(s, sender, ["x@example.org", "y@example.org"]))) == {250}
    with beside.client(way, f"203.0.113.{40 + N[way]}") as s:
        got = send(s, sender, ["x@example.org"])
        assert got[-1][0] == 550 and b"5.7.1" in got[-1][1] and b"limit senders is reached [" in got[-1][1]
        assert set(codes(send(s, f"c@{way}1.example", ["x@example.org"]))) == {250}


@pytest.mark.parametrize("way", ["policy", "milter"])
def test_messages_cost_their_recipients(beside, way):
    with beside.client(way, f"192.0.2.{20 + N[way]}") as s:
        assert set(codes(send(s, f"d@{way}2.example", ["x@example.org", "y@example.org", "z@example.org"]))) == {250}
    with beside.client(way, f"192.0.2.{30 + N[way]}") as s:
        got = send(s, f"e@{way}2.example", ["x@example.org", "y@example.org"])
        assert codes(got) == [250, 250, 250, 451] and b"limit messages" in got[-1][1], got
        assert set(codes(send(s, f"e@{way}2.example", ["x@example.org"]))) == {250}


@pytest.mark.parametrize("way", ["policy", "milter"])
def test_bytes_are_counted(beside, way):
    with beside.client(way, f"203.0.113.{60 + N[way]}") as s:
        body = "x" * 70 + "\r\n"
        assert set(codes(send(s, f"f@{way}3.example", ["x@example.org"], body * 200))) == {250}
        got = send(s, f"f@{way}3.example", ["x@example.org"], body * 200)
        assert codes(got) == [250, 250, 451] and b"limit bytes" in got[-1][1], got


@pytest.mark.parametrize("way", ["policy", "milter"])
def test_a_tag_becomes_a_header_field(beside, way):
    with beside.client(way, f"198.51.100.{N[way]}") as s:
        assert set(codes(send(s, f"g@{way}4.example", ["tag@example.org", "tag2@example.org"]))) == {250}
    with beside.client(way, f"192.0.2.{40 + N[way]}") as s:
        assert set(codes(send(s, f"h@{way}4.example", ["tag@example.org"]))) == {250}

    def mails(sender):
        text = peers.postfix_mail(beside.tier)
        return [m for m in text.split("\nFrom ") if f"From: {sender}" in m]
    marked = wait_for(lambda: len(m := mails(f"g@{way}4.example")) == 2 and m, 20, "marked mail")
    assert all(m.count("X-Postern-Tag: newcomer") == 1 for m in marked), marked
    plain = wait_for(lambda: mails(f"h@{way}4.example"), 20, "plain mail")
    assert "X-Postern-Tag" not in plain[0]


def test_connections_are_counted_before_the_greeting(beside):
    """With smtpd_delay_reject = no."""
    def knock(address):
        s = smtplib.SMTP(timeout=30, source_address=(address, 0))
        code, text = s.connect("127.0.0.1", beside.ports["early"])
        s.close()
        return code, text
    got = [knock(f"127.0.1.{n + 1}") for n in range(41)]
    passed = codes(got).index(421)
    assert 36 <= passed <= 40 and b"limit knocks" in got[passed][1], got  # a hot key may lose 40 / 16
    assert knock("127.0.2.1")[0] == 220


def test_the_milter_holds_what_a_session_counts(beside):
    """Postfix tells a milter of a client anew after XCLIENT; the text comes with the first command that may have one."""
    first, second = (beside.client("milter", "192.0.2.50") for _ in range(2))
    s = smtplib.SMTP("127.0.0.1", beside.ports["milter"], timeout=30)
    s.ehlo("client.example")
    assert s.docmd("XCLIENT", "ADDR=192.0.2.50")[0] == 220
    s.docmd("EHLO", "client.example")
    code, text = s.docmd("MAIL", "FROM:<k@w.example>")
    assert code == 450 and b"limit sessions is reached" in text, (code, text)
    assert refusal_is_logged(beside, text)[0] == "sessions"
    first.quit()

    def again():
        with smtplib.SMTP("127.0.0.1", beside.ports["milter"], timeout=30) as third:
            third.ehlo("client.example")
            third.docmd("XCLIENT", "ADDR=192.0.2.50")
            third.docmd("EHLO", "client.example")
            return third.docmd("MAIL", "FROM:<k@w.example>")[0] == 250
    wait_for(again, 15, "the place of the session that ended")
    second.quit()
    s.close()


def test_a_reload_changes_rules(beside):
    t = beside.tier
    with beside.client("policy", "192.0.2.60") as s:
        assert codes(send(s, "i@r.example", [f"u{n}@example.org" for n in range(3)]))[:4] == [250] * 4
        beside.write(RULES.replace("rate 3/1h; on_loss open", "rate 1000/1h; on_loss open"))
        t.processes["meter"].send_signal(signal.SIGHUP)
        wait_for(lambda: "config.reloaded" in t.log("meter"), 10, "the reload")
        wait_for(lambda: codes(send(s, f"{time.monotonic()}@r.example", ["v@example.org"]))[1] == 250, 10, "the new limit")
    beside.write("\trule broken { on rcpt; }\n")
    t.processes["meter"].send_signal(signal.SIGHUP)
    wait_for(lambda: "config.refused" in t.log("meter"), 10, "the refusal")
    beside.write()
    t.processes["meter"].send_signal(signal.SIGHUP)
    wait_for(lambda: t.log("meter").count("config.reloaded") == 2, 10, "the second reload")


def test_the_operator_sees_it(beside):
    done = beside.tier.postern("meter", "show", "192.0.2.1", config="meter")
    assert done.returncode == 0 and "rcpts" in done.stdout, done
    text = beside.metrics()
    assert int(re.search(r"postern_policy_requests_total (\d+)", text).group(1)) > 20
    assert int(re.search(r"postern_policy_refused_total (\d+)", text).group(1)) > 3
    assert 'postern_meter_rule_over_total{rule="rcpts"}' in text
    assert beside.ready() == 200


def test_redis_away(beside):
    """Each rule's on_loss decides, in time; it comes back by itself."""
    t = beside.tier
    t.stop_process("redis")
    wait_for(lambda: beside.ready() != 200, 20, "the loss to be seen")
    for way in ("policy", "milter"):
        with beside.client(way, f"192.0.2.{70 + N[way]}") as s:
            got = send(s, "j@s.example", ["x@example.org"])
            assert got[-1][0] == 550 and b"limit senders" in got[-1][1], got  # closed
            assert s.docmd("EHLO", "client.example")[0] == 250  # open
    assert "degraded=yes" in t.log("meter")
    t.start_redis()
    wait_for(lambda: beside.ready() == 200, 20, "Redis again")
    with beside.client("policy", "192.0.2.80") as s:
        assert set(codes(send(s, "k@s.example", ["x@example.org"]))) == {250}


def wait_for_worker(beside, role, old):
    wait_for(lambda: beside.worker(role) != old, 20, f"a new {role}")


def test_killed_processes_are_replaced(beside):
    """Postfix asks a new process on the same socket; the milter finds the service again."""
    for role, way in (("service", "policy"), ("service", "milter"), ("milter", "milter")):
        old = beside.worker(role)
        os.kill(old, signal.SIGKILL)
        wait_for_worker(beside, role, old)
        wait_for(lambda: port_answers(beside.milter), 20, "the milter")

        def works():
            with beside.client(way, "203.0.113.99") as s:
                return set(codes(send(s, f"{role}-{way}@t.example", ["x@example.org"]))) == {250}
        wait_for(works, 20, f"mail by {way} after the {role} died")


def test_a_dead_service_is_a_setting(beside):
    """Postfix's own defaults defer; default_action and milter_default_action let mail pass."""
    t = beside.tier
    with beside.client("milter", "192.0.2.90") as s:  # a session that is under way
        os.kill(beside.worker("service"), signal.SIGSTOP)
        try:
            lenient = beside.client("lenient", "192.0.2.91")
            assert codes(send(lenient, "l@u.example", ["x@example.org"])) == [250, 250, 250]
            lenient.close()
        finally:
            os.kill(beside.worker("service"), signal.SIGCONT)
        assert set(codes(send(s, "m@u.example", ["x@example.org"]))) == {250}
    t.stop_process("meter")
    for way, want in (("policy", 451), ("lenient", 250), ("lenient_milter", 250)):
        with beside.client(way, "192.0.2.92") as s:
            assert send(s, "n@u.example", ["x@example.org"])[1][0] == want, way
    with smtplib.SMTP("127.0.0.1", beside.ports["milter"], timeout=30) as s:
        s.ehlo("client.example")
        assert s.docmd("MAIL", "FROM:<n@u.example>")[0] // 100 == 4
    beside.start_service()


def test_the_milter_without_its_service(beside):
    """milter_on_loss: 4xx as it stands, nothing with open."""
    t = beside.tier
    beside.write(RULES, "\tmilter_on_loss open; delay_max 0s;")
    t.processes["meter"].send_signal(signal.SIGHUP)
    wait_for(lambda: "config.reloaded" in t.log("meter")[-2000:], 10, "the reload")
    path = t.path("meter-run", "meter-milter.sock")
    os.rename(path, path + ".away")
    try:
        with beside.client("milter", "192.0.2.95") as s:
            assert set(codes(send(s, "o@v.example", ["x@example.org"]))) == {250}
        wait_for(lambda: "milter.lost" in t.log("meter"), 10, "the loss in the log")
        beside.write()
        reloads = t.log("meter").count("config.reloaded")
        t.processes["meter"].send_signal(signal.SIGHUP)
        wait_for(lambda: t.log("meter").count("config.reloaded") > reloads, 10, "the reload")

        def deferred():
            with smtplib.SMTP("127.0.0.1", beside.ports["milter"], timeout=30) as s:
                s.ehlo("client.example")
                return s.docmd("MAIL", "FROM:<p@v.example>")[0] // 100 == 4
        wait_for(deferred, 10, "4xx")
    finally:
        os.rename(path + ".away", path)
    with beside.client("milter", "192.0.2.96") as s:
        assert set(codes(send(s, "q@v.example", ["x@example.org"]))) == {250}
    wait_for(lambda: "milter.back" in t.log("meter"), 10, "the way back in the log")


def test_stray_peers_are_closed(beside):
    with socket.create_connection(("127.0.0.1", beside.policy), timeout=20) as s:
        s.sendall(b"EHLO x\r\n\r\n\n\n")
        assert s.recv(100) == b""
    wait_for(lambda: "policy.bad_request" in beside.tier.log("meter"), 10, "the log line")


def test_the_sample_is_a_configuration(beside):
    limits = beside.tier.path("limits.conf")
    with open(limits, "w", encoding="ascii") as f:
        f.write(f"meter {{ listener x {{ address 127.0.0.1:1; }} }}\ninclude {TOP}/conf/example/limits/limits.conf;\n")
    for config in (os.path.join(SAMPLE, "postern.conf"), beside.tier.config_file("meter"), limits):
        done = subprocess.run([os.path.join(beside.tier.bin_dir, "postern-meter"), "-t", "-c", config], check=False,
                              capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
    assert len(children_of(beside.tier.processes["meter"].pid)) == 2
