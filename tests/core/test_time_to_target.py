"""What the model of steps and step time predicts, cases whose answers are known."""

from math import inf

import pytest

from autobatch.core import time_to_target
from autobatch.protocol import Interval, StepTime


def step_time(overhead, per_sample):
    def exactly(value):
        return Interval(value=value, low=value, high=value)

    return StepTime(
        overhead_seconds=exactly(overhead),
        seconds_per_sample=exactly(per_sample),
        knee=exactly(1),
        describes=True,
    )


HARDWARE = step_time(5e-3, 20e-6)


def test_the_optimum_is_the_geometric_mean_of_half_saturation_and_critical_batch():
    """Alpha 5 ms, beta 20 us, B_c 800."""
    assert time_to_target.optimal_batch(HARDWARE, 800) == pytest.approx(447.21, abs=0.01)
    assert time_to_target.optimal_batch(step_time(5e-3, 0), 800) == inf
    assert time_to_target.optimal_batch(HARDWARE, 250) == pytest.approx(250)  # half saturation
    assert time_to_target.optimal_batch(HARDWARE, 0) == 0


def test_the_least_time_is_that_of_overhead_and_samples_together():
    """In least steps, 0.0388885 s: as a share of a step of 0.5 s at the critical batch, twice."""
    seconds = {447.21: 5e-3 + 20e-6 * 447.21, 800: 0.5}
    found = time_to_target.relative_times(seconds, 800)
    assert 1 / found[800] == pytest.approx(0.0388885, rel=1e-5)


@pytest.mark.parametrize(
    ("off", "excess", "bound"),
    [(2**0.5, 0.0279, 0.0303), (2, 0.1150, 0.125), (4, 0.5175, 0.5625), (8, 1.409, 1.531)],
)
def test_the_optimum_is_flat(off, excess, bound):
    best = 447.21
    times = {b: 5e-3 + 20e-6 * b for b in (best, best * off)}
    found = time_to_target.relative_times(times, 800)[best * off] - 1
    assert found == pytest.approx(excess, rel=0.01)
    assert found <= bound == pytest.approx((off + 1 / off - 2) / 4, abs=1e-3)
    least = time_to_target.predicted_times(times, 800)[best]
    assert time_to_target.least_time(HARDWARE, 800) == pytest.approx(least)


def test_the_least_time_over_sizes_is_seen_where_one_part_of_the_model_vanishes():
    """5 ms a step and nothing for a sample: the largest; no noise: the smallest."""
    sizes = [2**k for k in range(11)]

    def best(seconds, critical):
        found = time_to_target.relative_times({b: seconds(b) for b in sizes}, critical)
        return min(found, key=found.get)

    assert best(lambda b: 5e-3, 800) == 1024
    assert best(lambda b: 5e-3 + 20e-6 * b, 0) == 1
    assert best(lambda b: 5e-3 + 20e-6 * b, 1e6) == 1024  # its optimum lies beyond


def test_efficiency_is_that_of_pollux():
    assert time_to_target.efficiency(32, 32, 100) == 1
    assert time_to_target.efficiency(100, 50, 100) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("critical", "steps", "gain"), [(100, 1, 0), (1000, 3, 0.10), (9000, 9, 0.21)]
)
def test_accumulation_pays_only_far_above_the_batch_that_fits(critical, steps, gain):
    """Batch 32, 4 ms for gradients, 2 ms for the update, 0.1 ms a sample."""
    found = time_to_target.accumulation(32, step_time(6e-3, 1e-4), 2e-3, critical)
    assert found == (steps, pytest.approx(gain, abs=0.02))


@pytest.mark.parametrize(
    ("critical", "saving"),
    [
        (lambda t: 0.001 + t, 0.029),
        (lambda t: (0.001 + t) ** 0.5, 0.010),
        (lambda t: 1 if t < 0.5 else 10, 0.056),
        (lambda t: 1 if t < 0.5 else 100, 0.113),
        (lambda t: 100**t, 0.078),
    ],
)
def test_a_growing_batch_saves_little_on_one_device(critical, saving):
    """On hardware of alpha = beta B_c."""
    count = 1000
    grown = [critical((k + 0.5) / count) for k in range(count)]
    mean = sum(grown) / count
    hardware = step_time(mean, 1.0)
    phases = [(1 / count, each) for each in grown]
    assert time_to_target.schedule_saving(hardware, phases) == pytest.approx(saving, abs=0.006)


def known(critical):
    return Interval(value=critical, low=critical, high=critical)


def test_replicas_bring_less_each_and_never_more_than_their_number():
    seconds = time_to_target.step_seconds(HARDWARE, largest=4096)
    assert list(seconds) == [1 << k for k in range(13)]
    in_groups = time_to_target.step_seconds(HARDWARE, least=20, largest=200, multiple=12)
    assert list(in_groups) == [24, 48, 96, 192]
    few = time_to_target.replica_plan((1, 8, 64), seconds, known(800), most=32)
    assert [each.batch_size for each in few] == [32, 32, 64]  # one sample each at least
    plan = time_to_target.replica_plan((1, 2, 4, 8), seconds, known(800))
    assert [each.per_replica_batch_size for each in plan] == [512, 256, 256, 128]
    # Of samples per second times Pollux' efficiency, over that of one replica.
    speedups = [each.predicted_speedup for each in plan]
    assert speedups == pytest.approx([1, 1.5059, 2.1664, 2.9000], abs=1e-4)
    assert all(each.predicted_speedup <= each.replicas for each in (*few, *plan))
    efficiencies = [each.predicted_efficiency for each in plan]
    assert efficiencies == sorted(efficiencies, reverse=True)
    assert all(each.batch_size == each.replicas * each.per_replica_batch_size for each in plan)


def test_of_no_replicas_nothing_is_predicted_whatever_was_timed():
    assert time_to_target.replica_plan((), {}, known(800)) == ()


def test_what_replicas_bring_is_told_for_both_ends_of_what_is_known_of_the_critical_batch():
    """By the batches that are planned, whose best others would be there."""
    seconds = time_to_target.step_seconds(HARDWARE, largest=4096)
    critical = Interval(value=800, low=50, high=20_000)
    alone, eight = time_to_target.replica_plan((1, 8), seconds, critical)
    assert (alone.predicted_speedup_low, alone.predicted_speedup_high) == (1, 1)
    one, each = alone.per_replica_batch_size, eight.per_replica_batch_size
    assert (one, each) == (512, 128)

    def at(critical):
        steps = (1 + critical / one) / (1 + critical / (8 * each))
        return steps * seconds[one] / seconds[each]

    assert eight.predicted_speedup_low == pytest.approx(at(50))
    assert eight.predicted_speedup == pytest.approx(at(800))
    assert eight.predicted_speedup_high == pytest.approx(at(20_000))
