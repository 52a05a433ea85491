"""What fits? A bracketed search over measured peaks, each in a fresh process; then verified."""

from itertools import pairwise
from typing import Literal, NoReturn

from autobatch.core.search import Bracket, largest_fitting
from autobatch.engine.record import Entry
from autobatch.errors import NothingFitsError, UsageError, UserCodeError
from autobatch.protocol import (
    Crashed,
    Fits,
    Inspected,
    Outcome,
    Probe,
    ProbePoint,
    ProbeResult,
    TimedOut,
    UserCodeFailed,
)
from autobatch.stages.ask import Session, why_it_failed
from autobatch.units import format_bytes

EXPECTED_PROBES = 6
PROBE_SECONDS = 4.0
DEADLINE_SECONDS = 600.0
STEPS_DOWN = (0.98, 0.95, 0.9, 0.75)  # of the size whose verification failed; then halves


NOT_ABOUT_MEMORY = (UserCodeFailed, Crashed, TimedOut)


class Prober:
    """The probes made so far, and the questions that can be put to them."""

    def __init__(self, session: Session, inspected: Inspected, *, exact: bool = False) -> None:
        self.session, self.exact = session, exact
        self.samples = inspected.train_samples
        sizes = session.recipe.batch_sizes
        self.lower = sizes.min
        self.upper = min(sizes.max, self.samples or sizes.max)
        self.start = session.recipe.baseline.batch_size
        self.entries: dict[tuple[int, bool], Entry] = {}
        self.points: list[ProbePoint] = []
        self.notes: list[str] = []
        if self.upper < self.lower:
            raise UsageError(
                f"batch_sizes.min is {self.lower}, but there are {self.samples} training samples.",
                hint="Lower batch_sizes.min, or give more data.",
            )

    def run(self) -> ProbeResult:
        """The largest fitting batch and the largest that keeps the headroom, both verified."""
        session = self.session
        limit_bytes, headroom = session.limit_bytes, session.recipe.device.headroom
        session.begin(
            "probe",
            EXPECTED_PROBES,
            EXPECTED_PROBES * PROBE_SECONDS,
            f"limit {format_bytes(limit_bytes)}, sizes {self.lower} to {self.upper}",
        )
        ceiling = largest = self.verified(self.narrow(limit_bytes).good, limit_bytes)
        budget = int(limit_bytes * (1 - headroom))
        if self.peak(largest) > budget:
            ceiling = self.verified(self.narrow(budget).good, budget)
        keeps = f"; {ceiling} keeps {headroom:.0%} free" if ceiling < largest else ""
        session.end(
            "probe",
            f"largest that fits {largest} (bounded by {self._bounded_by(largest)}){keeps}; "
            f"peak {format_bytes(self.peak(ceiling))} of {format_bytes(limit_bytes)}",
        )
        return ProbeResult(
            largest_fitting=largest,
            ceiling=ceiling,
            ceiling_peak_bytes=self.peak(ceiling),
            limit_bytes=limit_bytes,
            headroom=float(headroom),
            bounded_by=self._bounded_by(largest),
            verified=True,
            probes=tuple(self.points),
            wall_seconds=sum(point.seconds for point in self.points),
            notes=tuple(self.notes),
        )

    def verified_peak(self, size: int) -> int:
        """The peak of `size` in a verification of its own."""
        if _peak(self.ask(size, verify=True)) is None:
            self._nothing_fits(self.session.limit_bytes)
        return self.peak(size)

    def _bounded_by(self, largest: int) -> Literal["memory", "samples", "range", "failure"]:
        if largest == self.samples:
            return "samples"
        if largest == self.session.recipe.batch_sizes.max:
            return "range"
        above = [
            key for key, entry in self.entries.items() if key[0] > largest and not _peak(entry)
        ]
        failed = self.entries[min(above)].outcome if above else None
        return "failure" if isinstance(failed, NOT_ABOUT_MEMORY) else "memory"

    def narrow(self, budget_bytes: int) -> Bracket:
        """The bracket of the largest size whose peak is within `budget_bytes`."""

        def within(size: int) -> int | None:
            peak = _peak(self.ask(size))
            return peak if peak is not None and peak <= budget_bytes else None

        known = {size: within(size) for size, verify in self.entries if not verify}
        bracket = largest_fitting(
            within,
            lower=self.lower,
            upper=self.upper,
            start=self.start,
            limit_bytes=budget_bytes,
            tolerance=0.0 if self.exact else 0.01,
            known=known,
        )
        if bracket.good == 0:
            self._nothing_fits(budget_bytes)
        return bracket

    def verified(self, size: int, budget_bytes: int) -> int:
        """`size`, or the next smaller one that passes verification within the budget."""
        shares = (1.0, *STEPS_DOWN, *(0.5**power for power in range(1, size.bit_length() + 1)))
        sizes = dict.fromkeys(max(self.lower, int(size * share)) for share in shares)
        for tried, smaller in pairwise([*sizes, 0]):
            entry = self.ask(tried, verify=True)
            self.session.raise_for_user(entry)
            peak = _peak(entry)
            if peak is not None and peak <= budget_bytes:
                return tried
            reason = f"peak {format_bytes(peak)}" if peak else why_it_failed(entry.outcome)
            self.notes.append(
                f"{tried} trained, but did not pass verification with the last batch and "
                f"validation ({reason}); stepped down to {smaller}."
            )
        self._nothing_fits(budget_bytes)

    def peak(self, size: int) -> int:
        """The larger of the peaks measured at `size`."""
        peaks = [
            _peak(self.entries[key]) for key in ((size, True), (size, False)) if key in self.entries
        ]
        return max(peak for peak in peaks if peak is not None)

    def ask(self, size: int, verify: bool = False) -> Entry:
        if (size, verify) in self.entries:
            return self.entries[size, verify]
        task = Probe(batch_size=size, limit_bytes=self.session.limit_bytes, verify=verify)
        entry = self.session.ask(
            "probe",
            task,
            f"{'verify ' if verify else ''}{size}",
            _phrase,
            deadline_seconds=DEADLINE_SECONDS,
            user_code_may_fail=True,
        )
        if isinstance(entry.outcome, NOT_ABOUT_MEMORY):
            self.notes.append(f"Batch {size}: {why_it_failed(entry.outcome)}. Not about memory.")
        self.entries[size, verify] = entry
        self.points.append(
            ProbePoint(
                batch_size=size,
                outcome=str(entry.outcome.__struct_config__.tag),  # type: ignore[arg-type]
                peak_bytes=_peak(entry),
                seconds=entry.seconds,
                verify=verify,
                evidence=getattr(entry.outcome, "evidence", None),
            )
        )
        return entry

    def _nothing_fits(self, budget_bytes: int) -> NoReturn:
        entry = self.entries.get((self.lower, False))
        outcome = entry.outcome if entry else None
        if entry is not None:
            self.session.raise_for_user(entry)
        if isinstance(outcome, NOT_ABOUT_MEMORY):
            raise UserCodeError(
                f"Training with batch {self.lower} does not work: {why_it_failed(outcome)}.",
                hint="The end of its log in the run directory says more.",
            )
        peak = getattr(outcome, "peak_bytes", None)
        needs = f"it needs {format_bytes(peak)}" if peak else "it runs out of memory"
        allowed = format_bytes(budget_bytes)
        if budget_bytes < self.session.limit_bytes:
            allowed += f" (the limit less {self.session.recipe.device.headroom:.0%} headroom)"
        raise NothingFitsError(
            f"Nothing fits: even a batch of {self.lower} does not, {needs} and may have {allowed}.",
            hint="Raise device.memory_limit (or lower device.headroom), make the model or its "
            "inputs smaller, or use mixed precision.",
        )


def _peak(entry: Entry) -> int | None:
    return _peak_of(entry.outcome)


def _peak_of(outcome: Outcome) -> int | None:
    return outcome.peak_bytes if isinstance(outcome, Fits) else None


def _phrase(outcome: Outcome) -> str:
    if isinstance(outcome, Fits):
        return f"fits, peak {format_bytes(outcome.peak_bytes)}"
    return why_it_failed(outcome)
