"""The backend that a user's own run of a file would have, without running it."""

from functools import partial
from pathlib import Path

import pytest

from autobatch import frameworks
from autobatch.doctor.gather import examine
from autobatch.engine import gpus
from autobatch.errors import RecipeError
from autobatch.frameworks import (
    configured_backend,
    is_importable,
    is_unseen,
    keras_folder,
    told_cpu,
    users_backend,
)
from autobatch.opening import question_of, read_target

SETS = 'import os\nos.environ["KERAS_BACKEND"] = "jax"\nimport keras\n'
DEFAULTS = 'from os import environ\nenviron.setdefault("KERAS_BACKEND", "torch")\nimport keras\n'


def of(folder, text, **environ):
    (folder / "train.py").write_text(text)
    return users_backend({"KERAS_HOME": str(folder)} | environ, [folder / "train.py"])


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        (SETS, {}, ("jax", "train.py, line 2")),
        (SETS, {"KERAS_BACKEND": "torch"}, ("jax", "train.py, line 2")),
        (DEFAULTS, {}, ("torch", "train.py, line 2")),
        (DEFAULTS, {"KERAS_BACKEND": "jax"}, ("jax", "KERAS_BACKEND")),
        (f"x = '\\d'\n{DEFAULTS[:-13]}\n{SETS}", {}, ("jax", "train.py, line 6")),
        ("import keras\n", {"KERAS_BACKEND": "jax"}, ("jax", "KERAS_BACKEND")),
    ],
)
def test_code_that_sets_a_backend_has_it_as_in_a_run_of_its_own(tmp_path, text, environ, expected):
    assert of(tmp_path, text, **environ) == expected


@pytest.mark.parametrize(
    "text",
    [
        f"from keras import layers\n{SETS}",
        "import os\nos.environ['KERAS_BACKEND'] = chosen()\n",
        "import os\nos.environ['KERAS_BACKEND'] = ''\n",
        "import os\nos.environ['OTHER'] = 'jax'\nos.environ.setdefault('OTHER', 'jax')\n",
        "def main():\n    os.environ['KERAS_BACKEND'] = 'jax'\n",
        "this is no Python",
        "\0",
    ],
)
def test_code_that_sets_none_that_counts_leaves_it_to_the_configuration(tmp_path, text):
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    assert of(tmp_path, text) == ("torch", str(tmp_path / "keras.json"))
    assert of(tmp_path, text) == configured_backend({"KERAS_HOME": str(tmp_path)})


def test_the_configuration_is_looked_for_where_keras_does(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keras_folder({}) == tmp_path / ".keras"
    assert keras_folder({"KERAS_HOME": "~/mine"}) == tmp_path / "mine"
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    assert keras_folder({}) == Path("/tmp/.keras")


def test_the_first_file_of_a_recipe_that_sets_one_counts_unless_the_recipe_does(tmp_path):
    for name, text in (("model.py", SETS), ("data.py", DEFAULTS), ("plain.py", "")):
        (tmp_path / name).write_text(text.replace("jax", "tensorflow"))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: plain.py:a\ndata: model.py:b\ncallbacks: data.py:c\n")
    assert question_of(*read_target(str(recipe), ())).backend == "tensorflow"
    told = examine(str(recipe)).facts
    assert (told.backend, told.backend_from) == ("tensorflow", "model.py, line 2")
    told = examine(str(recipe), ["backend=jax"]).facts
    assert (told.backend, told.backend_from) == ("jax", "the recipe")


def test_a_module_in_the_folder_sets_one_as_a_file_does(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "train.py").write_text(SETS.replace("jax", "tensorflow"))
    (tmp_path / "recipe.yaml").write_text("model: package.train:build_model\n")
    told = examine(str(tmp_path / "recipe.yaml")).facts
    assert (told.backend, told.backend_from) == ("tensorflow", "train.py, line 2")


def test_a_backend_that_is_not_supported_is_refused_where_code_sets_it(tmp_path):
    (tmp_path / "train.py").write_text(SETS.replace("jax", "openvino"))
    with pytest.raises(RecipeError, match="backend is openvino, which"):
        question_of(*read_target(str(tmp_path / "train.py"), ()))


@pytest.mark.parametrize(
    ("backend", "environ", "told"),
    [
        ("jax", {"JAX_PLATFORMS": "cpu"}, "JAX_PLATFORMS=cpu"),
        ("jax", {"JAX_PLATFORMS": "cpu,cuda"}, "JAX_PLATFORMS=cpu,cuda"),
        ("jax", {"JAX_PLATFORMS": "cuda,cpu"}, None),
        ("jax", {"KERAS_TORCH_DEVICE": "cpu"}, None),
        ("torch", {"KERAS_TORCH_DEVICE": "cpu"}, "KERAS_TORCH_DEVICE=cpu"),
        ("torch", {"KERAS_TORCH_DEVICE": "cuda:0"}, None),
        ("torch", {}, None),
        ("tensorflow", {"JAX_PLATFORMS": "cpu"}, None),
    ],
)
def test_a_variable_may_tell_a_backend_to_use_the_cpu(backend, environ, told):
    assert told_cpu(backend, environ) == told


def test_what_can_be_imported_is_there_and_a_mere_folder_is_not(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    for name, is_there in (("framework_of_mine", True), ("folder_of_mine", False)):
        (tmp_path / name).mkdir()
        (tmp_path / name / ("__init__.py" if is_there else "data.csv")).touch()
        assert is_importable(name) == is_there
    assert not is_importable("nothing_of_mine")


def test_tensorflow_is_asked_for_gpus_where_cudnn_is_nowhere_in_sight(monkeypatch):
    monkeypatch.setattr(frameworks, "has_cudnn", partial(frameworks.has_cudnn, folders=()))
    plain = {"tensorflow": "2.21.0+nv25.1", "nvidia-cudnn-cu13": "9.3"}  # for Arm, with PyTorch
    for sees in (True, False):
        monkeypatch.setattr(frameworks, "sees_gpus", lambda sees=sees: sees)
        assert is_unseen("tensorflow", plain, {}) == (not sees)
        for backend, packages in (
            ("tensorflow", plain | {"nvidia-cudnn-cu12": "9.3"}),
            ("tensorflow", {"tensorflow-cpu": "2.21.0"}),  # of which that is known
            ("tensorflow", {}),
            ("torch", {"torch": "2.13.0"}),
        ):
            assert not is_unseen(backend, packages, {})


@pytest.mark.parametrize(("listed", "sees"), [("[1]", True), ("[]", False), ("1 / 0", True)])
def test_tensorflow_sees_gpus_unless_it_says_that_there_is_none(
    monkeypatch, tmp_path, listed, sees
):
    (tmp_path / "tensorflow.py").write_text(
        f"class config:\n    list_physical_devices = staticmethod(lambda kind: {listed})\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert frameworks.sees_gpus.__wrapped__() == sees


@pytest.mark.parametrize(("why", "kind"), [("it is built for the CPU", "cpu"), (None, "gpu")])
def test_a_gpu_that_the_backend_would_leave_alone_is_not_chosen(monkeypatch, tmp_path, why, kind):
    (tmp_path / "train.py").write_text("")
    here = gpus.Gpu(name="A", total_bytes=1, free_bytes=1, driver="1")
    monkeypatch.setattr(gpus, "usable", lambda: [here])
    monkeypatch.setattr(frameworks, "left_alone_here", lambda backend: why)
    question = question_of(*read_target(str(tmp_path / "train.py"), ["backend=tensorflow"]))
    assert question.device == kind
