"""A PyDataset is trained on as the user's own `fit` would: its batches are built when asked for."""

import itertools
import re
import threading

import keras
import numpy as np
import pytest
from asking import SHORT_TRIAL, ask, on_backends
from worker.test_targets import HERE, LIMIT

from autobatch.protocol import Benchmark, Extent, Fits, Measured, Probe, Trained, changed
from autobatch.worker.pydatasets import end_workers, of_pydataset
from autobatch.worker.source import Look, inner_shapes

pytestmark = pytest.mark.usefixtures("on_each_backend")

SHORT = Probe(batch_size=20, limit_bytes=LIMIT)
BENCHMARK = Benchmark(batch_size=20, seconds=0.2)
VERIFICATION = Probe(batch_size=20, limit_bytes=LIMIT, verify=True)


def ask_feed(tmp_path, task, data, *, model="dense", **more):
    target = {"folder": HERE, "model": f"kinds.py:{model}", "data": f"feeds.py:{data}"}
    return ask(tmp_path, task, **target, **more)[0]


@pytest.mark.parametrize("task", [SHORT, VERIFICATION])
def test_a_probe_holds_few_batches_and_leaves_them_to_the_workers_that_build_them(tmp_path, task):
    known = 2 * (Extent(samples=600, is_whole=True),)  # shapes were looked at, too
    found = ask_feed(tmp_path, task, "scarce", callbacks="feeds.py:as_given", extents=known)
    assert isinstance(found, Fits), found
    assert (found.ragged_samples, found.validated) == (0, task.verify)


@pytest.mark.parametrize(
    ("task", "kind"),
    [(changed(SHORT, seconds=0), Fits), (BENCHMARK, Measured)],
)
def test_validation_batches_are_not_built_where_nothing_validates(tmp_path, task, kind):
    found = ask_feed(tmp_path, task, "needless_validation")
    assert isinstance(found, kind), found


@on_backends("jax")
@pytest.mark.parametrize(
    ("task", "is_last"),
    [
        (changed(BENCHMARK, repeat=1), True),
        (changed(SHORT_TRIAL, steps=60, evaluate_at=(60,)), False),
    ],
)
def test_the_smaller_batch_is_the_last_where_it_is_timed_and_anywhere_in_trials(
    tmp_path, task, is_last
):
    """It is compiled for once, which is left out of rates at the end of an epoch."""
    target = {"folder": HERE, "model": "kinds.py:dense", "data": "feeds.py:numbered"}
    found, log = ask(tmp_path, task, **target)
    assert isinstance(found, Measured | Trained), found
    drawn = [int(each) for each in re.findall(r"drawn (\d+)", log.read_text())]
    _, *smaller = [place for place, index in enumerate(drawn) if index == 9]  # the first: looked at
    apart = {after - before for before, after in itertools.pairwise(smaller)}
    assert len(smaller) > 4
    assert (apart == {10}) == is_last
    epoch = drawn[smaller[0] + 1 : smaller[0] + 10]
    assert epoch != sorted(epoch)  # those at its beginning may be the shortest


def test_workers_of_an_epoch_that_was_left_end():
    class Slow(keras.utils.PyDataset):
        def __len__(self):
            return 100

        def __getitem__(self, index):
            return np.ones((4, 2), "float32"), np.ones((4, 1), "float32")

    class Leaves(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    def working():
        return [each for each in threading.enumerate() if each.name.startswith("Worker_")]

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(Slow(workers=2), verbose=0, callbacks=[Leaves()])
    assert working()
    end_workers()
    assert not working()


def test_the_longest_batch_may_be_the_first(tmp_path):
    task = changed(VERIFICATION, seconds=0)
    found = ask_feed(tmp_path, task, "longest_first", model="text_model")
    assert isinstance(found, Fits), found


class OfLengths(keras.utils.PyDataset):
    def __init__(self, lengths):
        super().__init__()
        self.lengths = lengths

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, index):
        return np.zeros((4, self.lengths[index]), "int32"), np.zeros((4, 1))


@pytest.mark.parametrize(
    "lengths", [[1] * 99 + [9], [9] + [1] * 99, [1 + n // 12 for n in range(100)], [1, 9]]
)
@on_backends("tensorflow")  # the data is the same on others
def test_the_longest_batch_is_looked_for_from_end_to_end(lengths):
    data = OfLengths(lengths)
    found = of_pydataset(data, 4, "data", Look(1.0), fixed_inputs=False)
    assert f"largest of {min(64, len(data))} batches, spread over all" in found.notes[0]
    assert inner_shapes(found.longest(4).data[0])[0] == (9,)
    assert not of_pydataset(OfLengths([9] * 100), 4, "data", Look(1.0), fixed_inputs=False).varied


@on_backends("tensorflow")
def test_data_whose_batches_vary_is_the_same_whichever_comes_first():
    one, other = (
        of_pydataset(OfLengths(lengths), 4, "data", Look(1.0), fixed_inputs=False).fingerprint()
        for lengths in ([1, 9], [9, 1])
    )
    assert one == other
