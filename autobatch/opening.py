"""From a TARGET as the user types it to an open session: recipe, run directory, executor, limit."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import msgspec

from autobatch import budget, frameworks
from autobatch.engine import gpus, machine
from autobatch.engine.local import LocalExecutor, never
from autobatch.engine.process import remove_left
from autobatch.engine.record import Record
from autobatch.engine.record_file import FILE_NAME
from autobatch.engine.run_directory import Fresh, new_directory, renewed
from autobatch.engine.runs import RUNS, find_run, read_recommendation, refuse_unless_text
from autobatch.engine.sources import named_files
from autobatch.errors import AutobatchError, RecipeError, UsageError, WrongRunDirectoryError
from autobatch.locator import (
    DATA,
    at_home,
    elsewhere,
    exists,
    is_directory,
    is_recipe,
    place_of,
    real_path,
    run_name,
    what_to_give,
)
from autobatch.protocol import Note, Recommendation, Target, changed, ignore, split
from autobatch.recipe import (
    Recipe,
    as_typed,
    files_of,
    make_recipe,
    read_recipe,
    refuse_unsupported,
)
from autobatch.stages.ask import OnEvent, Session
from autobatch.users_file import refuse_unusable

NAME_IT = "Name it: --target recipe.yaml."


@contextmanager
def open_session(
    target: str,
    *,
    overrides: Sequence[str] = (),
    run_directory: Path | None = None,
    fresh: Fresh = False,
    on_event: OnEvent = ignore,
    is_stopped: Callable[[], bool] = never,
) -> Iterator[Session]:
    """Everything that one command needs, for a TARGET as the user types it.

    A `fresh` run keeps nothing of the one before; with "trials" all but them. Once `is_stopped()`,
    no job is started, and the one that runs is ended.
    """
    recipe, question = _asked(target, overrides)
    directory = at_home(run_directory) if run_directory else _directory_of(target, question)
    with (
        renewed(directory, question, fresh, on_event),
        open_run(recipe, question, directory, on_event, is_stopped) as session,
    ):
        yield session


def recommendation_in(text: str) -> Recommendation:
    """What a recommendation.json recommends, or a run: its directory, name or target."""
    if text.endswith(".json"):
        return read_recommendation(at_home(Path(text)))
    return read_recommendation(run_of(text, recommending=True))


def run_of(text: str, *, recommending: bool = False) -> Path:
    """The run directory that a user means: by path, name or target, wherever that was moved."""
    try:
        return find_run(text, recommending=recommending)
    except UsageError:
        with suppress(AutobatchError):
            if is_directory(directory := _directory_of(text, _asked(text)[1])):
                return directory
        raise


def open_verification(
    recommended: Recommendation,
    target: str | None,
    *,
    overrides: Sequence[str] = (),
    run_directory: Path | None = None,
    on_event: OnEvent = ignore,
    is_stopped: Callable[[], bool] = never,
) -> AbstractContextManager[Session]:
    """A run of its own, each time, for what was recommended; or for `target` in its place."""
    if target is not None:
        recipe, folder = read_target(target, overrides)
    else:
        written, told = (recommended.environment.get(name) for name in ("recipe", "folder"))
        if not isinstance(written, dict) or not isinstance(told, str):
            raise UsageError("The recommendation does not name its model.", hint=NAME_IT)
        folder = Path(told)
        recipe = as_typed(make_recipe(written, overrides), folder, overrides)
        if not is_directory(folder):
            raise UsageError(
                f"The model of the recommendation was in {folder}, which is not here.",
                hint=NAME_IT,
            )
    run_directory = run_directory and at_home(run_directory)
    if run_directory is not None and exists(run_directory / FILE_NAME):
        raise WrongRunDirectoryError(
            f"{run_directory} has measurements, and a verification measures anew.",
            hint="Leave --run-dir out, or give one that is not there yet.",
        )
    question = question_of(recipe, folder)
    name = f"verify-{run_name(recipe.model)}-{time.strftime('%Y%m%d-%H%M%S')}"
    directory = run_directory or new_directory(RUNS / name)
    return open_run(recipe, question, directory, on_event, is_stopped)


@contextmanager
def open_run(
    recipe: Recipe,
    question: Target,
    directory: Path,
    on_event: OnEvent,
    is_stopped: Callable[[], bool],
) -> Iterator[Session]:
    """A session over a recipe that was read, in `directory`."""
    refuse_unless_text(str(directory.absolute()))
    free = budget.free_bytes(question)
    for told in (
        budget.gpu_left_idle(question, recipe),
        budget.made_of_the_cpu(question, recipe),
        budget.of_unlike_gpus(question),
    ):
        if told:
            on_event(Note(text=told))
    with Record(
        directory, question, free_bytes=free, version=_version("keras-autobatch")
    ) as record:
        then = record.header.free_bytes
        moved = budget.other_than_then(recipe, then, free)
        for told in (moved, budget.more_than_free(recipe, then)):
            if told:
                on_event(Note(text=told))
        executor = LocalExecutor(
            question,
            directory / "logs",
            free_at_first=then,
            # More than the machine could spare at the start, the tool itself would be in danger.
            resident_limit_bytes=machine.spare_bytes(),
            on_note=lambda text: on_event(Note(text=text)),
            is_stopped=is_stopped,
            extents=record.extents,
            backend_is_asked=recipe.backend is not None,
        )
        remove_left(executor.logs)  # by a run that was killed
        try:
            yield Session(
                recipe=recipe,
                executor=executor,
                record=record,
                on_event=on_event,
                limit_bytes=budget.limit_bytes(recipe, then),
                more_is_free=moved is not None and free > then,
                is_stopped=is_stopped,
            )
        finally:
            remove_left(executor.logs)


def _asked(target: str, overrides: Sequence[str] = ()) -> tuple[Recipe, Target]:
    """The recipe for a TARGET, and what is asked. Data that nobody named may be missing."""
    recipe, folder = read_target(target, overrides)
    named = is_recipe(target) or "data" in (text.partition("=")[0].strip() for text in overrides)
    return recipe, question_of(recipe, folder, data_is_optional=not named)


def read_target(text: str, overrides: Sequence[str]) -> tuple[Recipe, Path]:
    """The recipe for a TARGET, and the folder that its paths are relative to."""
    if hint := elsewhere(text):
        raise RecipeError(f"{text} is no path on this system.", hint=hint)
    origins: Mapping[tuple[str | int, ...], str] = {}
    if is_recipe(text):
        recipe, origins = read_recipe(at_home(Path(text)), overrides)
        folder = real_path(at_home(Path(text))).parent
    else:
        folder, model = _place_of(text)
        written: dict[str, object] = {"model": model}
        if ":" in model:
            written["data"] = f"{split(model)[0]}:{DATA}"
        recipe = make_recipe(written, overrides)
    recipe = as_typed(recipe, folder, overrides)
    for path, key in files_of(recipe, folder).items():
        refuse_unusable(path, f"{origins[key,]}: {key}: " if (key,) in origins else "")
    return recipe, folder


def _place_of(text: str) -> tuple[Path, str]:
    source, _ = split(text)
    if is_directory(at_home(Path(source))):
        raise RecipeError(
            f"{source} is a directory.",
            hint="Give a recipe (recipe.yaml), a Python file, or a saved model in it.",
        )
    place = place_of(text)
    if place is None:
        raise RecipeError(
            f"{text} is none of the targets that autobatch takes.",
            hint=what_to_give(source),
        )
    return place


def question_of(recipe: Recipe, folder: Path, *, data_is_optional: bool = False) -> Target:
    """What is asked about, with what the machine and the environment decide."""
    for path in (str(folder), recipe.model, recipe.data or "", recipe.callbacks or ""):
        refuse_unless_text(path)
    backend = recipe.backend or frameworks.users_backend(files=files_of(recipe, folder))[0]
    refuse_unsupported(msgspec.structs.replace(recipe, backend=backend), {})
    if not frameworks.is_importable(backend):
        there = filter(frameworks.is_importable, frameworks.DISTRIBUTIONS)
        others = [f"--set backend={name}" for name in there]
        raise RecipeError(
            f"The backend is {backend}, which is not installed here.",
            hint=f"{frameworks.how_to_install(backend)}; or use what is installed: "
            f"{' or '.join(others) or 'nothing is'}.",
        )
    kind = recipe.device.kind
    if kind == "auto":
        kind = "gpu" if gpus.usable() and not frameworks.left_alone_here(backend) else "cpu"
    return Target(
        folder=str(folder),
        model=recipe.model,
        data=recipe.data,
        data_is_optional=data_is_optional,
        args=recipe.args,
        callbacks=recipe.callbacks,
        class_weight=recipe.class_weight,
        backend=backend,  # type: ignore[arg-type]
        device=kind,
        replicas=recipe.device.replicas,
        seed=recipe.seed,
    )


def _directory_of(target: str, question: Target) -> Path:
    """Another model, code or framework is another run."""
    return RUNS / f"{run_name(target)}-{_digest(question)}"


def _digest(question: Target) -> str:
    asked = changed(question, folder="")
    digest = hashlib.sha256(msgspec.json.encode(asked))
    for path in named_files(question):
        digest.update(path.read_bytes())
    for names in (("keras",), ("keras-autobatch",), frameworks.DISTRIBUTIONS[question.backend]):
        digest.update(_version(*names).encode())
    return digest.hexdigest()[:8]


def _version(*names: str) -> str:
    """Of what is installed under one of these names."""
    return " ".join(frameworks.installed(names).values()) or "unknown"
