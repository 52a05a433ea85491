"""Reasons of a recommendation: sentences with measured numbers."""

from math import isfinite

from autobatch.core import ending, ranking, scaling
from autobatch.core.evidence import Evidence, Setting
from autobatch.core.more_seeds import LIKELY
from autobatch.core.search import BOUNDED_BY
from autobatch.core.standing import GOALS, Choice, Reached
from autobatch.core.staying import what_would_tell_gain, why_it_stays, why_its_end_matters
from autobatch.protocol import BenchmarkPoint, BenchmarkResult, ProbeResult
from autobatch.units import about, format_bytes, format_duration, format_rate, ratio


def reasons(choice: Choice, evidence: Evidence, measured: BenchmarkResult) -> tuple[str, ...]:
    return (
        why_this_one(choice, evidence),
        *what_was_given_up(choice, evidence),
        *ending.on_the_schedule(evidence),
        *share_of_the_rate(choice, evidence),
        _why_this_rate(choice, evidence),
        _why_this_fast(choice, evidence, measured),
    )


def on_memory(
    choice: Choice, probed: ProbeResult, peak_bytes: int, *, ragged_samples: int = 0
) -> str:
    what = "its last batch and a validation pass" if ragged_samples else "a validation pass"
    return (
        f"Memory: a batch of {choice.setting.batch_size} peaks at {format_bytes(peak_bytes)} of "
        f"{format_bytes(probed.limit_bytes)} ({1 - peak_bytes / probed.limit_bytes:.0%} free), "
        f"with {what}, in a fresh process. "
        f"The {probed.name_of_largest} is {probed.largest_fitting}, bounded by "
        f"{BOUNDED_BY[probed.bounded_by]}."
    )


def why_this_one(choice: Choice, evidence: Evidence) -> str:
    if choice.setting == evidence.baseline:
        why = ending.why_it_stays if choice.standing.ends else why_it_stays
        return _with_what_is_alike(why(choice, evidence), choice, evidence)
    if evidence.reading.anneals:
        return ending.why_this_one(choice, evidence)
    own, setting = evidence.baseline, choice.setting
    found, speedup = choice.standing, choice.speedup
    seeds = len(evidence.finals[own])
    sentence = (
        f"{evidence.named(setting).capitalize()} reaches {evidence.metric} "
        f"{evidence.shown(found.target):.4g} after {format_duration(found.seconds(setting))} of "
        f"training; {evidence.named_baseline} takes {format_duration(found.seconds(own))}: "
        f"{ratio(speedup.value)} times sooner (95 % interval {ratio(speedup.low)} to "
        f"{ratio(speedup.high)}; {len(evidence.finals)} finalists, {seeds} seeds each)."
    )
    if choice.verdict != "better":
        sentence += f" {LIKELY} {what_would_tell_gain(choice, evidence, setting, speedup)}"
    if choice.onward:
        sentence += _why_of_those(choice, evidence, choice.onward)
    if choice.tied_with:
        others = evidence.listed(choice.tied_with)
        sentence += f" {seeds} seeds do not tell it apart from {others}."
    if choice.verdict != "better" and (passed_over := why_its_end_matters(choice, evidence)):
        sentence += f" {passed_over}"
    return sentence


def _with_what_is_alike(told: str, choice: Choice, evidence: Evidence) -> str:
    """What else is as good as the baseline for all that the seeds can tell."""
    left = [s for s in choice.tied_with if evidence.named(s) not in told.replace("Batch", "batch")]
    if not left:
        return told
    seeds = len(evidence.finals[evidence.baseline])
    mine = evidence.if_yours("yours", "the baseline")
    return f"{told} {seeds} seeds do not tell {mine} apart from {evidence.listed(left)}."


