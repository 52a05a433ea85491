"""Waits of tf.data at the ends of epochs, told from what epochs take to begin."""

import numpy as np
import pytest
from msgspec.structs import replace

from autobatch.core import epoch_ends, throughput
from autobatch.protocol import EpochEnd, Interval, Measured, Window

ALWAYS = Interval(value=1.0, low=1.0, high=1.0)


@pytest.mark.parametrize(
    ("lived", "turn"), [(0.0, 0.02), (0.05, 0.06), (1.59, 2.54), (2.6, 5.1), (90.0, 141.9)]
)
def test_turns_are_ever_farther_apart_up_to_a_minute(lived, turn):
    assert lived + epoch_ends.seconds_to_turn(lived) == pytest.approx(turn)


@pytest.mark.parametrize("lived", [0.3, 2.54, 5.1])
def test_a_turn_just_missed_is_not_waited_for_in_all_epochs(lived):
    """At a turn an epoch waits for nothing or as long again; epochs differ by a tenth (seen: 4.3 to
    5.7 s, of which those beyond 5.1 s waited 4.4 to 5.1 s, the others 0.4 to 0.7 s)."""
    before, after = epoch_ends.mean_wait(0.99 * lived), epoch_ends.mean_wait(1.01 * lived)
    assert 0.4 * lived < before < after < 0.6 * lived


def test_between_two_turns_waits_are_what_is_left():
    assert epoch_ends.mean_wait(1.7) == pytest.approx(2.54 - 1.7, rel=0.01)


@pytest.mark.parametrize(
    ("took", "waited"), [(0.02, False), (0.5, False), (0.951, True), (1.1, True), (1.5, False)]
)
def test_a_wait_lasts_until_the_next_turn(took, waited):
    """After 1.59 s, that of 2.54 s, or somewhat later (measured: 0.95 s)."""
    end = epoch_ends.epoch_end(1.59, took)
    assert end == EpochEnd(wait_seconds=pytest.approx(took if waited else 0.95), waited=waited)


@pytest.mark.parametrize(("took", "waited"), [(0.03, False), (0.4, False), (0.6, True)])
def test_an_iterator_may_be_older_than_is_known(took, waited):
    """By up to 0.4 s: its turn of 2.54 s is then that of between 2.14 and 2.54 s."""
    end = epoch_ends.epoch_end(1.6, took, unsure=0.4)
    assert end.waited == waited


def test_a_turn_that_follows_at_once_tells_nothing():
    unknown = EpochEnd(wait_seconds=0.0, waited=False)
    assert [epoch_ends.epoch_end(2.51, took) for took in (0.03, 0.06)] == [unknown] * 2
    seen = EpochEnd(wait_seconds=1.0, waited=True)
    assert epoch_ends.share_that_wait([seen, unknown]) == epoch_ends.share_that_wait([seen])


def test_the_share_is_that_of_all_ends_with_its_doubt():
    """Wilson's interval of 3 of 10: 0.108 to 0.603."""
    ends = [EpochEnd(wait_seconds=1.0, waited=k < 3) for k in range(10)]
    found = epoch_ends.share_that_wait(ends)
    assert (found.value, found.low, found.high) == pytest.approx((0.3, 0.108, 0.603), abs=1e-3)
    assert epoch_ends.share_that_wait(ends[3:]) == epoch_ends.NEVER
    assert epoch_ends.share_that_wait([]) == epoch_ends.NEVER


def epochs(rng, seconds, share, start=0.02):
    """One process: 4 epochs of so many seconds and 100 samples, of which a share waits."""
    wait = epoch_ends.seconds_to_turn(seconds)
    ends = tuple(EpochEnd(wait_seconds=wait, waited=bool(rng.random() < share)) for _ in range(3))
    return Measured(
        windows=(Window(steps=10, samples=100, seconds=seconds),) * 4,
        whole_epochs=False,
        steps_per_epoch=10,
        samples_per_epoch=100,
        device_windows=(),
        peak_bytes=None,
        epoch_overhead_seconds=(start,) * 3,
        epoch_ends=ends,
    )


