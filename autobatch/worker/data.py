"""The user's data as sources, split if need be; or synthetic samples."""

import hashlib
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from autobatch.protocol import Extent, Target
from autobatch.worker import backends, batches, datasets
from autobatch.worker.arrays import Arrays, arrays
from autobatch.worker.called import Called, builder_of, called_again, load_again, takes_batch_size
from autobatch.worker.forms import is_pair, is_samples, refuse_several
from autobatch.worker.generators import is_generator, of_generator
from autobatch.worker.kept import keep, mapped_bytes, write_parameters
from autobatch.worker.loaders import is_loader, of_loader, refuse_unbatched
from autobatch.worker.mistakes import UserError
from autobatch.worker.parts import fewer, in_parts_of, may_be_for, split
from autobatch.worker.pydatasets import of_pydataset
from autobatch.worker.seeds import random_state_kept
from autobatch.worker.source import Look, Source, extent
from autobatch.worker.synthetic import synthetic_samples
from autobatch.worker.target import fixed_batch_size, has_fixed_inputs, parameters, recurrent_states

# What does not know its size is counted this long, once in a run: training data, which bounds the
# batch size; and validation data, which every evaluation then goes through.
COUNT_SECONDS, VALIDATION_COUNT_SECONDS = 20.0, 3.0
PATIENCE = 10  # times that, for data that ended within it when it was first inspected


@dataclass(frozen=True)
class Data:
    train: Source
    validation: Source | None  # None too where it is left out
    has_validation: bool
    source: str
    count: int  # training samples there are; `train` may leave out what fills no batch
    extents: tuple[Extent, ...] = ()
    notes: tuple[str, ...] = ()
    saved_seconds: float = 0.0  # of this process, in which it was counted, and perhaps kept
    mapped_bytes: int = 0  # by the processes to come, if it was kept


def load(
    target: Target,
    model: keras.Model,
    called: Called,
    *,
    batch_size: int,
    samples: int,
    validates: bool = False,
    validation_samples: int | None = None,
    validation_size: int | None = None,
    seed: int = 0,
    anew: bool = False,
) -> Data:
    """The user's data; where they give none, `samples` synthetic ones that fit the model.

    Validation data is left out but for who `validates`, on `validation_samples` (by `seed`), if
    given, and of batches of `validation_size` where the loader builds them by batch_size.
    With `anew` what was loaded is kept if that was slow, and it is counted again if it was to its
    end.
    """
    fixed = fixed_batch_size(model)
    if fixed is not None and fixed != batch_size:
        raise UserError(
            f"The model's batch size is fixed at {fixed}, and {batch_size} was to be tried.",
            hint="Let the model's callable accept batch_size and build its inputs with it.",
        )
    if called.loader is None:
        x, y, notes = synthetic_samples(model, samples, seed=target.seed)
        notes = (*called.notes, *notes)
        found = Data(Arrays(x, y, None, samples), None, False, "synthetic", samples, notes=notes)
    else:
        _check_built(target, model, called)
        value, called.value = called.value, None  # what is left out of it takes no memory
        loading = _Loading(target, called, model, batch_size, validates, anew, validation_size)
        found = loading.data(value)
        if anew and called.seconds is not None:
            found = loading.kept(found, value, called.seconds)
    if isinstance(found.train, Arrays) and recurrent_states(model):
        note = "The model keeps states from batch to batch: samples stay in order (shuffle=False)."
        ordered = replace(found.train, shuffled=False)
        found = replace(found, train=ordered, notes=(*found.notes, note))
    if found.validation is not None and validation_samples is not None:
        unit = fixed or target.replicas
        few = fewer(found.validation, validation_samples, unit=unit, seed=seed)
        found = replace(found, validation=few)
    if fixed is not None:
        note = (
            f"The model's batch size is fixed: what does not fill a batch of {fixed} is left out."
        )
        return _in_parts_of(found, fixed, note)
    if target.replicas > 1 and backends.load(target.backend).EQUAL_PARTS:
        note = (
            f"On {target.backend} every batch, the last one too, is shared by {target.replicas} "
            "replicas in equal parts: samples that cannot be are left out, as they must be of your "
            "own data."
        )
        return _in_parts_of(found, target.replicas, note, replicas=target.replicas)
    return found


