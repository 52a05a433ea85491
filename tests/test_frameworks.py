"""The backend that a user's own run of a file would have, without running it."""

import pytest

from autobatch.doctor.gather import examine
from autobatch.errors import RecipeError
from autobatch.frameworks import configured_backend, users_backend
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


def test_a_backend_that_is_not_supported_is_refused_where_code_sets_it(tmp_path):
    (tmp_path / "train.py").write_text(SETS.replace("jax", "openvino"))
    with pytest.raises(RecipeError, match="backend is openvino, which"):
        question_of(*read_target(str(tmp_path / "train.py"), ()))
