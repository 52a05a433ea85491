"""The probes made so far: each size asked once, and what all of them say together."""

from autobatch.engine.record_file import Entry
from autobatch.protocol import (
    VERIFY_STEPS,
    Abilities,
    Crashed,
    Fits,
    Outcome,
    OutOfMemory,
    OverBudget,
    Predicted,
    Probe,
    ProbePoint,
    TimedOut,
    UserCodeFailed,
)
from autobatch.stages.ask import (
    DEADLINE_FACTOR,
    LEAST_DEADLINE_SECONDS,
    Session,
    why_it_failed,
)
from autobatch.units import format_bytes

DEADLINE_SECONDS = 600.0
FEW_STEPS = 10  # that it runs, quick or not; in a verification, and validates as many batches
# That steps are repeated for, where they are quick: to see where to look, near the edge, at last.
SHORT_SECONDS, QUICK_SECONDS, FINAL_SECONDS = 0.3, 1.0, 30.0
CONFIRM_SECONDS = 120.0  # in a further process: memory may creep up over 200 steps, also slow ones
FAR = 8  # times the size that steps were timed at: their time is not to be extrapolated so far
AMPLE = 0.5  # of the limit: no step's memory varies by so much
NOT_ABOUT_MEMORY = (UserCodeFailed, Crashed, TimedOut)


class Probes:
    """Answers by task, in the order they were asked for."""

    def __init__(self, session: Session, abilities: Abilities) -> None:
        self.session = session
        self.predicts = abilities.predicts_memory
        self.entries: dict[Probe, Entry] = {}
        self.points: list[ProbePoint] = []
        self.notes: list[str] = []
        self.doubt: str | None = None  # about what was verified, where that was brief

    @property
    def fitted(self) -> list[tuple[Probe, Fits]]:
        """Those that trained, other than by prediction."""
        return [(t, e.outcome) for t, e in self.entries.items() if isinstance(e.outcome, Fits)]

    def predict(self, size: int, limit_bytes: int) -> int | None:
        """What `size` would need under a limit, if nothing has to run to know; None: too much."""
        task = Probe(batch_size=size, limit_bytes=limit_bytes, predict=True)
        outcome = self._outcome(task)
        return outcome.needed_bytes if isinstance(outcome, (Fits, Predicted)) else None

    def ask(self, size: int, limit_bytes: int, *, verify: bool = False) -> Fits | None:
        """What `size` needs under a hard limit; None if it does not train."""
        return self._ask(_brief(size, limit_bytes, verify=verify))

    def _ask(self, task: Probe) -> Fits | None:
        outcome = self._outcome(task)
        return outcome if isinstance(outcome, Fits) else None

    def _outcome(self, task: Probe) -> Outcome:
        """What came of it; measured if it was not yet."""
        if task not in self.entries:
            self.entries[task] = self._measure(task)
        return self.entries[task].outcome

    def _measure(self, task: Probe) -> Entry:
        size = task.batch_size
        what = "verify " if task.verify else "predict " if task.predict else ""
        entry = self.session.ask(
            "probe",
            task,
            f"{what}{size}",
            _phrase,
            deadline_seconds=self._deadline_seconds(task),
            user_code_may_fail=True,
        )
        self.points.append(point_of(task, entry))
        return entry

    def _deadline_seconds(self, task: Probe) -> float:
        """Many times what it should take, by the last of its kind that ran.

        A verification has twice that, by the last that ran at all, however little time is left:
        what was seen to train is not to be called too large for want of time.
        """
        at_most, at_least = DEADLINE_SECONDS, 0.0
        if task.verify and not self.fitted:
            return self.session.deadline_of_work(task.seconds, task.batch_size)
        for before, entry in self.entries.items():
            if not isinstance(entry.outcome, (Fits, Predicted)):
                continue
            more = max(1.0, task.batch_size / before.batch_size)
            step_seconds = more * getattr(entry.outcome, "step_seconds", 0.0)
            at_length = min(task.seconds, 2 * VERIFY_STEPS * step_seconds)
            should = entry.seconds + at_length + FEW_STEPS * step_seconds
            if task.verify:
                at_least = 2 * (should + FEW_STEPS * step_seconds)
                at_least = at_least if more <= FAR else min(at_least, DEADLINE_SECONDS)
            if isinstance(entry.outcome, Fits) and before.verify == task.verify:
                at_most = DEADLINE_FACTOR * should
        allowed = self.session.deadline_seconds(max(LEAST_DEADLINE_SECONDS, at_most))
        return max(allowed, at_least)

    def final(self, size: int, limit_bytes: int) -> Fits | None:
        """A verification of the answer itself: of many steps, unless memory is not scarce.

        Or time is: then of few.
        """
        if self.is_ample(size, limit_bytes):
            return self.ask(size, limit_bytes, verify=True)
        at_length = _final(size, limit_bytes)
        if self.session.seconds_left() <= 0 and self.session.record.find(at_length) is None:
            fits = self.ask(size, limit_bytes, verify=True)
            if fits:
                self.not_proved(size, f"{fits.steps} steps of one process")
            return fits
        quick = self.entries.get(_brief(size, limit_bytes, verify=True))
        if quick and isinstance(quick.outcome, Fits) and quick.outcome.full_steps >= VERIFY_STEPS:
            return quick.outcome
        return self._ask(at_length)

    def not_proved(self, size: int, by: str) -> None:
        self.doubt = (
            f"{size} was verified in {by} alone ({self.session.why_it_ends()}): it may need more "
            "over more steps, or in another process."
        )
        self.notes.append(self.doubt)

    def is_ample(self, size: int, limit_bytes: int) -> bool:
        """Whether that size, or a larger one, was seen to be far from the limit."""
        return any(
            task.batch_size >= size and fits.peak_bytes <= AMPLE * limit_bytes
            for task, fits in self.fitted
        )

    def confirm(self, size: int, limit_bytes: int, repeat: int) -> bool:
        """The same again in another process, where memory may be laid out less luckily."""
        return self._ask(_final(size, limit_bytes, repeat)) is not None

    def longest(self, size: int, limit_bytes: int) -> Fits:
        """The verification that made most full steps, of a size that passed one."""
        passed = [
            fits
            for task, fits in self.fitted
            if (task.batch_size, task.limit_bytes, task.verify) == (size, limit_bytes, True)
        ]
        return max(passed, key=lambda fits: fits.full_steps)

    def ran(self, size: int) -> bool:
        """Whether it trained under some limit, other than by prediction."""
        return any(task.batch_size == size for task, _ in self.fitted)

    def failed(self, size: int) -> Entry | None:
        """The latest entry of a size that did not train."""
        found = [entry for task, entry in self.entries.items() if task.batch_size == size]
        failures = [e for e in found if not isinstance(e.outcome, (Fits, Predicted))]
        return failures[-1] if failures else None

    def smallest_without_memory(self) -> int | None:
        """The smallest size that was seen not to fit, other than by a failure of another kind."""
        short = (OutOfMemory, OverBudget)
        found = [
            t.batch_size for t, entry in self.entries.items() if isinstance(entry.outcome, short)
        ]
        return min(found, default=None)

    def failed_verification(self, size: int, limit_bytes: int) -> Entry:
        """The entry of the verification of a size, or of a confirmation, that failed."""
        return next(
            entry
            for task, entry in self.entries.items()
            if task.verify
            and (task.batch_size, task.limit_bytes) == (size, limit_bytes)
            and not isinstance(entry.outcome, Fits)
        )

    def known(self, budget_bytes: int) -> dict[int, int | None]:
        """What is known under a limit: what held less fits, what failed under more does not."""
        known: dict[int, int | None] = {}
        for task, entry in self.entries.items():
            match entry.outcome:
                case Predicted() if self.ran(task.batch_size):
                    continue
                case Fits() | Predicted() as fits if fits.peak_bytes <= budget_bytes:
                    known.setdefault(task.batch_size, fits.needed_bytes)
                case Predicted():
                    known[task.batch_size] = None
                case Fits():
                    continue
                case _ if task.limit_bytes >= budget_bytes:
                    known[task.batch_size] = None
        return known

    def peak(self, size: int) -> int:
        """The larger of the peaks measured at `size`, under the tightest limit that it kept.

        Where it did not run, what was predicted.
        """
        ran = [(t.limit_bytes, fits.peak_bytes) for t, fits in self.fitted if t.batch_size == size]
        if not ran:
            at = [entry.outcome for task, entry in self.entries.items() if task.batch_size == size]
            return max(told.peak_bytes for told in at if isinstance(told, Predicted))
        tightest = min(limit for limit, _ in ran)
        return max(peak for limit, peak in ran if limit == tightest)

    def peaks(self) -> dict[int, int]:
        """Of all sizes that ran, or were predicted to fit."""
        fit = [t for t, e in self.entries.items() if isinstance(e.outcome, (Fits, Predicted))]
        return {task.batch_size: self.peak(task.batch_size) for task in fit}


