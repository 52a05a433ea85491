"""One job, one fresh process on this machine, in about half a second.

A template process (the standard library's forkserver) imports the backend and keras once; each job
is a fork of it that has run nothing yet. The parent enforces the deadline and a limit on resident
memory, kills the whole process group, always reaps, and says what a dead process means.
"""

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable
from math import inf
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from autobatch.engine import gpus, job_logs, verdict
from autobatch.engine.cgroups import oom_kills
from autobatch.engine.process import REAP_SECONDS, end, kill_group
from autobatch.engine.resident import ResidentWatch
from autobatch.engine.template import (
    changed_variables,
    exit_code_of,
    last_words,
    start_template,
    starting_jobs,
)
from autobatch.engine.used_gpus import UsedGpus
from autobatch.errors import InterruptedRunError, UsageError
from autobatch.protocol import (
    Extent,
    Inspect,
    Inspected,
    Job,
    JobProgress,
    Outcome,
    Target,
    TargetMissing,
    Task,
    changed,
    ignore,
)
from autobatch.units import format_duration
from autobatch.worker.run import ASIDE, WHERE_ARE_YOU
from autobatch.worker.run import main as worker_main

WONDER_SECONDS = 60.0  # for which an inspection may tell nothing, before its user hears where it is
POLL_SECONDS = 0.1  # how often deadline and resident memory are looked at
ANSWER_SECONDS = 0.5  # for a worker past its deadline to write where it is
READ_SECONDS = 1.0  # past the deadline, for what the worker has sent by then
STOPPED_SECONDS = 3.0  # that no turn of the loop takes, unless we are stopped (Ctrl-Z, SLURM)

_MESSAGES: msgspec.json.Decoder[JobProgress | Outcome] = msgspec.json.Decoder(JobProgress | Outcome)

OnProgress = Callable[[JobProgress], None]
SPAWNING = (
    "Processes forked from a template do not see the GPU here: every job starts a fresh "
    "interpreter instead, which takes some seconds each."
)


def never() -> bool:
    """Nobody ends the run."""
    return False


class Executor(Protocol):
    """Where jobs run."""

    stopped_seconds: float  # in the job that ran last, while we were (Ctrl-Z): none of its time

    def run(
        self, task: Task, *, deadline_seconds: float, on_progress: OnProgress = ignore
    ) -> Outcome:
        """The answer to one task, from a process of its own. Never raises for a failing job.

        Raises InterruptedRunError where the run is to end meanwhile; the process is gone then.
        """

    def log_path(self) -> Path | None:
        """The log of the job that ran last."""


