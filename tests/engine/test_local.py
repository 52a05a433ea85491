"""Real processes: one job, one fresh worker, whatever it does."""

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

import psutil
import pytest
from asking import HERE, ask
from commands import wait_for_end
from control_groups import full_group

from autobatch.engine import gpus, local, process, used_gpus
from autobatch.engine.local import LocalExecutor
from autobatch.errors import InterruptedRunError, UsageError
from autobatch.protocol import (
    WORKER_BUG,
    Benchmark,
    Crashed,
    Inspect,
    Inspected,
    OutOfMemory,
    Probe,
    Ranged,
    RangeTest,
    Target,
    TargetMissing,
    TimedOut,
    UserCodeFailed,
)
from autobatch.worker import backends
from autobatch.worker.run import environment

MIB = 1 << 20


def test_a_worker_answers_and_its_prints_go_to_the_log(tmp_path, capfd):
    outcome, log = ask(tmp_path, Inspect(batch_size=8), model="targets.py:chatty_model")
    assert isinstance(outcome, Inspected)
    assert outcome.train_samples == 48
    assert outcome.device_name.startswith("CPU: ")
    assert "hello from the user's code\nand from below Python" in log.read_text()
    assert capfd.readouterr() == ("", "")


TELLING = """
import os
import keras

with open(f"{os.path.dirname(__file__)}/imported", "a") as imported:
    imported.write(f"{os.getpid()} {os.getppid()}\\n")

def model():
    found = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    found.compile("sgd", "mse")
    return found
"""


def test_each_job_has_a_process_of_its_own_that_imports_the_users_module_anew(tmp_path):
    (tmp_path / "train.py").write_text(TELLING)
    target = Target(folder=str(tmp_path), model="train.py:model")
    executor = LocalExecutor(target, tmp_path / "logs")
    for _ in range(2):
        assert isinstance(executor.run(Inspect(batch_size=8), deadline_seconds=60), Inspected)
    told = [line.split() for line in (tmp_path / "imported").read_text().splitlines()]
    (one, template), (other, same) = [tuple(map(int, pids)) for pids in told]
    assert one != other
    assert template == same == forkserver._forkserver._forkserver_pid


def test_peaks_are_nearly_affine_in_the_batch_and_repeat(tmp_path):
    target = {"model": "targets.py:wide_model", "data": "targets.py:much_data"}
    peaks = [
        ask(tmp_path, Probe(batch_size=size, limit_bytes=512 * MIB), **target)[0].peak_bytes
        for size in (512, 1024, 2048, 2048)
    ]
    assert peaks[1] > peaks[0]
    assert peaks[2] == pytest.approx(peaks[3], rel=2e-2)
    assert peaks[2] - peaks[1] == pytest.approx(2 * (peaks[1] - peaks[0]), rel=0.1)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("targets.py:exiting_model", "SystemExit: bye"),
        ("targets.py:panicking_model", "PanicException: index out of bounds"),
        ("targets.py:no_model", "returned None, not a keras.Model"),
        ("targets.py:uncompiled_model", "not compiled"),
        ("targets.py:mismatched_model", "incompatible"),
    ],
)
def test_a_users_mistake_is_told_as_theirs(tmp_path, model, words):
    outcome, _ = ask(tmp_path, Inspect(batch_size=8), model=model)
    assert isinstance(outcome, UserCodeFailed)
    assert words in outcome.message


def test_an_error_in_their_code_is_told_with_their_frames_alone(tmp_path):
    outcome, log = ask(tmp_path, Inspect(batch_size=8), model="targets.py:raising_model")
    assert isinstance(outcome, UserCodeFailed)
    assert "ValueError: no such architecture" in outcome.message
    assert "targets.py" in outcome.traceback
    assert outcome.traceback.count("File ") == 1
    assert log.read_text().count("File ") > 1  # whole


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("targets.py:unequal_data", "unequal length: x 48, y 47"),
        ("targets.py:data_in_lists", "x has a float where an array is needed"),
        ("targets.py:empty_data", "is empty"),
        ("targets.py:no_data", "takes (x, y)"),
    ],
)
def test_unusable_data_is_refused_with_what_is_wrong(tmp_path, data, words):
    outcome, _ = ask(tmp_path, Inspect(batch_size=8), data=data)
    assert isinstance(outcome, UserCodeFailed)
    assert words in outcome.message


