"""Samples that a tf.data.Dataset gives one by one vary in length where they are seen to."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from asking import ask
from feeds import windows
from kinds import (
    SAMPLES,
    dense,
    looking_up,
    seldom_long_in_a_dataset,
    text_dataset,
    unpadded_text,
    wordy,
)
from worker.test_targets import HERE, LIMIT

from autobatch.protocol import Extent, Fits, Inspect, Inspected, Probe
from autobatch.worker.datasets import is_tuned, unbatched
from autobatch.worker.source import Look


def looked_at(dataset, known=None):
    return unbatched(dataset, "data", Look(5.0, known), ends=False)


def ragged(lengths):
    return tf.data.Dataset.from_tensor_slices(tf.ragged.constant([[1] * n for n in lengths]))


@pytest.mark.parametrize(
    ("dataset", "varied", "batch"),
    [
        (windows()[0], False, "batch"),
        (text_dataset([[1, 2]] * 50), False, "batch"),
        (unpadded_text()[0], True, "padded_batch"),
        (ragged([2, 2]), False, "batch"),
        (ragged([2, 3]), True, "batch"),
        (tf.data.Dataset.from_tensor_slices(["ab", "cd"]), False, "batch"),
        (seldom_long_in_a_dataset()[0], True, "batch"),
    ],
)
def test_samples_vary_where_they_are_seen_to(dataset, varied, batch):
    found = looked_at(dataset)
    assert (found.varied, found.fit_call("data")) == (varied, f"model.fit(train.{batch}({{size}}))")
    assert any("vary in length" in note for note in found.notes) == varied
    assert (found.longest(1) is not found) == varied


@pytest.mark.parametrize("varied", [False, True])
def test_whether_they_vary_is_looked_for_once(varied):
    def drawn():
        raise AssertionError("a sample was drawn")

    signature = tf.TensorSpec((None,), "float32")
    dataset = tf.data.Dataset.from_generator(drawn, output_signature=signature)
    known = Extent(samples=50, is_whole=True, varied=varied)
    assert looked_at(dataset, known).varied == varied


def test_windows_of_one_length_are_inspected_and_probed_as_such(tmp_path):
    target = {"folder": HERE, "model": "kinds.py:dense", "data": "feeds.py:windows"}
    found, _ = ask(tmp_path, Inspect(batch_size=20), **target)
    assert isinstance(found, Inspected), found
    assert (found.fit_call, found.train_samples) == ("model.fit(train.batch({size}))", SAMPLES)
    assert not any("vary in length" in note for note in found.notes)
    probe = Probe(batch_size=20, limit_bytes=LIMIT, verify=True, seconds=0)
    fits, _ = ask(tmp_path, probe, extents=found.extents, **target)
    assert isinstance(fits, Fits), fits
    assert (fits.ragged_samples, fits.validated) == (10, True)


def looking_up_and_reading():
    words = keras.layers.TextVectorization(vocabulary=["a"], output_sequence_length=4)
    return looking_up([words])


@pytest.mark.parametrize(
    ("model", "varied"),
    [(looking_up, False), (looking_up_and_reading, True), (wordy, True), (dense, True)],
)
def test_of_texts_that_are_looked_up_the_length_is_no_matter(model, varied):
    dataset = seldom_long_in_a_dataset()[0]
    assert unbatched(dataset, "data", Look(5.0), model(), ends=False).varied == varied


def test_texts_that_are_looked_up_are_inspected_as_such(tmp_path):
    target = {"model": "kinds.py:looking_up", "data": "kinds.py:seldom_long_in_a_dataset"}
    found, _ = ask(tmp_path, Inspect(batch_size=20), folder=HERE, **target)
    assert isinstance(found, Inspected), found
    assert not any("vary in length" in note for note in found.notes)


class Named(keras.Model):
    """Has an attribute that a functional model has, too."""

    inputs = ("title", "body")


def test_what_a_model_of_ones_own_calls_its_inputs_is_no_matter():
    texts = tf.data.Dataset.from_tensor_slices([["a"], ["b c"]])
    assert unbatched(texts, "train", Look(5.0), Named(), ends=False).count == 2


def test_what_a_thread_of_tf_data_tunes():
    """Waits at ends of epochs are looked for there alone."""
    data = tf.data.Dataset.range(8).batch(4)
    still = tf.data.Options()
    still.autotune.enabled = False
    assert is_tuned(data)
    assert not is_tuned(data.with_options(still).prefetch(2))
    assert is_tuned(np.zeros((8, 1)))
    assert is_tuned(keras.utils.PyDataset())
    assert not is_tuned(keras.utils.PyDataset(workers=2))
    assert not is_tuned(keras.utils.PyDataset(use_multiprocessing=True))
