"""Targets of every kind, each inspected, verified, benchmarked and tried in real processes."""

import importlib.util
import re
from pathlib import Path
from typing import get_args

import keras
import msgspec
import numpy as np
import pytest
from asking import BACKENDS, ask, on_backends
from commands import wait_for_end
from kinds import rows

from autobatch.core import diagnosis, throughput
from autobatch.protocol import (
    Benchmark,
    DataKind,
    Differentiated,
    Fits,
    Gradients,
    Inspect,
    Inspected,
    Measured,
    OutOfMemory,
    Probe,
    Ranged,
    RangeTest,
    Trained,
    Trial,
    UserCodeFailed,
    changed,
)

pytestmark = pytest.mark.usefixtures("on_each_backend")

HERE = Path(__file__).parent
LIMIT = 1 << 30
TRIAL = Trial(
    batch_size=20,
    learning_rate=0.02,
    steps=7,
    evaluate_at=(0, 4, 7),
    validation_batch_size=20,
    seed=1,
)
KINDS = {
    "sequential": ("dense", "arrays"),
    "several inputs and outputs": ("two_in_two_out", "two_in_two_out_data"),
    "dicts and sample weights": ("dict_inputs", "dict_data"),
    "dataset whose first input is not batched": ("anchored", "anchored_data"),
    "unbatched dataset": ("dense", "feeds.py:unbatched"),
    "dataset of unknown size": ("dense", "feeds.py:of_unknown_size"),
    "dataset built for the size": ("dense", "feeds.py:batched"),
    "generator": ("dense", "feeds.py:generators"),
    "ragged tensors": ("ragged_reader", "ragged_text"),
    "dataset of texts of any length": ("text_model", "unpadded_text"),
    "PyDataset that pads": ("text_model", "padded_text"),
    "torch DataLoader": ("dense", "torch_feeds.py:loaders"),
    "torch DataLoader that pads": ("text_model", "torch_feeds.py:padded_texts"),
}

CALLS = {
    "sequential": "model.fit(x, y, batch_size={size})",
    "dicts and sample weights": "model.fit(x, y, sample_weight=sample_weight, batch_size={size})",
    "unbatched dataset": "model.fit(train.batch({size}))",
    "dataset of texts of any length": "model.fit(train.padded_batch({size}))",
    "dataset built for the size": "train, validation = batched(batch_size={size})\n"
    "model.fit(train)",
    "PyDataset that pads": "train, validation = padded_text(batch_size={size})\nmodel.fit(train)",
    "torch DataLoader": "train, validation = loaders(batch_size={size})\nmodel.fit(train)",
}
ON_EACH = (  # how the others are read, no backend decides
    "sequential",
    "several inputs and outputs",
    "unbatched dataset",
    "generator",
    "PyDataset that pads",
    "torch DataLoader",
)


def each_kind(on_tensorflow=tuple(KINDS), on_each=ON_EACH):
    """A mark of tests of those kinds on TensorFlow, and of those `on_each` on the others."""
    return pytest.mark.parametrize(
        ("backend", "kind"),
        [
            (backend, kind)
            for kind in KINDS
            for backend in BACKENDS
            if kind in (on_tensorflow if backend == "tensorflow" else on_each)
        ],
        indirect=["backend"],
    )


VARIED = (  # in the samples' length
    "ragged tensors",
    "dataset of texts of any length",
    "PyDataset that pads",
    "torch DataLoader that pads",
)


def ask_kind(tmp_path, task, model, data=None, **target):
    if data and data.startswith("torch_feeds.py") and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed (`make backends` does)")
    target["model"] = f"kinds.py:{model}"
    target["data"] = data if data is None or ":" in data else f"kinds.py:{data}"
    return ask(tmp_path, task, folder=HERE, **target)[0]


@each_kind()
def test_every_kind_is_inspected_and_tried_and_what_is_known_of_it_changes_no_trial(
    on_each_backend, tmp_path, kind
):
    found = ask_kind(tmp_path, Inspect(batch_size=15), *KINDS[kind])
    assert isinstance(found, Inspected), found
    assert (found.train_samples, found.validation_samples) == (50, 20)
    assert [each.samples for each in found.extents] == [50, 20]
    assert "val_loss" in found.metrics
    assert found.fit_call == CALLS.get(kind, found.fit_call)
    assert found.validation_is_batched == ("(batch_size={size})\n" in found.fit_call)
    named = [each for each in get_args(DataKind) if each in kind]
    assert [found.data_kind] == (named or ["arrays"])
    if kind == "sequential":
        assert on_each_backend in found.versions
        assert found.metrics == ("val_loss",)
        assert found.abilities.predicts_memory == (on_each_backend == "jax")
        assert found.abilities.executes_several_steps == (on_each_backend != "torch")
        assert not found.abilities.compiles_anew  # there is no GPU here
    varies = [note for note in found.notes if "vary in length" in note]
    assert bool(varies) == (kind in VARIED)
    assert all("probes use the l" in note for note in varies)
    plain = ask_kind(tmp_path, TRIAL, *KINDS[kind])
    assert isinstance(plain, Trained), plain
    assert [evaluation.step for evaluation in plain.evaluations] == [0, 4, 7]
    assert plain.evaluations[0].metrics["val_loss"] != plain.evaluations[2].metrics["val_loss"]
    # Of arrays it is all there, with nothing to look for.
    if on_each_backend == "tensorflow" and (found.data_kind != "arrays" or kind == "sequential"):
        informed = ask_kind(tmp_path, TRIAL, *KINDS[kind], extents=found.extents)
        assert isinstance(informed, Trained), informed
        assert informed.evaluations == plain.evaluations


