"""What is pasted under the user's own code trains as the trials did, of which nothing is measured.

Their code is really looked at; what trains is pretended.
"""

import itertools
import runpy
import textwrap

import keras
import numpy as np
import pytest
from pretend import InspectingExecutor, PretendDevice, inspected, session

from autobatch import tuner
from autobatch.objects import target_of
from autobatch.protocol import Extent, Target

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

# fit's own default
of_batches = pytest.mark.filterwarnings("ignore:.shuffle=True. was passed")


def tune(tmp_path, code, *overrides, **target):
    """(the answer, the user's names)."""
    users = written(tmp_path, code)
    named = {"model": "train.py:build_model", "data": "train.py:load_data"} | target
    return answered(tmp_path, named, *overrides), users


def written(tmp_path, code):
    """The names in the user's file."""
    (tmp_path / "train.py").write_text(BEGINNING + textwrap.dedent(code))
    return runpy.run_path(str(tmp_path / "train.py"))


def answered(tmp_path, named, *overrides):
    asked = Target(folder=str(tmp_path), backend="tensorflow", **named)
    device = InspectingExecutor(asked, tmp_path)
    with session(tmp_path, device, overrides, target=asked) as opened:
        return tuner.tune(opened)


def pasted(found, users, **more):
    """The names there are after it."""
    names = {"model": users["build_model"]() if "build_model" in users else None} | users | more
    exec(found.snippet, names)
    return names


def linear():
    found = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    found.compile("sgd", "mse")
    return found


def test_a_model_that_goes_with_the_batch_size_is_built_for_the_new_one(tmp_path):
    found, users = tune(tmp_path, FOR_ITS_SIZE, args={"scale": 2.0})
    size = found.batch_size
    assert size != 32
    assert found.snippet.startswith(f"model = build_model(batch_size={size}, scale=2.0)\n")
    schedule = pasted(found, users)["model"].optimizer._learning_rate
    assert schedule.decay_steps == 64_000 // size


@of_batches
def test_data_is_loaded_for_the_new_size_before_the_model_is_built_as_in_trials(tmp_path):
    code = """
        import tensorflow as tf
        def load_data(batch_size=32):
            global steps
            steps = 512 // batch_size
            train = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
            return train, train.take(1)
        def build_model(batch_size=32):
            schedule = keras.optimizers.schedules.CosineDecay(0.1, 10 * steps)
            return compiled(SGD(schedule))
        """
    found, users = tune(tmp_path, code)
    assert found.batch_size != 32
    users["load_data"]()
    schedule = pasted(found, users)["model"].optimizer._learning_rate
    assert schedule.decay_steps == 10 * found.steps_per_epoch


def test_at_the_users_own_size_the_model_stays_the_one_that_there_is(tmp_path):
    found, _ = tune(tmp_path, FOR_ITS_SIZE, "batch_sizes={min: 32, max: 32}")
    assert "build_model" not in found.snippet


OWN_SIZE = "batch_sizes={min: 32, max: 32}"
PULLED = """
def build_model(learning_rate=0.02, scale=1.0):
    return compiled(SGD(scale * learning_rate, weight_decay=learning_rate))
"""


def test_what_else_goes_by_the_rate_that_the_model_is_told_goes_by_the_new_one(tmp_path):
    found, users = tune(tmp_path, PULLED, OWN_SIZE)
    rate = found.learning_rate
    assert rate != 0.02
    optimizer = pasted(found, users)["model"].optimizer
    rates = optimizer.weight_decay, float(optimizer.learning_rate)
    assert rates == pytest.approx((rate, rate), rel=1e-5)


def test_a_model_is_told_the_new_size_and_the_new_rate_together(tmp_path):
    code = """
        def build_model(learning_rate=0.02, batch_size=32):
            return compiled(SGD(learning_rate))
        """
    found, _ = tune(tmp_path, code)
    told = f"batch_size={found.batch_size}, learning_rate={found.learning_rate:.6g}"
    assert found.snippet.startswith(f"model = build_model({told})\n")


