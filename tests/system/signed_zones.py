"""Zones as an operator signs and serves them: ldns-signzone, and nsd for all of them (unpacked: `make deps-unpacked`). Damage
is done to them as an attacker or a forgotten timer would."""
import glob
import os
import platform
import shutil
import subprocess

import pytest

from conftest import free_port
from mtas import UNPACKED
from names import answers
from tier import wait_for

NSD = os.path.join(UNPACKED, "usr/sbin/nsd")
LIBRARIES = os.path.join(UNPACKED, f"usr/lib/{platform.machine()}-linux-gnu")
FAITHFUL, TAMPERED, EXPIRED, STRIPPED, UNSIGNED = "faithful", "tampered", "expired", "stripped", "unsigned"
LONG_AGO = ["-i", "20200101", "-e", "20200201"]


class Tree:
    """zones: {name: (how, lines, what is put where after signing: {old: new})}; the first is above all others, whose DS records
    it has, but for UNSIGNED ones."""

    def __init__(self, tier, zones):
        if not os.path.isfile(NSD) or shutil.which("ldns-signzone") is None:
            pytest.skip("needs ldnsutils, and make deps-unpacked")
        self.tier, self.zones, self.port = tier, zones, free_port()
        self.base, self.top = tier.path("zones"), next(iter(zones))
        os.makedirs(self.base)
        self.keys = {zone: self.make_key(zone) for zone, (how, *_) in zones.items() if how != UNSIGNED}

    def make_key(self, zone):
        """Its one key; the name of its files without their ends."""
        done = subprocess.run(["ldns-keygen", "-r", "/dev/urandom", "-a", "ECDSAP256SHA256", "-k", zone], cwd=self.base, check=True,
                              capture_output=True, text=True)
        return done.stdout.strip()

    def file(self, name):
        return os.path.join(self.base, name)

    def delegations(self):
        """What the zone at the top has of the others."""
        lines = [f"{zone} 60 IN NS ns.{self.top}" for zone in self.zones if zone != self.top]
        for path in glob.glob(self.file("K*.ds")):
            with open(path, encoding="ascii") as f:
                lines += [line for line in f.read().splitlines() if not line.startswith(f"{self.top}\t")]
        return lines

    def sign(self, zone):
        """NSEC above, NSEC3 below. What is served lies in ZONEsigned."""
        how, lines, damage = self.zones[zone]
        lines = [f"{zone} 60 IN SOA ns.{self.top} root.{self.top} 1 60 60 3600 1", f"{zone} 60 IN NS ns.{self.top}", *lines]
        lines += [f"ns.{self.top} 60 IN A 127.0.0.1", *self.delegations()] if zone == self.top else []
        with open(self.file(zone), "w", encoding="ascii") as f:
            f.write("\n".join(lines) + "\n")
        shutil.copy(self.file(zone), self.file(zone + "signed"))
        if how in (UNSIGNED, STRIPPED):
            return
        subprocess.run(["ldns-signzone", *([] if zone == self.top else ["-n"]), *(LONG_AGO if how == EXPIRED else []), "-f",
                        self.file(zone + "signed"), self.file(zone), self.file(self.keys[zone])], check=True, capture_output=True)
        if how == TAMPERED:
            self.tamper(zone, damage)

    def tamper(self, zone, damage):
        with open(self.file(zone + "signed"), encoding="ascii") as f:
            text = f.read()
        for old, new in damage.items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        with open(self.file(zone + "signed"), "w", encoding="ascii") as f:
            f.write(text)

    def start(self):
        """Called again it serves what the zones are now."""
        self.tier.stop_process("nsd")
        for zone in self.zones:
            self.sign(zone)
        lines = ["server:", "\tip-address: 127.0.0.1", f"\tport: {self.port}", '\tusername: ""', '\tdatabase: ""',
                 f"\tzonesdir: {self.base}", *(f"\t{what}: {self.base}/nsd.{what}" for what in ("pidfile", "xfrdfile", "zonelistfile")),
                 "remote-control:", "\tcontrol-enable: no"]
        for zone in self.zones:
            lines += ["zone:", f"\tname: {zone}", f"\tzonefile: {zone}signed"]
        with open(self.file("nsd.conf"), "w", encoding="ascii") as f:
            f.write("\n".join(lines) + "\n")
        self.tier.spawn("nsd", ["env", f"LD_LIBRARY_PATH={LIBRARIES}", NSD, "-d", "-c", self.file("nsd.conf")])
        wait_for(lambda: answers("127.0.0.1", self.port), 30, "nsd")

    def resolver(self):
        """For unbound: the one key that it believes, and where the zones are."""
        lines = ["server:", f"\ttrust-anchor-file: {self.file(self.keys[self.top])}.key"]
        lines += [f'\tlocal-zone: "{zone}" transparent' for zone in self.zones]
        for zone in self.zones:
            lines += ["stub-zone:", f'\tname: "{zone}"', f"\tstub-addr: 127.0.0.1@{self.port}"]
        return lines
