"""Samples made up for a model: in range for its embeddings, of the kind that its losses take."""

import keras
import numpy as np
import pytest
from keras import layers
from kinds import dict_inputs

from autobatch.worker.mistakes import UserError
from autobatch.worker.synthetic import synthetic_samples

ROWS = 200


def classifier(loss, classes=3):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(classes)])
    model.compile("sgd", loss)
    return model


def test_many_large_samples_all_differ_and_take_little_memory():
    image, count = keras.Input((224, 224, 3)), 6144  # 3.4 GiB, were each to have its own
    segmented = layers.Conv2D(4, 1, activation="softmax")(image)
    model = keras.Model(image, segmented)
    model.compile("sgd", "categorical_crossentropy")
    x, y, _ = synthetic_samples(model, count, seed=0)
    assert (x.shape, y.shape) == ((count, 224, 224, 3), (count, 224, 224, 4))
    assert np.may_share_memory(x[0], x[1])
    assert np.may_share_memory(y[0], y[1])
    assert not np.array_equal(x[0], x[1])
    assert (y[-1].sum(axis=-1) == 1).all()
    assert len(synthetic_samples(model, 0, seed=0)[0]) == 0


def test_the_same_seed_gives_the_same_samples():
    first, again, other = (
        synthetic_samples(classifier("mse"), ROWS, seed=seed)[:2] for seed in (1, 1, 2)
    )
    assert all(map(np.array_equal, first, again))
    assert not any(map(np.array_equal, first, other))


class Embed(keras.layers.Layer):
    """As in the text classification guide: tokens and their positions."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = layers.Embedding(50, 2), layers.Embedding(9, 2)

    def build(self, shape):
        self.tokens.build()
        self.positions.build()

    def call(self, x):
        return self.tokens(x)


def test_each_input_is_in_the_range_of_the_embedding_that_it_leads_to():
    few, many = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    reshaped = layers.Reshape((1,))(many)
    parts = [layers.Embedding(3, 2)(few), layers.Flatten()(layers.Embedding(90, 2)(reshaped))]
    model = keras.Model([few, many], layers.Dense(1)(layers.Concatenate()(parts)))
    model.compile("sgd", "mse")
    (x, other), _, notes = synthetic_samples(model, ROWS, seed=0)
    assert (x.max(), x.dtype) == (2, "int32")
    assert 60 < other.max() < 90
    assert notes == ("No data given: samples are synthetic.",)


def test_samples_are_in_dicts_where_inputs_and_outputs_are():
    model = dict_inputs()
    x, y, _ = synthetic_samples(model, ROWS, seed=0)
    assert {name: each.shape for name, each in x.items()} == {"a": (ROWS, 4), "b": (ROWS, 2)}
    assert {name: each.shape for name, each in y.items()} == {"out": (ROWS, 1)}
    assert model.test_on_batch(x, y) > 0


def test_an_embedding_in_a_layer_or_a_model_within_is_found():
    within = keras.Sequential([keras.Input((9,)), Embed(), layers.Flatten()])
    outer = keras.Input((9,))
    model = keras.Model(outer, layers.Dense(1)(within(outer)))
    model.compile("sgd", "mse")
    x, _, _ = synthetic_samples(model, ROWS, seed=0)
    assert set(np.unique(x)) == set(range(9))


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        keras.losses.sparse_categorical_crossentropy,
    ],
)
def test_sparse_targets_are_class_numbers(loss):
    _, y, _ = synthetic_samples(classifier(loss), ROWS, seed=0)
    assert y.shape == (ROWS,)
    assert set(np.unique(y)) == {0, 1, 2}


@pytest.mark.parametrize("loss", ["categorical_crossentropy", keras.losses.KLDivergence()])
def test_categorical_targets_are_one_hot(loss):
    _, y, _ = synthetic_samples(classifier(loss), ROWS, seed=0)
    assert y.shape == (ROWS, 3)
    assert (y.sum(axis=1) == 1).all()
    assert set(np.unique(y)) == {0, 1}


def test_binary_targets_are_zeros_and_ones_in_the_outputs_shape():
    _, y, _ = synthetic_samples(classifier("binary_crossentropy", 1), ROWS, seed=0)
    assert y.shape == (ROWS, 1)
    assert set(np.unique(y)) == {0, 1}


def test_a_loss_that_is_not_known_is_told():
    def my_own_loss(truth, prediction):
        return keras.ops.mean(truth - prediction)

    _, y, notes = synthetic_samples(classifier(my_own_loss), ROWS, seed=0)
    assert y.shape == (ROWS, 3)
    assert "Targets of the loss my_own_loss are made up" in notes[1]


def test_open_dimensions_are_told_and_integers_of_no_known_range():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    encoded = layers.CategoryEncoding(5, "one_hot")(tokens)
    model = keras.Model(tokens, layers.Dense(1)(layers.GRU(2)(encoded)))
    model.compile("sgd", "mse")
    x, _, notes = synthetic_samples(model, ROWS, seed=0)
    assert x.shape == (ROWS, 64)
    assert set(np.unique(x)) == {0, 1}
    assert "Open dimensions of inputs are taken to be 64." in notes
    assert "Input tokens takes integers of no known range: they are 0 or 1." in notes


def test_text_and_ctc_labels_are_not_made_up():
    text = keras.Input((1,), dtype="string")
    looked_up = layers.StringLookup(vocabulary=["a"], output_mode="one_hot")(text)
    reader = keras.Model(text, layers.Dense(1)(looked_up))
    reader.compile("sgd", "mse")
    with pytest.raises(UserError, match="takes text"):
        synthetic_samples(reader, ROWS, seed=0)
    with pytest.raises(UserError, match="CTC loss takes labels"):
        synthetic_samples(classifier(keras.losses.CTC()), ROWS, seed=0)
