"""Two replicas on the CPU, as two devices, in real processes; on the backends that have them."""

from pathlib import Path

import pytest
from asking import SHORT_TRIAL, ask, on_backends

from autobatch.protocol import (
    Benchmark,
    Differentiated,
    Fits,
    Gradients,
    Inspect,
    Inspected,
    Measured,
    OutOfMemory,
    OverBudget,
    Probe,
    Trained,
    Trial,
    UserCodeFailed,
)

MIB = 1 << 20

# Keras has no data parallelism in one process on PyTorch.
pytestmark = [pytest.mark.usefixtures("on_each_backend"), on_backends("tensorflow", "jax")]


def on(tmp_path, task, replicas=2, **target):
    return ask(tmp_path, task, replicas=replicas, **target)[0]


def test_a_model_is_inspected_as_on_one_device_but_for_several_steps_at_once(
    on_each_backend, tmp_path
):
    """Which are tried where replicas can be fed."""
    found = on(tmp_path, Inspect(batch_size=8))
    assert isinstance(found, Inspected), found
    alone = on(tmp_path, Inspect(batch_size=8), replicas=1)
    assert (found.parameters, found.metrics) == (alone.parameters, alone.metrics)
    several = found.abilities.executes_several_steps
    assert several == (on_each_backend == "jax")
    task = Benchmark(batch_size=8, seconds=0.2, steps_per_execution=4)
    assert isinstance(on(tmp_path, task), Measured if several else UserCodeFailed)


def test_weights_are_on_as_many_devices(tmp_path):
    """Which a callback of the user's finds, and ends the training where they are not."""
    for replicas, kind in ((2, Fits), (1, UserCodeFailed)):
        found = on(
            tmp_path,
            Probe(batch_size=8, limit_bytes=1024 * MIB, seconds=0),
            replicas=replicas,
            callbacks="targets.py:expect_two_devices",
        )
        assert isinstance(found, kind), found


def test_a_batch_is_what_the_replicas_share(tmp_path):
    target = {"model": "targets.py:wide_model", "data": "targets.py:much_data"}
    peaks = []
    for size in (126, 1000):
        task = Probe(batch_size=size, limit_bytes=1024 * MIB, verify=True, seconds=0)
        found = on(tmp_path, task, **target)
        assert isinstance(found, Fits), found
        assert found.full_steps >= 10
        assert 0 < found.ragged_samples < size
        assert found.validated
        peaks.append(found.peak_bytes)
    # On the CPU all replicas are one memory: both hold their half of the activations at once.
    assert peaks[1] - peaks[0] >= 850 * 8 * 2000


def test_a_batch_beyond_the_limit_of_both_is_out_of_memory(on_each_backend, tmp_path):
    target = {"model": "targets.py:wide_model", "data": "targets.py:much_data"}
    task = Probe(batch_size=4096, limit_bytes=40 * MIB)
    found = on(tmp_path, task, **target)
    assert isinstance(found, OverBudget if on_each_backend == "jax" else OutOfMemory), found


def test_batches_built_by_the_user_that_cannot_be_shared_are_told_as_such(
    on_each_backend, tmp_path
):
    task = Inspect(batch_size=20)  # of 50 samples: the last batch has 10
    target = {"model": "kinds.py:dense", "data": "feeds.py:batched"}
    found = on(tmp_path, task, replicas=4, folder=Path(__file__).parent, **target)
    if on_each_backend == "tensorflow":  # there, parts may differ
        assert isinstance(found, Inspected), found
    else:
        assert isinstance(found, UserCodeFailed), found
        assert "a last batch that 4 replicas cannot share" in found.message
        assert "drop_remainder" in found.hint


def test_it_is_benchmarked(tmp_path):
    found = on(tmp_path, Benchmark(batch_size=8, seconds=0.3))
    assert isinstance(found, Measured), found
    assert found.windows
    assert found.device_windows
    assert found.input_windows


def test_replicas_learn_what_one_device_learns_from_the_same_batches(tmp_path):
    losses = []
    for replicas in (1, 2):
        found = on(tmp_path, SHORT_TRIAL, replicas=replicas)
        assert isinstance(found, Trained), found
        losses.append([each.metrics["val_loss"] for each in found.evaluations])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_batch_normalisation_is_evaluated_among_replicas_too(tmp_path):
    """Its averages are estimated anew for each evaluation, from one whole batch."""
    task = Trial(
        batch_size=32,
        learning_rate=0.01,
        steps=3,
        evaluate_at=(0, 3),
        validation_batch_size=64,
        seed=1,
    )
    target = {"model": "pilots.py:adam_regression", "data": "pilots.py:samples"}
    found = on(tmp_path, task, **target)
    assert isinstance(found, Trained), found
    assert found.evaluations[1].metrics["val_loss"] < found.evaluations[0].metrics["val_loss"]


def test_the_gradient_is_that_of_one_device(tmp_path):
    task = Gradients(
        batch_size=32,
        learning_rate=1e-12,
        measure_at=(1,),
        micro_batch_size=32,
        micro_batches=16,
        training_samples=16384,
        seed=0,
    )
    target = {"model": "pilots.py:regression", "data": "pilots.py:samples"}
    norms = []
    for replicas in (1, 2):
        found = on(tmp_path, task, replicas=replicas, **target)
        assert isinstance(found, Differentiated), found
        norms.append(sum(found.moments[0].squared_norms))
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)
