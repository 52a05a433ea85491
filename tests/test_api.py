"""The Python API: the same functions, results and errors as the commands."""

import subprocess
import sys
import threading
from itertools import groupby
from pathlib import Path

import pytest
from pretend import InspectingExecutor

import autobatch
from autobatch import opening

HERE = Path(__file__).parent


def test_errors_are_exceptions_with_an_exit_code():
    with pytest.raises(autobatch.AutobatchError, match=r"nowhere\.yaml") as error:
        autobatch.recommend("nowhere.yaml")
    assert error.value.exit_code == 2


def test_what_is_wrong_in_an_argument_is_said_of_the_argument():
    with pytest.raises(autobatch.AutobatchError) as error:
        autobatch.benchmark(f"{HERE}/targets.py:model", sizes=[16, 0])
    assert str(error.value).startswith("sizes=[16, 0]: benchmark.sizes[1] cannot be 0.")


def test_one_override_may_be_given_as_it_is():
    for work in (autobatch.probe, autobatch.benchmark, autobatch.recommend):
        with pytest.raises(autobatch.AutobatchError) as error:
            work(f"{HERE}/targets.py:model", overrides="trials.seeds=0")
        assert str(error.value).startswith("--set trials.seeds=0: trials.seeds cannot be 0.")


def test_the_api_is_at_most_eight_names():
    assert 0 < len(autobatch.__all__) <= 8


NOTEBOOK = """
import builtins
import contextlib
import io
import pathlib
import sys
import threading

import keras
import numpy as np

import autobatch
import autobatch.stages.probes as probes

probes.QUICK_SECONDS = probes.SHORT_SECONDS = 0.0  # a few steps will do
with pathlib.Path("ran").open("a") as file:
    file.write("x")
sys.path.append(pathlib.Path("src"))  # which Python passes over
ZMQInteractiveShell = type("ZMQInteractiveShell", (), {})  # by its name Rich knows a notebook
builtins.get_ipython = ZMQInteractiveShell
WIDTH = 8  # what functions refer to goes with them
x = np.ones((40, 4), "float32")


def build_model():
    layers = [keras.Input((4,)), keras.layers.Dense(WIDTH), keras.layers.Dense(1)]
    network = keras.Sequential(layers)
    network.compile("sgd", "mse")
    return network


def load_data():
    return (x[:30], x[:30, :1]), (x[30:], x[30:, :1])


@keras.saving.register_keras_serializable("mine")
class Wider(keras.layers.Layer):
    def call(self, inputs):
        return inputs * WIDTH


class Shifted(keras.layers.Layer):
    def call(self, inputs):
        return inputs + 1.0


def bent(inputs):
    return keras.ops.tanh(inputs)


def distance(truth, predicted):
    return keras.ops.mean(keras.ops.abs(truth - predicted), axis=-1)


few = ["batch_sizes.max=8"]
found = autobatch.probe(build_model, data=load_data, overrides=few)
assert found.largest_fitting == 8, found
shown = io.StringIO()
with contextlib.redirect_stdout(shown):
    assert "largest that fits" in found._repr_html_()
assert shown.getvalue() == "", shown.getvalue()  # the notebook shows it, and Rich does not too
again = []
assert autobatch.probe(build_model, data=load_data, overrides=few, on_event=again.append) == found
assert all(event.reused for event in again if hasattr(event, "reused") and event.stage == "probe")
arrays = ((x, x[:, :1]), (x, x[:, :1]))
layers = [keras.Input((4,)), Wider(), Shifted(), keras.layers.Dense(1, activation=bent)]
model = keras.Sequential(layers)
model.compile("sgd", distance)
found = autobatch.probe(model, data=arrays, overrides=few)
assert found.largest_fitting == 8, found
assert autobatch.probe(model, data=arrays, overrides=few) == found  # from the record
lock = threading.Lock()
try:
    autobatch.probe(lambda: lock)
except autobatch.AutobatchError as error:
    assert "cannot be sent to another process" in str(error), error
else:
    raise AssertionError("a lock was pickled")
print("done")
"""


def test_a_notebook_probes_what_it_defines_and_shows_it_and_no_worker_runs_it_again(tmp_path):
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    ran = subprocess.run(
        [sys.executable, "notebook.py"], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert ran.stdout == "done\n", ran.stderr
    assert (tmp_path / "ran").read_text() == "x"  # though it has no main guard


def test_calls_from_several_threads_wait_for_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "LocalExecutor", InspectingExecutor)
    told, second_is_told, results = [], threading.Event(), []

    def call(name):
        result = autobatch.probe(
            f"{HERE}/targets.py:model",
            overrides=["batch_sizes.max=8"],
            run_directory=tmp_path / name,
            on_event=lambda event: tell(name, event),
        )
        results.append(result)

    def tell(name, event):
        told.append((name, event))
        if name == "second":
            second_is_told.set()
        elif len(told) == 1:
            second.start()
            second_is_told.wait(60)

    second = threading.Thread(target=call, args=("second",))
    call("first")
    second.join()
    assert "is at work in this Python process" in told[1][1].text
    assert [name for name, _ in groupby(name for name, _ in told)] == ["first", "second"] * 2
    assert all(isinstance(each, autobatch.ProbeResult) for each in results)
    assert [(each.largest_fitting, each.bounded_by) for each in results] == [(8, "range")] * 2


def test_data_beside_a_recipe_is_refused():
    with pytest.raises(autobatch.AutobatchError, match="data= was given beside"):
        autobatch.probe("recipe.yaml", data=lambda: None)


@pytest.mark.parametrize("setting", ["callbacks=made.py:make", "data = 'made.py:load'"])
def test_a_file_that_an_override_names_beside_objects_lies_where_the_script_does(
    monkeypatch, tmp_path, setting
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mode.py").write_text("")
    with pytest.raises(autobatch.AutobatchError) as error:
        autobatch.probe(dict, overrides=setting)
    there = f"There is no file {tmp_path / 'made.py'}.\nDid you mean {tmp_path / 'mode.py'}?"
    assert str(error.value) == there
