"""What a trial's evaluations are given is made once, and says the same as the user's arrays."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from autobatch.worker.arrays import arrays
from autobatch.worker.tasks.trial import evaluated_again

KEYS = ("x", "y", "sample_weight", "batch_size")


def compiled(kind=keras.Sequential, **options):
    keras.utils.set_random_seed(0)
    model = kind([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    loss = "sparse_categorical_crossentropy"
    model.compile("sgd", loss, metrics=["accuracy"], weighted_metrics=["accuracy"], **options)
    return model


def rows(count):
    rng = np.random.default_rng(0)
    return arrays(
        (rng.random((count, 4)), rng.integers(0, 3, count), rng.random(count)), "validation"
    )


@pytest.mark.parametrize(("count", "several"), [(50, 1), (48, 1), (50, 3), (5, 1)])
def test_evaluations_of_one_pipeline_say_what_those_of_arrays_do(count, several):
    model, validation = compiled(steps_per_execution=several), rows(count)
    given = evaluated_again(model, validation, 16, math.inf)
    assert isinstance(given["x"], tf.data.Dataset)
    usual = validation.fit_arguments(16)
    logs = [
        model.evaluate(**each, verbose=0, return_dict=True) for each in (usual, given, usual, given)
    ]
    assert logs == logs[:1] * 4


class Own(keras.Sequential):
    def evaluate(self, x, y, **others):
        return super().evaluate(x, y, **others)


@pytest.mark.parametrize(("kind", "most_bytes"), [(Own, math.inf), (keras.Sequential, 100)])
def test_an_evaluate_of_their_own_and_what_would_take_memory_are_given_the_arrays(kind, most_bytes):
    given = evaluated_again(compiled(kind), rows(8), 4, most_bytes)
    assert sorted(given) == sorted(KEYS)
