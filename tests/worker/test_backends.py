"""The same questions on each of Keras' backends, in real processes; test_targets.py has more."""

import re

import pytest
from asking import ask as ask_and_log
from asking import on_backends

from autobatch.protocol import (
    Fits,
    Inspect,
    OutOfMemory,
    OverBudget,
    Predicted,
    Probe,
)

pytestmark = pytest.mark.usefixtures("on_each_backend")

MIB = 1 << 20


def ask(tmp_path, task, **target):
    return ask_and_log(tmp_path, task, **target)[0]


@on_backends("jax", "torch")  # on TensorFlow, they are nearly affine in it: test_local.py
def test_a_batch_that_fits_is_verified_and_its_peak_grows_with_it(tmp_path):
    target = {"model": "targets.py:wide_model", "data": "targets.py:much_data"}
    peaks = []
    for size in (250, 2000):
        task = Probe(batch_size=size, limit_bytes=1024 * MIB, verify=True, seconds=0)
        found = ask(tmp_path, task, **target)
        assert isinstance(found, Fits), found
        assert found.full_steps >= 10
        assert found.ragged_samples
        assert found.validated
        peaks.append(found.peak_bytes)
    assert peaks[1] - peaks[0] >= 1700 * 8 * 2000  # half of the activations, and more


@on_backends("jax", "torch")  # on TensorFlow, it says so at once: test_deaths.py
def test_a_batch_beyond_the_limit_is_out_of_memory(on_each_backend, tmp_path):
    found = ask(
        tmp_path,
        Probe(batch_size=4096, limit_bytes=40 * MIB),
        model="targets.py:wide_model",
        data="targets.py:much_data",
    )
    if on_each_backend == "jax":  # it is known before it runs
        assert isinstance(found, OverBudget), found
        assert found.peak_bytes > 40 * MIB
    else:
        assert isinstance(found, OutOfMemory), found
        assert any(
            sign in found.evidence for sign in ("allocat", "primitive", "bytes of", "OOM")
        ), found


def test_what_compiles_ahead_of_time_is_predicted_and_then_needs_just_that(
    on_each_backend, tmp_path
):
    target = {"model": "targets.py:wide_model", "data": "targets.py:much_data"}
    task = Probe(batch_size=1000, limit_bytes=1024 * MIB, predict=True, seconds=0)
    told = ask(tmp_path, task, **target)
    if on_each_backend != "jax":  # nothing is known there before it runs
        assert isinstance(told, Fits), told
        return
    assert isinstance(told, Predicted), told
    found = ask(tmp_path, Probe(batch_size=1000, limit_bytes=told.peak_bytes), **target)
    assert isinstance(found, Fits), found
    assert found.peak_bytes == told.peak_bytes
    less = Probe(batch_size=1000, limit_bytes=told.peak_bytes - 1, predict=True)
    assert isinstance(ask(tmp_path, less, **target), OverBudget)


COUNTING = """
import os, sys
import jax, keras

folder = jax.config.jax_compilation_cache_dir
print("programs:", len(os.listdir(folder)) if os.path.exists(folder) else 0, flush=True)
print("its operations:", "jaxlib.mlir.dialects.mhlo" in sys.modules, flush=True)

def model():
    found = keras.Sequential([keras.Input((37,)), keras.layers.Dense(41)])
    found.compile("sgd", "mse")
    return found
"""


@on_backends("jax")  # others compile none before they run
def test_a_small_program_is_compiled_in_the_first_process_alone(tmp_path):
    (tmp_path / "train.py").write_text(COUNTING)
    target = {"folder": tmp_path, "model": "train.py:model", "data": None}
    logs = [ask_and_log(tmp_path, Inspect(batch_size=8), **target)[1] for _ in range(3)]
    told = [re.search(r"programs: (\d+)", log.read_text()) for log in logs]
    before, first, second = (int(each[1]) for each in told)
    assert before < first == second
    # What describes them takes long to import: the template has done so.
    assert all("its operations: True" in log.read_text() for log in logs)
