"""Reasons, warnings and the snippet of a recommendation: sentences with measured numbers."""

from math import isfinite

from autobatch.core import ranking, scaling
from autobatch.core.evidence import Choice, Evidence, Setting
from autobatch.protocol import BenchmarkPoint, BenchmarkResult, Inspected, ProbeResult
from autobatch.units import format_bytes, format_duration

RAGGED_WARNING_SHARE = 0.1  # a last batch below this share of the size makes noisy updates


def reasons(
    choice: Choice,
    evidence: Evidence,
    probed: ProbeResult,
    measured: BenchmarkResult,
    metric: str,
    peak_bytes: int,
) -> tuple[str, ...]:
    return (
        _why_this_one(choice, evidence, metric),
        *_share_of_the_rate(choice, evidence),
        _why_this_rate(choice, evidence),
        _why_this_fast(choice, evidence, measured),
        f"Memory: a batch of {choice.setting.batch_size} peaks at {format_bytes(peak_bytes)} of "
        f"{format_bytes(probed.limit_bytes)} ({1 - peak_bytes / probed.limit_bytes:.0%} free), "
        "with its last batch and a validation pass, in a fresh process. "
        f"The largest that fits is {probed.largest_fitting} (bounded by {probed.bounded_by}).",
    )


def _why_this_one(choice: Choice, evidence: Evidence, metric: str) -> str:
    times, target = choice.standing.times, evidence.shown(choice.standing.target)
    own = evidence.baseline
    mine = f"batch {own.batch_size} with learning rate {evidence.baseline_learning_rate:.3g}"
    seeds = len(evidence.finals[own])
    if choice.verdict == "better":
        setting, speedup = choice.setting, choice.speedup
        sentence = (
            f"Batch {setting.batch_size} with learning rate {evidence.learning_rate(setting):.3g} "
            f"reaches {metric} {target:.4g} after {_seconds(times, setting)} of training; your "
            f"{mine} takes {_seconds(times, own)}: {speedup.value:.2g} times sooner (95 % "
            f"interval {speedup.low:.2g} to {speedup.high:.2g}; {len(times)} finalists, "
            f"{seeds} seeds each)."
        )
        if choice.tied_with:
            others = " and ".join(map(str, choice.tied_with))
            sentence += f" {seeds} seeds do not tell it apart from the finalists at batch {others}."
        return sentence
    if choice.verdict == "tie":
        return (
            f"Nothing beats your {mine}: every finalist reaches its {metric} within 10 % of the "
            f"same time ({seeds} seeds). Keep it."
        )
    promising = max(
        choice.standing.speedups.items(), key=lambda item: item[1].value, default=(own, None)
    )
    if seeds < 2:
        return f"One seed alone ranks nothing: your {mine} stays. Use trials.seeds of 2 or more."
    if choice.standing.target >= evidence.initial_cost:
        return (
            f"Your {mine} does not improve {metric} in {format_duration(evidence.final_seconds)} "
            "of training: there is nothing to be sooner at. Raise trials.budget, or try another "
            "baseline.learning_rate."
        )
    if own not in times:
        return f"Your {mine} diverges with some seeds: nothing can be compared with it."
    if promising[1] is None:
        return (
            f"Nothing tried reaches the {metric} {target:.4g} of your {mine} with every seed. "
            "Keep it."
        )
    setting, interval = promising
    assert interval is not None
    return (
        f"No setting beats your {mine} for certain. The most promising, batch "
        f"{setting.batch_size} with learning rate {evidence.learning_rate(setting):.3g}, is "
        f"{interval.value:.2g} times as soon at {metric} {target:.4g} (95 % interval "
        f"{interval.low:.2g} to {interval.high:.2g}); more seeds or a larger trials.budget would "
        "tell."
    )


def _share_of_the_rate(choice: Choice, evidence: Evidence) -> tuple[str, ...]:
    """What the learning rate alone gains, where that was measured."""
    own = evidence.baseline.batch_size
    if choice.verdict != "better" or choice.setting.batch_size == own:
        return ()
    return tuple(
        f"The learning rate alone does much of it: {evidence.learning_rate(setting):.3g} at your "
        f"batch {own} is {interval.value:.2g} times sooner than yours."
        for setting, interval in choice.standing.speedups.items()
        if setting.batch_size == own and interval.value > choice.speedup.value**0.5
    )


