"""What a dead process means, from what is known: log text, signal, exit code, resident memory.

Pure. What cannot be explained is `Crashed`, never out-of-memory.
"""

import re
import signal
from pathlib import Path

from autobatch.engine.cgroups import OomKills
from autobatch.engine.gpus import Gpu
from autobatch.protocol import (
    OTHER_SHORTAGES,
    Crashed,
    Measured,
    Outcome,
    OutOfMemory,
    TargetMissing,
    TimedOut,
    UserCodeFailed,
    changed,
)

FRAME = re.compile(r'^  File "(.+)", line (\d+) in (.+)$', re.MULTILINE)
LIBRARIES = frozenset({"site-packages", "dist-packages"})  # also where they lie in the folder
LOG_TAIL_CHARACTERS = 4000

ALLOCATION = (
    r"OOM when allocating",
    r"ran out of memory trying to allocate",  # TensorFlow's BFC, before it dies of it
    r"CUDA_ERROR_OUT_OF_MEMORY",
    r"CUDA out of memory",
    r"Status: out of memory",
    r"\bCU[A-Z]+(_STATUS)?_ALLOC_FAILED",  # cuDNN, cuBLAS, cuFFT and others of CUDA's libraries
    r"the resource allocation failed",  # cuBLAS, in words
)
OUT_OF_MEMORY = re.compile(
    "|".join(
        (
            *ALLOCATION,
            r"RESOURCE_EXHAUSTED",
            r"ResourceExhaustedError",
            r"torch\.OutOfMemoryError",
            r"std::bad_alloc",
            r"DefaultCPUAllocator: can't allocate memory",
            r"DefaultCPUAllocator: not enough memory",
            r"Cannot allocate memory",
            r"^\S*MemoryError:",  # at the start: a user may well print of one that they handled
        )
    )
)
ALLOCATION_FAILED = re.compile(r"ran out of memory trying to allocate|CUDA out of memory")
# What may come of a device that is gone, too; asked again, it may not.
UNEXPLAINED = (Crashed, TimedOut, UserCodeFailed, TargetMissing)

# What PyTorch says of a process of a DataLoader that lacked memory, often shared memory.
SHARED_MEMORY = re.compile(
    r"DataLoader worker .* killed by signal: Bus error"
    r"|insufficient shared memory|unable to allocate shared memory"
)
READERS = re.compile(rf"{SHARED_MEMORY.pattern}|DataLoader worker .* killed by signal: Killed")
# What is said of one that is gone, or by one who asks it, whatever ended it.
GONE = re.compile(
    r"exited unexpectedly|terminated abruptly|unexpectedly terminated"
    r"|Connection(Reset|Refused)Error|EOFError"
)
KILLER = "the kernel's out-of-memory killer ended"
NONE_KILLED = OomKills()

# TensorFlow says this when memory is short but it manages: a slow fit, not a failure.
SHORT = re.compile(r"ran out of memory.*not a failure", re.IGNORECASE)
NO_WAY = "Autotuning failed for HLO"  # by XLA: of those tried, in what memory there was for them
# After this, BFC asks the device for less: it may well manage.
BACKS_OFF = "failed to allocate .* from device"
NO_EVIDENCE = re.compile("|".join(("not a failure", BACKS_OFF, *OTHER_SHORTAGES)))


def of_dead_process(
    *,
    exit_code: int | None,
    log: str,
    killed_for_memory: str | None = None,
    oom_kills: OomKills = NONE_KILLED,
) -> OutOfMemory | Crashed:
    """The outcome of a process that ended without an answer.

    `killed_for_memory` is the sentence of our own resident-memory watch, if it ended the process;
    `oom_kills` how often the kernel's out-of-memory killer struck while it ran.
    `exit_code` is as Python has it: negative for a signal.
    """
    if killed_for_memory is not None:
        return OutOfMemory(evidence=killed_for_memory, host_memory=True)
    if evidence := _evidence(log):
        return OutOfMemory(evidence=evidence)
    if lost := _lost_reader(log):
        return lost
    if exit_code == -signal.SIGKILL and oom_kills.anywhere:
        return OutOfMemory(evidence=f"{KILLER} it (SIGKILL)", host_memory=True)
    died_of_signal = exit_code is not None and exit_code < 0
    return Crashed(
        signal=-exit_code if died_of_signal and exit_code is not None else None,
        exit_code=None if died_of_signal else exit_code,
        log_tail=tail(log),
    )


def of_no_process(error: OSError | EOFError, told: str | None) -> Crashed:
    """The outcome where no process began; `told` by the template that ended of it, if that did."""
    why = repr(error)
    if told is not None:
        why = told.splitlines()[-1] if told else "what it is forked from has ended"
    return Crashed(
        signal=None,
        exit_code=None,
        log_tail=f"No process could be started: {why}",
        never_started=True,
    )


