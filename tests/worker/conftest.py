"""The backends that are installed: tests that ask for `on_each_backend` run once on each."""

import importlib.util

import asking
import pytest


@pytest.fixture(scope="session", params=["tensorflow", "jax", "torch"])
def backend(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"not installed: pip install 'keras-autobatch[{request.param}]'")
    return request.param


@pytest.fixture
def on_each_backend(backend, monkeypatch):
    """What `ask` asks goes to it."""
    monkeypatch.setattr(asking, "BACKEND", backend)
    return backend
