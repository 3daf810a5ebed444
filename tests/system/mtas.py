"""Other mail servers as next hops: Postfix as installed, Exim and OpenSMTPD unpacked in a root of their own.

Debian's packages of mail servers exclude each other, so two of them are only unpacked (`make deps-unpacked`) and see
the machine through an overlay: all of it, with their files and users on top. Each takes mail for its own domain into
a Maildir below its folder. They need root.
"""
import os
import pwd
import shutil
import subprocess

import pytest

from conftest import TOP
from tier import wait_for

UNPACKED = os.path.join(TOP, "build", "unpacked", "root")
USERS = {"opensmtpd": 20101, "opensmtpq": 20102, "Debian-exim": 20103}
# $1: where the overlay is mounted, $2: the folder that it sees as its own, the rest: the program
ENTER = ('mount -t overlay overlay -o "lowerdir=/,upperdir=$2/up,workdir=$2/work" "$1" && mount --bind "$2" "$1$2" && '
         'mount --bind /dev "$1/dev" && mount -t proc proc "$1/proc" && root=$1 && shift 2 && exec chroot "$root" "$@"')


def address_answers(host, port):
    import socket
    with socket.create_connection((host, port), timeout=2):
        return True


class Mta:
    """A mail server that takes any user of its domain; what it took lies in .box as a Maildir."""

    relay_to = None  # (host, port): what it takes goes there in place of its box
    tls = True       # it uses TLS there, where it is offered

    def __init__(self, tier, name, host, port):
        self.tier, self.name, self.host, self.port = tier, name, host, port
        self.domain = f"{name}.example"
        self.base = tier.path(name)
        self.box = os.path.join(self.base, "box")
        os.makedirs(self.box, exist_ok=True)
        mail = pwd.getpwnam("mail")
        os.chown(self.box, mail.pw_uid, mail.pw_gid)

    def write(self, name, text):
        with open(os.path.join(self.base, name), "w", encoding="ascii") as f:
            f.write(text)
        return os.path.join(self.base, name)

    def wait(self):
        try:
            wait_for(lambda: address_answers(self.host, self.port), 30, self.name)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it said: {self.said()}") from error

    def said(self):
        """The end of what it logged, here and where it writes its own."""
        texts = []
        for path in (self.tier.path(f"{self.name}.log"), os.path.join(self.base, "log")):
            if os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as f:
                    texts.append(f.read()[-2000:])
        return "\n".join(texts)

    def messages(self):
        """Everything it took, with CRLF."""
        found = []
        for folder, _, names in os.walk(self.box):
            for name in names if os.path.basename(folder) in ("new", "cur") else ():
                with open(os.path.join(folder, name), "rb") as f:
                    found.append(f.read().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        return found

    def spawn_in_root(self, argv):
        if os.geteuid() != 0 or not os.path.isdir(UNPACKED):
            pytest.skip("needs root, and make deps-unpacked")
        up = os.path.join(self.base, "up")
        shutil.copytree(os.path.join(UNPACKED, "usr"), os.path.join(up, "usr"), symlinks=True)
        shutil.copytree(os.path.join(UNPACKED, "lib"), os.path.join(up, "usr", "lib"), symlinks=True, dirs_exist_ok=True)
        for folder in ("etc", "var/spool/smtpd", "var/lib/opensmtpd/empty"):
            os.makedirs(os.path.join(up, folder), mode=0o711, exist_ok=True)
        os.chmod(os.path.join(up, "etc"), 0o755)
        for name, line in (("passwd", "{0}:x:{1}:{1}::/var/lib/opensmtpd/empty:/bin/false\n"), ("group", "{0}:x:{1}:\n")):
            with open(f"/etc/{name}", encoding="ascii") as f, open(f"{up}/etc/{name}", "w", encoding="ascii") as out:
                out.write(f.read() + "".join(line.format(user, uid) for user, uid in USERS.items()))
        root, work = os.path.join(self.base, "root"), os.path.join(self.base, "work")
        for folder in (root, work):
            os.makedirs(folder)
        self.tier.spawn(self.name, ["unshare", "-m", "sh", "-c", ENTER, "sh", root, self.base, *argv])
        self.wait()


class Exim(Mta):
    def checks(self):
        """Main options, and access lists."""
        return "", ""

    def router(self):
        if self.relay_to is None:
            return "all:\n  driver = accept\n  transport = box"
        host, port = self.relay_to
        return f"all:\n  driver = manualroute\n  self = send\n  route_list = * {host}::{port}\n  transport = out"

    def start(self):
        os.makedirs(os.path.join(self.base, "up", "etc", "exim4"))
        config = f"""
primary_hostname = {self.domain}
exim_user = mail
exim_group = mail
local_interfaces = {self.host}
daemon_smtp_ports = {self.port}
spool_directory = {self.base}/spool
log_file_path = {self.base}/log-%s
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = take
smtputf8_advertise_hosts = *
{self.checks()[0]}begin acl
take:
  accept
{self.checks()[1]}begin routers
{self.router()}
begin transports
out:
  driver = smtp
  hosts_try_chunking = *
{"" if self.tls else "  hosts_avoid_tls = *"}
  tls_verify_certificates = system
  tls_try_verify_hosts = :
box:
  driver = appendfile
  maildir_format
  directory = {self.box}
  user = mail
  group = mail
"""
        with open(os.path.join(self.base, "up", "etc", "exim4", "exim4.conf"), "w", encoding="ascii") as f:
            f.write(config)
        mail = pwd.getpwnam("mail")
        os.chown(self.base, mail.pw_uid, mail.pw_gid)
        self.spawn_in_root(["/usr/sbin/exim4", "-bdf", "-q1m"])


class OpenSmtpd(Mta):
    def text(self):
        return f"""
table users {{ "@" = "mail" }}
listen on {self.host} port {self.port} hostname {self.domain}
action "box" maildir "{self.box}" virtual <users>
match from any for domain "{self.domain}" action "box"
"""

    def start(self):
        config = self.write("smtpd.conf", self.text())
        self.spawn_in_root(["/usr/sbin/smtpd", "-d", "-f", config])


class Postfix(Mta):
    def restrictions(self):
        if self.relay_to is None:
            return "reject_unauth_destination"
        host, port = self.relay_to
        return (f"permit_mynetworks, reject_unauth_destination\ndefault_transport = smtp:[{host}]:{port}\n"
                f"smtp_tls_security_level = {'may' if self.tls else 'none'}\n"
                "smtp_tls_loglevel = 1\nvirtual_alias_maps =")

    SERVICES = ("cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr", "rewrite unix - - n - - trivial-rewrite",
                "bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce", "error unix - - n - - error",
                "virtual unix - n n - - virtual", "smtp unix - - n - - smtp", "scache unix - - n - 1 scache", "tlsmgr unix - - n 1000? 1 tlsmgr",
                "proxymap unix - - n - - proxymap", "postlog unix-dgram n - n - 1 postlogd")

    def start(self):
        if os.geteuid() != 0:
            pytest.skip("needs root")
        mail, owner = pwd.getpwnam("mail"), pwd.getpwnam("postfix")
        for name in ("queue", "data"):
            os.makedirs(os.path.join(self.base, name), exist_ok=True)
        os.makedirs(os.path.join(self.base, "queue", "pid"), exist_ok=True)
        os.chown(os.path.join(self.base, "data"), owner.pw_uid, owner.pw_gid)
        self.write("main.cf", f"""
compatibility_level = 3.6
queue_directory = {self.base}/queue
data_directory = {self.base}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
myhostname = {self.domain}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = {"192.0.2.1/32" if self.relay_to is None else "127.0.0.0/8"}
alias_maps =
virtual_mailbox_domains = {self.domain}
virtual_mailbox_base = {self.base}
virtual_mailbox_maps = static:box/
virtual_minimum_uid = 1
virtual_uid_maps = static:{mail.pw_uid}
virtual_gid_maps = static:{mail.pw_gid}
smtpd_relay_restrictions = {self.restrictions()}
smtpd_client_connection_count_limit = 0
maillog_file = {self.base}/log
maillog_file_prefixes = {self.base}
""")
        self.write("master.cf", f"{self.host}:{self.port} inet n - n - - smtpd\n" + "\n".join(self.SERVICES) + "\n")
        subprocess.run(["postfix", "-c", self.base, "check"], check=False, timeout=60, capture_output=True)
        self.tier.spawn(self.name, ["/usr/lib/postfix/sbin/master", "-c", self.base, "-d"])
        self.wait()


