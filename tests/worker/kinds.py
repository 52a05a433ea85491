"""Models and data of every kind that a user may bring, as small as they can be."""

import collections
import os
import threading
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from autobatch.worker.tasks import probe

SAMPLES = 50  # at batch 20: two full batches and a ragged one of 10


def compiled(model, loss="mse", **options):
    model.compile(keras.optimizers.SGD(0.01), loss, **options)
    return model


def dense(**options):
    return compiled(keras.Sequential([keras.Input((4,)), layers.Dense(1)]), **options)


def rows(count=SAMPLES, width=4):
    x = np.random.default_rng(0).standard_normal((count, width), dtype="float32")
    return x, x.sum(axis=1, keepdims=True)


def arrays():
    return rows(), rows(20)


def many_arrays():
    return rows(1 << 22), rows(20)  # 80 MiB


def many_in_halves():
    """Which Keras makes float32 of, all of them, before it trains."""
    x, y = rows(1 << 22)
    return (x.astype("float16"), y.astype("float16")), rows(20)


# --- models --------------------------------------------------------------------------------------


class Summing(layers.Layer):
    """Its loss is of all samples of a batch together."""

    def call(self, x):
        self.add_loss(x**2)
        return x


def summing():
    return compiled(keras.Sequential([keras.Input((4,)), layers.Dense(1), Summing()]))


def wide(optimizer):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1 << 20), layers.Dense(1)])
    model.layers[-1].trainable = False
    model.compile(optimizer, "mse")
    return model


class HeavyToTest(keras.Model):
    """Its validation takes 200 MiB, its training next to nothing."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def test_step(self, batch):
        extra = tf.reduce_sum(tf.random.uniform((50 << 20,)))
        return {"loss": super().test_step(batch)["loss"] + 0 * extra}


def heavy_to_test():
    return compiled(HeavyToTest())


def two_in_two_out():
    a, b = keras.Input((4,), name="a"), keras.Input((), dtype="int32", name="b")
    joined = layers.Concatenate()([layers.Dense(4)(a), layers.Embedding(7, 3)(b)])
    outputs = [layers.Dense(1, name="size")(joined), layers.Dense(3, name="kind")(joined)]
    model = keras.Model([a, b], outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return compiled(model, {"size": "mse", "kind": loss}, metrics={"kind": ["accuracy"]})


def two_in_two_out_data():
    def part(count):
        numbers = np.arange(count) % 3
        x = (rows(count)[0], numbers)
        return x, {"size": rows(count)[1], "kind": numbers}

    return part(SAMPLES), part(20)


def dict_inputs():
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    joined = layers.Concatenate()([a, b])
    return compiled(keras.Model({"a": a, "b": b}, {"out": layers.Dense(1)(joined)}))


def dict_data():
    def part(count):
        x = {"a": rows(count)[0], "b": np.ones((count, 2), "float32")}
        return x, {"out": rows(count)[1]}, np.linspace(0, 1, count)

    return part(SAMPLES), part(20)


class Keeper(keras.Model):
    """Keeps something of every batch for ever."""

    def __init__(self):
        super().__init__()
        self.dense, self.kept = layers.Dense(1), []

    def call(self, x):
        self.kept.append(ops.ones((x.shape[0], 1000)))
        return self.dense(x)


def keeper():
    return compiled(Keeper(), run_eagerly=True)


def keeper_of_several():
    probe.VERIFY_STEPS = 60  # in this process: enough to see a leak, and soon done
    return compiled(Keeper(), run_eagerly=True, steps_per_execution=5)


class KeepsArrays(keras.callbacks.Callback):
    """After each step, one more of NumPy's."""

    def __init__(self, most):
        super().__init__()
        self.kept = collections.deque(maxlen=most)

    def on_train_batch_end(self, batch, logs=None):
        self.kept.append(np.ones(100_000, "uint8"))


def keeps_arrays():
    return [KeepsArrays(None)]


def keeps_the_last_arrays():
    return [KeepsArrays(5)]


