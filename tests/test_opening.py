"""What a TARGET means, in the folders and links that users have, and where its runs are."""

import os
import shutil
from pathlib import Path

import msgspec
import pytest
from commands import autobatch, autobatch_here
from pretend import inspected

from autobatch.doctor.gather import examine
from autobatch.engine.record import Record
from autobatch.engine.record_file import FILE_NAME, Header
from autobatch.engine.run_directory import set_aside
from autobatch.engine.runs import read_recommendation, refuse_unless_folder, runs_in
from autobatch.errors import RecipeError, UsageError
from autobatch.opening import open_session, question_of, read_target, recommendation_in, run_of
from autobatch.recipe import files_of
from autobatch.stages.plan import refuse_what_cannot_be_tuned


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(path, text=""):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def run_made_by(target):
    """The directory of a run of it, with nothing measured in it."""
    with open_session(target) as session:
        return session.record.directory


LEFT = ("kept-data", "kept-data.tmp", "0001-trial.log.aside.1a2b.index", "0002-probe.log.aside/x")


def test_what_was_kept_of_the_data_goes_with_the_run_or_before_the_next(here):
    made("train.py")
    logs, names = Path("run", "logs"), LEFT
    for name in names:
        made(logs / name)  # as a run leaves them that is killed
    with open_session("train.py", run_directory=Path("run")):
        assert not any((logs / name).exists() for name in names)
        for name in names:
            made(logs / name)
    assert not any((logs / name).exists() for name in names)


def test_copies_of_data_do_not_stay_in_a_run_that_is_set_aside(here):
    run = run_made_by(str(made("train.py")))
    log = made(run / "logs" / "0001-trial.log")
    for name in LEFT:
        made(run / "logs" / name)
    set_aside(run)
    assert (run.with_name(f"{run.name}.old-1") / "logs" / log.name).exists()
    assert not [*here.rglob("*.aside*"), *here.rglob("kept-data*")]


@pytest.mark.parametrize("name", ["train.py", "model.keras"])
def test_a_link_is_what_it_leads_to(here, name):
    suffix = Path(name).suffix
    made(f"versions/third{suffix}")
    made(f"versions/{name}")  # not this one
    Path(name).symlink_to(f"versions/third{suffix}")
    recipe, folder = read_target(name, ())
    assert folder == here / "versions"
    assert recipe.model.partition(":")[0] == f"third{suffix}"


def test_a_recipe_that_is_a_link_is_what_it_leads_to_unless_that_has_no_such_name(here):
    made("cache/4f/1a", "model: train.py:net\n")
    made("versions/third.yaml", "model: train.py:net\n")
    for folder in (here, here / "versions"):
        made(folder / "train.py")
    Path("kept.yaml").symlink_to("cache/4f/1a")
    Path("recipe.yaml").symlink_to("versions/third.yaml")
    assert read_target("kept.yaml", ())[1] == here
    assert read_target("recipe.yaml", ())[1] == here / "versions"


