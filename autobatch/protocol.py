"""Every typed value that crosses a boundary: process, record file, `--json`, Python API.

A `Job` is one question put to a worker process: a `Task` about a `Target`. An `Outcome` is its
answer; failures are outcomes too. An `Event` is told to whoever watches. Results are what commands
return. All are frozen msgspec structs: one definition gives validation and JSON. Units are in
names; shapes of tuples are in the comments beside them.
"""

import json
from typing import Any, Literal, TypeVar, dataclass_transform

import msgspec

SCHEMA_VERSION = 1
VERIFY_STEPS = 200  # that a verification runs at most, unless more are needed
SHARPNESS_GRADIENTS = 60  # where a trial ends, at most
PASSED = "PASSED_IN_PYTHON"  # a name in the file that has what was passed, for workers to import
WORKER_BUG = 70  # exit code (EX_SOFTWARE) of a worker that failed by a fault of ours
# What the system calls other shortages that TensorFlow raises the error of memory for (it maps
# ENOSPC, EDQUOT, EMFILE and ENOBUFS to RESOURCE_EXHAUSTED).
OTHER_SHORTAGES = (
    "No space left on device",
    "Disk quota exceeded",
    "Too many open files",
    "No buffer space available",
)


def snake_case(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all values, here and in other modules: frozen, keyword-only."""


S = TypeVar("S", bound=Struct)


def changed(struct: S, **changes: Any) -> S:
    """A copy of `struct` with other values of some fields."""
    return msgspec.structs.replace(struct, **changes)


class Tagged(Struct, frozen=True, kw_only=True, tag_field="type", tag=snake_case):
    """Base of members of a union: JSON carries `type`, the snake_case class name."""


def kind_of(value: Tagged) -> str:
    """Which member of its union it is, in words: range test."""
    return str(value.__struct_config__.tag).replace("_", " ")


# --- jobs ------------------------------------------------------------------------------------


class Extent(Struct):
    """How much there is of training or validation data, as one process found it for all others."""

    samples: int
    is_whole: bool  # False: it did not end while it was counted
    varied: bool = False  # its batches differ in shape


def split(reference: str) -> tuple[str, str]:
    """(file or module, function): folders may have colons in their names, as times have."""
    source, colon, name = reference.rpartition(":")
    return (source, name) if colon and not {"/", "\\"} & {*name} else (reference, "")


class Target(Struct):
    """The user's model and data, and where they live. Paths are relative to `folder`."""

    folder: str
    model: str
    data: str | None = None
    data_is_optional: bool = False  # a .py target need not have a load_data
    args: dict[str, Any] = {}
    callbacks: str | None = None  # names a callable that returns a list of Keras callbacks
    class_weight: dict[int, float] | None = None
    backend: Literal["tensorflow", "jax", "torch"] = "tensorflow"
    device: Literal["gpu", "cpu"] = "cpu"
    replicas: int = 1  # that share each batch; sizes are of all of them together
    seed: int = 0
    kept_data: str | None = None  # file for what a slow loader returns, while a run lasts
    extents: tuple[Extent, ...] = ()  # of what the loader returns, once that was inspected


class Inspect(Tagged):
    """What are the user's model and data, and do they work at all?"""

    batch_size: int


class Probe(Tagged):
    """Does a batch of `batch_size` samples train within `limit_bytes`?

    `verify` asks for more: the ragged last batch, and a validation pass after each epoch. Where
    steps are quick they are repeated for `seconds`: memory varies, and so more is seen of it.
    `predict` asks for less: where the compiler knows what a step needs, it is not run.
    """

    batch_size: int
    limit_bytes: int
    verify: bool = False
    predict: bool = False
    seconds: float = 1.0
    repeat: int = 0  # the same question to another process: memory varies between them


class Benchmark(Tagged):
    """How many samples per second does `fit` deliver at `batch_size`?"""

    batch_size: int
    seconds: float
    limit_bytes: int | None = None
    steps_per_execution: int | None = None  # None: as compiled
    repeat: int = 0  # the same question to another process: rates differ between them

    @property
    def explains(self) -> bool:
        """Whether it also measures what holds training back: once at each size, as it is slow."""
        return self.repeat == 0 and self.steps_per_execution is None


# Of the learning rate in trials: as the user's code trains, or as core.warmup_stable_decay has it.
TrialSchedule = Literal["own", "warmup_stable_decay"]


class Trial(Tagged):
    """Train `steps` steps from `seed`; what is the metric after each of `evaluate_at` steps?"""

    batch_size: int
    learning_rate: float  # of a schedule, its peak
    steps: int
    evaluate_at: tuple[int, ...]
    validation_batch_size: int
    seed: int
    settings: dict[str, float] = {}  # of the optimizer: beta_2, epsilon, ...
    schedule_speed: float = 1.0  # steps of a learning-rate schedule for each step of training
    limit_bytes: int | None = None
    sharpness: bool = False  # to be measured, too, where the trial ends
    validation_samples: int | None = None  # to evaluate on; None: all there are
    # Of validation batches that the user's loader builds by batch_size; None: the trial's own.
    built_validation_size: int | None = None
    schedule: TrialSchedule = "own"  # over all of its steps
    # The batch over that of the user's training, where BatchNormalization goes by it.
    batch_ratio: float = 1.0
    # `learning_rate` of the user's callable stays at its default: what is compiled is scaled.
    rate_argument_stays: bool = False


class Gradients(Tagged):
    """Train as a trial does; at the steps asked, how do gradients vary from sample to sample?

    At each of `measure_at` steps, `micro_batches` batches of `micro_batch_size` distinct samples
    are differentiated at the same weights.
    """

    batch_size: int
    learning_rate: float  # of a schedule, its peak
    measure_at: tuple[int, ...]
    micro_batch_size: int
    micro_batches: int  # at most: as many as one pass over the data has
    training_samples: int
    seed: int
    limit_bytes: int | None = None
    rate_argument_stays: bool = False


class RangeTest(Tagged):
    """At which learning rate does training break down?

    The baseline trains `steps` steps while its rate grows from `lowest_factor` to `highest_factor`
    times what it is, by a constant factor a step.
    """

    batch_size: int
    learning_rate: float  # of a schedule, its peak
    lowest_factor: float
    highest_factor: float
    steps: int
    seed: int
    limit_bytes: int | None = None
    rate_argument_stays: bool = False


Task = Inspect | Probe | Benchmark | Trial | Gradients | RangeTest


class Job(Struct):
    """One question put to a worker process. Self-contained."""

    target: Target
    task: Task
    device_bytes: int | None = None  # of the smallest GPU used, by its driver, all of it
    backend_is_asked: bool = False  # by name, whatever the user's code sets

    @property
    def limit_bytes(self) -> int | None:
        """The hard limit on the memory of the device."""
        return None if isinstance(self.task, Inspect) else self.task.limit_bytes


# --- outcomes --------------------------------------------------------------------------------


class Abilities(Struct):
    """What the backend makes possible on this device, for the stages to make use of."""

    predicts_memory: bool = False  # what a step needs is known once compiled, and does not vary
    executes_several_steps: bool = True  # `steps_per_execution` is heeded
    compiles_anew: bool = False  # by XLA, in each process: no program is kept on disk


RATE_FUNCTION = "learning-rate function"  # Keras calls it without arguments
OWN_LOSS = "its own"  # the model is compiled without a loss


DataKind = Literal["arrays", "dataset", "PyDataset", "DataLoader", "generator"]


class Inspected(Tagged):
    """The model and data work; this is what they are."""

    model_name: str
    parameters: int
    parameter_bytes: int
    optimizer: str
    learning_rate: float | None  # of a schedule, its peak; None where the optimizer has none
    learning_rate_schedule: str | None  # its class name, or RATE_FUNCTION
    loss: str
    metrics: tuple[str, ...]  # names that `trials.metric` may have
    jit_compile: bool
    precision: str
    batch_norm_layers: int
    batch_norm_momentum: float | None  # of the first such layer
    train_samples: int | None  # None: synthetic samples, as many as asked
    validation_samples: int | None
    data_source: str  # e.g. "digits.py:load_flat" or "synthetic"
    data_fingerprint: str
    # Of modules that are neither ours nor a library's, or of a named package; of a saved model.
    code_fingerprint: str
    nan: str | None  # a phrase on NaN in the data, where there is any
    notes: tuple[str, ...]  # sentences for the user, e.g. on a split made by us
    versions: dict[str, str]
    device_name: str
    device_kind: Literal["gpu", "cpu"]
    optimizer_names: tuple[str, ...] = ("optimizer",)  # attributes of the model
    optimizer_settings: dict[str, float] = {}  # what else goes with the batch size: beta_2, ...
    accumulation_steps: int = 1  # batches for one update of the weights
    accumulation_follows_batch: bool = False  # as many samples per update, whatever the batch
    abilities: Abilities = Abilities()
    saved_seconds: float = 0.0  # that no process after this one spends on data: it counted, kept it
    mapped_bytes: int = 0  # of the machine's memory that the data lies in, and later is a file's
    extents: tuple[Extent, ...] = ()  # of what the loader returns: one, or training and validation
    schedule_follows_batch: bool = False  # as it is built for the batch size that it is told
    schedule_follows_partly: bool = False  # it does, but not in proportion
    schedule_peak_step: int = 0  # at which its rate is first at its highest
    learning_rate_exponent: float = 0.0  # of the batch size that the user's callable is told
    rate_scheduler: str | None = None  # a callback that sets the rate each epoch, left out
    data_kind: DataKind = "arrays"  # of the training data; synthetic samples are arrays
    # How the user loads it, where that is told the batch size (`{size}`), and trains on it.
    fit_call: str = "model.fit(x, y, batch_size={size})"
    model_call: str = ""  # how they build the model, where it is told that size, or `{rate}`
    optimizer_call: str = ""  # how optimizers are had that a function chooses
    batch_size: int | None = None  # that it was asked for; None: in older records
    code_files: tuple[str, ...] = ()  # that `code_fingerprint` is of
    # Files that the code reads: a hash of each, by its path as seen from the target's folder.
    configuration: dict[str, str] = {}
    settings: dict[str, str] = {}  # of the environment, which a framework reads as it starts
    rate_setters: tuple[str, ...] = ()  # callbacks that set the rate, left out
    steps_made: int = 0  # by the optimizer of a saved model
    validation_is_batched: bool = False  # by the user's code, which decides their size
    rate_argument_stays: bool = False  # in trials: it does not carry the rate of all that trains
    why_no_sharpness: str | None = None  # a phrase, where it cannot be measured

    @property
    def schedule_counts_steps(self) -> bool:
        """Whatever the batch size: of a larger one it would last for more samples."""
        is_schedule = self.learning_rate_schedule not in (None, RATE_FUNCTION)
        return is_schedule and not self.schedule_follows_batch

    @property
    def is_whole(self) -> bool:
        """Whether `train_samples` are all; else as many as could be counted in time."""
        return all(each.is_whole for each in self.extents[:1])


class Fits(Tagged):
    """The batch trained within the limit."""

    peak_bytes: int
    least_peak_bytes: int  # of the full step that held least: operations overlap, and vary
    full_steps: int  # training steps that were seen to run at exactly the size asked
    steps: int
    step_seconds: float  # median of the steps after the first
    ragged_samples: int = 0  # size of the last, smaller batch that ran too; 0: none did
    validated: bool = False
    leak_bytes_per_step: int = 0  # held more after each step than after the one before; 0: steady
    host_leak_bytes_per_step: int = 0  # the same of the machine's memory, beside the device's

    @property
    def needed_bytes(self) -> int:
        """Between the most and the least that steps held: what the size may just do with."""
        return (self.peak_bytes + self.least_peak_bytes) // 2


class OutOfMemory(Tagged):
    """The batch does not fit; `evidence` is the line that says so."""

    evidence: str
    peak_bytes: int | None = None
    host_memory: bool = False  # it was the machine's memory that ran out, not the device's


class OverBudget(Tagged):
    """It ran, but its peak is above the limit (devices that have no hard limit)."""

    peak_bytes: int


class Predicted(Tagged):
    """It would train within the limit, by the compiler's own analysis; nothing ran."""

    peak_bytes: int

    @property
    def needed_bytes(self) -> int:
        return self.peak_bytes


class UserCodeFailed(Tagged):
    """The user's model or data raised, or is not what it must be. Never taken for 'too large'."""

    message: str
    traceback: str = ""  # trimmed to the user's frames
    hint: str | None = None
    framework_error: bool = False  # the exception is of the framework's own type


class TargetMissing(Tagged):
    """The recipe names a module, file, callable or argument that is not there."""

    message: str
    hint: str | None = None
    is_device: bool = False  # the framework does not see the GPU that is there


class TimedOut(Tagged):
    """No answer within the deadline; the process was killed."""

    deadline_seconds: float
    log_tail: str = ""
    where: str | None = None  # in the user's code, e.g. "load_data (train.py, line 12)"
    oom_kills_elsewhere: int = 0  # of the kernel, for memory, meanwhile: in other control groups


class Crashed(Tagged):
    """The process died and nothing known explains it as out-of-memory."""

    signal: int | None
    exit_code: int | None
    log_tail: str
    never_started: bool = False  # no process could be: it says nothing of what was asked


class Window(Struct):
    """One stretch of a benchmark, closed by a device synchronisation."""

    steps: int
    samples: int
    seconds: float

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds


class EpochEnd(Struct):
    """The end of an epoch, at which tf.data may wait for a thread of its own."""

    wait_seconds: float  # what a wait takes at this end, whether there was one or not; 0: unknown
    waited: bool


class Measured(Tagged):
    """Raw windows of a benchmark; statistics are derived on reading."""

    windows: tuple[Window, ...]
    whole_epochs: bool  # windows are whole epochs, their overhead included
    steps_per_epoch: int
    samples_per_epoch: int
    device_windows: tuple[Window, ...]  # the same step on one batch that stays on the device
    peak_bytes: int | None
    input_windows: tuple[Window, ...] = ()  # batches drawn from the pipeline, without training
    input_start_seconds: float | None = None  # of that: until an epoch's first batch was drawn
    steps_per_execution: int = 1
    # From the last step of an epoch to the first of the next, and what that is slower than others:
    # it waits for the pipeline to start. Of each epoch that began while it was measured; where
    # windows are whole epochs, and have it in them, while it warmed up.
    epoch_overhead_seconds: tuple[float, ...] = ()
    joules_per_sample: float | None = None  # from the first window on; None without a counter
    allocator_warnings: int = 0  # of the framework, that more memory would make it faster
    # Waits are in no overhead, and in no window but those of whole epochs.
    epoch_ends: tuple[EpochEnd, ...] = ()


class Evaluation(Struct):
    """Validation metrics after `step` updates."""

    step: int
    metrics: dict[str, float]  # as from `evaluate`, with val_ before the names


class Trained(Tagged):
    """The trial ran to its end."""

    evaluations: tuple[Evaluation, ...]
    steps: int
    train_seconds: float  # time in `fit` less evaluations: a check on the benchmark
    evaluation_seconds: float = 0.0  # of those after the first step; 0: in older records
    # Largest eigenvalue of the training loss' Hessian, or a phrase on why there is none.
    sharpness: float | str | None = None
    as_compiled: bool = True  # else with fewer steps an execution than the user's training
    start: str = ""  # a hash of the weights that it began with; "": in older records


class GradientMoments(Struct):
    """Sums over micro-batch gradients at fixed weights, in groups; raw data of the noise scale."""

    step: int  # of training, at which the weights are
    batch_size: int  # samples of a micro-batch
    micro_batches: tuple[int, ...]  # (groups,)
    squared_norms: tuple[float, ...]  # (groups,): sum of the micro-batches' |g|^2
    gram: tuple[tuple[float, ...], ...]  # (groups, groups): products of their sums
    training_samples: int
    preconditioned: bool  # gradients are divided by what Adam and its relatives divide by


class Differentiated(Tagged):
    """What gradients were found; none where the loss cannot be had apart from the training step."""

    moments: tuple[GradientMoments, ...]
    reason: str = ""  # why there are none


class Ranged(Tagged):
    """Loss of each batch, and the factor on the learning rate it was trained with."""

    factors: tuple[float, ...]
    losses: tuple[float, ...]  # finite ones; (steps,), as `factors`
    broke_down: bool  # the next one was not finite


class Diverged(Tagged):
    """Loss stopped being finite."""

    step: int
    evaluations: tuple[Evaluation, ...]


Outcome = (
    Inspected
    | Fits
    | OutOfMemory
    | OverBudget
    | Predicted
    | UserCodeFailed
    | TargetMissing
    | TimedOut
    | Crashed
    | Measured
    | Trained
    | Differentiated
    | Ranged
    | Diverged
)


# --- events ----------------------------------------------------------------------------------

Stage = Literal["inspect", "probe", "benchmark", "trials", "verify"]


class Contest(Struct):
    """What trials are ranked by, and the setting that they have to beat."""

    metric: str
    maximise: bool
    batch_size: int  # the baseline's
    learning_rate: float
    anneals: bool = False  # then by how they end, and not by their best


class StageStarted(Tagged):
    stage: Stage
    jobs: int  # expected; may be off
    expected_seconds: float
    detail: str = ""
    limit_bytes: int | None = None  # that probes run under
    contest: Contest | None = None  # of trials


class StageExpects(Tagged):
    """What is left of the stage, by what it has seen so far."""

    stage: Stage
    jobs_left: int
    seconds_left: float


class JobStarted(Tagged):
    stage: Stage
    label: str
    task: Task | None = None


class JobProgress(Tagged):
    """From inside a worker: a share of its work done, and what it just saw."""

    done: int
    total: int
    samples_per_second: float | None = None  # of the last window of a benchmark
    metrics: dict[str, float] = {}  # of the last evaluation of a trial


class JobFinished(Tagged):
    stage: Stage
    label: str
    answer: str  # one phrase, e.g. "fits, peak 85.3 MiB"
    seconds: float
    reused: bool
    task: Task | None = None
    outcome: Outcome | None = None


class StageFinished(Tagged):
    stage: Stage
    answer: str
    is_whole: bool = True  # False: the run was interrupted in it


class Note(Tagged):
    """A sentence for the user."""

    text: str


Event = StageStarted | StageExpects | JobStarted | JobProgress | JobFinished | StageFinished | Note


def ignore(_: object) -> None:
    """The harmless default of every callback."""


# --- results ---------------------------------------------------------------------------------


class ProbePoint(Struct):
    batch_size: int
    outcome: Literal[
        "fits",
        "predicted",
        "out_of_memory",
        "over_budget",
        "user_code_failed",
        "timed_out",
        "crashed",
    ]
    peak_bytes: int | None
    seconds: float
    limit_bytes: int  # under which it ran: the limit, or what the headroom leaves
    verify: bool = False
    evidence: str | None = None


BoundedBy = Literal["memory", "host_memory", "samples", "range", "failure", "time", "trials"]


class ProbeResult(Struct):
    """What fits. `ceiling` is a size near the largest that keeps the headroom free; 0: none."""

    largest_fitting: int
    ceiling: int
    ceiling_peak_bytes: int
    limit_bytes: int
    headroom: float
    bounded_by: BoundedBy
    verified: bool
    probes: tuple[ProbePoint, ...]
    wall_seconds: float
    notes: tuple[str, ...] = ()
    replicas: int = 1  # that share each batch; all sizes are of them together
    multiple: int = 1  # that sizes are kept to: of the replicas, and of what the user's code takes
    least: int = 1  # that was looked at: of the recipe's, and of what the user's code takes

    @property
    def kept_bytes(self) -> float:
        """What the headroom leaves of the limit."""
        return (1 - self.headroom) * self.limit_bytes

    @property
    def name_of_largest(self) -> str:
        """What `largest_fitting` is called: where it was not proved, it was only seen to fit.

        Where nothing larger was of interest, or time was up, larger ones may fit, too.
        """
        if not self.verified:
            return "largest seen to fit"
        short = {"trials": "largest that was probed", "time": "largest that was verified"}
        return short.get(self.bounded_by, "largest that fits")


BoundBy = Literal["input_pipeline", "step_overhead", "epoch_overhead", "compute", "memory"]


class BenchmarkPoint(Struct):
    """The rate that `fit` delivers, all samples over all seconds; `low` and `high` bound its 95 %
    interval. That of the input pipeline is, too; the device's is a median of windows."""

    batch_size: int
    samples_per_second: float
    low: float
    high: float
    device_samples_per_second: float | None
    step_seconds: float  # mean over an epoch, its overhead and ragged batch included
    epoch_seconds: float
    peak_bytes: int | None
    steps_per_epoch: int = 0  # at this size: loaders may drop the last, smaller batch
    samples_per_epoch: int = 0
    mad_samples_per_second: float = 0.0  # median absolute deviation of the windows' rates
    input_samples_per_second: float | None = None  # of the pipeline alone
    epoch_overhead_seconds: float | None = None  # between the last step of an epoch and the next
    epoch_wait_seconds: float = 0.0  # of that, on average: what tf.data's tuning thread sleeps
    joules_per_sample: float | None = None
    allocator_warnings: int = 0
    bound_by: BoundBy | None = None
    evidence: str = ""  # of `bound_by`: one sentence with the figures
    advice: str = ""  # settings to try at this size

    @property
    def ragged_samples(self) -> int:
        """Of the last, smaller batch of an epoch; 0 if there is none."""
        return self.samples_per_epoch % self.batch_size

    @property
    def half_width(self) -> float:
        """Of the interval, as a share of the rate."""
        return (self.high - self.low) / 2 / self.samples_per_second


class Baseline(Struct):
    batch_size: int
    learning_rate: float
    val_loss: float | None
    instead_of: int | None = None  # the user's own size, where that cannot be used


class Interval(Struct):
    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Interval":
        low, high = sorted((factor * self.low, factor * self.high))
        return Interval(value=factor * self.value, low=low, high=high)


class NoiseScale(Struct):
    """tr(Sigma) / |G|^2 of the gradient, in samples. `value` is None where the signal drowns in the
    noise: then `low` is a bound (99 %), and `high` unknown."""

    value: float | None
    low: float
    high: float | None
    samples: int  # differentiated
    step: int  # of the baseline's training, at which it was measured
    preconditioned: bool  # in the geometry of an Adam-like optimizer


class Replicas(Struct):
    """What so many devices would bring. A prediction, not a measurement."""

    replicas: int
    per_replica_batch_size: int
    batch_size: int
    predicted_speedup: float  # in time to the same loss, over one device
    predicted_efficiency: float  # speedup / replicas
    # The speedup at the ends of the interval of the critical batch.
    predicted_speedup_low: float | None = None
    predicted_speedup_high: float | None = None


class StepTime(Struct):
    """A step of batch b takes overhead_seconds + b * seconds_per_sample, as fitted to all sizes."""

    overhead_seconds: Interval
    seconds_per_sample: Interval
    knee: Interval  # the smallest batch measured whose rate is within 5 % of the best one's
    describes: bool  # whether it holds at every size, within the intervals


class Execution(Struct):
    """The delivered rate at one `steps_per_execution`."""

    steps_per_execution: int
    samples_per_second: float
    low: float
    high: float


class BenchmarkResult(Struct):
    """What is fast. `bound_by` is that of the fastest size."""

    points: tuple[BenchmarkPoint, ...]
    knee: int
    best: int
    bound_by: BoundBy
    skipped: tuple[str, ...]
    wall_seconds: float
    notes: tuple[str, ...] = ()
    ceiling: int | None = None  # lower than the probe's where a size ran out of memory here
    step_time: StepTime | None = None  # None where fewer than three sizes were measured
    drift: float = 0.0  # how much rates had moved when measured again; 0.1: 10 % faster; 0: none
    executions: tuple[Execution, ...] = ()  # at the knee, where the steps' overhead matters
    steps_per_execution: int | None = None  # recommended, if one is faster for certain
    replicas: int = 1  # that share each batch; all sizes are of them together
    share_that_wait: Interval | None = None  # of ends of epochs, for tf.data's tuning thread

    @property
    def name_of_knee(self) -> str:
        """What `knee` is: points may be off the line that tells it."""
        by_line = ", by the line fitted to all"
        is_fitted = self.step_time is not None and self.step_time.describes
        return f"smallest within 5 % of the best{by_line if is_fitted else ''}"

    def point(self, batch_size: int) -> BenchmarkPoint:
        """That of a size which was measured."""
        return next(each for each in self.points if each.batch_size == batch_size)

    def is_above_ceiling(self, batch_size: int) -> bool:
        """Whether a smaller size ran out of memory: measured, and not to be recommended."""
        return self.ceiling is not None and batch_size > self.ceiling


class Prediction(Struct):
    """What the model of steps and step time says of a batch size that was measured."""

    batch_size: int
    relative_time: float  # to a target, over that of the best size
    relative_samples: float  # to the same target, over those at the baseline's size


class EffectiveBatch(Struct):
    """How to train with as many samples per update as were wished for."""

    samples: int
    batch_size: int
    gradient_accumulation_steps: int
    learning_rate: float
    hyperparameters: dict[str, float] = {}  # of the optimizer, beside it
    tried: bool = False  # the best rate that was, with that size; else it is by the rule
    peak_bytes: int | None = None  # predicted, with the gradients that are added up


class Candidate(Struct, kw_only=True):
    """One (batch size, learning rate) that was tried. `val_loss` is the mean over `seeds`."""

    batch_size: int
    learning_rate: float
    seeds: int
    val_loss: float | None
    val_loss_per_seed: tuple[float, ...]
    time_to_target_seconds: float | None = None  # geometric mean over seeds; None: not reached
    speedup: Interval | None = None  # against the baseline
    # Of annealed trials, which are judged by it: `val_loss` less the baseline's.
    end_difference: Interval | None = None
    # Of finalists, where all had made as many steps, or seen as many samples: not what was decided
    # by, since equal steps favour large batches, and equal epochs small ones.
    val_loss_at_equal_steps: float | None = None
    val_loss_at_equal_samples: float | None = None
    status: str  # baseline, finalist, target_not_reached; dropped: pruned, diverged, failed
    failure: str = ""  # why, of one that failed
    sharpness: float | None = None  # mean over seeds, where it was asked for; decides nothing

    @property
    def is_finalist(self) -> bool:
        """Whether it was trained with fresh seeds, as the baseline is."""
        return self.status in ("baseline", "finalist", "target_not_reached")


class Recommendation(Struct):
    """The answer and its evidence.

    `verdict`: `better`, for certain; `tie`, where the baseline is recommended; or `inconclusive`,
    where it is (`keeps_baseline`), or what is likely to be better.
    """

    schema_version: int
    batch_size: int
    learning_rate: float
    optimizer: str
    learning_rate_rule: str
    gradient_accumulation_steps: int
    per_replica_batch_size: int
    steps_per_epoch: int
    ragged_samples: int
    baseline: Baseline
    val_loss: float | None
    metric: str
    speedup: Interval
    verdict: Literal["better", "tie", "inconclusive"]
    confidence: Literal["high", "medium", "low"]
    noise_scale: NoiseScale | None  # late in the baseline's trial
    noise_scale_early: NoiseScale | None
    critical_batch: Interval  # twice the least steps: of noise scale and trials
    predictions: tuple[Prediction, ...]
    hyperparameters: dict[str, float]  # of the optimizer beside its learning rate
    loss_difference: Interval | None  # after equal time, relative to the baseline's; 90 %
    replicas: tuple[Replicas, ...]
    effective_batch: EffectiveBatch | None
    candidates: tuple[Candidate, ...]
    tied_with: tuple[int, ...]
    target_loss: float  # what trials are timed to: the baseline reached it with every seed
    peak_bytes: int
    samples_per_second: float
    samples_per_second_low: float
    samples_per_second_high: float
    epoch_seconds: float
    probe: ProbeResult
    benchmark: BenchmarkResult
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    environment: dict[str, Any]
    snippet: str
    wall_seconds: float

    @property
    def keeps_baseline(self) -> bool:
        own = self.baseline
        return (self.batch_size, self.learning_rate) == (own.batch_size, own.learning_rate)

    target_seconds: float | None = None  # of its training; None where nothing was timed
    # That trials trained by, over their steps, and the snippet sets; None: the user's own.
    learning_rate_schedule: Literal["warmup_stable_decay"] | None = None


class Difference(Struct):
    """What is not as it was: of the environment, the model or the data."""

    name: str
    then: str
    now: str
    matters: bool  # the recommendation was about something else


Speed = Literal["same", "slower", "faster", "unknown"]


class Verification(Struct):
    """Whether a recommendation still holds, here and now; `_then` is what it said."""

    holds: bool
    batch_size: int
    learning_rate: float
    outcome: str  # of training at that size: fits, out_of_memory, ...
    peak_bytes: int | None
    peak_bytes_then: int
    limit_bytes: int
    headroom: float
    samples_per_second: Interval | None
    samples_per_second_then: Interval
    speed: Speed  # by whether the intervals overlap
    differences: tuple[Difference, ...]
    reasons: tuple[str, ...]
    wall_seconds: float


class WrittenRecipe(Struct):
    """What `init` wrote, and what it saw of the model, the data and the device."""

    path: str
    model: str  # as the recipe names it, e.g. "train.py:build_model"
    data: str | None
    batch_size: int | None  # that calls of `fit` in these files have; None: not one number
    backend: str
    model_name: str
    parameters: int
    optimizer: str
    learning_rate: float | None  # of a schedule, its peak; None where the optimizer has none
    metrics: tuple[str, ...]  # names that `trials.metric` may have
    train_samples: int | None
    validation_samples: int | None
    device_name: str
    limit_bytes: int


class WrittenReport(Struct):
    """What `report` wrote."""

    path: str


def encoded(message: Struct | tuple[Struct, ...]) -> bytes:
    """As JSON, whatever is in its texts."""
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError:  # the name of a file that is not in UTF-8
        plain = msgspec.to_builtins(message)
        return json.dumps(plain, ensure_ascii=False).encode(errors="replace")


def to_json(value: Struct | tuple[Struct, ...]) -> str:
    """`value` as indented JSON, tags and all."""
    return msgspec.json.format(encoded(value), indent=2).decode()