class NotOfThree(keras.Model):
    """It cannot be evaluated on three samples."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def test_step(self, data):
        if data[0].shape[0] == 3:
            raise ValueError("three are too few")
        return super().test_step(data)


def not_of_three():
    return compiled(NotOfThree(), run_eagerly=True)


def many_to_validate():
    return rows(), rows(10 * 5 * 4 + 3)


class Anchored(keras.Model):
    """Its first input is the same 20 anchors in every batch."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1)

    def call(self, x):
        return self.dense(x["points"]) + ops.mean(x["anchors"])


def anchored():
    return compiled(Anchored(), jit_compile=keras.backend.backend() != "torch")  # dear: see jitted


def jitted():
    return dense(jit_compile=True)


def anchored_data(batch_size):
    anchors = tf.ones((20, 2))

    def part(count):
        dataset = tf.data.Dataset.from_tensor_slices(rows(count)).batch(batch_size)
        return dataset.map(lambda x, y: ({"anchors": anchors, "points": x}, y))

    return part(SAMPLES), part(20)


class TakesFew(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1)

    def call(self, x):
        if x.shape[0] >= 16:
            raise ValueError("at most 15 samples")
        return self.dense(x)


def takes_few():
    # As XLA knows its sizes: on JAX's CPU, memory is known of compiled steps alone.
    return compiled(TakesFew(), run_eagerly=keras.backend.backend() != "jax")


def ghost_normed():
    """It takes whole groups of 16 samples alone, as ghost batch normalization does."""
    x = keras.Input((4,))
    groups = ops.reshape(x, (-1, 16, 4))
    normed = ops.reshape(groups - ops.mean(groups, axis=1, keepdims=True), (-1, 4))
    unnamed = keras.metrics.MeanMetricWrapper(keras.losses.mean_squared_error)
    return compiled(keras.Model(x, layers.Dense(1)(normed)), metrics=[unnamed])


