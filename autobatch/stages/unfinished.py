"""What a search for the largest batch says that was left off: a bracket, and nothing verified."""

from collections.abc import Callable

from autobatch.core.search import Bracket
from autobatch.protocol import BoundedBy
from autobatch.stages.asked_sizes import AskedSizes


def sentence(found: Bracket, why: str, fits: str = "fits") -> str:
    """The bracket in words."""
    if found.bad is None:
        where = f"{found.good} {fits}, and nothing larger was tried"
    else:
        where = f"{found.good} {fits}, {found.bad} does not, and the largest may be between"
    return f"{where}: {why}."


def answer(
    sizes: AskedSizes, proved: int | None, bounded_by: Callable[[int], BoundedBy]
) -> tuple[int, int, str] | None:
    """(largest size, ceiling, a sentence on them) so far; None where no size has fitted yet.

    The largest is `proved`, if it is known; the ceiling is the largest size whose peak left the
    headroom, 0 if none did.
    """
    made, session = sizes.made, sizes.made.session
    limit_bytes, headroom = session.limit_bytes, session.recipe.device.headroom
    found = sizes.bracket(limit_bytes)
    if found.good == 0:
        return None
    budget = int(limit_bytes * (1 - headroom))
    fitting = [size for size, peak in sizes.known(budget).items() if peak is not None]
    keeping = [size for size in fitting if made.peak(size) <= budget]  # verified, it may need more
    largest, why = proved or found.good, session.why_it_ends()
    leaves = 1 - headroom if bounded_by(largest) == "host_memory" else 1
    ceiling = max((size for size in keeping if size <= largest * leaves), default=0)
    fits = "fits" if made.ran(found.good) else "is predicted to fit"
    told = f"{sentence(found, why, fits)} Not verified."
    if proved is not None:
        told = f"{proved} was verified, and the size that keeps the headroom was not: {why}."
    return largest, ceiling, told