class LocalExecutor:
    """Runs each task about `target` in a fresh process; logs go to `logs`, one file a job.

    `extents` says what is known by then of how much data there is, so that no process looks anew.
    """

    def __init__(
        self,
        target: Target,
        logs: Path,
        *,
        start_method: Literal["forkserver", "spawn"] = "forkserver",
        resident_limit_bytes: int | None = None,
        on_note: Callable[[str], None] = ignore,
        is_stopped: Callable[[], bool] = never,
        survey_gpus: Callable[[], gpus.GpuSurvey] = gpus.survey,
        free_at_first: int = 0,
        extents: Callable[[], tuple[Extent, ...]] = tuple,
        backend_is_asked: bool = False,
    ) -> None:
        self.on_note, self.is_stopped = on_note, is_stopped
        self.target, self.logs, self.extents = target, logs, extents
        self.kept_data = (logs / "kept-data").absolute()  # users may chdir
        self.resident_limit_bytes = resident_limit_bytes
        self.backend_is_asked = backend_is_asked
        self._context: ForkServerContext | SpawnContext = (
            multiprocessing.get_context("forkserver")
            if start_method == "forkserver"
            else multiprocessing.get_context("spawn")
        )
        self._log_path: Path | None = None
        self._mapped_bytes = 0  # by workers, of data that the inspection has loaded and kept
        self._gpus = UsedGpus(target, survey_gpus, free_at_first)
        job_logs.make_folder(logs)
        if isinstance(self._context, ForkServerContext):
            try:
                start_template(self._context, target, logs)
            except OSError as error:
                raise UsageError(
                    f"The process that measurements are forked from cannot start: {error}.",
                    hint=f"It needs room in {os.environ.get('TMPDIR', '/tmp')} (TMPDIR may name "
                    f"another, of at most 70 characters), and to write into {logs}.",
                ) from None

    def log_path(self) -> Path | None:
        return self._log_path

    def run(
        self, task: Task, *, deadline_seconds: float, on_progress: OnProgress = ignore
    ) -> Outcome:
        outcome = self._run(task, deadline_seconds, on_progress)
        unseen = isinstance(outcome, TargetMissing) and outcome.is_device
        if unseen and isinstance(self._context, ForkServerContext):
            # Something in the template may have touched the driver: no fork can use it then.
            self._context = multiprocessing.get_context("spawn")
            outcome = self._run(task, deadline_seconds, on_progress)
            if not (isinstance(outcome, TargetMissing) and outcome.is_device):
                self.on_note(SPAWNING)
        if isinstance(outcome, Inspected):
            self._mapped_bytes = outcome.mapped_bytes
        return self._gpus.judged(task, outcome)

    def job(self, task: Task) -> Job:
        """What a worker is told."""
        target = changed(self.target, kept_data=str(self.kept_data), extents=self.extents())
        return Job(
            target=target,
            task=task,
            device_bytes=self._gpus.smallest_bytes,
            backend_is_asked=self.backend_is_asked,
        )

    def _run(self, task: Task, deadline_seconds: float, on_progress: OnProgress) -> Outcome:
        log = self._log_path = job_logs.new_log(self.logs, type(task).__name__.lower())
        self.stopped_seconds = 0.0
        ours, theirs = self._context.Pipe(duplex=True)
        job = msgspec.json.encode(self.job(task))
        arguments = (job, theirs, str(log), str(Path.cwd()), changed_variables())
        process = self._context.Process(target=worker_main, args=arguments, daemon=True)
        loads_data = isinstance(task, Inspect)  # itself
        try:  # the traceback of an interruption lives on in a notebook, and so would `ours`
            try:
                with starting_jobs(self.target, self.logs):
                    process.start()
            except (OSError, EOFError) as error:
                told = last_words(error, self.logs)
                with contextlib.suppress(OSError):
                    log.write_text(f"{told or error}\n", encoding="utf-8")
                return verdict.of_no_process(error, told)
            finally:
                theirs.close()
            return self._listen(process, ours, log, deadline_seconds, loads_data, on_progress)
        finally:
            end(process)
            ours.close()
            for written in self.logs.glob(f"{log.name}{ASIDE}*"):
                with contextlib.suppress(OSError):  # what it ended in the midst of may go itself
                    written.unlink()

    def _listen(
        self,
        process: BaseProcess,
        pipe: Connection,
        log: Path,
        deadline_seconds: float,
        loads_data: bool,
        on_progress: OnProgress,
    ) -> Outcome:
        began = turned = time.monotonic()
        deadline, looks_at = began + deadline_seconds, began
        wonders_at = began + WONDER_SECONDS if loads_data else inf
        mapped_bytes = 0 if loads_data else self._mapped_bytes
        assert process.pid is not None
        watch = ResidentWatch(process.pid, self.resident_limit_bytes, mapped_bytes, self.kept_data)
        killed_before = oom_kills()
        killed_for_memory: str | None = None
        while True:
            now = time.monotonic()
            stopped = now - turned if now - turned > STOPPED_SECONDS else 0.0
            deadline, wonders_at, turned = deadline + stopped, wonders_at + stopped, now
            self.stopped_seconds += stopped
            has_message = wait([pipe], timeout=POLL_SECONDS if now < deadline else 0)
            if self.is_stopped():  # also where what ends us has ended the worker already
                raise InterruptedRunError
            if now >= (deadline + READ_SECONDS if has_message else deadline):
                printed = job_logs.read(log)
                where = self._where(process, log)
                killed = oom_kills().since(killed_before)
                return verdict.of_timeout(
                    deadline_seconds, log=printed, where=where, oom_kills=killed
                )
            if now > wonders_at:
                wonders_at = inf
                self._tell_where(process, log)
            if killed_for_memory is None and now >= looks_at:  # however much it has to tell
                looks_at = now + POLL_SECONDS
                if killed_for_memory := watch.too_large():
                    kill_group(watch.pid)
            if has_message:
                try:
                    message = _MESSAGES.decode(pipe.recv_bytes())
                except (EOFError, ConnectionError):
                    process.join(REAP_SECONDS)
                    return verdict.of_dead_process(
                        exit_code=exit_code_of(process),
                        log=job_logs.read(log),
                        killed_for_memory=killed_for_memory,
                        oom_kills=oom_kills().since(killed_before),
                    )
                if not isinstance(message, JobProgress):
                    process.join(REAP_SECONDS)
                    killed = oom_kills().since(killed_before)
                    return verdict.of_answer(message, job_logs.read(log), killed)
                on_progress(message)
                wonders_at = inf

    def _tell_where(self, process: BaseProcess, log: Path) -> None:
        if where := self._where(process, log):
            self.on_note(f"After {format_duration(WONDER_SECONDS)} it is still in {where}.")

    def _where(self, process: BaseProcess, log: Path) -> str | None:
        """The frame of the user's code that the process is in; it adds all to what it printed."""
        printed_bytes = job_logs.written_bytes(log)
        with contextlib.suppress(ProcessLookupError):
            assert process.pid is not None
            os.kill(process.pid, WHERE_ARE_YOU)
            time.sleep(ANSWER_SECONDS)
        return verdict.users_frame(job_logs.read(log, since=printed_bytes), self.target.folder)