class Gan(keras.Model):
    """As in the Keras guide: a step of its own, two optimizers, nothing to evaluate."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential([keras.Input((2,)), layers.Dense(4)])
        self.discriminator = keras.Sequential([keras.Input((4,)), layers.Dense(1)])

    def compile(self, d_optimizer, g_optimizer, loss_fn):
        super().compile()
        self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn

    def train_step(self, real):
        noise = keras.random.normal((tf.shape(real)[0], 2))
        with tf.GradientTape() as tape:
            scores = self.discriminator(tf.concat([real, self.generator(noise)], axis=0))
            truth = tf.concat([tf.ones_like(real[:, :1]), tf.zeros_like(real[:, :1])], axis=0)
            loss = self.loss_fn(truth, scores)
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply(tape.gradient(loss, weights), weights)
        with tf.GradientTape() as tape:
            fooled = self.discriminator(self.generator(noise))
            g_loss = self.loss_fn(tf.ones_like(fooled), fooled)
        weights = self.generator.trainable_weights
        self.g_optimizer.apply(tape.gradient(g_loss, weights), weights)
        return {"d_loss": loss, "g_loss": g_loss}


def gan():
    model = Gan()
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-4), keras.optimizers.Adam(1e-4), loss)
    return model


def only_x():
    return rows()[0]


def stateful_rnn(batch_size):
    inputs = keras.Input(batch_shape=(batch_size, 3, 4))
    return compiled(keras.Model(inputs, layers.Dense(1)(layers.GRU(2, stateful=True)(inputs))))


def sequences():
    def part(count):
        return rows(3 * count)[0].reshape(count, 3, 4), rows(count)[1]

    return part(SAMPLES), part(30)


def text_model():
    tokens = keras.Input((None,), dtype="int32")
    hidden = layers.GlobalAveragePooling1D()(layers.Embedding(11, 3)(tokens))
    loss = "binary_crossentropy"
    return compiled(keras.Model(tokens, layers.Dense(1, "sigmoid")(hidden)), loss)


class RaggedReader(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding, self.dense = layers.Embedding(11, 3), layers.Dense(1)

    def call(self, x):
        x = x.to_tensor() if isinstance(x, tf.RaggedTensor) else x
        return self.dense(ops.mean(self.embedding(x), axis=1))


def ragged_reader():
    return compiled(RaggedReader())


def texts(count):
    """Of 1 to 10 tokens, the longest last: batches differ in length when they are padded."""
    return [[1 + n % 10] * (1 + n * 10 // count) for n in range(count)]


def labels(count):
    return (np.arange(count) % 2).astype("float32")[:, None]


def seldom_long(count):
    """One or two tokens, and 20,000 in the last that fill a batch of four: beyond the first ten."""
    return [[3] * (20_000 if n // 4 == count // 4 - 1 else 1 + n // 4 % 2) for n in range(count)]


def wordy():
    """Of a vocabulary in the model."""
    words = keras.layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=4)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((), dtype="string"), words, layers.Embedding(4, 4), layers.Flatten()]
    )
    model.add(layers.Dense(1, "sigmoid"))
    model.compile("sgd", "binary_crossentropy")
    return model


def written(count, kind=object):
    return np.array(["a b a", "b", "b a"] * count, dtype=kind)[:count]


def words_in_arrays():
    return (written(SAMPLES), labels(SAMPLES)), (tf.constant(written(20)), labels(20))


def looking_up(others=()):
    """Each text is one of a few; beside it are those that other layers read."""
    text = keras.Input((), dtype="string", name="text")
    found = [layers.Embedding(4, 3)(layers.StringLookup(vocabulary=["a", "b a"])(text))]
    beside = [keras.Input((), dtype="string") for _ in others]
    for layer, other in zip(others, beside, strict=True):
        found.append(layers.Flatten()(layers.Embedding(4, 3)(layer(other))))
    joined = layers.Concatenate()(found) if beside else found[0]
    model = keras.Model([text, *beside] if beside else text, layers.Dense(1, "sigmoid")(joined))
    return compiled(model, "binary_crossentropy")


def wordy_of_any_length():
    """Each batch is as wide as its longest text."""
    words = layers.TextVectorization(vocabulary=["a", "b"])
    model = keras.Sequential([keras.Input((), dtype="string"), words, layers.Embedding(4, 3)])
    model.add(layers.GlobalAveragePooling1D())
    model.add(layers.Dense(1, "sigmoid"))
    model.compile("sgd", "binary_crossentropy")
    return model


def seldom_long_words(count):
    """A word for each token of `seldom_long`."""
    words = np.array(["a " * len(text) for text in seldom_long(count)], dtype=object)
    return words, labels(count)


def seldom_long_in_arrays():
    return seldom_long_words(SAMPLES), None


def seldom_long_in_a_dataset():
    return tf.data.Dataset.from_tensor_slices(seldom_long_words(SAMPLES)), None


def seldom_long_in_batches(batch_size):
    return seldom_long_in_a_dataset()[0].batch(batch_size), None


def words_of_another_type():
    return written(SAMPLES, str), labels(SAMPLES)


def ragged_text():
    def part(count):
        return tf.ragged.constant(texts(count)), labels(count)

    return part(SAMPLES), part(20)


def text_dataset(written):
    """Of single texts, each as long as it is."""

    def each():
        for text, label in zip(written, labels(len(written)), strict=True):
            yield np.array(text, "int32"), label

    signature = (tf.TensorSpec((None,), "int32"), tf.TensorSpec((1,), "float32"))
    return tf.data.Dataset.from_generator(each, output_signature=signature)


def unpadded_text():
    return text_dataset(texts(SAMPLES)), text_dataset(texts(20))


def seldom_long_ragged():
    return (tf.ragged.constant(seldom_long(SAMPLES)), labels(SAMPLES)), None


def seldom_long_unpadded():
    return text_dataset(seldom_long(SAMPLES)), None


def seldom_long_for_validation():
    return text_dataset([[1]] * SAMPLES), text_dataset(seldom_long(SAMPLES))


def seldom_long_batches(batch_size):
    return text_dataset(seldom_long(SAMPLES)).padded_batch(batch_size), None


def seldom_long_padded(batch_size):
    return Padded(SAMPLES, batch_size, seldom_long), None


class Padded(keras.utils.PyDataset):
    def __init__(self, count, batch_size, written=texts):
        super().__init__()
        self.texts, self.labels, self.batch_size = written(count), labels(count), batch_size

    def __len__(self):
        return -(-len(self.texts) // self.batch_size)

    def __getitem__(self, index):
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return keras.utils.pad_sequences(self.texts[part]), self.labels[part]


class ByProcesses(Padded):
    """Whose processes say who they are."""

    def __init__(self, count, batch_size):
        super().__init__(count, batch_size)
        self.workers, self.use_multiprocessing, self.maker = 2, True, os.getpid()

    def __getitem__(self, index):
        if os.getpid() != self.maker:
            os.write(1, f"drawn by {os.getpid()}\n".encode())
        texts, part_labels = super().__getitem__(index)
        return keras.utils.pad_sequences(texts, 10), part_labels


def by_processes(batch_size):
    return ByProcesses(SAMPLES, batch_size), Padded(20, batch_size)


def padded_text(batch_size):
    return Padded(SAMPLES, batch_size), Padded(20, batch_size)


def classifier():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, "softmax")])
    return compiled(model, "sparse_categorical_crossentropy", metrics=["accuracy"])


def class_data():
    return (rows()[0], np.arange(SAMPLES) % 2), (rows(20)[0], np.arange(20) % 2)


def weighted_class_data():
    """As class weights of 1 and 9 have it."""
    (x, y), validation = class_data()
    return (x, y, 1.0 + 8.0 * y), validation


def full_options(jit_compile=True):
    """Mixed precision, several steps an execution, accumulated gradients, compiled by XLA."""
    keras.config.set_dtype_policy("mixed_float16")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.01, gradient_accumulation_steps=5)
    model.compile(optimizer, "mse", steps_per_execution=4, jit_compile=jit_compile)
    return model


def several_steps_an_execution():
    return dense(steps_per_execution=2)


def trained_before():
    """Its train function exists already, made by the user's own code."""
    model = dense()
    model.train_on_batch(*rows(8))
    return model


