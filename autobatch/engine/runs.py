"""The runs that there are: what was asked in each run directory, and how far it came."""

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import msgspec

from autobatch.engine.record_file import FILE_NAME, Content, read_record
from autobatch.errors import AutobatchError, UsageError
from autobatch.locator import at_home, is_directory, is_recipe, place_of, real_path, run_name
from autobatch.protocol import SCHEMA_VERSION, Recommendation, Struct, kind_of, split
from autobatch.units import ratio

RUNS = Path("autobatch-runs")
State = Literal["recommended", "benchmarked", "probed", "verified", "unfinished", "unreadable"]


class RunSummary(Struct):
    """One run directory. `spent_seconds` were spent on `jobs` by worker processes."""

    name: str
    directory: str
    state: State
    answer: str  # one phrase; why it cannot be read, where it cannot
    model: str = ""
    created: str = ""
    jobs: int = 0
    spent_seconds: float = 0.0


def runs_in(folder: Path = RUNS) -> tuple[RunSummary, ...]:
    """All runs in `folder`, the one that was worked on last first."""
    if not is_directory(folder):
        return ()
    records = [path for path in folder.glob(f"*/{FILE_NAME}") if path.is_file()]
    records.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return tuple(_summary(path.parent) for path in records)


def refuse_unless_folder(folder: Path) -> None:
    if not is_directory(folder):
        raise UsageError(f"There is no folder {folder}.")


def find_run(text: str, *, recommending: bool = False) -> Path:
    """A run directory: by its path, its name in autobatch-runs, or a target's last.

    If it is to be `recommending`, the target's last that is, where one is.
    """
    for directory in (at_home(Path(text)), RUNS / text):
        if is_directory(directory):
            return directory
    records = sorted(RUNS.glob(f"*/{FILE_NAME}"), key=lambda path: path.stat().st_mtime)
    names = [path.parent.name for path in records]
    of_target = re.compile(rf"{re.escape(run_name(text))}-[0-9a-f]{{8}}")
    last: Path | None = None
    for run in (record.parent for record in reversed(records)):
        if of_target.fullmatch(run.name) and _is_of(run, text):
            if not recommending or _recommends(run):
                return run
            last = last or run
    if last is not None:
        return last
    near = get_close_matches(text, names, n=1)
    raise UsageError(
        f"There is no run {text}.",
        hint=f"Did you mean {near[0]}?" if near else "`autobatch runs` lists those that there are.",
    )


def _is_of(run: Path, target: str) -> bool:
    """Whether the run is of that very model, where one is named: others may have its name."""
    place = (
        (real_path(at_home(Path(target))).parent, None) if is_recipe(target) else place_of(target)
    )
    if place is None:
        return True
    try:
        header = read_record(run).header
    except AutobatchError:
        return False
    folder, model = place
    if header is None or model not in (None, header.target.model):
        return False
    is_here = os.access(split(target)[0], os.F_OK)
    return not is_here or Path(header.target.folder) == folder


def _recommends(run: Path) -> bool:
    try:
        return read_record(run).recommendation is not None
    except AutobatchError:
        return False


def read_recommendation(path: Path) -> Recommendation:
    """What a run, or a recommendation.json, recommends."""
    if is_directory(path):
        found = read_record(path).recommendation
        if found is None:
            raise UsageError(
                f"{path} holds no recommendation yet.",
                hint="`autobatch recommend` on its target goes on from what is measured.",
            )
        return found
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}.",
            hint="Give a run directory, or the recommendation.json in it.",
        ) from None
    try:
        version = msgspec.json.decode(text, type=dict[str, Any]).get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise UsageError(
                f"{path} has schema_version {version}, newer than the {SCHEMA_VERSION} that this "
                "autobatch knows.",
                hint="Update autobatch.",
            )
        return msgspec.json.decode(text, type=Recommendation)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is no recommendation: {error}.",
            hint="Give what `autobatch recommend` wrote: recommendation.json in its run directory.",
        ) from None


def _summary(directory: Path) -> RunSummary:
    name, where = (os.fsencode(p).decode("utf-8", "replace") for p in (directory.name, directory))
    try:
        content = read_record(directory)
    except AutobatchError as error:
        return RunSummary(name=name, directory=where, state="unreadable", answer=error.message)
    assert content.header is not None
    state, answer = _answer(content)
    return RunSummary(
        name=name,
        directory=where,
        state=state,
        answer=answer,
        model=content.header.target.model,
        created=content.header.created,
        jobs=len(content.entries),
        spent_seconds=sum(entry.seconds for entry in content.entries),
    )


def _answer(content: Content) -> tuple[State, str]:
    if found := content.recommendation:
        told = f"batch {found.batch_size}, learning rate {found.learning_rate:.4g}"
        likely = "" if found.verdict == "better" else "likely "
        if found.keeps_baseline:
            return "recommended", f"{told}: {found.verdict}"
        if found.learning_rate_schedule:
            return "recommended", f"{told}: {likely}ends at {found.metric} {found.val_loss:.4g}"
        return "recommended", f"{told}: {likely}{ratio(found.speedup.value)}× sooner"
    if measured := content.benchmark:
        return "benchmarked", f"knee at {measured.knee}, fastest at {measured.best}"
    if probed := content.probe:
        largest = f"{probed.name_of_largest} {probed.largest_fitting}"
        return "probed", f"{largest}, ceiling {probed.ceiling or 'none'}"
    if verified := content.verification:
        told = "holds" if verified.holds else "does not hold"
        return "verified", f"batch {verified.batch_size} {told}"
    if not content.entries:
        return "unfinished", "nothing measured"
    return "unfinished", f"last job: {kind_of(content.entries[-1].task)}"


def refuse_unless_text(path: str) -> None:
    """Paths stand in the record and in results, which are UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"The path {path!a} is not valid UTF-8, and cannot be written down.",
            hint="Rename it, or work in a copy of the folder elsewhere.",
        ) from None
