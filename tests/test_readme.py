"""The README says what is so: help, commands, options, recipe keys, exit codes, files."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from commands import COMMAND, autobatch_here

from autobatch import errors
from autobatch.frameworks import FOR_GPUS
from autobatch.recipe import make_recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.fixture
def help_of(monkeypatch):
    """A function that returns what `autobatch ... --help` prints."""
    monkeypatch.setenv("COLUMNS", "88")

    def told(*arguments):
        code, text, _ = autobatch_here(*arguments, "--help", cwd=ROOT)
        assert code == 0, arguments
        return re.sub(r"\x1b\[[\d;]*m", "", text)  # as where the environment asks for colours

    return told


@pytest.mark.parametrize("command", sorted(set(re.findall(r"[`$] ?autobatch ([a-z]+)", README))))
def test_every_command_in_the_readme_exists(help_of, command):
    operands = set(re.findall(rf"[`$] ?autobatch {command} (TARGET|RUN)\b", README))
    usage = help_of(command).partition("Options")[0]
    assert {each for each in operands if each not in usage} == set()


def test_the_readme_names_every_command():
    environment = {"COLUMNS": "88", "TERM": "dumb", "PATH": ""}
    command = [*COMMAND, "--help"]
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    every = set(re.findall(r"^│ ([a-z]+) ", told.stdout, re.MULTILINE))
    assert {"recommend", "runs"} <= every
    assert every <= set(re.findall(r"^- `autobatch ([a-z]+)", README, re.MULTILINE))


def test_every_option_in_the_readme_exists(help_of):
    told = "".join(map(help_of, ("probe", "recommend", "benchmark", "report", "verify", "init")))
    options = set(re.findall(r"`(--[a-z-]+)", README))
    assert options
    assert options - set(re.findall(r"--[a-z-]+", told)) == set()


def test_the_recipe_in_the_readme_is_valid_and_shows_the_defaults():
    text = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1]
    shown = yaml.safe_load(text)
    written = {name: shown[name] for name in ("model", "data")}
    assert make_recipe(shown) == make_recipe(written, ["baseline.batch_size=32"])
    make_recipe(yaml.safe_load(re.sub(r"^( *)# (?=\w+:)", r"\1", text, flags=re.MULTILINE)))


def test_the_exit_codes_in_the_readme_are_all_there_are():
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    raised = {
        value.exit_code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.AutobatchError)
    }
    assert listed == {0, *raised}


def test_the_readme_says_how_each_backend_is_installed_for_gpus():
    line = re.search(r"for an NVIDIA GPU (.*?);", README, re.DOTALL)[1]
    assert set(re.findall(r"\w+\[[\w-]+\]|\btorch\b", line)) == set(FOR_GPUS.values())


def test_every_recipe_that_ships_is_named_in_the_readme():
    for recipe in (ROOT / "recipes").glob("*.yaml"):
        assert recipe.name in README


def test_the_tour_names_every_module_and_no_other():
    tour = (ROOT / "CONTRIBUTING.md").read_text()
    modules = {path.name for path in (ROOT / "autobatch").rglob("*.py")}
    named = set(re.findall(r"\b(?<!tests/)(\w+\.py)\b", tour))
    assert named | {"__init__.py"} == modules


def test_the_readme_explains_the_run_that_it_shows():
    number = r"([\d.]+)"
    verdict = rf"verdict +{number}× sooner at (val_loss \S+) \(95 % interval {number}–{number}\)"
    times, loss, low, high = re.search(verdict, README).groups()
    explained = re.search(r"How to read it: (.*?)\n\n", README, re.DOTALL)[1].replace("\n", " ")
    assert f"training is at {loss} after a {times}th of the time" in explained
    assert f"{low} to {high} times sooner" in explained
