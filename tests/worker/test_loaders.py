"""A torch DataLoader is trained on as the user's own `fit` would, by as many processes."""

import importlib.util
import math

import msgspec
import pytest
from asking import ask, on_backends
from commands import wait_for_end
from control_groups import small_group
from worker.test_targets import HERE, LIMIT, TRIAL, readers

from autobatch.protocol import (
    Benchmark,
    Extent,
    Fits,
    Inspect,
    Inspected,
    Measured,
    OutOfMemory,
    Probe,
    Trained,
    UserCodeFailed,
)
from autobatch.worker.held import held
from autobatch.worker.loaders import of_loader
from autobatch.worker.source import Look

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None,
        reason="torch is not installed (`make backends` does)",
    ),
    pytest.mark.usefixtures("on_each_backend"),
]

INSPECTION = Inspect(batch_size=20)
SHORT = Probe(batch_size=20, limit_bytes=LIMIT, seconds=0)
BENCHMARK = Benchmark(batch_size=10, seconds=0.2)
SHORT_TRIAL = msgspec.structs.replace(TRIAL, steps=4, evaluate_at=(2, 4))


def ask_loader(tmp_path, task, data):
    target = {"folder": HERE, "model": "kinds.py:dense", "data": f"torch_feeds.py:{data}"}
    found, log = ask(tmp_path, task, **target)
    return found, log.read_text()


@pytest.mark.parametrize(
    ("backend", "data", "task"),
    [
        *(("tensorflow", "by_processes", task) for task in (SHORT, BENCHMARK, SHORT_TRIAL)),
        ("jax", "by_processes", BENCHMARK),  # which trains, and draws without training
        *(("torch", "by_processes", task) for task in (SHORT, BENCHMARK, SHORT_TRIAL)),
        *(("torch", "by_processes_that_persist", t) for t in (SHORT, BENCHMARK, SHORT_TRIAL)),
    ],
    indirect=["backend"],
)
def test_its_processes_draw_the_batches_and_none_of_them_stays(tmp_path, data, task):
    found, log = ask_loader(tmp_path, task, data)
    assert isinstance(found, Fits | Measured | Trained), found
    pids = readers(log)
    assert len(pids) >= 2
    wait_for_end(*pids)


@on_backends("torch")  # the processes are the same on others
def test_its_processes_may_be_spawned(tmp_path):
    found, _ = ask_loader(tmp_path, INSPECTION, "by_spawned_processes")
    assert isinstance(found, Inspected), found


@on_backends("torch")
def test_what_its_processes_hold_is_not_the_training_that_is_limited(tmp_path):
    task = Probe(batch_size=20, limit_bytes=128 << 20)
    found, _ = ask_loader(tmp_path, task, "wasteful_processes")
    assert isinstance(found, Fits), found
    assert found.peak_bytes < 64 << 20


def test_a_process_of_its_own_that_lacks_shared_memory_is_out_of_memory(tmp_path):
    found, _ = ask_loader(tmp_path, BENCHMARK, "readers_that_end")
    assert isinstance(found, OutOfMemory), found
    assert "shared memory" in found.evidence
    assert found.host_memory


def test_so_is_one_that_the_kernel_ends_for_memory(tmp_path, monkeypatch):
    with small_group() as group:
        monkeypatch.setenv("SMALL_GROUP", str(group))
        found, _ = ask_loader(tmp_path, BENCHMARK, "readers_that_end")
    assert isinstance(found, OutOfMemory), found
    assert found.host_memory


def test_a_seed_is_its_order_too(tmp_path):
    one, same = (ask_loader(tmp_path, SHORT_TRIAL, "loaders")[0] for _ in range(2))
    assert one.evaluations == same.evaluations


@on_backends("torch")
def test_one_that_does_not_know_its_size_is_counted(tmp_path):
    found, _ = ask_loader(tmp_path, INSPECTION, "of_unknown_size")
    assert isinstance(found, Inspected), found
    assert (found.train_samples, found.validation_samples) == (50, 20)
    verified, _ = ask_loader(
        tmp_path, msgspec.structs.replace(SHORT, verify=True), "of_unknown_size"
    )
    assert isinstance(verified, Fits), verified
    assert (verified.ragged_samples, verified.validated) == (10, True)


