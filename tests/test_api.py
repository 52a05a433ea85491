"""The Python API: the same functions, results and errors as the commands."""

import subprocess
import sys
from pathlib import Path

import pytest

import autobatch

HERE = Path(__file__).parent


def test_probe_returns_a_typed_result_and_tells_events(tmp_path):
    events = []
    result = autobatch.probe(
        f"{HERE}/targets.py:model",
        overrides=["batch_sizes.max=8"],
        run_directory=tmp_path / "run",
        on_event=events.append,
    )
    assert isinstance(result, autobatch.ProbeResult)
    assert (result.largest_fitting, result.bounded_by) == (8, "range")
    assert events


def test_a_script_without_a_main_guard_is_not_run_again_by_the_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import autobatch, pathlib\n"
        "with pathlib.Path('ran').open('a') as file:\n    file.write('x')\n"
        f"autobatch.probe('{HERE}/targets.py:model', overrides=['batch_sizes.max=8'])\n"
    )
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "ran").read_text() == "x"


def test_errors_are_exceptions_with_an_exit_code():
    with pytest.raises(autobatch.AutobatchError, match=r"nowhere\.yaml") as error:
        autobatch.recommend("nowhere.yaml")
    assert error.value.exit_code == 2


def test_the_api_is_at_most_eight_names():
    assert len(autobatch.__all__) <= 8
