"""Code that sets the random seed itself, as many examples do. Named `seeded.py:function`."""

import random
import sys
import time

import keras
import numpy as np
import targets
from numpy.random import default_rng

keras.utils.set_random_seed(42)


def model():
    return targets.model()


def model_that_seeds():
    keras.utils.set_random_seed(42)
    return targets.model()


MADE = targets.model()


def model_made_at_import():
    return MADE


def data():
    return targets.data()


class Telling(keras.layers.Layer):
    """Tells which samples it is trained on."""

    def call(self, x, training=None):
        if training:
            samples = keras.ops.convert_to_numpy(x)[:, 0].tolist()
            sys.stdout.write(f"trained on {samples}\n")
        return x


def telling_model():
    model = keras.Sequential([keras.Input((1,)), Telling(), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def numbered_data():
    x = np.arange(48, dtype="float32")[:, None] / 64
    return (x, x), (x, x)


DRAWING = np.random.default_rng()


def telling_generators(batch_size):
    """Each pass tells the orders that it draws, by all that can draw them."""
    x, y = numbered_data()[0]
    own = np.random.default_rng()

    def batches():
        made = np.random.default_rng(), default_rng()
        orders = [each.permutation(48).tolist() for each in (np.random, DRAWING, own, *made)]
        orders.append(random.sample(range(48), 48))
        sys.stdout.write(f"drawn: {orders}\n")
        for start in range(0, 48, batch_size):
            yield x[start : start + batch_size], y[start : start + batch_size]

    return batches(), (x, y)


class Pausing(keras.callbacks.Callback):
    """While evaluations go on, batches are drawn ahead."""

    def on_test_begin(self, logs=None):
        time.sleep(0.5)


def pausing():
    return [Pausing()]


def telling_endless_generator(batch_size):
    """Each batch tells what it is drawn by."""
    x, y = (part[:batch_size] for part in numbered_data()[0])

    def batches():
        while True:
            time.sleep(0.05)
            sys.stdout.write(f"drawn: {np.random.randint(2**31)}\n")
            yield x, y

    return batches(), (x, y)


def numbered_generator(batch_size):
    """In their order."""
    samples, _ = numbered_data()[0]
    parts = np.split(samples, 48 // batch_size)
    return ((part, part) for part in parts), (samples, samples)