def point_of(task: Probe, entry: Entry) -> ProbePoint:
    """What a probe's entry says, as results list it."""
    return ProbePoint(
        batch_size=task.batch_size,
        outcome=str(entry.outcome.__struct_config__.tag),  # type: ignore[arg-type]
        peak_bytes=getattr(entry.outcome, "peak_bytes", None),
        seconds=entry.seconds,
        verify=task.verify,
        limit_bytes=task.limit_bytes,
        evidence=getattr(entry.outcome, "evidence", None),
    )


def _brief(size: int, limit_bytes: int, *, verify: bool) -> Probe:
    seconds = QUICK_SECONDS if verify else SHORT_SECONDS
    return Probe(batch_size=size, limit_bytes=limit_bytes, verify=verify, seconds=seconds)


def _final(size: int, limit_bytes: int, repeat: int = 0) -> Probe:
    return Probe(
        batch_size=size,
        limit_bytes=limit_bytes,
        verify=True,
        seconds=CONFIRM_SECONDS if repeat else FINAL_SECONDS,
        repeat=repeat,
    )


def _phrase(outcome: Outcome) -> str:
    if isinstance(outcome, Predicted):
        return f"would fit, peak {format_bytes(outcome.peak_bytes)} by its compilation"
    if isinstance(outcome, Fits):
        return f"fits, peak {format_bytes(outcome.peak_bytes)}"
    return why_it_failed(outcome)
