"""Models for benches beside the shipped recipes. Named `models.py:function`; data is random."""

import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

Split = tuple[np.ndarray, np.ndarray]
Texts = tuple[dict[str, np.ndarray], np.ndarray]

SAMPLES = 4096


def _classifier(network: keras.Model) -> keras.Model:
    network.compile(
        keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=False)
    )
    return network


def resnet50() -> keras.Model:
    """keras.applications' ResNet50 with random weights on 32 x 32 images."""
    return _classifier(
        keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=10)
    )


def mobilenet_v2() -> keras.Model:
    """keras.applications' MobileNetV2 with random weights on 32 x 32 images."""
    return _classifier(
        keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), classes=10)
    )


def images(samples: int = SAMPLES, size: int = 32) -> tuple[Split, Split]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, size, size, 3), dtype="float32")
    y = rng.integers(0, 10, samples)
    held_out = samples // 8
    return (x[held_out:], y[held_out:]), (x[:held_out], y[:held_out])


class ProcessorTime(keras.callbacks.Callback):
    """Prints the processor time of all threads, the mean of some epochs, and then ends `fit`."""

    WARM_UP, EPOCHS = 10, 40

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.WARM_UP:
            self.began = time.process_time()
        elif epoch == self.WARM_UP + self.EPOCHS:
            taken = 1000 * (time.process_time() - self.began) / self.EPOCHS
            print(f"processor milliseconds of an epoch: {taken:.2f}", flush=True)
            self.model.stop_training = True


def processor_time() -> list[ProcessorTime]:
    return [ProcessorTime()]


