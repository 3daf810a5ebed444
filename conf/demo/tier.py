"""A small Postern tier on loopback: configuration, certificates, directory, processes.

Used by the demonstration (`make run`) and by the system tests. Everything lives below one run
directory; ports are port_base + the well-known port, store K adds 1000 * K. Only the standard library.
"""
import ctypes
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.request

DOMAINS = ("example.org", "example.net")
# name, domain, store
USERS = (
    ("alice", "example.org", 1),
    ("bob", "example.org", 2),
    ("carol", "example.net", 1),
    ("dave", "example.net", 2),
)
WELL_KNOWN = {"mx": 25, "submission": 587, "submissions": 465, "imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995,
              "redis": 6379, "admin": 80, "edge-admin": 81}
STORE_PORTS = {"lmtp": 24, "imap": 143, "pop3": 110}


def wait_for(condition, seconds, what):
    """Polls condition() until it is true; raises after `seconds`. Errors of connecting count as not yet."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    last = None
    while time.monotonic() < deadline:
        try:
            value = condition()
            if value:
                return value
        except (OSError, ValueError) as error:
            last = error
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    raise TimeoutError(f"{what}: not within {seconds} s ({last})")


def end_with_parent():
    """In the child, before exec: SIGTERM when the process that started it dies (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def port_answers(port):
    with socket.create_connection(("127.0.0.1", port), timeout=2):
        return True


class Tier:
    def __init__(self, run_dir, port_base, bin_dir, stores=2):
        self.run_dir = os.path.abspath(run_dir)
        self.port_base = port_base
        self.bin_dir = os.path.abspath(bin_dir)
        self.store_count = stores
        self.hostname = "mail.example.org"
        self.users = [dict(name=n, domain=d, store=s, address=f"{n}@{d}", password=f"{n}-demo") for n, d, s in USERS]
        self.processes = {}
        self.root_extra = ""
        self.tls_extra = ""
        self.mmp_extra = ""
        self.mmp_listener_extra = ""
        self.edge_extra = ""
        self.edge_listener_extra = ""
        self.store_extra = ""
        self.meter_rules = None
        self.meter_extra = ""  # in place of a Redis of the tier's own
        self.directory_block = None
        self.use_redis = True
        self.store_is_postern = True
        self.workers = 0
        self.drain_timeout = "5s"
        self.supervised = False

    # ---- names and places ----
    def path(self, *parts):
        return os.path.join(self.run_dir, *parts)

    def port(self, service):
        return self.port_base + WELL_KNOWN[service]

    def store_port(self, store, service):
        return self.port_base + 1000 * store + STORE_PORTS[service]

    @property
    def ca_file(self):
        return self.path("tls", "ca.pem")

    def tls_context(self):
        return ssl.create_default_context(cafile=self.ca_file)

    def user(self, name):
        return next(u for u in self.users if u["name"] == name)

    # ---- files ----
    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def make_certificates(self):
        os.makedirs(self.path("tls"), mode=0o755, exist_ok=True)
        if os.path.exists(self.ca_file):
            return
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        self.openssl("req", "-x509", *new_key, "-days", "30", "-subj", "/CN=Postern demonstration CA",
                     "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                     "-keyout", self.path("tls", "ca.key"), "-out", self.ca_file)
        with open(self.path("tls", "leaf.ext"), "w", encoding="ascii") as f:
            f.write(f"subjectAltName=DNS:{self.hostname},DNS:localhost,IP:127.0.0.1\n"
                    "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n")
        self.make_pair(self.path("tls", "chain.pem"), self.path("tls", "key.pem"))

    def make_pair(self, chain, key, days=30, names="leaf.ext"):
        """A certificate of the demonstration's authority and its key; names: a file of extensions below tls."""
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-subj", f"/CN={self.hostname}", "-keyout", key, "-out", self.path("tls", "leaf.csr"))
        self.openssl("x509", "-req", "-in", self.path("tls", "leaf.csr"), "-CA", self.ca_file,
                     "-CAkey", self.path("tls", "ca.key"), "-CAcreateserial", "-days", str(days),
                     "-extfile", self.path("tls", names), "-out", chain)

    def store_entry(self, store):
        lines = [f"dn: cn=store{store},ou=stores,dc=postern", "objectClass: top", "objectClass: posternStore",
                 f"cn: store{store}", "posternStoreHost: 127.0.0.1",
                 f"posternStoreImapPort: {self.store_port(store, 'imap')}",
                 f"posternStorePop3Port: {self.store_port(store, 'pop3')}",
                 f"posternStoreLmtpPort: {self.store_port(store, 'lmtp')}"]
        return "\n".join(lines) + "\n"

    def user_entry(self, user):
        lines = [f"dn: uid={user['name']},ou=people,dc={user['domain'].split('.')[0]}-{user['domain'].split('.')[1]},dc=postern",
                 "objectClass: top", "objectClass: person", "objectClass: organizationalPerson",
                 "objectClass: inetOrgPerson", "objectClass: inetMailUser", f"uid: {user['name']}",
                 f"cn: {user['name'].title()}", f"sn: {user['name'].title()}", f"mail: {user['address']}",
                 f"mailHost: store{user['store']}", f"userPassword: {user['password']}"]
        return "\n".join(lines) + "\n"

    def directory_text(self):
        out = ["dn: dc=postern\nobjectClass: top\nobjectClass: domain\ndc: postern\n",
               "dn: ou=stores,dc=postern\nobjectClass: top\nobjectClass: organizationalUnit\nou: stores\n"]
        for domain in sorted({u["domain"] for u in self.users}):
            rdn = domain.replace(".", "-")
            out.append(f"dn: dc={rdn},dc=postern\nobjectClass: top\nobjectClass: domain\nobjectClass: inetDomain\n"
                       f"dc: {rdn}\nassociatedDomain: {domain}\n")
            out.append(f"dn: ou=people,dc={rdn},dc=postern\nobjectClass: top\nobjectClass: organizationalUnit\nou: people\n")
        out += [self.store_entry(k) for k in range(1, self.store_count + 1)]
        out += [self.user_entry(u) for u in self.users]
        return "\n".join(out)

    def write_directory(self):
        """Atomically, so that a reader sees the old or the new file."""
        with open(self.path("directory.ldif.new"), "w", encoding="utf-8") as f:
            f.write(self.directory_text())
        os.rename(self.path("directory.ldif.new"), self.path("directory.ldif"))

    def common_text(self, run_name):
        directory = self.directory_block or f"directory {{\n\tbackend file;\n\tfile {self.path('directory.ldif')};\n}}\n"
        return (f"hostname {self.hostname};\nrun_dir {self.path(run_name)};\nworkers {self.workers};\n"
                f"drain_timeout {self.drain_timeout};\n{self.root_extra}\n"
                f"tls {{\n{self.tls_extra}\tca {self.ca_file};\n\tcert default {{ chain {self.path('tls/chain.pem')}; "
                f"key file:{self.path('tls/key.pem')}; }}\n}}\n{directory}")

    def meter_text(self):
        rules = self.meter_rules if self.meter_rules is not None else (
            "\trule connects { on connect; key client/32,64; rate 600/1m; burst 600; action defer; on_loss share; }\n"
            "\trule failed-logins { on auth; key client/32,64, user; rate 10/1m; burst 10; action defer; on_loss share; }\n"
            "\trule messages { on message; key sender; rate 600/1m; burst 600; action defer; on_loss share; }\n")
        redis = f"\tredis 127.0.0.1:{self.port('redis')};\n" if self.use_redis else self.meter_extra
        return f"metermaid {{\n{redis}{rules}}}\n"

    def mmp_listener(self, name, protocol, tls):
        return (f"\tlistener {name} {{ address 127.0.0.1:{self.port(name)}; protocol {protocol}; tls {tls}; "
                f"{self.mmp_listener_extra} }}\n")

    def edge_listener(self, name, tls):
        return (f"\tlistener {name} {{ address 127.0.0.1:{self.port(name)}; role {name}; tls {tls}; "
                f"{self.edge_listener_extra} }}\n")

    def admin_text(self):
        """Under `postern run` one address answers for all; else each program for itself."""
        if self.supervised:
            return f"admin {{ address 127.0.0.1:{self.port('admin')}; }}\n"
        return f"admin {{ mmp 127.0.0.1:{self.port('admin')}; edge 127.0.0.1:{self.port('edge-admin')}; }}\n"

    def meter_service_text(self):
        """The limits for other mail servers, where everything of a host runs."""
        if not self.supervised or not os.path.exists(os.path.join(self.bin_dir, "postern-meter")):
            return ""
        return f"meter {{ listener policy {{ address unix:{self.path('policy.sock')}; }} }}\n"

    def edge_config_text(self):
        return (self.common_text("edge-run") + self.meter_text() + self.admin_text() + self.meter_service_text() +
                "mmp {\n" + self.mmp_extra +
                self.mmp_listener("imap", "imap", "starttls") + self.mmp_listener("imaps", "imap", "implicit") +
                self.mmp_listener("pop3", "pop3", "starttls") + self.mmp_listener("pop3s", "pop3", "implicit") + "}\n"
                "edge {\n" + f"\tspool {self.path('spool')};\n\tmx_loopback yes;\n" + self.edge_extra +
                self.edge_listener("mx", "starttls") + self.edge_listener("submission", "starttls") +
                self.edge_listener("submissions", "implicit") + "}\n")

    def store_config_text(self, store):
        listeners = "".join(
            f"\tlistener {p} {{ address 127.0.0.1:{self.store_port(store, p)}; protocol {p}; "
            + ("tls starttls; " if p != "lmtp" else "") + "}\n" for p in STORE_PORTS)
        return (self.common_text(f"store{store}-run") +
                f"store {{\n\tpartition primary {{ path {self.path(f'store{store}')}; }}\n{self.store_extra}{listeners}}}\n")

    def config_file(self, name):
        return self.path(f"{name}.conf")

    def write_configs(self):
        files = {"postern": self.edge_config_text()}
        for k in range(1, self.store_count + 1):
            files[f"store{k}"] = self.store_config_text(k)
        for name, text in files.items():
            with open(self.config_file(name), "w", encoding="utf-8") as f:
                f.write(text)

    def write_all(self):
        os.makedirs(self.run_dir, mode=0o755, exist_ok=True)
        self.make_certificates()
        self.write_directory()
        self.write_configs()

    # ---- processes ----
    def spawn(self, name, argv, log=None):
        with open(self.path(log or f"{name}.log"), "ab") as out:
            self.processes[name] = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                                    cwd=self.run_dir, start_new_session=True,
                                                    preexec_fn=end_with_parent)
        return self.processes[name]

    def start_redis(self):
        self.spawn("redis", ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port("redis")), "--save", "",
                             "--appendonly", "no", "--dir", self.run_dir, "--daemonize", "no"])
        wait_for(lambda: port_answers(self.port("redis")), 20, "redis-server")

    def start_daemon(self, program, config, name=None):
        """One master process, without the supervisor: tests that kill things use this."""
        return self.spawn(name or program, [os.path.join(self.bin_dir, f"postern-{program}"), "-c", self.config_file(config)])

    def start_store(self, store):
        self.start_daemon("store", f"store{store}", f"store{store}")
        for p in STORE_PORTS:
            wait_for(lambda p=p: port_answers(self.store_port(store, p)), 30, f"store{store} {p}")

    def wait_edge(self, seconds=30):
        for service in ("mx", "submission", "submissions", "imap", "imaps", "pop3", "pop3s"):
            wait_for(lambda s=service: port_answers(self.port(s)), seconds, service)

    def start(self):
        """Everything as separate daemons."""
        self.write_all()
        if self.use_redis:
            self.start_redis()
        if self.store_is_postern:
            for k in range(1, self.store_count + 1):
                self.start_store(k)
        self.start_daemon("mmp", "postern")
        self.start_daemon("edge", "postern")
        self.wait_edge()

    def start_supervised(self):
        """As an operator would: one `postern run` for the whole host."""
        self.supervised = True
        self.write_all()
        if self.use_redis:
            self.start_redis()
        argv = [os.path.join(self.bin_dir, "postern"), "run", "-c", self.config_file("postern")]
        for k in range(1, self.store_count + 1):
            argv += ["-c", self.config_file(f"store{k}")]
        self.spawn("postern", argv)
        for k in range(1, self.store_count + 1):
            for p in STORE_PORTS:
                wait_for(lambda k=k, p=p: port_answers(self.store_port(k, p)), 30, f"store{k} {p}")
        self.wait_edge()

    def stop_process(self, name, sig=signal.SIGTERM, seconds=20):
        """Ends one process that spawn() started; returns its exit status."""
        p = self.processes.pop(name, None)
        if p is None:
            return None
        if p.poll() is None:
            p.send_signal(sig)
            try:
                p.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
                p.wait(5)
        return p.returncode

    def stop(self):
        order = ["postern", "mmp", "edge"] + [n for n in self.processes if n.startswith("store")]
        order += [n for n in self.processes if n not in order]
        return {name: self.stop_process(name) for name in order if name in self.processes}

    def postern(self, *args, config="postern"):
        """Runs the command line tool and returns its output."""
        return subprocess.run([os.path.join(self.bin_dir, "postern"), *args, "-c", self.config_file(config)],
                              capture_output=True, text=True, timeout=30)

    def metrics(self):
        text = ""
        for service in ("admin",) if self.supervised else ("admin", "edge-admin"):
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port(service)}/metrics", timeout=5) as r:
                text += r.read().decode()
        return text

    def log(self, name):
        try:
            with open(self.path(f"{name}.log"), encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def logged(self, name, pattern, count=1):
        """What re.findall() has of the pattern in the log once it is there so often: a line may be written a moment behind what it is
        about."""
        wait_for(lambda: len(re.findall(pattern, self.log(name))) >= count, 20, f"{pattern} in the log of {name}")
        return re.findall(pattern, self.log(name))

    # ---- what runs, for tools ----
    def endpoints(self):
        def at(port, **more):
            return {"host": "127.0.0.1", "port": port, **more}
        tls = {"imaps": "implicit", "pop3s": "implicit", "submissions": "implicit"}
        services = {s: at(self.port(s), tls=tls.get(s, "starttls"))
                    for s in ("mx", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")}
        services["admin"] = at(self.port("admin"))
        stores = [{"name": f"store{k}", **{p: at(self.store_port(k, p)) for p in STORE_PORTS},
                   "data_dir": self.path(f"store{k}")} for k in range(1, self.store_count + 1)]
        return {"version": 1, "ca_file": self.ca_file, "domain": DOMAINS[0], "hostname": self.hostname,
                "config": self.config_file("postern"), "services": services, "stores": stores,
                "users": [{"address": u["address"], "password": u["password"], "store": f"store{u['store']}"}
                          for u in self.users],
                "redis": at(self.port("redis")), "processes": self.process_list()}

    def process_list(self):
        found = [{"name": n, "pid": p.pid} for n, p in self.processes.items()]
        top = self.processes.get("postern")
        if top is not None:
            for pid, argv in children_of(top.pid):
                config = argv[argv.index("-c") + 1] if "-c" in argv else ""
                name = os.path.basename(argv[0]).replace("postern-", "")
                found.append({"name": os.path.basename(config)[:-5] if name == "store" else name, "pid": pid})
        return found

    def write_endpoints(self):
        with open(self.path("endpoints.json.new"), "w", encoding="utf-8") as f:
            json.dump(self.endpoints(), f, indent=1)
            f.write("\n")
        os.rename(self.path("endpoints.json.new"), self.path("endpoints.json"))


def children_of(pid):
    """Direct children of a process with their argument vectors, from /proc."""
    found = []
    for task in os.listdir("/proc"):
        if not task.isdigit():
            continue
        try:
            with open(f"/proc/{task}/stat", encoding="ascii", errors="replace") as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
            if parent == pid:
                with open(f"/proc/{task}/cmdline", "rb") as f:
                    found.append((int(task), f.read().decode().rstrip("\0").split("\0")))
        except (OSError, IndexError, ValueError):
            continue
    return sorted(found)
