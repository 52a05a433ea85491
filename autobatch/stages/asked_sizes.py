"""The sizes that the search may ask about: a range, and within it what the user's code takes.

Perhaps no small ones, or the multiples of a number alone: a loss over pairs of samples takes no
batch of one, and statistics of groups of 16 no batch of 40. Neither says that larger batches fail.
"""

from math import gcd

from autobatch.core.search import Bracket, bracket_of
from autobatch.protocol import Fits, Predicted, UserCodeFailed
from autobatch.stages.probes import Probes

MOST_POWERS = 3  # that are asked about where the user's code fails at other sizes


class AskedSizes:
    """Multiples of `multiple` from `lower` to `upper`, both included."""

    def __init__(self, made: Probes, *, lower: int, upper: int, multiple: int) -> None:
        self.made, self.multiple = made, multiple
        self.lower = -(-lower // multiple) * multiple
        self.upper = upper // multiple * multiple
        self._powers_asked = 0

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
        """Whether it has just been found that the user's code fails at other sizes alone.

        A power of two (times `multiple`) below the size that failed, and above all that trained,
        shows it: that trains, and the next size does not. Sizes are then kept to the largest number
        that all that trained are multiples of, and none that failed is.
        """
        found = self.bracket(budget_bytes)
        if not found.good or found.bad is None or not self._failed_by_code(found.bad):
            return False
        power = self.multiple << ((found.bad - 1) // self.multiple).bit_length() - 1
        other = power + self.multiple
        if power <= found.good or self._powers_asked == MOST_POWERS:
            return False
        self._powers_asked += 1
        if self.peak(power, budget_bytes, verify=False) is None:
            return False
        self.peak(other, budget_bytes, verify=False)
        common = self._common_multiple()
        if not self._failed_by_code(other) or common <= self.multiple:
            return False
        self.multiple = common
        self.lower = self.at_most(self.lower + common - 1)
        self.upper = self.upper // common * common
        self.made.notes.append(
            f"Your code failed with batch {other}, and not with {power}: only multiples of "
            f"{common} are looked at."
        )
        return True

    def _common_multiple(self) -> int:
        """Of all sizes that trained; 1 where a size that failed is one of its multiples, too."""
        entries = self.made.entries.items()
        trained = (t.batch_size for t, e in entries if isinstance(e.outcome, Fits | Predicted))
        failed = (t.batch_size for t, e in entries if isinstance(e.outcome, UserCodeFailed))
        common = gcd(*trained)
        return 1 if any(size % common == 0 for size in failed) else common

    def _failed_by_code(self, size: int) -> bool:
        entry = self.made.failed(size)
        return entry is not None and isinstance(entry.outcome, UserCodeFailed)