def test_waits_count_as_often_as_at_all_sizes_together():
    """Of two sizes that take as long, one is met by more waits, and is no slower for it."""
    rng = np.random.default_rng(0)
    found = {
        size: [epochs(rng, seconds, 0.3) for _ in range(2)]
        for size, seconds in ((8, 1.5), (16, 1.5), (32, 0.7), (64, 1.2))
    }
    points = throughput.benchmark_points(found)
    assert points[0].samples_per_second == points[1].samples_per_second
    ends = [end for rounds in found.values() for each in rounds for end in each.epoch_ends]
    share = sum(end.waited for end in ends) / len(ends)
    assert 0.1 < share < 0.5
    start = 0.02
    for point, seconds in zip(points, (1.5, 1.5, 0.7, 1.2), strict=True):
        wait = share * epoch_ends.mean_wait(seconds + start)
        assert point.epoch_wait_seconds == pytest.approx(wait)
        assert point.epoch_seconds == pytest.approx(seconds + start + wait)
        assert point.low < 100 / (seconds + start) and point.high > point.samples_per_second


def test_sizes_of_which_no_end_was_seen_wait_as_others_do():
    rng = np.random.default_rng(0)
    seen, unseen = epochs(rng, 1.5, 0.5), replace(epochs(rng, 9.0, 0.0), epoch_ends=())
    share = throughput.share_that_wait([[seen]]).value
    points = throughput.benchmark_points({8: [unseen], 64: [seen]})
    assert 0 < share < 1
    assert points[0].epoch_wait_seconds == pytest.approx(share * epoch_ends.mean_wait(9.02))
    assert points[0].epoch_seconds == pytest.approx(9.02 + points[0].epoch_wait_seconds)


def test_an_iterator_lives_as_long_as_its_epoch_takes_to_begin_too():
    """Of 4 s of steps after 1.5 s to fill a buffer: the turn is that of 10.22 s, not of 5.1 s."""
    found = throughput.benchmark_point(
        8, [epochs(np.random.default_rng(0), 4.0, 1.0, start=1.5)], 0.0, ALWAYS
    )
    assert found.epoch_wait_seconds == pytest.approx(epoch_ends.mean_wait(5.5))
    assert found.epoch_seconds == pytest.approx(5.5 + found.epoch_wait_seconds)


def test_waits_are_overhead_also_where_no_start_was_seen():
    unseen = replace(epochs(np.random.default_rng(0), 9.0, 0.0), epoch_overhead_seconds=())
    found = throughput.benchmark_point(8, [unseen], 0.0, ALWAYS)
    assert found.epoch_overhead_seconds == found.epoch_wait_seconds > 0
    assert throughput.benchmark_point(8, [unseen]).epoch_overhead_seconds is None


def test_without_waits_nothing_changes():
    rng = np.random.default_rng(0)
    process = epochs(rng, 1.5, 0.0)
    unseen = replace(process, epoch_ends=())
    assert throughput.benchmark_points({8: [process]}) == throughput.benchmark_points({8: [unseen]})


def test_waits_in_windows_of_whole_epochs_are_overhead_and_in_no_rate_once_more():
    ends = tuple(EpochEnd(wait_seconds=0.5, waited=k % 2 == 0) for k in range(4))
    others = epochs(np.random.default_rng(0), 1.5, share=1.0)
    whole = replace(others, whole_epochs=True, epoch_ends=ends)
    lucky = replace(whole, epoch_ends=ends[1::2])
    points = throughput.benchmark_points({8: [whole], 16: [lucky], 32: [others]})
    waits = [0.25, 0.0, epoch_ends.mean_wait(1.52)]
    assert [point.epoch_wait_seconds for point in points] == pytest.approx(waits)
    assert points[0].epoch_overhead_seconds == pytest.approx(0.02 + 0.25)
    assert points[0].epoch_seconds == points[1].epoch_seconds == pytest.approx(1.5)