def test_paths_may_begin_at_home(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    made("home/train.py")
    made("home/recipe.yaml", "model: train.py:net\n")
    for target in ("~/train.py", "~/recipe.yaml"):
        assert read_target(target, ())[1] == here / "home"
    with open_session("~/train.py", run_directory=Path("~/run")) as session:
        assert session.record.directory == here / "home" / "run"
    assert run_of("~/run") == here / "home" / "run"
    with pytest.raises(UsageError, match="There is no run"):
        run_of("~nobody-of-that-name/run")
    with pytest.raises(UsageError, match=f"{here}/home/nowhere.json cannot be read"):
        recommendation_in("~/nowhere.json")


def test_a_folder_may_be_named_like_a_file(here):
    made("llama2.py/train.py")
    assert read_target("llama2.py/train.py", ())[1] == here / "llama2.py"


@pytest.mark.parametrize(
    "target", ["10:30/train.py", "10:30/train.py:net", "10:30/recipe.yaml", "recipe.yaml"]
)
def test_a_folder_may_be_named_like_a_time(here, target):
    made("10:30/train.py")
    made("10:30/recipe.yaml", "model: train.py:net\n")
    made("recipe.yaml", "model: 10:30/train.py:net\n")
    assert list(files_of(*read_target(target, ()))) == [here / "10:30" / "train.py"]
    run = run_made_by(target)
    assert [Path(each.directory) for each in runs_in()] == [run]
    assert run_of(target) == run


def test_a_link_to_what_has_no_such_name_is_itself(here):
    made("cache/4f/1a")
    Path("model.keras").symlink_to("cache/4f/1a")
    recipe, folder = read_target("model.keras", ())
    assert (folder, recipe.model) == (here, "model.keras")


@pytest.mark.parametrize("target", ["trian.py", "trian.py:build", "recipe.yaml"])
def test_a_file_that_is_not_there_is_refused_at_once_with_the_nearest(here, target):
    made("train.py")
    made("recipe.yaml", "seed: 1\nmodel: trian.py:build_model\n")
    place = "recipe.yaml:2:1: model: " if target == "recipe.yaml" else ""
    for look in (examine, lambda target: read_target(target, ())):
        with pytest.raises(RecipeError, match=rf"^{place}There is no file .*trian\.py") as refused:
            look(target)
        assert f"Did you mean {here / 'train.py'}?" in str(refused.value)


def test_a_file_that_an_option_names_over_a_recipe_is_told_by_the_option(here):
    made("train.py")
    made("recipe.yaml", "model: train.py:net\ndata: train.py:load\n")
    with pytest.raises(RecipeError, match=r"^--set data=lod\.py:load: data: There is no file "):
        read_target("recipe.yaml", ["data=lod.py:load"])


@pytest.mark.parametrize(
    "file", ["package/train.py", "package/train/__init__.py", "src/package/train.py"]
)
def test_a_module_that_trains_when_it_is_imported_is_refused_as_a_file_is(here, file):
    made(file, "import keras\nmodel.fit(x, y)\n")
    with pytest.raises(RecipeError, match=r"trains when it is imported \(line 2\)"):
        read_target("package.train:build_model", ())
    assert read_target("package.elsewhere:build_model", ())[1] == here


def test_a_file_that_may_not_be_read_is_refused(here):
    made("train.py").chmod(0)
    code, _, stderr = autobatch("probe", "train.py", cwd=here)
    assert code == 2
    assert "train.py cannot be read: Permission denied" in stderr


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("model.h5", "in build_model() of a Python file"),
        ("saved/saved_model.pb", "save the model as .keras"),
        ("my notebook.ipynb", "jupyter nbconvert --to script 'my notebook.ipynb'; or call"),
        ("notebook.ipynb:build_model", "--to script notebook.ipynb; or"),
        ("model.txt", "Give recipe.yaml, train.py"),
    ],
)
def test_of_what_is_no_target_it_is_said_what_to_give_in_its_place(target, hint):
    with pytest.raises(RecipeError, match="is none of the targets") as refused:
        read_target(target, ())
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        (r"C:\proj\train.py", "give /mnt/c/..., with /"),
        (r"d:\train.py:build", "WSL2 has that drive as /mnt/d"),
        ("C:projtrain.py", "WSL2 has that drive"),  # as a shell reads the first without quotes
        ("gs://bucket/model.keras", "Download it"),
        ("s3://bucket/recipe.yaml", "Download it"),
    ],
)
def test_what_lies_elsewhere_is_refused_with_how_to_reach_it(target, hint):
    with pytest.raises(RecipeError, match="is no path on this system") as refused:
        read_target(target, ())
    assert hint in refused.value.hint


def test_a_name_that_is_not_utf_8_is_refused():
    name = os.fsdecode(b"caf\xe9.py")
    made(name)
    with pytest.raises(UsageError, match="is not valid UTF-8"), open_session(name):
        pass


@pytest.mark.parametrize(
    ("overrides", "is_optional"),
    [([], True), (["data=train.py:fetch"], False), (["data = train.py:load_data"], False)],
)
def test_data_may_be_missing_only_where_nobody_named_it(overrides, is_optional):
    made("train.py")
    with open_session("train.py", overrides=overrides) as session:
        assert session.record.target.data_is_optional is is_optional


