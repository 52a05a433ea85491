"""`run(job, report) -> outcome`, and `main`, its entry in a process of its own.

`main` owns the process: a session and process group of its own, stdout and stderr in the log file
at descriptor level, the environment of the backend set before its runtime initialises. Messages go
over one pipe as JSON. The process ends with its parent: the pipe's end closes, a thread sees it.
"""

import contextlib
import faulthandler
import gc
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn, assert_never

import msgspec

from autobatch.protocol import (
    WORKER_BUG,
    Benchmark,
    Gradients,
    Inspect,
    Job,
    JobProgress,
    Outcome,
    OutOfMemory,
    Probe,
    RangeTest,
    Task,
    Trial,
    UserCodeFailed,
    encoded,
    split,
)
from autobatch.worker import backends, cache_files
from autobatch.worker.backends import Backend
from autobatch.worker.frames import (
    FRAMEWORKS,
    advice_on,
    advice_on_framework,
    error_in_data,
    error_of_process,
    innermost_is_ours,
    no_memory,
    other_framework,
    remove_generated,
    users_frames,
    users_message,
    users_traceback,
)
from autobatch.worker.mistakes import Concluded
from autobatch.worker.parent import end_with_template, end_with_tool
from autobatch.worker.set_too_late import BACKEND, refusing_what_is_set_too_late

ASIDE = ".aside"  # what is written beside the log; whoever started us removes it
# From the parent, to be told where it is; SIGUSR1 is the users': of code for SLURM, for example.
WHERE_ARE_YOU = signal.SIGRTMAX - 1 if sys.platform == "linux" else signal.SIGUSR1

Report = Callable[[JobProgress], None]


def run(job: Job, report: Report, give_up: Callable[[Outcome], None]) -> Outcome:
    """Answer `job` in this process. Raises only on a bug of ours.

    `give_up(outcome)` is called from a thread where the framework waits in vain: it gives that
    answer, and ends the process.
    """
    backend = backends.load(job.target.backend)
    on_gpu, limit_bytes = job.target.device == "gpu", job.limit_bytes
    try:
        backend.configure(job.target.device, limit_bytes, job.target.replicas)
        backend.watch_memory(
            lambda evidence: give_up(
                OutOfMemory(evidence=evidence, peak_bytes=backend.peak_bytes())
            )
        )
        with refusing_what_is_set_too_late(job):
            return _ask(job, backend, report)
    except Concluded as concluded:
        return concluded.outcome
    except BaseException as error:  # theirs, also SystemExit and what Rust or asyncio raises
        said = no_memory(error)
        evidence = said or backend.out_of_memory_evidence(error)
        if evidence is not None:
            # Of what a framework says of a GPU, the parent knows; on a CPU, it may be our limit.
            is_hosts = said is not None if on_gpu else limit_bytes is None
            return OutOfMemory(
                evidence=evidence, peak_bytes=backend.peak_bytes(), host_memory=is_hosts
            )
        told = error_of_process(error) or error_in_data(error)
        if told is not None:
            message = f"{_at_size(job.task)}{told[0]}"
            return UserCodeFailed(message=message, traceback=users_frames(told[1]))
        if innermost_is_ours(error):
            raise
        return _of_error(error, job)


def _of_error(error: BaseException, job: Job) -> UserCodeFailed:
    is_frameworks = type(error).__module__.split(".")[0] in FRAMEWORKS
    if not is_frameworks:  # of those, the log is searched for signs of memory
        traceback.print_exception(error)  # whole, into the log
    used = other_framework(error, job.target.backend)
    return UserCodeFailed(
        message=f"{_at_size(job.task)}{users_message(error)}",
        hint=advice_on_framework(used, job.target.backend) if used else advice_on(error),
        traceback=users_traceback(error),
        framework_error=is_frameworks,
    )


def _at_size(task: Task) -> str:
    return "" if isinstance(task, Inspect) else f"At batch {task.batch_size}: "


