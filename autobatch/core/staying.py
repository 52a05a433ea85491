"""Why the baseline stays: nothing is better for certain, or even likely to be."""

from collections import Counter
from math import log

from autobatch.core import ranking
from autobatch.core.evidence import Evidence, Setting
from autobatch.core.learning_curves import only_cost
from autobatch.core.more_seeds import what_would_tell
from autobatch.core.standing import Choice
from autobatch.protocol import Interval
from autobatch.units import format_duration, ratio


def why_it_stays(choice: Choice, evidence: Evidence) -> str:
    own, mine = evidence.baseline, evidence.named_baseline
    goal = f"{evidence.metric} {evidence.shown(choice.standing.target):.4g}"
    if choice.verdict == "tie":
        return _why_none_is_sooner(choice, evidence, mine, goal)
    if choice.standing.speedups:
        return why_its_end_matters(choice, evidence) or _the_most_promising(
            choice, evidence, mine, goal
        )
    seeds = len(evidence.finals[own])
    if seeds < 2:
        return (
            f"One seed alone ranks nothing: {mine} stays. Use trials.seeds of 2 or more, and "
            "a time_limit that leaves time for them."
        )
    if not choice.standing.learns:
        return _why_nothing_can_be_timed(choice, evidence, mine)
    if not evidence.seeds_differ():
        return (
            f"All {seeds} seeds gave the same training, so that nothing tells what is chance: "
            f"{mine} stays. Where the model's code fixes its seed (keras.utils.set_random_seed, or "
            "a seed of each layer), leave that to `seed` of the recipe."
        )
    if own not in choice.standing.times:
        return _why_nothing_is_compared(evidence, mine)
    if len(evidence.finals) == 1:
        return _why_it_is_the_only_finalist(evidence, mine)
    others = [s for s, curves in evidence.finals.items() if s != own and any(curves.values())]
    if not others:
        return f"No other finalist could be trained: {mine} stays."
    if choice.unusable.keys() >= {*others}:
        return f"No other finalist can be used: {mine} stays."
    return (
        f"Nothing tried{choice.of_use} gets to {goal}, where {mine} is in "
        f"{format_duration(choice.standing.target_seconds)} of training, with every seed. "
        f"{evidence.if_yours('Keep', 'Use')} it, or raise trials.budget and trials.seeds."
    )


def _why_nothing_can_be_timed(choice: Choice, evidence: Evidence, mine: str) -> str:
    """The baseline hardly learns; what does would be a baseline to compare with."""
    told = (
        f"{mine.capitalize()} does not improve {evidence.metric} in "
        f"{format_duration(evidence.final_seconds)} of training, or by less than its seeds differ "
        "at the start: there is nothing to be sooner at."
    )
    differences = choice.standing.differences
    better = [setting for setting in differences if choice.standing.ends_better(setting)]
    if not better:
        return _why_nothing_changes(evidence) or (
            f"{told} Raise trials.budget, or try another baseline.learning_rate."
        )
    best = min(better, key=lambda setting: differences[setting].value)
    return f"{told} {_instead(best, evidence, 'does learn')}."


def _why_nothing_is_compared(evidence: Evidence, mine: str) -> str:
    """The baseline did not finish with every seed; what did would be one to compare with."""
    own, why = evidence.baseline, evidence.failed.get(evidence.baseline)
    told, advice = "diverges with some seeds", " Set a lower baseline.learning_rate."
    if why is not None:
        told, advice = f"could not be trained with some seeds ({why})", ""
    told = f"{mine.capitalize()} {told}: nothing can be compared with it.{advice}"
    costs = {
        setting: evidence.shown(evidence.final_cost(setting) or 0.0)  # a cost again
        for setting, curves in evidence.finals.items()
        if setting != own and all(curves.values())
    }
    if not costs:
        return told
    best = min(costs, key=costs.__getitem__)
    return f"{told} {_instead(best, evidence, 'was trained with every seed')}."


def _why_it_is_the_only_finalist(evidence: Evidence, mine: str) -> str:
    """Nothing else was tried, or what was could not be trained."""
    others = [setting for setting in evidence.first if setting != evidence.baseline]
    if not others or any(evidence.first[setting] is not None for setting in others):
        return f"Nothing was compared with {mine}, which stays."
    times = Counter(evidence.failed.get(setting, "diverged") for setting in others)
    told = ", ".join(f"{why}: {count}" for why, count in times.most_common())
    return f"Nothing else that was tried could be trained ({told}): {mine} stays."


def _instead(setting: Setting, evidence: Evidence, how: str) -> str:
    rate = evidence.learning_rate(setting)
    return (
        f"{evidence.named(setting).capitalize()} {how}, to {evidence.metric} "
        f"{evidence.final_cost(setting):.4g}: take it as the baseline, and others are compared "
        f"with it: --set baseline.batch_size={setting.batch_size} "
        f"--set baseline.learning_rate={rate:.3g}"
    )


def _why_nothing_changes(evidence: Evidence) -> str | None:
    """Where the metric is one number throughout all trials."""
    finals = (curve for curves in evidence.finals.values() for curve in curves.values() if curve)
    cost = only_cost([*evidence.first_curves.values(), *finals])
    if cost is None:
        return None
    return (
        f"{evidence.metric} is {evidence.shown(cost):.4g} in every trial, before training and "
        "after: nothing can be ranked by it. If it does depend on the training (are all validation "
        "sample weights 0?), a larger trials.budget would show it; else let trials.metric name "
        "another."
    )


