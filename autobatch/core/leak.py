"""Does a training hold more memory after every step?"""

import statistics
from collections.abc import Sequence
from itertools import pairwise

from autobatch.protocol import Fits
from autobatch.units import format_bytes

MOST_STEPS = 1_000_000  # of a training; what lasts for more is no leak to speak of
# Of the heap, at each step: what Keras and Python keep of one (logs, programs, garbage that is
# not collected yet) is some kibibytes, for the first ten steps, and then less.
LEAST_HEAP_BYTES = 16 << 10


def leak_bytes(held_bytes: Sequence[int]) -> int:
    """How much more is held each time than the time before, step by step; 0 where that is steady.

    A leak grows in every part of the training: it shows if nothing in the last third is as small
    as the largest of the middle third, nor anything there as small as the largest of the first.
    """
    parts = _thirds(held_bytes)
    if not parts or not all(min(after) > max(before) for before, after in pairwise(parts)):
        return 0
    grown = statistics.median(parts[2]) - statistics.median(parts[0])
    return round(grown / (2 * len(parts[0])))


def heap_leak_bytes(used_bytes: Sequence[int], steps: Sequence[int] = ()) -> int:
    """The same for each step of a heap, which much else uses too; 0 where it is no leak.

    `steps` are those made up to each, since the one before (1 if not given).

    What is made or let go now and then (a queue that fills, a validation that is traced) is not to
    make a leak, nor to hide one: it shows by what most of a third holds, and at most steps of each.
    """
    parts, made = _thirds(used_bytes), _thirds(steps or [1] * len(used_bytes))
    quarters = [statistics.quantiles(part, n=4, method="inclusive") for part in parts]
    if not parts or not all(after[0] > before[2] for before, after in pairwise(quarters)):
        return 0
    third = sum(map(sum, made)) / len(made)  # in steps
    grown = [(after[1] - before[1]) / third for before, after in pairwise(quarters)]
    usual = [
        statistics.median((b - a) / n for (a, b), n in zip(pairwise(part), ran[1:], strict=True))
        for part, ran in zip(parts, made, strict=True)
    ]
    each = int(min(*grown, *usual))
    return each if each >= LEAST_HEAP_BYTES else 0


def _thirds(held_bytes: Sequence[int]) -> list[Sequence[int]]:
    """Without the first step, which makes what stays (slots, compiled code); none where too few."""
    third = (len(held_bytes) - 1) // 3
    if third < 3:
        return []
    return [held_bytes[1 + third * part : 1 + third * (part + 1)] for part in range(3)]


def leak_sentence(batch_size: int, fits: Fits, limit_bytes: int) -> str | None:
    """What a leak seen at `batch_size` means, and where to look for it; None where it is no matter.

    (Over few steps a kibibyte may well come by chance.)
    """
    leak = fits.leak_bytes_per_step
    steps_left = (limit_bytes - fits.peak_bytes) // leak
    if steps_left > MOST_STEPS:
        return None
    return (
        f"Memory leaks: {_seen(batch_size, fits, leak)}, so that after some {steps_left:,} more it "
        "runs out, at any size sooner or later. Look for tensors that your train_step, metrics or "
        "callbacks keep."
    )


def host_leak_sentence(batch_size: int, fits: Fits, spare_bytes: int) -> str | None:
    """The same of the machine's memory, of which it can spare so much beside the training."""
    leak = fits.host_leak_bytes_per_step
    steps_left = spare_bytes // leak
    if steps_left > MOST_STEPS:
        return None
    return (
        f"Memory of the machine leaks: {_seen(batch_size, fits, leak)}, so that after some "
        f"{steps_left:,} it runs out, unless what grows is a cache that has an end. Look for NumPy "
        "arrays that your train_step, metrics, callbacks or data keep."
    )


def _seen(batch_size: int, fits: Fits, leak: int) -> str:
    return (
        f"at batch {batch_size} training held {format_bytes(leak)} more after each of "
        f"{fits.full_steps} steps than after the one before"
    )
