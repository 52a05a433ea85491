"""What a run may take of the GPUs that are there."""

from functools import partial

import msgspec
import pytest
from pretend import TARGET

from autobatch import budget
from autobatch.engine.gpus import Gpu, GpuProcess, GpuSurvey
from autobatch.engine.record import Record
from autobatch.errors import UsageError
from autobatch.opening import open_run
from autobatch.protocol import Note
from autobatch.recipe import make_recipe

GIB = 1 << 30
CONTEXT, LEFT = 600 << 20, 1800 << 20  # for CUDA, and for its libraries
ON_GPU = msgspec.structs.replace(TARGET, device="gpu")


def gpu(free, index=0, **more):
    return Gpu(
        name="A", total_bytes=80 * GIB, free_bytes=int(free * GIB), driver="1", index=index, **more
    )


def test_the_fullest_of_the_gpus_that_are_used_decides():
    found = [gpu(70), gpu(60), gpu(50)]
    on_torch = msgspec.structs.replace(ON_GPU, backend="torch")
    assert budget.free_of(found, on_torch) == 70 * GIB - CONTEXT
    on_two = msgspec.structs.replace(on_torch, replicas=2)
    assert budget.free_of(found, on_two) == 60 * GIB - CONTEXT


@pytest.mark.parametrize(
    ("free", "capability", "left"),
    [
        *((70, None, 1800), (70, 12, 1800), (70, 9, 1800)),
        *((70, 8, 1536), (70, 7, 1050), (70, 6, 500)),
        *((1.5, 8, 225), (2.5, 8, 225)),  # of which the context leaves less than 2 GiB
    ],
)
def test_tensorflow_leaves_of_a_gpu_what_it_would_without_a_limit(free, capability, left):
    found = [gpu(free, capability=capability)]
    assert budget.free_of(found, ON_GPU) == free * GIB - CONTEXT - left * (1 << 20)


def test_where_gpus_differ_it_is_told_that_another_may_have_been_looked_at():
    other = msgspec.structs.replace(gpu(4, index=1), name="B")

    def surveyed(*found):
        return lambda: GpuSurvey(gpus=found)

    found = surveyed(gpu(70), other)
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in budget.of_unlike_gpus(ON_GPU, found, {})
    for environ in ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, {"CUDA_VISIBLE_DEVICES": "GPU-1a"}):
        assert budget.of_unlike_gpus(ON_GPU, found, environ) is None
    assert budget.of_unlike_gpus(ON_GPU, found, {"CUDA_VISIBLE_DEVICES": "1,-1"}) is not None
    assert budget.of_unlike_gpus(ON_GPU, surveyed(gpu(70), gpu(60)), {}) is None
    assert budget.of_unlike_gpus(TARGET, found, {}) is None


def test_fewer_gpus_than_replicas_are_refused_with_what_to_do():
    with pytest.raises(UsageError, match="replicas is 2, and GPUs that can be used: 1") as refused:
        budget.free_of([gpu(70)], msgspec.structs.replace(ON_GPU, replicas=2))
    assert "device.replicas=1" in refused.value.hint
    with pytest.raises(UsageError, match="reports no GPU"):
        budget.free_of([], ON_GPU)


def test_a_full_gpu_is_refused_with_who_holds_it():
    holder = GpuProcess(pid=7, command="python other.py", held_bytes=79 * GIB)
    with pytest.raises(UsageError) as refused:
        budget.free_of([gpu(0.5, processes=(holder,))], ON_GPU)
    assert (
        "GPU 0 has 512.0 MiB free of 80.0 GiB; held by python other.py (pid 7, 79.0 GiB)."
        in str(refused.value)
    )


@pytest.mark.parametrize(
    ("variable", "share"),
    [(None, 0.75), ("XLA_CLIENT_MEM_FRACTION", 0.5), ("XLA_PYTHON_CLIENT_MEM_FRACTION", 0.5)],
)
def test_jax_takes_no_more_of_a_gpu_than_in_the_users_training(monkeypatch, variable, share):
    for name in budget.SHARES_OF_JAX:
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "0.5")
    on_jax = msgspec.structs.replace(ON_GPU, backend="jax")
    assert budget.free_of([gpu(79)], on_jax) == share * 80 * GIB


def test_of_unlike_gpus_the_one_that_can_give_least_decides(monkeypatch):
    for name in budget.SHARES_OF_JAX:
        monkeypatch.delenv(name, raising=False)
    on_two = msgspec.structs.replace(ON_GPU, backend="jax", replicas=2)
    small = msgspec.structs.replace(gpu(40, index=1), total_bytes=40 * GIB)
    assert budget.free_of([gpu(39), small], on_two) == 30 * GIB


