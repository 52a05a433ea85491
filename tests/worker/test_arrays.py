"""Arrays, in whatever a user keeps them, go to `fit` as Keras makes them of it."""

import keras
import numpy as np
import pytest

from autobatch.protocol import Extent
from autobatch.worker.arrays import arrays
from autobatch.worker.parts import may_be_for

ROWS = 6
COLUMNS = {
    "numbers": [0.5, 1.5] * 3,
    "classes": [0, 1] * 3,
    "flags": [True, False] * 3,
}


class Looking(keras.Model):
    """Sees what its first batch is."""

    def train_step(self, batch):
        self.seen = keras.tree.map_structure(lambda each: (each.dtype, tuple(each.shape)), batch)
        return {"loss": keras.ops.zeros(())}


def seen_in_fit(x, y):
    model = Looking()
    model.compile(run_eagerly=True)
    model.fit(x, y, batch_size=ROWS, verbose=0)
    return model.seen


@pytest.mark.parametrize("names", ["numbers", "classes", ["numbers", "flags", "classes"]])
def test_what_pandas_holds_is_trained_as_keras_has_it(names):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(COLUMNS)
    x, y = frame[names], frame["classes"]
    found = arrays((x, y), "data")
    assert found.count == ROWS
    assert seen_in_fit(found.x, found.y) == seen_in_fit(x, y)


def test_samples_drawn_at_random_keep_their_weights():
    """As those that trials are validated on, of many."""
    x = np.arange(50.0)
    drawn = arrays((x, -x, 10 * x), "data").spread(10, seed=0)
    assert drawn.count == len({*drawn.x.tolist()}) == 10
    assert (-drawn.y).tolist() == drawn.x.tolist()
    assert drawn.sample_weight.tolist() == (10 * drawn.x).tolist()


def test_tensors_that_numpy_does_not_read_are_trained_on():
    """As on a GPU; or of what is differentiated."""
    torch = pytest.importorskip("torch")
    x = torch.ones(ROWS, 2, requires_grad=True)
    assert arrays((x, x), "data").x.tolist() == x.tolist()


@pytest.mark.parametrize(("inspected", "may_be"), [((), True), ((90,), True), ((64,), False)])
def test_arrays_of_as_many_samples_as_were_inspected_are_not_cut_otherwise(inspected, may_be):
    """A loader that is told the size is not called again for what it did not cut."""
    known = [Extent(samples=count, is_whole=True) for count in inspected]
    found = arrays((np.zeros((64, 2)), np.zeros(64)), "validation")
    assert may_be_for(found, 16, known) == may_be
    assert not may_be_for(found, 48, known)
