"""Real servers beside the tier: slapd as directory, Dovecot as store, HAProxy in front, Postfix as another mail server."""
import os
import pwd
import shutil
import signal
import subprocess

import pytest

from tier import port_answers, wait_for


def dovecot_config(tier, base, ports, extra):
    mail = pwd.getpwnam("mail")
    users = os.path.join(base, "users")
    with open(users, "w", encoding="ascii") as f:
        for u in tier.users:
            f.write(f"{u['address']}:{{PLAIN}}{u['password']}\n")
    os.makedirs(os.path.join(base, "mail"), exist_ok=True)
    os.chown(os.path.join(base, "mail"), mail.pw_uid, mail.pw_gid)
    return f"""
base_dir = {base}/run
state_dir = {base}/run
log_path = {base}/dovecot.log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:~/Maildir
passdb {{
  driver = passwd-file
  args = username_format=%u {users}
}}
userdb {{
  driver = static
  args = uid={mail.pw_uid} gid={mail.pw_gid} home={base}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {ports['imap']}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {ports['pop3']}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {ports['lmtp']}
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@example.org
}}
{extra}
"""


def start_dovecot(tier, store, extra=""):
    """In the place of store K of the tier: the same ports. No tier setting changes. extra: more settings."""
    name = f"dovecot{store}"
    base = tier.path(name)
    os.makedirs(base, exist_ok=True)
    ports = {p: tier.store_port(store, p) for p in ("imap", "pop3", "lmtp")}
    config = os.path.join(base, "dovecot.conf")
    with open(config, "w", encoding="ascii") as f:
        f.write(dovecot_config(tier, base, ports, extra))
    tier.spawn(name, ["dovecot", "-F", "-c", config])
    for port in ports.values():
        wait_for(lambda port=port: port_answers(port), 30, name)


def dovecot_log(tier):
    """What the Dovecot in the place of store 1 has written by now; its lines come a little after what they tell."""
    with open(tier.path("dovecot1", "dovecot.log"), encoding="utf-8", errors="replace") as f:
        return f.read()


def start_slapd(tier, port, schema_dir):
    """slapd with the schema the project ships, loaded with the tier's own LDIF, unchanged."""
    base = tier.path("slapd")
    os.makedirs(os.path.join(base, "db"), exist_ok=True)
    config = os.path.join(base, "slapd.conf")
    with open(config, "w", encoding="ascii") as f:
        f.write("".join(f"include /etc/ldap/schema/{s}.schema\n" for s in ("core", "cosine", "inetorgperson")) +
                f"include {schema_dir}/postern.schema\npidfile {base}/pid\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n"
                f"database mdb\nsuffix \"dc=postern\"\nrootdn \"cn=admin,dc=postern\"\nrootpw admin-demo\n"
                f"directory {base}/db\nmaxsize 33554432\nindex objectClass,uid,mail,cn eq\n"
                "access to attrs=userPassword by anonymous auth by * none\naccess to * by * read\n")
    subprocess.run(["slapadd", "-q", "-f", config, "-l", tier.path("directory.ldif")], check=True, timeout=60,
                   capture_output=True)
    run_slapd(tier, port)


def run_slapd(tier, port):
    tier.spawn("slapd", ["slapd", "-h", f"ldap://127.0.0.1:{port}", "-f", tier.path("slapd", "slapd.conf"), "-d", "0"])
    wait_for(lambda: port_answers(port), 30, "slapd")


def start_haproxy(tier, fronts):
    """fronts: {front port: back port}; TCP mode, PROXY v2 to the tier, with health checks by PROXY LOCAL."""
    lines = ["global", "    maxconn 2000", "defaults", "    mode tcp", "    timeout connect 5s", "    timeout client 60s",
             "    timeout server 60s"]
    for front, back in fronts.items():
        lines += [f"listen l{front}", f"    bind 127.0.0.1:{front}",
                  f"    server s 127.0.0.1:{back} send-proxy-v2 check inter 500ms"]
    with open(tier.path("haproxy.cfg"), "w", encoding="ascii") as f:
        f.write("\n".join(lines) + "\n")
    tier.spawn("haproxy", ["haproxy", "-db", "-f", tier.path("haproxy.cfg")])
    for front in fronts:
        wait_for(lambda front=front: port_answers(front), 20, "haproxy")


POSTFIX_COMMON = """compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 192.0.2.255/32
alias_maps =
maillog_file = {base}/log
maillog_file_prefixes = {base}
"""
POSTFIX_SERVICES = """cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
lmtp unix - - n - - lmtp
smtp unix - - n - - smtp
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def start_postfix(tier, main, smtpds):
    """A Postfix of its own, on loopback. main: what main.cf says beside POSTFIX_COMMON; smtpds: {port: {setting:
    value}}. It ends with the tier, or by stop(tier, "postfix")."""
    if os.geteuid() != 0 or shutil.which("postfix") is None:
        pytest.skip("Postfix wants to be started by root")
    base, owner = tier.path("postfix"), pwd.getpwnam("postfix")
    for name in ("queue/pid", "data", "mail"):
        os.makedirs(os.path.join(base, name), exist_ok=True)
    for name in ("data", "mail"):
        os.chown(os.path.join(base, name), owner.pw_uid, owner.pw_gid)
    master = POSTFIX_SERVICES
    for port, settings in smtpds.items():
        master += f"127.0.0.1:{port} inet n - n - - smtpd\n"
        master += "".join(f"  -o {{ {name} = {value} }}\n" for name, value in settings.items())
    for name, text in (("main.cf", POSTFIX_COMMON.format(base=base) + main), ("master.cf", master)):
        with open(os.path.join(base, name), "w", encoding="ascii") as f:
            f.write(text)
    subprocess.run(["postfix", "-c", base, "check"], check=False, timeout=60, capture_output=True)
    tier.spawn("postfix", ["/usr/lib/postfix/sbin/master", "-c", base, "-d"])  # start-fg would outlive its signal
    for port in smtpds:
        wait_for(lambda port=port: port_answers(port), 60, "Postfix")


def start_postfix_relay(tier, port, lmtp_port, extra=""):
    """Takes mail from who has logged in, and delivers for the tier's domains by LMTP."""
    domains = ", ".join(sorted({u["domain"] for u in tier.users}))
    start_postfix(tier, f"""myhostname = relay.example.org
virtual_mailbox_domains = {domains}
virtual_transport = lmtp:inet:127.0.0.1:{lmtp_port}
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_tls_cert_file = {tier.path("tls/chain.pem")}
smtpd_tls_key_file = {tier.path("tls/key.pem")}
{extra}
""", {port: {}})


def start_postfix_store(tier, smtpds):
    """Takes mail for example.org into files; clients on loopback may say XCLIENT."""
    base, owner = tier.path("postfix"), pwd.getpwnam("postfix")
    start_postfix(tier, f"""myhostname = beside.example.org
virtual_mailbox_domains = example.org
virtual_mailbox_base = {base}/mail
virtual_mailbox_maps = static:all
virtual_uid_maps = static:{owner.pw_uid}
virtual_gid_maps = static:{owner.pw_gid}
virtual_minimum_uid = 1
smtpd_relay_restrictions = reject_unauth_destination
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 1000
""", smtpds)


def postfix_mail(tier):
    """All that was delivered, as an mbox."""
    try:
        with open(tier.path("postfix", "mail", "all"), encoding="utf-8", errors="replace") as f:
            return "\n" + f.read()
    except FileNotFoundError:
        return ""


def stop(tier, name):
    tier.stop_process(name, signal.SIGTERM)
