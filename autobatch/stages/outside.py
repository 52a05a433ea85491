"""What becomes of a worker from outside: it says nothing of what it was asked."""

import signal

from autobatch.protocol import Crashed, Outcome

SIGNALS = (signal.SIGKILL, signal.SIGTERM)  # sent by somebody, not raised by the code


def from_outside(outcome: Outcome) -> str | None:
    """What a worker did or suffered so; None where it may be of its task."""
    match outcome:
        case Crashed(never_started=True):
            return "failed to start"
        case Crashed(signal=number) if number in SIGNALS:
            return "was killed from outside"
    return None
