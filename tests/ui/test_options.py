"""Options as they are typed, down to what comes of them. What measures is a pretend device."""

import json
from pathlib import Path

import pytest
from commands import autobatch_here
from pretend import PretendDevice, session
from typer.main import get_command

from autobatch import opening
from autobatch.ui.cli import app


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """What a command prints as JSON, all of it measured anew on the pretend device."""
    runs = iter(range(9))

    def open_session(target, *, overrides, **others):
        device = PretendDevice(critical_batch=400.0)
        return session(tmp_path / f"run-{next(runs)}", device, overrides)

    def answer(*arguments):
        code, stdout, stderr = autobatch_here(*arguments, "--json", "--quiet", cwd=tmp_path)
        assert code == 0, stderr
        return json.loads(stdout)

    monkeypatch.setattr(opening, "open_session", open_session)
    return answer


def test_exact_finds_the_largest_size_to_the_sample(typed):
    assert 2970 <= typed("probe", "train.py")["largest_fitting"] < 3000
    assert typed("probe", "train.py", "--exact")["largest_fitting"] == 3000


def test_prefer_chooses_among_equally_good_sizes(typed):
    small, large = (typed("recommend", "train.py", "--prefer", each) for each in ("small", "large"))
    assert small["batch_size"] < large["batch_size"]


def test_wishes_are_answered_beside_the_recommendation(typed):
    wishes = ("--effective-batch", "4096", "--replicas", "1,2,4")
    found = typed("recommend", "train.py", *wishes)
    wished = found["effective_batch"]
    assert wished["samples"] == wished["batch_size"] * wished["gradient_accumulation_steps"] == 4096
    assert [each["replicas"] for each in found["replicas"]] == [1, 2, 4]


def test_without_a_wish_none_is_answered(typed):
    found = typed("recommend", "train.py")
    assert (found["effective_batch"], found["replicas"]) == (None, [])


def test_sizes_are_those_named_and_the_baselines(typed):
    found = typed(
        "benchmark", "train.py", "--sizes", "16,24,9999", "--set", "baseline.batch_size=40"
    )
    assert [each["batch_size"] for each in found["points"]] == [16, 24, 40]
    assert found["skipped"] == ["9999: there are 4096 training samples"]


def test_every_path_in_an_option_may_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/at/home")
    taken = {}
    for name, command in get_command(app).commands.items():
        for each in command.params:
            if each.metavar in ("DIR", "FILE"):
                context = command.make_context(name, ["x", f"{each.opts[0]}=~/there"])
                taken[name, each.opts[0]] = context.params[each.name]
    assert {("recommend", "--run-dir"), ("recommend", "--tensorboard")} <= taken.keys()
    assert set(taken.values()) == {Path("/at/home/there")}, taken
