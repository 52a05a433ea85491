"""Of which module are these 128 bytes? A small convolution net that reads Python's own library.

A workload beside the shipped recipes, with RMSprop and dropout, for `bench/regret.py`.
"""

import sysconfig
from pathlib import Path

import keras
import numpy as np

Split = tuple[np.ndarray, np.ndarray]

MODULES = 20  # the largest of those that are a single file
LENGTH = 128  # bytes in a sample
BLOCK = 1024  # bytes: every tenth block of a file is for validation
TRAINING_WINDOWS, VALIDATION_WINDOWS = 1000, 100  # of each module


def build_model() -> keras.Model:
    """Embedded bytes, two convolutions, the greatest of each channel, logits for each module."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(256, 32),
            layers.Conv1D(64, 5, strides=2, activation="relu"),
            layers.Conv1D(64, 5, strides=2, activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dropout(0.2),
            layers.Dense(MODULES),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.RMSprop(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def load_data() -> tuple[Split, Split]:
    """Windows of `LENGTH` bytes, and the number of the module that they are from."""
    files = Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py")
    largest = sorted(files, key=lambda file: file.stat().st_size)[-MODULES:]
    rng = np.random.default_rng(0)
    training: list[np.ndarray] = []
    validation: list[np.ndarray] = []
    for file in sorted(largest):
        text = np.frombuffer(file.read_bytes(), dtype="uint8")
        blocks = text[: len(text) // BLOCK * BLOCK].reshape(-1, BLOCK)
        held_out = np.arange(len(blocks)) % 10 == 0
        training.append(windows(blocks[~held_out], TRAINING_WINDOWS, rng))
        validation.append(windows(blocks[held_out], VALIDATION_WINDOWS, rng))
    return labelled(training), labelled(validation)


def windows(blocks: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` windows, at random places of random blocks."""
    starts = rng.integers(0, BLOCK - LENGTH + 1, count)
    of = rng.integers(0, len(blocks), count)
    found: np.ndarray = blocks[of[:, None], starts[:, None] + np.arange(LENGTH)].astype("int32")
    return found


def labelled(modules: list[np.ndarray]) -> Split:
    labels = np.repeat(np.arange(len(modules)), [len(each) for each in modules])
    return np.concatenate(modules), labels
