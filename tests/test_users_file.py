"""A file is read before it is run: importing it may train, and write over what was saved."""

import textwrap

import pytest

from autobatch.errors import RecipeError
from autobatch.users_file import defined, refuse_unusable

TRAINING = [
    "model.fit(x, y)",
    "net = build_model()\nnet.fit(x, epochs=3)",
    "for _ in range(2):\n    history = net.fit(x, callbacks=[])",
    "def main():\n    net.fit(x, validation_data=v)\nmain()",
    "def main():\n    return train()\ndef train():\n    net.fit(x, epochs=1)\nresult = main()",
]
HARMLESS = [
    "def main():\n    model.fit(x, y)",
    "if __name__ == '__main__':\n    model.fit(x, y, epochs=3)",
    "scaler.fit(x)",
    "class Trainer:\n    def run(self):\n        self.model.fit(x)",
    "later = lambda: model.fit(x)",
    "def again():\n    again()\nagain()",
    "this is not Python",
]


@pytest.mark.parametrize("code", TRAINING)
def test_a_file_that_trains_when_it_is_imported_is_refused(tmp_path, code):
    (tmp_path / "train.py").write_text(textwrap.dedent(code))
    line = next(n for n, each in enumerate(code.splitlines(), start=1) if ".fit(" in each)
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
