"""Which size passes verification: many steps, the ragged last batch, validation, each afresh."""

from collections.abc import Callable
from math import inf

from autobatch.core.search import prediction, step_of, where_line_meets
from autobatch.errors import NothingFitsError
from autobatch.protocol import VERIFY_STEPS, BoundedBy, TimedOut, UserCodeFailed
from autobatch.stages.ask import why_it_failed
from autobatch.stages.asked_sizes import AskedSizes
from autobatch.stages.probes import (
    AMPLE,
    CONFIRM_SECONDS,
    FEW_STEPS,
    FINAL_SECONDS,
    NOT_ABOUT_MEMORY,
    QUICK_SECONDS,
    Probes,
)
from autobatch.stages.refusal import refuse
from autobatch.units import format_bytes, format_share

VERIFICATIONS = 3  # of the largest size twice, and of the one that keeps the headroom
COARSE = 0.1  # of a size that only keeps the headroom
MARGIN = 0.02  # by which the size that keeps the headroom is taken lower than predicted
# Of the size whose verification failed: each twice as far down as the one before; then halves. By
# small steps at first: as a rule little is lacking, and each that passes takes its time.
STEPS_DOWN = (0.99, 0.98, 0.96, 0.92, 0.84, 0.68)
WALKED = 1.1  # a step of a per cent is somewhat more than one of what it leads down to
UNEVEN = 3  # tolerances that are left where processes differ at two sizes: there is no such edge


