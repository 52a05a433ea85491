"""Handwritten digits, 8 x 8 pixels, which come with scikit-learn: nothing to download.

Two models to tune in minutes on any laptop: a small perceptron with plain SGD (`build_mlp`) and a
small convolutional network with batch normalization and Adam (`build_cnn`). 1437 images are for
training and 360 for validation.
"""

import keras
import numpy as np
from sklearn.datasets import load_digits

Split = tuple[np.ndarray, np.ndarray]

TRAINING_IMAGES = 1437  # of 1797: four fifths


def build_mlp(width: int = 128) -> keras.Model:
    """Two hidden layers, and the optimizer that a first tutorial would use."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(width, activation="relu"),
            keras.layers.Dense(width, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate=0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def build_cnn(filters: tuple[int, ...] = (48, 64, 64)) -> keras.Model:
    """Three convolutions, each followed by batch normalization."""
    layers = [keras.Input((8, 8, 1))]
    for count in filters:
        layers += [
            keras.layers.Conv2D(count, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ]
    head = [keras.layers.MaxPooling2D(), keras.layers.Flatten(), keras.layers.Dense(10)]
    model = keras.Sequential([*layers, *head])
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def load_flat() -> tuple[Split, Split]:
    """Training and validation data with each image as 64 numbers from 0 to 1."""
    digits = load_digits()
    x = (digits.data / 16).astype("float32")
    y = digits.target.astype("int32")
    # Unshuffled, the last fifth is unlike the rest: a linear model gets 90 % of it right, not 97 %.
    order = np.random.default_rng(0).permutation(len(x))
    train, validation = order[:TRAINING_IMAGES], order[TRAINING_IMAGES:]
    return (x[train], y[train]), (x[validation], y[validation])


def load_images() -> tuple[Split, Split]:
    """The same split with each image as 8 x 8 pixels and one channel."""
    (x_train, y_train), (x_val, y_val) = load_flat()
    return (x_train.reshape(-1, 8, 8, 1), y_train), (x_val.reshape(-1, 8, 8, 1), y_val)
