"""Rates, intervals and the knee from raw windows."""

from functools import partial

import msgspec
import numpy as np
import pytest
from points import point

from autobatch.core import epoch_ends, throughput
from autobatch.protocol import Measured, Window, changed


def measured(windows, *, samples=1000, steps=10, overheads=()):
    return Measured(
        windows=tuple(windows),
        whole_epochs=not overheads,
        epoch_overhead_seconds=overheads,
        steps_per_epoch=steps,
        samples_per_epoch=samples,
        device_windows=(),
        peak_bytes=None,
    )


def test_epoch_overhead_counts_in_the_delivered_rate():
    windows = [Window(steps=10, samples=1000, seconds=1.0)] * 8
    for overheads, rate in (((), 1000), ((1.0, 1.0), 500)):
        found = throughput.benchmark_point(100, [measured(windows, overheads=overheads)])
        rates = found.low, found.samples_per_second, found.high
        assert rates == pytest.approx((rate, rate, rate))


def test_what_windows_of_whole_epochs_have_in_them_is_not_added_again():
    """The first end of an epoch compiles."""
    windows = [Window(steps=10, samples=1000, seconds=1.0)] * 8
    whole = msgspec.structs.replace(
        measured(windows), epoch_overhead_seconds=(5.0, 0.1, 0.1), joules_per_sample=0.5
    )
    found = throughput.benchmark_point(100, [whole, whole])
    assert found.samples_per_second == pytest.approx(1000)
    assert (found.epoch_overhead_seconds, found.joules_per_sample) == (0.1, 0.5)


def test_step_seconds_is_the_mean_over_an_epoch_with_its_ragged_batch():
    windows = [Window(steps=11, samples=1050, seconds=2.1)] * 9
    found = throughput.benchmark_point(100, [measured(windows, samples=1050, steps=11)])
    assert found.samples_per_second == pytest.approx(500)
    assert found.step_seconds == pytest.approx(2.1 / 11)
    assert found.epoch_seconds == pytest.approx(2.1)


def test_the_doubt_about_the_overhead_is_in_the_interval():
    windows = [Window(steps=10, samples=1000, seconds=1.0)] * 8
    found = throughput.benchmark_point(100, [measured(windows, overheads=(0.8, 1.0, 1.2))])
    assert found.samples_per_second == pytest.approx(500)
    assert found.high == pytest.approx(500 * (1 + 4.303 * 0.2 / 3**0.5 / 2), rel=1e-4)


def test_few_starts_are_doubted_by_their_mean_at_most():
    assert throughput.start_doubt((0.1,)) == 0.1
    assert throughput.start_doubt((0.05, 0.15)) == pytest.approx(0.1)  # 12.7 x 0.05 otherwise


def test_starts_of_epochs_are_waited_for_where_they_matter():
    known = throughput.starts_are_known
    assert not known((), 0.9, 1.0) and known((), 1.1, 1.0)  # the first, if it comes in time
    assert known((0.02,), 0.5, 1.0)  # a small one may be what it likes
    assert not known((0.1,), 0.5, 1.0)
    assert not known((0.1, 0.3, 0.1), 0.5, 1.0) and known((0.1,) * 8 + (0.11,), 0.5, 1.0)


def test_where_no_epoch_began_the_start_of_the_pipeline_stands_for_it():
    windows = [Window(steps=10, samples=1000, seconds=1.0)] * 8
    began = throughput.benchmark_point(100, [measured(windows, overheads=(0.5,))])
    alone = changed(
        measured(windows), whole_epochs=False, epoch_overhead_seconds=(), input_start_seconds=0.5
    )
    assert throughput.benchmark_point(100, [alone]) == began
    in_epochs = changed(alone, whole_epochs=True)
    assert throughput.benchmark_point(100, [in_epochs]).samples_per_second == pytest.approx(1000)


def test_one_start_of_an_epoch_may_as_well_be_none():
    windows = [Window(steps=10, samples=1000, seconds=1.0)] * 8
    found = throughput.benchmark_point(100, [measured(windows, overheads=(0.5,))])
    assert found.samples_per_second == pytest.approx(1000 / 1.5)
    assert found.high == pytest.approx(1000 / 1.5 * (1 + 0.5 / 1.5))


def test_stalls_count_as_fit_pays_for_them():
    quick = Window(steps=1, samples=100, seconds=0.1)
    stalled = Window(steps=1, samples=100, seconds=0.3)
    found = throughput.benchmark_point(100, [measured([quick, quick, quick, stalled] * 5)])
    assert found.samples_per_second == pytest.approx(2000 / 3.0)
    assert found.low < 2000 / 3.0 < found.high < 1000


def test_one_window_is_a_rate_without_an_interval():
    found = throughput.rate_interval([Window(steps=1, samples=100, seconds=0.1)])
    assert found.value == found.low == found.high == pytest.approx(1000)


def test_the_half_width_of_an_interval_is_a_share_of_the_rate():
    assert point(8, 400.0, spread=0.25).half_width == 0.25


def test_windows_of_other_sizes_at_one_rate_leave_no_doubt():
    windows = [Window(steps=k, samples=100 * k, seconds=0.1 * k) for k in (1, 3, 1, 5, 2)]
    found = throughput.rate_interval(windows)
    assert (found.low, found.high) == pytest.approx((1000, 1000))


