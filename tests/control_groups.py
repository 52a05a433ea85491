"""Control groups of a test's own, as a container's; where this user may make them."""

import contextlib
import os
import time
from pathlib import Path

import pytest


def small_group():
    """Its processes may hold 64 MiB."""
    return _group("memory", ("memory.limit_in_bytes", "memory.max"), str(64 << 20))


def full_group():
    """Its processes can start no more."""
    return _group("pids", ("pids.max", "pids.max"), "0")


@contextlib.contextmanager
def _group(controller, limits, value):
    """With a limit that has one name in version 1 and another in version 2."""
    places = (Path("/sys/fs/cgroup", controller), Path("/sys/fs/cgroup"))
    for place, limit in zip(places, limits, strict=True):
        group = place / f"autobatch-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).resolve(strict=True).write_text(value)
        except OSError:
            _remove(group)
            continue
        try:
            yield group
        finally:
            _remove(group)
        return
    pytest.skip(f"this user may make no control group with a limit on {controller}")


def _remove(group):
    """Once the processes in it, which were killed, are gone."""
    until = time.monotonic() + 5
    while group.exists() and time.monotonic() < until:
        with contextlib.suppress(OSError):
            group.rmdir()
        time.sleep(0.05)