@each_kind(
    on_tensorflow=[each for each in KINDS if each != "several inputs and outputs"],  # as of dicts
    on_each=[each for each in ON_EACH if each not in ("unbatched dataset", "generator")],
)
def test_every_kind_is_verified_with_its_ragged_batch_and_validation(tmp_path, kind):
    seconds = float(kind == "sequential")  # that one over many steps, the others over ten
    task = Probe(batch_size=20, limit_bytes=LIMIT, verify=True, seconds=seconds)
    found = ask_kind(tmp_path, task, *KINDS[kind])
    assert isinstance(found, Fits), found
    assert found.full_steps >= 10
    if kind == "sequential":  # of some kilobytes: what we import is not the user's memory
        assert found.peak_bytes <= 32 << 20
    full = 2 + (kind in VARIED)  # of an epoch: 20, 20, 10, and the longest samples before them
    assert (found.steps, found.ragged_samples) == (found.full_steps * (full + 1) // full, 10)
    assert found.validated
    assert found.least_peak_bytes <= found.peak_bytes
    assert (found.leak_bytes_per_step, found.host_leak_bytes_per_step) == (0, 0)


@on_backends("tensorflow")  # Keras trains on no texts on others
def test_texts_in_arrays_are_trained_on_where_keras_does(tmp_path):
    kind = ("wordy", "words_in_arrays")
    found, again = (ask_kind(tmp_path, Inspect(batch_size=15), *kind) for _ in range(2))
    assert isinstance(found, Inspected), found
    assert (found.train_samples, found.validation_samples) == (50, 20)
    assert found.data_fingerprint == again.data_fingerprint
    assert "Samples vary in length (1 to 5): probes use the longest of all 50." in found.notes
    verified = ask_kind(
        tmp_path, Probe(batch_size=20, limit_bytes=LIMIT, verify=True, seconds=0), *kind
    )
    assert isinstance(verified, Fits) and verified.validated, verified
    tried = ask_kind(tmp_path, msgspec.structs.replace(TRIAL, validation_samples=8), *kind)
    assert isinstance(tried, Trained), tried
    refused = ask_kind(tmp_path, Inspect(batch_size=15), "wordy", "words_of_another_type")
    assert isinstance(refused, UserCodeFailed), refused
    assert "dtype <U5 and shape (50,), which Keras does not train on" in refused.message
    assert "dtype=object" in refused.hint


@pytest.mark.parametrize(
    ("data", "verify", "within"),
    [
        ("arrays", False, (0, 1)),
        ("many_arrays", False, (79, 100)),
        ("many_arrays", True, (79, 100)),
        ("many_in_halves", True, (79, 100)),
    ],
)
@on_backends("tensorflow")  # on others, arrays stay where they are
def test_all_of_the_data_is_in_the_memory_that_a_cpu_trains_in(tmp_path, data, verify, within):
    """`fit` copies arrays whole, also where a probe needs but a part of them."""
    task = Probe(batch_size=20, limit_bytes=LIMIT, verify=verify, seconds=0)
    found = ask_kind(tmp_path, task, "dense", data)
    least, most = within  # MiB
    assert least << 20 < found.peak_bytes < most << 20
    assert found.leak_bytes_per_step == 0


@on_backends("tensorflow")  # on the CPU, no allocator of others counts what is held
def test_a_model_that_keeps_tensors_from_step_to_step_is_seen_to_leak(tmp_path):
    found = ask_kind(
        tmp_path, Probe(batch_size=20, limit_bytes=LIMIT, verify=True), "keeper", "arrays"
    )
    assert isinstance(found, Fits), found
    # Of two batches of 20 and one of 10, and of the 20 that each epoch validates on.
    assert found.leak_bytes_per_step == pytest.approx(70 * 1000 * 4 / 3, rel=0.1)
    assert found.full_steps >= 40  # where others have ten: it is not called one by chance
    assert found.host_leak_bytes_per_step == 0  # the allocator has it all


@pytest.mark.parametrize("kept", ["keeps_arrays", "keeps_the_last_arrays"])
@on_backends("tensorflow", "jax")  # PyTorch's memory on a CPU is the machine's
def test_arrays_of_numpy_that_are_kept_for_ever_are_seen_to_leak(tmp_path, kept):
    task = Probe(batch_size=20, limit_bytes=LIMIT, verify=True)
    found = ask_kind(tmp_path, task, "dense", "arrays", callbacks=f"kinds.py:{kept}")
    assert isinstance(found, Fits), found
    assert found.leak_bytes_per_step == 0
    assert (found.host_leak_bytes_per_step > 0) == (kept == "keeps_arrays")
    if kept == "keeps_arrays":
        assert 90_000 <= found.host_leak_bytes_per_step <= 110_000  # also where one was ragged
        assert found.full_steps >= 40


@pytest.mark.parametrize("size", [5, 20])
@on_backends("tensorflow")  # PyTorch has no such executions, JAX counts no memory
def test_several_steps_at_once_leak_no_more_for_each(tmp_path, size):
    """An epoch of ten has them in two executions; one of two and a smaller one, in one."""
    task = Probe(batch_size=size, limit_bytes=LIMIT, verify=True, seconds=60)
    found = ask_kind(tmp_path, task, "keeper_of_several", "arrays")
    assert isinstance(found, Fits), found
    assert size * 1000 * 4 / 2 <= found.leak_bytes_per_step <= size * 1000 * 4 * 2
    assert found.least_peak_bytes < found.peak_bytes


@on_backends("tensorflow", "torch")  # on JAX, test_step takes other things
def test_the_smaller_last_batch_of_a_long_validation_is_verified_too(tmp_path):
    task = Probe(batch_size=5, limit_bytes=LIMIT, verify=True)
    found = ask_kind(tmp_path, task, "not_of_three", "many_to_validate")
    assert isinstance(found, UserCodeFailed), found
    assert "three are too few" in found.message


@pytest.mark.parametrize("task", [Inspect(batch_size=20), Probe(batch_size=20, limit_bytes=LIMIT)])
@on_backends("jax")  # on others, memory is counted as it runs
def test_on_jax_steps_that_are_not_compiled_are_refused_where_nothing_counts(tmp_path, task):
    found = ask_kind(tmp_path, task, "keeper", "arrays")
    assert isinstance(found, UserCodeFailed), found
    assert "Nothing counts the memory of steps that are not compiled" in found.message


@pytest.mark.parametrize(
    ("backend", "size"),
    [("tensorflow", 10), ("tensorflow", 25), ("jax", 10)],  # epochs of five batches, and of two
    indirect=["backend"],
)
def test_a_pipeline_that_sleeps_is_slow_alone_and_the_device_is_not(tmp_path, size):
    found = ask_kind(tmp_path, Benchmark(batch_size=size, seconds=1), "dense", "feeds.py:sleeping")
    point = throughput.benchmark_point(size, [found])
    # The second of two begins to be drawn a moment before the first is handed over.
    assert point.input_samples_per_second < (1 if size == 10 else 1.1) / 0.01
    assert point.samples_per_second < 1 / 0.01
    assert point.device_samples_per_second > 2 * point.samples_per_second
    bound = diagnosis.diagnosed([point], None)[0]
    assert bound.bound_by == "input_pipeline"


@on_backends("tensorflow")
def test_epochs_that_start_unevenly_are_measured_until_that_is_known(tmp_path):
    found = ask_kind(
        tmp_path,
        Benchmark(batch_size=10, seconds=1),
        *("dense", "feeds.py:short_epochs"),
        callbacks="kinds.py:starts_unevenly",
    )
    assert not found.whole_epochs
    starts = found.epoch_overhead_seconds
    # It went on, however few of them a slow machine has by then: in a second it is over at 0.9.
    assert sum(window.seconds for window in found.windows) + sum(starts) > 1.5
    assert {start > 0.3 for start in starts} == {True, False}
    assert throughput.delivered(found).value < 50 / (0.2 + 0.3 * 0.4)


@pytest.mark.parametrize("task", [Benchmark(batch_size=10, seconds=0.2), TRIAL])
@on_backends("jax", "torch")  # on TensorFlow, Keras never does
def test_keras_may_leave_the_logs_of_steps_to_a_thread(tmp_path, task):
    found = ask_kind(tmp_path, task, "dense", "arrays", callbacks="kinds.py:in_a_thread")
    assert isinstance(found, (Measured, Trained)), found


@on_backends("tensorflow", "jax")  # PyTorch traces nothing
def test_what_tracing_for_a_shape_takes_is_no_training(tmp_path):
    task = changed(TRIAL, steps=6, evaluate_at=(0, 6))
    found = ask_kind(tmp_path, task, "slow_to_trace", "arrays")  # batches of 20, 20 and 10
    assert isinstance(found, Trained), found
    assert found.train_seconds < 2


BENCHMARKED_AS_OTHERS = (
    "several inputs and outputs",
    "unbatched dataset",  # as the pipeline above that sleeps
    "dataset built for the size",
    "torch DataLoader that pads",
)


@each_kind(
    on_tensorflow=[each for each in KINDS if each not in BENCHMARKED_AS_OTHERS],
    on_each=["sequential", "several inputs and outputs"],
)
def test_every_kind_is_benchmarked(tmp_path, kind):
    found = ask_kind(tmp_path, Benchmark(batch_size=20, seconds=0.2), *KINDS[kind])
    assert isinstance(found, Measured), found
    assert (found.steps_per_epoch, found.samples_per_epoch) == (3, 50)
    steps = sum(window.steps for window in found.windows if not window.steps % 3)
    samples = sum(window.samples for window in found.windows if not window.steps % 3)
    assert samples == pytest.approx(steps * 50 / 3) or not found.whole_epochs
    assert found.epoch_overhead_seconds
    assert found.windows
    assert found.device_windows
    assert found.input_windows


def test_what_holds_training_back_is_measured_in_one_process_of_a_size(tmp_path):
    found = ask_kind(tmp_path, Benchmark(batch_size=20, seconds=0.2, repeat=1), "dense", "arrays")
    assert isinstance(found, Measured), found
    assert found.windows
    assert (found.input_windows, found.device_windows) == ((), ())


def test_where_no_epoch_begins_each_process_sees_how_the_pipeline_does(tmp_path):
    task = Benchmark(batch_size=10, seconds=0.1, repeat=1)
    found = ask_kind(tmp_path, task, "dense", "many_arrays")
    assert isinstance(found, Measured), found
    assert (found.whole_epochs, found.epoch_overhead_seconds) == (False, ())
    assert found.input_start_seconds


@pytest.mark.parametrize("kind", ["sequential", "unbatched dataset", "ragged tensors"])
@on_backends("tensorflow")
def test_a_trial_is_validated_on_as_many_samples_as_are_asked(tmp_path, kind):
    def trained(samples):
        task = msgspec.structs.replace(TRIAL, validation_samples=samples)
        return ask_kind(tmp_path, task, *KINDS[kind])

    whole, few = trained(None), trained(10)
    assert [each.step for each in few.evaluations] == [0, 4, 7]
    assert few.evaluations[0] != whole.evaluations[0]


@pytest.mark.parametrize("data", ["batched", "pydatasets"])
@on_backends("tensorflow")
def test_batches_of_any_size_are_validated_on_the_same_samples(tmp_path, data):
    """The first 12: of one batch, or of two of 5 and the beginning of a third."""

    def untrained(size):
        task = msgspec.structs.replace(
            TRIAL, batch_size=size, steps=1, evaluate_at=(0,), validation_samples=12
        )
        found = ask_kind(tmp_path, task, "dense", f"feeds.py:{data}")
        return found.evaluations[0].metrics["val_loss"]

    assert untrained(5) == pytest.approx(untrained(20), rel=1e-5)


@pytest.mark.parametrize("data", ["batched", "pydatasets", "generators"])
@on_backends("tensorflow")
def test_a_loss_of_whole_batches_is_validated_on_batches_of_one_size(tmp_path, data):
    def untrained(size, validated):
        at = {"batch_size": size, "steps": 1, "evaluate_at": (0,)}
        task = msgspec.structs.replace(TRIAL, **at, built_validation_size=validated)
        return ask_kind(tmp_path, task, "summing", f"feeds.py:{data}").evaluations[0].metrics

    own = untrained(10, 10)["val_loss"]
    if data == "batched":
        assert untrained(5, None)["val_loss"] < 0.6 * own
    for size in (5, 50):  # of 20 samples
        assert untrained(size, 10)["val_loss"] == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize("kind", VARIED)
@on_backends("tensorflow")
def test_of_variable_lengths_the_longest_are_probed(tmp_path, kind):
    fits = ask_kind(tmp_path, Probe(batch_size=20, limit_bytes=LIMIT, seconds=0), *KINDS[kind])
    assert fits.full_steps == fits.steps >= 3  # nothing but the one batch, over and over


@on_backends("tensorflow")  # the data is the same on others
def test_a_batch_may_be_larger_than_the_longest_samples_are_looked_for_among(tmp_path):
    task = Probe(batch_size=30, limit_bytes=LIMIT, seconds=0)
    found = ask_kind(tmp_path, task, "text_model", "feeds.py:many_texts")
    assert isinstance(found, Fits), found


@pytest.mark.parametrize(
    ("backend", "data"),
    [*((each, "arrays") for each in BACKENDS), ("tensorflow", "feeds.py:unbatched")],
    indirect=["backend"],
)
def test_a_model_that_takes_few_samples_is_inspected_at_a_size_it_does_not_take(tmp_path, data):
    found = ask_kind(tmp_path, Inspect(batch_size=20), "takes_few", data)
    assert isinstance(found, Inspected), found
    failed = ask_kind(
        tmp_path, Probe(batch_size=20, limit_bytes=LIMIT, seconds=0), "takes_few", data
    )
    assert isinstance(failed, UserCodeFailed), failed
    assert "at most 15 samples" in failed.message


@pytest.mark.parametrize(
    ("backend", "data"),
    [
        *((each, "arrays") for each in BACKENDS),
        *(("tensorflow", each) for each in ("feeds.py:unbatched", None)),
    ],
    indirect=["backend"],
)
def test_a_model_that_takes_no_few_samples_is_inspected_with_the_users_size(tmp_path, data):
    found = ask_kind(tmp_path, Inspect(batch_size=32), "ghost_normed", data)
    assert isinstance(found, Inspected), found
    assert found.metrics == ("val_loss", "val_mean_metric_wrapper")  # as in a trial, not the second
    failed = ask_kind(tmp_path, Inspect(batch_size=20), "ghost_normed", data)
    assert isinstance(failed, UserCodeFailed), failed
    assert failed.message.endswith("\nThis is with 20 samples; with 8 it failed, too.")


# A verification begins with what a probe has alone, which of other kinds is tested above.
PROBED_ALONE = ("seldom_long_batches", "seldom_long_in_arrays")


@pytest.mark.parametrize(
    ("backend", "model", "data"),
    [  # not on PyTorch, where more than that varies from process to process
        ("tensorflow", "ragged_reader", "seldom_long_ragged"),
        ("tensorflow", "text_model", "seldom_long_unpadded"),
        ("tensorflow", "text_model", "seldom_long_batches"),
        ("tensorflow", "text_model", "seldom_long_padded"),
        ("jax", "text_model", "seldom_long_padded"),
        ("tensorflow", "wordy_of_any_length", "seldom_long_in_arrays"),
        ("tensorflow", "wordy_of_any_length", "seldom_long_in_a_dataset"),
        ("tensorflow", "wordy_of_any_length", "seldom_long_in_batches"),
    ],
    indirect=["backend"],
)
def test_a_long_sample_is_met_wherever_in_the_epoch_it_is(tmp_path, model, data):
    for verify in (False, True) if data in PROBED_ALONE else (True,):
        task = Probe(batch_size=4, limit_bytes=LIMIT, verify=verify, seconds=0)
        found = ask_kind(tmp_path, task, model, data)
        assert isinstance(found, Fits), found
        assert found.peak_bytes > 4 * 20_000 * 3 * 4  # what its embedding takes, in float32


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("dense", "validated_at_its_own_size"),
        ("text_model", "validated_by_python_at_its_own_size"),
    ],
)
@on_backends("tensorflow")  # the data is the same on others
def test_validation_may_come_in_batches_of_a_size_of_its_own(tmp_path, model, data):
    tasks = (
        Inspect(batch_size=20),
        Probe(batch_size=20, limit_bytes=LIMIT, verify=True, seconds=0),
        TRIAL,
    )
    inspected, fits, trained = (ask_kind(tmp_path, t, model, f"feeds.py:{data}") for t in tasks)
    assert (inspected.train_samples, inspected.validation_samples) == (50, 20)
    assert fits.validated
    assert isinstance(trained, Trained), trained


