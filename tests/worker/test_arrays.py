"""Arrays, in whatever a user keeps them, go to `fit` as Keras makes them of it."""

import keras
import numpy as np
import pytest

from autobatch.worker.arrays import arrays

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
