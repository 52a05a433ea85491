"""What a loader sets that the model is made from: in whatever way, and wherever it is read."""

import sys
import textwrap

import pytest

from autobatch.protocol import Target
from autobatch.worker import globals
from autobatch.worker.target import find_callable

BEGINNING = """
import functools, logging, types
import keras, numpy as np
import names_elsewhere
def load():
    pass
def build():
    pass
"""
ELSEWHERE = """
width_there = 1
def widen_there():
    return width_there
"""
ENCODER = """
class Encoder:
    def fit(self, labels):
        self.classes_ = np.unique(labels)
encoder = Encoder()
"""
CLASS = """
class Model:
    width = 1
    def __init__(self):
        self.layers = [words]
"""
# (at the top, in the loader, in the builder)
SETS = {
    "an encoder": (ENCODER, "encoder.fit([2, 3])", "len(encoder.classes_)"),
    "an item": ("table = {}", "table['words'] = 3", "table['words']"),
    "an inner item": ("table = {'a': [{}]}", "table['a'][0]['b'] = 3", "table"),
    "an attribute": ("cfg = types.SimpleNamespace(n=1)", "cfg.n = 2", "cfg.n"),
    "of another module": ("", "names_elsewhere.width_there = 2", "names_elsewhere.width_there"),
    "read there": ("", "names_elsewhere.width_there = 2", "names_elsewhere.widen_there()"),
    "imported": ("", "names_elsewhere.width_there = 2", "from names_elsewhere import width_there"),
    "of slots": (
        "class Slots:\n    __slots__ = ('n',)\ncfg = Slots()\ncfg.n = 1",
        "cfg.n = 2",
        "cfg.n",
    ),
    "a list": ("words = []", "words.extend(['a'])", "len(words)"),
    "an array": ("means = np.zeros(3)", "means[1] = 2", "means"),
    "read by a class": (f"words = []{CLASS}", "words.append(1)", "Model()"),
    "of a class": (f"words = []{CLASS}", "Model.width = 2", "Model.width"),
    "of a function": ("", "build.width = 2", "1"),
    "in a partial": (
        "words = []\nmake = functools.partial(len, words)",
        "words.append(1)",
        "make()",
    ),
    "by a decorated one": (
        "words = []\n@functools.lru_cache\ndef make():\n    return len(words)",
        "words.append(1)",
        "make()",
    ),
    "by a table of functions": (
        "words = []\ndef make():\n    return len(words)\nmakers = {'a': make}",
        "words.append(1)",
        "makers['a']()",
    ),
    "shared": ("words = []\na, b = [words], {'b': [words]}", "a[0].append(1)", "b"),
    "by name": ("words = []", "words.append(1)", "globals()['words']"),
    "a layer": ("layer = keras.layers.Normalization()", "layer.adapt(np.ones((2, 2)))", "layer"),
}
SETS_NOTHING = {
    "a memo": ("memo = None", "global memo; memo = np.zeros(3)", "1"),
    "a cache": ("cached = {}", "cached['x'] = np.zeros(3)", "1"),
    "what is as it was": ("table = {'a': 1}", "table['a'] = 1", "table"),
    "draws": ("rng = np.random.default_rng(0)", "rng.permutation(3)", "rng.random()"),
    "a log": ("log = logging.getLogger('here')", "log.info('loads')", "log.info('builds')"),
    "a layer alone": ("", "keras.layers.Normalization().adapt(np.ones((2, 2)))", "keras.layers"),
    "features": (
        "base = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])",
        "base.predict(np.ones((2, 2)), verbose=0)",
        "base.output_shape",
    ),
}


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """A function that says whether the loader of a file sets what its model is made from.

    The tests' own modules, which a worker has not, are left out: to walk them takes a second.
    """
    there = globals.users_modules
    monkeypatch.setattr(
        globals,
        "users_modules",
        lambda packages: [m for m in there(packages) if m.__file__.startswith(str(tmp_path))],
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "names_elsewhere.py").write_text(ELSEWHERE)

    def called(code, callbacks=None, model="build"):
        path = tmp_path / "sets_globals.py"
        path.write_text(BEGINNING + textwrap.dedent(code))
        named = {"data": "sets_globals.py:load", "callbacks": callbacks}
        target = Target(folder=str(tmp_path), model=f"sets_globals.py:{model}", **named)
        loader = find_callable(target, "data")
        before = globals.marks(target)
        loader()
        return globals.sets_what_is_read(target, globals.changed(before, target))

    yield called
    for name in ("sets_globals", "names_elsewhere"):
        sys.modules.pop(name, None)


def code_of(first, within, read):
    lines = "\n    ".join(within.split("; "))
    return f"{first}\ndef load():\n    {lines}\ndef build():\n    return {read}\n".replace(
        "return from", "from"
    )


@pytest.mark.parametrize("name", SETS)
def test_what_the_model_is_made_from_is_seen_to_be_set(sets, name):
    assert sets(code_of(*SETS[name]))


@pytest.mark.parametrize("name", SETS_NOTHING)
def test_what_the_model_is_not_made_from_may_be_set(sets, name):
    assert not sets(code_of(*SETS_NOTHING[name]))


@pytest.mark.parametrize("model", ["build", "make"])
def test_an_object_may_load_and_build(sets, model):
    code = """
    class Experiment:
        def load(self):
            self.width = 3
        def build(self):
            return self.width
        __call__ = build
    experiment = make = Experiment()
    load, build = experiment.load, experiment.build
    """
    assert sets(code, model=model)


def test_callbacks_may_be_made_from_what_the_loader_sets(sets):
    code = code_of("words = []", "words.append(1)", "1") + "def watch():\n    return words\n"
    assert not sets(code)
    sys.modules.pop("sets_globals")
    assert sets(code, callbacks="sets_globals.py:watch")


def test_of_what_is_large_little_is_looked_at(sets):
    code = code_of("many = [[] for _ in range(10**5)]", "many[-1].append(1)", "many")
    assert not sets(code)
    sys.modules.pop("sets_globals")
    assert sets(code.replace("many[-1].append(1)", "many.append([])"))


def test_however_much_there_is_what_is_nearest_is_looked_at(sets, tmp_path):
    many = "for i in range(300):\n    globals()[f'of_{i}'] = [[j] for j in range(500)]\n"
    assert sets(code_of(many, "of_299.append([])", "of_299"))
    looked_at = globals.marks(Target(folder=str(tmp_path), model="sets_globals.py:build"))
    assert sum(len(parts) for _, parts in looked_at.values()) < globals.LOOKS_IN_ALL + 10_000
