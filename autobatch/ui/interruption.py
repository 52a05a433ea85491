"""Ctrl-C, SIGTERM and a closed terminal: once, the run ends with what is known; twice, at once."""

import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from autobatch.errors import AutobatchError, InterruptedRunError
from autobatch.protocol import Event, Recommendation, StageFinished

ANEW = ("--fresh", "--fresh-trials")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOT_WHOLE = "The run was interrupted. This is what is known so far; it is no recommendation:"
CANNOT_GO_ON = "The run cannot go on. This is what is known so far; it is no recommendation:"
BEST_SO_FAR = "The run was interrupted before all trials were done. The best answer so far:"


class Interruption:
    """Whether the user asked for the end. Until something is known there is nothing to wait for."""

    def __init__(self) -> None:
        self.asked = False
        self.has_begun = False  # by then, what is not to be kept has been set aside
        self._anything_known = False

    def is_asked(self) -> bool:
        return self.asked

    def watching(self, on_event: Callable[[Event], None]) -> Callable[[Event], None]:
        """`on_event`, with an eye on whether anything has begun, and a stage has ended."""

        def show(event: Event) -> None:
            self.has_begun = True
            self._anything_known = self._anything_known or isinstance(event, StageFinished)
            on_event(event)

        return show

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        at_once = self.asked or not self._anything_known
        self.asked = True
        if number == signal.SIGHUP:  # a shell that ends sends it to its jobs once more
            signal.signal(number, signal.SIG_IGN)
        if at_once:
            raise KeyboardInterrupt


@contextmanager
def interruptible(*, quiet: bool, resumable: bool = True) -> Iterator[Interruption]:
    """Signals are heeded within; an interruption leaves it as InterruptedRunError.

    What is known by then is shown on stderr: an answer on stdout is a whole one.
    """
    interruption = Interruption()
    # What was ignored from the start (by nohup, or a shell for its background jobs) still is.
    heeded = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, interruption.on_signal) for each in heeded}
    try:
        yield interruption
    except KeyboardInterrupt:
        raise _interrupted(resumable, interruption.has_begun) from None
    except InterruptedRunError as error:
        if error.so_far and not quiet:
            with suppress(KeyboardInterrupt):
                _show(error.so_far[-1])
        raise _interrupted(resumable, interruption.has_begun) from None
    except AutobatchError as error:
        if error.so_far and not quiet:
            _show(error.so_far[-1], CANNOT_GO_ON)
        raise
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _interrupted(resumable: bool, has_begun: bool) -> InterruptedRunError:
    if not resumable:
        hint = "Start it again (with another --run-dir, if you gave one): it begins anew."
        return InterruptedRunError("Interrupted.", hint=hint)
    hint = f"The same command goes on from there:\n  {resume_command(sys.argv, has_begun)}"
    return InterruptedRunError(hint=hint)


def resume_command(argv: Sequence[str], has_begun: bool = True) -> str:
    """What to type; once it has begun, without what would set aside what was measured."""
    program, name = [argv[0]], Path(argv[0]).name
    if name == "__main__.py":
        program = ["python", "-m", "autobatch"]
    elif shutil.which(name) == argv[0]:
        program = [name]
    told = [each for each in argv[1:] if not has_begun or each not in ANEW]
    return shlex.join([*program, *told])


def _show(answer: object, not_whole: str = NOT_WHOLE) -> None:
    from autobatch.ui.console import console_for
    from autobatch.ui.run_tables import table_of

    console = console_for(stderr=True)
    console.print(BEST_SO_FAR if isinstance(answer, Recommendation) else not_whole)
    console.print(table_of(answer), crop=False)
