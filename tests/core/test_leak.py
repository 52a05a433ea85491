"""Leaks, on made-up histories of held memory."""

import pytest

from autobatch.core.leak import leak_bytes_per_step


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
    assert leak_bytes_per_step(held) == leak
