"""How far luck, which differs from seed to seed, moves what two candidates differ by.

Of tables y[candidate, seed]. What a seed does to all candidates alike is no luck.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autobatch.core import quantiles

Table = npt.NDArray[np.float64]

# Chance that a candidate like the others is taken for out of line, times its degrees of freedom.
# With three seeds, less would miss too many that are; with more seeds, more would pool too seldom,
# and so miss gains (bench/luck.py).
LEVEL = 0.1


class Luck(NamedTuple):
    deviation: float  # standard deviation of one seed's difference of two candidates
    pooled: bool  # over all candidates


def of_difference(y: Table, one: int, other: int) -> Luck:
    """Pooled where the candidates are alike: the residual of a two-way additive model (candidate +
    seed). Otherwise of these two's differences alone: what is pooled is too little for the one that
    is out of line, too much for the others.
    """
    candidates, seeds = y.shape
    if not are_alike(y):
        return Luck(float((y[one] - y[other]).std(ddof=1)), pooled=False)
    degrees = (candidates - 1) * (seeds - 1)
    return Luck(sqrt(2 * float(_squares(y).sum()) / degrees), pooled=True)


def are_alike(y: Table) -> bool:
    """Whether no candidate's variance is out of line with that of all others.

    By Fisher's ratio of its variance to the residual that is left without it (Russell and Bradley
    1958, Biometrika 45). Of two candidates it does not matter whose luck it is.
    """
    candidates, seeds = y.shape
    if candidates == 2:
        return True
    squares = _squares(y)
    own = float(squares.max()) * candidates / (candidates - 1)
    others = float(squares.sum()) - own
    return bool(own * (candidates - 2) <= critical_ratio(candidates, seeds) * others)


def critical_ratio(candidates: int, seeds: int) -> float:
    """What the ratio of a candidate that is like the others is below, but for that chance."""
    degrees = seeds - 1
    return quantiles.fisher(1 - LEVEL / degrees, degrees, (candidates - 2) * degrees)


def _squares(y: Table) -> Table:
    """The sum of each candidate's, of what (candidate, seed) leave of `y`."""
    left = y - y.mean(axis=1)[:, None] - y.mean(axis=0)[None, :] + y.mean()
    squares: Table = (left**2).sum(axis=1)
    return squares