@pytest.mark.parametrize(("size", "steps"), [(20, 2), (24, 2), (26, 1)])
@on_backends("torch")
def test_what_one_drops_is_not_counted_at_any_size(tmp_path, size, steps):
    counted = (Extent(samples=50, is_whole=True),)  # at batch 10
    target = {"folder": HERE, "model": "kinds.py:dense", "data": "torch_feeds.py:without_a_rest"}
    found, _ = ask(tmp_path, msgspec.structs.replace(BENCHMARK, batch_size=size), **target)
    known, _ = ask(
        tmp_path, msgspec.structs.replace(BENCHMARK, batch_size=size), extents=counted, **target
    )
    for each in (found, known):
        assert isinstance(each, Measured), each
        assert (each.steps_per_epoch, each.samples_per_epoch) == (steps, steps * size)


@pytest.mark.parametrize("kind", ["both_without_a_rest", "of_unknown_size_without_a_rest"])
@on_backends("torch")
def test_of_one_that_drops_its_rest_whole_batches_are_validated(tmp_path, kind):
    tasks = [
        msgspec.structs.replace(SHORT_TRIAL, batch_size=10, validation_samples=samples)
        for samples in (10, 15, 20)
    ]
    found = [ask_loader(tmp_path, task, kind)[0].evaluations for task in tasks]
    assert found[0] == found[1] != found[2]


@on_backends("torch")  # NumPy, by which others get them, does not know them
def test_numbers_of_half_the_bits_are_looked_at(tmp_path):
    found, _ = ask_loader(tmp_path, INSPECTION, "of_half_the_bits")
    assert isinstance(found, Inspected), found


@on_backends("torch")
def test_a_loader_alone_has_no_validation_data(tmp_path):
    found, _ = ask_loader(tmp_path, INSPECTION, "one_loader")
    assert isinstance(found, Inspected), found
    assert (found.train_samples, found.validation_samples) == (50, None)
    assert any("there is no validation data" in note for note in found.notes)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("unbatched", "training data has a torch Dataset (TensorDataset) where"),
        ("one_unbatched", "one_unbatched has a torch Dataset (TensorDataset) where"),
        ("in_three_parts", "in_three_parts has a torch Dataset (Subset) where"),
        ("unbatched_stream", "training data has a torch Dataset (Each) where"),
        ("at_their_own_size", "training data comes in batches of a size of its own"),
        ("at_half_the_size", "has batches of 10 samples where batch_size=20 was asked for"),
        ("three_loaders", "returns a tuple of 3 (DataLoader, DataLoader, DataLoader), not (train,"),
        ("named_loaders", "returns a dict of 2 (DataLoader, DataLoader), not (train, validation)"),
        ("with_names", "batches have a str in them, not only tensors"),
        ("too_few", "no batch at batch_size=20"),
        ("changing_width", "inputs of different shapes (one of (5,))"),
    ],
)
@on_backends("torch")  # the data is the same on others
def test_unusable_ones_are_refused_when_they_are_inspected(tmp_path, data, words):
    found, _ = ask_loader(tmp_path, INSPECTION, data)
    assert isinstance(found, UserCodeFailed), found
    assert words in found.message
    if "torch Dataset" in words:
        assert "def load_data(batch_size):" in found.hint
        shuffled = "DataLoader(dataset, batch_size=batch_size, shuffle=True)" in found.hint
        assert shuffled == (data != "unbatched_stream")


@pytest.mark.parametrize("data", ["damaged", "damaged_by_processes"])
def test_an_exception_in_mid_epoch_is_told_in_one_line_with_its_place(tmp_path, data):
    found, _ = ask_loader(tmp_path, BENCHMARK, data)
    assert isinstance(found, UserCodeFailed), found
    assert found.message == "At batch 10: OSError: cannot read record 90"
    assert "torch_feeds.py" in found.traceback
    assert "site-packages" not in found.traceback


@on_backends("tensorflow")
def test_a_part_of_what_is_shuffled_is_the_same_with_a_seed_whatever_was_drawn_before():
    import torch
    from torch_feeds import loaders

    def a_part(seed):
        source = of_loader(loaders(20)[0], 20, "data", Look(5.0), ends=True, fixed_inputs=True)
        torch.rand(3)
        found = held(source.part(30), math.inf, seed=seed)
        passes = [[x.tolist() for x, _ in found.data] for _ in range(2)]
        assert passes[0] == passes[1]
        return passes[0]

    assert a_part(1) == a_part(1) != a_part(2)
