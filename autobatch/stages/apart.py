"""How what is measured differs from what the user's own file trains, as far as that can be read."""

from pathlib import Path

from autobatch.locator import file_of
from autobatch.protocol import Inspected, split
from autobatch.recipe import AssumedBaseline
from autobatch.stages.ask import Session
from autobatch.users_file import batch_sizes, unlike_measurements

OF_NO_MEMORY = ("shuffle", "callbacks")


def apart_from_theirs(
    session: Session, inspected: Inspected, *, of_memory: bool = False
) -> tuple[str, ...]:
    """Sentences: who takes the baseline for their own setting is to know where it is not.

    With `of_memory` only those that matter where nothing but memory is measured.
    """
    folder = Path(session.record.target.folder)
    found = (file_of(source, folder) for source, _ in _references(session))
    files = [path for path in dict.fromkeys(found) if path and path.suffix == ".py"]
    files = [path for path in files if path.is_file()]
    left_out = _left_out(session, files, alike=_alike(session, inspected))
    if of_memory:
        return tuple(told for what, told in left_out if what not in OF_NO_MEMORY)
    return (*_assumed(session, files), *(told for _, told in left_out))


def _assumed(session: Session, files: list[Path]) -> list[str]:
    baseline = session.recipe.baseline
    if not isinstance(baseline, AssumedBaseline):
        return []
    size = baseline.batch_size
    given = set[int | None]().union(*map(batch_sizes, files))
    written = sorted(each for each in given if each not in (None, size))
    if written:
        told = f"Your code gives fit a batch_size of {written[0]}: if that is what you train with"
    else:
        told = "If you train with another"
    return [
        f"Your batch size is taken to be {size}, Keras' own default, since baseline.batch_size is "
        f"not set. {told}, set that: --set baseline.batch_size={written[0] if written else 'N'}."
    ]


def _alike(session: Session, inspected: Inspected) -> set[str]:
    """Arguments of `fit` that measurements have too. Only of arrays are the weights seen."""
    is_weighted = inspected.data_kind != "arrays" or "sample_weight" in inspected.fit_call
    known = {
        "class_weight": session.recipe.class_weight,
        "sample_weight": is_weighted,
        "callbacks": session.recipe.callbacks,
    }
    return {name for name, there in known.items() if there}


def _left_out(session: Session, files: list[Path], *, alike: set[str]) -> list[tuple[str, str]]:
    """(what is not measured, the sentence on it)"""
    folder, found = Path(session.record.target.folder), list[tuple[str, str]]()
    size = session.recipe.baseline.batch_size
    for path in files:
        used = [name for source, name in _references(session) if file_of(source, folder) == path]
        found += unlike_measurements(path, used, alike=alike, batch_size=size).items()
    return found


def _references(session: Session) -> list[tuple[str, str]]:
    """(file or module, function) of each that the recipe names."""
    recipe = session.recipe
    named = filter(None, (recipe.model, recipe.data, recipe.callbacks))
    return [(source, name) for source, name in map(split, named) if name]
