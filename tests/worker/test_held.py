"""Validation samples that each pass would draw anew are drawn once, and are the same then."""

import math

import numpy as np
import pytest
import tensorflow as tf

from autobatch.worker.arrays import arrays
from autobatch.worker.batches import of_dataset
from autobatch.worker.datasets import unbatched
from autobatch.worker.held import held
from autobatch.worker.parts import fewer, split
from autobatch.worker.source import Look


def shuffled():
    return tf.data.Dataset.range(200).shuffle(200)


def part_of_samples():
    return fewer(unbatched(shuffled(), "data", Look(5.0), ends=True), 30, unit=1, seed=0)


def part_of_batches():
    source = of_dataset(shuffled().batch(20), 20, "data", Look(5.0), ends=True)
    return fewer(source, 30, unit=1, seed=0)


def a_pass(source):
    return np.concatenate([*source.fit_arguments(20)["x"]]).tolist()


@pytest.mark.parametrize("made", [part_of_samples, part_of_batches])
def test_passes_over_a_part_of_what_is_shuffled_are_of_the_same_samples(made):
    source = made()
    assert a_pass(source) != a_pass(source)
    found = held(source, math.inf, seed=1)
    assert len(set(a_pass(found))) == 30
    assert a_pass(found) == a_pass(found)


@pytest.mark.parametrize("made", [part_of_samples, part_of_batches])
def test_what_would_take_more_memory_is_left_as_it_is(made):
    source = made()
    assert held(source, 30 * 8 - 1, seed=1) is source
    assert held(source, 30 * 8, seed=1) is not source


def test_what_is_split_off_is_drawn_without_the_samples_before_it():
    drawn = []

    def slow(number):
        drawn.append(int(number))
        return number

    dataset = tf.data.Dataset.range(50).map(lambda n: tf.py_function(slow, [n], tf.int64))
    dataset = dataset.map(lambda n: tf.ensure_shape(n, ()))
    _, validation, _ = split(unbatched(dataset, "data", Look(5.0), ends=False), "data")
    found = held(validation, math.inf, seed=1)
    drawn.clear()
    assert a_pass(found) == [*range(40, 50)]
    assert not drawn


def test_as_many_as_there_are_are_all_of_them_in_their_order():
    rows = np.arange(20)
    for given in (rows, tf.ragged.range(rows), tf.constant([str(row) for row in rows])):
        whole = arrays(given, "data")
        assert fewer(whole, 20, unit=1, seed=3).fingerprint() == whole.fingerprint()
    dataset = unbatched(tf.data.Dataset.range(20), "data", Look(5.0), ends=True)
    assert a_pass(fewer(dataset, 20, unit=1, seed=3)) == [*range(20)]
