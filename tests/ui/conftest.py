"""What the tests of commands share."""

import pytest
from commands import HERE


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"model: {HERE}/targets.py:model\ndata: {HERE}/targets.py:data\n")
    return path
