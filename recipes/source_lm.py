"""A language model of Python source: a small causal transformer that predicts the next byte.

It reads Python's own standard library, which every machine that can run this file has, so nothing
is downloaded. Whole files are set aside for validation, one in ten. Only Keras' own API is used,
so that nothing here is tied to one backend.
"""

import sysconfig
from pathlib import Path

import keras
import numpy as np

Split = tuple[np.ndarray, np.ndarray]

LENGTH = 64  # bytes that the model sees at once
VOCABULARY = 256  # every value of a byte
TRAINING_WINDOWS = 20_000  # 1.3 MB of the 3.5 MB there are
VALIDATION_WINDOWS = 1000  # enough to compare settings, and quick to evaluate


def build_model(width: int = 96, blocks: int = 2, heads: int = 4) -> keras.Model:
    """Byte and position embeddings, `blocks` of attention and perceptron, logits for each byte."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    # 0, 1, 2, ... derived from the input, because a constant would leave this layer untrained.
    positions = keras.ops.cumsum(keras.ops.ones_like(tokens), axis=1) - 1
    x = keras.layers.Embedding(VOCABULARY, width)(tokens)
    x = x + keras.layers.Embedding(LENGTH, width)(positions)
    for _ in range(blocks):
        y = keras.layers.LayerNormalization()(x)
        x = x + keras.layers.MultiHeadAttention(heads, width // heads)(y, y, use_causal_mask=True)
        y = keras.layers.LayerNormalization()(x)
        y = keras.layers.Dense(4 * width, activation="gelu")(y)
        x = x + keras.layers.Dense(width)(y)
    x = keras.layers.LayerNormalization()(x)
    model = keras.Model(tokens, keras.layers.Dense(VOCABULARY)(x))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=3e-4, weight_decay=0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def load_data() -> tuple[Split, Split]:
    """Windows of `LENGTH` bytes; the target is the same window, one byte later."""
    # Only single-file modules: no packages, and with them no tests and nothing pip installed. The
    # names that start with _ are left out because some of those differ from machine to machine.
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py"))
    validation = files[::10]
    training = [file for file in files if file not in validation]
    return windows(training, TRAINING_WINDOWS), windows(validation, VALIDATION_WINDOWS)


def windows(files: list[Path], count: int) -> Split:
    """Inputs and targets: `count` windows, evenly spread over the text of the files."""
    text = np.frombuffer(b"".join(file.read_bytes() for file in files), dtype="uint8")
    starts = np.linspace(0, len(text) - LENGTH - 1, count, dtype="int64")
    chunks = text[starts[:, None] + np.arange(LENGTH + 1)].astype("int32")
    return chunks[:, :-1], chunks[:, 1:]
