"""What `load_once()` returns is loaded once in a run, whatever kind of data is made of it."""

import importlib.util
import re
from pathlib import Path

import pytest
from asking import HERE, SHORT_TRIAL
from worker.test_kept import SLOW as SECONDS
from worker.test_kept import SOONER_SLOW

from autobatch.engine.local import LocalExecutor
from autobatch.protocol import (
    Fits,
    Inspect,
    Inspected,
    Probe,
    Target,
    TargetMissing,
    Trained,
    UserCodeFailed,
    changed,
)
from autobatch.units import Duration

CODE = """
import time
import keras
import numpy as np
import tensorflow as tf

def load_once():
    with open("{folder}/calls", "a") as file:
        file.write("x")
    part = lambda n: (np.arange(8 * n).reshape(n, 8) / 400, np.zeros((n, 1)))
    return part(50), part(10)

def load_arrays(loaded):
    return loaded

def load_dataset(loaded):
    return tuple(map(tf.data.Dataset.from_tensor_slices, loaded))

def load_batched(batch_size, loaded):
    return tuple(each.batch(batch_size) for each in load_dataset(loaded))

class Batches(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = list(batches)
    def __len__(self):
        return len(self.batches)
    def __getitem__(self, index):
        return self.batches[index]

def batches(x, y, size):
    for start in range(0, len(x), size):
        yield x[start : start + size], y[start : start + size]

def load_generators(batch_size, loaded):
    return tuple(batches(*part, batch_size) for part in loaded)

def load_pydatasets(batch_size, loaded):
    return tuple(map(Batches, load_generators(batch_size, loaded)))

def load_loaders(batch_size, loaded):
    from torch.utils.data import DataLoader, TensorDataset, default_convert
    parts = (TensorDataset(*default_convert(part)) for part in loaded)
    return tuple(DataLoader(part, batch_size) for part in parts)
"""
PROBE = Probe(batch_size=20, limit_bytes=1 << 30, verify=True, seconds=0)
TRIAL = changed(SHORT_TRIAL, batch_size=20)  # of more than two passes
LOADERS = ("arrays", "dataset", "batched", "pydatasets", "generators", "loaders")


@pytest.fixture
def user(tmp_path):
    return User(tmp_path)


class User:
    """Has those functions in a file, and what is added there; counts the calls of `load_once`."""

    def __init__(self, folder):
        self.folder = folder

    def asks(self, *tasks, loader="load_batched", more="", model=f"{HERE}/targets.py:model"):
        code = CODE.replace("{folder}", str(self.folder)) + more
        Path(self.folder, "train.py").write_text(code)
        target = Target(folder=str(self.folder), model=model, data=f"train.py:{loader}")
        executor = LocalExecutor(target, self.folder / "logs")
        return [executor.run(task, deadline_seconds=60) for task in tasks]

    @property
    def calls(self):
        return len(Path(self.folder, "calls").read_text())


@pytest.mark.parametrize("kind", LOADERS)
def test_data_of_any_kind_is_made_of_what_is_loaded_once(user, kind):
    if kind == "loaders" and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed (`make backends` does)")
    more = "import torch" if kind == "loaders" else ""
    found, trained = user.asks(Inspect(batch_size=20), TRIAL, loader=f"load_{kind}", more=more)
    assert isinstance(found, Inspected), found
    assert found.train_samples == 50
    assert not any("called again" in note for note in found.notes)
    assert isinstance(trained, Trained), trained
    assert user.calls == 1
    if kind == "batched":  # the lines to paste call it, too
        call = "load_batched(batch_size={size}, loaded=load_once())"
        assert found.fit_call == f"train, validation = {call}\nmodel.fit(train)"


SLOW = f"""
{SOONER_SLOW}
def load_once(load=load_once):
    time.sleep({SECONDS})
    return load()
"""


def test_how_long_it_took_is_told_and_is_no_time_of_other_processes(user):
    found = user.asks(Inspect(batch_size=20), more=SLOW)[0]
    (note,) = [note for note in found.notes if "load_once took" in note]
    assert "is kept" in note
    assert min(took(note), found.saved_seconds) >= SECONDS


def took(note):
    return Duration.parse(re.search(r" took ([\d.]+ m?s)", note)[1])


