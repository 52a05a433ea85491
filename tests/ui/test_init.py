"""`autobatch init` looks at what the user has, and writes a recipe that works as it stands."""

import tempfile
from pathlib import Path

import msgspec
import pytest
from commands import autobatch_here, settings
from pretend import PretendExecutor

from autobatch import opening
from autobatch.errors import RecipeError, UsageError
from autobatch.protocol import Note, WrittenRecipe
from autobatch.recipe import AssumedBaseline, load_recipe
from autobatch.recipe_text import recipe_text
from autobatch.starter import write_recipe

NETWORK = """
import keras, numpy as np

def MODEL():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse", metrics=["mae"])
    return network

def DATA():
    x = np.zeros((20, 3), "float32")
    return (x, x[:, :1]), (x[:5], x[:5, :1])
"""


def file(folder, model="build_model", data="load_data"):
    path = folder / "train.py"
    path.write_text(NETWORK.replace("MODEL", model).replace("DATA", data))
    return path


@pytest.fixture
def pretending(monkeypatch):
    """No worker looks at model and data: what is asked follows from the text of the file."""
    monkeypatch.setattr(opening, "LocalExecutor", PretendExecutor)


def written(path, *arguments, **options):
    """The recipe for that file, as it is read again."""
    return load_recipe(Path(write_recipe(str(path), *arguments, **options).path))


def test_the_recipe_and_its_json_say_what_was_seen_and_it_works_as_it_stands(tmp_path):
    file(tmp_path)
    code, stdout, stderr = autobatch_here("init", "train.py", "--json", cwd=tmp_path)
    assert code == 0, stderr
    assert "Set baseline.batch_size" in stderr
    assert "autobatch recommend recipe.yaml" in stderr
    text = (tmp_path / "recipe.yaml").read_text()
    assert "20 training, 5 validation samples" in text
    assert "val_mae" in text
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert (recipe.model, recipe.data) == ("train.py:build_model", "train.py:load_data")
    assert load_recipe(tmp_path / "recipe.yaml", ["batch_sizes.max=8"]).batch_sizes.max == 8
    found = msgspec.json.decode(stdout, type=WrittenRecipe)
    assert (found.path, found.model, found.data) == ("recipe.yaml", recipe.model, recipe.data)
    assert (found.parameters, found.optimizer) == (4, "SGD")
    assert found.learning_rate == pytest.approx(0.01)
    assert (found.train_samples, found.validation_samples) == (20, 5)
    assert "val_mae" in found.metrics


@pytest.mark.usefixtures("pretending")
@pytest.mark.parametrize(
    ("sizes", "found"),
    [((64,), 64), ((64, 64), 64), ((64, 128), None), (("size",), None), ((64, "size"), None)],
)
def test_the_batch_size_that_the_file_gives_fit_is_the_baseline(tmp_path, sizes, found):
    path = file(tmp_path)
    calls = [f"    build_model().fit(*load_data()[0], batch_size={size})\n" for size in sizes]
    training = "".join(calls)
    path.write_text(f"{path.read_text()}\nif __name__ == '__main__':\n{training}")
    code, stdout, stderr = autobatch_here("init", "train.py", "--json", cwd=tmp_path)
    assert code == 0, stderr
    assert msgspec.json.decode(stdout, type=WrittenRecipe).batch_size == found
    baseline = load_recipe(tmp_path / "recipe.yaml").baseline
    assert baseline.batch_size == (found or 32)
    assert isinstance(baseline, AssumedBaseline) == (found is None)  # of which the answer warns
    assert ("SET THIS" in (tmp_path / "recipe.yaml").read_text()) == (found is None)
    assert (f"Its baseline is batch {found}, as your code gives fit" in stderr) == bool(found)


@pytest.mark.usefixtures("pretending")
def test_who_sets_the_batch_size_is_not_told_to(tmp_path):
    file(tmp_path)
    told = autobatch_here("init", "train.py", *settings("baseline.batch_size=8"), cwd=tmp_path)
    assert told[2].endswith("Now: autobatch recommend recipe.yaml\n")


def test_without_data_it_is_said_what_to_name_and_what_works_all_the_same(tmp_path):
    path = file(tmp_path)
    path.write_text(path.read_text().split("def load_data")[0])
    code, _, stderr = autobatch_here("init", "train.py", cwd=tmp_path)
    assert code == 0, stderr
    assert "Name it under `data:` in recipe.yaml" in stderr
    assert "autobatch probe recipe.yaml" in stderr


@pytest.mark.usefixtures("pretending")
def test_quiet_prints_what_was_written_and_no_more(tmp_path):
    file(tmp_path)
    told = autobatch_here("init", "train.py", "--quiet", cwd=tmp_path)
    assert told == (0, "recipe.yaml\n", "")