def test_jax_is_left_as_much_room_as_tensorflow(monkeypatch):
    for name in budget.SHARES_OF_JAX:
        monkeypatch.delenv(name, raising=False)
    on_jax = msgspec.structs.replace(ON_GPU, backend="jax")
    assert budget.free_of([gpu(20)], on_jax) == 20 * GIB - CONTEXT - LEFT


def test_a_share_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("XLA_CLIENT_MEM_FRACTION", "most")
    with pytest.raises(UsageError, match="XLA_CLIENT_MEM_FRACTION=most, which is not a number"):
        budget.free_of([gpu(79)], msgspec.structs.replace(ON_GPU, backend="jax"))


def test_a_gpu_that_no_driver_tells_of_is_not_passed_over_in_silence():
    auto, asked = (make_recipe({"model": "m.py:m", "device": {"kind": k}}) for k in ("auto", "cpu"))
    gone = GpuSurvey(problems=("NVIDIA's driver does not answer: lost.",), answers=False)
    silent = GpuSurvey()
    for found, words in (
        (gone, "There is a GPU, but NVIDIA's driver does not answer: lost: the CPU is used"),
        (silent, "There is a GPU, but no driver of NVIDIA's answers: the CPU is used"),
    ):
        survey = partial(budget.gpu_left_idle, survey=lambda found=found: found)
        assert survey(TARGET, auto, cards=lambda: 1).startswith(words)
        assert survey(TARGET, auto, cards=lambda: 0) is None
        assert survey(TARGET, asked, cards=lambda: 1) is None


def test_a_gpu_that_the_environment_leaves_alone_is_not_passed_over_in_silence(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    on_jax, auto = msgspec.structs.replace(TARGET, backend="jax"), make_recipe({"model": "m.py:m"})
    told = budget.gpu_left_idle(on_jax, auto, survey=lambda: GpuSurvey(gpus=(gpu(70),)))
    assert told.startswith("There is a GPU, but the environment has JAX_PLATFORMS=cpu: the CPU is")


def test_replicas_made_of_the_cpu_are_told_unless_they_were_asked_for():
    shared = msgspec.structs.replace(TARGET, replicas=4)
    auto = make_recipe({"model": "train.py:build_model"})
    assert "4 replicas are devices made of the CPU" in budget.made_of_the_cpu(shared, auto)
    assert budget.made_of_the_cpu(TARGET, auto) is None
    asked = make_recipe({"model": "train.py:build_model"}, ["device.kind=cpu"])
    assert budget.made_of_the_cpu(shared, asked) is None


@pytest.mark.parametrize(
    ("written", "limit"), [("50%", 5000), ("2KiB", 2048), (None, 10_000), ("20KiB", 10_000)]
)
def test_a_limit_is_a_size_or_a_share_of_what_is_free_and_no_more(written, limit):
    asked = [f"device.memory_limit={written}"] if written else []
    recipe = make_recipe({"model": "train.py:build_model"}, asked)
    assert budget.limit_bytes(recipe, 10_000) == limit
    told = budget.more_than_free(recipe, 10_000)
    assert (told is not None) == (written == "20KiB")
    assert told is None or told.endswith("9.8 KiB were free at the first start: that is the limit.")


@pytest.mark.parametrize(
    ("written", "now", "is_told"),
    [
        (None, 130 * GIB, True),
        (None, 70 * GIB, True),
        ("50%", 70 * GIB, True),
        (None, 120 * GIB, False),
        (None, 80 * GIB, False),
        ("8GiB", 10 * GIB, False),
        ("120GiB", 130 * GIB, True),
    ],
)
def test_a_limit_of_a_start_when_much_more_or_less_was_free_is_told(written, now, is_told):
    asked = [f"device.memory_limit={written}"] if written else []
    recipe = make_recipe({"model": "train.py:build_model"}, asked)
    told = budget.other_than_then(recipe, 100 * GIB, now)
    assert (told is not None) == is_told
    assert told is None or told.startswith("The limit is that of the first start: 100.0 GiB were ")


def test_a_run_goes_on_with_the_limit_of_its_first_start_and_says_what_has_changed(tmp_path):
    with Record(tmp_path, TARGET, free_bytes=1 << 20, version="0"):
        pass
    recipe, events = make_recipe({"model": "train.py:build_model"}), []
    with open_run(recipe, TARGET, tmp_path, events.append, lambda: False) as opened:
        assert opened.limit_bytes == 1 << 20
        assert opened.more_is_free
    (told,) = [event.text for event in events if isinstance(event, Note)]
    assert "1.0 MiB were free then" in told
    assert told.endswith("are now. --fresh measures anew.")
