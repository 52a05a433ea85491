"""Batches in a tf.data.Dataset, whatever comes first, and however long they take to count."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from autobatch.protocol import Extent
from autobatch.worker import generators
from autobatch.worker.batches import of_dataset
from autobatch.worker.mistakes import UserError
from autobatch.worker.source import Look


def samples(count):
    return tf.data.Dataset.from_tensor_slices((np.ones((count, 4)), np.ones(count)))


def batched(size):
    return samples(50).batch(size)


def looked_at(dataset, size=20, seconds=5.0, of_one=None):
    return of_dataset(dataset, size, "data", Look(seconds), ends=False, of_one=of_one)


def of_lengths(lengths):
    signature = (tf.TensorSpec((None, 2)), tf.TensorSpec(()))
    made = [(np.ones((length, 2)), 0.0) for length in lengths]
    return tf.data.Dataset.from_generator(lambda: iter(made), output_signature=signature)


def test_the_smaller_batch_may_come_first_as_it_does_where_they_are_shuffled():
    shuffled = samples(10).batch(20).concatenate(samples(40).batch(20))
    assert (looked_at(shuffled).count, looked_at(shuffled).size) == (50, 20)
    assert looked_at(shuffled, size=None).size == 20


def test_a_batch_may_be_smaller_where_it_is_the_only_one():
    assert looked_at(samples(10).batch(20)).count == 10
    with pytest.raises(UserError, match="batches of 16 samples where batch_size=20"):
        looked_at(batched(16))


def test_graphs_that_are_joined_into_one_are_said_not_to_be_supported():
    bonds = tf.ones((62, 3))
    graphs = tf.data.Dataset.from_tensors(((tf.ones((31, 2)), bonds, bonds), tf.ones((20, 1))))
    with pytest.raises(UserError, match="of 62 samples where batch_size=20") as refused:
        looked_at(graphs)
    assert "Graphs that are joined into one are not supported" in refused.value.hint


@pytest.mark.parametrize("parts", [0, (0,), (0, 0), ((0, 0),), {"x": 0}])
def test_a_smaller_last_batch_has_the_parts_of_the_others(parts):
    rows = keras.tree.map_structure(lambda _: np.ones((50, 4)), parts)
    data = tf.data.Dataset.from_tensor_slices(rows).batch(20)
    for is_distinct in (True, False):
        found = looked_at(data).ending(30, is_distinct=is_distinct)
        assert found.data.element_spec == data.element_spec
        assert [len(keras.tree.flatten(each)[0]) for each in found.data] == [20, 10]


def test_a_smaller_last_batch_may_be_sparse():
    rows = np.eye(50, 4, dtype="float32")
    data = tf.data.Dataset.from_tensor_slices((tf.sparse.from_dense(rows), np.ones(50))).batch(20)
    found = looked_at(data).ending(30, is_distinct=True)
    assert found.data.element_spec == data.element_spec
    batches = [tf.sparse.to_dense(x).numpy() for x, _ in found.data]
    assert [each.tolist() for each in batches] == [rows[:20].tolist(), rows[20:30].tolist()]


@pytest.mark.parametrize("drop_remainder", [True, False])
def test_what_is_the_same_in_every_batch_is_so_in_a_smaller_one(drop_remainder):
    anchors = tf.ones((30, 2))
    data = samples(50).batch(20, drop_remainder).map(lambda x, y: ((anchors, x), y))
    part = looked_at(data).ending(30, is_distinct=True).data
    assert [(len(same), len(x), len(y)) for (same, x), y in part] == [(30, 20, 20), (30, 10, 10)]


def drawn_from(drawn):
    """Batches of 50 samples, in a buffer that is filled whenever any is drawn."""

    def each():
        drawn.append("filled")
        yield from ((np.ones(4), 0.0) for _ in range(50))

    signature = (tf.TensorSpec((4,)), tf.TensorSpec(()))
    dataset = tf.data.Dataset.from_generator(each, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(50)).shuffle(50)


@pytest.mark.parametrize("is_distinct", [True, False])
def test_a_part_with_a_smaller_last_batch_fills_a_shuffle_buffer_once(is_distinct):
    drawn = []
    found = looked_at(drawn_from(drawn).batch(20))
    drawn.clear()
    part = found.ending(30, is_distinct=is_distinct).data
    assert ([len(x) for x, _ in part], len(drawn)) == ([20, 10], 1)


@pytest.mark.parametrize("drop_remainder", [True, False])
def test_where_the_samples_are_known_no_batch_is_drawn_to_see_its_size(drop_remainder):
    drawn, known = [], Look(5.0, Extent(samples=50, is_whole=True))

    def found(size):
        batches = drawn_from(drawn).batch(20, drop_remainder=drop_remainder)
        return of_dataset(batches, size, "data", known, ends=False)

    assert (found(20).count, drawn) == (40 if drop_remainder else 50, [])
    with pytest.raises(UserError, match="batches of 20 samples where batch_size=10"):
        found(10)


def test_a_file_of_batches_is_refused_where_they_are_of_another_size(tmp_path):
    known = Look(5.0, Extent(samples=50, is_whole=True))

    def found(dataset, size):
        return of_dataset(dataset, size, "data", known, ends=False)

    batches, rows = str(tmp_path / "batches"), str(tmp_path / "rows")
    assert [len([*batched(20).cache(batches)]), len([*samples(50).cache(rows)])] == [3, 50]
    assert found(batched(20).cache(batches), 20).count == 50
    assert found(samples(50).cache(rows).batch(10), 10).count == 50
    with pytest.raises(UserError, match="batches of 20 samples where batch_size=10") as refused:
        found(batched(10).cache(batches), 10)
    assert ".batch(batch_size) after the cache" in refused.value.hint


@pytest.mark.parametrize(("lengths", "varied"), [([5] * 40, False), ([5] * 39 + [6], True)])
def test_samples_whose_length_is_not_known_vary_where_they_are_seen_to(lengths, varied):
    assert looked_at(of_lengths(lengths).batch(1), size=1).varied == varied
    assert looked_at(of_lengths(lengths).ragged_batch(4), size=4).varied


def test_what_takes_too_long_to_count_is_counted_by_batches_of_one_sample():
    assert (looked_at(batched(20), seconds=0).is_whole, looked_at(batched(20)).count) == (False, 50)
    found = looked_at(batched(20), seconds=0, of_one=lambda: batched(1))
    assert (found.is_whole, found.count) == (True, 50)
    for of_one in (lambda: batched(20), lambda: 1 / 0):  # it heeds no size; it bears no such size
        assert not looked_at(batched(20), seconds=0, of_one=of_one).is_whole


def test_one_batch_whose_loader_heeds_no_size_has_the_samples_that_were_seen():
    def one():
        return samples(20).batch(20)

    assert looked_at(one(), seconds=0, of_one=one).count == 20


def test_a_generator_that_does_not_end_fills_no_memory(monkeypatch):
    monkeypatch.setattr(generators, "KEPT_BYTES", 4000)

    def endless():
        while True:
            yield np.ones((20, 4), "float32"), np.ones((20, 1), "float32")  # 400 bytes

    made = generators.of_generator(
        endless(), endless, 20, "data", Look(60), ends=True, fixed_inputs=True
    )
    assert (made.count, made.is_whole) == (200, False)
    assert "had not ended after 200 samples, which are all that is used" in made.notes[0]


@pytest.mark.parametrize(("ends", "calls"), [(True, 0), (False, 1)])
def test_a_loader_is_called_again_only_for_a_pass_that_is_asked_for(ends, calls):
    """It may take long, and all passes of a validation are the first."""
    called = []

    def batches():
        yield np.ones((20, 4), "float32"), np.ones((20, 1), "float32")

    def again():
        called.append(1)
        return batches()

    made = generators.of_generator(
        batches(), again, 20, "data", Look(60), ends=ends, fixed_inputs=True
    )
    assert (made.count, called) == (20, [])
    assert [len(each[0]) for each in made.data] == [20]
    assert len(called) == calls


@pytest.mark.parametrize("ends", [True, False])
def test_what_a_pass_over_a_generator_takes_is_saved_only_where_it_is_not_read_again(ends):
    def slow():
        for _ in range(3):
            time.sleep(0.1)
            yield np.ones((20, 4), "float32"), np.ones((20, 1), "float32")

    look = Look(60)
    generators.of_generator(slow(), slow, 20, "data", look, ends=ends, fixed_inputs=True)
    assert look.took_seconds == 0 if ends else look.took_seconds >= 0.2


def test_a_trial_begins_with_the_batches_of_a_generator_that_were_only_looked_at():
    def batches():
        for number in range(6):
            yield (np.full((20, 1), number, "float32"),)

    look = Look(60, Extent(samples=120, is_whole=True))
    made = generators.of_generator(
        batches(), batches, 20, "data", look, ends=False, fixed_inputs=True
    )
    made.stream.look()
    for few in (2, 1):
        assert len([*made.data.take(few)]) == few
    made.stream.begin()
    assert [int(x[0, 0]) for (x,) in made.data] == [*range(6)]
