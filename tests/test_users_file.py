"""A file is read before it is run: importing it may train, and write over what was saved."""

import re
import textwrap

import pytest

from autobatch.errors import RecipeError
from autobatch.users_file import (
    batch_sizes,
    defined,
    loaders,
    refuse_unusable,
    unlike_measurements,
)

TRAINING = [
    "model.fit(x, y)",
    "net = build_model()\nnet.fit(x, epochs=3)",
    "for _ in range(2):\n    history = net.fit(x, callbacks=[])",
    "def main():\n    net.fit(x, validation_data=v)\nmain()",
    "def main():\n    return train()\ndef train():\n    net.fit(x, epochs=1)\nresult = main()",
    "for batch in batches:\n    loss = gan.train_on_batch(batch)",
    "tuner = RandomSearch(build_model)\ntuner.search(x, y, epochs=5, validation_split=0.2)",
]
CALL = re.compile(r"\.(fit|train_on_batch|search)\(")
HARMLESS = [
    "def main():\n    model.fit(x, y)",
    "if __name__ == '__main__':\n    model.fit(x, y, epochs=3)",
    "scaler.fit(x)",
    "class Trainer:\n    def run(self):\n        self.model.fit(x)",
    "later = lambda: model.fit(x)",
    "def again():\n    again()\nagain()",
    "found = models_index.search('resnet', limit=5)",
    "def main():\n    gan.train_on_batch(x)\n    tuner.search(x, epochs=5)",
    "this is not Python",
]


@pytest.mark.parametrize("code", TRAINING)
def test_a_file_that_trains_when_it_is_imported_is_refused(tmp_path, code):
    (tmp_path / "train.py").write_text(textwrap.dedent(code))
    line = next(n for n, each in enumerate(code.splitlines(), start=1) if CALL.search(each))
    with pytest.raises(RecipeError, match=rf"trains when it is imported \(line {line}\)") as told:
        refuse_unusable(tmp_path / "train.py")
    assert "__main__" in told.value.hint


@pytest.mark.parametrize("code", HARMLESS)
def test_what_only_runs_when_it_is_called_is_not(tmp_path, code):
    (tmp_path / "train.py").write_text(code)
    refuse_unusable(tmp_path / "train.py")


def test_odd_escapes_in_a_file_warn_of_nothing(tmp_path, recwarn):
    (tmp_path / "train.py").write_text('def words(): return "\\d"\n')
    assert list(defined(tmp_path / "train.py")[0]) == ["words"]
    assert not recwarn.list


@pytest.mark.parametrize(
    ("name", "loads"),
    [
        ("get_data", True),
        ("make_datasets", True),
        ("load_dataset_from_directory", True),
        ("load_pathmnist_data", True),
        ("get_data_augmentation", False),
        ("get_data_dir", False),
        ("data_directory", False),
        ("dataset_path", False),
        ("load_metadata", False),
    ],
)
def test_what_is_named_after_something_beside_the_data_is_not_taken_for_their_loader(
    tmp_path, name, loads
):
    (tmp_path / "train.py").write_text(f"def {name}(): return found")
    assert loaders(defined(tmp_path / "train.py")[0]) == [name] * loads


TRAINS = "def main():\n    net.fit(x, y, epochs=3, {})\nif __name__ == '__main__':\n    main()"
POLICY = "keras.mixed_precision.set_global_policy('mixed_float16')"


def unlike(path, code, *alike):
    (path / "train.py").write_text(code)
    told = unlike_measurements(path / "train.py", ["build_model"], alike=alike, batch_size=32)
    return list(told.values())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("class_weight=weights", "line 2, trains with class_weight, .* in the recipe"),
        ("class_weight={0: 1, 1: 9}", "trains with class_weight"),
        ("sample_weight=w", r"line 2, trains with sample_weight, .* return \(x, y, sample_weight"),
        (
            "callbacks=[keras.callbacks.LearningRateScheduler(halved)]",
            "line 2, trains with a LearningRateScheduler, .* --set callbacks=FILE.py:FUNCTION",
        ),
        ("shuffle=False", "line 2, trains with shuffle=False"),
        ("validation_batch_size=33", "line 2, validates with validation_batch_size=33"),
        ("batch_size=8, validation_batch_size=9", "validates with validation_batch_size=9"),
        ("batch_size=SIZE, validation_batch_size=64", "validates with validation_batch_size=64"),
    ],
)
def test_what_the_users_own_training_is_given_and_measurements_are_not_is_told(
    tmp_path, given, told
):
    (sentence,) = unlike(tmp_path, TRAINS.format(given))
    assert re.search(told, sentence)


NO_MORE = [
    *("class_weight=None", "shuffle=True", "shuffle=shuffled", ""),
    *("sample_weight=None", "callbacks=[keras.callbacks.EarlyStopping()]"),
    *("validation_batch_size=32", "validation_batch_size=SIZE", "validation_batch_size=None"),
    "batch_size=64, validation_batch_size=64",
]


@pytest.mark.parametrize("given", NO_MORE)
def test_what_changes_nothing_is_not(tmp_path, given):
    assert not unlike(tmp_path, TRAINS.format(given))


def test_what_measurements_have_too_is_not_told_of(tmp_path):
    given = "class_weight=weights, callbacks=[LearningRateScheduler(halved)]"
    assert not unlike(tmp_path, TRAINS.format(given), "class_weight", "callbacks")


@pytest.mark.parametrize(
    ("code", "is_told"),
    [
        (f"if __name__ == '__main__':\n    {POLICY}", True),
        (f"def main():\n    {POLICY}", True),
        (POLICY, False),
        (f"def build_model():\n    {POLICY}", False),
        (f"def prepare():\n    {POLICY}\ndef build_model():\n    prepare()", False),
        (f"{POLICY}\ndef main():\n    {POLICY}", False),
    ],
)
def test_a_policy_that_measurements_do_not_come_to_is_told(tmp_path, code, is_told):
    told = unlike(tmp_path, code)
    assert ["line 2, calls set_global_policy" in each for each in told] == [True] * is_told


def test_batch_sizes_that_are_written_in_calls_of_fit_are_found(tmp_path):
    code = "def main():\n    net.fit(x, batch_size=128)\n    scaler.fit(x, batch_size=SIZE)\n"
    code += "    tuner.search(x, batch_size=64)\n    gan.train_on_batch(x)"
    (tmp_path / "train.py").write_text(code)
    assert batch_sizes(tmp_path / "train.py") == {128, None}


@pytest.mark.parametrize(
    ("code", "size"),
    [
        ("SIZE = 128", 128),
        ("config.size = SIZE = 64\nSIZE = 128", None),
        ("SIZE = 64 if large else 32", None),
        ("def main(SIZE): pass\nSIZE = 128", None),
        ("def main():\n    SIZE = 128", None),
        ("SIZE = 64\nSIZE *= 2", None),
    ],
)
def test_a_batch_size_that_has_a_name_is_the_one_number_that_this_is_given(tmp_path, code, size):
    code += "\ndef train():\n    net.fit(x, batch_size=SIZE)"
    (tmp_path / "train.py").write_text(code)
    assert batch_sizes(tmp_path / "train.py") == {size}
