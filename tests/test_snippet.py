"""What is pasted under the user's own code trains as the trials did, of which nothing is measured.

Their code is really looked at; what trains is pretended.
"""

import runpy
import textwrap

from pretend import InspectingExecutor, session

from autobatch import tuner
from autobatch.protocol import Target

BEGINNING = """
import keras, numpy as np
SGD = keras.optimizers.SGD
x = np.zeros((512, 4), "float32")
y = x[:, :1]
def load_data():
    return (x, y), (x[:16], y[:16])
def compiled(optimizer):
    found = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    found.compile(optimizer, "mse")
    return found
"""
FOR_ITS_SIZE = """
def build_model(batch_size=32, scale=1.0):
    rate, steps = scale * 0.01 * batch_size / 32, 64_000 // batch_size
    return compiled(SGD(keras.optimizers.schedules.CosineDecay(rate, steps)))
"""


def tune(tmp_path, code, *overrides, **target):
    """(the answer, the user's names)."""
    (tmp_path / "train.py").write_text(BEGINNING + textwrap.dedent(code))
    named = {"model": "train.py:build_model", "data": "train.py:load_data"} | target
    asked = Target(folder=str(tmp_path), backend="tensorflow", **named)
    device = InspectingExecutor(asked, tmp_path)
    with session(tmp_path, device, overrides, target=asked) as opened:
        found = tuner.tune(opened)
    return found, runpy.run_path(str(tmp_path / "train.py"))


def pasted(found, users, **more):
    """The names there are after it."""
    names = users | {"model": users["build_model"]()} | more
    exec(found.snippet, names)
    return names


def test_a_model_that_goes_with_the_batch_size_is_built_for_the_new_one(tmp_path):
    found, users = tune(tmp_path, FOR_ITS_SIZE, args={"scale": 2.0})
    assert found.batch_size != 32
    assert found.snippet.startswith(
        f"model = build_model(batch_size={found.batch_size}, scale=2.0)"
    )
    schedule = pasted(found, users)["model"].optimizer._learning_rate
    assert schedule.decay_steps == 64_000 // found.batch_size


def test_at_the_users_own_size_the_model_stays_the_one_that_there_is(tmp_path):
    found, _ = tune(tmp_path, FOR_ITS_SIZE, "batch_sizes={min: 32, max: 32}")
    assert "build_model" not in found.snippet


def test_callbacks_that_go_with_the_batch_size_are_made_for_the_new_one(tmp_path):
    code = """
        def build_model():
            return compiled("sgd")
        made = []
        def stops(batch_size):
            made.append(batch_size)
            return [keras.callbacks.EarlyStopping("loss")]
        """
    found, users = tune(tmp_path, code, callbacks="train.py:stops")
    assert found.batch_size != 32
    assert pasted(found, users)["made"] == [found.batch_size]
