"""Phrases about results, plain text: the terminal's tables and the HTML report say the same."""

from collections import Counter

from autobatch.core.metric import is_maximised
from autobatch.protocol import (
    BenchmarkPoint,
    BenchmarkResult,
    Candidate,
    ProbePoint,
    ProbeResult,
    Recommendation,
    Replicas,
    StepTime,
)
from autobatch.units import counted, format_bytes, format_duration, format_rate, format_step, ratio

FITTING = ("fits", "predicted")  # outcomes of probes
PROBES = "Probes, each in a fresh process"
PROBE_COLUMNS = ("batch", "outcome", "peak", "of limit", "took")
CONFIDENCE = {
    "high": "high: the trials and the model of noise scale and step time agree on the batch size",
    "medium": "medium: the trials say so; noise scale and step time do not confirm the batch size",
    "low": "low: the trials did not decide",
}

TOGETHER = "95 % intervals hold for all finalists together"
EQUAL = ("at equal steps", "at equal samples")


def verdict(result: Recommendation) -> str:
    kept, comma, keep = "what you have", "", "keep it"
    if result.baseline.instead_of is not None:
        kept = f"batch {result.baseline.batch_size}, which stands for yours"
        comma, keep = ",", "use it"
    given_up = any(c.is_finalist and c.failure for c in result.candidates)
    of_use = " that can be used" if given_up else ""
    match result.verdict:
        case "tie":
            return f"a tie: nothing tried{of_use} beats {kept}; {keep}"
        case "inconclusive" if result.keeps_baseline:
            return f"inconclusive: nothing{of_use} beats {kept}{comma} for certain; {keep}"
        case "inconclusive":
            return f"inconclusive, but likely: {_gain(result)}"
        case "better":
            return _gain(result)


def _gain(result: Recommendation) -> str:
    if result.learning_rate_schedule:
        return f"ends at {ends(result)}, after equal training time"
    speedup = result.speedup
    return (
        f"{ratio(speedup.value)}× sooner at {result.metric} {result.target_loss:.4g} "
        f"(95 % interval {ratio(speedup.low)}–{ratio(speedup.high)})"
    )


def ends(result: Recommendation) -> str:
    """What the recommended setting and the baseline end at, where both anneal."""
    return (
        f"{result.metric} {result.val_loss:.4g}, {compared(result)} at "
        f"{result.baseline.val_loss:.4g}"
    )


def yours(result: Recommendation) -> str:
    """The user's own batch size, and whether it is the one that was compared with."""
    own = result.baseline.instead_of
    return f"yours {result.baseline.batch_size}" if own is None else f"yours {own} cannot be used"


def whose(result: Recommendation) -> str:
    """What the baseline is called."""
    return "yours" if result.baseline.instead_of is None else "in place of yours"


def compared(result: Recommendation) -> str:
    """The baseline beside a number of its own, which is not the user's where it stands in."""
    return "yours" if result.baseline.instead_of is None else "the baseline"


def beside_rate(result: Recommendation) -> str:
    """The baseline's, and what both are where trials had a schedule."""
    told = f"{whose(result)} {result.baseline.learning_rate:.4g}"
    return f"{told}; warmed up, and annealed to 0" if result.learning_rate_schedule else told


def target(result: Recommendation) -> str:
    """What trials are timed to."""
    seconds = result.target_seconds
    told = f"{result.metric} {result.target_loss:.4g}"
    if seconds is None:
        return told
    own = result.baseline
    by = "yours" if own.instead_of is None else f"batch {own.batch_size}"
    return f"{told}, reached by {by} with every seed within {format_duration(seconds)}"


def memory(result: Recommendation) -> str:
    """At the size recommended."""
    limit_bytes = result.probe.limit_bytes
    return (
        f"peak {format_bytes(result.peak_bytes)} of {format_bytes(limit_bytes)}, "
        f"{1 - result.peak_bytes / limit_bytes:.0%} free"
    )


def versions(result: Recommendation | None) -> dict[str, str]:
    """Of the environment that was recommended for, the driver's among them."""
    found = result.environment.get("versions") if result else None
    return found if isinstance(found, dict) else {}


def measured_on(result: Recommendation) -> str:
    """On which device, with which driver, frameworks, and when."""
    environment = result.environment
    found = [environment.get("device"), environment.get("precision")]
    found += [f"{name} {version}" for name, version in versions(result).items()]
    return ", ".join(str(each) for each in (*found, environment.get("measured")) if each)


def throughput(result: Recommendation) -> str:
    """At the size recommended."""
    half = (result.samples_per_second_high - result.samples_per_second_low) / 2
    steps = counted(result.steps_per_epoch, "step")
    if result.ragged_samples:
        steps += f" (the last of {result.ragged_samples})"
    return (
        f"{format_rate(result.samples_per_second)} samples/s "
        f"± {half / result.samples_per_second:.0%}; an epoch is "
        f"{steps} in {format_duration(result.epoch_seconds)}"
    )


