"""What of an exception the user is told."""

import importlib
import sys
import traceback

import pytest

from autobatch.protocol import Target
from autobatch.worker import frames
from autobatch.worker.frames import (
    users_code,
    users_frames,
    users_message,
    users_modules,
    users_traceback,
)

GRAPH = """Graph execution error:

Detected at node sequential/dense/MatMul defined at (most recent call last):
  File "train.py", line 1, in <module>

Matrix size-incompatible: In[0]: [32,700], In[1]: [784,512]
\t [[{{node sequential/dense/MatMul}}]] [Op:__inference_one_step_123]"""


def test_of_an_error_in_tensorflows_graph_what_was_the_matter_is_told_and_not_its_stack():
    told = users_message(ValueError(GRAPH))
    assert told == (
        "ValueError: Graph execution error: "
        "Matrix size-incompatible: In[0]: [32,700], In[1]: [784,512]"
    )


def test_other_messages_stay_as_they_are():
    assert users_message(ValueError("no\nbatch")) == "ValueError: no\nbatch"


def test_a_note_is_told_that_stands_behind_what_is_left_out():
    error = ValueError(GRAPH)
    error.add_note("This is with 32 samples.")
    assert users_message(error).endswith("[784,512]\nThis is with 32 samples.")


def test_of_installed_packages_the_code_is_the_users_where_it_is_named(tmp_path, monkeypatch):
    file = tmp_path / "installed_for_a_test" / "train.py"
    file.parent.mkdir()
    file.write_text("WIDTH = 4")
    monkeypatch.setattr(frames, "LIBRARIES", (*frames.LIBRARIES, str(tmp_path)))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("installed_for_a_test.train")
    own, other = ("installed_for_a_test.train:model", "keras.applications:ResNet50")
    targets = [Target(folder="/", model=model) for model in (own, other)]
    before = list(map(users_code, targets))
    file.write_text("WIDTH = 5")
    after = list(map(users_code, targets))
    for name in ("installed_for_a_test.train", "installed_for_a_test"):
        del sys.modules[name]
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)


@pytest.mark.parametrize(
    "name",
    ["site-packages/laid_over", "dist-packages/laid_over", "mine/__autograph_generated_file1a2b"],
)
def test_what_is_installed_or_generated_is_a_librarys_wherever_it_lies(tmp_path, monkeypatch, name):
    """As modules of a cluster are, on PYTHONPATH, and what `uv run --with` lays over the rest.

    TensorFlow writes, under random names, where code sets `tempfile.tempdir`.
    """
    file = tmp_path / "TensorFlow" / "2.15" / "lib" / f"{name}.py"
    file.parent.mkdir(parents=True)
    file.write_text("def fail():\n    raise ValueError('of a library')\n")
    monkeypatch.syspath_prepend(file.parent)
    module = importlib.import_module(file.stem)
    try:
        assert module not in users_modules()
        with pytest.raises(ValueError, match="of a library") as caught:
            module.fail()
        assert file.stem not in users_traceback(caught.value)
        assert file.stem not in users_frames("".join(traceback.format_tb(caught.tb)))
    finally:
        del sys.modules[file.stem]


def test_what_a_saved_model_holds_is_part_of_the_code(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"weights")
    target = Target(folder=str(tmp_path), model="model.keras")
    before = users_code(target)
    assert users_code(target) == before
    (tmp_path / "model.keras").write_bytes(b"WEIGHTS")
    assert users_code(target) != before