class Verifier:
    """Of sizes that the search named; steps down from one that does not pass, and says so."""

    def __init__(self, made: Probes, sizes: AskedSizes, *, tolerance: float) -> None:
        self.made, self.session, self.sizes = made, made.session, sizes
        self.tolerance = tolerance  # relative; 0: to the sample

    def expected_seconds(self) -> float:
        """That the verifications of the answer will probably take, by the steps seen last.

        Where the search leads to the limit, they are long, and of a larger size than was seen.
        """
        limit_bytes = self.session.limit_bytes
        jobs_seconds = VERIFICATIONS * self.session.start_seconds
        if not self.made.fitted:
            return jobs_seconds
        task, fits = self.made.fitted[-1]
        is_ample = self._led_to(int(AMPLE * limit_bytes)) == self.sizes.upper
        larger = max(1.0, self._led_to(limit_bytes) / task.batch_size)
        at_length = VERIFY_STEPS * fits.step_seconds * larger
        least = 2 * FEW_STEPS * fits.step_seconds  # of training and of validation
        return jobs_seconds + sum(
            max(least, min(QUICK_SECONDS if is_ample else each, at_length))
            for each in (FINAL_SECONDS, FINAL_SECONDS, CONFIRM_SECONDS)
        )

    def _led_to(self, budget_bytes: int) -> int:
        """About the largest size that needs no more, of those that may train."""
        known = self.sizes.known(self.session.limit_bytes)
        found = self.sizes.bracket(self.session.limit_bytes)
        most = self.sizes.upper if found.bad is None else found.bad - 1
        return prediction(known, found.good, budget_bytes, most) if found.good else 0

    def confirmed(self, size: int, limit_bytes: int, is_bound: Callable[[int], bool]) -> int:
        """A size that passes verification in two processes, where memory is what bounds it.

        In three, once one was seen to fail where another had not: then ever further down, and up
        again half way to what failed. A size that is tried until it passes has passed by luck.
        `is_bound` says whether memory does bound it.
        """
        good, bad = self._largest(size, limit_bytes)
        failed = bad if bad <= size else None  # the first of all
        if not self.made.predicts and (failed is not None or is_bound(good)):
            proved, refuted = self._proved(good, limit_bytes)
            failed, good = failed or refuted, proved
        if failed is not None:
            self._tell_step_down(failed, good, limit_bytes)
        return good

    def _proved(self, good: int, limit_bytes: int) -> tuple[int, int | None]:
        """A size that passes in further processes, and the first that did not, if one did not."""
        downs, first, bad = 0, None, good
        while self._fails_elsewhere(good, limit_bytes, 1 if downs == 0 else 2):
            first, bad = first or good, good
            self._expect_more()
            if good == self.sizes.lower:
                refuse(self.made, self.sizes.lower, limit_bytes)
            share = STEPS_DOWN[min(downs, len(STEPS_DOWN) - 1)]
            below = good - self.sizes.multiple * 2**downs if self.tolerance == 0 else good * share
            tried = self.sizes.at_most(min(below, self._at_most(good)))
            good, _ = self._largest(tried, limit_bytes)
            downs += 1
        if downs > 1:

            def passes(size: int) -> bool:
                fits = self.made.final(size, limit_bytes) is not None
                return fits and not self._fails_elsewhere(size, limit_bytes, 2)

            good, _ = self._between(good, bad, passes, self.tolerance * UNEVEN)
        self._tell_few_steps(good, limit_bytes)
        return good, first

    def _between(
        self, good: int, bad: int, passes: Callable[[int], bool], tolerance: float
    ) -> tuple[int, int]:
        """A size that passes and one that does not, nearer to each other: as far as time allows."""
        while bad - good > max(self.sizes.multiple, step_of(good, tolerance)):
            if self.session.seconds_left() <= 0:
                break
            middle = self.sizes.at_most((good + bad) // 2)
            if passes(middle):
                good = middle
            else:
                bad = middle
        return good, bad

    def _fails_elsewhere(self, size: int, limit_bytes: int, processes: int) -> bool:
        """Whether it does not pass in so many further processes, as far as there is time."""
        for repeat in range(1, processes + 1):
            if self.session.seconds_left() <= 0:
                if self.made.doubt is None:
                    self.made.not_proved(size, "one process" if repeat == 1 else "two processes")
                return False
            if not self.made.confirm(size, limit_bytes, repeat):
                return True
        return False

    def _tell_few_steps(self, size: int, limit_bytes: int) -> None:
        fits = self.made.longest(size, limit_bytes)
        is_slow = VERIFY_STEPS * fits.step_seconds > CONFIRM_SECONDS
        if is_slow and self.made.doubt is None:
            self.made.notes.append(
                f"{size} was verified over {fits.full_steps} steps, as they are slow: where memory "
                "creeps up over more, the size that keeps the headroom is the safer one."
            )

    def keeps(self, size: int, budget_bytes: int, bound: BoundedBy) -> bool:
        """Whether a size that passed under the limit trains within the budget.

        Where memory is its `bound` it may need more than it holds, of memory that lies in pieces:
        that is tried. Of the machine's memory, the largest size leaves nothing.
        """
        leaves_nothing = bound == "host_memory" and self.session.recipe.device.headroom > 0
        if leaves_nothing or self.made.peak(size) > budget_bytes:
            return False
        if self.made.predicts or bound != "memory" or self.made.is_ample(size, budget_bytes):
            return True
        return self.session.seconds_left() <= 0 or self.made.final(size, budget_bytes) is not None

    def leaving(self, largest: int) -> int:
        """The largest size that keeps the headroom where the machine's memory bounds `largest`.

        How much of that a size takes is not measured: it keeps the headroom in samples. Raises
        NothingFitsError if there is none.
        """
        headroom = self.session.recipe.device.headroom
        size = int(largest * (1 - headroom)) // self.sizes.multiple * self.sizes.multiple
        if size < self.sizes.lower:
            raise NothingFitsError(f"Memory of the machine bounds the batch at {largest} already.")
        if size < largest:
            self.made.notes.append(
                "Memory of the machine bounds the batch, and how much of it a size takes is not "
                f"measured: of {largest} samples at most {size} are taken to keep "
                f"{format_share(headroom)} free."
            )
        return size

    def within(self, budget_bytes: int, largest: int, bound: BoundedBy) -> int:
        """Where memory reaches the budget, on the line through the smallest size and the largest.

        Somewhat less: its verification is the proof, and a failure costs more than it is worth to
        narrow what is a margin in any case. Where memory is the `bound` of the largest, it makes do
        with what it has.
        """
        needs = {task.batch_size: fits.needed_bytes for task, fits in self.made.fitted}
        if bound == "memory":
            needs[largest] = self.session.limit_bytes
        size = where_line_meets(needs, min(needs), largest, budget_bytes)
        return self.sizes.at_most(min(size * (1 - MARGIN), largest))

    def largest(self, size: int, budget_bytes: int, *, refine: bool = True) -> int:
        """`size`, or a smaller one that passes verification within the budget.

        With `refine` the largest such, to the tolerance; else, to a tenth.
        """
        good, bad = self._largest(size, budget_bytes, refine=refine)
        if bad <= size:
            self._tell_step_down(bad, good, budget_bytes)
        return good

    def _largest(self, size: int, budget_bytes: int, *, refine: bool = True) -> tuple[int, int]:
        """And the least that did not pass; one above `size` where that did."""
        tolerance = self.tolerance * WALKED if refine else COARSE
        good, bad = self._first_passing(size, budget_bytes)
        if bad > size:
            return good, bad

        def passes(size: int) -> bool:
            return self.made.final(size, budget_bytes) is not None

        return self._between(good, bad, passes, tolerance)

    def _first_passing(self, size: int, budget_bytes: int) -> tuple[int, int]:
        """The first from `size` downwards, and the last that did not pass."""
        shares = (1.0, *STEPS_DOWN, *(0.5**power for power in range(1, size.bit_length() + 1)))
        bad, most = size + self.sizes.multiple, inf
        for share in shares:
            tried = self.sizes.at_most(size * share)
            if bad <= size:
                tried = self.sizes.at_most(min(tried, self._at_most(size), most))
            if tried >= bad:
                continue
            if self.made.final(tried, budget_bytes) is not None:
                return tried, bad
            bad = tried
            self._expect_more()
            failure = self.made.failed_verification(bad, budget_bytes)
            if isinstance(failure.outcome, TimedOut):
                most = bad / 2  # a little less would not end any sooner
            if not isinstance(failure.outcome, UserCodeFailed):
                self.session.raise_for_user(failure)
            # Which may be so at any size: does the smallest that trained pass at all?
            is_in_doubt = isinstance(failure.outcome, NOT_ABOUT_MEMORY)
            if is_in_doubt and self.made.final(least := self._least(bad), budget_bytes) is None:
                self.session.raise_for_user(failure)
                refuse(self.made, least, budget_bytes)
        refuse(self.made, self.sizes.lower, budget_bytes)

    def _least(self, bad: int) -> int:
        """Below `bad`, of the sizes that trained: smaller ones may be too small for the model."""
        trained = {task.batch_size for task, _ in self.made.fitted}
        return min((size for size in trained if size < bad), default=self.sizes.lower)

    def _at_most(self, failed: int) -> float:
        """Of what is below a size that failed: what is verified briefly is to be no near thing."""
        return failed * (1 - COARSE) if self.session.seconds_left() <= 0 else failed - 1

    def _expect_more(self) -> None:
        self.session.expect("probe", VERIFICATIONS, self.expected_seconds())

    def _tell_step_down(self, bad: int, good: int, budget_bytes: int) -> None:
        why = why_it_failed(self.made.failed_verification(bad, budget_bytes).outcome)
        self.made.notes.append(
            f"{bad} did not pass verification in {format_bytes(budget_bytes)} ({why}); {good} did."
        )
