"""The process that jobs are forked from: it has imported the backend and keras, and run nothing."""

import contextlib
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import psutil

from autobatch.engine.process import environment, output_to, without_main
from autobatch.protocol import Target
from autobatch.worker import backends

TEMPLATE_LOG = "template.log"
_started: list[tuple[str, str]] = []  # (backend, device) of those that this process started


def start_template(context: ForkServerContext, target: Target, logs: Path) -> None:
    """There is one in a process; another backend's, or device's, has imported otherwise."""
    from multiprocessing import forkserver

    wanted = (target.backend, target.device)
    if _started and _started[-1] != wanted:
        forkserver._forkserver._stop()  # type: ignore[attr-defined]  # nothing public does it
    _started.append(wanted)
    preload = backends.load(target.backend).PRELOAD
    context.set_forkserver_preload([*preload, "autobatch.worker.tasks"])
    with as_template(target, logs):
        forkserver.ensure_running()


@contextlib.contextmanager
def starting_jobs(target: Target, logs: Path) -> Iterator[None]:
    """Within, a process may be started; with it a template, where that has died meanwhile."""
    with as_template(target, logs) if _has_died() else without_main():
        yield


def _has_died() -> bool:
    from multiprocessing import forkserver

    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    with contextlib.suppress(psutil.NoSuchProcess):
        return pid is not None and psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@contextlib.contextmanager
def as_template(target: Target, logs: Path) -> Iterator[None]:
    """What a process inherits that is started within."""
    backend = backends.load(target.backend)
    variables = backend.template_environment(str(logs.resolve()), target.device)
    variables |= {"KERAS_BACKEND": target.backend}  # read when keras is imported
    with environment(variables), output_to(logs / TEMPLATE_LOG), without_main():
        yield
