"""Control groups of a test's own, as a container's; where this user may make them."""

import contextlib
import os
import time
from pathlib import Path

import pytest


def small_group(*, is_ours=False):
    """Its processes may hold 64 MiB. It is beside the group of this process, or within that."""
    within = own_group() if is_ours else ""
    limits = ("memory.limit_in_bytes", "memory.max")
    return _group("memory", limits, str(64 << 20), within=within)


def full_group():
    """Its processes can start no more."""
    return _group("pids", ("pids.max", "pids.max"), "0")


@contextlib.contextmanager
def _group(controller, limits, value, *, within=""):
    """With a limit that has one name in version 1 and another in version 2."""
    places = (Path("/sys/fs/cgroup", controller), Path("/sys/fs/cgroup"))
    for place, limit in zip(places, limits, strict=True):
        group = place / within / f"autobatch-test-{os.getpid()}"
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


def own_group():
    """The group of this process that governs its memory, from the root as seen here."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
    governs = next((names for names in own if "memory" in names.split(",")), "")
    return own.get(governs, "").lstrip("/")


def _remove(group):
    """Once the processes in it, which were killed, are gone."""
    until = time.monotonic() + 5
    while group.exists() and time.monotonic() < until:
        with contextlib.suppress(OSError):
            group.rmdir()
        time.sleep(0.05)
