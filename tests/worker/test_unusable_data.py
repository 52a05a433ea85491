"""Data that cannot be trained on is refused with what is wrong, in the user's words."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from asking import ask
from feeds import OneByOne, Streamed, generator
from worker.test_targets import HERE, LIMIT

from autobatch.protocol import Benchmark, Inspect, Measured, Probe, TimedOut, UserCodeFailed
from autobatch.worker.loaders import is_unbatched


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("batched_at_its_own_size", "batches of a size of its own"),
        ("three_datasets", "returns a tuple of 3 (_TensorSliceDataset, _TensorSliceDataset, _Ten"),
        ("repeated", "repeats for ever"),
        ("smaller_batches", "fewer than the 20 samples asked for"),
        ("empty_generator", "ended before its first batch"),
        ("broken_in_mid_epoch", "ValueError: sample 17 is damaged"),
        ("changing_shape", "batch 2 of the generator has arrays of float32 (20, 1, 4)"),
        ("changing_width", "inputs of different shapes (one of (5,))"),
        ("python_batches_of_changing_width", "inputs of different shapes (one of (5,))"),
        ("of_unknown_rank", "does not know the shapes of its samples"),
        (
            "one_by_one",
            "training data has a feeds.OneByOne where Keras trains on batches or arrays",
        ),
        ("columns_one_by_one", "training data has a feeds.OneByOne where"),
        ("streamed", "training data has a feeds.Streamed where Keras trains on batches or arrays"),
        ("streamed_for_validation", "validation data has a feeds.Streamed where"),
        ("ten_samples", "no batch at batch_size=20"),
    ],
)
def test_unusable_data_is_refused_when_it_is_inspected(tmp_path, data, words):
    found, _ = ask(
        tmp_path,
        Inspect(batch_size=20),
        folder=HERE,
        model="kinds.py:dense",
        data=f"feeds.py:{data}",
    )
    assert isinstance(found, UserCodeFailed), found
    assert words in found.message
    assert ("(batch for batch in loader)" in str(found.hint)) == ("Streamed" in words)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((each, True) for each in (OneByOne(), Streamed())),
        *((each, False) for each in ("text", [1.0], (1.0,), {"x": 1.0}, {1.0}, range(9))),
        *((each, False) for each in (np.ones(9), tf.ones(9), tf.ragged.constant([[1], []]))),
        *((each, False) for each in (tf.data.Dataset.range(9), generator(9, 3))),
        (keras.Variable([1.0, 2.0]), False),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_gives_its_samples_one_by_one_is_told_from_what_keras_takes(value, expected):
    assert is_unbatched(value) == expected


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ("dense", "broken_in_its_second_pass", "ValueError: sample 17 is damaged"),
        ("text_model", "damaged", "OSError: cannot read record 21"),
    ],
)
def test_an_exception_in_mid_epoch_is_told_in_one_line_with_its_place(tmp_path, model, data, words):
    found, _ = ask(
        tmp_path,
        Benchmark(batch_size=20, seconds=0.3),
        folder=HERE,
        model=f"kinds.py:{model}",
        data=f"feeds.py:{data}",
    )
    assert isinstance(found, UserCodeFailed), found
    assert found.message == f"At batch 20: {words}"
    assert "feeds.py" in found.traceback
    assert "site-packages" not in found.traceback


def test_an_exception_within_tf_data_is_told_so_too(on_each_backend, tmp_path):
    found, _ = ask(
        tmp_path,
        Inspect(batch_size=20),
        folder=HERE,
        model="kinds.py:dense",
        data="feeds.py:dataset_broken_in_mid_epoch",
    )
    assert isinstance(found, UserCodeFailed), found
    assert (found.message, found.hint) == ("ValueError: sample 17 is damaged", None)
    assert "feeds.py" in found.traceback
    assert "site-packages" not in found.traceback


@pytest.mark.parametrize(
    ("data", "size", "steps"), [("fewer_in_its_second_pass", 20, 3), ("three_samples", 2, 2)]
)
def test_little_data_and_data_that_ends_early_are_measured_as_they_come(
    tmp_path, data, size, steps
):
    found, _ = ask(
        tmp_path,
        Benchmark(batch_size=size, seconds=0.3),
        folder=HERE,
        model="kinds.py:dense",
        data=f"feeds.py:{data}",
    )
    assert isinstance(found, Measured), found
    assert found.steps_per_epoch == steps
    assert len(found.windows) >= 8
    assert all(0 < window.samples <= window.steps * size for window in found.windows)


def test_a_batch_larger_than_the_data_is_never_made(tmp_path):
    found, _ = ask(
        tmp_path,
        Probe(batch_size=51, limit_bytes=LIMIT),
        folder=HERE,
        model="kinds.py:dense",
        data="feeds.py:unbatched",
    )
    assert found.message == "50 training samples cannot fill a batch of 51."


def test_a_dataset_that_blocks_for_ever_is_ended_and_its_line_named(tmp_path):
    found, _ = ask(
        tmp_path,
        Inspect(batch_size=20),
        folder=HERE,
        model="kinds.py:dense",
        data="feeds.py:blocked",
        deadline_seconds=12,
    )
    assert isinstance(found, TimedOut)
    assert found.where is not None
    assert found.where.startswith("samples (feeds.py, line ")
