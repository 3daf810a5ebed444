"""A run that is broken off ends what it has started: a signal is an exception, so that every `finally` has its turn."""
import contextlib
import os
import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class BreakOff:
    """What signals do. Only the first one breaks the run off: make, timeout and a terminal send the same one several
    times, and what ends the run's programs must not be broken off itself."""

    def __init__(self):
        self.owner, self.number, self.ending = os.getpid(), None, False

    def on_signal(self, number, _frame):
        if os.getpid() != self.owner:  # a client that was forked: the programs are not its own
            os._exit(128 + number)
        first, self.number = self.number is None, self.number or number
        if first and not self.ending:
            raise SystemExit(128 + number)


@contextlib.contextmanager
def signals_break_off():
    """Gives the BreakOff; once its `ending` is set, a signal waits for the end of the block."""
    state, before = BreakOff(), {}
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup; SIGINT is ignored behind "&" and meant
            before[number] = signal.signal(number, state.on_signal)
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if state.number is not None:
        raise SystemExit(128 + state.number)
