"""A trial's seed is its own, whatever the user's code sets."""

import pytest
from asking import SHORT_TRIAL, ask

from autobatch.protocol import changed


def losses(tmp_path, model, seed):
    target = {"model": f"seeded.py:{model}", "data": "seeded.py:data"}
    trained, _ = ask(tmp_path, changed(SHORT_TRIAL, seed=seed), **target)
    return [each.metrics["val_loss"] for each in trained.evaluations]


@pytest.mark.parametrize(("model", "starts_alike"), [("model", False), ("model_that_seeds", True)])
def test_seeds_differ_where_the_users_code_sets_one(tmp_path, model, starts_alike):
    one, other = losses(tmp_path, model, 1), losses(tmp_path, model, 2)
    assert (one[0] == other[0]) == starts_alike  # the initial weights
    assert one[-1] != other[-1]  # at least the order of samples
    assert losses(tmp_path, model, 1) == one