@on_backends("tensorflow")  # the data is the same on others
def test_a_long_sample_of_the_validation_is_met_too(tmp_path):
    task = Probe(batch_size=4, limit_bytes=LIMIT, verify=True, seconds=0)
    found = ask_kind(tmp_path, task, "text_model", "seldom_long_for_validation")
    assert isinstance(found, Fits), found
    assert found.peak_bytes > 4 * 20_000 * 3 * 4


@on_backends("tensorflow", "jax")  # PyTorch's allocator on the CPU counts nothing
def test_what_an_optimizer_keeps_is_in_the_peak(tmp_path):
    """Adam has two numbers for each weight, which SGD has not."""
    task = Probe(batch_size=20, limit_bytes=LIMIT)

    def peak_bytes(optimizer):
        found = [
            ask_kind(tmp_path, task, "wide", "arrays", args={"optimizer": optimizer})
            for _ in range(2)
        ]
        return min(each.peak_bytes for each in found)  # luck decides what overlaps, and only adds

    peaks = [peak_bytes(each) for each in ("sgd", "adam")]
    weights = (4 + 1) * 4 << 20  # of 4 inputs and a bias, in float32
    assert 2 * weights <= peaks[1] - peaks[0] < 4 * weights


@on_backends("tensorflow")  # on the CPU, no allocator of others limits it
def test_memory_that_only_validation_needs_is_found_by_verifying(tmp_path):
    for verify, kind in ((False, Fits), (True, OutOfMemory)):
        task = Probe(batch_size=20, limit_bytes=64 << 20, verify=verify, seconds=0)
        found = ask_kind(tmp_path, task, "heavy_to_test", "arrays")
        assert isinstance(found, kind), found


