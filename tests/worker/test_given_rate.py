"""The learning rate of a trial, where the user's callable has an argument for it."""

import pytest
from asking import GRADIENTS, SHORT_TRIAL, ask

from autobatch.protocol import Inspect, Inspected, RangeTest, changed

CODE = """
import keras, numpy as np
from keras.optimizers import SGD, MultiOptimizer, OptimizerMap
from keras.optimizers.schedules import CosineDecay
x = np.random.default_rng(0).standard_normal((64, 4), dtype="float32")
def data():
    return (x, x[:, :1]), (x[:16], x[:16, :1])
def compiled(optimizer, found=None):
    layers = [keras.layers.Dense(3, name="body"), keras.layers.Dense(1, name="head")]
    found = found or keras.Sequential([keras.Input((4,)), *layers])
    found.compile(optimizer, "mse")
    return found
def mapped(rate):
    return compiled(MultiOptimizer(OptimizerMap(SGD(rate), {"body/.*": SGD(0.01)})))
def of_two(rate):
    found = compiled(SGD(rate))
    found.other = SGD(0.01)
    return found

def one(learning_rate=0.02):
    return compiled(SGD(learning_rate))
def pulled(learning_rate=0.02):
    return compiled(SGD(learning_rate, weight_decay=learning_rate))
def pulled_at_0_08():
    return compiled(SGD(0.08, weight_decay=0.08))
def tenth(learning_rate=0.02):
    return compiled(SGD(0.1 * learning_rate))
def several(learning_rate=0.02):
    return mapped(learning_rate)
def several_without():
    return mapped(0.02)
def kept(learning_rate=0.02):
    return of_two(learning_rate)
def decayed(learning_rate=CosineDecay(0.02, 8)):
    return compiled(SGD(learning_rate))
def decayed_without():
    return compiled(SGD(CosineDecay(0.02, 8)))
def rising(learning_rate=0.02):
    return compiled(SGD(CosineDecay(0.0, 8, warmup_target=learning_rate, warmup_steps=4)))
"""
RANGE_TEST = RangeTest(
    batch_size=8, learning_rate=0.02, lowest_factor=0.5, highest_factor=2.0, steps=6, seed=1
)


def asked(tmp_path, task, model):
    (tmp_path / "train.py").write_text(CODE)
    target = {"model": f"train.py:{model}", "data": "train.py:data"}
    return ask(tmp_path / "logs", task, folder=tmp_path, **target)[0]


def inspected(tmp_path, model):
    found = asked(tmp_path, Inspect(batch_size=8), model)
    assert isinstance(found, Inspected), found
    return found


@pytest.mark.parametrize(
    ("model", "stays"),
    [
        ("one", False),
        ("pulled", False),
        ("several_without", False),  # it has no such argument
        ("tenth", True),
        ("several", True),
        ("kept", True),
        ("decayed", True),
        ("rising", True),
    ],
)
def test_the_argument_is_given_where_it_is_the_rate_of_all_that_trains(tmp_path, model, stays):
    assert inspected(tmp_path, model).rate_argument_stays == stays


@pytest.mark.parametrize(
    ("model", "task", "factor"),
    [
        ("several", SHORT_TRIAL, 1),  # the user's own setting
        ("several", SHORT_TRIAL, 4),
        ("several", GRADIENTS, 1),
        ("several", RANGE_TEST, 1),
        ("decayed", SHORT_TRIAL, 1),
    ],
)
def test_rates_that_the_argument_does_not_reach_are_multiplied_as_without_it(
    tmp_path, model, task, factor
):
    found = inspected(tmp_path, model)
    task = changed(
        task,
        learning_rate=factor * found.learning_rate,
        rate_argument_stays=found.rate_argument_stays,
    )
    trained, expected = (seen(asked(tmp_path, task, each)) for each in (model, f"{model}_without"))
    assert trained == expected


@pytest.mark.parametrize("task", [SHORT_TRIAL, GRADIENTS, RANGE_TEST])
def test_what_else_goes_by_the_argument_is_that_of_the_rate_tried(tmp_path, task):
    task = changed(task, learning_rate=0.08)
    trained, expected = (seen(asked(tmp_path, task, each)) for each in ("pulled", "pulled_at_0_08"))
    assert trained == expected
    stays = changed(task, rate_argument_stays=True)
    assert seen(asked(tmp_path, stays, "pulled")) != expected


def seen(outcome):
    """What it is all about: the time that it took varies."""
    (found,) = (
        getattr(outcome, name)
        for name in ("evaluations", "moments", "losses")
        if hasattr(outcome, name)
    )
    assert found
    return found
