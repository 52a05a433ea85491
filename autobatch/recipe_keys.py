"""The recipe's keys: their types, defaults, and what may be written.

Each field's description is both the schema's and the errors' text.
"""

from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from autobatch.units import Duration, MemoryLimit, Share

Count = Annotated[int, Meta(ge=1, description="a whole number from 1")]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a recipe's parts."""

    # Below, defaults of types of our own are factories: msgspec's schema cannot write them out.


class Baseline(Section, frozen=True, kw_only=True):
    """What you train with today."""

    batch_size: Count = 32
    learning_rate: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="a number above 0 (default: that of the compiled optimizer)"),
    ] = None


class Device(Section, frozen=True, kw_only=True):
    """Where to train, and how much of its memory to use."""

    kind: Annotated[
        Literal["auto", "gpu", "cpu"], Meta(description="auto, gpu or cpu (auto: a GPU if any)")
    ] = "auto"
    memory_limit: Annotated[
        MemoryLimit | None,
        Meta(description="a size such as 8GiB, or a share such as 80% (default: all that is free)"),
    ] = None
    headroom: Share = field(default_factory=partial(Share, 0.1))  # of the limit, kept free
    replicas: Count = 1  # data-parallel, on this host


class BatchSizes(Section, frozen=True, kw_only=True):
    """The range of batch sizes to search."""

    min: Count = 1
    max: Count = 65536


class BenchmarkSettings(Section, frozen=True, kw_only=True):
    """Which sizes to time, and for how long."""

    sizes: Annotated[
        Literal["powers_of_two"] | Annotated[list[Count], Meta(min_length=1)],
        Meta(description="powers_of_two, or a list of whole numbers from 1 such as [32, 48, 64]"),
    ] = "powers_of_two"
    seconds: Duration = field(default_factory=partial(Duration, 3))  # per size


class Trials(Section, frozen=True, kw_only=True):
    """The short training runs that decide."""

    budget: Duration = field(default_factory=partial(Duration, 5 * 60))  # all trials together
    seeds: Annotated[
        int, Meta(ge=1, le=20, description="a whole number from 1 to 20 (seeds per finalist)")
    ] = 3
    learning_rate: Annotated[
        Literal["auto", "linear", "sqrt", "none"],
        Meta(description="auto, linear, sqrt or none (scaling rule; auto: by the optimizer)"),
    ] = "auto"
    metric: Annotated[
        str,
        Meta(pattern=r"^val_.+", description="val_ and a metric, such as val_loss or val_accuracy"),
    ] = "val_loss"
    sharpness: Annotated[
        bool, Meta(description="true or false: whether finalists' sharpness is measured, too")
    ] = False


class Wishes(Section, frozen=True, kw_only=True):
    """What the recommendation is to be for."""

    prefer: Annotated[
        Literal["small", "large"],
        Meta(description="small or large: which of the sizes that are equally good"),
    ] = "small"
    effective_batch: Annotated[
        Count | None, Meta(description="samples per update, by accumulation where they do not fit")
    ] = None
    replicas: Annotated[
        list[Count], Meta(description="numbers of devices to predict the speedup of: [1, 2, 4, 8]")
    ] = []


class Recipe(Section, frozen=True, kw_only=True):
    """What autobatch is to measure, and within which bounds."""

    model: Annotated[
        str,
        Meta(min_length=1, description="train.py:build_model, package.module:name or model.keras"),
    ]
    data: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="train.py:load_data or package.module:name"),
    ] = None
    args: Annotated[
        dict[str, Any],
        Meta(description="keyword arguments of the model's callable, such as {width: 128}"),
    ] = {}
    callbacks: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="train.py:callbacks, which returns a list of Keras callbacks"),
    ] = None
    class_weight: Annotated[
        Annotated[
            dict[Annotated[int, Meta(ge=0)], Annotated[float, Meta(ge=0)]], Meta(min_length=1)
        ]
        | None,
        Meta(description='a weight for each class, such as {"0": 1, "1": 4.5}'),
    ] = None
    backend: Annotated[
        Literal["tensorflow", "jax", "torch"] | None,
        Meta(description="tensorflow, jax or torch (default: your Keras configuration)"),
    ] = None
    baseline: Baseline = Baseline()
    device: Device = field(default_factory=Device)
    batch_sizes: BatchSizes = BatchSizes()
    benchmark: BenchmarkSettings = field(default_factory=BenchmarkSettings)
    trials: Trials = field(default_factory=Trials)
    recommend: Wishes = field(default_factory=Wishes)
    engine: Annotated[Literal["local", "ray"], Meta(description="local or ray")] = "local"
    time_limit: Duration = field(default_factory=partial(Duration, 20 * 60))  # of the whole run
    seed: Annotated[int, Meta(ge=0, lt=2**31, description="a whole number from 0 to 2**31 - 1")] = 0
