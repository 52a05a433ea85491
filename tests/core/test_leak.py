"""Leaks, on made-up histories of held memory."""

from itertools import accumulate

import pytest

from autobatch.core.leak import heap_leak_bytes, host_leak_sentence, leak_bytes, leak_sentence
from autobatch.protocol import Fits


@pytest.mark.parametrize(
    ("held", "leak"),
    [
        ([100] * 30, 0),
        ([50, *range(100, 130)], 1),
        ([100, 300, 100, 200] * 8, 0),  # garbage collected now and then
        ([10, 20, 30, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40], 0),  # grows, then settles
        ([1, 2, 3], 0),  # too few to tell
    ],
)
def test_a_leak_is_growth_in_every_part_of_the_training(held, leak):
    assert leak_bytes(held) == leak


def growing(kib, *, jumps=(), falls=(), steps=40):
    """A heap that holds so much more after each step, and at times a mebibyte more, or less."""
    jumped = [sum(step > j for j in jumps) - sum(step > f for f in falls) for step in range(steps)]
    return [(step * kib << 10) + (jumped[step] << 20) for step in range(steps)]


@pytest.mark.parametrize(
    ("used", "steps", "leak"),
    [
        (growing(64), (), 64 << 10),
        (growing(64), [4] * 40, 16 << 10),
        # After a full step, and after a smaller one that ends an epoch and a full one.
        (list(accumulate([64 << 10, 128 << 10] * 20)), [1, 2] * 20, 64 << 10),
        (growing(64, jumps=(10, 20, 30)), (), 64 << 10),
        (growing(3), (), 0),  # what Keras keeps of a step
        (growing(0, jumps=(10, 20, 30)), (), 0),  # at ends of epochs
        (growing(64, steps=20) + [64 * 20 << 10] * 20, (), 0),  # a buffer that is full
        ([step % 10 * (1 << 20) for step in range(40)], (), 0),  # an epoch's predictions, let go
        ([], (), 0),  # nothing says
    ],
)
def test_a_leak_of_the_heap_is_growth_at_most_steps(used, steps, leak):
    assert heap_leak_bytes(used, steps) == pytest.approx(leak, rel=0.05)


@pytest.mark.parametrize("fall", range(5, 40))
def test_what_is_let_go_once_hides_no_leak_of_the_heap(fall):
    assert 64 << 10 <= heap_leak_bytes(growing(150, falls=(fall,))) <= 150 << 10


@pytest.mark.parametrize(("leak", "is_told"), [(1 << 20, True), (1 << 10, False)])
def test_a_leak_that_no_training_is_long_enough_for_is_not_told(leak, is_told):
    fits = Fits(
        peak_bytes=1 << 20,
        least_peak_bytes=1 << 20,
        full_steps=10,
        steps=10,
        step_seconds=0.1,
        leak_bytes_per_step=leak,
        host_leak_bytes_per_step=leak,
    )
    told = leak_sentence(32, fits, 20 << 30)
    told_of_host = host_leak_sentence(32, fits, 20 << 30)
    assert [told is not None, told_of_host is not None] == [is_told, is_told]
