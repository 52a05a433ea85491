"""Leaks, on made-up histories of held memory."""

import pytest

from autobatch.core.leak import leak_bytes, leak_sentence
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


@pytest.mark.parametrize(("leak", "is_told"), [(1 << 20, True), (1 << 10, False)])
def test_a_leak_that_no_training_is_long_enough_for_is_not_told(leak, is_told):
    fits = Fits(
        peak_bytes=1 << 20,
        least_peak_bytes=1 << 20,
        full_steps=10,
        steps=10,
        step_seconds=0.1,
        leak_bytes_per_step=leak,
    )
    told = leak_sentence(32, fits, 20 << 30)
    assert (told is not None) == is_told