@on_backends("tensorflow")  # with which its step is written
def test_a_gan_is_probed_and_benchmarked_and_cannot_be_evaluated(tmp_path):
    found = ask_kind(tmp_path, Inspect(batch_size=20), "gan", "only_x")
    assert (found.optimizer, found.learning_rate, found.metrics) == ("Adam, Adam", 3e-4, ())
    assert found.optimizer_names == ("d_optimizer", "g_optimizer")
    assert "cannot be evaluated" in " ".join(found.notes)
    fits = ask_kind(
        tmp_path, Probe(batch_size=15, limit_bytes=LIMIT, verify=True, seconds=0), "gan", "only_x"
    )
    assert (fits.full_steps >= 6, fits.ragged_samples, fits.validated) == (True, 10, False)
    measured = ask_kind(tmp_path, Benchmark(batch_size=20, seconds=0.2), "gan", "only_x")
    assert measured.device_windows


@on_backends("jax", "torch")  # on TensorFlow it works
def test_a_step_written_for_tensorflow_is_told_as_such_on_another_backend(
    on_each_backend, tmp_path
):
    found = ask_kind(tmp_path, Probe(batch_size=20, limit_bytes=LIMIT, seconds=0), "gan", "only_x")
    assert isinstance(found, UserCodeFailed), found
    assert f"Your code imports tensorflow, and the backend is {on_each_backend}" in found.hint
    assert "--set backend=tensorflow" in found.hint


