"""Starting and ending processes: what a child inherits, and that none outlives its job."""

import contextlib
import multiprocessing.process
import os
import shutil
import signal
import sys
import types
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

REAP_SECONDS = 5.0  # for one that is killed; in the kernel's hands (a driver hangs) it cannot end


def end(process: BaseProcess) -> None:
    if process.pid is None:  # it was not started, or is not known to be
        return
    kill_group(process.pid)  # also when it ended by itself: what it started may live on
    process.join(REAP_SECONDS)
    if process.exitcode is None:  # else multiprocessing waits for it as we exit, without end
        multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]


def kill_group(pid: int) -> None:
    """Kill the worker and whatever it started (its process group is its own)."""
    for kill in (os.killpg, os.kill):  # before its setsid() there is no such group
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        return


def remove_left(logs: Path) -> None:
    """What processes that were killed left beside their logs: copies of data may be large."""
    for pattern in ("kept-data*", "*.log.aside*"):
        for each in logs.glob(pattern):
            with contextlib.suppress(OSError):
                if each.is_dir():
                    shutil.rmtree(each)
                else:
                    each.unlink()


@contextlib.contextmanager
def as_plain_caller() -> Iterator[None]:
    """Keep multiprocessing from importing the caller's __main__ into each worker.

    Workers need only our own modules; a user's script without a main guard would start us again.
    Of sys.path they have what Python heeds: a template could not read a Path in it.
    """
    main, folders = sys.modules["__main__"], sys.path
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.path = [each for each in folders if isinstance(each, str)]
    try:
        yield
    finally:
        sys.modules["__main__"], sys.path = main, folders


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Let a process started meanwhile inherit `path` as its stdout and stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        yield
    finally:
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(file)