@pytest.mark.parametrize("count", [8, 20])
def test_the_interval_contains_the_rate_as_often_as_it_says(count):
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        samples = rng.integers(1, 4, count) * 50
        seconds = samples / 1000 * rng.uniform(0.5, 1.5, count)
        pairs = zip(samples, seconds, strict=True)
        windows = [Window(steps=1, samples=int(n), seconds=float(t)) for n, t in pairs]
        found = throughput.rate_interval(windows)
        inside += found.low <= 1000 <= found.high
    assert 915 <= inside <= 975


def process(rate):
    return measured([Window(steps=1, samples=1000, seconds=1000 / rate)] * 9)


def test_what_differs_between_processes_is_in_the_interval_as_often_as_it_says():
    """12 sizes in two processes each, whose rates differ by 5 %; one in ten far slower."""
    rng = np.random.default_rng(0)
    held = {0.0: 0, 0.1: 0}
    for disturbed in held:
        for _ in range(100):
            off = rng.normal(0, 0.05, (12, 2))
            off -= (rng.random((12, 2)) < disturbed) * rng.exponential(0.3, (12, 2))
            rounds = [[process(1000 * np.exp(each)) for each in size] for size in off]
            spread = throughput.spread_between(rounds)
            for each in rounds:
                found = throughput.benchmark_point(100, each, spread)
                held[disturbed] += found.low <= 1000 <= found.high
    assert held[0.0] >= 0.92 * 1200
    assert held[0.1] >= 0.87 * 1200


def test_one_disturbed_size_widens_its_own_interval_alone():
    rounds = [[process(1000 * 2**k), process(1000 * 2**k * 1.01)] for k in range(12)]
    rounds[2] = [process(4000), process(2000)]
    spread = throughput.spread_between(rounds)
    found = [throughput.benchmark_point(100, each, spread) for each in rounds]
    assert all(p.high / p.low < 1.05 for k, p in enumerate(found) if k != 2)
    assert found[2].low <= 2000 < 4000 <= found[2].high


@pytest.mark.parametrize("sizes", [1, 3])
def test_few_sizes_are_measured_three_times_and_their_intervals_hold_too(sizes):
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        off = rng.normal(0, 0.05, (sizes, 3)) - (rng.random((sizes, 3)) < 0.1) * 0.3
        rounds = [[process(1000 * np.exp(each)) for each in size] for size in off]
        spread = throughput.spread_between(rounds)
        found = [throughput.benchmark_point(100, each, spread) for each in rounds]
        held += sum(point.low <= 1000 <= point.high for point in found)
    assert held >= 0.92 * 300 * sizes


def test_without_a_repetition_the_windows_of_one_process_are_all_there_is():
    assert throughput.spread_between([[process(1000)]]) == 0.0


def test_drift_is_a_change_of_all_sizes_and_not_of_one():
    slowed = [[process(1000 * k), process(k * 800 * (1 + 0.01 * k))] for k in (1, 2, 3)]
    assert throughput.drift(slowed) == pytest.approx(-0.18, abs=0.01)
    one = [[process(1000), process(1000)]] * 4 + [[process(1000), process(500)]]
    assert throughput.drift(one) == 0.0
    assert throughput.drift(slowed[:1]) == 0.0


def test_sizes_are_powers_of_two_and_the_ceiling():
    assert throughput.sizes_to_measure(1, 10) == [1, 2, 4, 8, 10]
    assert throughput.sizes_to_measure(3, 16) == [4, 8, 16]
    assert throughput.sizes_to_measure(5, 6) == [6]
    assert throughput.sizes_to_measure(30, 103) == [32, 64, 96]  # the ceiling: a multiple of 8
    assert throughput.sizes_to_measure(101, 103) == [101]
    assert throughput.sizes_to_measure(1, 10, multiple=3) == [3, 6, 9]
    assert throughput.sizes_to_measure(4, 32, multiple=2) == [4, 8, 16, 32]
    assert throughput.sizes_to_measure(1, 100, few=True) == [1, 4, 16, 64, 96]


def test_the_order_of_sizes_is_interleaved_and_complete():
    order = throughput.interleaved([1, 2, 4, 8, 16])
    assert order == [1, 4, 16, 8, 2]


def test_a_training_is_paced_by_the_ends_of_epochs_that_it_saw():
    """Of epochs of 100 steps in 4 s, 0.5 s to begin one and, on average, 0.5 s of waits."""
    found = changed(
        throughput.benchmark_point(100, [measured([Window(steps=10, samples=1000, seconds=0.5)])]),
        steps_per_epoch=100,
        step_seconds=0.05,
        epoch_seconds=5.0,
        epoch_overhead_seconds=1.0,
        epoch_wait_seconds=0.5,
    )
    paced = partial(throughput.pace, found)
    assert paced(50, 2.0) == pytest.approx(1)  # no end of an epoch
    assert paced(50, 3.0) == pytest.approx(1.5)
    without, wait = 8.5, epoch_ends.mean_wait(4.0 + 0.5)
    assert paced(200, without) == paced(200, without + wait) == pytest.approx(1)
    assert paced(200, 2 * (without + wait)) == pytest.approx(2)
    assert paced(200, without / 2) == pytest.approx(0.5)
    never = changed(found, epoch_overhead_seconds=0.5, epoch_wait_seconds=0.0)
    assert throughput.pace(never, 200, 9.5) == pytest.approx(1)
    slow_to_warm_up = changed(found, epoch_overhead_seconds=6.0)
    assert throughput.pace(slow_to_warm_up, 200, 20.0) == pytest.approx(2)
