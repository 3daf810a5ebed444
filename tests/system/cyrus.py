"""Cyrus IMAP as a store: unpacked beside Dovecot, which Debian's packages exclude (`make deps-unpacked`), run in place."""
import os
import platform
import pwd
import subprocess

import pytest

from mtas import UNPACKED
from tier import port_answers, wait_for

BIN = os.path.join(UNPACKED, "usr/lib/cyrus/bin")


def config(base, extra):
    return f"""configdirectory: {base}/conf
defaultpartition: default
partition-default: {base}/spool
sievedir: {base}/sieve
lmtpsocket: {base}/lmtp.socket
idlesocket: {base}/idle.socket
notifysocket: {base}/notify.socket
cyrus_user: mail
cyrus_group: mail
servername: cyrus.example.org
virtdomains: userid
defaultdomain: cyrus.example.org
unixhierarchysep: yes
altnamespace: yes
autocreate_quota: 0
autocreate_post: yes
duplicatesuppression: no
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {base}/sasldb2
sasl_mech_list: PLAIN
{extra}
"""


def start_cyrus(tier, store, sieve, users, extra=""):
    """In the place of store K of the tier, and ManageSieve on a port of its own. users: (name, domain, password)."""
    if os.geteuid() != 0 or not os.path.isdir(BIN):
        pytest.skip("needs root, and make deps-unpacked")
    name, mail = f"cyrus{store}", pwd.getpwnam("mail")
    base = tier.path(name)
    for folder in ("spool", "sieve", "conf/db", "conf/lock", "conf/log", "conf/msg", "conf/proc", "conf/ptclient", "conf/quota",
                   "conf/socket", "conf/user"):
        os.makedirs(os.path.join(base, folder), exist_ok=True)
    env = {**os.environ, "LD_LIBRARY_PATH": os.path.join(UNPACKED, f"usr/lib/{platform.machine()}-linux-gnu")}
    for user, domain, password in users:
        subprocess.run([os.path.join(UNPACKED, "usr/sbin/saslpasswd2"), "-p", "-c", "-f", f"{base}/sasldb2", "-u", domain, user],
                       input=password, text=True, check=True, capture_output=True, env=env)
    services = {"imapd": (tier.store_port(store, "imap"), "-U 30"), "pop3d": (tier.store_port(store, "pop3"), "-U 30"),
                "lmtpd": (tier.store_port(store, "lmtp"), "-a"), "timsieved": (sieve, "")}
    with open(f"{base}/imapd.conf", "w", encoding="ascii") as f:
        f.write(config(base, extra))
    with open(f"{base}/cyrus.conf", "w", encoding="ascii") as f:
        f.write(f'START {{\n  recover cmd="{BIN}/ctl_cyrusdb -C {base}/imapd.conf -r"\n}}\nSERVICES {{\n')
        for program, (port, options) in services.items():
            f.write(f'  {program} cmd="{BIN}/{program} -C {base}/imapd.conf {options}" listen="127.0.0.1:{port}" prefork=0\n')
        f.write("}\nEVENTS {\n}\n")
    for folder, _, names in os.walk(base):
        for entry in [folder, *(os.path.join(folder, n) for n in names)]:
            os.chown(entry, mail.pw_uid, mail.pw_gid)
    tier.spawn(name, ["env", f"LD_LIBRARY_PATH={env['LD_LIBRARY_PATH']}", f"{BIN}/master", "-C", f"{base}/imapd.conf", "-M",
                      f"{base}/cyrus.conf", "-p", f"{base}/pid"])
    for port, _ in services.values():
        wait_for(lambda port=port: port_answers(port), 30, name)