@on_backends("tensorflow", "jax")  # Keras 3.15 trains none on PyTorch
def test_a_stateful_rnn_is_given_whole_batches_alone(tmp_path):
    target = ("stateful_rnn", "sequences")
    found = ask_kind(tmp_path, Inspect(batch_size=20), *target)
    assert any("samples stay in order (shuffle=False)" in note for note in found.notes), found.notes
    assert found.fit_call == "model.fit(x, y, batch_size={size}, shuffle=False)"
    assert (found.train_samples, found.validation_samples) == (50, 20)
    assert "fixed" in " ".join(found.notes)
    fits = ask_kind(
        tmp_path, Probe(batch_size=20, limit_bytes=LIMIT, verify=True, seconds=0), *target
    )
    assert fits.full_steps >= 10
    assert (fits.ragged_samples, fits.validated) == (0, True)
    trial = changed(TRIAL, validation_batch_size=1024)  # which that of the model stands for
    assert ask_kind(tmp_path, trial, *target).steps == 7


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        (msgspec.structs.replace(TRIAL, steps=2, evaluate_at=(2,)), Trained),
        # Of a part of its batches:
        (Probe(batch_size=4, limit_bytes=LIMIT, verify=True, seconds=0), Fits),
    ],
)
@on_backends("tensorflow", "torch")
def test_a_pydataset_may_use_processes_and_none_of_them_stays(tmp_path, task, answer):
    found = ask_kind(tmp_path, task, "text_model", "by_processes")
    assert isinstance(found, answer), found
    (log,) = tmp_path.glob("*-*.log")  # beside that of the template
    pids = readers(log.read_text())
    assert pids
    wait_for_end(*pids)


