"""BatchNormalization is evaluated with the statistics of the data, and trained on with its own."""

import keras
import numpy as np
import pytest

from autobatch.worker.batch_norm import reestimated


def test_statistics_are_those_of_the_data_within_and_what_they_were_after():
    layer = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((2,)), layer])
    x = np.random.default_rng(0).normal([3, -1], [2, 0.5], (4096, 2)).astype("float32")
    with reestimated(model, [x]):
        assert layer.moving_mean.numpy() == pytest.approx(x.mean(axis=0), rel=1e-4)
        assert layer.moving_variance.numpy() == pytest.approx(x.var(axis=0), rel=1e-3)
        shown = model.predict(x, verbose=0)
        assert shown.std(axis=0) == pytest.approx([1, 1], rel=1e-2)
    assert layer.moving_mean.numpy().tolist() == [0, 0]
    assert layer.moving_variance.numpy().tolist() == [1, 1]
    assert layer.momentum == 0.99


def test_of_several_batches_statistics_are_the_means_of_theirs():
    layer = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((2,)), layer])
    parts = [np.random.default_rng(k).normal(k, 1 + k, (64, 2)).astype("float32") for k in range(3)]
    with reestimated(model, parts):
        mean = np.mean([part.mean(axis=0) for part in parts], axis=0)
        assert layer.moving_mean.numpy() == pytest.approx(mean, rel=1e-4)
        variance = np.mean([part.var(axis=0) for part in parts], axis=0)
        assert layer.moving_variance.numpy() == pytest.approx(variance, rel=1e-4)