AS_FUNCTIONS = f"""
{SOONER_SLOW}
def load_once(load=load_once):
    time.sleep({SECONDS})
    found = load()
    return lambda: found

def load_called(loaded):
    return loaded()
"""


def test_arrays_that_a_quick_loader_makes_of_what_cannot_be_kept_are_kept(user):
    inspected, fits = user.asks(
        Inspect(batch_size=20), PROBE, loader="load_called", more=AS_FUNCTIONS
    )
    assert re.match("train.py:load_called took .* are kept", inspected.notes[0])
    assert min(took(inspected.notes[0]), inspected.saved_seconds) >= SECONDS
    assert isinstance(fits, Fits), fits
    assert user.calls == 1


COPIED_SLOWLY = """
class Slow:
    def __reduce__(self):
        return time.sleep, (0.2,)

def load_once(load=load_once):
    return load(), Slow()

def load_batched(batch_size, loaded):
    return tuple(each.batch(batch_size) for each in load_dataset(loaded[0]))
"""


def test_nor_is_what_a_copy_of_it_took(user):
    found = user.asks(Inspect(batch_size=20), more=COPIED_SLOWLY + SLOW)[0]
    assert found.saved_seconds >= 0.2 + SECONDS


WRITING = """
def load_negated(batch_size, loaded):
    (x, y), validation = loaded
    assert x.max() > 0, "negated before"
    x *= -1
    return batches(x, y, batch_size), batches(*validation, batch_size)
"""


def test_what_a_loader_writes_into_it_no_later_call_sees(user):
    found = user.asks(Inspect(batch_size=20), TRIAL, loader="load_negated", more=WRITING)
    assert isinstance(found[1], Trained), found


DRAWING = """
def load_once():
    return np.random.rand(50, 8)

def load_drawn(loaded):
    x = loaded[np.random.permutation(50)]
    return (x, x[:, :1]), (x[:10], x[:10, :1])
"""


def test_what_is_drawn_at_random_is_the_same_where_it_is_called_and_where_it_was_kept(user):
    one = user.asks(TRIAL, loader="load_drawn", more=DRAWING)
    same = user.asks(Inspect(batch_size=20), TRIAL, loader="load_drawn", more=DRAWING)
    assert one[0].evaluations == same[1].evaluations


NOT_KEPT = {
    "cannot be kept": """
load = load_once
def load_once():
    return load(), lambda: 1
def load_batched(batch_size, loaded):
    return tuple(each.batch(batch_size) for each in load_dataset(loaded[0]))
""",
    "it sets what the model is built from, or what the loader reads": """
load, parts = load_once, {}
def load_once():
    parts["all"] = load()
    return 0
def load_batched(batch_size, loaded):
    return tuple(each.batch(batch_size) for each in load_dataset(parts["all"]))
""",
}


@pytest.mark.parametrize("why", NOT_KEPT)
def test_where_it_cannot_be_kept_it_is_called_in_each_process_and_that_is_told(user, why):
    found, fits = user.asks(Inspect(batch_size=20), PROBE, more=NOT_KEPT[why] + SLOW)
    assert isinstance(fits, Fits), fits
    assert why in found.notes[0] and "called again in each process" in found.notes[0]
    assert user.calls == 2


@pytest.mark.parametrize("why", NOT_KEPT)
def test_where_that_takes_no_time_it_is_not_told(user, why):
    found = user.asks(Inspect(batch_size=20), more=NOT_KEPT[why])[0]
    assert isinstance(found, Inspected), found
    assert not any("load_once took" in note for note in found.notes)


LAMBDA = f"""
def load_once(load=load_once):
    return load(), lambda: 1

def load_generated(batch_size, loaded):
    return load_generators(batch_size, loaded[0])

def load_slowly(loaded):
    time.sleep({SECONDS})
    return loaded[0]
"""


def test_a_generator_that_has_ended_calls_what_is_not_kept_again_and_that_is_told(user):
    found = user.asks(Inspect(batch_size=20), loader="load_generated", more=LAMBDA + SLOW)[0]
    assert "in each process, and whenever a generator of it has ended" in found.notes[0]


