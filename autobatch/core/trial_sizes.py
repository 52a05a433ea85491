"""Which of the sizes that were timed are worth trials."""

from collections.abc import Mapping

from autobatch.core.time_to_target import predicted_times

MAX_SIZES = 5  # by the model; then those beside the best of them


def candidate_sizes(
    step_seconds: Mapping[int, float],
    *,
    baseline: int,
    ceiling: int,
    critical_batch: float,
) -> list[int]:
    """Up to five measured sizes: the baseline's, the largest, those of least predicted time.

    Time to target is proportional to t(B) (1 + B_c / B), with t the measured step time. It is flat:
    a critical batch that is a factor of 4 off costs at most 12.5 %.
    """
    fitting = {size: seconds for size, seconds in step_seconds.items() if size <= ceiling}
    predicted = _by_predicted_time(fitting, critical_batch)
    largest = max(predicted, default=baseline)
    always = [size for size in dict.fromkeys((baseline, largest)) if size in step_seconds]
    others = [size for size in predicted if size not in always]
    return sorted([*always, *others[: MAX_SIZES - len(always)]])


def beside_the_best(
    costs: Mapping[int, float | None], step_seconds: Mapping[int, float], critical_batch: float
) -> int | None:
    """The measured size next to the one of least cost, if it has none yet.

    `costs` holds what was tried (None: no rate learned). None where both neighbours were: the model
    that chose the sizes may have known little of the critical batch, and now the best is bracketed
    all the same.
    """
    known = {size: cost for size, cost in costs.items() if cost is not None}
    if not known:
        return None
    best = min(known, key=lambda size: (known[size], size))
    smaller = max((size for size in step_seconds if size < best), default=best)
    larger = min((size for size in step_seconds if size > best), default=best)
    untried = {s: step_seconds[s] for s in (smaller, larger) if s not in costs}
    return next(iter(_by_predicted_time(untried, critical_batch)), None)


def _by_predicted_time(step_seconds: Mapping[int, float], critical_batch: float) -> list[int]:
    times = predicted_times(step_seconds, critical_batch)
    return sorted(times, key=times.__getitem__)
