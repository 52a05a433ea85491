"""The recipe's keys: their types, defaults, what may be written, and what they mean.

Of each field the first description says what may be written (types of our own say it themselves),
the last one what it means. Errors, the schema and docs/recipe.md tell both.
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
    """What you train with today, and what the recommendation is compared with."""

    batch_size: Annotated[Count, Meta(description="batch size that you train with today")] = 32
    learning_rate: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="a number above 0 (default: that of the compiled optimizer)"),
        Meta(description="learning rate that you train with today"),
    ] = None


class AssumedBaseline(Baseline, frozen=True, kw_only=True):
    """With Keras' own batch size, where the user did not say theirs."""


class Device(Section, frozen=True, kw_only=True):
    """Where to train, and how much of its memory to use."""

    kind: Annotated[
        Literal["auto", "gpu", "cpu"],
        Meta(
            description="auto, gpu or cpu (auto: an NVIDIA GPU if there is one, and "
            "the backend is installed for GPUs)"
        ),
        Meta(description="device to train on"),
    ] = "auto"
    memory_limit: Annotated[
        MemoryLimit | None,
        Meta(
            description="a size such as 8GiB, or a share of the default such as 80% (default: "
            "what is free, less a tenth on a CPU, less up to 2.4 GiB for CUDA on a GPU)"
        ),
        Meta(description="memory of the device that training may use; batch sizes must fit in it"),
    ] = None
    headroom: Annotated[
        Share, Meta(description="share of the memory limit that what is recommended leaves free")
    ] = field(default_factory=partial(Share, 0.1))
    replicas: Annotated[
        Count,
        Meta(description="devices of this machine that share each batch (data-parallel training)"),
    ] = 1


class BatchSizes(Section, frozen=True, kw_only=True):
    """The range of batch sizes to search; never above the number of training samples."""

    min: Annotated[Count, Meta(description="smallest batch size to consider")] = 1
    max: Annotated[Count, Meta(description="largest batch size to consider")] = 65536


class BenchmarkSettings(Section, frozen=True, kw_only=True):
    """Which batch sizes to time, and for how long."""

    sizes: Annotated[
        Literal["powers_of_two"] | Annotated[list[Count], Meta(min_length=1)],
        Meta(description="powers_of_two, or a list of whole numbers from 1 such as [32, 48, 64]"),
        Meta(description="batch sizes to time; yours is among them, if it fits"),
    ] = "powers_of_two"
    seconds: Annotated[
        Duration, Meta(description="time to measure each batch size for, over all its processes")
    ] = field(default_factory=partial(Duration, 3))


class Trials(Section, frozen=True, kw_only=True):
    """The short training runs that decide."""

    budget: Annotated[Duration, Meta(description="training time of all trials together")] = field(
        default_factory=partial(Duration, 5 * 60)
    )
    seeds: Annotated[
        int,
        Meta(ge=1, le=20, description="a whole number from 1 to 20"),
        Meta(
            description="training runs of each finalist, each with a random seed of its own (one "
            "alone ranks nothing)"
        ),
    ] = 5
    learning_rate: Annotated[
        Literal["auto", "linear", "sqrt", "none"],
        Meta(
            description="auto, linear, sqrt or none (auto: by the optimizer; none: your rate alone "
            "is tried, at every size)"
        ),
        Meta(description="rule by which the learning rate grows with the batch size"),
    ] = "auto"
    schedule: Annotated[
        Literal["own", "warmup_stable_decay"],
        Meta(
            description="own or warmup_stable_decay (own: as your code trains; "
            "warmup_stable_decay: the rate rises over the first 10 % of a trial's steps, stays, "
            "and falls to 0 over the last 20 %)"
        ),
        Meta(description="how the learning rate goes in trials"),
    ] = "own"
    metric: Annotated[
        str,
        Meta(pattern=r"^val_.+", description="val_ and a metric, such as val_loss or val_accuracy"),
        Meta(
            description="validation metric that trials are ranked by; whether more or less of it "
            "is better follows from a word in its name (accuracy, auc, loss, error, ...)"
        ),
    ] = "val_loss"
    sharpness: Annotated[
        bool,
        Meta(description="true or false"),
        Meta(
            description="whether to measure also how sharply the loss curves where finalists end "
            "(it decides nothing)"
        ),
    ] = False


class Wishes(Section, frozen=True, kw_only=True):
    """What else the recommendation is to consider."""

    prefer: Annotated[
        Literal["small", "large"],
        Meta(description="small or large"),
        Meta(description="which of several equally good batch sizes to recommend"),
    ] = "small"
    effective_batch: Annotated[
        Count | None,
        Meta(description="a whole number from 1"),
        Meta(description="samples per update that you want to know how to train with"),
    ] = None
    replicas: Annotated[
        list[Count],
        Meta(description="a list of whole numbers from 1 such as [1, 2, 4, 8]"),
        Meta(description="numbers of devices to predict the speedup of"),
    ] = []


class Recipe(Section, frozen=True, kw_only=True):
    """What autobatch is to measure, and within which bounds."""

    model: Annotated[
        str,
        Meta(min_length=1, description="train.py:build_model, package.module:name or model.keras"),
        Meta(
            description="function that returns your compiled model, or a saved model, from whose "
            "weights each trial then starts"
        ),
    ]
    data: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="train.py:load_data or package.module:name"),
        Meta(
            description="function that returns your data as (train, validation); one that has a "
            "parameter batch_size is given it"
        ),
    ] = None
    args: Annotated[
        dict[str, Any],
        Meta(description="names and values such as {width: 128}"),
        Meta(description="keyword arguments for the function that returns the model"),
    ] = {}
    callbacks: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="train.py:callbacks or package.module:name"),
        Meta(
            description="function that returns a list of Keras callbacks, called for each job; "
            "Keras' own that write files or set the learning rate are left out"
        ),
    ] = None
    class_weight: Annotated[
        Annotated[
            dict[Annotated[int, Meta(ge=0)], Annotated[float, Meta(ge=0)]], Meta(min_length=1)
        ]
        | None,
        Meta(description="a weight for each class, such as {0: 1, 1: 4.5}"),
        Meta(description="class weights that you train with, as `fit` takes them"),
    ] = None
    backend: Annotated[
        Literal["tensorflow", "jax", "torch"] | None,
        Meta(
            description="tensorflow, jax or torch (default: KERAS_BACKEND as your file or else "
            "your shell sets it, else your Keras configuration)"
        ),
        Meta(description="framework that Keras runs on"),
    ] = None
    baseline: Baseline = Baseline()
    device: Device = field(default_factory=Device)
    batch_sizes: BatchSizes = BatchSizes()
    benchmark: BenchmarkSettings = field(default_factory=BenchmarkSettings)
    trials: Trials = field(default_factory=Trials)
    recommend: Wishes = field(default_factory=Wishes)
    engine: Annotated[
        Literal["local", "ray"],
        Meta(description="local or ray (which is not supported yet)"),
        Meta(description="where jobs run"),
    ] = "local"
    time_limit: Annotated[
        Duration,
        Meta(
            description="time for the whole run; then the best answer so far is given, if there is "
            "one"
        ),
    ] = field(default_factory=partial(Duration, 20 * 60))
    seed: Annotated[
        int,
        Meta(ge=0, lt=2**31, description="a whole number from 0 to 2**31 - 1"),
        Meta(description="random seed of initial weights and of the order of samples"),
    ] = 0
