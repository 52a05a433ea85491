"""What fits? A bracketed search over measured peaks, each in a fresh process; then verified."""

from contextlib import suppress
from math import inf

from autobatch.core.search import Bracket, largest_fitting, tries_left
from autobatch.errors import (
    InterruptedRunError,
    NothingFitsError,
    OutsideError,
    UserCodeError,
)
from autobatch.protocol import (
    BoundedBy,
    Fits,
    Inspected,
    OutOfMemory,
    Predicted,
    ProbeResult,
)
from autobatch.stages import unfinished
from autobatch.stages.ask import Session
from autobatch.stages.asked_sizes import AskedSizes
from autobatch.stages.probes import NOT_ABOUT_MEMORY, Probes
from autobatch.stages.refusal import NOTHING_FITS, refuse, refuse_range
from autobatch.stages.remarks import remarks
from autobatch.stages.verification import VERIFICATIONS, Verifier
from autobatch.stages.worth import largest_worth_a_trial
from autobatch.units import format_bytes, format_share

NEAR = 0.25  # a bracket that is narrower than this share of its lower end is near the answer
FAILURE_SECONDS = {"cpu": 1.0, "gpu": 10.0}  # that TensorFlow waits before it gives up
FAILURES_EXPECTED = 1 / 3  # of the sizes tried
TOLERANCE = 0.01  # of the answer, unless it is to be exact
EDGE = 0.005  # of it, kept from the very edge, where what varies from run to run decides

MEMORY = ("memory", "host_memory")


class _OutOfTimeError(Exception):
    """Ends the narrowing; what fits is verified all the same."""


class _OtherSizesError(Exception):
    """Begins the narrowing again, with what is known, among other sizes."""


