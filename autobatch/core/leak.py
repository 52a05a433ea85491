"""Does a training hold more memory after every step?"""

import statistics
from collections.abc import Sequence
from itertools import pairwise

from autobatch.protocol import Fits
from autobatch.units import format_bytes

MOST_STEPS = 1_000_000  # of a training; what lasts for more is no leak to speak of


def leak_bytes(held_bytes: Sequence[int]) -> int:
    """How much more is held each time than the time before, step by step; 0 where that is steady.

    A leak grows in every part of the training: it shows if nothing in the last third is as small
    as the largest of the middle third, nor anything there as small as the largest of the first.
    The first step makes what stays (slots, compiled code).
    """
    third = (len(held_bytes) - 1) // 3
    if third < 3:
        return 0
    parts = [held_bytes[1 + third * part : 1 + third * (part + 1)] for part in range(3)]
    if not all(min(after) > max(before) for before, after in pairwise(parts)):
        return 0
    return round((statistics.median(parts[2]) - statistics.median(parts[0])) / (2 * third))


def leak_sentence(batch_size: int, fits: Fits, limit_bytes: int) -> str | None:
    """What a leak seen at `batch_size` means, and where to look for it; None where it is no matter.

    (Over few steps a kibibyte may well come by chance.)
    """
    steps_left = (limit_bytes - fits.peak_bytes) // fits.leak_bytes_per_step
    if steps_left > MOST_STEPS:
        return None
    return (
        f"Memory leaks: at batch {batch_size} training held "
        f"{format_bytes(fits.leak_bytes_per_step)} more after each of {fits.full_steps} steps than "
        f"after the one before, so that after some {steps_left:,} more it runs out, at any size "
        "sooner or later. Look for tensors that your train_step, metrics or callbacks keep."
    )
