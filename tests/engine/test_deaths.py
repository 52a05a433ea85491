"""How real workers die, and what each death is called."""

import signal
from pathlib import Path

import pytest
from control_groups import own_group, small_group

from autobatch.engine.local import LocalExecutor
from autobatch.protocol import (
    Benchmark,
    Crashed,
    Fits,
    Inspect,
    Inspected,
    OutOfMemory,
    Probe,
    Target,
    TimedOut,
    UserCodeFailed,
    changed,
)

HERE = Path(__file__).parent.parent
MIB = 1 << 20
SCORE = Path("/proc/self/oom_score_adj")


def ask(tmp_path, task, model, data="targets.py:data", deadline_seconds=120, **args):
    model = model if ":" in model else f"deaths.py:{model}"
    target = Target(folder=str(HERE), model=model, data=data, args=args)
    return LocalExecutor(target, tmp_path).run(task, deadline_seconds=deadline_seconds)


@pytest.mark.parametrize(
    ("model", "evidence"),
    [
        ("bad_alloc_model", "std::bad_alloc"),
        ("memory_error_model", "Unable to allocate"),
        ("model_that_maps_too_much", "OSError: [Errno 12] Cannot allocate memory"),
        ("model_that_prints_of_memory_and_dies", "ran out of memory trying to allocate"),
        ("model_that_prints_of_memory_and_exits", "ran out of memory trying to allocate"),
    ],
)
def test_deaths_of_memory_are_out_of_memory_with_their_evidence(tmp_path, model, evidence):
    outcome = ask(tmp_path, Inspect(batch_size=8), model)
    assert isinstance(outcome, OutOfMemory), outcome
    assert evidence in outcome.evidence


@pytest.fixture
def group(request, monkeypatch):
    """That workers, or what they start, may move to."""
    with small_group(is_ours=getattr(request, "param", False)) as group:
        monkeypatch.setenv("SMALL_GROUP", str(group))
        yield


@pytest.mark.usefixtures("group")
def test_the_kernels_out_of_memory_killer_is_out_of_memory(tmp_path):
    outcome = ask(tmp_path, Inspect(batch_size=8), "model_too_large")
    assert isinstance(outcome, OutOfMemory), outcome
    assert "the kernel's out-of-memory killer" in outcome.evidence


def hang(tmp_path):
    task = Probe(batch_size=8, limit_bytes=512 * MIB)
    data = "deaths.py:data_too_large_for_its_readers"
    return ask(tmp_path, task, "modest_model", data=data, deadline_seconds=10)


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("group", [True], indirect=True)
def test_so_is_a_hang_since_it_killed_a_process_that_was_to_read_data(tmp_path):
    outcome = hang(tmp_path)
    assert isinstance(outcome, OutOfMemory), outcome
    assert outcome.host_memory
    assert "killer ended a process while this one ran, which then hung" in outcome.evidence


@pytest.mark.usefixtures("group")
def test_a_hang_while_it_killed_a_process_in_another_group_stays_one(tmp_path):
    if not own_group():
        pytest.skip("in the root all groups are ours")
    outcome = hang(tmp_path)
    assert isinstance(outcome, TimedOut), outcome
    assert outcome.oom_kills_elsewhere


@pytest.mark.skipif(not SCORE.exists(), reason="it is Linux that has scores")
def test_the_kernel_would_end_a_worker_before_any_other_process(tmp_path):
    before = SCORE.read_text()
    outcome = ask(tmp_path, Inspect(batch_size=8), "model_that_tells_its_score")
    assert isinstance(outcome, Inspected), outcome
    assert "score 1000\n" in next(tmp_path.glob("*-inspect.log")).read_text()
    assert SCORE.read_text() == before


@pytest.mark.parametrize(
    ("model", "signal_number", "exit_code"),
    [
        ("killed_model", signal.SIGKILL, None),
        ("model_killed_beside_what_a_shell_started", signal.SIGKILL, None),
        ("quietly_exiting_model", None, 0),
    ],
)
def test_deaths_that_nothing_explains_are_crashes(tmp_path, model, signal_number, exit_code):
    outcome = ask(tmp_path, Inspect(batch_size=8), model)
    assert isinstance(outcome, Crashed), outcome
    assert (outcome.signal, outcome.exit_code) == (signal_number, exit_code)


LIMIT = 20 * MIB


@pytest.mark.parametrize(
    "task",
    [
        Probe(batch_size=1600, limit_bytes=LIMIT),
        Probe(batch_size=1600, limit_bytes=2 * LIMIT),
        # Which are given no early answer: oneDNN may end in a segmentation fault.
        *(
            Benchmark(batch_size=size, seconds=0.5, limit_bytes=LIMIT, repeat=1)
            for size in (1600, 800, 400)
        ),
    ],
    ids=lambda task: f"{type(task).__name__}-{task.batch_size}",
)
def test_a_convolution_under_a_limit_is_out_of_memory_however_it_ends(tmp_path, task):
    outcome = ask(tmp_path, task, "convolution", data="deaths.py:images")
    assert isinstance(outcome, OutOfMemory), outcome


