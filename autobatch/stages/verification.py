"""Which size passes verification: many steps, the ragged last batch, validation, each afresh."""

from collections.abc import Callable

from autobatch.core.search import step_of
from autobatch.protocol import UserCodeFailed
from autobatch.stages.ask import why_it_failed
from autobatch.stages.probes import NOT_ABOUT_MEMORY, Probes
from autobatch.stages.refusal import refuse
from autobatch.units import format_bytes

VERIFICATIONS = 3  # of the largest size twice, and of the one that keeps the headroom
COARSE = 0.1  # of a size that only keeps the headroom
# Of the size whose verification failed: each twice as far down as the one before; then halves. By
# small steps at first: as a rule little is lacking, and each that passes takes its time.
STEPS_DOWN = (0.99, 0.98, 0.96, 0.92, 0.84, 0.68)
WALKED = 1.1  # a step of a per cent is somewhat more than one of what it leads down to


class Verifier:
    """Of sizes that the search named; steps down from one that does not pass, and says so."""

    def __init__(self, made: Probes, *, lower: int, replicas: int, tolerance: float) -> None:
        self.made, self.session = made, made.session
        self.lower, self.replicas = lower, replicas
        self.tolerance = tolerance  # relative; 0: to the sample

    def shared(self, size: float) -> int:
        """A size at most so large that the replicas can share; the least there is at least."""
        return max(self.lower, int(size) // self.replicas * self.replicas)

    def confirmed(self, size: int, limit_bytes: int, is_bound: Callable[[int], bool]) -> int:
        """A size that passes verification in two processes, where memory is what bounds it.

        In three, once one was seen to fail where another had not. `is_bound` says whether it does.
        """
        good, others = self.largest(size, limit_bytes), 1
        while not self.made.predicts and is_bound(good):
            if self.session.seconds_left() <= 0:
                if self.made.doubt is None:
                    self.made.not_proved(good, "one process")
                break
            if self.made.confirm(good, limit_bytes, others):
                break
            failed, others = good, 2
            self._expect_more()
            if failed == self.lower:
                refuse(self.made, self.lower, limit_bytes)
            below = failed if self.tolerance == 0 else failed * STEPS_DOWN[0]
            below = self.shared(min(below, self._at_most(failed)))
            good = self.largest(below, limit_bytes)
            self._tell_step_down(failed, good, limit_bytes)
        return good

    def largest(self, size: int, budget_bytes: int, *, refine: bool = True) -> int:
        """`size`, or a smaller one that passes verification within the budget.

        With `refine` the largest such, to the tolerance; else, to a tenth.
        """
        tolerance = self.tolerance * WALKED if refine else COARSE
        good, bad = self._first_passing(size, budget_bytes)
        while bad <= size and bad - good > max(self.replicas, step_of(good, tolerance)):
            if self.session.seconds_left() <= 0:
                break
            middle = self.shared((good + bad) // 2)
            if self.made.final(middle, budget_bytes) is not None:
                good = middle
            else:
                bad = middle
        if bad <= size:
            self._tell_step_down(bad, good, budget_bytes)
        return good

    def _first_passing(self, size: int, budget_bytes: int) -> tuple[int, int]:
        """The first from `size` downwards, and the last that did not pass."""
        shares = (1.0, *STEPS_DOWN, *(0.5**power for power in range(1, size.bit_length() + 1)))
        bad = size + self.replicas
        for share in shares:
            tried = self.shared(size * share)
            if bad <= size:
                tried = self.shared(min(tried, self._at_most(size)))
            if tried >= bad:
                continue
            if self.made.final(tried, budget_bytes) is not None:
                return tried, bad
            bad = tried
            self._expect_more()
            failure = self.made.failure(bad, budget_bytes)
            is_users = isinstance(failure.outcome, UserCodeFailed)  # it may fail at any size
            if not is_users:
                self.session.raise_for_user(failure)
            is_other = isinstance(failure.outcome, NOT_ABOUT_MEMORY)
            # Or sizes were predicted so far, and none ran: does it pass at all?
            is_in_doubt = is_users or (is_other and not self.made.ran(self.lower))
            if is_in_doubt and self.made.final(self.lower, budget_bytes) is None:
                self.session.raise_for_user(failure)
                refuse(self.made, self.lower, budget_bytes)
        refuse(self.made, self.lower, budget_bytes)

    def _at_most(self, failed: int) -> float:
        """Of what is below a size that failed: what is verified briefly is to be no near thing."""
        return failed * (1 - COARSE) if self.session.seconds_left() <= 0 else failed - 1

    def _expect_more(self) -> None:
        seconds = VERIFICATIONS * self.made.verification_seconds()
        self.session.expect("probe", VERIFICATIONS, seconds)

    def _tell_step_down(self, bad: int, good: int, budget_bytes: int) -> None:
        why = why_it_failed(self.made.failure(bad, budget_bytes).outcome)
        self.made.notes.append(
            f"{bad} did not pass verification in {format_bytes(budget_bytes)} ({why}); {good} did."
        )
