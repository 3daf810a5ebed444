"""IMAP at the store itself, as Python's imaplib speaks it: extensions, and how long an answer takes."""
import imaplib
import statistics
import time

import pytest

import mail
from tier import wait_for

SENDER = "visitor@elsewhere.example"


@pytest.fixture(scope="module")
def store(new_tier):
    """One store without anything in front of it."""
    t = new_tier("imapx", stores=1, needs=("store",))
    t.write_all()
    t.start_store(1)
    return t


def log_in(tier, name="alice"):
    """Waits for a store that is starting."""
    def attempt():
        m = imaplib.IMAP4("localhost", tier.store_port(1, "imap"), timeout=60)
        try:
            m.login(tier.user(name)["address"], tier.user(name)["password"])
            return m
        except imaplib.IMAP4.error as error:
            m.shutdown()
            if "UNAVAILABLE" not in str(error):
                raise
            return None
    return wait_for(attempt, 30, f"{name}'s login")


@pytest.mark.parametrize("size", [2_000, 100_000])
def test_append_waits_for_no_delayed_acknowledgement(store, size):
    """imaplib sends a literal and the line end behind it by themselves: Nagle holds the second until the first is
    acknowledged, which the kernel delays by 40 ms unless it is told that there is nothing to wait for."""
    m = log_in(store)
    text = mail.message(mail.new_token(), SENDER, [store.user("alice")["address"]], size)
    took = []
    for _ in range(15):
        start = time.monotonic()
        assert m.append("INBOX", None, None, text)[0] == "OK"
        took.append(time.monotonic() - start)
    m.logout()
    assert statistics.median(took) < 0.035, took