def _why_this_rate(choice: Choice, evidence: Evidence) -> str:
    setting = choice.setting
    by_rule = evidence.learning_rate(Setting(setting.batch_size, 0))
    tried = [s for s in evidence.first if s.batch_size == setting.batch_size]
    rates = sorted(evidence.learning_rate(s) for s in tried)
    reason = evidence.rule_reason[0].upper() + evidence.rule_reason[1:]
    if setting == evidence.baseline:
        return f"{reason}. The learning rate stays {evidence.baseline_learning_rate:.3g}."
    return (
        f"{reason}: {by_rule:.3g} at batch {setting.batch_size}. Of {len(rates)} rates from "
        f"{rates[0]:.3g} to {rates[-1]:.3g}, {evidence.learning_rate(setting):.3g} "
        f"({2.0**setting.rung:g} times the rule's) was chosen."
    )


def _why_this_fast(choice: Choice, evidence: Evidence, measured: BenchmarkResult) -> str:
    points = {point.batch_size: point for point in measured.points}
    ours, theirs = points[choice.setting.batch_size], points[evidence.baseline.batch_size]
    sentence = f"Throughput: `fit` delivers {_rate(ours)} at batch {ours.batch_size}"
    if ours is not theirs:
        sentence += f", {_rate(theirs)} at batch {theirs.batch_size}"
    return sentence + f". From batch {measured.knee} on it is within 5 % of the best."


def warnings(
    choice: Choice,
    evidence: Evidence,
    inspected: Inspected,
    probed: ProbeResult,
    measured: BenchmarkResult,
) -> tuple[str, ...]:
    size = choice.setting.batch_size
    found = list(evidence.notes)
    if inspected.nan:
        found.append(f"The training data: {inspected.nan}.")
    ragged = (inspected.train_samples or 0) % size
    if 0 < ragged < RAGGED_WARNING_SHARE * size:
        found.append(
            f"The last batch of an epoch has only {ragged} of {size} samples; its update is as "
            "large as the others'. Drop it, or choose a size that divides better."
        )
    if choice.setting != evidence.baseline:
        found.append(
            f"Trials trained {format_duration(evidence.final_seconds)}; over much longer training "
            "larger batches gain (the noise scale grows). Tune the learning rate again then."
        )
    if inspected.learning_rate_schedule:
        found.append(
            f"The trials saw only the first {format_duration(evidence.final_seconds)} of your "
            f"{inspected.learning_rate_schedule}; a factor found in its warm-up is too large for "
            "what follows. Tune the factor over a longer trials.budget, or without the schedule."
        )
    if choice.setting != evidence.baseline and evidence.on_the_brink(choice.setting):
        found.append(
            f"Twice this learning rate ({2 * evidence.learning_rate(choice.setting):.3g}) no "
            "longer learns. Should your training become unstable, halve it."
        )
    if inspected.batch_norm_layers and size != evidence.baseline.batch_size:
        found.append(
            "BatchNormalization was evaluated with statistics of the present weights. For its "
            f"moving averages to forget as fast in samples as at your batch size, its momentum is "
            f"{_momentum(choice, evidence, inspected):.4g} instead of "
            f"{inspected.batch_norm_momentum:g}."
        )
    found.extend(f"Not measured: {reason}." for reason in measured.skipped)
    if measured.steps_per_execution:
        found.extend(measured.advice)
    return (*found, *probed.notes, *measured.notes)


def snippet(choice: Choice, evidence: Evidence, inspected: Inspected) -> str:
    rate = evidence.learning_rate(choice.setting)
    if inspected.learning_rate_schedule:
        factor = rate / evidence.baseline_learning_rate
        first = f"# multiply your {inspected.learning_rate_schedule} by {factor:.4g}"
    else:
        first = f"model.optimizer.learning_rate = {rate:.6g}"
    lines = [first, f"model.fit(x, y, batch_size={choice.setting.batch_size})"]
    if inspected.batch_norm_layers and choice.setting.batch_size != evidence.baseline.batch_size:
        momentum = _momentum(choice, evidence, inspected)
        lines.insert(0, f"# in the model: keras.layers.BatchNormalization(momentum={momentum:.4g})")
    return "\n".join(lines)


def _momentum(choice: Choice, evidence: Evidence, inspected: Inspected) -> float:
    exponent = scaling.batch_norm_exponent(
        old_batch=evidence.baseline.batch_size, new_batch=choice.setting.batch_size
    )
    return float((inspected.batch_norm_momentum or 0.0) ** exponent)


def _seconds(times: dict[Setting, list[float]], setting: Setting) -> str:
    return format_duration(ranking.geometric_mean(times[setting]))


def _rate(point: BenchmarkPoint) -> str:
    half = (point.high - point.low) / 2 / point.samples_per_second
    spread = f" ± {half:.0%}" if isfinite(half) else ""
    return f"{point.samples_per_second:,.0f} samples/s{spread}"
