"""Up to which size is it worth looking for what fits, where trials are what follows?

A trial is of a given length; where memory is plenty, steps of the largest batch that fits may take
minutes each, as may a probe of it.
"""

from math import floor, isfinite, log2

from autobatch.stages.probes import Probes

MARGIN = 1.25  # by which a benchmark's steps may be slower: they have the input's overhead, too
FAR = 4.0  # times what is worth a trial: a bound that is nearer is looked for as usual


def largest_worth_a_trial(
    made: Probes, start: int, upper: int, limit_bytes: int, step_seconds_at_most: float
) -> int | None:
    """A power of two whose steps are no longer, or `start`; None: memory or `upper` is as near.

    By sizes that ran: a small one promises too little, since overhead is most of its step.
    """
    session, size = made.session, start
    while size < upper and isfinite(step_seconds_at_most) and session.seconds_left() > 0:
        fits = made.ask(size, limit_bytes)
        if fits is None or fits.step_seconds <= 0:
            return None
        worth = size * step_seconds_at_most / fits.step_seconds
        by_memory = size * limit_bytes / fits.needed_bytes  # at least: some of it is constant
        if FAR * worth >= min(by_memory, upper):
            return None
        if worth < 2 * size:
            return max(start, 1 << floor(log2(max(1.0, worth / MARGIN))))
        size = int(worth) // start * start  # which the user's code takes, and replicas can share
    return None
