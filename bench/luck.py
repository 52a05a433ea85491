"""What the intervals of speedups are worth where the luck of candidates is uneven.

Five candidates, the baseline and four finalists, that are all as fast. ln of their times varies
from seed to seed by a spread of each one's own. Three ways to say how far chance goes: by one luck
that is pooled over all, always; only where none is out of line (as `core.luck` has it); never.
How often is one of them called `better`, how many of its intervals does the one that holds least
often hold, and how often would it be found that the first after the baseline is 1.3 or 1.5 times
as fast?

    python bench/luck.py [SEEDS [RUNS]]
"""

import sys

import numpy as np
from questions import head

from autobatch.core import luck, ranking

SPREADS = {
    "0.15 each": [0.15] * 5,
    "one 0.4, others 0.1": [0.1, 0.1, 0.1, 0.1, 0.4],
    "one 0.6, others 0.1": [0.1, 0.1, 0.1, 0.1, 0.6],
    "the baseline 0.4, others 0.1": [0.4, 0.1, 0.1, 0.1, 0.1],
    "two 0.4, others 0.1": [0.1, 0.1, 0.1, 0.4, 0.4],
    "the baseline and one 0.4": [0.4, 0.1, 0.1, 0.1, 0.4],
}
GAINS = (1.3, 1.5)


def main() -> None:
    seeds, runs = [*map(int, sys.argv[1:]), *(5, 4000)[len(sys.argv) - 1 :]]
    found = (f"{gain}x found" for gain in GAINS)
    head(f"spread, {seeds} seeds", "pooled", "called better", "least held", *found)
    levels = {"always": 0.0, "where alike": luck.LEVEL, "never": float(seeds - 1)}
    for name, spreads in SPREADS.items():
        for pooled, level in levels.items():
            luck.LEVEL = level
            print(f"| {name} | {pooled} | {row(np.array(spreads), seeds, runs)} |")


def row(spreads: np.ndarray, seeds: int, runs: int) -> str:
    chance = np.random.default_rng(0)
    low, high = np.empty((2, runs, len(spreads) - 1))
    for run in range(runs):
        times = np.exp(spreads[:, None] * chance.standard_normal((len(spreads), seeds)))
        intervals = ranking.speedups(dict(enumerate(times)), baseline=0).values()
        low[run], high[run] = zip(*((each.low, each.high) for each in intervals), strict=True)
    held = ((low <= 1) & (high >= 1)).mean(axis=0).min()
    # A candidate that is faster by a factor has all of its interval times that.
    found = [f"{(low[:, 0] * gain > 1).mean():.0%}" for gain in GAINS]
    return " | ".join((f"{(low > 1).any(axis=1).mean():.1%}", f"{held:.1%}", *found))


if __name__ == "__main__":
    main()