def what_was_given_up(choice: Choice, evidence: Evidence) -> tuple[str, ...]:
    """Of those that would be better and cannot be used, the soonest; or what ends lowest.

    Where nothing is better for certain, of those that are likely to be.
    """
    found, lost = choice.of_all, [s for s in choice.unusable if not evidence.goes_wrong(s)]
    better = [s for s in lost if found.is_better(s)]
    if not better and choice.verdict != "better":
        better = [s for s in lost if found.is_likely_better(s)]
    if not better:
        return ()
    if evidence.reading.anneals:
        setting = min(better, key=lambda s: found.ends[s].value)
        how = ending.how_it_ends(choice, evidence, setting)
    else:
        setting = max(better, key=lambda s: found.speedups[s].value)
        interval = found.speedups[setting]
        how = (
            f"is {ratio(interval.value)} times as soon at {evidence.metric} "
            f"{evidence.shown(found.target):.4g} (95 % interval {ratio(interval.low)} to "
            f"{ratio(interval.high)})"
        )
    why = f"batch {setting.batch_size} {choice.unusable[setting]}"
    return (f"{evidence.named(setting).capitalize()} {how}, but {why}.",)


def _why_of_those(choice: Choice, evidence: Evidence, further: Reached) -> str:
    """Several are better than the baseline, or likely to be. The chosen may not be the soonest."""
    chosen, soonest = choice.setting, min(further.times, key=further.seconds)
    first, after = evidence.named(soonest), format_duration(further.seconds(soonest))
    start, end = (evidence.shown(each.target) for each in (choice.standing, further))
    equal, those = "as good as equal", "Of those that are sooner"
    if choice.verdict != "better":
        those = "Of those that are likely to be sooner"
    if start == end:  # then it is told when the chosen one is there
        if chosen == soonest:
            return ""
        told = f" {first.capitalize()} is there after {after}"
    elif chosen not in further.times:
        told = f" {those}, {first} is the first on the way to "
        told += f"{evidence.metric} {end:.4g}"
        equal += " before that"
    else:
        told = (
            f" {those}, it is at {GOALS} values of {evidence.metric} from "
            f"{start:.4g} to {end:.4g} after {format_duration(further.seconds(chosen))} on average"
        )
        if chosen == soonest:
            alone = "the soonest" if len(further.times) > 1 else "alone with every seed"
            return f"{told}, {alone}."
        told += f", {first} after {after}"
    if chosen.batch_size == soonest.batch_size:
        return f"{told}: {equal}, and the lower rate is further from where training breaks down."
    at_most = ranking.TIE * further.seconds(soonest)
    if chosen not in further.times or further.seconds(chosen) > at_most:
        return told + (
            f": batch {chosen.batch_size} with twice its rate is as good as equal, but close to "
            "where training breaks down, and this rate is as good as that."
        )
    size = "smaller" if chosen.batch_size < soonest.batch_size else "larger"
    return told + f": as good as equal, so that the {size} batch is preferred."


def after_equal_time(choice: Choice, evidence: Evidence) -> tuple[str, ...]:
    """How the metric itself compares, in the language of an equivalence test.

    Of the setting that is recommended; where the baseline stays, of the soonest other.
    """
    if evidence.reading.anneals:  # it was judged by that
        return ()
    setting, whose, found = choice.setting, f"its best {evidence.metric}", choice.standing
    if setting == evidence.baseline:
        timed = [s for s in found.speedups if s in found.differences]
        setting = max(timed, key=lambda s: found.speedups[s].value, default=setting)
        whose = f"the best {evidence.metric} of {evidence.named(setting)}"
    difference = found.difference(setting, maximise=evidence.maximise)
    if difference is None:
        return ()
    value, low, high = difference.value, difference.low, difference.high
    same = max(abs(low), abs(high)) <= ranking.EQUIVALENT
    theirs = evidence.if_yours("your setting's", "the baseline's")
    verdict = " No practical difference." if same else ""
    between = f"90 % interval {found.shares(low, high)}{found.unit(evidence)}"
    return (
        f"After equal training time, {format_duration(evidence.final_seconds)}, {whose} "
        f"is {found.share(value)} than {theirs} ({between}).{verdict}",
    )


