"""The configuration files that the user's code reads are part of what is measured."""

import textwrap

import pytest
from worker.test_users_code import BEGINNING, asked

from autobatch import tuner
from autobatch.errors import WrongRunDirectoryError
from autobatch.opening import open_session
from autobatch.protocol import Inspect, Inspected
from autobatch.worker.configuration import LARGEST_BYTES

READING = """
    import os
    from pathlib import Path
    here = Path(__file__).parent
    (here / "made.json").write_text("1")
    os.chdir(here / "conf")
    for name in {names}:
        with open(name) as file:
            file.read()
    os.chdir(here)
    build = model
    def model():
        (here / "model.toml").read_text()
        return build()
    """
READ = ("data.yml", "../config.yaml", "../settings.ini")
NOT_OURS = (  # made meanwhile, data, text, of a library, of a program
    *("../made.json", "../large.json", "../notes.txt", "../lib/site-packages/x/package.json"),
    "../.cache/fonts.json",
)


def made(path, text="rate: 0.1"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_they_are_told_apart_from_all_else_that_is_read(tmp_path):
    for name in (*READ, *NOT_OURS, "../model.toml", "../unread.yaml"):
        made(tmp_path / "conf" / name)
    made(tmp_path / "large.json", " " * (LARGEST_BYTES + 1))
    code = READING.format(names=(*READ, *NOT_OURS))
    found = asked(tmp_path, code, Inspect(batch_size=8))
    assert isinstance(found, Inspected), found
    assert sorted(found.configuration) == [
        *("conf/data.yml", "config.yaml", "model.toml", "settings.ini"),
    ]


READING_WHAT_IS_THERE = """
    from pathlib import Path
    here = Path(__file__).parent
    for name in ("config.yaml", "cached.json", "run/state.json"):
        if (here / name).exists():
            (here / name).read_text()
    """


def test_measurements_with_one_are_not_gone_on_with_with_another(tmp_path):
    (tmp_path / "train.py").write_text(BEGINNING + textwrap.dedent(READING_WHAT_IS_THERE))

    def inspect():
        where = {"target": f"{tmp_path / 'train.py'}:model", "run_directory": tmp_path / "run"}
        with open_session(**where) as session:
            return tuner.inspect(session)

    for name in ("config.yaml", "run/state.json"):
        made(tmp_path / name)
    assert list(inspect().configuration) == ["config.yaml"]
    made(tmp_path / "run/state.json", "rate: 0.2")
    made(tmp_path / "cached.json")  # as the first process may have done
    assert list(inspect().configuration) == ["cached.json", "config.yaml"]
    made(tmp_path / "config.yaml", "rate: 0.2")
    with pytest.raises(WrongRunDirectoryError, match=r"config\.yaml, which your code reads, has"):
        inspect()
