"""What becomes of a worker from outside: it says nothing of what it was asked."""

import signal

from autobatch.errors import OutsideError
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


def twice(what: str, why: str, log: object) -> OutsideError:
    return OutsideError(
        f"{what} twice ({why}).",
        hint="Is the machine short of memory (earlyoom and the like then end what holds most: a "
        "lower device.memory_limit, such as --set device.memory_limit=70%, keeps clear of that), "
        "may it start no more processes (ulimit -u, a container's pids.max), or does somebody end "
        f"it? {log} may say more. What was measured is kept: start the same command again.",
    )