def test_files_that_are_typed_are_those_beside_the_target_or_else_those_here(here, monkeypatch):
    for path in ("models/best.keras", "models/beside.py", "beside.py", "train.py", "home/own.py"):
        made(path)
    made("models/recipe.yaml", "model: best.keras\ndata: train.py:f\n")
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    assert read_target("models/best.keras", ["data=~/own.py:f"])[0].data == "../home/own.py:f"
    typed = ["data=train.py:f", "callbacks=beside.py:g"]
    recipe, _ = read_target("models/best.keras", typed)
    assert (recipe.data, recipe.callbacks) == ("../train.py:f", "beside.py:g")
    assert read_target("models/recipe.yaml", typed)[0].data == "../train.py:f"
    with pytest.raises(RecipeError, match=r"no file .*models/train\.py"):
        read_target("models/recipe.yaml", ())


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("train.py", "train.py has no load_data of its own: write it"),
        ("model.keras", "Name the function that returns (train, validation)"),
    ],
)
def test_who_recommends_without_data_hears_how_to_give_it(target, hint):
    made(target)
    recipe, _ = read_target(target, ())
    with pytest.raises(RecipeError, match="recommend needs data") as refused:
        refuse_what_cannot_be_tuned(recipe, inspected(train_samples=None))
    assert hint in str(refused.value)


def test_runs_of_functions_of_the_same_name_are_told_apart():
    run = run_made_by("package.resnet:build_model")
    assert run_of("package.resnet:build_model").samefile(run)
    for other in ("package.vgg:build_model", "package.resnet:build"):
        with pytest.raises(UsageError, match="There is no run"):
            run_of(other)


def test_runs_of_files_of_the_same_name_are_told_apart():
    made("model.py")
    made("model.keras")
    run = run_made_by("model.keras")
    assert run_of("model.keras").samefile(run)
    with pytest.raises(UsageError, match="There is no run"):
        run_of("model.py")


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_project_that_was_moved_or_copied_has_its_runs_and_its_own_folder(
    here, move, monkeypatch
):
    made("old/train.py")
    monkeypatch.chdir(here / "old")
    run = run_made_by("train.py")
    monkeypatch.chdir(here)
    move("old", "new")
    monkeypatch.chdir(here / "new")
    assert run_of("train.py") == run
    question = question_of(*read_target("train.py", ()), data_is_optional=True)
    with Record(run, question, free_bytes=1, version="0") as record:
        assert record.target.folder == str(here / "new")
        assert record.header.target.folder == str(here / "old")


def test_a_run_in_the_present_folder_itself_cannot_be_set_aside(here):
    made("train.py")
    run = run_made_by("train.py")
    shutil.copy(run / FILE_NAME, FILE_NAME)
    refused = pytest.raises(UsageError, match="cannot be set aside")
    with refused, open_session("train.py", run_directory=Path(), fresh=True):
        pass
    assert msgspec.json.decode(Path(FILE_NAME).read_bytes(), type=Header)


def test_a_path_that_may_not_even_be_looked_for_is_not_there(here):
    nowhere = here / ("x" * 300)  # the system refuses to look, as in a folder of somebody else's
    assert runs_in(nowhere) == ()
    set_aside(nowhere)
    with pytest.raises(UsageError, match="There is no folder"):
        refuse_unless_folder(nowhere)
    with pytest.raises(UsageError, match="cannot be read: File name too long"):
        read_recommendation(nowhere)


def test_another_nightly_of_a_framework_is_another_run(here, monkeypatch):
    made("train.py")
    directories = set()
    for version in ("9.9.0.dev1", "9.9.0.dev2"):
        told = f"Metadata-Version: 2.1\nName: tf-nightly\nVersion: {version}\n"
        made(f"{version}/tf_nightly-{version}.dist-info/METADATA", told)
        monkeypatch.syspath_prepend(here / version)
        with open_session("train.py", overrides=["backend=tensorflow"]) as session:
            directories.add(session.record.directory)
        assert f"tf-nightly {version}" in autobatch_here("--version", cwd=here)[1]
    assert len(directories) == 2