def readers(log):
    """Processes that say there that they drew data."""
    return set(map(int, re.findall(r"^drawn by (\d+)$", log, re.MULTILINE)))


def test_class_weights_are_part_of_the_training(tmp_path):
    target = {"model": "classifier", "data": "class_data"}
    plain = ask_kind(tmp_path, TRIAL, **target)
    weighted = ask_kind(tmp_path, TRIAL, **target, class_weight={0: 1.0, 1: 9.0})
    assert plain.evaluations[0] == weighted.evaluations[0]
    assert plain.evaluations[-1] != weighted.evaluations[-1]
    measured = ask_kind(
        tmp_path, Benchmark(batch_size=20, seconds=0.1), **target, class_weight={1: 9.0}
    )
    assert measured.device_windows


@on_backends("tensorflow")  # what no backend decides
def test_class_weights_are_inspected(tmp_path):
    target = {"model": "classifier", "data": "class_data"}
    found = ask_kind(tmp_path, Inspect(batch_size=20), **target, class_weight={1: 9.0})
    assert found.fit_call == "model.fit(x, y, batch_size={size}, class_weight=class_weight)"
    two_outputs = KINDS["several inputs and outputs"]
    refused = ask_kind(tmp_path, Inspect(batch_size=20), *two_outputs, class_weight={1: 9.0})
    assert isinstance(refused, UserCodeFailed), refused
    assert "only supported for Models with a single output" in refused.message


