"""The learning-rate range test: at which rate does training break down?

The rate is raised exponentially while training (Smith 2015, arXiv 1506.01186). Where the smoothed
loss passes four times its least, training has diverged. A ceiling for trials, not a choice: rates
chosen from such curves are fooled by noise and by early spikes.
"""

from collections.abc import Sequence

SMOOTHING = 0.9  # of the loss from step to step
TIMES_THE_BEST = 4.0
LEAST_STEPS = 10  # before them, the smoothed loss is of too few


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average without the bias of its start."""
    found, average = [], 0.0
    for count, value in enumerate(values, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * value
        found.append(average / (1 - SMOOTHING**count))
    return found


def divergence_rate(
    rates: Sequence[float], losses: Sequence[float], *, broke_down: bool
) -> float | None:
    """The rate at which the loss left; None if it never did.

    `losses` are of the batches trained with `rates`; `broke_down`: the next was not finite. A loss
    that can be negative has no multiples: its rise is measured from its least, against its start.
    """
    curve = smoothed(losses)
    found = rates[-1] if broke_down and rates else None
    for k in range(len(curve) - 1, LEAST_STEPS - 1, -1):
        least = min(curve[LEAST_STEPS - 1 : k + 1])
        allowed = TIMES_THE_BEST * least if least > 0 else least + TIMES_THE_BEST * abs(curve[0])
        if curve[k] <= allowed:
            break  # whatever it did before, it came back
        found = rates[k]
    return found
