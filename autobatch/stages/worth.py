"""Up to which size is it worth looking for what fits, where trials are what follows?

A trial is of a given length; where memory is plenty, steps of the largest batch that fits may take
minutes each, as may a probe of it.
"""

from math import isfinite

from autobatch.stages.probes import Probes

FAR = 4.0  # times what is worth a trial: a bound that is nearer is looked for as usual


def largest_worth_a_trial(
    made: Probes, start: int, upper: int, limit_bytes: int, step_seconds_at_most: float
) -> int | None:
    """The size of such steps, `start` at least; None where memory or `upper` bounds it as soon.

    By sizes that ran: a small one promises too little, since overhead is most of its step.
    """
    size = start
    while size < upper and isfinite(step_seconds_at_most):
        fits = made.ask(size, limit_bytes)
        if fits is None:
            return None
        worth = size * step_seconds_at_most / fits.step_seconds
        by_memory = size * limit_bytes / fits.needed_bytes  # at least: some of it is constant
        if FAR * worth >= min(by_memory, upper):
            return None
        if worth < 2 * size:
            return max(start, int(worth))
        replicas = made.session.recipe.device.replicas
        size = int(worth) // replicas * replicas
    return None
