"""Sizes, durations and shares: how a recipe writes them, and how we print them.

`ByteSize.parse("8GiB")`, `Duration.parse("1h30min")` and `Share.parse("10%")` give plain numbers
(bytes, seconds, a fraction) with a type of their own. `parse` takes any value that YAML can hold
and raises ValueError with a sentence that says what is allowed. `form` is that phrase.
"""

import math
import re
from abc import ABC
from typing import TYPE_CHECKING, ClassVar, Self

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_SIZE = re.compile(rf"({_NUMBER})\s*([KMGT]I?)?B", re.IGNORECASE)
_DURATION = re.compile(
    rf"(?:({_NUMBER})\s*h\s*)?(?:({_NUMBER})\s*min\s*)?(?:({_NUMBER})\s*s\s*)?(?:({_NUMBER})\s*ms)?",
    re.IGNORECASE,
)
_SECONDS = (3600, 60, 1, 0.001)  # of the groups of _DURATION
_SHARE = re.compile(rf"({_NUMBER})\s*%")
RATIOS = (0.01, 1000.0)  # intervals of ratios beyond them, as two seeds may give, say nothing more


class ByteSize(int):
    """A number of bytes."""

    form: ClassVar[str] = "a size such as 8GiB, 512 MB or a whole number of bytes, more than 0"

    @classmethod
    def parse(cls, value: object) -> Self:
        size = _number(value)
        if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
            size = float(match[1]) * _factor(match[2] or "")
        elif not size.is_integer():
            size = math.nan
        if not 1 <= size < 2**63:
            raise _refused(cls.form, value)
        return cls(size)


class Duration(float):
    """A number of seconds."""

    form: ClassVar[str] = (
        "a duration such as 90s, 5min, 1h30min or a number of seconds, more than 0"
    )

    @classmethod
    def parse(cls, value: object) -> Self:
        seconds = _number(value)
        if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
            parts = zip(match.groups(default="0"), _SECONDS, strict=True)
            seconds = sum(float(amount) * factor for amount, factor in parts)
        if not 0 < seconds < math.inf:
            raise _refused(cls.form, value)
        return cls(seconds)


class Share(float):
    """A fraction of a whole: 0 <= share < 1."""

    form: ClassVar[str] = "a share such as 10% or 0.1, from 0 to below 100%"

    @classmethod
    def parse(cls, value: object) -> Self:
        share = _number(value)
        if isinstance(value, str) and (match := _SHARE.fullmatch(value.strip())):
            share = float(match[1]) / 100
        if not 0 <= share < 1:
            raise _refused(cls.form, value)
        return cls(share)


if TYPE_CHECKING:
    MemoryLimit = ByteSize | Share
else:

    class MemoryLimit(ABC):  # noqa: B024 - msgspec takes one custom type where we mean this union
        """ByteSize | Share."""

        form: ClassVar[str] = (
            "a size such as 8GiB, or a share such as 80% of the default, below 100%"
        )

        @classmethod
        def parse(cls, value: object) -> ByteSize | Share:
            is_share = str(value).rstrip().endswith("%") or _number(value) < 1
            limit = Share.parse(value) if is_share else ByteSize.parse(value)
            if limit == 0:
                raise _refused(cls.form, value)
            return limit

    MemoryLimit.register(ByteSize)
    MemoryLimit.register(Share)


def format_bytes(count: int) -> str:
    """85.3 MiB"""
    if count < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1023.95:  # what rounds to 1024.0 is one of the next unit
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def format_duration(seconds: float) -> str:
    """35 ms, 1.4 s, 12 s, 3 min 05 s, 1 h 02 min"""
    if seconds < 0.9995:
        return f"{seconds * 1000:.{0 if seconds >= 0.00995 else 1}f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02} s"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest:02} min"


def format_share(share: float) -> str:
    """With all digits that it was given: 10%, 2.5%"""
    return f"{100 * share:.4g}%"


def about(value: float) -> str:
    """Two digits that mean something, without an exponent: 1.3, 180, 2,800."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2g}"


def ratio(value: float) -> str:
    """As `about`, and near 1 with the digits that tell it from 1: 1.03, 0.996, 18, over 1,000"""
    if value > RATIOS[1]:
        return f"over {RATIOS[1]:,.0f}"
    if value < RATIOS[0]:
        return "0"
    if not 0.5 < value < 2 or value == 1:
        return about(value)
    return f"{value:.{max(3, 1 - math.floor(math.log10(abs(value - 1))))}g}"


def counted(count: int, what: str) -> str:
    """1 step, 2 steps"""
    return f"{count} {what}{'' if count == 1 else 's'}"


def format_average(value: float, digits: int = 4) -> str:
    """Digits that mean something; of what an average keeps, of what it lacks to 1: 0.999969

    Whole numbers, as of steps, are whole: 12500
    """
    if value == round(value):
        return f"{value:.0f}"
    lacking = 1 - value
    if 0 < lacking < 1:
        digits = max(digits, 2 - math.floor(math.log10(lacking)))
    return f"{value:.{digits}g}"


def format_rate(per_second: float) -> str:
    """Three digits at least: 12,345, 98.7, 0.345"""
    return f"{per_second:,.0f}" if per_second >= 99.95 else f"{per_second:.3g}"


def format_step(seconds: float) -> str:
    """Three digits: 7.24 µs, 12.3 ms, 1.23 s"""
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:,.0f} s"


def _number(value: object) -> float:
    """`value`, or nan where it is no number of any use; true and false are not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**63:
        return math.nan
    return float(value)


def _factor(prefix: str) -> int:
    """Bytes in one `prefix` byte: K is 1000, Ki is 1024."""
    power = " KMGT".index(prefix[:1].upper() or " ")
    return int((1024 if prefix[1:] else 1000) ** power)


def _refused(form: str, value: object) -> ValueError:
    return ValueError(f"Expected {form}; received {value!r}.")