@pytest.mark.usefixtures("pretending")
def test_functions_of_other_names_are_found_where_there_is_one_of_each(tmp_path):
    recipe = written(file(tmp_path, "make_net", "my_dataset"), tmp_path / "other.yaml")
    assert (recipe.model, recipe.data) == ("train.py:make_net", "train.py:my_dataset")


@pytest.mark.usefixtures("pretending")
def test_a_recipe_in_another_folder_finds_the_file_all_the_same(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "jobs").mkdir()
    path = file(tmp_path / "code", data="fetch")
    recipe = written(path, tmp_path / "jobs" / "a.yaml", data="fetch")
    assert (recipe.model, recipe.data) == ("../code/train.py:build_model", "../code/train.py:fetch")


def test_a_recipe_is_not_written_where_it_would_not_find_its_module(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for folder in ("jobs", "package"):
        (tmp_path / folder).mkdir()
    (tmp_path / "package" / "net.py").write_text("def build(): raise AssertionError")
    with pytest.raises(UsageError, match=r"package\.net is a module in"):
        write_recipe("package.net:build", tmp_path / "jobs" / "a.yaml")


def test_a_file_that_exists_is_not_written_over(tmp_path):
    (tmp_path / "recipe.yaml").write_text("mine")
    with pytest.raises(UsageError, match="exists already") as refused:
        write_recipe(str(file(tmp_path)))
    assert "--force" in str(refused.value)
    assert (tmp_path / "recipe.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("def main(): pass\n", "Its functions: main"),
        ("x = 1\n", "Its functions: none"),
        (
            "net = network()\nnet.compile('sgd')\nnet.fit(x, epochs=3)\n",
            "(?s)none.*def build_model",
        ),
        (
            "def a(m):\n  m.compile()\n  return m\ndef b(m):\n  m.compile()\n  return m\n",
            "a and b compile models",
        ),
        ("def broken(:\n", r"train\.py:1: this is not Python"),
    ],
)
def test_what_builds_no_model_is_refused_with_what_is_there(tmp_path, text, problem):
    (tmp_path / "train.py").write_text(text)
    with pytest.raises(RecipeError, match=problem):
        write_recipe(str(tmp_path / "train.py"))


TRAINING = """
def main():
    model = network()
    model.compile("sgd", "mse")
    model.fit([1], [2])
    open("trained", "w").close()
"""
TRAINS_AND_RETURNS = """
def run():
    model = network()
    model.compile("sgd", "mse")
    train(model)
    return model

def train(model):
    model.fit([1], [2])
"""


@pytest.mark.parametrize("text", [TRAINING, TRAINS_AND_RETURNS])
def test_a_function_that_trains_is_not_taken_for_the_model(tmp_path, text):
    (tmp_path / "train.py").write_text(text)
    with pytest.raises(RecipeError, match=r"has no build_model\. Its functions") as refused:
        write_recipe(str(tmp_path / "train.py"))
    assert "Have `def build_model():` return the compiled model" in str(refused.value)


@pytest.mark.usefixtures("pretending")
def test_the_one_function_that_builds_a_model_is_found_beside_others(tmp_path):
    path = file(tmp_path, "make_net")
    others = "import re\ndef words(): return re.compile('a')\n"
    path.write_text(path.read_text() + others + TRAINING)
    assert written(path).model == "train.py:make_net"


@pytest.mark.parametrize(
    ("function", "is_taken"),
    [
        ("def save_data(): open('saved', 'w').close()", False),
        ("def augment_data(x): return x", False),
        ("def data_of(*, split): return split", False),
        ("def my_data(batch_size, path='x', *, seed=1): return twenty()", True),
        ("def my_data(loaded): return loaded\ndef load_once(): return twenty()", True),
    ],
)
def test_only_what_can_be_called_for_data_is_taken_for_its_loader(
    monkeypatch, tmp_path, function, is_taken
):
    monkeypatch.chdir(tmp_path)
    path = file(tmp_path, data="twenty")
    path.write_text(f"{path.read_text()}{function}\n")
    told = []
    recipe = written(path, on_event=told.append)
    assert recipe.data == ("train.py:my_data" if is_taken else None)
    notes = [event.text for event in told if isinstance(event, Note)]
    assert any("has no load_data: my_data is taken for it" in text for text in notes) is is_taken
    assert not (tmp_path / "saved").exists()


def test_functions_that_come_from_elsewhere_are_there_too(tmp_path):
    file(tmp_path).rename(tmp_path / "models.py")
    (tmp_path / "train.py").write_text(
        "from models import build_model\nif True:\n    from models import load_data\n"
        "def augment_data(x): return x\n"
    )
    recipe = written(tmp_path / "train.py")
    assert (recipe.model, recipe.data) == ("train.py:build_model", "train.py:load_data")