def _check_built(target: Target, model: keras.Model, called: Called) -> None:
    """That the model is the one that is built where the loader was called."""
    found, kept = parameters(model), called.once.reference if called.once else target.data
    if called.parameters not in (None, found):
        raise UserError(
            f"{target.model} builds a model of {found} parameters, and of {called.parameters} "
            f"where {kept} was called before it.",
            hint="What that returns is kept for the run, and it is not called in each process. "
            "Let the model need nothing that it sets: give that under `args:` in the recipe.",
        )


@dataclass(frozen=True)
class _Loading:
    """One call of the user's loader, and what it may be asked again."""

    target: Target
    called: Called
    model: keras.Model
    size: int
    validates: bool
    anew: bool
    validation_size: int | None
    looks: list[Look] = field(default_factory=list)

    def call_again(self, size: int, index: int | None) -> Any:
        """The part of that index, of batches of that size."""
        if size == self.size:
            loaded = load_again(self.called, self.target, size)
        else:
            loaded = called_again(self.target, self.called, size, instead_of=self.size)
        return loaded if index is None else loaded[index]

    def kept(self, found: Data, loaded: Any, seconds: float) -> Data:
        """What was slow to load, kept; and what no process after this one spends."""
        saved, once = sum(look.took_seconds for look in self.looks), self.called.once
        if not self.target.kept_data:
            return replace(found, saved_seconds=saved)
        began, path = time.perf_counter(), Path(self.target.kept_data)
        note = keep(
            loaded,
            path,
            seconds,
            str(self.target.data),
            is_for_one_size=takes_batch_size(self.called.loader),
            again_since=self.called.why_again(self.target),
        )
        if fixed_batch_size(self.model) is None and not takes_batch_size(builder_of(self.target)):
            write_parameters(path, parameters(self.model))
        notes, mapped = [note], 0
        if path.exists():  # perhaps from an inspection before this
            saved += seconds + time.perf_counter() - began
            mapped = mapped_bytes(loaded)
        elif once is not None:
            notes, mapped = [once.note(loaded), note], once.mapped_bytes
        saved += once.saved_seconds if once is not None else 0.0
        told = (*filter(None, notes), *found.notes)
        return replace(found, notes=told, saved_seconds=saved, mapped_bytes=mapped)

    def data(self, loaded: Any) -> Data:
        source = str(self.target.data)
        if not is_pair(loaded):
            refuse_several(loaded, source)
            whole = self.source(loaded, source, None)
            known = (extent(whole),)
            train, validation, note = split(whole, source)
            has_validation = validation is not None
            notes = (note, *whole.notes)
            return Data(train, validation, has_validation, source, train.count, known, notes)
        train = self.source(loaded[0], f"{source}, training data", 0)
        validation = None
        has_validation = loaded[1] is not None
        if has_validation and self.validates:
            validation = self.validation(loaded[1], f"{source}, validation data")
        notes = train.notes + (validation.notes if validation else ())
        extents = tuple(extent(part) for part in (train, validation) if part)
        return Data(train, validation, has_validation, source, train.count, extents, notes)

    def validation(self, part: Any, name: str) -> Source:
        """Of the one size of all trials, where the loader, and it alone, goes by batch_size."""
        size, source = self.validation_size, partial(self.source, part, name, 1)
        builder = builder_of(self.target)
        follows = takes_batch_size(self.called.loader) and not takes_batch_size(builder)
        found = None if is_generator(part) else source()  # which reads that to its end
        is_told = found is None or may_be_for(found, self.size, self.target.extents[1:])
        if follows and is_told and size not in (None, self.size):
            value = called_again(self.target, self.called, size, instead_of=self.size)
            if value is not None:
                return replace(self, size=size).source(value[1], name, 1)
        return source() if found is None else found

    def look(self, index: int) -> Look:
        """At the part of that index, if it has to be counted; again, where that was inspected."""
        seconds = VALIDATION_COUNT_SECONDS if index == 1 else COUNT_SECONDS
        known = next(iter(self.target.extents[index:]), None)
        if known is not None and known.is_whole and self.anew:
            seconds, known = PATIENCE * seconds, None
        self.looks.append(Look(seconds, known))
        return self.looks[-1]

    def source(self, part: Any, name: str, index: int | None) -> Source:
        """`part` as a source; `index` is its place in what the loader returns."""
        look, ends, fixed = self.look(index or 0), index == 1, has_fixed_inputs(self.model)
        if datasets.is_dataset(part):
            asks = takes_batch_size(self.called.loader)
            if not datasets.is_batched(part, self.model, self.size if asks else None):
                return datasets.unbatched(part, name, look, self.model, ends=ends)
            size = self.built_size(name, of_their_own=ends, or_else=datasets.OR_SAMPLES)
            of_one = partial(self.call_again, 1, index) if asks and not ends else None
            return batches.of_dataset(part, size, name, look, ends=ends, of_one=of_one)
        if isinstance(part, keras.utils.PyDataset):
            size = self.built_size(name, of_their_own=ends)
            with random_state_kept():  # an order that is drawn here goes by no size
                self.called.draw_alike()
                return of_pydataset(part, size, name, look, fixed_inputs=fixed)
        if is_loader(part):
            size = self.built_size(name, of_their_own=ends)
            return of_loader(part, size, name, look, ends=ends, fixed_inputs=fixed)
        refuse_unbatched(part, name)
        if is_generator(part):
            self.built_size(name)
            again = partial(self.call_again, self.size, index)
            return of_generator(part, again, self.size, name, look, ends=ends, fixed_inputs=fixed)
        if is_samples(part):
            return arrays(part, name)
        raise UserError(
            f"{name} is {type(part).__module__}.{type(part).__qualname__}; autobatch "
            "takes (x, y) or (x, y, sample_weight) of arrays, a tf.data.Dataset, or a PyDataset, "
            "torch DataLoader or generator built by a callable that accepts batch_size.",
            hint="Return (train, validation), such as ((x_train, y_train), (x_val, y_val)).",
        )

    def built_size(self, name: str, *, of_their_own: bool = False, or_else: str = "") -> int | None:
        """That batches built by the user must have. None: any, but for a model of a fixed one."""
        if of_their_own and fixed_batch_size(self.model) is None:
            return None
        if not takes_batch_size(self.called.loader):
            raise UserError(
                f"{name} comes in batches of a size of its own.",
                hint="Write `def load_data(batch_size):`, and build batches of that size"
                f"{or_else}.",
            )
        return self.size


def _in_parts_of(data: Data, size: int, note: str, *, replicas: int = 1) -> Data:
    """The samples without those that do not make up a whole part of `size`."""
    train = in_parts_of(data.train, size, data.source, replicas=replicas)
    if train is None:
        told = f"There are {data.count} training samples, and training takes {size} at least."
        remedy = "lower device.replicas" if replicas > 1 else "build the model for a smaller batch"
        raise UserError(told, hint=f"Give more data, or {remedy}.")
    validation = data.validation
    if validation is not None:
        validation = in_parts_of(validation, size, data.source, replicas=replicas)
    whole = train is data.train and validation is data.validation
    notes = data.notes if whole else (*data.notes, note)
    return replace(data, train=train, validation=validation, notes=notes)


def fingerprint(data: Data) -> str:
    """A hash of both parts."""
    pieces = (p for part in (data.train, data.validation) if part for p in part.fingerprint())
    return hashlib.sha256(b"".join(pieces)).hexdigest()[:16]