def test_what_only_a_loader_whose_arrays_are_kept_needs_is_called_once(user):
    found, fits = user.asks(Inspect(batch_size=20), PROBE, loader="load_slowly", more=LAMBDA + SLOW)
    assert isinstance(fits, Fits), fits
    assert user.calls == 1
    assert ["load_slowly" in note for note in found.notes if "took" in note] == [True]
    assert found.saved_seconds >= 2 * SECONDS


SCHEDULED = """
def build_model():
    found = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    found.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 100)), "mse")
    return found
"""


def test_what_is_slow_and_not_kept_is_not_asked_again_whether_a_schedule_follows_it(user):
    more = NOT_KEPT["cannot be kept"] + SLOW + SCHEDULED
    found = user.asks(Inspect(batch_size=20), more=more, model="train.py:build_model")[0]
    assert found.learning_rate_schedule == "CosineDecay"
    assert user.calls == 1


MODEL = f"""
{SOONER_SLOW}
load, layer = load_once, keras.layers.Normalization()
def load_once():
    layer.adapt(load()[0][0])
    return load()

def load_slowly(loaded):
    time.sleep({SECONDS})
    return loaded

def build_model():
    assert layer.built
    found = keras.Sequential([keras.Input((8,)), layer, keras.layers.Dense(1)])
    found.compile("sgd", "mse")
    return found
"""


def test_what_it_sets_the_model_has_in_every_process(user):
    """Whatever its loader returns, which is slow, would be kept else."""
    names = {"loader": "load_slowly", "model": "train.py:build_model"}
    found, fits = user.asks(Inspect(batch_size=20), PROBE, more=MODEL, **names)
    assert isinstance(fits, Fits), fits
    told = [note for note in found.notes if "load_slowly took" in note]
    assert "in each process, since train.py:load_once sets what the model" in told[0]
    assert "would be paid once" not in told[0]


SLOW_LOADER = f"""
{SOONER_SLOW}
def load_slowly(loaded):
    time.sleep({SECONDS})
    return loaded
"""


def test_arrays_that_a_slow_loader_makes_of_it_are_kept_themselves(user):
    found = user.asks(Inspect(batch_size=20), loader="load_slowly", more=SLOW_LOADER)[0]
    assert "its arrays" in found.notes[0] and "are kept" in found.notes[0]


ELSEWHERE = """
import os
def load_once(load=load_once):
    os.environ["UNITS_OF_MODEL"] = "3"
    return load()

def build_model():
    layers = [keras.layers.Dense(int(os.environ.get("UNITS_OF_MODEL", 1))), keras.layers.Dense(1)]
    found = keras.Sequential([keras.Input((8,)), *layers])
    found.compile("sgd", "mse")
    return found
"""


def test_a_model_that_is_another_without_it_is_refused(user):
    """Where it was not seen that it sets what the model is built from."""
    found = user.asks(Inspect(batch_size=20), PROBE, more=ELSEWHERE, model="train.py:build_model")
    assert isinstance(found[0], Inspected), found[0]
    assert isinstance(found[1], UserCodeFailed), found[1]
    told = "of 11 parameters, and of 31 where train.py:load_once was called before it"
    assert told in found[1].message


def test_a_loader_that_asks_for_it_where_there_is_none_is_refused(user):
    found = user.asks(Inspect(batch_size=20), more="\ndel load_once")[0]
    assert isinstance(found, TargetMissing), found
    assert "has a parameter `loaded`, and train.py no function `load_once`" in found.message
    assert "def load_once():" in found.hint


def test_a_default_stands_where_there_is_none(user):
    more = "\nloads = load_once\ndel load_once\ndef load_data(loaded=None):\n    return loads()"
    found = user.asks(Inspect(batch_size=20), loader="load_data", more=more)[0]
    assert isinstance(found, Inspected), found


def test_one_that_needs_arguments_is_refused(user):
    found = user.asks(Inspect(batch_size=20), more="\ndef load_once(path): pass")[0]
    assert isinstance(found, TargetMissing), found
    assert "load_once() cannot be called: missing a required argument: 'path'" in found.message


def test_one_that_fails_is_reported_with_its_line(user):
    found = user.asks(Inspect(batch_size=20), more="\ndef load_once():\n    return 1 / 0")[0]
    assert isinstance(found, UserCodeFailed), found
    assert "ZeroDivisionError" in found.message
    assert "in load_once" in found.traceback