class Orbax(getattr(keras.callbacks, "OrbaxCheckpoint", keras.callbacks.ModelCheckpoint)):
    def __init__(self):  # without Orbax, which need not be installed
        keras.callbacks.Callback.__init__(self)


def callbacks():
    return [
        keras.callbacks.EarlyStopping("loss", patience=0, baseline=-1.0),
        keras.callbacks.ModelCheckpoint("autobatch-must-not-write-this.keras"),
        Orbax(),
    ]


class StopsByItself(keras.callbacks.Callback):
    """As people write it: by the validation's loss, wherever an epoch or the training ends."""

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite(logs["val_loss"]):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.ended_at = logs["val_loss"]


def stops_by_itself():
    return [StopsByItself()]


class StartsUnevenly(keras.callbacks.Callback):
    """Every second epoch begins 0.3 s late."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch % 2:
            time.sleep(0.3)


def starts_unevenly():
    return [StartsUnevenly()]


class SlowToTrace(layers.Layer):
    def call(self, x, training=False):
        if training:
            time.sleep(2)
        return x


def slow_to_trace():
    inputs = keras.Input((4,))
    return compiled(keras.Model(inputs, layers.Dense(1)(SlowToTrace()(inputs))))


class InAThread(keras.callbacks.Callback):
    """Keras calls it there, as long as all callbacks of steps are safe to be called so."""

    async_safe = True

    def on_train_batch_end(self, batch, logs=None):
        if threading.current_thread() is threading.main_thread():
            raise RuntimeError("in the main thread")


def in_a_thread():
    return [InAThread()]
