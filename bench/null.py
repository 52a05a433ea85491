"""What is said of settings whose truth is known: of equal ones, and of ones a little better.

Whole runs of `recommend` on the pretend device of tests/test_null.py: all settings but the baseline
learn `faster` times as fast as it, with luck of 15 % from seed to seed, so that the choice among
them is chance. How often is that called `better`, does the interval told hold the truth, and by how
much is the speedup overstated where one is found? Their losses fall smoothly, or slowly and by ups
and downs of 4 %. The intervals of all finalists that were compared hold at once in 95 % of runs,
whatever the verdict, if they are right. And how often is something else recommended than the
baseline, be it `better` or no more than likely to be; what regret has that, the mean of the times
with what is recommended over the least, and what regret would have to recommend the former alone?

    python bench/null.py [RUNS]
"""

import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
from questions import head

from autobatch.protocol import Recommendation

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from test_null import Equal, Wobbling, all_hold, recommend

FASTER = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5, 2.0)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    head(
        *("loss", "truth", "all intervals hold", "called better", "its interval holds", "its mean"),
        *("something else recommended", "regret", "of the better alone"),
    )
    for row, (kind, faster) in enumerate(product((Equal, Wobbling), FASTER)):
        luck = np.random.default_rng((2, row))
        with tempfile.TemporaryDirectory() as scratch:
            found: list[Recommendation] = [
                recommend(Path(scratch, str(run)), kind(luck, faster)) for run in range(runs)
            ]
        compared = [each for each in found if any(c.speedup for c in each.candidates)]
        at_once = sum(all_hold(each, faster) for each in compared)
        told = [each.speedup for each in found if each.verdict == "better"]
        held = sum(each.low <= faster <= each.high for each in told)
        mean = f"{np.mean([each.value for each in told]):.2f}x" if told else ""
        loss = "smooth" if kind is Equal else "wobbling"
        better = f"{len(told) / runs:.1%}"
        holds = f"{held / len(told):.0%} of {len(told)}" if told else ""
        every = f"{at_once / len(compared):.1%} of {len(compared)}"
        changed = sum(not each.keeps_baseline for each in found) / runs
        print(
            f"| {loss} | {faster:g}x | {every} | {better} of {runs} | {holds} | {mean} "
            f"| {changed:.1%} | {regret(faster, changed):.3f} "
            f"| {regret(faster, len(told) / runs):.3f} |",
            flush=True,
        )


def regret(faster: float, changed: float) -> float:
    """Geometric mean, where something else is recommended in a share of runs."""
    return float(max(faster, 1.0) / faster**changed)


if __name__ == "__main__":
    main()