def _ask(job: Job, backend: Backend, report: Report) -> Outcome:
    import keras

    from autobatch.worker.tasks import benchmark, gradients, inspect, probe, range_test, trial

    # With Keras' filter on, an error deep in a library seems to come from our frame above it.
    keras.config.disable_traceback_filtering()
    task = job.task
    match task:
        case Inspect():
            return inspect.run(task, job.target, backend)
        case Probe():
            return probe.run(task, job.target, backend)
        case Benchmark():
            return benchmark.run(task, job.target, backend, report)
        case Trial():
            return trial.run(task, job.target, backend, report)
        case Gradients():
            return gradients.run(task, job.target, backend, report)
        case RangeTest():
            return range_test.run(task, job.target, backend, report)
        case _:
            assert_never(task)


def main(
    encoded_job: bytes,
    pipe: Connection,
    log_path: str,
    directory: str,
    variables: dict[str, str | None],
) -> None:
    sending = threading.Lock()

    def send(message: Outcome | JobProgress) -> None:
        with sending:
            pipe.send_bytes(encoded(message))

    def give_up(outcome: Outcome) -> None:
        send(outcome)
        _end(0)

    exit_code = 0
    try:
        job = _set_up(encoded_job, pipe, Path(log_path), directory, variables)
        import autobatch.worker.tasks  # noqa: F401  # before there is a limit

        aside = f"{Path(log_path).absolute()}{ASIDE}"  # users may chdir
        cache_files.write_beside("" if isinstance(job.task, Gradients) else aside)
        outcome = run(job, send, give_up)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch raises as a DataLoader's are killed
        send(outcome)
    except BaseException:
        traceback.print_exc()
        exit_code = WORKER_BUG
    cache_files.let_go()
    sys.stdout.flush()
    sys.stderr.flush()
    for child in multiprocessing.active_children():
        child.kill()
    _end(exit_code)


def _set_up(
    encoded_job: bytes,
    pipe: Connection,
    log_path: Path,
    directory: str,
    variables: dict[str, str | None],
) -> Job:
    """Of the process; the job that it is for."""
    os.setsid()
    end_with_template()
    with contextlib.suppress(OSError):  # where memory runs out, Linux ends us, and nobody else
        Path("/proc/self/oom_score_adj").write_text("1000")
    # The template is where the caller was when it was started, and has the environment of then.
    os.chdir(directory)
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable()
    faulthandler.register(WHERE_ARE_YOU)  # all threads' frames into the log, whatever hangs
    threading.Thread(target=end_with_tool, args=(pipe,), daemon=True).start()
    _allow_children(pipe)
    job = msgspec.json.decode(encoded_job, type=Job)
    backend = backends.load(job.target.backend)
    os.environ[BACKEND] = job.target.backend
    os.environ.update(environment(job, backend, log_path.absolute()))
    sys.path.insert(0, str(Path(job.target.folder)))
    sys.argv = [split(job.target.model)[0]]  # a script that reads arguments finds none
    return job


def environment(job: Job, backend: Backend, log: Path) -> dict[str, str]:
    """Variables that the framework reads when it is imported, or when it starts."""
    notes = str(log) + ASIDE if isinstance(job.task, Probe) else None  # they slow a benchmark
    # A fork has these from its template; a fresh interpreter has imported nothing yet, either.
    found = backend.template_environment(str(log.parent), job.target.device)
    found |= {"WANDB_MODE": "disabled", "MPLBACKEND": "Agg"}  # a window would wait to be closed
    return found | backend.environment(job, notes)


def _end(exit_code: int) -> NoReturn:
    """Without the interpreter's shutdown: after an out-of-memory error the runtime may hang or
    crash in it, and the answer has been given."""
    remove_generated()
    os._exit(exit_code)


def _allow_children(pipe: Connection) -> None:
    """Let a PyDataset or DataLoader start processes of its own, without our pipe in them."""
    # We are daemonic so that we end with the parent, which multiprocessing lets have no children;
    # ours end with us all the same: they are in our process group.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    multiprocessing.set_start_method(None, force=True)  # the platform's; we inherit the template's
    os.register_at_fork(after_in_child=pipe.close)
    os.set_inheritable(pipe.fileno(), False)  # else what a shell of theirs starts keeps it open
    # Else a collection in them ends iterators of TensorFlow, and waits for threads they have not.
    os.register_at_fork(after_in_child=gc.freeze)
