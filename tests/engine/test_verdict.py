"""What a dead process means, from its log, signal and exit code."""

import subprocess
import sys

import pytest

from autobatch.engine.cgroups import OomKills
from autobatch.engine.verdict import (
    of_answer,
    of_dead_process,
    of_lost_gpus,
    of_no_process,
    of_timeout,
    users_frame,
)
from autobatch.protocol import Crashed, OutOfMemory, TimedOut, UserCodeFailed
from autobatch.stages.ask import why_it_failed

TENSORFLOW_OOM = (
    "W tensorflow: Allocator (bfc_cpu_allocator_for_gpu) ran out of memory trying to allocate 2GiB"
)

ELSEWHERE = OomKills(anywhere=1)
OWN = OomKills(own=1, anywhere=1)


@pytest.mark.parametrize(
    "line",
    [
        TENSORFLOW_OOM,
        "RESOURCE_EXHAUSTED: OOM when allocating tensor with shape[1024,4,4,64]",
        "failed to allocate 2.00G: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    ],
)
def test_a_death_whose_log_tells_of_memory_is_out_of_memory(line):
    found = of_dead_process(exit_code=-11, log=f"starting\n{line}\nFatal Python error\n")
    assert isinstance(found, OutOfMemory)
    assert line[:40] in found.evidence


NOT_A_FAILURE = (
    "Allocator (GPU_0_bfc) ran out of memory trying to allocate 2GiB with freed_by_count=0. "
    "The caller indicates that this is not a failure, but this may mean that there could be "
    "performance gains if more memory were available."
)


def test_a_warning_that_is_not_a_failure_is_no_evidence():
    assert isinstance(of_dead_process(exit_code=-11, log=NOT_A_FAILURE), Crashed)


def test_that_xla_finds_no_way_to_compute_is_of_memory_where_it_lacked_that_as_it_tried():
    message = "XlaRuntimeError: INTERNAL: Autotuning failed for HLO: %a: No valid config found!"
    answer = UserCodeFailed(message=message, framework_error=True)
    assert of_answer(answer, "") is answer
    assert isinstance(of_answer(failed(framework_error=True), NOT_A_FAILURE), UserCodeFailed)
    found = of_answer(answer, f"starting\n{NOT_A_FAILURE}\nended")
    assert isinstance(found, OutOfMemory)
    assert found.evidence.startswith("ran out of memory trying to allocate 2GiB")


@pytest.mark.parametrize("shortage", ["No space left on device", "Too many open files"])
def test_a_line_on_another_shortage_than_of_memory_is_no_evidence(shortage):
    log = f"OP_REQUIRES failed at save_restore_v2_ops.cc:1: RESOURCE_EXHAUSTED: a.tmp; {shortage}"
    assert isinstance(of_dead_process(exit_code=-6, log=log), Crashed)
    assert isinstance(of_answer(failed(framework_error=True), log), UserCodeFailed)
    also = f"{TENSORFLOW_OOM}\n{log}"
    assert isinstance(of_dead_process(exit_code=-6, log=also), OutOfMemory)


def test_that_an_allocator_tries_again_with_less_is_no_evidence():
    line = (
        "failed to allocate 60.00GiB (64424509440 bytes) from device: RESOURCE_EXHAUSTED: : "
        "CUDA_ERROR_OUT_OF_MEMORY: out of memory"
    )
    assert isinstance(of_dead_process(exit_code=-11, log=line), Crashed)
    assert isinstance(of_answer(failed(framework_error=True), line), UserCodeFailed)
    assert isinstance(of_dead_process(exit_code=-11, log=f"{TENSORFLOW_OOM}\n{line}"), OutOfMemory)


def test_a_signal_without_evidence_is_a_crash_not_out_of_memory():
    found = of_dead_process(exit_code=-11, log="Fatal Python error: Segmentation fault")
    assert isinstance(found, Crashed)
    assert (found.signal, found.exit_code) == (11, None)
    assert "Segmentation fault" in found.log_tail


def test_a_kill_by_the_kernel_for_memory_is_out_of_memory():
    found = of_dead_process(exit_code=-9, log="", oom_kills=ELSEWHERE)
    assert isinstance(found, OutOfMemory)
    assert "kernel" in found.evidence


def test_what_the_user_printed_of_a_handled_error_is_no_evidence():
    assert isinstance(of_dead_process(exit_code=-9, log="retrying after MemoryError"), Crashed)


def test_a_kill_from_outside_is_not():
    assert isinstance(of_dead_process(exit_code=-9, log=""), Crashed)
    assert isinstance(of_dead_process(exit_code=-11, log="", oom_kills=ELSEWHERE), Crashed)


def failed(*, framework_error):
    return UserCodeFailed(message="InvalidArgumentError: no", framework_error=framework_error)


def test_a_framework_error_that_came_of_a_failed_allocation_is_out_of_memory():
    log = f"{TENSORFLOW_OOM}\nOP_REQUIRES failed: INVALID_ARGUMENT: Cannot parse tensor from proto"
    assert isinstance(of_answer(failed(framework_error=True), log), OutOfMemory)


@pytest.mark.parametrize(
    "line",
    [
        "failed to allocate 2.00GiB; Status: out of memory",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED",
        "cuFFT error: CUFFT_ALLOC_FAILED",
        "failed to create cublas handle: the resource allocation failed",
    ],
)
def test_what_a_framework_error_says_of_memory_itself_is_out_of_memory(line):
    message = f"At batch 16: InternalError: Graph execution error:\n{line}"
    answer = UserCodeFailed(message=message, framework_error=True)
    assert of_answer(answer, "") == OutOfMemory(evidence=line)
    theirs = UserCodeFailed(message=message)
    assert of_answer(theirs, "") is theirs
    full = UserCodeFailed(message="ResourceExhaustedError: /tmp/a", framework_error=True)
    assert of_answer(full, "") is full  # of a disk: the worker knows


def test_a_users_exception_stays_theirs_whatever_the_log_says():
    answer = failed(framework_error=False)
    assert of_answer(answer, TENSORFLOW_OOM) is answer
    answer = failed(framework_error=True)
    assert of_answer(answer, "nothing about it") is answer


def test_an_exit_code_without_an_answer_is_a_crash():
    found = of_dead_process(exit_code=3, log="")
    assert isinstance(found, Crashed)
    assert (found.signal, found.exit_code) == (None, 3)


def test_what_our_own_watch_killed_for_memory_is_out_of_memory():
    found = of_dead_process(exit_code=-9, log="", killed_for_memory="resident memory reached 9 GiB")
    assert found == OutOfMemory(evidence="resident memory reached 9 GiB", host_memory=True)


KILLED = "At batch 8: RuntimeError: DataLoader worker (pid 71) is killed by signal: "
EXITED = "At batch 8: RuntimeError: DataLoader worker (pid(s) 71, 72) exited unexpectedly"
ABRUPT = "BrokenProcessPool: A process in the process pool was terminated abruptly while"
RESET = "At batch 8: ConnectionResetError: [Errno 104] Connection reset by peer"
SHARED = (
    "RuntimeError: unable to allocate shared memory(shm) for file </torch_27381_3527956421_0>: No "
    "space left on device (28)"
)
BUS_ERROR = (
    "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient "
    "shared memory (shm)."
)


@pytest.mark.parametrize(
    ("message", "kills", "is_memory"),
    [
        (f"{KILLED}Bus error. It is possible that dataloader's workers are out of", 0, True),
        (f"{KILLED}Killed. ", 0, True),
        (f"{KILLED}Segmentation fault. ", 1, False),
        (f"At batch 8: {SHARED}", 0, True),
        *((text, kills, kills > 0) for text in (EXITED, ABRUPT, RESET) for kills in (0, 1)),
    ],
)
def test_of_a_process_that_read_data_its_end_tells(message, kills, is_memory):
    answer = UserCodeFailed(message=message)
    memory = OutOfMemory(evidence=message.strip(), host_memory=True)
    assert of_answer(answer, "", OomKills(anywhere=kills)) == (memory if is_memory else answer)


@pytest.mark.parametrize("line", [BUS_ERROR, SHARED, f"{KILLED}Killed. "])
def test_so_does_what_it_leaves_in_the_log_whatever_comes_of_that(line):
    memory = OutOfMemory(evidence=line.strip(), host_memory=True)
    for kills in (OomKills(), ELSEWHERE):  # and whatever else on this machine was killed meanwhile
        assert of_answer(UserCodeFailed(message=RESET), f"{line}\nmore", kills) == memory
    assert of_dead_process(exit_code=70, log=line) == memory
    assert of_timeout(60.0, log=line, where=None) == memory


def test_a_hang_after_a_failed_allocation_is_out_of_memory():
    found = of_timeout(60.0, log=f"{TENSORFLOW_OOM}\nRetrying", where=None)
    assert found == OutOfMemory(evidence=TENSORFLOW_OOM)
    for log in ("epoch 1", f"{TENSORFLOW_OOM} The caller indicates that this is not a failure"):
        found = of_timeout(60.0, log=log, where="fit (a.py, line 1)")
        assert found == TimedOut(deadline_seconds=60.0, log_tail=log, where="fit (a.py, line 1)")


def test_a_hang_since_the_kernel_killed_a_process_is_out_of_memory():
    found = of_timeout(60.0, log="epoch 1", where="fit (a.py, line 1)", oom_kills=OWN)
    assert isinstance(found, OutOfMemory) and found.host_memory
    assert "the kernel's out-of-memory killer ended a process" in found.evidence


def test_a_hang_while_it_killed_one_in_another_container_stays_a_hang_and_says_so():
    found = of_timeout(60.0, log="", where="load_data (a.py, line 1)", oom_kills=ELSEWHERE)
    assert isinstance(found, TimedOut)
    assert why_it_failed(found) == (
        "no answer in 1 min 00 s; it hung in load_data (a.py, line 1); meanwhile the kernel ended "
        "a process of others for memory"
    )


@pytest.mark.parametrize("name", ["jose", "josé", "日本", "\N{GRINNING FACE}"])
def test_a_hang_is_located_whatever_letters_its_folder_is_written_in(tmp_path, name):
    (tmp_path / name).mkdir()
    code = "import faulthandler as f\n\ndef load_data():\n    f.dump_traceback()\n\nload_data()"
    (tmp_path / name / "train.py").write_text(code)
    command = [sys.executable, str(tmp_path / name / "train.py")]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert users_frame(dump, str(tmp_path / name)) == "load_data (train.py, line 4)"


def test_what_failed_on_a_gpu_that_is_gone_is_no_fault_of_model_or_size():
    crash = Crashed(signal=6, exit_code=None, log_tail="CUDA_ERROR_UNKNOWN")
    assert of_lost_gpus(crash, ("GPU-1", "GPU-2")).message == (
        "A GPU is gone: NVIDIA's driver reports GPU-1, GPU-2 no more."
    )
    failed = UserCodeFailed(message="InternalError: launch failed\nmore")
    told = of_lost_gpus(failed, ("GPU-1",)).message
    assert told.endswith("GPU-1 no more. The worker said: InternalError: launch failed")


@pytest.mark.parametrize(
    ("error", "told", "why"),
    [
        (
            EOFError("unexpected EOF"),
            "Traceback\nBlockingIOError: no room",
            "BlockingIOError: no room",
        ),
        (ConnectionResetError(), "", "what it is forked from has ended"),
        (BlockingIOError(11, "no room"), None, "BlockingIOError(11, 'no room')"),
    ],
)
def test_why_no_process_began_is_told_by_what_it_would_be_forked_from(error, told, why):
    found = of_no_process(error, told)
    assert (found.log_tail, found.never_started) == (f"No process could be started: {why}", True)
