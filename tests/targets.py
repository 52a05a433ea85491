"""Targets for tests: models and data that work, fail, hang and die. Named `targets.py:function`."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import keras
import numpy as np

SAMPLES = 64


def model(width=4):
    found = keras.Sequential([keras.Input((8,)), keras.layers.Dense(width), keras.layers.Dense(1)])
    found.compile(keras.optimizers.SGD(0.01), "mse")
    return found


class ExpectTwoDevices(keras.callbacks.Callback):
    """Each weight is on both."""

    def on_train_begin(self, logs=None):
        for weight in self.model.trainable_weights:
            value = weight.value
            if keras.backend.backend() == "jax":
                copies = len(value.sharding.device_set)
            else:
                copies = len(getattr(value, "values", [value]))
            assert copies == 2, f"on {copies} devices"


def expect_two_devices():
    return [ExpectTwoDevices()]


def wide_model():
    """About 16 KiB of activations a sample: a limit of some MiB is met within some hundred."""
    layers = [keras.layers.Dense(2048, activation="relu") for _ in range(2)]
    found = keras.Sequential([keras.Input((8,)), layers[0], keras.layers.Dense(1)])
    found.compile(keras.optimizers.SGD(0.01), "mse")
    return found


def data(samples=SAMPLES):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, 8), dtype="float32")
    y = x.sum(axis=1, keepdims=True)
    held_out = samples // 4
    return (x[held_out:], y[held_out:]), (x[:held_out], y[:held_out])


def much_data():
    return data(8192)


def plenty():
    """Of which little is held out."""
    (x, y), (held_x, held_y) = much_data()
    return (x, y), (held_x[:64], held_y[:64])


def one_dataset():
    return data()[0]


def data_in_lists():
    return [[0.0, 1.0]] * 48, [0.0] * 48


def unequal_data():
    (x, y), validation = data()
    return (x, y[:-1]), validation


def empty_data():
    (x, y), validation = data()
    return (x[:0], y[:0]), validation


def nan_data():
    (x, y), validation = data()
    x[3, 2] = np.nan
    return (x, y), validation


def nan_in_validation():
    return data()[0], nan_data()[0]


def no_data():
    return None


def chatty_model():
    sys.stdout.write("hello from the user's code\n")
    os.write(1, b"and from below Python\n")
    os.write(1, f"working in {Path.cwd()}\n".encode())
    os.write(1, f"with data in {os.environ.get('DATA_DIR')}\n".encode())
    return model()


def uncompiled_model():
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])


def no_model():
    return None


def raising_model():
    raise ValueError("no such architecture")


def exiting_model():
    sys.exit("bye")


class PanicException(BaseException):
    """As PyO3 raises where code in Rust panics."""


def panicking_model():
    raise PanicException("index out of bounds")


def hanging_model():
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit("preempted"))  # as under SLURM
    time.sleep(3600)


def segfaulting_model():
    ctypes.string_at(0)


def aborting_model():
    os.abort()


class FailsAtLargeBatches(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def train_step(self, batch):
        if batch[0].shape[0] is not None and batch[0].shape[0] >= 16:
            raise ValueError("this model cannot do batches of 16")
        return super().train_step(batch)


def model_that_fails_at_large_batches():
    found = FailsAtLargeBatches()
    found.compile("sgd", "mse", run_eagerly=True)
    return found


def mismatched_model():
    found = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    found.compile("sgd", "mse")
    return found