def two_inputs(width: int = 64, length: int = 64) -> keras.Model:
    """A transformer that reads a question and a text, given as a dict."""
    question = keras.Input((length,), dtype="int32", name="question")
    text = keras.Input((length,), dtype="int32", name="text")
    embed = keras.layers.Embedding(1000, width)
    q, t = embed(question), embed(text)
    mixed = keras.layers.MultiHeadAttention(4, width // 4)(t, q)
    mixed = keras.layers.LayerNormalization()(t + mixed)
    mixed = keras.layers.LayerNormalization()(mixed + keras.layers.Dense(width, "gelu")(mixed))
    pooled = keras.layers.GlobalAveragePooling1D()(mixed)
    model = keras.Model({"question": question, "text": text}, keras.layers.Dense(2)(pooled))
    model.compile(
        keras.optimizers.AdamW(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


def deep_convnet() -> keras.Model:
    """ResNet50 on 64 x 64 images: for GPUs."""
    return _classifier(
        keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=10)
    )


def patterns(samples: int = 24576, size: int = 64) -> tuple[Split, Split]:
    """Images that can be learned: ten patterns under noise."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, samples)
    kinds = rng.standard_normal((10, size, size, 3), dtype="float32")
    x = rng.standard_normal((samples, size, size, 3), dtype="float32")
    x += 0.3 * kinds[y]
    held_out = samples // 12
    return (x[held_out:], y[held_out:]), (x[:held_out], y[:held_out])


def transformer(
    width: int = 512, depth: int = 6, length: int = 128, words: int = 1000
) -> keras.Model:
    """A language model that is pooled into a class: for GPUs."""
    layers = keras.layers
    tokens = keras.Input((length,), dtype="int32")
    x = layers.Embedding(words, width)(tokens)
    # 0, 1, 2, ... derived from the input, because a constant would leave this layer untrained.
    positions = keras.ops.cumsum(keras.ops.ones_like(tokens), axis=1) - 1
    x = x + layers.Embedding(length, width)(positions)
    for _ in range(depth):
        normal = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(8, width // 8)(normal, normal)
        normal = layers.LayerNormalization()(x)
        x = x + layers.Dense(width)(layers.Dense(4 * width, "gelu")(normal))
    model = keras.Model(tokens, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))
    model.compile(
        keras.optimizers.AdamW(3e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


def topics(samples: int = 65536, length: int = 128, words: int = 1000) -> tuple[Split, Split]:
    """Texts that can be learned: each topic has a tenth of its words from a list of its own."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, samples)
    x = rng.integers(0, words, (samples, length), dtype="int32")
    own = rng.random((samples, length)) < 0.1
    x = np.where(own, rng.integers(0, 20, (samples, length)) + 20 * y[:, None], x).astype("int32")
    held_out = samples // 16
    return (x[held_out:], y[held_out:]), (x[:held_out], y[:held_out])


def question_and_text(samples: int = SAMPLES, length: int = 64) -> tuple[Texts, Texts]:
    rng = np.random.default_rng(0)

    def part(count: int) -> Texts:
        x = {name: rng.integers(0, 1000, (count, length)) for name in ("question", "text")}
        return x, rng.integers(0, 2, count)

    return part(samples), part(samples // 8)


class Gan(keras.Model):
    """A generator and a discriminator with an optimizer each, in a train step of its own."""

    def __init__(self, latent: int = 32) -> None:
        super().__init__()
        self.latent = latent
        layers = keras.layers
        self.generator = keras.Sequential(
            [
                keras.Input((latent,)),
                layers.Dense(8 * 8 * 32, activation="relu"),
                layers.Reshape((8, 8, 32)),
                layers.Conv2DTranspose(16, 4, strides=2, padding="same", activation="relu"),
                layers.Conv2D(1, 3, padding="same"),
            ]
        )
        self.discriminator = keras.Sequential(
            [
                keras.Input((16, 16, 1)),
                layers.Conv2D(32, 3, strides=2, padding="same", activation="leaky_relu"),
                layers.Flatten(),
                layers.Dense(1),
            ]
        )
        self.loss_of = keras.losses.BinaryCrossentropy(from_logits=True)
        self.generator_optimizer = keras.optimizers.Adam(1e-4)
        self.discriminator_optimizer = keras.optimizers.Adam(1e-4)

    def call(self, x: Any) -> Any:
        return self.discriminator(x)

    def train_step(self, data: Any) -> dict[str, Any]:
        import tensorflow as tf

        real = data[0]
        count = tf.shape(real)[0]
        noise = tf.random.normal((count, self.latent))
        with tf.GradientTape(persistent=True) as tape:
            fake = self.generator(noise, training=True)
            judged_real = self.discriminator(real, training=True)
            judged_fake = self.discriminator(fake, training=True)
            ones, zeros = tf.ones_like(judged_real), tf.zeros_like(judged_fake)
            loss_d = self.loss_of(ones, judged_real) + self.loss_of(zeros, judged_fake)
            loss_g = self.loss_of(ones, judged_fake)
        for loss, network, optimizer in (
            (loss_d, self.discriminator, self.discriminator_optimizer),
            (loss_g, self.generator, self.generator_optimizer),
        ):
            weights = network.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"loss": loss_d}


def gan() -> keras.Model:
    model = Gan()
    model.compile(optimizer="adam", loss="binary_crossentropy")
    return model


def small_images(samples: int = 8192) -> tuple[Split, Split]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, 16, 16, 1), dtype="float32")
    y = np.ones((samples, 1), "float32")
    return (x[:-512], y[:-512]), (x[-512:], y[-512:])


def convnet() -> keras.Model:
    """A small convolution net on 32 x 32 images, on any backend of Keras."""
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return _classifier(network)


def small() -> keras.Model:
    network = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Flatten()])
    network.add(keras.layers.Dense(10, activation="softmax"))
    return _classifier(network)


def quick_pipeline(sleep_seconds: float = 0.0) -> tuple[Any, Any]:
    """Unbatched; each sample waits in the pipeline for `sleep_seconds`."""
    import tensorflow as tf

    (x, y), validation = small_images(2048 + 512)

    def wait(image: Any, label: Any) -> tuple[Any, Any]:
        if sleep_seconds:
            tf.py_function(lambda: time.sleep(sleep_seconds), [], [])
        return image, label

    def part(arrays: Split) -> Any:
        return tf.data.Dataset.from_tensor_slices(arrays)

    return part((x, y)).map(wait), part(validation)


def sleeping_pipeline() -> tuple[Any, Any]:
    return quick_pipeline(sleep_seconds=0.001)


def digits_in_long_epochs(times: int = 10) -> tuple[Split, Split]:
    """Those of recipes/digits.py, so many times in each epoch."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "recipes"))
    from digits import load_flat

    (x, y), validation = load_flat()
    return (np.tile(x, (times, 1)), np.tile(y, times)), validation