def accumulation(result: Recommendation) -> str:
    """How many samples an update has, where it has several batches."""
    steps = result.gradient_accumulation_steps
    return f"over {steps} batches: {counted(result.batch_size * steps, 'sample')} an update"


def shared(batch_size: int, replicas: int) -> str:
    """A batch as its replicas have it."""
    return f"{replicas} replicas, {counted(batch_size // replicas, 'sample')} on each"


def replica_plan(plan: Replicas) -> tuple[str, str]:
    """What is predicted, and with which reservations."""
    between, low, high = "", plan.predicted_speedup_low, plan.predicted_speedup_high
    if low is not None and high is not None and low < high:
        between = f", {ratio(low)} to {ratio(high)} by what is known of the critical batch"
    return (
        f"{ratio(plan.predicted_speedup)}× as soon, batch {plan.per_replica_batch_size} each",
        f"(predicted{between}; {plan.predicted_efficiency:.0%} efficient, without the cost of "
        "synchronisation)",
    )


def outcome(point: ProbePoint) -> str:
    told = point.outcome.replace("_", " ")
    if not point.verify:
        return told
    return f"{told} (verified)" if point.outcome in FITTING else f"{told} (when verified)"


def probe_cells(point: ProbePoint, limit_bytes: int) -> tuple[str, ...]:
    """By `PROBE_COLUMNS`."""
    of_limit = "" if point.peak_bytes is None else f"{point.peak_bytes / limit_bytes:.0%}"
    took = format_duration(point.seconds)
    return str(point.batch_size), outcome(point), peak(point), of_limit, took


def ceiling(result: ProbeResult) -> str:
    """With its peak; a run that ended early may not have come so far."""
    return f"{result.ceiling} ({ceiling_peak(result)})" if result.ceiling else "none found"


def ceiling_peak(result: ProbeResult) -> str:
    return f"peak {format_bytes(result.ceiling_peak_bytes)} of {format_bytes(result.limit_bytes)}"


def step(point: BenchmarkPoint) -> str:
    return format_step(point.step_seconds)


def energy(point: BenchmarkPoint) -> str:
    """In joules per sample; empty where it was not counted."""
    joules = point.joules_per_sample
    return "" if joules is None else f"{joules:.3g}"


def peak(point: BenchmarkPoint | ProbePoint) -> str:
    return "" if point.peak_bytes is None else format_bytes(point.peak_bytes)


def knee(result: BenchmarkResult) -> str:
    """What a knee is, and where it may lie."""
    told = f"({result.name_of_knee})"
    if result.step_time is None:
        return told
    low, high = f"{result.step_time.knee.low:.0f}", f"{result.step_time.knee.high:.0f}"
    return told if low == high else f"{told}, between {low} and {high}"


def step_time(fitted: StepTime) -> str:
    told = (
        f"{format_step(fitted.overhead_seconds.value)} + batch x "
        f"{format_step(fitted.seconds_per_sample.value)}"
    )
    told += ", its share of what epochs take to end and to start included"
    return told if fitted.describes else f"{told}; not all sizes follow that"


def is_chosen(candidate: Candidate, result: Recommendation) -> bool:
    chosen = (result.batch_size, result.learning_rate)
    return (candidate.batch_size, candidate.learning_rate) == chosen


def measures(result: Recommendation) -> tuple[str, ...]:
    """What is told of every candidate: the metric after equal time, steps and samples, and more."""
    asked = any(c.sharpness is not None for c in result.candidates)
    equal = () if result.learning_rate_schedule else EQUAL
    return result.metric, *equal, *(["sharpness"] * asked)


def measured(candidate: Candidate, result: Recommendation) -> tuple[str, ...]:
    """By `measures`; empty where it is not known."""
    found = {result.metric: candidate.val_loss, "sharpness": candidate.sharpness}
    equal = candidate.val_loss_at_equal_steps, candidate.val_loss_at_equal_samples
    found |= zip(EQUAL, equal, strict=True)
    values = (found[name] for name in measures(result))
    return tuple("" if value is None else f"{value:.4g}" for value in values)


def reached_in(candidate: Candidate, result: Recommendation) -> str:
    """Where there is no time, since not all seeds got there: how many did."""
    seconds = candidate.time_to_target_seconds
    if seconds is not None:
        return format_duration(seconds)
    if result.learning_rate_schedule:  # its end says nothing of what was on the way
        return "" if result.target_seconds is None else "not always"
    sign = -1.0 if is_maximised(result.metric) else 1.0
    reached = sum(sign * x <= sign * result.target_loss for x in candidate.val_loss_per_seed)
    seeds = max(c.seeds for c in result.candidates)
    told = "" if reached == seeds else f"{reached} of {seeds} seeds"  # all: nothing was timed
    return told if reached else "never"


def dropped(result: Recommendation) -> str:
    statuses = Counter(c.status for c in result.candidates)
    failed = f", {statuses['failed']} failed" if statuses["failed"] else ""
    return (
        f"tried and dropped: {statuses['pruned']} not followed up, "
        f"{statuses['diverged']} diverged{failed}"
    )
