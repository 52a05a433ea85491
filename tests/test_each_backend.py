"""Whole commands on each backend, from the recipe to the answer; replicas where it has them."""

import re

import pytest
from asking import on_backends
from commands import FAST, HERE, as_told, autobatch_here, settings

from autobatch.stages import probes


@pytest.fixture
def command(on_each_backend, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: {HERE}/targets.py:model\ndata: {HERE}/targets.py:much_data\n"
        f"backend: {on_each_backend}\ndevice: {{kind: cpu}}\n"
    )

    def run(name, *overrides):
        def typed(*more):
            return autobatch_here(name, recipe, *settings(*overrides, *more), cwd=tmp_path)

        _, (code, out, err) = as_told(typed)
        assert code == 0, err
        return out

    return run


@on_backends("jax", "torch")  # ui/test_recommended.py makes one on TensorFlow
def test_a_recommendation_is_made(on_each_backend, command):
    told = command("recommend", *FAST, "batch_sizes.max=32", "trials.learning_rate=none")
    assert re.search(r"^batch size +32 ", told, re.MULTILINE), told
    assert "batch_size=32" in told
    assert "Noise scale" in told


@on_backends("tensorflow", "jax")  # Keras has no data parallelism in a process on PyTorch
def test_what_each_replica_has_is_said(command, monkeypatch):
    for name in ("SHORT_SECONDS", "QUICK_SECONDS"):
        monkeypatch.setattr(probes, name, 0.0)
    told = command("probe", "device.replicas=2", "batch_sizes.min=64", "batch_sizes.max=64")
    assert "64" in told
    assert "2 replicas, 32 samples on each" in told