def test_one_dataset_is_split_and_that_is_said(tmp_path):
    outcome, _ = ask(tmp_path, Inspect(batch_size=8), data="targets.py:one_dataset")
    assert (outcome.train_samples, outcome.validation_samples) == (39, 9)
    assert "its last 9 of 48 samples (20%)" in outcome.notes[0]


def test_nan_in_the_data_is_seen(tmp_path):
    outcome, _ = ask(tmp_path, Inspect(batch_size=8), data="targets.py:nan_data")
    assert outcome.nan == "x has NaN in 1 of 48 samples (first: sample 3)"
    outcome, _ = ask(tmp_path, Inspect(batch_size=8), data="targets.py:nan_in_validation")
    assert outcome.nan == "validation x has NaN in 1 of 48 samples (first: sample 3)"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"model": "targets.py:modle"}, "Did you mean model?"),
        ({"model": "nowhere.py:model"}, "targets.py"),
        ({"model": "deaths.py:needy_model"}, "values under `args:`"),
        ({"model": "no.such.module:model"}, "importable"),
        ({"args": {"wdith": 3}}, "Did you mean width?"),
    ],
)
def test_what_the_recipe_names_and_is_not_there(tmp_path, target, words):
    outcome, _ = ask(tmp_path, Inspect(batch_size=8), **target)
    assert isinstance(outcome, TargetMissing)
    assert words in outcome.hint


@pytest.mark.parametrize(
    ("model", "number"),
    [
        ("targets.py:segfaulting_model", signal.SIGSEGV),
        ("targets.py:aborting_model", signal.SIGABRT),
    ],
)
def test_a_crash_that_memory_does_not_explain_is_a_crash(tmp_path, model, number):
    outcome, _ = ask(tmp_path, Inspect(batch_size=8), model=model)
    assert isinstance(outcome, Crashed)
    assert outcome.signal == number
    assert model.partition(":")[2] in outcome.log_tail  # the stack, by faulthandler


def test_a_failure_of_the_users_step_is_never_out_of_memory(tmp_path):
    outcome, _ = ask(
        tmp_path,
        Probe(batch_size=16, limit_bytes=512 * MIB),
        model="targets.py:model_that_fails_at_large_batches",
    )
    assert isinstance(outcome, UserCodeFailed)
    assert "cannot do batches of 16" in outcome.message


