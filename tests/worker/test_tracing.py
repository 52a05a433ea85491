"""Python runs a step where it is traced: a layer that writes of it each time tells how often."""

from collections import Counter

import keras
import numpy as np
import pytest
from worker.test_users_code import asked

from autobatch.protocol import Benchmark, Probe, RangeTest, Trial
from autobatch.worker.tracing import BuiltBefore

LIMIT = 256 << 20
TRIAL = Trial(
    batch_size=16,
    learning_rate=0.01,
    steps=6,
    evaluate_at=(0, 3, 6),
    validation_batch_size=16,
    seed=1,
)
RANGE = RangeTest(
    batch_size=16, learning_rate=0.01, lowest_factor=0.1, highest_factor=4, steps=6, seed=1
)
CODE = """
    class Seen(keras.layers.Layer):
        def call(self, x, training=False):
            with open("{folder}/seen.txt", "a") as file:
                print("training" if training else "evaluation", file=file)
            return x

    class Own(keras.Sequential):
        def train_step(self, batch):
            return super().train_step(batch)

    class Assigned(keras.Sequential):
        def __init__(self, parts):
            super().__init__(parts)
            self.train_step = self.step

        def step(self, batch):
            return super().train_step(batch)

    def model():
        found = {kind}([keras.Input((4,)), Seen(), keras.layers.Dense(1)])
        found.compile("adam", "mse", metrics=["accuracy"], steps_per_execution={several})
        with open("{folder}/seen.txt", "w"):
            return found
"""


def traces(tmp_path, task, kind="keras.Sequential", several=1):
    code = CODE.format(folder=tmp_path, kind=kind, several=several)
    asked(tmp_path, code, task)
    return Counter((tmp_path / "seen.txt").read_text().split())


@pytest.mark.parametrize("several", [1, 2])
def test_steps_of_a_trial_are_traced_once(tmp_path, several):
    assert traces(tmp_path, TRIAL, several=several) == {"evaluation": 1, "training": 1}


@pytest.mark.parametrize("task", [RANGE, Benchmark(batch_size=16, seconds=0.2)])
def test_a_training_without_evaluations_is_traced_once(tmp_path, task):
    assert traces(tmp_path, task) == {"training": 1}


def test_a_probe_allocates_in_the_order_of_the_users_own_training(tmp_path):
    assert traces(tmp_path, Probe(batch_size=16, limit_bytes=LIMIT, seconds=0)) == {"training": 2}


@pytest.mark.parametrize("kind", ["Own", "Assigned"])
def test_a_step_of_the_users_own_is_left_as_it_is(tmp_path, kind):
    assert traces(tmp_path, TRIAL, kind=kind)["training"] == 2


class Losses(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(logs)


def trained(model, optimizer, before, jit_compile, samples):
    """The losses of each step, the weights and all that the optimizer keeps."""
    keras.utils.set_random_seed(0)
    built = model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    built.compile(optimizer(), loss, metrics=["accuracy"], jit_compile=jit_compile)
    rng = np.random.default_rng(0)
    x, y = rng.random((samples, 8), "float32"), rng.integers(0, 3, samples)
    given = {"x": x, "y": y, "batch_size": 16}
    losses = Losses()
    callbacks = [*([BuiltBefore(given)] if before else []), losses]
    built.fit(**given, epochs=5, verbose=0, callbacks=callbacks)
    variables = (*built.weights, *built.optimizer.variables)
    return losses.seen, [np.asarray(each).tobytes() for each in variables]


def normalised():
    parts = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.3), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((8,)), *parts])


def scaled():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9))


def averaging():
    return keras.optimizers.AdamW(0.01, use_ema=True, ema_overwrite_frequency=7)


@pytest.mark.parametrize(
    ("optimizer", "jit_compile", "samples"),
    [  # compiled for one shape alone: it takes seconds for each
        (keras.optimizers.Adam, False, 50),
        (averaging, False, 50),
        (scaled, True, 48),
    ],
)
def test_what_is_learned_is_the_same_to_the_bit(optimizer, jit_compile, samples):
    more = (jit_compile, samples)
    one, other = (trained(normalised, optimizer, before, *more) for before in (False, True))
    assert one == other


def unfreezing():
    class Unfreeze(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.layers[0].trainable = True

    return Unfreeze()


def test_layers_may_be_made_trainable_until_the_first_step():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.layers[0].trainable = False
    model.compile("adam", "mse")
    x = np.ones((8, 4), "float32")
    given = {"x": x, "y": x[:, :1]}
    before = model.layers[0].kernel.numpy()
    model.fit(**given, verbose=0, callbacks=[unfreezing(), BuiltBefore(given)])
    assert (model.layers[0].kernel.numpy() != before).all()


class AuxiliaryHead(keras.Model):
    def __init__(self):
        super().__init__()
        self.body, self.head = keras.layers.Dense(1), keras.layers.Dense(1)

    def build(self, shape):
        self.body.build(shape)

    def call(self, x, training=False):
        return self.body(x) + self.head(x) if training else self.body(x)


def test_a_layer_that_is_built_in_training_alone_is_waited_for():
    model = AuxiliaryHead()
    model.compile("adam", "mse")
    x = np.ones((8, 4), "float32")
    given = {"x": x, "y": x[:, :1]}
    model.evaluate(**given, verbose=0)
    model.fit(**given, verbose=0, callbacks=[BuiltBefore(given)])
    assert model.head.built
    assert len(model.optimizer._trainable_variables) == 4


@pytest.mark.parametrize(
    ("outputs", "y", "loss"),
    [
        (4, np.zeros(20, "int64"), "sparse_categorical_crossentropy"),
        (4, np.zeros((20, 1), "int64"), "sparse_categorical_crossentropy"),
        (4, np.zeros((20, 4), "float32"), "mse"),
        (1, np.zeros(20, "float32"), "mse"),
    ],
)
def test_accuracy_is_the_one_that_keras_would_take(outputs, y, loss):
    kinds = []
    for is_before in (False, True):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(outputs)])
        model.compile("sgd", loss, metrics=["accuracy"])
        given = {"x": np.ones((20, 4), "float32"), "y": y}
        if is_before:
            callback = BuiltBefore(given)
            callback.set_model(model)
            callback.on_train_begin()
            assert model._compile_metrics.built
        else:
            model.evaluate(**given, verbose=0)
        kinds.append([type(metric) for metric in model._compile_metrics.metrics])
    assert kinds[0] == kinds[1]
