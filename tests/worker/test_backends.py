"""The same questions on Keras' other backends, in real processes; those that are installed."""

import importlib.util

import pytest
from asking import ask

from autobatch.core.noise_scale import noise_scale
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
)

MIB = 1 << 20


@pytest.fixture(params=["torch", "jax"])
def backend(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"not installed: pip install 'keras-autobatch[{request.param}]'")
    return request.param


def on(backend, tmp_path, task, **target):
    return ask(tmp_path, task, backend=backend, **target)[0]


def test_a_model_is_inspected(backend, tmp_path):
    found = on(backend, tmp_path, Inspect(batch_size=8))
    assert isinstance(found, Inspected), found
    assert backend in found.versions
    assert found.metrics == ("val_loss",)


def test_a_batch_that_fits_is_verified_and_its_peak_grows_with_it(backend, tmp_path):
    target = {"model": "targets.py:wide_model", "data": "targets.py:much_data"}
    peaks = []
    for size in (250, 2000):
        task = Probe(batch_size=size, limit_bytes=1024 * MIB, verify=True)
        found = on(backend, tmp_path, task, **target)
        assert isinstance(found, Fits), found
        assert found.full_steps >= 10
        assert found.ragged_samples
        assert found.validated
        peaks.append(found.peak_bytes)
    assert peaks[1] - peaks[0] >= 1700 * 8 * 2000  # half of the activations, and more


def test_a_batch_beyond_the_limit_is_out_of_memory(backend, tmp_path):
    found = on(
        backend,
        tmp_path,
        Probe(batch_size=4096, limit_bytes=40 * MIB),
        model="targets.py:wide_model",
        data="targets.py:much_data",
    )
    if backend == "jax":  # it is known before it runs
        assert isinstance(found, OverBudget), found
        assert found.peak_bytes > 40 * MIB
    else:
        assert isinstance(found, OutOfMemory), found
        assert "allocate memory" in found.evidence or "oneDNN" in found.evidence


def test_it_is_benchmarked(backend, tmp_path):
    found = on(backend, tmp_path, Benchmark(batch_size=8, seconds=0.3))
    assert isinstance(found, Measured), found
    assert found.windows
    assert found.device_windows
    assert found.input_windows


def test_it_is_trained_and_the_same_seed_gives_the_same_losses(backend, tmp_path):
    task = Trial(
        batch_size=8,
        learning_rate=0.02,
        learning_rate_factor=2.0,
        steps=7,
        evaluate_at=(0, 4, 7),
        validation_batch_size=16,
        seed=1,
    )
    first, second = on(backend, tmp_path, task), on(backend, tmp_path, task)
    assert isinstance(first, Trained), first
    assert first.evaluations == second.evaluations
    assert first.evaluations[-1].metrics["val_loss"] < first.evaluations[0].metrics["val_loss"]


def test_the_noise_scale_is_that_of_the_formula(backend, tmp_path):
    """science T3, as on TensorFlow: 4.2058."""
    task = Gradients(
        batch_size=32,
        learning_rate=None,
        learning_rate_factor=1.0,
        measure_at=(1,),
        micro_batch_size=32,
        micro_batches=512,
        training_samples=16384,
        seed=0,
    )
    target = {"model": "pilots.py:regression", "data": "pilots.py:samples"}
    found = on(backend, tmp_path, task, **target)
    assert isinstance(found, Differentiated), found
    assert noise_scale(found.moments[0]).value == pytest.approx(4.2058, rel=0.05)