def of_answer(outcome: Outcome, log: str, oom_kills: OomKills = NONE_KILLED) -> Outcome:
    """The outcome that a worker gave, unless that or its log tells of memory.

    When an allocation fails, the framework's error may be about what came of it ("Cannot parse
    tensor from proto", "Dst tensor is not initialized"). The user's own exceptions stay theirs.
    """
    if isinstance(outcome, Measured):
        return changed(outcome, allocator_warnings=len(SHORT.findall(log)))
    if not isinstance(outcome, UserCodeFailed):
        return outcome
    lost = _lost_reader(log, outcome.message, oom_kills)
    if lost or not outcome.framework_error:
        return lost or outcome
    said = _evidence(outcome.message, re.compile("|".join(ALLOCATION)))
    evidence = said or _evidence(log)
    if evidence is None and NO_WAY in outcome.message and (short := SHORT.search(log)):
        evidence = short[0]
    return OutOfMemory(evidence=evidence) if evidence else outcome


def of_lost_gpus(outcome: Outcome, uuids: tuple[str, ...]) -> TargetMissing:
    """A failure while GPUs in use disappeared: whatever it says, that is why."""
    return TargetMissing(
        message=f"A GPU is gone: NVIDIA's driver reports {', '.join(uuids)} no more."
        + _said(outcome),
        hint="nvidia-smi and the kernel's log (dmesg, lines with Xid) may say why. What was "
        "measured is kept, for when it is back.",
        is_device=True,
    )


def of_taken_memory(outcome: Outcome, gpu: Gpu) -> TargetMissing:
    """Memory ran out where others hold it meanwhile: it says nothing about the size."""
    return TargetMissing(
        message=f"Others took memory of the GPU meanwhile: {gpu.state}{_said(outcome)}",
        hint="Start the same command again once it is free, or with --fresh. What was measured "
        "is kept.",
        is_device=True,
    )


def _said(outcome: Outcome) -> str:
    said = getattr(outcome, "message", "").partition("\n")[0]
    return f" The worker said: {said}" if said else ""


def of_timeout(
    deadline_seconds: float, *, log: str, where: str | None, oom_kills: OomKills = NONE_KILLED
) -> OutOfMemory | TimedOut:
    """The outcome of a process that was ended at its deadline, `where` in the user's code.

    That the kernel ended a process elsewhere for memory, such as in another container, explains no
    hang here.
    """
    if evidence := _evidence(log, ALLOCATION_FAILED):  # and the framework hangs of it
        return OutOfMemory(evidence=evidence)
    if lost := _lost_reader(log):
        return lost
    if oom_kills.own:  # a pool waits for ever for what a process of its own was to read
        killer = f"{KILLER} a process while this one ran, which then hung"
        return OutOfMemory(evidence=killer, host_memory=True)
    return TimedOut(
        deadline_seconds=deadline_seconds,
        log_tail=tail(log),
        where=where,
        oom_kills_elsewhere=oom_kills.anywhere,
    )


def _evidence(log: str, signs: re.Pattern[str] = OUT_OF_MEMORY) -> str | None:
    for line in reversed(log.splitlines()):
        if signs.search(line) and not NO_EVIDENCE.search(line):
            return line.strip()[:500]
    return None


def _lost_reader(
    log: str, message: str = "", oom_kills: OomKills = NONE_KILLED
) -> OutOfMemory | None:
    """The outcome where a process that read data for this one lacked memory, as either tells."""
    signs = [line for line in f"{log}\n{message}".splitlines() if READERS.search(line)]
    if oom_kills.anywhere and not signs:  # of any process on this machine: it says less
        signs = [line for line in message.splitlines() if GONE.search(line)]
    return OutOfMemory(evidence=signs[-1].strip()[:500], host_memory=True) if signs else None


def tail(log: str) -> str:
    """The end of a log, without the list of modules that faulthandler closes with."""
    lines = [line for line in log.splitlines() if not line.startswith("Extension modules: ")]
    return "\n".join(lines)[-LOG_TAIL_CHARACTERS:]


def users_frame(dump: str, folder: str) -> str | None:
    """The innermost frame in the user's `folder`, from what faulthandler writes of all threads."""
    written = folder.encode("ascii", "backslashreplace").decode()  # as faulthandler does
    for path, line, function in FRAME.findall(dump):
        if Path(path).is_relative_to(written) and not LIBRARIES.intersection(Path(path).parts):
            return f"{function} ({Path(path).name}, line {line})"
    return None
