"""Batch size and training time: what the model of steps and step time predicts.

A step of batch b takes alpha + beta b seconds; a target takes S_min (1 + B_c / b) steps, with B_c
the critical batch (McCandlish et al. 2018, arXiv 1812.06162). Their product is least at
sqrt(alpha / beta * B_c), and flat there: a size r times off costs (r + 1 / r - 2) / 4 at most. All
of this is explanation and starting point; what is recommended was measured.
"""

from collections.abc import Mapping, Sequence
from math import inf, sqrt

from autobatch.protocol import Interval, Replicas, StepTime

PAYS = 0.05  # predicted gain that makes a change worth its trouble


def optimal_batch(step_time: StepTime, critical_batch: float) -> float:
    """The batch of least time to a target; infinite where nothing grows with the batch."""
    per_sample = step_time.seconds_per_sample.value
    if critical_batch <= 0:
        return 0.0
    if per_sample <= 0:
        return inf
    return sqrt(step_time.overhead_seconds.value / per_sample * critical_batch)


def least_time(step_time: StepTime, critical_batch: float) -> float:
    """Of `predicted_times` by the line, at the optimum."""
    alpha, beta = step_time.overhead_seconds.value, step_time.seconds_per_sample.value
    return (sqrt(alpha) + sqrt(beta * critical_batch)) ** 2


def relative_times(step_seconds: Mapping[int, float], critical_batch: float) -> dict[int, float]:
    """Time to a target at each size over the least of them, from measured step times."""
    times = predicted_times(step_seconds, critical_batch)
    least = min(times.values())
    return {size: seconds / least for size, seconds in times.items()}


def predicted_times(step_seconds: Mapping[int, float], critical_batch: float) -> dict[int, float]:
    """Time to a target at each size, over that of the fewest possible steps of one second."""
    return {size: t * (1 + critical_batch / size) for size, t in step_seconds.items()}


def efficiency(batch: float, baseline: float, critical_batch: float) -> float:
    """Progress per sample at `batch` over that at `baseline` (Pollux, OSDI 2021, equation 6)."""
    return (critical_batch + baseline) / (critical_batch + batch)


def accumulation(
    batch: int, step_time: StepTime, update_seconds: float, critical_batch: float
) -> tuple[int, float]:
    """(micro-batches of `batch` for one update, predicted gain in speed) where it is worth it.

    Updates themselves take `update_seconds` of the overhead, and a micro-batch takes some time. (1,
    0.0) where it does not pay: as a rule on one device, since each takes as long as a step.
    """
    micro = step_time.overhead_seconds.value - update_seconds
    micro += step_time.seconds_per_sample.value * batch

    def seconds(steps: int) -> float:
        return (1 + critical_batch / (steps * batch)) * (steps * micro + update_seconds)

    wanted = round(sqrt(max(0.0, update_seconds) * critical_batch / (batch * micro)))
    gain = seconds(1) / seconds(wanted) - 1 if wanted >= 2 else 0.0
    return (wanted, gain) if gain >= PAYS else (1, 0.0)


def schedule_saving(step_time: StepTime, phases: Sequence[tuple[float, float]]) -> float:
    """Share of the training time that a batch growing with the noise scale would save.

    `phases` holds (weight, critical batch), weights adding up to 1.
    """
    mean = sum(weight * critical for weight, critical in phases)
    each = sum(weight * least_time(step_time, critical) for weight, critical in phases)
    return 1 - each / least_time(step_time, mean)


def step_seconds(
    step_time: StepTime, *, least: int = 1, largest: int, multiple: int = 1
) -> dict[int, float]:
    """By batch size, powers of two times `multiple`, as the line has it."""
    alpha, beta = step_time.overhead_seconds.value, step_time.seconds_per_sample.value
    sizes = (multiple << power for power in range((largest // multiple).bit_length()))
    return {size: alpha + beta * size for size in sizes if size >= least}


def replica_plan(
    counts: Sequence[int],
    step_seconds: Mapping[int, float],
    critical_batch: Interval,
    *,
    most: float = inf,
) -> tuple[Replicas, ...]:
    """For each number of replicas the best batch of each, and the speedup over one: a prediction.

    With the speedups of these very batches at both ends of what is known of the critical batch.
    `step_seconds` are those of one replica, by batch size; `most` is that of all together.
    Synchronisation is taken to cost nothing, which no machine keeps: an upper bound.
    """

    def seconds(replicas: int, per_replica: int, critical: float) -> float:
        return step_seconds[per_replica] * (1 + critical / (replicas * per_replica))

    def best(replicas: int) -> int:
        sizes = sorted(step_seconds)
        shared = [size for size in sizes if replicas * size <= most] or sizes[:1]
        return min(shared, key=lambda size: seconds(replicas, size, critical_batch.value))

    def speedup(replicas: int, critical: float) -> float:
        return seconds(1, best(1), critical) / seconds(replicas, best(replicas), critical)

    plan = []
    for replicas in counts:
        ends = [speedup(replicas, end) for end in (critical_batch.low, critical_batch.high)]
        found = speedup(replicas, critical_batch.value)
        plan.append(
            Replicas(
                replicas=replicas,
                per_replica_batch_size=best(replicas),
                batch_size=replicas * best(replicas),
                predicted_speedup=found,
                predicted_efficiency=found / replicas,
                predicted_speedup_low=min(ends),
                predicted_speedup_high=max(ends),
            )
        )
    return tuple(plan)