def why_its_end_matters(choice: Choice, evidence: Evidence) -> str | None:
    """Of the setting that would have been chosen, or told to be no sooner, but for how it ends."""
    found, stays = choice.standing, ""
    if choice.setting == evidence.baseline:
        stays = f"{evidence.named_baseline.capitalize()} stays. "
    goal = f"{evidence.metric} {evidence.shown(found.target):.4g}"
    sooner = [s for s, i in found.speedups.items() if i.low > 1 and found.ends_worse(s)]
    perhaps = [s for s, i in found.speedups.items() if i.high > ranking.TIE]
    if not sooner and all(map(found.ends_worse, perhaps)):  # more seeds would help none of them
        sooner = perhaps
    none_is_sooner = all(i.high <= ranking.TIE for i in found.speedups.values())
    no_sooner = [s for s in found.differences if s in found.speedups or s in found.later]
    ends_better = [s for s in no_sooner if found.ends_better(s) and none_is_sooner]
    if sooner:
        setting = max(sooner, key=lambda s: found.speedups[s].value)
        soonest, advice = _how_soon(found.speedups[setting], goal)
    elif ends_better:
        setting = min(ends_better, key=lambda s: found.differences[s].value)
        soonest = f"is at most 10 % sooner at {goal}, for certain, but"
        advice = "A larger trials.budget would tell which is sooner later on."
    else:
        return None
    difference = found.difference(setting, maximise=evidence.maximise)
    assert difference is not None  # it is one of those that end better, or worse
    yours = evidence.if_yours("yours", "the baseline")
    unit = f", as a share of what {yours} learns" if found.of_what_is_learned else ""
    return (
        f"{evidence.named(setting).capitalize()} {soonest} its best {evidence.metric} in "
        f"{format_duration(evidence.final_seconds)} of training is "
        f"{found.share(difference.value)} than {yours}{unit}. {stays}{advice}"
    )


def _how_soon(interval: Interval, goal: str) -> tuple[str, str]:
    """(how soon what ends worse for certain is there, what to do about it)."""
    times = f"{ratio(interval.value)} times as soon at {goal}"
    if interval.value <= 1:
        between = f"95 % interval {ratio(interval.low)} to {ratio(interval.high)}"
        advice = "More seeds would not make it better: that its best is worse is certain."
        return f"is {times} ({between}), and", advice
    return (
        f"{'is' if interval.low > 1 else 'may be'} {times}, but",
        "A learning rate that falls as training goes on may give both. Where yours is a number "
        "that no callback changes, --set trials.schedule=warmup_stable_decay compares settings "
        "that way.",
    )


def _the_most_promising(choice: Choice, evidence: Evidence, mine: str, goal: str) -> str:
    found = choice.standing

    def promise(setting: Setting) -> tuple[bool, float]:
        is_sound = not (found.ends_worse(setting) or evidence.goes_wrong(setting))
        return is_sound, found.speedups[setting].value

    setting = max(found.speedups, key=promise)
    interval, wrong = found.speedups[setting], ""
    if evidence.goes_wrong(setting):
        wrong = f"But its {evidence.metric} gets worse again, to beyond where the baseline ends. "
    return (
        f"No setting{choice.of_use} beats {mine} for certain. The most promising, "
        f"{evidence.named(setting)}, is {ratio(interval.value)} times as soon at {goal} (95 % "
        f"interval {ratio(interval.low)} to {ratio(interval.high)}). "
        + wrong
        + what_would_tell_gain(choice, evidence, setting, interval)
    )


def _why_none_is_sooner(choice: Choice, evidence: Evidence, mine: str, goal: str) -> str:
    own, found, keep = evidence.baseline, choice.standing, evidence.if_yours("Keep", "Use")
    seeds = len(evidence.finals[own])
    if not found.speedups:
        return (
            f"Nothing tried{choice.of_use} beats {mine}: it is at {goal} in "
            f"{format_duration(found.seconds(own))} of training, and no other finalist"
            f"{choice.of_use} gets there in {format_duration(evidence.final_seconds)} with most of "
            f"{seeds} seeds. {keep} it."
        )
    if all(interval.low >= 1 / ranking.TIE for interval in found.speedups.values()):
        every = "what reaches it" if found.later else "every finalist"
        return (
            f"Nothing{choice.of_use} beats {mine}: {every}{choice.of_use} is at {goal} within 10 % "
            f"of the same time ({seeds} seeds). {keep} it."
        )
    setting, interval = max(found.speedups.items(), key=lambda each: each[1].value)
    return (
        f"Nothing tried{choice.of_use} beats {mine}: the soonest other finalist{choice.of_use}, "
        f"{evidence.named(setting)}, is at {goal} {ratio(interval.value)} times as soon (95 % "
        f"interval {ratio(interval.low)} to {ratio(interval.high)}; {seeds} seeds). {keep} it."
    )


def what_would_tell_gain(
    choice: Choice, evidence: Evidence, setting: Setting, interval: Interval
) -> str:
    """How many seeds, and what budget, telling its gain from chance would take."""
    if interval.high <= ranking.TIE:
        return (
            "Others are not ruled out, since they reach it with some seeds only, or too few were "
            "trained: a larger trials.budget would tell."
        )
    # A gain that is of interest, or that there is none: the interval has to end below it.
    is_small = interval.value < ranking.TIE
    gain = ranking.TIE / min(1.0, interval.value) if is_small else interval.value
    return what_would_tell(
        evidence,
        ranking.logs(choice.standing.times),
        setting,
        gain=log(gain),
        doubt=evidence.step_doubt(setting, evidence.baseline),
        told="times 10 % apart" if is_small else "that, if it is so,",
    )
