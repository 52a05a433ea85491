"""A trial's seed is its own, whatever the user's code sets, and draws alike at every size."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from asking import BACKENDS, SHORT_TRIAL, ask, on_backends

from autobatch.protocol import Extent, changed
from autobatch.worker.seeds import drawing_anew, generators_seeded, set_seed


def trained(tmp_path, model, seed):
    """(losses, what tells the initial weights)"""
    target = {"model": f"seeded.py:{model}", "data": "seeded.py:data"}
    found, _ = ask(tmp_path, changed(SHORT_TRIAL, seed=seed), **target)
    return [each.metrics["val_loss"] for each in found.evaluations], found.start


@pytest.mark.parametrize(
    ("backend", "model", "starts_alike"),
    [
        *((each, "model", False) for each in BACKENDS),
        *((each, "model_that_seeds", True) for each in BACKENDS),
        ("tensorflow", "model_made_at_import", True),  # when it is made, no backend decides
    ],
    indirect=["backend"],
)
def test_seeds_differ_where_the_users_code_sets_one(on_each_backend, tmp_path, model, starts_alike):
    (one, start), (other, its_start) = (trained(tmp_path, model, seed) for seed in (1, 2))
    assert (one[0] == other[0]) == (start == its_start) == starts_alike
    assert one[-1] != other[-1]  # at least the order of samples
    assert one[-1] < one[0]
    assert trained(tmp_path, model, 1) == (one, start)


def test_a_seed_starts_alike_at_every_size_and_orders_each_epoch_anew(on_each_backend, tmp_path):
    target = {"model": "seeded.py:telling_model", "data": "seeded.py:numbered_data"}
    seen = []
    for size in (8, 16):
        steps = 2 * 48 // size  # two epochs
        task = changed(SHORT_TRIAL, batch_size=size, steps=steps, evaluate_at=(steps,))
        found, log = ask(tmp_path, task, **target)
        batches = re.findall(r"^trained on (.*)$", log.read_text(), re.MULTILINE)
        assert len(batches) == steps
        seen.append((found.start, [each for batch in batches for each in json.loads(batch)]))
    assert seen[0] == seen[1]
    first, second = seen[0][1][:48], seen[0][1][48:]
    assert sorted(first) == sorted(second) == [k / 64 for k in range(48)]
    assert first != second


@on_backends("jax", "torch")
def test_what_keras_builds_by_is_trained_on_nonetheless(on_each_backend, tmp_path):
    """It draws a batch of a generator for that, and more are drawn ahead."""
    counted = (Extent(samples=48, is_whole=True),) * 2
    target = {"model": "seeded.py:telling_model", "data": "seeded.py:numbered_generator"}
    task = changed(SHORT_TRIAL, steps=6, evaluate_at=(6,))
    _, log = ask(tmp_path, task, extents=counted, **target)
    batches = re.findall(r"^trained on (.*)$", log.read_text(), re.MULTILINE)
    assert [each for batch in batches for each in json.loads(batch)] == [k / 64 for k in range(48)]


def drawn_by_generators(tmp_path, task, data, **more):
    counted = (Extent(samples=48, is_whole=data == "telling_generators"),) * 2
    target = {"model": "seeded.py:telling_model", "data": f"seeded.py:{data}"}
    _, log = ask(tmp_path, task, extents=counted, **target, **more)
    drawn = re.findall(r"^drawn: (.*)$", log.read_text(), re.MULTILINE)
    return [*map(json.loads, drawn)]


def test_each_pass_of_a_generator_has_an_order_of_its_own_by_the_seed_of_the_trial(tmp_path):
    drawn = []
    for seed in (1, 2, 1):
        task = changed(SHORT_TRIAL, seed=seed, steps=20, evaluate_at=(20,))
        drawn.append(drawn_by_generators(tmp_path, task, "telling_generators")[:3])
    one, other, again = drawn
    assert one == again
    orders = [tuple(order) for orders in (*one, *other) for order in orders]
    assert len(set(orders)) == len(orders)


def test_an_evaluation_has_no_batch_of_a_generator_drawn_once_more(tmp_path):
    data, callbacks = "telling_endless_generator", "seeded.py:pausing"
    drawn = drawn_by_generators(tmp_path, SHORT_TRIAL, data, callbacks=callbacks)
    assert len(set(drawn)) == len(drawn) >= SHORT_TRIAL.steps


def test_numpys_generators_without_a_seed_draw_by_that_of_the_trial():
    with generators_seeded():
        numbers = np.random.default_rng()
    drawn = []
    for seed in (1, 2, 1):
        set_seed(seed)
        drawn.append(numbers.permutation(50).tolist())
    assert drawn[0] == drawn[2] != drawn[1]


def test_processes_that_draw_samples_draw_none_alike():
    code = """if True:
        import os
        import numpy as np
        from autobatch.worker.seeds import generators_seeded
        with generators_seeded():
            pass
        for _ in range(2):
            if not os.fork():
                print(np.random.default_rng().integers(2**60), flush=True)
                os._exit(0)
            os.wait()
        """
    drawn = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert len(set(drawn.split())) == 2


def test_a_further_pass_splits_alike_and_then_draws_anew():
    drawn = []
    for _ in range(2):
        np.random.seed(0)  # as it was when the loader was called first
        with generators_seeded(), drawing_anew():
            numbers = np.random.default_rng()
            split = numbers.permutation(50).tolist()
        drawn.append((split, numbers.permutation(50).tolist()))
    (split, order), (same, another) = drawn
    assert split == same
    assert order != another
