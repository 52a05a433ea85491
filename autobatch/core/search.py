"""The largest batch that fits: a safeguarded search in a bracket of measured sizes.

`good` is the largest size seen to fit, `bad` the smallest seen not to. Peak memory is nearly affine
in the batch, so the next size is where the line through two good sizes meets the limit, kept inside
the bracket. A prediction that does not halve the bracket is wasted; after three wasted ones it is
bisected to the end (as Brent's method safeguards its interpolation), so that no shape of memory
costs more than binary search and a constant. No size is tried twice.
"""

from collections.abc import Callable, Mapping
from math import ceil, inf, isqrt, log2

from autobatch.protocol import Struct

OVERSHOT = 0.2  # by which a size that a line promised, and that failed, is taken to be too large
MAX_WASTED = 3  # predictions that did not halve the bracket
GEOMETRIC = 4  # a bracket wider than this ratio is bisected on the logarithmic scale
MAX_PROBES = 64  # a bracket of 2**32 bisected twice over: never reached by a sane search

BOUNDED_BY = {  # `bounded_by`, what ended the search, in words
    "memory": "device memory",
    "samples": "the number of training samples",
    "range": "batch_sizes.max",
    "host_memory": "the memory of the machine",
    "trials": "the length of trials, too short for larger ones (`autobatch probe` finds what fits)",
    "time": "the time it had: the search was not finished",
    "failure": "a failure without a sign of out-of-memory (see the notes)",
}


class Bracket(Struct):
    """`good` fits (0: nothing does); `bad` does not (None: everything up to the bound fits)."""

    good: int
    bad: int | None


def largest_fitting(
    probe: Callable[[int], int | None],
    *,
    lower: int,
    upper: int,
    start: int,
    limit_bytes: int,
    tolerance: float,
    known: Mapping[int, int | None] | None = None,
    multiple: int = 1,
) -> Bracket:
    """Narrow the bracket until it is within `tolerance` (relative; 0: to the sample).

    `probe(size)` returns the peak in bytes, or None if the size does not fit. `known` are answers
    from before, by size. All sizes, bounds and known ones too, are multiples of `multiple`.
    """
    if multiple > 1:
        shares = largest_fitting(
            lambda share: probe(share * multiple),
            lower=lower // multiple,
            upper=upper // multiple,
            start=max(1, start // multiple),
            limit_bytes=limit_bytes,
            tolerance=tolerance,
            known={size // multiple: peak for size, peak in (known or {}).items()},
        )
        bad = None if shares.bad is None else shares.bad * multiple
        return Bracket(good=shares.good * multiple, bad=bad)
    peaks: dict[int, int | None] = dict(known or {})
    wasted = 0
    for _ in range(MAX_PROBES):
        bracket = bracket_of(peaks, lower, upper)
        size = _next_size(peaks, bracket, wasted, lower, upper, start, limit_bytes, tolerance)
        if size is None:
            return bracket
        is_first_line = sum(peak is not None for peak in peaks.values()) == 1
        peaks[size] = probe(size)
        if is_first_line and peaks[size] is not None:
            continue  # through the origin, it promises little, and shows where to look
        if bracket.good and bracket.bad is not None:
            wasted += _width(bracket_of(peaks, lower, upper)) * 2 > _width(bracket)
    return bracket_of(peaks, lower, upper)


def tries_left(
    bracket: Bracket, *, lower: int, upper: int, tolerance: float, multiple: int = 1
) -> int:
    """About how many more sizes the search will try, for telling the user.

    As measured on memory that varies by a tenth from run to run: affine memory takes fewer.
    """
    if bracket.good == 0:
        return 6 if bracket.bad is None else min(6, 1 + ceil(log2(max(1.0, bracket.bad / lower))))
    if bracket.bad is None:
        return 0 if bracket.good == upper else 4
    step = max(multiple, step_of(bracket.good, tolerance))
    return ceil(log2(max(1.0, _width(bracket) / step)))


def step_of(good: int, tolerance: float) -> int:
    """How far above `good` a size that does not fit may be, for the answer to be near enough."""
    return max(1, int(good * tolerance))


def _width(bracket: Bracket) -> int:
    return (bracket.bad or 0) - bracket.good


def bracket_of(peaks: Mapping[int, int | None], lower: int, upper: int) -> Bracket:
    inside = {size: peak for size, peak in peaks.items() if lower <= size <= upper}
    bad = min((size for size, peak in inside.items() if peak is None), default=None)
    good = max(
        (s for s, peak in inside.items() if peak is not None and (bad is None or s < bad)),
        default=0,
    )
    return Bracket(good=good, bad=bad)


def _next_size(
    peaks: Mapping[int, int | None],
    bracket: Bracket,
    wasted: int,
    lower: int,
    upper: int,
    start: int,
    limit_bytes: int,
    tolerance: float,
) -> int | None:
    good, bad = bracket.good, bracket.bad
    if good == 0:
        if bad is None:
            return min(max(start, lower), upper)
        # The least there is: what it needs shows where to look, and failures are dear.
        return None if bad <= lower else lower
    step = step_of(good, tolerance)
    guess = prediction(peaks, good, limit_bytes, upper)
    guess -= int(guess * tolerance / 2)  # just below: a size too large costs ten small ones
    if bad is None:
        if good == upper:
            return None
        # Past the prediction by small steps, then by larger ones: the line may not hold.
        tries = sum(peak is not None for peak in peaks.values())
        guess = max(guess, good + step * 4 ** max(0, tries - 3))
        return upper if guess + step >= upper else guess
    if bad - good <= step:
        return None
    middle = isqrt(good * bad) if bad > GEOMETRIC * good else (good + bad) // 2
    if wasted >= MAX_WASTED or good + step >= bad:
        return middle
    if guess > bad - step:  # the line promised too much, but as a rule it is nearly right
        return middle if wasted else max(middle, int(bad * (1 - OVERSHOT)))
    return max(guess, good + step)


def prediction(peaks: Mapping[int, int | None], good: int, limit_bytes: int, upper: int) -> int:
    """Where the line through two good sizes meets the limit: the largest, and the largest of at
    most half of it. A long lever, since peaks of the same size differ by some per cent from run to
    run (operations overlap differently).

    With one size only, the line through the origin: affine memory with a positive constant part
    fits there for certain.
    """
    known = {size: peak for size, peak in peaks.items() if peak is not None and size <= good}
    if len(known) == 1:
        known[0] = 0
    lever = max((size for size in known if size <= good // 2), default=min(known))
    return int(min(upper, where_line_meets(known, lever, good, limit_bytes)))


def where_line_meets(known: Mapping[int, int], low: int, high: int, limit_bytes: int) -> float:
    """The size at which the line through two known ones needs `limit_bytes`; may be infinite."""
    slope = (known[high] - known[low]) / max(1, high - low)
    return high + (limit_bytes - known[high]) / slope if slope > 0 else inf
