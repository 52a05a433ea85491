"""The process that jobs are forked from: it has imported the backend and keras, and run nothing."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from autobatch.engine.process import REAP_SECONDS, as_plain_caller, environment, output_to
from autobatch.protocol import Target
from autobatch.worker import backends

TEMPLATE_LOG = "template.log"
UNKNOWN = 255  # exit code, in multiprocessing: the template did not tell it
# How the names of variables begin that what a template imports reads.
SETTINGS = (
    *("CUDA_", "JAX_", "KERAS_", "KMP_", "LD_", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "PYTORCH_"),
    *("TF_", "TORCH_", "XLA_"),
)
_read: list[object] = []  # what the one that this process started last has read
_inherited: dict[str, str] = {}  # the environment of the last


def start_template(context: ForkServerContext, target: Target, logs: Path) -> None:
    """There is one in a process; for another backend, device or setting it imports otherwise."""
    from multiprocessing import forkserver

    settings = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(SETTINGS) and name != "KERAS_BACKEND"  # which we set
    }
    wanted = [target.backend, target.device, settings]
    if _read not in ([], wanted):
        _stop()
    _read[:] = wanted
    preload = backends.load(target.backend).PRELOAD
    ours = ("autobatch.worker.tasks", f"{backends.__name__}.{target.backend}")
    context.set_forkserver_preload([*preload, *ours])
    with as_template(target, logs):
        forkserver.ensure_running()


def _stop() -> None:
    """It would end by itself, but only once no fork of this process is left (a pool, say)."""
    from multiprocessing import forkserver

    if pid := _pid():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it has run nothing
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # nothing public does it


def last_words(error: OSError | EOFError, logs: Path) -> str | None:
    """What a template said that ended as it was to start a process; None where others failed.

    Once it is gone: what is asked of it meanwhile would fail, too.
    """
    if not isinstance(error, (EOFError, ConnectionError)):
        return None
    until = time.monotonic() + REAP_SECONDS
    while not _has_died() and time.monotonic() < until:
        time.sleep(0.05)
    with contextlib.suppress(OSError):
        return (logs / TEMPLATE_LOG).read_text(encoding="utf-8", errors="replace").strip()
    return ""


@contextlib.contextmanager
def starting_jobs(target: Target, logs: Path) -> Iterator[None]:
    """Within, a process may be started; with it a template, where that has died meanwhile."""
    with as_template(target, logs) if _has_died() else as_plain_caller():
        yield


def changed_variables() -> dict[str, str | None]:
    """Variables that are not as the template inherited them; None: no longer there."""
    names = _inherited.keys() | os.environ.keys()
    return {
        name: os.environ.get(name) for name in names if os.environ.get(name) != _inherited.get(name)
    }


def exit_code_of(process: BaseProcess) -> int | None:
    """Negative for a signal. The kernel ends a worker with its template, which then tells none."""
    unknown = process.exitcode == UNKNOWN and _has_died()
    return -signal.SIGKILL if unknown else process.exitcode


def _pid() -> int | None:
    from multiprocessing import forkserver

    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return pid


def _has_died() -> bool:
    pid = _pid()
    with contextlib.suppress(psutil.NoSuchProcess):
        return pid is not None and psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@contextlib.contextmanager
def as_template(target: Target, logs: Path) -> Iterator[None]:
    """What a process inherits that is started within."""
    backend = backends.load(target.backend)
    variables = backend.template_environment(str(logs.resolve()), target.device)
    # Read when keras is imported; and that no file in the folder we are in hides a library.
    variables |= {"KERAS_BACKEND": target.backend, "PYTHONSAFEPATH": "1"}
    before = _pid()
    with environment(variables), output_to(logs / TEMPLATE_LOG), as_plain_caller():
        yield
    if _pid() != before:
        _inherited.clear()
        _inherited.update(os.environ | variables)