@on_backends("tensorflow", "jax")  # PyTorch has not all of them
def test_every_option_of_compile_is_part_of_the_probe(tmp_path):
    target = ("full_options", "arrays")
    found = ask_kind(tmp_path, Inspect(batch_size=10), *target)
    assert (found.precision, found.jit_compile) == ("mixed_float16", True)
    fits = ask_kind(
        tmp_path, Probe(batch_size=20, limit_bytes=LIMIT, verify=True, seconds=0), *target
    )
    assert fits.full_steps >= 10
    assert (fits.steps, fits.ragged_samples) == (fits.full_steps * 3 // 2, 10)
    uncompiled = {"jit_compile": "auto"}  # as it is quicker, on the CPU of TensorFlow
    task = Probe(batch_size=40, limit_bytes=LIMIT, seconds=0)
    fits = ask_kind(tmp_path, task, *target, args=uncompiled)
    assert fits.full_steps >= 6  # an update after 5 accumulated, and a step after it


@on_backends("torch")  # XLA's are among those with every option
def test_a_step_that_pytorch_compiles_is_probed(tmp_path):
    # Of 50 samples: each batch of another size would be compiled anew.
    fits = ask_kind(
        tmp_path, Probe(batch_size=25, limit_bytes=LIMIT, seconds=0), "jitted", "arrays"
    )
    assert fits.full_steps >= 3


def test_sharpness_of_a_linear_regression_is_its_largest_eigenvalue(tmp_path):
    task = msgspec.structs.replace(TRIAL, validation_batch_size=50, sharpness=True)
    found = ask_kind(tmp_path, task, "dense", "arrays")
    x, _ = rows()
    extended = np.column_stack([x, np.ones(len(x))])  # with the bias
    expected = np.linalg.eigvalsh(2 * extended.T @ extended / len(x))[-1]
    assert found.sharpness == pytest.approx(expected, rel=0.03)
    known = ask_kind(tmp_path, Inspect(batch_size=task.batch_size), "dense", "arrays")
    assert known.why_no_sharpness is None
    # It is looked at when all is done, and changes nothing.
    plain = ask_kind(tmp_path, msgspec.structs.replace(task, sharpness=False), "dense", "arrays")
    assert plain.sharpness is None
    assert plain.evaluations == found.evaluations


@on_backends("tensorflow", "jax")
@pytest.mark.parametrize(
    ("model", "data", "why"),
    [
        ("full_options", "arrays", "the model computes in float16, which has too few digits"),
        ("stateful_rnn", "sequences", "the model is built for one batch size"),
    ],
)
def test_sharpness_that_cannot_be_looked_for_says_why(tmp_path, model, data, why):
    task = msgspec.structs.replace(TRIAL, validation_batch_size=50, sharpness=True)
    found = ask_kind(tmp_path, task, model, data)
    assert found.evaluations
    assert found.sharpness.startswith(why)
    known = ask_kind(tmp_path, Inspect(batch_size=task.batch_size), model, data)
    assert known.why_no_sharpness == found.sharpness


@on_backends("tensorflow", "jax")  # PyTorch has no such executions
def test_several_steps_an_execution_are_counted_one_by_one(tmp_path):
    target = ("several_steps_an_execution", "arrays")
    task = msgspec.structs.replace(TRIAL, steps=100, evaluate_at=(0, 4, 7, 100))
    trained = ask_kind(tmp_path, task, *target)
    # Executions end after steps 2, 3 (the ragged one of the epoch), 5, 6, 8, ..., 99 and 101.
    assert [evaluation.step for evaluation in trained.evaluations] == [0, 5, 8, 101]
    measured = ask_kind(tmp_path, Benchmark(batch_size=20, seconds=0.2), *target)
    window = measured.windows[0]
    assert window.samples == window.steps * 50 / 3 or not measured.whole_epochs
    assert all(window.steps % 2 == 0 for window in measured.device_windows)


@on_backends("tensorflow", "jax")  # PyTorch has no such executions
def test_a_short_trial_is_evaluated_where_it_is_asked_to_be(tmp_path):
    """However many steps an execution has: a curve has no point within one."""
    trained = ask_kind(tmp_path, TRIAL, "several_steps_an_execution", "arrays")
    assert [evaluation.step for evaluation in trained.evaluations] == [0, 4, 7]
    assert not trained.as_compiled


def test_what_fails_after_training_does_not_lose_the_rate(tmp_path):
    target = {"data": "feeds.py:broken_after_training", "callbacks": "feeds.py:breaking"}
    found = ask_kind(tmp_path, Benchmark(batch_size=10, seconds=0.2), "dense", **target)
    assert isinstance(found, Measured), found
    assert found.windows
    assert (found.input_windows, found.device_windows) == ((), ())


def test_a_model_whose_train_function_exists_is_counted_too(tmp_path):
    fits = ask_kind(
        tmp_path, Probe(batch_size=20, limit_bytes=LIMIT, seconds=0), "trained_before", "arrays"
    )
    assert fits.full_steps >= 3


@on_backends("tensorflow")
def test_the_recipes_callbacks_run_but_neither_stop_nor_write(tmp_path):
    target = {"model": "dense", "data": "arrays", "callbacks": "kinds.py:callbacks"}
    found = ask_kind(tmp_path, Inspect(batch_size=20), **target)
    assert "ModelCheckpoint, Orbax" in found.notes[0]
    assert ask_kind(tmp_path, TRIAL, **target).steps == 7
    assert not Path("autobatch-must-not-write-this.keras").exists()


GRADIENTS = Gradients(
    batch_size=20,
    learning_rate=0.01,
    measure_at=(4,),
    micro_batch_size=5,
    micro_batches=8,
    training_samples=50,
    seed=0,
)
RANGE_TEST = RangeTest(
    batch_size=20,
    learning_rate=0.01,
    lowest_factor=0.1,
    highest_factor=1.0,
    steps=7,
    seed=0,
)


@pytest.mark.parametrize(
    ("task", "data"),
    [
        (Probe(batch_size=20, limit_bytes=LIMIT, seconds=0), "arrays"),
        (Probe(batch_size=20, limit_bytes=LIMIT, seconds=0), None),
        (Probe(batch_size=20, limit_bytes=LIMIT, verify=True, seconds=0), "arrays"),
        (Benchmark(batch_size=20, seconds=0.2), "arrays"),
        (TRIAL, "arrays"),
        (GRADIENTS, "arrays"),
        (RANGE_TEST, "arrays"),
    ],
    ids=lambda value: type(value).__name__,
)
@on_backends("tensorflow")
def test_callbacks_may_read_logs_of_the_validation_in_every_measurement(tmp_path, task, data):
    found = ask_kind(tmp_path, task, "dense", data, callbacks="kinds.py:stops_by_itself")
    assert isinstance(found, (Fits, Measured, Trained, Differentiated, Ranged)), found


@on_backends("tensorflow")
def test_gradients_are_had_of_batches_whose_first_input_is_not_batched(tmp_path):
    found = ask_kind(tmp_path, GRADIENTS, *KINDS["dataset whose first input is not batched"])
    assert isinstance(found, Differentiated), found
    assert [sum(each.micro_batches) for each in found.moments] == [GRADIENTS.micro_batches]


def test_a_saved_model_is_loaded_and_given_synthetic_samples(on_each_backend, tmp_path):
    dense = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    # TensorFlow, which saves it here, resolves "auto" to False on the CPU, and that is saved.
    compiled = on_each_backend == "jax"
    dense.compile("adam", "sparse_categorical_crossentropy", jit_compile=compiled)
    dense.save(tmp_path / "model.keras")
    task = Probe(batch_size=20, limit_bytes=LIMIT, verify=True, seconds=0)
    fits, _ = ask(tmp_path, task, folder=tmp_path, model="model.keras", data=None)
    assert fits.full_steps >= 10
    assert fits.ragged_samples == 10


WITH_A_LAYER_OF_ITS_OWN = """
import keras, numpy

@keras.saving.register_keras_serializable("tests")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x

def data():
    x = numpy.ones((50, 4), "float32")
    return (x, x[:, :1]), (x[:20], x[:20, :1])
"""


@on_backends("tensorflow")  # Keras loads it alike on others
def test_the_data_of_a_saved_model_brings_the_classes_that_it_needs(tmp_path):
    folder = tmp_path / "10:30"  # a colon in it is none before a function
    folder.mkdir()
    (folder / "train.py").write_text(WITH_A_LAYER_OF_ITS_OWN)
    module = {}
    exec(WITH_A_LAYER_OF_ITS_OWN, module | {"__name__": "elsewhere"}, module)
    model = keras.Sequential([keras.Input((4,)), module["Doubled"](), keras.layers.Dense(1)])
    model.save(folder / "uncompiled.keras")
    model.compile("sgd", "mse")
    model.save(folder / "model.keras")
    told = []
    for name, data in (
        ("model", "10:30/train.py:data"),
        ("model", None),
        ("uncompiled", "10:30/train.py:data"),
    ):
        target = {"folder": tmp_path, "model": f"10:30/{name}.keras", "data": data}
        told.append(ask(tmp_path, Inspect(batch_size=20), **target)[0])
    assert isinstance(told[0], Inspected), told[0]
    assert "needs the class Doubled" in told[1].message
    assert "register_keras_serializable" in told[1].hint
    assert told[2].message == "The model in 10:30/uncompiled.keras is not compiled."


@on_backends("tensorflow")  # Keras refuses it alike on others
def test_code_in_a_saved_model_is_refused_and_not_run(tmp_path):
    written = tmp_path / "written"
    path = str(written)  # not a default, which Keras would not load
    writes = keras.layers.Lambda(lambda x: __import__("pathlib").Path(path).touch() or x)
    model = keras.Sequential([keras.Input((4,)), writes, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.save(tmp_path / "model.keras")
    written.unlink()  # it ran where it was made
    task = Inspect(batch_size=20)
    found, _ = ask(tmp_path, task, folder=tmp_path, model="model.keras", data=None)
    assert isinstance(found, UserCodeFailed), found
    assert found.message.startswith("model.keras contains code (a Lambda layer)")
    assert "Python file" in found.hint
    assert not written.exists()


@pytest.mark.parametrize("model", ["two_in_two_out", "text_model", "stateful_rnn"])
@on_backends("tensorflow")
def test_a_model_without_data_trains_on_synthetic_samples(tmp_path, model):
    if model == "text_model":
        found = ask_kind(tmp_path, Inspect(batch_size=20), model)
        assert isinstance(found, Inspected), found
        assert found.notes[0] == "No data given: samples are synthetic."
    fits = ask_kind(
        tmp_path, Probe(batch_size=20, limit_bytes=LIMIT, verify=True, seconds=0), model
    )
    assert fits.full_steps >= 10


@on_backends("tensorflow")
def test_one_dataset_is_split_in_two(tmp_path):
    found = ask_kind(tmp_path, Inspect(batch_size=20), "dense", "feeds.py:one_dataset")
    assert (found.train_samples, found.validation_samples) == (40, 10)
    assert "its last 10 of 50 samples" in found.notes[0]


@on_backends("tensorflow")  # class weights are sample weights on each of them
def test_sample_weights_are_part_of_the_training(tmp_path):
    by_sample, by_class, plain = (
        ask_kind(tmp_path, TRIAL, "classifier", data, class_weight=class_weight)
        for data, class_weight in (
            ("weighted_class_data", None),
            ("class_data", {0: 1.0, 1: 9.0}),
            ("class_data", None),
        )
    )
    assert by_sample.evaluations == by_class.evaluations != plain.evaluations