def test_a_load_data_of_keras_is_not_taken_for_the_users(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = file(tmp_path, data="twenty")
    path.write_text(f"from keras.datasets.mnist import load_data\n{path.read_text()}")
    told = []
    assert written(path, on_event=told.append).data is None
    notes = [event.text for event in told if isinstance(event, Note)]
    assert any("The load_data in train.py is Keras' own" in text for text in notes)


def test_a_data_function_that_is_named_and_not_there_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(RecipeError, match=r"train\.py has no load_dta") as refused:
        write_recipe(str(file(tmp_path)), data="load_dta")
    assert "Did you mean load_data?" in str(refused.value)


def test_what_names_no_data_is_refused_as_it_was_typed(tmp_path):
    with pytest.raises(RecipeError, match=r"(?s)--data fetch: data is .*data: FILE\.py:fetch"):
        write_recipe(str(tmp_path / "best.keras"), data="fetch")
    with pytest.raises(RecipeError, match=r"(?s)--data a/b\.py: .*Write data: a/b\.py:FUNCTION"):
        write_recipe(str(file(tmp_path)), data="a/b.py")


def test_what_is_set_stands_in_the_recipe_and_all_else_as_ever(tmp_path):
    for folder in ("jobs", "nets"):
        (tmp_path / folder).mkdir()
    text = NETWORK.replace("MODEL()", "build_model(width)").replace("DATA", "load_data")
    (tmp_path / "nets" / "net.py").write_text(text)
    (tmp_path / "train.py").write_text("def callbacks(): return []\n")
    given = ("args.width=3", "device.kind=cpu", "callbacks=train.py:callbacks", "seed=7")
    command = ("init", "nets/net.py", "--output", "jobs/a.yaml", *settings(*given))
    code, _, stderr = autobatch_here(*command, cwd=tmp_path)
    assert code == 0, stderr
    recipe = load_recipe(tmp_path / "jobs" / "a.yaml")
    assert (recipe.args, recipe.seed, recipe.device.kind) == ({"width": 3}, 7, "cpu")
    assert (recipe.callbacks, recipe.trials.seeds) == ("../train.py:callbacks", 5)
    assert '"headroom": "10%"} # by --set' in (tmp_path / "jobs" / "a.yaml").read_text()


@pytest.mark.parametrize(
    ("first_lines", "overrides", "by"),
    [
        ("", ["backend=tensorflow"], "framework that Keras runs on\n"),
        ("import os\nos.environ['KERAS_BACKEND'] = 'tensorflow'", [], "by train.py, line 2\n"),
        ("", [], "by KERAS_BACKEND\n"),
    ],
)
def test_the_backend_that_was_chosen_stands_in_the_recipe(
    monkeypatch, tmp_path, first_lines, overrides, by
):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    path = file(tmp_path)
    path.write_text(first_lines + path.read_text())
    assert written(path, overrides=overrides).backend == "tensorflow"
    assert by in (tmp_path / "recipe.yaml").read_text()


def test_a_backend_that_nobody_chose_does_not(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # in which Keras has its configuration
    for name in ("KERAS_HOME", "KERAS_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    assert written(file(tmp_path)).backend is None


@pytest.mark.parametrize(
    ("output", "why"), [("nowhere/a.yaml", "No such file"), (".", "Is a directory")]
)
def test_where_no_recipe_can_be_written_nothing_is_looked_at(tmp_path, output, why):
    (tmp_path / "train.py").write_text("def build_model(): raise AssertionError")
    with pytest.raises(UsageError, match=f"Cannot write .*: {why}"):
        write_recipe(str(tmp_path / "train.py"), tmp_path / output, force=True)


def test_a_folder_named_like_a_file_is_refused_as_such(tmp_path):
    (tmp_path / "train.py").mkdir()
    with pytest.raises(RecipeError, match="is a directory"):
        write_recipe(str(tmp_path / "train.py"))


def test_where_nothing_temporary_can_be_written_it_is_said_what_to_set(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"no room for a look at the model: .*gone") as refused:
        write_recipe(str(file(tmp_path)))
    assert "TMPDIR" in refused.value.hint


def test_a_recipe_is_no_target(tmp_path):
    with pytest.raises(UsageError, match="is a recipe already"):
        write_recipe("recipe.yaml")


SEEN = WrittenRecipe(
    path="recipe.yaml",
    model="train.py:build_model",
    data="train.py:load_data",
    batch_size=None,
    backend="tensorflow",
    model_name="network",
    parameters=4,
    optimizer="SGD",
    learning_rate=0.01,
    metrics=("val_loss",),
    train_samples=20,
    validation_samples=5,
    device_name="CPU",
    limit_bytes=1 << 30,
)


@pytest.mark.parametrize("name", ["a b/träin.py:f", "- x.py:f", "#.py:f", "model 1.keras"])
def test_names_that_yaml_would_misread_are_quoted(tmp_path, name):
    path = tmp_path / "recipe.yaml"
    data = name if ":" in name else "x y.py:f"  # a saved model has no data
    seen = msgspec.structs.replace(SEEN, model=name, data=data)
    path.write_text(recipe_text(seen))
    assert (load_recipe(path).model, load_recipe(path).data) == (name, data)