class Prober:
    """The search for one model: which size to try next, and what is concluded.

    Sizes beyond `at_most` are of no interest, nor those of longer steps (see `worth`).
    """

    def __init__(
        self,
        session: Session,
        inspected: Inspected,
        *,
        exact: bool = False,
        at_most: int | None = None,
        step_seconds_at_most: float = inf,
    ) -> None:
        self.session, self.exact, self.at_most = session, exact, at_most
        self.samples = inspected.train_samples
        sizes = session.recipe.batch_sizes
        replicas = session.recipe.device.replicas
        least = -(-sizes.min // replicas) * replicas
        self.most = min(sizes.max, max(at_most or sizes.max, least))
        self.step_seconds_at_most, self.is_too_slow_above = step_seconds_at_most, False
        self.start = session.recipe.baseline.batch_size
        self.made = Probes(session, inspected.abilities)
        upper = min(self.most, self.samples or self.most)
        self.sizes = AskedSizes(self.made, lower=least, upper=upper, multiple=replicas)
        self.edge = 0.0 if exact or self.made.predicts else EDGE
        tolerance = 0.0 if exact else TOLERANCE
        self.tolerance = tolerance - self.edge  # of the search, which leaves the edge its share
        self.verification = Verifier(self.made, self.sizes, tolerance=tolerance)
        self.left_off_at: int | None = None  # the largest that fitted when time ran out
        self.proved: int | None = None  # the largest, verified
        if self.sizes.upper < self.sizes.lower:
            refuse_range(session.recipe, self.samples)

    def run(self) -> ProbeResult:
        """The largest fitting batch and the largest that keeps the headroom, both verified.

        Of an interrupted search, what it has found, if that is anything.
        """
        try:
            return self._run()
        except InterruptedRunError:
            found = unfinished.answer(self.sizes, self.proved, self._bounded_by)
            if found is None:
                raise
            largest, ceiling, told = found
            self.session.end("probe", told)
            return self._result(largest, ceiling, told)

    def _run(self) -> ProbeResult:
        session, sizes = self.session, self.sizes
        limit_bytes, headroom = session.limit_bytes, session.recipe.device.headroom
        jobs, seconds = self._cost_left(limit_bytes)
        told = f"limit {format_bytes(limit_bytes)}, sizes {sizes.lower} to {sizes.upper}"
        session.begin("probe", jobs, seconds, told)
        worth = largest_worth_a_trial(
            self.made,
            sizes.at_most(min(self.start, sizes.upper)),
            sizes.upper,
            limit_bytes,
            self.step_seconds_at_most,
        )
        if worth is not None:
            sizes.upper, self.is_too_slow_above = sizes.at_most(worth), True
        found = self.narrow(limit_bytes).good
        inside = self._off_the_edge(found)
        ceiling = largest = self.proved = self.verification.confirmed(
            inside, limit_bytes, lambda size: self._bounded_by(size) in MEMORY
        )
        if largest == inside < found:
            self.made.notes.append(
                f"{found} trained too, at the very edge; {inside}, within the {TOLERANCE:.0%} that "
                "the search leaves open, was verified (`autobatch probe --exact` goes on to the "
                "sample)."
            )
        if largest < inside and self.made.doubt is not None:
            self.left_off_at = largest
        budget = int(limit_bytes * (1 - headroom))
        bound = self._bounded_by(largest)
        if bound == "time" and self._failed_above(largest) == "host_memory":
            bound = "host_memory"  # it may be just above
        if not self.verification.keeps(largest, budget, bound):
            ceiling = self._keeping(budget, largest, bound)
        keeps = f"; {ceiling or 'no size'} keeps {format_share(headroom)} free"
        result = self._result(largest, ceiling)
        by = result.bounded_by.replace("_", " ")
        told = f"{result.name_of_largest} {largest} (bounded by {by})"
        if largest == self.at_most:
            told = f"{largest} fits, the largest to be measured"
        held = self.made.peak(ceiling or largest)
        peak = f"peak {format_bytes(held)} of {format_bytes(limit_bytes)}"
        session.end("probe", f"{told}{keeps if ceiling < largest else ''}; {peak}")
        return result

    def _keeping(self, budget_bytes: int, largest: int, bound: BoundedBy) -> int:
        """A size near the largest that passes within what the headroom leaves; 0: none was found.

        What fits without the headroom is an answer all the same.
        """
        known = self.exact or self.made.predicts
        try:
            most = self.verification.leaving(largest) if bound == "host_memory" else largest
            if known:
                size = self.narrow(budget_bytes).good
            else:
                size = self.verification.within(budget_bytes, largest, bound)
            return self.verification.largest(min(size, most), budget_bytes, refine=known)
        except OutsideError:
            raise
        except (NothingFitsError, UserCodeError) as error:
            free = self.session.recipe.device.headroom
            why = error.message.removeprefix(f"{NOTHING_FITS} ")
            self.made.notes.append(f"No size was found that keeps {format_share(free)} free. {why}")
            return 0

    def _result(self, largest: int, ceiling: int, *notes: str) -> ProbeResult:
        is_proved = self.proved is not None
        return ProbeResult(
            largest_fitting=largest,
            ceiling=ceiling,
            ceiling_peak_bytes=self.made.peak(ceiling) if ceiling else 0,
            limit_bytes=self.session.limit_bytes,
            headroom=float(self.session.recipe.device.headroom),
            replicas=self.session.recipe.device.replicas,
            multiple=self.sizes.multiple,
            least=self.sizes.lower,
            bounded_by=self._bounded_by(largest) if is_proved else "time",
            verified=is_proved and self.made.doubt is None,
            probes=tuple(self.made.points),
            wall_seconds=sum(point.seconds for point in self.made.points),
            notes=(*notes, *remarks(self.made)),
        )

    def _off_the_edge(self, size: int) -> int:
        less = self.sizes.at_most(size - int(size * self.edge) + self.sizes.multiple - 1)
        return less if self._bounded_by(size) in MEMORY else size

    def _bounded_by(self, largest: int) -> BoundedBy:
        if largest == self.sizes.upper:
            few = self.samples is not None and self.samples <= self.most
            return "trials" if self.is_too_slow_above else "samples" if few else "range"
        return "time" if largest == self.left_off_at else self._failed_above(largest)

    def _failed_above(self, largest: int) -> BoundedBy:
        """What the next larger size that did not train failed by."""
        above = {
            task.batch_size: entry.outcome
            for task, entry in self.made.entries.items()
            if task.batch_size > largest
            and task.batch_size % self.sizes.multiple == 0
            and not isinstance(entry.outcome, (Fits, Predicted))
        }
        failed = above[min(above)] if above else None
        if isinstance(failed, NOT_ABOUT_MEMORY):
            return "failure"
        is_host = isinstance(failed, OutOfMemory) and failed.host_memory
        return "host_memory" if is_host else "memory"

    def narrow(self, budget_bytes: int) -> Bracket:
        """The bracket of the largest size that trains with `budget_bytes` as its hard limit.

        What it holds at most says little: it takes more where there is more, and makes do with
        less where there is not. The search is led by what its steps held in the middle. Once it is
        near, each further size is verified at once: validation, too, takes memory, and of a size
        that fits without it nothing would be won.
        """

        def needed(size: int) -> int | None:
            self.session.expect("probe", *self._cost_left(budget_bytes))
            known = self.sizes.bracket(budget_bytes)
            if known.good and self.session.seconds_left() <= 0:
                raise _OutOfTimeError
            is_near = known.bad is not None and known.bad - known.good <= NEAR * known.good
            peak = self.sizes.peak(size, budget_bytes, verify=is_near)
            if peak is None and self.sizes.keep_to_multiples(budget_bytes):
                raise _OtherSizesError
            return peak

        try:
            while True:
                with suppress(_OtherSizesError):
                    found = largest_fitting(
                        needed,
                        lower=self.sizes.lower,
                        upper=self.sizes.upper,
                        start=self.start,
                        limit_bytes=budget_bytes,
                        tolerance=self.tolerance,
                        known=self.sizes.known(budget_bytes),
                        multiple=self.sizes.multiple,
                    )
                    if found.good or not self.sizes.begin_larger():
                        break
        except _OutOfTimeError:
            found = self.sizes.bracket(budget_bytes)
            if budget_bytes == self.session.limit_bytes:
                self.left_off_at = found.good
            fits = "fits" if budget_bytes == self.session.limit_bytes else "keeps the headroom"
            why = self.session.why_it_ends()
            self.made.notes.append(unfinished.sentence(found, why, fits))
        if found.good == 0:
            refuse(self.made, self.sizes.lower, budget_bytes)
        return found

    def _cost_left(self, budget_bytes: int) -> tuple[int, float]:
        """(jobs, seconds) that are probably left, by what was seen so far."""
        jobs = tries_left(
            self.sizes.bracket(budget_bytes),
            lower=self.sizes.lower,
            upper=self.sizes.upper,
            tolerance=self.tolerance,
            multiple=self.sizes.multiple,
        )
        waits = FAILURE_SECONDS[self.session.record.target.device]
        each = self.session.job_seconds + FAILURES_EXPECTED * waits
        if self.made.points:
            each = sum(point.seconds for point in self.made.points) / len(self.made.points)
        return jobs + VERIFICATIONS, jobs * each + self.verification.expected_seconds()