def share_of_the_rate(choice: Choice, evidence: Evidence) -> tuple[str, ...]:
    """What the learning rate alone gains, where that was measured."""
    own = evidence.baseline.batch_size
    if choice.verdict != "better" or choice.setting.batch_size == own or evidence.reading.anneals:
        return ()
    found = choice.standing
    alone = {
        s: each
        for s, each in found.speedups.items()
        if s.batch_size == own and found.is_better(s) and not evidence.goes_wrong(s)
    }
    setting = max(alone, key=lambda s: alone[s].value, default=None)
    if setting is None or alone[setting].value <= choice.speedup.value**0.5:
        return ()
    interval = alone[setting]
    yours = evidence.if_yours("yours", "the baseline")
    own_size = evidence.if_yours(f"your batch {own}", f"batch {own}")
    share = "all" if interval.value >= choice.speedup.value else "much"
    rate = evidence.learning_rate(setting)
    return (
        f"The learning rate alone does {share} of it: {rate:.3g} at {own_size} is "
        f"{ratio(interval.value)} times sooner than {yours}.",
    )


def _why_this_rate(choice: Choice, evidence: Evidence) -> str:
    setting = choice.setting
    by_rule = evidence.learning_rate(Setting(setting.batch_size, 0))
    tried = [s for s in evidence.first if s.batch_size == setting.batch_size]
    rates = sorted(evidence.learning_rate(s) for s in tried)
    reason = evidence.rule_reason[0].upper() + evidence.rule_reason[1:]
    told = f"{by_rule:.3g} at batch {setting.batch_size}"
    is_scaled = evidence.rule != "none" and setting.batch_size != evidence.baseline.batch_size
    if is_scaled and isfinite(evidence.saturation()):
        told += f", as it saturates near batch {about(evidence.saturation())}, by the noise scale"
    elif is_scaled:
        told += " (the noise scale was not resolved: up to which batch the rule holds is not known)"
    if setting == evidence.baseline:
        stays = evidence.if_yours("stays", "is")
        return f"{reason}. The learning rate {stays} {evidence.baseline_learning_rate:.3g}."
    other = _by_the_other_rule(setting.batch_size, evidence)
    if len(rates) == 1:
        return f"{reason}: {told}, the only rate that was tried{other}."
    whose = "the rule's"
    if evidence.rule == "none":
        whose = evidence.if_yours("yours", "the baseline's")
    return (
        f"{reason}: {told}{other}. Of {len(rates)} rates from "
        f"{rates[0]:.3g} to {rates[-1]:.3g}, {evidence.learning_rate(setting):.3g} "
        f"({2.0**setting.rung:g} times {whose}) was chosen."
    )


def _by_the_other_rule(batch_size: int, evidence: Evidence) -> str:
    """Where the rule is carried so far that the other one is as good a guess."""
    own = evidence.baseline.batch_size
    if evidence.rule == "none" or max(batch_size, own) <= scaling.FAR_BEYOND * min(batch_size, own):
        return ""
    other: scaling.Rule = "sqrt" if evidence.rule == "linear" else "linear"
    rate = scaling.scaled(
        evidence.baseline_learning_rate,
        other,
        old_batch=own,
        new_batch=batch_size,
        critical_batch=evidence.saturation(),
    )
    return f"; {other} scaling, as good a guess so far from batch {own}, would give {rate:.3g}"


def _why_this_fast(choice: Choice, evidence: Evidence, measured: BenchmarkResult) -> str:
    points = {point.batch_size: point for point in measured.points}
    ours, theirs = points[choice.setting.batch_size], points[evidence.baseline.batch_size]
    sentence = f"Throughput: `fit` delivers {_rate(ours)} at batch {ours.batch_size}"
    if ours is not theirs:
        sentence += f", {_rate(theirs)} at batch {theirs.batch_size}"
    return sentence + f". Batch {measured.knee} is the {measured.name_of_knee}."


def _rate(point: BenchmarkPoint) -> str:
    return f"{format_rate(point.samples_per_second)} samples/s ± {point.half_width:.0%}"
