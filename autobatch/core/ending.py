"""Annealed trials, which are judged by where they end: what is chosen, and why."""

from collections.abc import Collection, Iterable
from typing import Literal

from autobatch.core import final_costs, ranking
from autobatch.core.evidence import Evidence, Setting
from autobatch.core.more_seeds import LIKELY, what_would_tell
from autobatch.core.standing import Choice, Standing
from autobatch.core.warmup_stable_decay import DECAY, WARM_UP
from autobatch.units import format_duration


def chosen(
    evidence: Evidence,
    found: Standing,
    better: Collection[Setting],
    prefer: Literal["small", "large"],
) -> Setting:
    """The smallest batch, or the largest, of those that end within 2 % of the lowest.

    And have half of its gain at least, which may be as little. Half its learning rate, if twice its
    rate no longer learns and the half ends so, too.
    """
    ends = {setting: found.ends[setting].value for setting in better}
    sign = -1 if prefer == "large" else 1
    lowest = min(ends.values())
    most = min(lowest + ranking.EQUIVALENT, lowest / 2)
    as_good = [s for s in ends if ends[s] <= most]
    setting = min(as_good, key=lambda s: (sign * s.batch_size, ends[s]))
    safer = Setting(setting.batch_size, setting.rung - 1)
    return safer if evidence.on_the_brink(setting) and safer in as_good else setting


def not_told_apart(
    evidence: Evidence, chosen: Setting, settings: Iterable[Setting]
) -> list[Setting]:
    """For all that the seeds can tell of how they end."""
    costs = final_costs.costs(evidence)

    def is_apart(setting: Setting) -> bool:
        doubt = final_costs.doubt(evidence, setting, chosen)
        return ranking.told_apart(costs, setting, chosen, doubt=doubt)

    return [each for each in settings if each in costs and not is_apart(each)]


def on_the_schedule(evidence: Evidence) -> tuple[str, ...]:
    """What the answer holds for."""
    if not evidence.reading.anneals:
        return ()
    own = evidence.if_yours("your setting", "the baseline")
    return (
        f"In every trial, of {own}, too, the learning rate rose over the first {WARM_UP:.0%} of "
        f"the steps, stayed, and fell to 0 over the last {DECAY:.0%}, in the same training time. "
        "So this holds for a training that does the same over all of its steps, as the snippet has "
        "it.",
    )


def why_this_one(choice: Choice, evidence: Evidence) -> str:
    setting, own = choice.setting, evidence.baseline
    seeds, count = len(evidence.finals[own]), len(evidence.finals)
    told = (
        f"{evidence.named(setting).capitalize()} ends at {evidence.metric} "
        f"{evidence.final_cost(setting):.4g}, {evidence.named_baseline} at "
        f"{evidence.final_cost(own):.4g}, after {format_duration(evidence.final_seconds)} of "
        f"training each: {_difference(choice, evidence, setting)}; {count} finalists, {seeds} "
        "seeds each)."
    )
    if choice.verdict != "better":
        told += f" {LIKELY} {_what_would_tell(choice, evidence, setting)}"
    told += _why_not_the_lowest(choice, evidence)
    if choice.tied_with:
        told += f" Seeds do not tell it apart from {evidence.listed(choice.tied_with)}."
    return told


def _why_not_the_lowest(choice: Choice, evidence: Evidence) -> str:
    """If it is as good as equal, and gives way."""
    found, setting = choice.standing, choice.setting
    chosen_from = found.is_better if choice.verdict == "better" else found.is_likely_better
    lowest = min(filter(chosen_from, found.ends), key=lambda s: found.ends[s].value)
    if setting == lowest:
        return ""
    told = f" {evidence.named(lowest).capitalize()} ends at {evidence.final_cost(lowest):.4g}: "
    if setting.batch_size == lowest.batch_size:
        return f"{told}as good as equal, and closer to where training breaks down."
    size = "smaller" if setting.batch_size < lowest.batch_size else "larger"
    return f"{told}as good as equal, so that the {size} batch is preferred."


def why_it_stays(choice: Choice, evidence: Evidence) -> str:
    found, own, mine = choice.standing, evidence.baseline, evidence.named_baseline
    seeds, keep = len(evidence.finals[own]), evidence.if_yours("Keep", "Use")
    ends = found.ends
    not_ruled_out = [s for s in ends if ends[s].low < -ranking.EQUIVALENT]
    lowest = min(not_ruled_out or ends, key=lambda s: ends[s].value)
    how = f"{_difference(choice, evidence, lowest)}; {seeds} seeds)"
    if choice.verdict == "tie":
        return (
            f"Nothing tried{choice.of_use} beats {mine}: after equal training time none ends "
            f"better by more than {_equivalent(choice, evidence)}, for certain. The best of those, "
            f"{evidence.named(lowest)}, ends {how}. {keep} it."
        )
    return (
        f"No setting{choice.of_use} beats {mine} for certain. The most promising, "
        f"{evidence.named(lowest)}, ends {how} after equal training time. "
        f"{_what_would_tell(choice, evidence, lowest)}"
    )


def how_it_ends(choice: Choice, evidence: Evidence, setting: Setting) -> str:
    end = evidence.final_cost(setting)
    return f"ends at {evidence.metric} {end:.4g}, {_difference(choice, evidence, setting)})"


def _difference(choice: Choice, evidence: Evidence, setting: Setting) -> str:
    """As a sentence has it, with its interval; the bracket is left open."""
    found = choice.of_all
    interval = found.ends[setting].times(evidence.shown(1.0))
    between = found.shares(interval.low, interval.high)
    return f"{found.share(interval.value)} (95 % interval {between}{found.unit(evidence)}"


def _equivalent(choice: Choice, evidence: Evidence) -> str:
    """The difference that is of no interest."""
    if not choice.standing.of_what_is_learned:
        return f"{ranking.EQUIVALENT:.0%}"
    share = ranking.EQUIVALENT * ranking.LEAST_SHARE
    return f"{share:.2%} of what {evidence.if_yours('yours', 'the baseline')} learns"


def _what_would_tell(choice: Choice, evidence: Evidence, setting: Setting) -> str:
    """How many seeds, and what budget, telling its gain from chance would take."""
    interval = choice.standing.ends[setting]
    if interval.low >= -ranking.EQUIVALENT:
        return "Others are not ruled out, since not all of their seeds came to their end."
    gain, told = -interval.value, "that, if it is so,"
    if gain < ranking.EQUIVALENT:  # or that there is none: the interval has to end above it
        gain = ranking.EQUIVALENT + max(0.0, interval.value)
        told = f"differences of {_equivalent(choice, evidence)}"
    return what_would_tell(
        evidence,
        final_costs.costs(evidence),
        setting,
        gain=gain * final_costs.unit(evidence),
        doubt=final_costs.doubt(evidence, setting, evidence.baseline),
        told=told,
    )
