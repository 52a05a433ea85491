"""Does a training hold more memory after every step?"""

import statistics
from collections.abc import Sequence
from itertools import pairwise


def leak_bytes_per_step(held_bytes: Sequence[int]) -> int:
    """How much more is held after each step than after the one before; 0 where that is steady.

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
