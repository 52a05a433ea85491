"""How what is measured differs from what the user's own file trains, as far as that can be read."""

from pathlib import Path

from autobatch.engine.sources import named_files
from autobatch.recipe import AssumedBaseline
from autobatch.stages.ask import Session
from autobatch.users_file import batch_sizes, unlike_measurements


def apart_from_theirs(session: Session) -> tuple[str, ...]:
    """Sentences: who takes the baseline for their own setting is to know where it is not."""
    files = [path for path in named_files(session.record.target) if path.suffix == ".py"]
    return (*_assumed(session, files), *_left_out(session, files))


def _assumed(session: Session, files: list[Path]) -> list[str]:
    baseline = session.recipe.baseline
    if not isinstance(baseline, AssumedBaseline):
        return []
    size = baseline.batch_size
    written = sorted(set[int]().union(*map(batch_sizes, files)) - {size})
    if written:
        told = f"Your code gives fit a batch_size of {written[0]}: if that is what you train with"
    else:
        told = "If you train with another"
    return [
        f"Your batch size is taken to be {size}, Keras' own default, since baseline.batch_size is "
        f"not set. {told}, set that: --set baseline.batch_size={written[0] if written else 'N'}."
    ]


def _left_out(session: Session, files: list[Path]) -> list[str]:
    recipe = session.recipe
    references = [each for each in (recipe.model, recipe.data, recipe.callbacks) if each]
    found = []
    for path in files:
        own = (each.rpartition(":") for each in references)
        used = [name for source, _, name in own if source.endswith(path.name)]
        found += unlike_measurements(path, used, is_weighted=bool(recipe.class_weight))
    return found