def test_a_hang_is_asked_where_it_is_ends_at_the_deadline_and_leaves_no_process(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(local, "WONDER_SECONDS", 4)
    notes = []
    target = Target(folder=str(HERE), model="targets.py:hanging_model")
    executor = LocalExecutor(target, tmp_path, on_note=notes.append)
    outcome = executor.run(Inspect(batch_size=8), deadline_seconds=8)
    assert isinstance(outcome, TimedOut)
    assert outcome.where is not None
    assert outcome.where.startswith("hanging_model (targets.py, line ")
    assert notes == [f"After 4.0 s it is still in {outcome.where}."]
    assert not workers()


class Ahead:
    """A clock that may leap, as that of the system does for who was stopped (Ctrl-Z)."""

    sleep = staticmethod(time.sleep)

    def __init__(self):
        self.by = 0.0

    def monotonic(self):
        return time.monotonic() + self.by


def test_a_job_is_not_taken_for_hung_since_the_tool_was_stopped(tmp_path, monkeypatch):
    """While the worker goes on, and answers."""
    clock = Ahead()
    monkeypatch.setattr(local, "time", clock)

    def stop(_):
        clock.by = 100.0

    task = RangeTest(
        batch_size=8, learning_rate=1e-9, lowest_factor=0.1, highest_factor=1.0, steps=200, seed=0
    )
    target = Target(folder=str(HERE), model="targets.py:model", data="targets.py:data")
    executor = LocalExecutor(target, tmp_path)
    found = executor.run(task, deadline_seconds=90, on_progress=stop)
    assert isinstance(found, Ranged), found
    assert round(executor.stopped_seconds) == 100


@pytest.mark.parametrize(
    ("model", "limit_bytes", "evidence"),
    [
        ("targets.py:hanging_model", MIB, "its resident memory reached "),
        (
            "deaths.py:model_beside_a_large_process",
            1024 * MIB,
            "with the processes that it started, its resident memory reached ",
        ),
    ],
)
def test_a_worker_larger_than_the_machine_can_spare_is_ended_as_out_of_memory(
    tmp_path, model, limit_bytes, evidence
):
    outcome, _ = ask(
        tmp_path,
        Inspect(batch_size=8),
        model=model,
        resident_limit_bytes=limit_bytes,
        deadline_seconds=60,
    )
    assert isinstance(outcome, OutOfMemory)
    assert outcome.evidence.startswith(evidence)
    assert not workers()


def test_a_worker_that_tells_all_the_time_is_watched_too(tmp_path):
    task = RangeTest(
        batch_size=8,
        learning_rate=1e-9,
        lowest_factor=0.1,
        highest_factor=1.0,
        steps=5000,
        seed=0,
    )
    outcome, _ = ask(
        tmp_path,
        task,
        model="deaths.py:model_with",
        args={"layer": "KeepsMoreAndMore"},
        resident_limit_bytes=1024 * MIB,
    )
    assert isinstance(outcome, OutOfMemory), outcome
    assert "its resident memory reached 1." in outcome.evidence


def test_a_template_that_is_killed_takes_its_worker_along_and_is_started_anew_as_it_was(
    tmp_path, capfd
):
    target = Target(folder=str(HERE), model="targets.py:model", data="targets.py:data")
    executor = LocalExecutor(target, tmp_path)

    def kill_template(_):
        psutil.Process(forkserver._forkserver._forkserver_pid).kill()

    task = RangeTest(
        batch_size=8, learning_rate=1e-9, lowest_factor=0.1, highest_factor=1.0, steps=5000, seed=0
    )
    found = executor.run(task, deadline_seconds=60, on_progress=kill_template)
    assert isinstance(found, Crashed)
    assert found.signal == signal.SIGKILL
    again = executor.run(Inspect(batch_size=8), deadline_seconds=60)
    assert isinstance(again, Inspected), again
    assert "tensorflow" in again.versions
    assert capfd.readouterr() == ("", "")


def test_a_process_that_could_not_be_started_is_told_as_such_and_the_next_one_is_started(tmp_path):
    """Where a container has as many processes as it may have, and soon fewer."""
    executor = LocalExecutor(Target(folder=str(HERE), model="targets.py:model"), tmp_path)
    assert isinstance(executor.run(Inspect(batch_size=8), deadline_seconds=60), Inspected)
    with full_group() as group:
        (group / "cgroup.procs").write_text(str(forkserver._forkserver._forkserver_pid))
        found = executor.run(Inspect(batch_size=8), deadline_seconds=60)
        again = executor.run(Inspect(batch_size=8), deadline_seconds=60)
    assert isinstance(found, Crashed) and found.never_started, found
    assert found.log_tail.startswith("No process could be started: ")
    assert isinstance(again, Inspected), again


def test_a_backend_that_cannot_be_imported_is_told_with_the_reason(tmp_path):
    """In an interpreter of its own: the template of this one is at work."""
    broken = tmp_path / "packages" / "tensorflow"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise TypeError('Descriptors cannot be created')")
    code = f"""
from pathlib import Path
from autobatch.engine.local import LocalExecutor
from autobatch.protocol import Inspect, Target
if __name__ == "__main__":
    target = Target(folder={str(HERE)!r}, model="targets.py:model", backend="tensorflow")
    executor = LocalExecutor(target, Path({str(tmp_path / "logs")!r}))
    found = executor.run(Inspect(batch_size=8), deadline_seconds=60)
    print(type(found).__name__, repr(found))
    print(executor.log_path().read_text())
"""
    (tmp_path / "main.py").write_text(code)
    path = os.pathsep.join([str(broken.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(tmp_path / "main.py")]
    ended = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, check=True
    )
    outcome, *log = ended.stdout.splitlines()
    assert outcome.startswith("Crashed")
    assert "Descriptors cannot be created" in outcome
    assert any("Descriptors cannot be created" in line for line in log)


HIDING = """
from pathlib import Path
from autobatch.engine.local import LocalExecutor
from autobatch.protocol import Inspect, Target

target = Target(folder=".", model="train.py:model", data="train.py:data")
print(LocalExecutor(target, Path("logs")).run(Inspect(batch_size=8), deadline_seconds=60))
"""
ITS_MODEL = """
import os
from targets import data, model
assert "PYTHONSAFEPATH" not in os.environ  # of what their code starts, too
"""


def test_a_file_where_the_command_is_typed_hides_no_library_from_keras(tmp_path):
    """In an interpreter of its own, which like the installed command has not this folder."""
    (tmp_path / "rich.py").touch()
    (tmp_path / "train.py").write_text(ITS_MODEL)
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "command.py").write_text(HIDING)
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    ended = subprocess.run(
        [sys.executable, "installed/command.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        check=True,
    )
    assert ended.stdout.startswith("Inspected("), ended.stdout


def test_a_folder_for_sockets_that_is_too_long_is_told(tmp_path, monkeypatch):
    """In an interpreter of its own: the template of this one has its socket."""
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    command = [sys.executable, "-m", "autobatch", "probe", str(HERE / "targets.py:model")]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    assert ended.returncode == 2
    assert "cannot start: AF_UNIX path too long" in ended.stderr
    assert "TMPDIR" in ended.stderr


NOWHERE_TO_WRITE = """
import resource
from pathlib import Path
from autobatch.engine.local import LocalExecutor
from autobatch.errors import UsageError
from autobatch.protocol import Target

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    LocalExecutor(Target(folder=".", model="train.py:model"), Path("logs"))
except UsageError as error:
    print(error)
"""


def test_where_there_is_no_folder_for_sockets_it_is_told(tmp_path):
    command = [sys.executable, "-c", NOWHERE_TO_WRITE]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "cannot start: [Errno 2] No usable temporary directory" in ended.stdout, ended.stderr
    assert "TMPDIR" in ended.stdout


def test_a_worker_is_where_its_caller_is_now(tmp_path, monkeypatch):
    """As in a notebook that changes directories: the template was started elsewhere."""
    target = Target(folder=str(HERE), model="targets.py:chatty_model")
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        executor = LocalExecutor(target, Path("logs"))
        assert isinstance(executor.run(Inspect(batch_size=8), deadline_seconds=60), Inspected)
        assert f"working in {tmp_path / name}" in executor.log_path().read_text()


def test_a_worker_has_the_environment_that_its_caller_has_now(tmp_path, monkeypatch):
    target = Target(folder=str(HERE), model="targets.py:chatty_model")
    executor = LocalExecutor(target, tmp_path)
    for told in ("here", "there", None):
        if told:
            monkeypatch.setenv("DATA_DIR", told)
        else:
            monkeypatch.delenv("DATA_DIR")
        assert isinstance(executor.run(Inspect(batch_size=8), deadline_seconds=60), Inspected)
        assert f"with data in {told}\n" in executor.log_path().read_text()


def test_where_a_log_has_no_room_the_user_is_told_and_the_job_has_not_failed(tmp_path):
    target = Target(folder=str(HERE), model="targets.py:model")
    executor = LocalExecutor(target, tmp_path / "logs")
    shutil.rmtree(tmp_path / "logs")
    with pytest.raises(UsageError, match=r"Cannot write logs into .*: No such file or directory"):
        executor.run(Probe(batch_size=8, limit_bytes=MIB), deadline_seconds=60)


def test_a_worker_that_fails_before_it_knows_its_job_fails_by_a_fault_of_ours(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(local, "changed_variables", lambda: {"NO": "\0"})
    outcome, _ = ask(tmp_path, Probe(batch_size=8, limit_bytes=MIB))
    assert isinstance(outcome, Crashed)
    assert outcome.exit_code == WORKER_BUG


@pytest.mark.another_template
def test_what_frameworks_read_as_they_are_imported_is_read_anew_once_it_is_set(
    tmp_path, monkeypatch
):
    target = Target(folder=str(HERE), model="targets.py:model")
    templates = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for threads in (None, "2", "2"):
        if threads:
            monkeypatch.setenv("OMP_NUM_THREADS", threads)
        LocalExecutor(target, tmp_path)
        templates.append(forkserver._forkserver._forkserver_pid)
    assert templates[0] != templates[1] == templates[2]
    found, _ = ask(tmp_path, Inspect(batch_size=8))
    assert found.settings["OMP_NUM_THREADS"] == "2"


HELD_OPEN = """
import os, signal, time
from pathlib import Path
from autobatch.engine.local import LocalExecutor
from autobatch.protocol import Target

target = Target(folder=".", model="train.py:model")
LocalExecutor(target, Path("logs"))
fork = os.fork()
if not fork:
    time.sleep(60)
    os._exit(0)
os.environ["KMP_INIT_AT_FORK"] = "FALSE"  # as scikit-learn does
LocalExecutor(target, Path("logs"))
os.kill(fork, signal.SIGKILL)
print("went on")
"""


def test_forks_of_the_caller_keep_no_template_from_being_replaced(tmp_path):
    command = [sys.executable, "-c", HELD_OPEN]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert ended.stdout == "went on\n", ended.stderr


def test_a_worker_killed_from_outside_is_told_with_its_signal(tmp_path):
    answered = threading.Event()

    def kill():
        while not answered.wait(0.5):
            for pid in workers():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    outcome, _ = ask(tmp_path, Inspect(batch_size=8), model="targets.py:hanging_model")
    answered.set()
    killer.join()
    assert isinstance(outcome, Crashed)
    assert outcome.signal == signal.SIGKILL


GENERATING = """
import os, tempfile
import keras, numpy as np, tensorflow as tf

HERE = os.path.dirname(__file__)
tempfile.tempdir = f"{HERE}/temporary"
os.mkdir(tempfile.tempdir)

def model():
    found = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    found.compile("sgd", "mse")
    return found

def data():
    x = np.ones((64, 2), "float32")
    train = tf.data.Dataset.from_tensor_slices((x, x[:, :1])).map(lambda x, y: (2 * x, y))
    open(f"{HERE}/made", "w").write(str(len(os.listdir(tempfile.tempdir))))
    return train, (x, x[:, :1])
"""


def test_the_files_that_tensorflow_generates_do_not_stay(tmp_path):
    (tmp_path / "train.py").write_text(GENERATING)
    where = {"folder": tmp_path, "model": "train.py:model", "data": "train.py:data"}
    outcome, _ = ask(tmp_path, Inspect(batch_size=8), **where)
    assert isinstance(outcome, Inspected)
    assert int((tmp_path / "made").read_text()) > 0
    assert list((tmp_path / "temporary").rglob("*.py*")) == []


def test_an_interruption_as_a_worker_starts_leaves_none_though_its_traceback_is_kept(
    tmp_path, monkeypatch
):
    def interrupted(descriptor):
        read_signed(descriptor)
        raise KeyboardInterrupt

    executor = LocalExecutor(Target(folder=str(HERE), model="targets.py:hanging_model"), tmp_path)
    read_signed = forkserver.read_signed
    monkeypatch.setattr(forkserver, "read_signed", interrupted)
    with pytest.raises(KeyboardInterrupt) as kept:
        executor.run(Inspect(batch_size=8), deadline_seconds=60)
    until = time.monotonic() + 30
    while workers() and time.monotonic() < until:
        time.sleep(0.1)
    assert not workers(), kept


def test_a_worker_that_cannot_be_reaped_is_not_waited_for_as_the_tool_exits(tmp_path, monkeypatch):
    """As one in the kernel's hands: here who is to tell of its end cannot."""

    def stop_template():
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGSTOP)
        return True

    monkeypatch.setattr(process, "REAP_SECONDS", 0.1)
    target = Target(folder=str(HERE), model="targets.py:hanging_model")
    executor = LocalExecutor(target, tmp_path, is_stopped=stop_template)
    try:
        with pytest.raises(InterruptedRunError):
            executor.run(Inspect(batch_size=8), deadline_seconds=60)
        assert not multiprocessing.active_children()
    finally:
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGCONT)


def test_what_the_users_code_started_ends_with_its_worker(tmp_path):
    model = "deaths.py:model_that_starts_a_process"
    found, log = ask(tmp_path, Inspect(batch_size=8), model=model)
    assert isinstance(found, Inspected), found
    pids = re.findall(r"^started (\d+)$", log.read_text(), re.MULTILINE)
    assert pids
    wait_for_end(*map(int, pids))


def workers():
    """Processes forked by our template that run a job."""
    found = []
    for child in psutil.Process().children():
        command = " ".join(child.cmdline())
        if "forkserver" in command:
            found += [grandchild.pid for grandchild in child.children()]
    return found


@pytest.fixture
def without_template(monkeypatch):
    """None is started, where no process is forked from it."""
    monkeypatch.setattr(local, "start_template", lambda *_: None)


class Unseeing(LocalExecutor):
    """Nothing that it starts sees the GPU."""

    def _run(self, *_):
        self.tried.append(type(self._context))
        return TargetMissing(message="TensorFlow does not see it", is_device=True)


@pytest.mark.usefixtures("without_template")
def test_where_forks_do_not_see_the_gpu_a_fresh_interpreter_is_tried_once(tmp_path):
    target = Target(folder=str(HERE), model="targets.py:model", device="gpu")
    told = []
    executor = Unseeing(target, tmp_path, on_note=told.append)
    executor.tried = []
    for _ in range(2):
        assert isinstance(executor.run(Inspect(batch_size=8), deadline_seconds=1), TargetMissing)
    assert executor.tried == [ForkServerContext, SpawnContext, SpawnContext]
    assert told == []  # for it did not help


class SeenByFreshInterpreters(LocalExecutor):
    """Forks of its template do not see the GPU."""

    def _run(self, *_):
        if isinstance(self._context, ForkServerContext):
            return TargetMissing(message="TensorFlow does not see it", is_device=True)
        return OutOfMemory(evidence="OOM")


@pytest.mark.usefixtures("without_template")
def test_where_a_fresh_interpreter_sees_the_gpu_all_jobs_have_one(tmp_path):
    told = []
    target = Target(folder=str(HERE), model="targets.py:model", device="gpu")
    executor = SeenByFreshInterpreters(target, tmp_path, on_note=told.append)
    for _ in range(2):
        assert executor.run(Inspect(batch_size=8), deadline_seconds=1) == OutOfMemory(
            evidence="OOM"
        )
    assert told == [local.SPAWNING]


def test_a_worker_is_told_how_large_the_smallest_gpu_used_is(tmp_path, monkeypatch):
    """JAX's limit is a share of it; asked for anew, another might be found (MIG, short UUIDs)."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8,GPU-7")
    sizes = {"GPU-7a": 40 << 30, "GPU-8b": 80 << 30, "GPU-9c": 20 << 30}
    found = tuple(
        gpus.Gpu(name="A", total_bytes=size, free_bytes=size, driver="1", uuid=uuid)
        for uuid, size in sizes.items()
    )
    for replicas, share in ((1, "0.125000"), (2, "0.250000")):
        target = Target(
            folder=str(HERE),
            model="targets.py:model",
            backend="jax",
            device="gpu",
            replicas=replicas,
        )
        executor = LocalExecutor(
            target,
            tmp_path,
            start_method="spawn",
            survey_gpus=lambda: gpus.GpuSurvey(gpus=found),
        )
        job = executor.job(Probe(batch_size=8, limit_bytes=10 << 30))
        variables = environment(job, backends.load("jax"), tmp_path / "log")
        assert variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] == share


class OutOfMemoryExecutor(LocalExecutor):
    """Whose workers run out of memory."""

    def _run(self, *_):
        return OutOfMemory(evidence="OOM")


def card(free_gib):
    return gpus.Gpu(
        name="A", total_bytes=80 << 30, free_bytes=free_gib << 30, driver="1", uuid="GPU-7"
    )


AT_FIRST = card(70).free_within(1.0, "tensorflow")  # less than is free


@pytest.mark.parametrize(
    ("limit", "free", "is_taken"),
    [
        (AT_FIRST, (70, 20, 20), True),
        (AT_FIRST, (70, 67, 67), True),  # more than the limit, with what a process takes besides
        (AT_FIRST, (70, 20, 70), False),  # a process that ended just before
        (AT_FIRST, (70, 69), False),
        (95 << 30, (70, 69), False),  # asked for more than there ever was
        (AT_FIRST, (30, 30, 30), True),  # taken since a first start
        (8 << 30, (70, 20), False),
        (None, (70,), False),
    ],
)
def test_where_others_took_the_gpus_memory_nothing_is_said_of_the_size(
    tmp_path, monkeypatch, limit, free, is_taken
):
    monkeypatch.setattr(used_gpus, "RELEASE_SECONDS", 0.0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    surveys = [gpus.GpuSurvey(gpus=(card(gib),)) for gib in free]
    executor = OutOfMemoryExecutor(
        Target(folder=str(HERE), model="targets.py:model", device="gpu"),
        tmp_path,
        start_method="spawn",
        survey_gpus=lambda: surveys.pop(0),
        free_at_first=AT_FIRST,
    )
    task = Benchmark(batch_size=8, seconds=1, limit_bytes=limit)
    outcome = executor.run(task, deadline_seconds=1)
    assert surveys == []
    assert isinstance(outcome, TargetMissing if is_taken else OutOfMemory)
    if is_taken:
        assert outcome.is_device
        assert outcome.message == (
            f"Others took memory of the GPU meanwhile: GPU 0 has {free[1]}.0 GiB free of 80.0 GiB."
        )


@pytest.mark.parametrize(("free", "is_taken"), [((70, 20, 20, 20), True), ((70, 70, 70), False)])
@pytest.mark.parametrize("is_frameworks", [True, False])
def test_a_frameworks_error_may_come_of_memory_that_others_took(
    monkeypatch, free, is_taken, is_frameworks
):
    monkeypatch.setattr(used_gpus, "RELEASE_SECONDS", 0.0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    sizes = iter(free)

    def survey():
        return gpus.GpuSurvey(gpus=(card(next(sizes)),))

    target = Target(folder=str(HERE), model="targets.py:model", device="gpu")
    used = used_gpus.UsedGpus(target, survey, AT_FIRST)
    failed = UserCodeFailed(message="InternalError: no engine", framework_error=is_frameworks)
    found = used.judged(Benchmark(batch_size=8, seconds=1, limit_bytes=AT_FIRST), failed)
    if is_taken and is_frameworks:
        assert isinstance(found, TargetMissing)
        assert found.message.endswith("The worker said: InternalError: no engine")
    else:
        assert found is failed


GPU = gpus.Gpu(name="A", total_bytes=1, free_bytes=1, driver="1", uuid="GPU-7")
ON_GPU = Target(folder=str(HERE), model="targets.py:model", device="gpu")


@pytest.mark.skipif(bool(gpus.usable()), reason="there is a GPU")
def test_a_gpu_that_disappears_is_told(tmp_path):
    told, surveys = [], [gpus.GpuSurvey(gpus=(GPU,)), gpus.GpuSurvey()]
    executor = LocalExecutor(
        ON_GPU,
        tmp_path,
        start_method="spawn",
        on_note=told.append,
        survey_gpus=lambda: surveys.pop(0),
    )
    outcome = executor.run(Inspect(batch_size=8), deadline_seconds=120)
    assert isinstance(outcome, TargetMissing)
    gone = "A GPU is gone: NVIDIA's driver reports GPU-7 no more. The worker said: There is a GPU"
    assert outcome.message.startswith(gone)
    assert "TensorFlow does not see it" in outcome.message
    assert len(list(tmp_path.glob("*-inspect.log"))) == 1
    assert told == []


def test_a_gpu_of_which_the_driver_does_not_answer_is_not_called_gone():
    surveys = [gpus.GpuSurvey(gpus=(GPU,)), gpus.GpuSurvey(answers=False)]
    used = used_gpus.UsedGpus(ON_GPU, lambda: surveys.pop(0), 0)
    unseen = TargetMissing(message="There is a GPU", is_device=True)
    assert used.judged(Inspect(batch_size=8), unseen) is unseen
    assert surveys == []
