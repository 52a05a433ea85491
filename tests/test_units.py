"""What a recipe may write for sizes, durations and shares, and how we print them."""

import math
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.units import (
    ByteSize,
    Duration,
    MemoryLimit,
    Share,
    counted,
    format_average,
    format_bytes,
    format_duration,
    format_rate,
    format_share,
    format_step,
    ratio,
)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (1, 1),
        (8e9, 8_000_000_000),
        ("1024B", 1024),
        ("512 KiB", 512 * 1024),
        ("200MiB", 200 * 1024**2),
        ("8GiB", 8 * 1024**3),
        ("2tib", 2 * 1024**4),
        ("64 kB", 64_000),
        ("1.5 GB", 1_500_000_000),
        (" 1TB ", 10**12),
    ],
)
def test_sizes_are_decimal_or_binary_in_any_case(written: object, size: int) -> None:
    assert ByteSize.parse(written) == size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (3, 3),
        (0.5, 0.5),
        ("500ms", 0.5),
        ("90s", 90),
        ("5min", 300),
        ("2h", 7200),
        ("1h30min", 5400),
        ("1 h 02 min", 3720),
        ("1.5 H", 5400),
        ("1min 2s 500ms", 62.5),
    ],
)
def test_durations_are_seconds_or_numbers_with_units(written: object, seconds: float) -> None:
    assert Duration.parse(written) == seconds


@pytest.mark.parametrize("written", ["0%", "2.5%", "7%", "12.25%", "99%"])
def test_shares_are_told_as_they_were_written(written: str) -> None:
    assert format_share(Share.parse(written)) == written


@pytest.mark.parametrize(("written", "share"), [("10%", 0.1), (0.1, 0.1), ("2.5 %", 0.025), (0, 0)])
def test_shares_are_percentages_or_fractions(written: object, share: float) -> None:
    assert Share.parse(written) == share


@pytest.mark.parametrize(
    ("written", "limit"), [("8GiB", ByteSize(8 * 1024**3)), ("80%", Share(0.8)), (0.5, Share(0.5))]
)
def test_a_memory_limit_is_a_size_or_a_share(written: object, limit: MemoryLimit) -> None:
    parsed = MemoryLimit.parse(written)  # type: ignore[attr-defined]
    assert (type(parsed), parsed) == (type(limit), limit)


NOT_NUMBERS = [True, False, None, [], {}, "", "ten", "1", "-1", math.nan, math.inf, -1, 10**400]


@pytest.mark.parametrize(
    "written", [*NOT_NUMBERS, 0, 1.5, "0B", "8G", "8 GiB/s", "1e3B", "9" * 999]
)
def test_what_is_no_size_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match=r"Expected a size such as 8GiB.*; received"):
        ByteSize.parse(written)


@pytest.mark.parametrize("written", [*NOT_NUMBERS, 0, "0s", "5m", "5:30", "5min1h", "1h1h", "-5s"])
def test_what_is_no_duration_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match=r"Expected a duration such as 90s.*; received"):
        Duration.parse(written)


@pytest.mark.parametrize("written", [*NOT_NUMBERS, 1, 10, "100%", "110%", "-1%", "0.1"])
def test_what_is_no_share_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match=r"Expected a share such as 10% or 0\.1.*; received"):
        Share.parse(written)


@pytest.mark.parametrize("written", [*NOT_NUMBERS, 0, "0%", "100%", 1.5])
def test_what_is_no_memory_limit_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"Expected a (size|share) such as .*; received"):
        MemoryLimit.parse(written)  # type: ignore[attr-defined]


@given(st.text())
def test_any_text_is_parsed_or_a_value_error(text: str) -> None:
    for kind in (ByteSize, Duration, Share):
        try:
            assert kind.parse(text) >= 0
        except ValueError as error:
            assert "Expected" in str(error)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (89_443_533, "85.3 MiB"),
        (1024**2 - 1, "1.0 MiB"),
        (8 * 1024**3, "8.0 GiB"),
        (3000 * 1024**4, "3000.0 TiB"),
    ],
)
def test_bytes_are_printed_in_binary_units(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 ms"),
        (0.035, "35 ms"),
        (0.096, "96 ms"),
        (0.42, "420 ms"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (12.3, "12 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3720, "1 h 02 min"),
        (100_000, "27 h 47 min"),
    ],
)
def test_durations_are_printed_as_one_says_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=0.1, max_value=1e7))
def test_a_printed_duration_can_be_written_in_a_recipe(seconds: float) -> None:
    read = Duration.parse(format_duration(seconds))
    assert read == pytest.approx(seconds, rel=0.05, abs=0.05 + 1e-9)


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.0345, "0.0345"), (0.5, "0.5"), (9.876, "9.88"), (99.96, "100"), (12345.6, "12,346")],
)
def test_a_slow_rate_is_not_rounded_to_nothing(rate: float, text: str) -> None:
    assert format_rate(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000072, "7.2 µs"),
        (0.0009996, "1 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1 s"),
        (1.234, "1.23 s"),
        (1234.0, "1,234 s"),
    ],
)
def test_a_step_is_told_in_the_unit_that_needs_no_exponent(seconds: float, text: str) -> None:
    assert format_step(seconds) == text


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1.0, "1"),
        (1.004, "1.004"),
        (1.03, "1.03"),
        (1.149, "1.15"),
        (1.3, "1.3"),
        (0.996, "0.996"),
        (0.9, "0.9"),
        (0.25, "0.25"),
        (17.6, "18"),
        (1000.0, "1,000"),
        (2e18, "over 1,000"),
        (inf, "over 1,000"),
        (6.1e-16, "0"),
    ],
)
def test_a_ratio_near_1_is_told_from_it(value, told):
    assert ratio(value) == told


def test_one_is_not_told_as_several():
    assert (counted(1, "step"), counted(2, "step"), counted(0, "job")) == (
        "1 step",
        "2 steps",
        "0 jobs",
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.9, "0.9"),
        (0.99, "0.99"),
        (0.999, "0.999"),
        (0.99**0.003125, "0.9999686"),
        (0.12345, "0.1235"),
        (1e-7, "1e-07"),
        (1.0, "1"),
        (0.0, "0"),
    ],
)
def test_what_an_average_keeps_is_never_rounded_to_all(value, told):
    assert format_average(value) == told
