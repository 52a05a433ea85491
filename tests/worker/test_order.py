"""Training data that comes in one order is told from what is shuffled, by whatever chooses."""

import keras
import pytest
import tensorflow as tf
from asking import ask
from kinds import dense, rows
from worker.test_targets import HERE

from autobatch.protocol import Inspect, Inspected
from autobatch.worker.batches import of_dataset
from autobatch.worker.datasets import unbatched
from autobatch.worker.order import order_notes, order_of, shuffles
from autobatch.worker.seeds import shuffle_by
from autobatch.worker.source import Look

TOLD = "The training data is not shuffled: it comes in the same order"


def ordered(count=50):
    return tf.data.Dataset.from_tensor_slices(rows(count))


def shuffled():
    return ordered().shuffle(50)


def windows():
    return tf.data.Dataset.range(50).window(3, 1).flat_map(lambda each: each.batch(3))


def shuffled_within():
    return tf.data.Dataset.range(3).interleave(lambda _: tf.data.Dataset.range(9).shuffle(9))


def generated():
    """In whatever order its code has it."""
    signature = tf.TensorSpec((), "int64")
    return tf.data.Dataset.from_generator(lambda: range(9), output_signature=signature)


def generated_within():
    return tf.data.Dataset.range(3).interleave(lambda _: generated())


@pytest.mark.parametrize(
    ("dataset", "is_shuffled", "order"),
    [
        (ordered(), False, "kept"),
        (ordered().cache().map(lambda x, y: (2 * x, y)).batch(5).prefetch(1), False, "kept"),
        (windows(), False, "kept"),
        (shuffled().batch(5).prefetch(1), True, "free"),
        (tf.data.Dataset.zip((shuffled(), shuffled())), True, "free"),
        (shuffled_within(), False, "free"),
        (generated().batch(3), False, "free"),
        (generated_within(), False, "free"),
        (tf.data.Dataset.sample_from_datasets([ordered(), ordered()]), False, "free"),
    ],
)
def test_an_order_is_kept_where_nothing_is_seen_to_choose_it(dataset, is_shuffled, order):
    assert (shuffles(dataset), order_of(dataset)) == (is_shuffled, order)


def by_keras(**options):
    x, y = rows(50)
    return keras.utils.timeseries_dataset_from_array(x, y, 1, **options)


@pytest.mark.parametrize("of_trial", [None, 3])
def test_an_order_is_set_where_all_shuffles_of_the_users_have_a_seed(monkeypatch, of_trial):
    monkeypatch.setattr(tf.data.Dataset, "shuffle", tf.data.Dataset.shuffle)
    shuffle_by(of_trial)
    for dataset, order in (
        (ordered().shuffle(50, seed=1), "set"),
        (ordered().shuffle(50, reshuffle_each_iteration=False).batch(5), "set"),
        (ordered().shuffle(50, seed=1).skip(10).shuffle(50), "free"),
        (generated().shuffle(50, seed=1), "free"),
        (by_keras(shuffle=True), "free"),
        (by_keras(shuffle=True, seed=1), "free"),
        (by_keras(), "kept"),
    ):
        assert order_of(dataset) == order
    train = unbatched(ordered().shuffle(50, seed=1), "data", Look(5.0), ends=False)
    (told,) = order_notes(train, dense(), 20, is_split=False)
    assert "intervals hold no luck of that order" in told


def flipped(sample, target):
    return tf.image.random_flip_left_right(tf.reshape(sample, (1, -1, 1))), target


FLIP = keras.layers.RandomFlip(seed=1)


def by_a_layer(sample, target):
    return FLIP(tf.reshape(sample, (1, -1, 1)), training=True), target


@pytest.mark.parametrize(
    ("made", "is_told"),
    [
        (lambda: ordered().map(flipped).shuffle(50).batch(5), True),
        (lambda: ordered().shuffle(50).map(flipped).batch(5), False),
        (lambda: ordered().map(by_a_layer).shuffle(50).batch(5), False),
    ],
)
def test_what_is_drawn_alike_in_every_epoch_is_told(made, is_told):
    tf.random.set_seed(1)  # as for trials
    dataset = made()
    drawn, again = (sorted(x.numpy().tolist() for x, _ in dataset.unbatch()) for _ in range(2))
    assert (drawn == again) == is_told
    train = of_dataset(dataset, 5, "data", Look(5.0), ends=False)
    told = order_notes(train, dense(), 5, is_split=False)
    assert ["draw at random" in note for note in told] == [True] * is_told


def stateful():
    layers = keras.layers
    inputs = keras.Input(batch_shape=(20, 4, 1))
    return keras.Model(inputs, layers.Dense(1)(layers.GRU(2, stateful=True)(inputs)))


@pytest.mark.parametrize(
    ("dataset", "model", "size", "is_told"),
    [
        (ordered(), dense, 20, True),
        (ordered(), dense, 50, False),  # all in one batch
        (ordered(), stateful, 20, False),
        (shuffled(), dense, 20, False),
    ],
)
def test_an_order_that_is_kept_is_told_where_it_matters(dataset, model, size, is_told):
    for train in (
        unbatched(dataset, "data", Look(5.0), ends=False),
        of_dataset(dataset.batch(size), size, "data", Look(5.0), ends=False),
    ):
        told = order_notes(train, model(), size, is_split=False)
        assert [note.startswith(TOLD) for note in told] == [True] * is_told


@pytest.mark.parametrize(
    ("data", "is_told"),
    [
        ("feeds.py:unbatched", True),
        ("feeds.py:batched", True),
        ("feeds.py:one_dataset", True),
        ("feeds.py:generators", False),
        ("kinds.py:arrays", False),
    ],
)
def test_it_is_told_when_data_is_inspected(tmp_path, data, is_told):
    target = {"folder": HERE, "model": "kinds.py:dense", "data": data}
    found, _ = ask(tmp_path, Inspect(batch_size=20), **target)
    assert isinstance(found, Inspected), found
    told = [note for note in found.notes if note.startswith(TOLD)]
    assert len(told) == is_told
    assert any("what shuffles is not split" in note for note in told) == ("one_" in data)
