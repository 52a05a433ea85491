"""Trackers that the user's code switches on as it is imported: measurements are none of theirs."""

import pytest
from worker.test_users_code import asked

from autobatch.protocol import Inspect, Inspected

# As MLflow is made: each framework has a module of its own, imported when it is needed.
AUTOLOG = """
from pathlib import Path
def autolog({parameters}):
    with Path(__file__).with_name("called").open("a") as file:
        file.write(f"{name} {{{disable}}}\\n")
"""


@pytest.fixture
def mlflow(tmp_path):
    """A function that writes a package of that name beside the user's file."""

    def write(parameters="disable=False", disable="disable"):
        (tmp_path / "mlflow").mkdir()
        given = {"parameters": parameters, "disable": disable}
        for file, name in (("__init__.py", "mlflow"), ("keras.py", "keras")):
            (tmp_path / "mlflow" / file).write_text(AUTOLOG.format(name=name, **given))
        return tmp_path / "mlflow" / "called"

    return write


@pytest.mark.parametrize(
    ("code", "calls"),
    [
        ("import mlflow.keras; mlflow.autolog()", ["mlflow False", "mlflow True", "keras True"]),
        ("import mlflow.keras as m; m.autolog()", ["keras False", "mlflow True", "keras True"]),
        ("import mlflow", None),  # it switches on nothing, and what would switch it off is slow
    ],
)
def test_what_mlflow_logs_by_itself_is_switched_off(tmp_path, mlflow, code, calls):
    called = mlflow()
    found = asked(tmp_path, code, Inspect(batch_size=16))
    assert isinstance(found, Inspected), found
    assert (called.read_text().splitlines() if called.exists() else None) == calls


def test_a_version_of_mlflow_that_cannot_be_switched_off_fails_no_measurement(tmp_path, mlflow):
    called = mlflow(parameters="", disable="()")
    found = asked(tmp_path, "import mlflow.keras; mlflow.autolog()", Inspect(batch_size=16))
    assert isinstance(found, Inspected), found
    assert called.read_text() == "mlflow ()\n"
