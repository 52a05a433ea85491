"""How many seeds would tell what those that were trained cannot, and what they would take."""

from collections.abc import Mapping, Sequence
from math import ceil, exp

from autobatch.core import ranking
from autobatch.core.evidence import Evidence, Setting

MOST_SEEDS = 20  # that trials.seeds may be
LIKELY = "That is likely, and not certain."  # of what is chosen all the same
SPARE_SECONDS = 60  # of a time_limit that is advised


def what_would_tell(
    evidence: Evidence,
    table: Mapping[Setting, Sequence[float]],
    setting: Setting,
    *,
    gain: float,
    doubt: float,
    told: str,
) -> str:
    """A sentence on `gain` of a setting over the baseline, which is called `told`.

    Both it and the `doubt` that step times leave about it are in the unit of `table`: of log times
    or of final costs, by seed.
    """
    own = evidence.baseline
    if ranking.with_doubt(0.0, doubt, len(table) - 1) >= gain:
        steps = ranking.with_doubt(0.0, evidence.step_doubt(setting, own), len(table) - 1)
        return (
            f"The benchmark knows the ratio of their step times to ± {exp(steps) - 1:.0%}, and "
            "no number of seeds tells more: a larger benchmark.seconds would, or a machine that "
            "does nothing else."
        )
    needed = ranking.seeds_needed(table, setting, own, gain, doubt=doubt)
    needed = max(needed, len(evidence.finals[own]) + 1, evidence.seeds)
    if needed > MOST_SEEDS:
        some = "more than" if needed >= ranking.MANY_SEEDS else "about"
        return f"To tell {told} from chance would take {some} {needed} seeds: too many to try."
    # Trials of the same length: those that were made count again, unless they were cut short.
    more = needed - evidence.seeds
    budget = ceil(100 * (evidence.budget_seconds + more * evidence.seed_seconds)) / 100
    run_seconds = evidence.run_seconds + more * evidence.seed_run_seconds
    limit = f" --set time_limit={ceil(run_seconds) + SPARE_SECONDS}s"
    return (
        f"About {needed} seeds would tell {told} from chance: --set trials.seeds={needed} "
        f"--set trials.budget={budget:g}s"
        + (limit if run_seconds > evidence.time_limit else "")
        + ("." if evidence.goes_on else " (finalists are trained anew, for longer).")
    )
