"""The fitted step time and the knee, on curves whose truth is known."""

import numpy as np
import pytest
from points import point

from autobatch.core.step_time import knee, seconds_between, step_time

SIZES = [2**k for k in range(13)]


def rate(size, overhead, per_sample):
    return size / (overhead + per_sample * size)


def true_knee(overhead, per_sample, sizes=SIZES):
    rates = [rate(size, overhead, per_sample) for size in sizes]
    return min(s for s, r in zip(sizes, rates, strict=True) if r >= 0.95 * max(rates))


def test_a_line_is_found_exactly():
    points = [point(size, rate(size, 1e-3, 1e-5)) for size in SIZES]
    found = step_time(points)
    assert found.overhead_seconds.value == pytest.approx(1e-3)
    assert found.seconds_per_sample.value == pytest.approx(1e-5)
    assert found.describes
    assert knee(points, step_time(points)) == true_knee(1e-3, 1e-5)


def test_the_knee_is_within_a_factor_of_2_in_95_percent_of_noisy_curves():
    rng = np.random.default_rng(0)
    near = covered = 0
    for _ in range(1000):
        overhead, per_sample = 1e-3, 1e-3 / 2 ** rng.uniform(0, 9)  # half-saturation at 1 to 512
        noisy = [
            point(size, rate(size, overhead, per_sample) * np.exp(rng.normal(0, 0.05)), spread=0.1)
            for size in SIZES
        ]
        truth, found = true_knee(overhead, per_sample), step_time(noisy).knee
        near += 0.5 <= found.value / truth <= 2
        covered += found.low <= truth <= found.high
    assert near >= 950
    assert covered >= 930


def test_the_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    held = np.zeros(2)
    for _ in range(300):
        noisy = [
            point(size, rate(size, 1e-3, 1e-5) * np.exp(rng.normal(0, 0.03)), spread=0.0588)
            for size in SIZES
        ]
        found = step_time(noisy)
        truths = ((found.overhead_seconds, 1e-3), (found.seconds_per_sample, 1e-5))
        held += [each.low <= truth <= each.high for each, truth in truths]
    assert (held >= 0.9 * 300).all()


def test_pure_overhead_and_pure_computation_have_an_end():
    overhead = step_time([point(size, rate(size, 1e-3, 0)) for size in SIZES])
    assert overhead.seconds_per_sample.value == pytest.approx(0, abs=1e-9)
    assert overhead.knee.value == SIZES[-1]
    computation = step_time([point(size, rate(size, 0, 1e-5)) for size in SIZES])
    assert computation.overhead_seconds.value == pytest.approx(0, abs=1e-9)
    assert computation.knee.value == SIZES[0]


def test_where_large_sizes_are_slower_the_measured_rates_decide():
    """Out of a cache, say: the line does not describe that, and says so."""
    points = [point(8, 500), point(16, 800), point(32, 990), point(64, 1000), point(128, 600)]
    found = step_time(points)
    assert not found.describes
    assert knee(points, step_time(points)) == 32


def test_two_sizes_have_a_knee_but_no_fit():
    points = [point(32, 500), point(64, 1000)]
    assert step_time(points) is None
    assert knee(points, step_time(points)) == 64


def test_the_knee_of_two_sizes_is_near_the_best_however_wide_the_intervals():
    points = [point(32, 16_000, spread=0.5), point(64, 21_000, spread=0.5)]
    assert knee(points, step_time(points)) == 64


def test_a_step_that_was_not_timed_is_between_its_neighbours_or_in_proportion():
    timed = {10: 1.0, 20: 3.0}
    assert [seconds_between(timed, size) for size in (5, 10, 15, 20, 40)] == [0.5, 1, 2, 3, 6]
    assert seconds_between({}, 5) == 0
