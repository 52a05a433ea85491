"""The sizes that the search may ask about: a range, and within it what the user's code takes.

Perhaps no small ones, or the multiples of a number alone: a loss over pairs of samples takes no
batch of one, and statistics of groups of 16 no batch of 40. Neither says that larger batches fail.
"""

from math import gcd

from autobatch.core.search import Bracket, bracket_of
from autobatch.protocol import Fits, Predicted, UserCodeFailed
from autobatch.stages.probes import Probes

MOST_ASKED = 3  # times, what the user's code takes


class AskedSizes:
    """Multiples of `multiple` from `lower`, which is one, to `upper`."""

    def __init__(self, made: Probes, *, lower: int, upper: int, multiple: int) -> None:
        self.made, self.multiple, self.lower = made, multiple, lower
        self.upper = upper // multiple * multiple
        self._asked = 0

    def at_most(self, size: float) -> int:
        """The largest up to `size`; the least there is at least."""
        return max(self.lower, int(size) // self.multiple * self.multiple)

    def known(self, budget_bytes: int) -> dict[int, int | None]:
        """What is known of them under a limit, as the search takes it."""
        known = self.made.known(budget_bytes)
        return {size: peak for size, peak in known.items() if size % self.multiple == 0}

    def bracket(self, budget_bytes: int) -> Bracket:
        return bracket_of(self.known(budget_bytes), self.lower, self.upper)

    def peak(self, size: int, budget_bytes: int, *, verify: bool) -> int | None:
        """What steps of that size need; None if it does not train within the budget."""
        if self.made.predicts:
            return self.made.predict(size, budget_bytes)
        fits = self.made.ask(size, budget_bytes, verify=verify)
        return None if fits is None else fits.needed_bytes

    def begin_larger(self) -> bool:
        """Look on above the smallest size, if the user's code failed there, and not memory."""
        short = self.made.smallest_without_memory()
        if not self._failed_by_code(self.lower) or short is None or 2 * self.lower >= short:
            return False
        self.lower *= 2
        return True

    def keep_to_multiples(self, budget_bytes: int) -> bool:
        """Whether the search is to begin again, with what was asked about here.

        Where the user's code failed at some size, it is asked about the next above the largest that
        trained. If it fails there, too, sizes are kept to multiples of what those that trained have
        in common, halved as often as it then still trains.
        """
        found = self.bracket(budget_bytes)
        if not found.good or found.bad is None or not self._failed_by_code(found.bad):
            return False
        if self._asked == MOST_ASKED or self.made.session.seconds_left() <= 0:
            return False
        self._asked += 1
        other = found.good + self.multiple
        if not self._trains(other, budget_bytes) and self._failed_by_code(other):
            self._keep_to(self._least_common(found.good, budget_bytes), found.good, other)
        return True

    def _least_common(self, good: int, budget_bytes: int) -> int:
        """Of what the sizes that trained have in common, as many halves as train below `good`."""
        common = self._common()
        halvings = 0
        while common % (self.multiple << halvings + 1) == 0:
            halvings += 1
        enough = 0  # halvings, at which it trained
        while enough < halvings:
            tried = (enough + halvings + 1) // 2
            if self._trains(good - (common >> tried), budget_bytes):
                enough = tried
            else:
                halvings = tried - 1
        return common >> enough

    def _keep_to(self, multiple: int, good: int, other: int) -> None:
        failed = [t for t, e in self.made.entries.items() if isinstance(e.outcome, UserCodeFailed)]
        if multiple <= self.multiple or any(task.batch_size % multiple == 0 for task in failed):
            return
        self.multiple = multiple
        self.lower = self.at_most(self.lower + multiple - 1)
        self.upper = self.upper // multiple * multiple
        self.made.notes.append(
            f"Your code failed with batch {other}, and not with {good}: only multiples of "
            f"{multiple} are looked at."
        )

    def _common(self) -> int:
        """The largest number that all sizes that trained are multiples of."""
        entries = self.made.entries.items()
        return gcd(*(t.batch_size for t, e in entries if isinstance(e.outcome, Fits | Predicted)))

    def _trains(self, size: int, budget_bytes: int) -> bool:
        return self.peak(size, budget_bytes, verify=False) is not None

    def _failed_by_code(self, size: int) -> bool:
        entry = self.made.failed(size)
        return entry is not None and isinstance(entry.outcome, UserCodeFailed)