@pytest.mark.parametrize(
    ("overrides", "args"),
    [
        ([OWN_SIZE], {"scale": 0.1}),  # it is not the rate that it is told
        ([OWN_SIZE], {"learning_rate": 0.02}),  # nor does a trial tell it another
        ([OWN_SIZE, "trials.learning_rate=none"], {}),  # nor does the rate change
    ],
)
def test_a_model_that_trials_tell_no_other_rate_stays_the_one_that_there_is(
    tmp_path, overrides, args
):
    found, _ = tune(tmp_path, PULLED, *overrides, args=args)
    assert "build_model" not in found.snippet


PASSED = """
import functools
import tensorflow as tf
def make_net(batch_size=32):
    return compiled(SGD(keras.optimizers.schedules.CosineDecay(0.1, 64_000 // batch_size)))
def get_data(batch_size=32):
    train = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
    return train, train.take(1)
class Nets:
    def __call__(self, batch_size=32):
        return make_net(batch_size)
    def data(self, batch_size=32):
        return get_data(batch_size)
nets = Nets()
nameless = [
    (lambda batch_size=32: make_net(batch_size), lambda batch_size=32: get_data(batch_size)),
    (functools.partial(make_net), functools.partial(get_data)),
    (nets, nets.data),
]
"""


def answered_in_python(tmp_path, model, data):
    target = target_of(model, data, tmp_path / "run")
    return answered(tmp_path, {"model": target, "data": f"{target.rpartition(':')[0]}:load_data"})


@of_batches
def test_functions_that_are_passed_in_python_have_the_names_that_they_have_there(tmp_path):
    users = written(tmp_path, PASSED)
    found = answered_in_python(tmp_path, users["make_net"], users["get_data"])
    assert found.batch_size != 32
    schedule = pasted(found, users)["model"].optimizer._learning_rate
    assert schedule.decay_steps == 64_000 // found.batch_size


@pytest.mark.parametrize("which", [0, 1, 2])
def test_of_what_has_no_name_in_python_the_snippet_says_what_it_is_to_be_told(tmp_path, which):
    found = answered_in_python(tmp_path, *written(tmp_path, PASSED)["nameless"][which])
    told = f"with batch_size={found.batch_size}\n"
    assert found.snippet.startswith(
        f"# load train and validation {told}# build the model {told}# multiply your CosineDecay"
    )


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


@of_batches
def test_data_that_never_ends_has_an_end_of_its_epochs(tmp_path):
    def load_data(batch_size):
        return more_than_asked(np.zeros((batch_size, 4)), np.zeros((batch_size, 1))), None

    def more_than_asked(*batch):
        yield from itertools.repeat(batch, 20)
        raise AssertionError("Nobody asked for so many.")

    facts = inspected(
        extents=(Extent(samples=4096, is_whole=False), Extent(samples=512, is_whole=True)),
        fit_call="train, validation = load_data(batch_size={size})\nmodel.fit(train)",
    )
    with session(tmp_path, PretendDevice(facts=facts)) as opened:
        found = tuner.tune(opened)
    users = {"build_model": linear, "load_data": load_data}
    assert pasted(found, users, STEPS_PER_EPOCH=3)["model"].optimizer.iterations == 3


@pytest.mark.parametrize("is_built", [True, False])
@pytest.mark.parametrize("schedule", ["own", "warmup_stable_decay"])
def test_optimizers_that_a_function_chooses_are_there_when_their_rates_are_set(
    tmp_path, is_built, schedule
):
    shape = "keras.Input((4,))," if is_built else ""
    code = f"""
        def build_model():
            one = SGD(0.1)
            found = keras.Sequential([{shape} keras.layers.Dense(1)])
            found.compile(keras.optimizers.MultiOptimizer(lambda weight: one), "mse")
            return found
        """
    found, users = tune(tmp_path, code, f"trials.schedule={schedule}")
    users["model"] = users["build_model"]()
    if not is_built:
        assert "# first build the model" in found.snippet
        users["model"](users["x"])
    pasted(found, users, EPOCHS=1)
    (optimizer,) = users["model"].optimizer.optimizers
    rate = optimizer._learning_rate
    peak = rate.numpy() if schedule == "own" else rate.rate
    assert peak == pytest.approx(found.learning_rate, rel=1e-5)
    assert optimizer.iterations == found.steps_per_epoch
