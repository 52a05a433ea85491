"""Rates, intervals and the knee from raw windows."""

import numpy as np
import pytest

from autobatch.core import throughput
from autobatch.protocol import BenchmarkPoint, Measured, Window


def point(batch_size, rate, *, spread=0.01, device=None):
    return BenchmarkPoint(
        batch_size=batch_size,
        samples_per_second=rate,
        low=rate * (1 - spread),
        high=rate * (1 + spread),
        device_samples_per_second=device,
        step_seconds=batch_size / rate,
        epoch_seconds=1000 / rate,
        peak_bytes=None,
        windows=20,
    )


def measured(windows, *, samples=1000, steps=10, overhead=None):
    return Measured(
        windows=tuple(windows),
        whole_epochs=overhead is None,
        epoch_overhead_seconds=overhead,
        steps_per_epoch=steps,
        samples_per_epoch=samples,
        warmup_seconds=0.5,
        device_windows=(),
        peak_bytes=None,
    )


def test_epoch_overhead_counts_in_the_delivered_rate():
    inside = Window(steps=10, samples=1000, seconds=1.0)
    assert throughput.delivered_rate(inside, 1000, None) == pytest.approx(1000)
    assert throughput.delivered_rate(inside, 1000, 1.0) == pytest.approx(500)


def test_step_seconds_is_the_mean_over_an_epoch_with_its_ragged_batch():
    windows = [Window(steps=11, samples=1050, seconds=2.1)] * 9
    found = throughput.benchmark_point(100, measured(windows, samples=1050, steps=11))
    assert found.samples_per_second == pytest.approx(500)
    assert found.step_seconds == pytest.approx(2.1 / 11)
    assert found.epoch_seconds == pytest.approx(2.1)


def test_one_slow_window_moves_neither_the_median_nor_its_interval():
    windows = [Window(steps=1, samples=100, seconds=0.1)] * 19
    slow = Window(steps=1, samples=100, seconds=10.0)
    found = throughput.benchmark_point(100, measured([*windows, slow]))
    assert found.low == found.samples_per_second == found.high == pytest.approx(1000)


@pytest.mark.parametrize(("count", "ranks"), [(5, (1, 5)), (8, (1, 8)), (9, (2, 8)), (20, (6, 15))])
def test_the_interval_is_that_of_the_sign_test(count, ranks):
    low, high = throughput.median_interval(list(range(1, count + 1)))
    assert (low, high) == ranks


def test_the_interval_contains_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        low, high = throughput.median_interval(list(rng.lognormal(size=20)))
        inside += low <= 1 <= high
    assert inside >= 935


def test_the_knee_is_the_smallest_batch_within_5_percent_as_far_as_intervals_tell():
    points = [point(32, 500), point(64, 800), point(128, 945), point(256, 1000)]
    assert throughput.knee(points) == 128
    surer = [point(32, 500), point(64, 800), point(128, 945, spread=0.001), point(256, 1000)]
    assert throughput.knee(surer) == 256


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([point(32, 500), point(64, 1000, device=5000)], "host"),
        ([point(32, 500), point(64, 1000, device=1050)], "step_overhead"),
        ([point(32, 980), point(64, 1000, device=1050)], "compute"),
    ],
)
def test_what_binds_is_told_from_both_rates(points, expected):
    assert throughput.bound_by(points) == expected


def test_sizes_are_powers_of_two_and_the_ceiling():
    assert throughput.sizes_to_measure(1, 10) == [1, 2, 4, 8, 10]
    assert throughput.sizes_to_measure(3, 16) == [4, 8, 16]
    assert throughput.sizes_to_measure(5, 6) == [6]


def test_the_order_of_sizes_is_interleaved_and_complete():
    order = throughput.interleaved([1, 2, 4, 8, 16])
    assert order == [1, 4, 16, 8, 2]
