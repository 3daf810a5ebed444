"""The programs that are compared, each started privately on loopback with what it needs for the same job."""
import contextlib
import http.server
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import threading

from broken_off import signals_break_off
from measure import listens
from tier import STORE_PORTS, WELL_KNOWN, Tier, port_answers, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
BIN = os.environ.get("POSTERN_BIN", os.path.join(TOP, "build", "bin"))
TOOLS = os.environ.get("BENCH_TOOLS", os.path.join(TOP, "build", "opt", "bench"))
QUICK = bool(os.environ.get("QUICK"))
FREE_SECONDS = 90  # TIME-WAIT is 60


def port_free(port):
    """Could a program listen there? Where ports are given to clients as well, one that has gone keeps its port in TIME-WAIT."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            s.listen(1)
        except OSError:
            return False
    return True


class Contender:
    """A running program: the pid at the top of its processes, and the ports of what it offers. Should somebody else have a port,
    that program would do the work, and nothing would be measured here: so it is looked who answers."""

    def __init__(self, name, pid, **ports):
        self.name, self.pid, self.ports = name, pid, ports
        for port in ports.values():
            if not listens(pid, port):
                raise RuntimeError(f"{name}: process {pid} does not listen at port {port}, somebody else does (PORT_BASE chooses other ports)")


class Ground:
    """The tier's directory, certificates and Redis, the sink behind everybody, and the contenders."""

    def __init__(self, run_dir, stores=1, port_base=21000):
        port_base = int(os.environ.get("PORT_BASE") or port_base)
        self.tier = Tier(run_dir, port_base, BIN, stores)
        self.tier.users = self.tier.users[:1]
        self.tier.workers = 2
        self.tier.meter_rules = "".join(
            f"\trule {on} {{ on {on}; key {key}; rate 10000000/1s; burst 10000000; action defer; on_loss open; }}\n"
            for on, key in (("connect", "client/32"), ("auth", "client/32, user"), ("message", "sender")))
        self.next_port = port_base + 3000
        self.stops = []
        self.postfix_extra = ""  # lines of main.cf

    def port(self):
        self.next_port += 1
        while not port_free(self.next_port):
            self.next_port += 1
        return self.next_port

    def wait_for_ports(self, stores, services=WELL_KNOWN):
        """The tier's ports are fixed, and the run before may have left them to its clients, or to a program that drains."""
        ports = [self.tier.port_base + WELL_KNOWN[s] for s in services]
        ports += [self.tier.store_port(k, s) for k in stores for s in STORE_PORTS]
        wait_for(lambda: all(map(port_free, ports)), FREE_SECONDS, "ports of the run are taken (PORT_BASE chooses others)")

    def path(self, *parts):
        return self.tier.path(*parts)

    def folder(self, name):
        os.makedirs(self.path(name), exist_ok=True)
        return self.path(name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as f:
            f.write(text)
        return self.path(name)

    def prepare(self):
        """What benchmarks of the store alone need."""
        self.tier.write_all()

    def start(self):
        t = self.tier
        self.prepare()
        t.start_redis()
        self.sink_imap, self.sink_lmtp = t.store_port(1, "imap"), t.store_port(1, "lmtp")
        t.spawn("sink", [sys.executable, "-B", os.path.join(HERE, "sink.py"), str(self.sink_imap), str(self.sink_lmtp)])
        wait_for(lambda: port_answers(self.sink_lmtp), 20, "the sink")

    def stop(self):
        """The last started first; one that fails does not keep the others."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.tier.stop)
            for stop in self.stops:
                stack.callback(stop)

    # ---- ours ----
    def postern_mmp(self):
        p = self.tier.start_daemon("mmp", "postern")
        wait_for(lambda: port_answers(self.tier.port("imaps")), 20, "postern-mmp")
        return Contender("postern", p.pid, imap=self.tier.port("imap"), imaps=self.tier.port("imaps"))

    def postern_mmp_plain(self):
        """Passwords without TLS, as the peers are set up in the plaintext trial."""
        self.tier.mmp_listener_extra = "allow_plaintext_auth yes;"
        self.tier.write_configs()
        return self.postern_mmp()

    def postern_edge(self):
        p = self.tier.start_daemon("edge", "postern")
        wait_for(lambda: port_answers(self.tier.port("mx")), 20, "postern-edge")
        return Contender("postern", p.pid, smtp=self.tier.port("mx"))

    def null_milters(self, count):
        """Filters that do nothing; their ports."""
        ports = [self.port() for _ in range(count)]
        for i, port in enumerate(ports):
            self.tier.spawn(f"null_milter{i}", [os.path.join(TOOLS, "null_milter"), f"inet:{port}@127.0.0.1"])
            wait_for(lambda port=port: port_answers(port), 20, "null_milter")
        return ports

    def postern_filtered(self, milters, counts):
        """One edge with a listener for each number of filters: a contender each, with the same processes."""
        ports = {n: self.port() for n in counts}
        extra = "".join(f"\tlistener m{n} {{ address 127.0.0.1:{p}; role mx; tls none; }}\n" for n, p in ports.items())
        for i, port in enumerate(milters):
            names = ", ".join(f"m{n}" for n in counts if n > i)
            extra += f"\tmilter f{i} {{ address 127.0.0.1:{port}; listeners {names}; }}\n"
        self.tier.edge_extra += extra
        self.tier.write_configs()
        whole = self.postern_edge()
        return [Contender(f"postern, {n}", whole.pid, smtp=p) for n, p in ports.items()]

    def postfix_filtered(self, milters, counts):
        """The same with Postfix: an smtpd service for each number of filters."""
        ports = {n: self.port() for n in counts}
        more = "".join(f"127.0.0.1:{p} inet n - n - - smtpd\n  -o smtpd_milters=" +
                       ",".join(f"inet:127.0.0.1:{m}" for m in milters[:n]) + "\n" for n, p in ports.items())
        whole = self.postfix(more)
        return [Contender(f"postfix, {n}", whole.pid, smtp=p) for n, p in ports.items()]

    def postern_store(self):
        t = self.tier
        t.store_count = 2
        t.write_configs()
        self.wait_for_ports((2,), ())
        t.start_store(2)
        return Contender("postern", t.processes["store2"].pid, lmtp=t.store_port(2, "lmtp"), imap=t.store_port(2, "imap"))

    # ---- peers ----
    def dovecot_proxy(self):
        """Its high-performance mode: few login processes that stay. "If you set service_count=0, you probably need to grow"
        vsz_limit, says its own sample: the 256 MiB of address space that are its default end a process with 3,000 TLS sessions."""
        base, imap, imaps = self.folder("dovecot-proxy"), self.port(), self.port()
        tls = self.path("tls")
        config = self.write("dovecot-proxy/dovecot.conf", f"""
base_dir = {base}/run
state_dir = {base}/run
log_path = {base}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl_cert = <{tls}/chain.pem
ssl_key = <{tls}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain
passdb {{
  driver = static
  args = proxy=y nopassword=y host=127.0.0.1 port={self.sink_imap}
}}
service imap-login {{
  service_count = 0
  process_min_avail = 2
  process_limit = 2
  client_limit = 20000
  vsz_limit = 2G
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
""")
        p = self.tier.spawn("dovecot-proxy", ["dovecot", "-F", "-c", config])
        wait_for(lambda: port_answers(imap), 30, "Dovecot's proxy")
        return Contender("dovecot proxy", p.pid, imap=imap, imaps=imaps)

    def nginx_mail(self):
        base, imap, imaps, http_port = self.folder("nginx"), self.port(), self.port(), self.port()
        sink, tls = self.sink_imap, self.path("tls")

        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.send_response(200)
                for name, value in (("Auth-Status", "OK"), ("Auth-Server", "127.0.0.1"), ("Auth-Port", str(sink)),
                                    ("Content-Length", "0")):
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *args):
                pass
        http.server.ThreadingHTTPServer.request_queue_size = 1024
        server = http.server.ThreadingHTTPServer(("127.0.0.1", http_port), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.stops += [server.server_close, server.shutdown]
        config = self.write("nginx/nginx.conf", f"""
load_module /usr/lib/nginx/modules/ngx_mail_module.so;
daemon off;
worker_processes 2;
pid {base}/pid;
error_log {base}/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
mail {{
  auth_http 127.0.0.1:{http_port}/;
  ssl_certificate {tls}/chain.pem;
  ssl_certificate_key {tls}/key.pem;
  ssl_protocols TLSv1.2 TLSv1.3;
  timeout 1h;
  server {{ listen 127.0.0.1:{imap}; protocol imap; }}
  server {{ listen 127.0.0.1:{imaps} ssl; protocol imap; }}
}}
""")
        p = self.tier.spawn("nginx", ["nginx", "-c", config, "-p", base])
        wait_for(lambda: port_answers(imap), 30, "nginx")
        return Contender("nginx mail", p.pid, imap=imap, imaps=imaps)

    def haproxy_tcp(self):
        """TLS ends there, nothing is parsed: cheaper than any program that reads the login could be."""
        base, imap, imaps, tls = self.folder("haproxy"), self.port(), self.port(), self.path("tls")
        with open(f"{tls}/chain.pem", encoding="ascii") as chain, open(f"{tls}/key.pem", encoding="ascii") as key:
            pem = self.write("haproxy/both.pem", chain.read() + key.read())
        config = self.write("haproxy/haproxy.cfg", f"""
global
  nbthread 2
  maxconn 7800
  tune.ssl.default-dh-param 2048
defaults
  mode tcp
  option splice-auto
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  maxconn 7700
frontend plain
  bind 127.0.0.1:{imap}
  default_backend sink
frontend secure
  bind 127.0.0.1:{imaps} ssl crt {pem} ssl-min-ver TLSv1.2
  default_backend sink
backend sink
  server s1 127.0.0.1:{self.sink_imap}
""")
        p = self.tier.spawn("haproxy", ["haproxy", "-db", "-f", config])
        wait_for(lambda: port_answers(imap), 30, "HAProxy")
        return Contender("haproxy tcp", p.pid, imap=imap, imaps=imaps)

    def postfix(self, more_services="", start_in=()):
        """start_in: a command that starts it by its last arguments."""
        base, smtp = self.folder("postfix"), self.port()
        os.makedirs(f"{base}/queue/pid", exist_ok=True)
        for name in ("queue", "data"):
            os.makedirs(f"{base}/{name}", exist_ok=True)
        owner = pwd.getpwnam("postfix")
        os.chown(f"{base}/data", owner.pw_uid, owner.pw_gid)
        domains = ", ".join(sorted({u["domain"] for u in self.tier.users}))
        self.write("postfix/main.cf", f"""
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
myhostname = {self.tier.hostname}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 192.0.2.1/32
alias_maps =
virtual_mailbox_domains = {domains}
virtual_transport = lmtp:inet:127.0.0.1:{self.sink_lmtp}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_client_connection_count_limit = 0
maillog_file = {base}/log
maillog_file_prefixes = {base}
{self.postfix_extra}
""")
        services = [("smtp", "inet", "n", "smtpd"), ("cleanup", "unix", "n", "cleanup"), ("qmgr", "unix", "n", "qmgr"),
                    ("rewrite", "unix", "-", "trivial-rewrite"), ("bounce", "unix", "-", "bounce"),
                    ("defer", "unix", "-", "bounce"), ("lmtp", "unix", "-", "lmtp"), ("anvil", "unix", "-", "anvil"),
                    ("scache", "unix", "-", "scache"), ("error", "unix", "-", "error"), ("smtpx", "unix", "-", "smtp"),
                    ("proxymap", "unix", "-", "proxymap"), ("tlsmgr", "unix", "-", "tlsmgr"), ("flush", "unix", "n", "flush"),
                    ("showq", "unix", "n", "showq"), ("postlog", "unix-dgram", "n", "postlogd")]
        lines = []
        for name, kind, private, program in services:
            place = f"127.0.0.1:{smtp}" if name == "smtp" else name
            wake, most = {"qmgr": ("300", "1"), "tlsmgr": ("1000?", "1"), "flush": ("1000?", "0"),
                          "cleanup": ("-", "0"), "bounce": ("-", "0"), "defer": ("-", "0"),
                          "postlog": ("-", "1"), "anvil": ("-", "1"), "scache": ("-", "1")}.get(name, ("-", "-"))
            lines.append(f"{place} {kind} {private} - n {wake} {most} {program}")
        self.write("postfix/master.cf", "\n".join(lines) + "\n" + more_services)
        self.stops.append(lambda: subprocess.run(["postfix", "-c", base, "stop"], check=False, timeout=60, capture_output=True))
        subprocess.run([*start_in, "postfix", "-c", base, "start"], check=True, timeout=60, capture_output=True)
        with open(f"{base}/queue/pid/master.pid", encoding="ascii") as f:
            pid = int(f.read())
        wait_for(lambda: port_answers(smtp), 30, "Postfix")
        return Contender("postfix", pid, smtp=smtp)

    def dovecot_store(self, mail_format="sdbox"):
        """sdbox: the fastest of Dovecot's formats that keeps what it acknowledged. All else as Dovecot's defaults, so
        mail_fsync is "optimized": a message is synced before its 250, the index is not."""
        name = f"dovecot-{mail_format}"
        base, lmtp, imap = self.folder(name), self.port(), self.port()
        mail = pwd.getpwnam("mail")
        os.makedirs(f"{base}/mail", exist_ok=True)
        os.chown(f"{base}/mail", mail.pw_uid, mail.pw_gid)
        config = self.write(f"{name}/dovecot.conf", f"""
base_dir = {base}/run
state_dir = {base}/run
log_path = {base}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
first_valid_gid = 1
import_environment = $import_environment LD_PRELOAD POSTERN_SYNC_COUNT
mail_location = {mail_format}:~/{mail_format}
userdb {{
  driver = static
  args = uid={mail.pw_uid} gid={mail.pw_gid} home={base}/mail/%u allow_all_users=yes
}}
passdb {{
  driver = static
  args = nopassword=y
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
}}
service lmtp {{
  process_min_avail = 2
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@example.org
}}
""")
        p = self.tier.spawn(name, ["dovecot", "-F", "-c", config])
        wait_for(lambda: port_answers(lmtp), 30, "Dovecot's LMTP")
        wait_for(lambda: port_answers(imap), 30, "Dovecot's IMAP")
        return Contender(f"dovecot {mail_format}", p.pid, lmtp=lmtp, imap=imap)

    def dovecot_mdbox(self):
        return self.dovecot_store("mdbox")

    def cyrus_store(self):
        """As the tests set it up, without anonymous logins; a message and its index are synced before the 250."""
        sys.path.append(os.path.join(TOP, "tests", "system"))
        from cyrus import start_cyrus  # pylint: disable=import-outside-toplevel
        t, user = self.tier, self.tier.users[0]
        t.store_count = max(t.store_count, 3)
        self.wait_for_ports((3,), ())
        start_cyrus(t, 3, self.port(), [(user["name"], user["domain"], user["password"])])
        return Contender("cyrus", t.processes["cyrus3"].pid, lmtp=t.store_port(3, "lmtp"), imap=t.store_port(3, "imap"))


@contextlib.contextmanager
def ground_of(make=Ground, where=None):
    """What make(run_dir) gives, in a folder of its own; everything ends and the folder goes with the block, also when a signal
    ends it."""
    with signals_break_off() as state, tempfile.TemporaryDirectory(prefix="postern-bench-", dir=where) as folder:
        os.chmod(folder, 0o755)
        ground = make(os.path.join(folder, "t"))
        ground.wait_for_ports(range(1, ground.tier.store_count + 1))
        try:
            yield ground
        finally:
            state.ending = True
            ground.stop()
