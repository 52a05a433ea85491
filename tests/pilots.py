"""Targets whose gradients are known, or hard to have."""

import keras
import numpy as np

H = np.array([1, 0.5, 0.25, 0.1])
DELTA = np.array([1, -1, 0.5, 2])
NOISE = 0.3


def regression(loss_scale_factor=None, executed=1):
    """At the weights 0, B_simple is 4.2058, by its formula (tests/core/test_noise_scale.py)."""
    model = keras.Sequential([keras.Input((4,))])
    model.add(keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros"))
    sgd = keras.optimizers.SGD(1e-12, loss_scale_factor=loss_scale_factor)
    model.compile(sgd, "mse", steps_per_execution=executed)
    return model


def regression_by(optimizer):
    model = regression()
    model.compile(getattr(keras.optimizers, optimizer)(1e-12), "mse")
    return model


def half_precision_regression(weight):
    """Its gradients would vanish in float16, were the loss not scaled as in training.

    Or overflow there, were it scaled as it is at the start.
    """
    keras.config.set_dtype_policy("mixed_float16")
    model = regression()
    model.compile(keras.optimizers.SGD(1e-12), "mse", loss_weights=weight)
    return model


def dropping_regression():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dropout(0.5)])
    model.add(keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros"))
    model.compile(keras.optimizers.SGD(1e-12), "mse")
    return model


def fast_regression(accumulated=1):
    return accumulating_regression(0.01, accumulated)


def accumulating_regression(rate, accumulated):
    model = regression()
    steps = accumulated if accumulated > 1 else None
    model.compile(keras.optimizers.SGD(rate, gradient_accumulation_steps=steps), "mse")
    return model


def samples(count=16384, h=H, delta=DELTA):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, len(h))) * np.sqrt(h)
    y = -x @ delta + np.sqrt(NOISE) * rng.normal(size=count)
    x, y = x.astype("float32"), y.astype("float32")[:, None]
    return (x, y), (x[:512], y[:512])


def uneven_samples():
    """For two weights: the mean gradient of one is 33 times that of the other."""
    return samples(h=np.array([1, 0.01]), delta=np.array([1, 3]))


def half_of_sorted_samples():
    """In the order of y, as data on disk often are; every second one has no weight."""
    (x, y), validation = samples()
    order = y[:, 0].argsort()
    return (x[order], y[order], np.arange(len(x)) % 2.0), validation


def uneven_adam_regression():
    inputs = keras.Input((2,))
    zeros = {"use_bias": False, "kernel_initializer": "zeros"}
    parts = [keras.layers.Dense(1, **zeros)(inputs[:, k : k + 1]) for k in range(2)]
    model = keras.Model(inputs, keras.layers.add(parts))
    model.compile(keras.optimizers.Adam(1e-12), "mse")
    return model


def penalised_regression():
    """At weights of 1, with a penalty that is not small."""
    ones = {"use_bias": False, "kernel_initializer": "ones"}
    penalty = keras.regularizers.L2(0.5)
    model = keras.Sequential([keras.Input((4,))])
    model.add(keras.layers.Dense(1, kernel_regularizer=penalty, **ones))
    model.compile(keras.optimizers.SGD(1e-12), "mse")
    return model


def adam_regression():
    model = keras.Sequential([keras.Input((4,))])
    model.add(keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.01)))
    model.add(keras.layers.BatchNormalization())
    model.compile(keras.optimizers.Adam(1e-3, weight_decay=0.01), "mse")
    return model


FIXED = keras.initializers.RandomNormal(seed=0)  # draws the same wherever it is used


def _last():
    return keras.layers.Dense(1, kernel_initializer=FIXED)


def embedding():
    """Each row is looked up many times in a batch: gradients come in slices."""
    model = keras.Sequential([keras.Input((8,), dtype="int32")])
    model.add(keras.layers.Embedding(4, 3, embeddings_initializer=FIXED))
    model.add(keras.layers.Flatten())
    model.add(_last())
    model.compile("sgd", "mse")
    return model


def embedding_as_matrix():
    """The same, by multiplication with the rows' indicators: gradients come dense."""
    inputs = keras.Input((8,), dtype="int32")
    indicators = keras.ops.one_hot(inputs, 4)
    rows = keras.layers.Dense(3, use_bias=False, kernel_initializer=FIXED)(indicators)
    model = keras.Model(inputs, _last()(keras.layers.Flatten()(rows)))
    model.compile("sgd", "mse")
    return model


def words(count=2048):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (count, 8)).astype("int32")
    y = (x.sum(axis=1, keepdims=True) / 8).astype("float32")
    return (x, y), (x[:128], y[:128])


class OwnStep(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def train_step(self, *arguments):  # on JAX, the state as well
        return super().train_step(*arguments)


def assigned_step():
    model = keras.Sequential([keras.layers.Dense(1)])
    keras_step = model.train_step
    model.train_step = lambda *arguments: keras_step(*arguments)
    model.compile("sgd", "mse")
    return model


def own_step():
    model = OwnStep()
    model.compile("sgd", "mse")
    return model


def scheduled_regression(accumulated=1):
    """Its rate is 0.05 for 10 steps, then nothing."""
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([9], [0.05, 0.0])
    return accumulating_regression(schedule, accumulated)


def adam_alone():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def several_optimizers():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), _last()])
    sgd, adam = keras.optimizers.SGD(0.01), keras.optimizers.Adam(0.001)
    chosen = {f"{model.layers[-1].name}/.*": sgd}
    model.compile(
        keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(adam, chosen)), "mse"
    )
    return model


def falling(executed=1):
    """Its loss is its one weight, which each step lowers by the learning rate."""
    model = keras.Sequential([keras.Input((1,))])
    model.add(keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros"))
    sgd = keras.optimizers.SGD(0.5)
    model.compile(sgd, lambda _, weight: weight, steps_per_execution=executed)
    return model


def half_precision_falling():
    """Its loss is 64 times the weight: a gradient that overflows in float16 at a scale of 1024."""
    keras.config.set_dtype_policy("mixed_float16")
    model = falling()
    model.compile(keras.optimizers.SGD(0.5), lambda _, weight: weight, loss_weights=64.0)
    return model


class Restores(keras.callbacks.Callback):
    """What it saw at the start, as EarlyStopping does the best."""

    def on_train_begin(self, logs=None):
        self.seen = self.model.get_weights()

    def on_train_end(self, logs=None):
        self.model.set_weights(self.seen)


def restores():
    return [Restores()]


def quartic():
    """Its loss is the fourth power of its one weight, 1 at first."""
    model = keras.Sequential([keras.Input((1,))])
    model.add(keras.layers.Dense(1, use_bias=False, kernel_initializer="ones"))
    model.compile(keras.optimizers.SGD(0.01), lambda _, weight: weight**4)
    return model


def ones():
    x = np.ones((128, 1), "float32")
    return (x, x), (x[:16], x[:16])


class Critic(keras.Model):
    """A second optimizer of its own makes so many updates in each step; on TensorFlow."""

    def __init__(self, updates):
        super().__init__()
        self.dense, self.updates = keras.layers.Dense(1), updates
        self.critic_optimizer = keras.optimizers.SGD(0.01)

    def call(self, x):
        return self.dense(x)

    def train_step(self, batch):
        found = super().train_step(batch)
        for _ in range(self.updates):
            weights = self.trainable_variables
            self.critic_optimizer.apply([keras.ops.zeros_like(w) for w in weights], weights)
        return found


def critic(updates):
    model = Critic(updates)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model