@pytest.mark.parametrize("gibibytes", [3, 7])
def test_a_limit_beyond_32_bits_is_a_limit(tmp_path, gibibytes):
    task = Probe(batch_size=8, limit_bytes=gibibytes << 30, seconds=0)
    outcome = ask(tmp_path, task, "modest_model")
    assert isinstance(outcome, Fits), outcome


def test_a_machine_may_refuse_what_a_limit_reserves(monkeypatch):
    """One that does not overcommit, where the limit is most of its memory."""
    import tensorflow as tf

    from autobatch.worker.backends import tensorflow

    asked = []

    def refuse(shape, **more):
        asked.append(shape[0] * shape[1])
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(tf.raw_ops, "Empty", refuse)
    monkeypatch.setattr(tensorflow, "reset_peak", lambda: None)
    tensorflow._reserve(31 << 30)
    assert [size >> 20 for size in asked] == [(31 << 10) - 4]


def test_a_32_bit_overflow_is_not_memory(tmp_path):
    task = Probe(batch_size=16, limit_bytes=512 * MIB, seconds=0)
    fits = ask(tmp_path, task, "model_with", layer="Overflowing")
    assert isinstance(fits, Fits), fits
    outcome = ask(tmp_path, changed(task, batch_size=32), "model_with", layer="Overflowing")
    assert isinstance(outcome, UserCodeFailed), outcome
    assert "At batch 32" in outcome.message


def test_no_memory_in_a_python_function_of_a_graph_is_out_of_memory(tmp_path):
    task = Probe(batch_size=8, limit_bytes=64 * MIB)
    outcome = ask(tmp_path, task, "model_with", layer="AllocatingInPython")
    assert isinstance(outcome, OutOfMemory), outcome
    assert "OOM when allocating tensor" in outcome.evidence


def test_an_error_in_a_python_function_of_a_graph_is_the_users_whatever_it_speaks_of(tmp_path):
    task = Probe(batch_size=8, limit_bytes=64 * MIB)
    outcome = ask(tmp_path, task, "model_with", layer="ComplainingInPython")
    assert isinstance(outcome, UserCodeFailed), outcome
    assert outcome.message == "At batch 8: ValueError: OOM when allocating a taxi"


def test_a_full_disk_is_no_lack_of_memory_though_tensorflow_has_one_error_for_both(tmp_path):
    outcome = ask(tmp_path, Probe(batch_size=8, limit_bytes=64 * MIB), "model_that_fills_a_disk")
    assert isinstance(outcome, UserCodeFailed), outcome
    assert "/dev/full; No space left on device" in outcome.message


def test_an_allocation_that_nothing_can_serve_is_not_waited_for(tmp_path):
    task = Probe(batch_size=1600, limit_bytes=20 * MIB)
    outcome = ask(tmp_path, task, "targets.py:wide_model", data="targets.py:much_data")
    assert isinstance(outcome, OutOfMemory), outcome
    assert "nothing runs that could free any" in outcome.evidence
    assert outcome.peak_bytes <= 20 * MIB


def test_where_another_thread_may_go_on_the_allocator_itself_says_when_it_waited_enough(tmp_path):
    task = Probe(batch_size=1600, limit_bytes=20 * MIB)
    outcome = ask(tmp_path, task, "model_beside_a_thread", data="deaths.py:images")
    assert isinstance(outcome, OutOfMemory), outcome
    assert "OOM when allocating" in outcome.evidence or "ran out of memory" in outcome.evidence
    assert "nothing runs" not in outcome.evidence


@pytest.mark.parametrize("layer", ["Computing", "AsleepInPython", "WaitingForData"])
def test_an_allocation_that_can_be_served_is_waited_for(tmp_path, layer):
    task = Probe(batch_size=8, limit_bytes=64 * MIB)
    outcome = ask(tmp_path, task, "model_with", layer=layer)
    assert isinstance(outcome, Fits), outcome
    assert not list(tmp_path.glob("*.memory*"))


def test_an_allocation_that_was_served_meanwhile_is_no_evidence():
    from tensorflow.core.protobuf.bfc_memory_map_pb2 import MemoryDump

    from autobatch.worker.backends.waiting import _in_vain

    failed = MemoryDump()
    failed.stats.bytes_in_use = 2 * MIB
    written = failed.SerializeToString()
    assert "2.0 MiB are held" in _in_vain(written, 2 * MIB)
    assert _in_vain(written, 3 * MIB) is None
    assert _in_vain(b"", 0) is None  # nobody waited
    assert _in_vain(written[:-1], 2 * MIB) is None  # the disk was full
