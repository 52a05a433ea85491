"""Samples that are drawn to look at are the same, however large the batches that they come in."""

import numpy as np
import pytest
import tensorflow as tf

from autobatch.worker.arrays import Arrays
from autobatch.worker.backends import load
from autobatch.worker.batches import of_dataset
from autobatch.worker.datasets import unbatched
from autobatch.worker.sample import groups
from autobatch.worker.source import Look

ROWS = np.arange(50, dtype="float32")[:, None]


def rows():
    return tf.data.Dataset.from_tensor_slices((ROWS, ROWS))


def built(size):
    return of_dataset(rows().batch(size), size, "data", Look(5.0), ends=False)


@pytest.mark.parametrize(
    "source",
    [
        Arrays(ROWS, ROWS, None, 50, shuffled=False),
        unbatched(rows(), "data", Look(5.0), ends=False),
        *map(built, (1, 7, 50)),
    ],
    ids=["arrays", "samples", "of 1", "of 7", "of 50"],
)
@pytest.mark.parametrize(
    ("count", "size", "firsts"),
    [(40, 16, [0, 16]), (40, 40, [0]), (256, 4, [*range(0, 48, 4)]), (256, 64, [0])],
)
def test_groups_are_alike_whatever_the_batches(source, count, size, firsts):
    found = groups(source, count, size, load("tensorflow"))
    expected = [ROWS[first : first + min(size, 50)].tolist() for first in firsts]
    assert [np.asarray(x).tolist() for x, _ in found] == expected


def test_groups_that_cannot_be_joined_are_given_as_they_come():
    ragged = rows().map(lambda x, y: (tf.RaggedTensor.from_tensor(x[None]), y)).batch(20)
    source = of_dataset(ragged, 20, "data", Look(5.0), ends=False)
    found = groups(source, 30, 5, load("tensorflow"))
    assert [int(x.shape[0]) for x, _ in found] == [20, 20]
