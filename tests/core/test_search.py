"""The bracketed search, on memory curves whose truth is known."""

import math
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autobatch.core.search import Bracket, largest_fitting, tries_left

MIB = 1 << 20


class Device:
    """Memory as a function of the batch; remembers what was asked."""

    def __init__(self, peak, limit):
        self.peak, self.limit = peak, limit
        self.tried: list[int] = []

    def __call__(self, size):
        self.tried.append(size)
        peak = self.peak(size)
        return peak if peak <= self.limit else None

    @property
    def failures(self):
        return sum(self.peak(size) > self.limit for size in self.tried)


def affine(constant, per_sample):
    return lambda size: int(constant + per_sample * size)


def search(device, *, lower=1, upper=65536, start=32, tolerance=0.01):
    return largest_fitting(
        device,
        lower=lower,
        upper=upper,
        start=start,
        limit_bytes=device.limit,
        tolerance=tolerance,
    )


@given(
    constant=st.integers(0, 4096).map(lambda n: n * MIB),
    per_sample=st.integers(1024, 8 * MIB),
    limit=st.integers(64, 81920).map(lambda n: n * MIB),
    replicas=st.sampled_from([2, 3, 8]),
)
def test_sizes_that_replicas_share_are_multiples_and_the_largest_of_them_is_found(
    constant, per_sample, limit, replicas
):
    truth = min(65520, (limit - constant) // per_sample // replicas * replicas)
    device = Device(affine(constant, per_sample), limit)
    bracket = largest_fitting(
        device,
        lower=replicas,
        upper=65520,
        start=24,
        limit_bytes=limit,
        tolerance=0.0,
        known={replicas: device(replicas)},
        multiple=replicas,
    )
    assert bracket.good == max(0, truth)
    assert all(size % replicas == 0 for size in device.tried)
    assert len(device.tried) == len(set(device.tried))


# Where the truth is half of a start that failed, good predictions hardly halve the bracket.
@example(constant=509 * MIB, per_sample=7_261_911, limit=3286 * MIB, start=793, tolerance=0.005)
@settings(max_examples=2000)
@given(
    constant=st.integers(0, 4096).map(lambda n: n * MIB),
    per_sample=st.integers(1024, 8 * MIB),
    limit=st.integers(64, 81920).map(lambda n: n * MIB),
    start=st.integers(1, 65536),
    tolerance=st.sampled_from([0.01, 0.005]),
)
def test_affine_memory_takes_at_most_8_probes_and_2_failures(
    constant, per_sample, limit, start, tolerance
):
    truth = min(65536, (limit - constant) // per_sample)
    device = Device(affine(constant, per_sample), limit)
    bracket = search(device, start=start, tolerance=tolerance)
    if truth < 1:
        assert bracket.good == 0
        return
    assert truth * (1 - tolerance) - 1 <= bracket.good <= truth
    assert len(device.tried) <= 8
    assert device.failures <= 2


@given(
    constant=st.integers(0, 1000), per_sample=st.integers(1, 500), limit=st.integers(1, 1_000_000)
)
def test_exact_search_finds_it_to_the_sample(constant, per_sample, limit):
    truth = max(0, min(65536, (limit - constant) // per_sample))
    assert search(Device(affine(constant, per_sample), limit), tolerance=0).good == truth


@given(truth=st.integers(0, 4096), upper=st.integers(1, 4096), start=st.integers(1, 5000))
def test_any_monotone_memory_is_bracketed_to_the_sample(truth, upper, start):
    """Peaks that say nothing (a plateau, then a wall) still end in the right answer."""
    device = Device(lambda size: 10 if size <= truth else 10**9, 1000)
    bracket = search(device, upper=upper, start=start, tolerance=0)
    assert bracket.good == min(truth, upper)
    assert bracket.bad == (truth + 1 if truth < upper else None)
    assert len(device.tried) == len(set(device.tried))
    assert len(device.tried) <= 3 * math.log2(upper + 1) + 4


@given(st.lists(st.booleans(), min_size=1, max_size=300), st.integers(1, 300))
def test_memory_that_is_not_monotone_ends_with_a_size_that_was_seen_to_fit(fits, start):
    device = Device(lambda size: 1 if fits[size - 1] else 100, 10)
    bracket = search(device, upper=len(fits), start=start, tolerance=0)
    if bracket.good:
        assert fits[bracket.good - 1]
        assert bracket.good in device.tried
    assert len(device.tried) == len(set(device.tried))
    assert len(device.tried) <= 2 * math.log2(len(fits) + 1) + 8


def binary_search_probes(device, *, upper, start, tolerance):
    """What doubling and bisecting takes, to the same tolerance."""
    good, bad, size, tries = 0, None, start, 0
    while bad is None or bad - good > max(1, int(good * tolerance)):
        tries += 1
        if device.peak(size) <= device.limit:
            if size == upper:
                break
            good = size
        else:
            bad = size
        size = min(size * 2, upper) if bad is None else (good + bad) // 2
    return tries


SHAPES = {
    "plateau": lambda n, a, b: max(a, b * n),
    "steps of 128": lambda n, a, b: a + b * 128 * -(-n // 128),
    "doubling regions": lambda n, a, b: 1 << (a + b * n).bit_length(),
    "convex": lambda n, a, b: a + b * n + n * n,
    "concave": lambda n, a, b: a + b * math.isqrt(n) * 64,
    "wall": lambda n, a, b: a if n < b else 1 << 60,
}


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=500)
@given(
    constant=st.integers(0, 1 << 30),
    per_sample=st.integers(1, 1 << 22),
    limit=st.integers(1 << 20, 1 << 34),
    start=st.integers(1, 64),
    tolerance=st.sampled_from([0.0, 0.01]),
)
def test_no_shape_costs_more_than_binary_search_and_a_constant(
    shape, constant, per_sample, limit, start, tolerance
):
    device = Device(lambda n: SHAPES[shape](n, constant, per_sample), limit)
    bracket = search(device, start=start, tolerance=tolerance)
    if bracket.good:
        assert device.peak(bracket.good) <= limit
    if bracket.bad is not None:
        assert device.peak(bracket.bad) > limit
        assert bracket.bad - bracket.good <= max(1, bracket.good * tolerance)
    else:
        assert bracket.good == 65536
    binary = binary_search_probes(device, upper=65536, start=start, tolerance=tolerance)
    assert len(device.tried) <= binary + 11  # 10 is the worst found, at exact powers of two
    assert len(device.tried) == len(set(device.tried))


@settings(max_examples=1000)
@example(constant=484 * MIB, per_sample=140_959, limit=1024 * MIB, seed=130)
@given(
    constant=st.integers(0, 512).map(lambda n: n * MIB),
    per_sample=st.integers(4096, 2 * MIB),
    limit=st.integers(1024, 81920).map(lambda n: n * MIB),
    seed=st.integers(0, 2**32),
)
def test_peaks_that_vary_by_a_tenth_still_end_within_1_percent(constant, per_sample, limit, seed):
    """As on devices whose operations overlap: a run holds one tensor more or less than another."""
    luck = random.Random(seed)
    device = Device(affine(constant, per_sample), limit)

    def probe(size):
        peak = device(size)
        return None if peak is None else int(peak * luck.uniform(0.9, 1))

    bracket = largest_fitting(
        probe, lower=1, upper=65536, start=32, limit_bytes=limit, tolerance=0.01
    )
    truth = min(65536, (limit - constant) // per_sample)
    assert truth * 0.99 - 1 <= bracket.good <= truth
    assert len(device.tried) <= 17
    assert device.failures <= 12


@pytest.mark.parametrize("upper", [1, 2, 31, 32, 33, 1437])
def test_everything_that_fits_ends_at_the_bound(upper):
    bracket = search(Device(lambda size: 1000 + size, 10**9), upper=upper)
    assert (bracket.good, bracket.bad) == (upper, None)


@pytest.mark.parametrize("truth", [1, 2, 31, 32, 33, 1435, 1436, 1437])
def test_the_last_sizes_below_the_bound_are_told_apart(truth):
    bracket = search(Device(affine(0, 1), truth), upper=1437, tolerance=0)
    assert bracket.good == truth


def test_nothing_fits_is_an_answer():
    device = Device(affine(1000, 1), 10)
    assert search(device).good == 0
    assert 1 in device.tried


def test_what_is_known_is_not_asked_again():
    device = Device(affine(0, 1), 1000)
    known = {32: 32, 990: 990, 1005: None}
    bracket = largest_fitting(
        device, lower=1, upper=4096, start=32, limit_bytes=1000, tolerance=0.02, known=known
    )
    assert (bracket.good, bracket.bad, device.tried) == (990, 1005, [])


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [(0, None, 6), (0, 64, 6), (32, None, 4), (100, None, 0), (64, 100, 6), (99, 100, 0)],
)
def test_the_tries_that_are_left_are_told(good, bad, expected):
    bracket = Bracket(good=good, bad=bad)
    assert tries_left(bracket, lower=1, upper=100, tolerance=0.0) == expected
