"""Bytes of this process that malloc has given out, by its own count: NumPy's arrays are there.

What the kernel counts as resident or private says less: it has the stacks of threads that start
meanwhile, pages of a pool that are touched late, and what was freed and is kept for later, in which
a leak may hide.
"""

import ctypes
from functools import cache
from typing import Any

FIELDS = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class _Counts(ctypes.Structure):
    """The struct mallinfo2 of malloc.h."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


def heap_bytes() -> int | None:
    """In use now, in all threads; None where the C library does not say: glibc does, from 2.33."""
    mallinfo2 = _mallinfo2()
    if mallinfo2 is None:
        return None
    counts = mallinfo2()
    return int(counts.uordblks) + int(counts.hblkhd)


@cache
def _mallinfo2() -> Any | None:
    """Looked up once: it is asked after every step."""
    try:
        found = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    found.restype = _Counts
    return found
