"""What holds training back at each batch size, with the evidence, and what to try.

Three times are compared for one batch: the step as `fit` delivers it, the same step on a batch
that is on the device already, and drawing the batch from the input pipeline without training. The
part of the device's step that grows with the batch is computation; the rest is overhead, of the
steps themselves or of the epochs that they are in.
"""

from collections.abc import Sequence

from autobatch.core.step_time import step_time
from autobatch.protocol import (
    BenchmarkPoint,
    BoundBy,
    DataKind,
    Execution,
    Inspected,
    Measured,
    changed,
)
from autobatch.units import counted, format_bytes, format_rate, format_step

INPUT_SHARE = 0.75  # of the step, inside an epoch, that drawing its batch takes, when that binds
COMPUTE_SHARE = 0.5  # of the delivered step that grows with the batch, when computation binds
NEAR_LIMIT = 0.9  # of the memory limit
SLOWER = 0.93  # than the best of smaller sizes, when memory binds
TOLD_SHARE = 0.05  # of the delivered step, from which on the epoch's overhead is told
OVERHEADS: tuple[BoundBy, ...] = ("step_overhead", "epoch_overhead")
PAYS = 1.05  # times the rate, for certain, that a setting must bring to be recommended

COMPILED = "compile(jit_compile=True)"
MIXED = 'keras.config.set_dtype_policy("mixed_float16") on a GPU'
# What gives training its batches sooner, and what makes its epochs fewer.
QUICKER: dict[DataKind, str] = {
    "arrays": "Smaller arrays are drawn sooner, such as images in uint8 with a Rescaling layer.",
    "dataset": "Give the input pipeline more to do at once: dataset.map(..., "
    "num_parallel_calls=tf.data.AUTOTUNE), .cache() if the data fits in memory, "
    ".prefetch(tf.data.AUTOTUNE) at its end.",
    "PyDataset": "Build several batches at once: PyDataset(workers=4), with "
    "use_multiprocessing=True where Python takes the time.",
    "DataLoader": "Build several batches at once: DataLoader(num_workers=4), with "
    "persistent_workers=True.",
    "generator": "A generator makes one batch at a time. A PyDataset(workers=4), whose "
    "__getitem__(index) makes the batch of that index, makes several.",
}
LONGER_EPOCHS: dict[DataKind, str] = {
    "arrays": "numpy.repeat(x, 10, axis=0), and of y the same, where there is memory for it",
    "dataset": "dataset.repeat(10)",
    "PyDataset": "a __len__ that is 10 times as large, and indexes modulo what it was",
    "DataLoader": "torch.utils.data.ConcatDataset([dataset] * 10). "
    "DataLoader(persistent_workers=True) keeps its processes from epoch to epoch",
    "generator": "10 passes of the generator before it ends",
}


def _advice(inspected: Inspected) -> dict[BoundBy, str]:
    """What to try where a cause binds, without what the model has already."""
    slow = " (PyTorch compiles for a minute or so)" if "torch" in inspected.versions else ""
    compiled = [] if inspected.jit_compile else [f"{COMPILED}{slow}"]
    mixed = [] if "mixed" in inspected.precision else [f"mixed precision ({MIXED})"]
    launches = f" {compiled[0]} makes each of them fewer launches." if compiled else ""
    faster = " or ".join([*mixed, *compiled])
    return {
        "input_pipeline": QUICKER[inspected.data_kind],
        "step_overhead": f"A larger batch has fewer steps.{launches}",
        "epoch_overhead": "Have the data several times in each epoch, in fewer epochs: "
        f"{LONGER_EPOCHS[inspected.data_kind]}.",
        "compute": f"To be tried: {faster}." if faster else "",
        "memory": "A smaller batch is faster here.",
    }


def diagnosed(
    points: Sequence[BenchmarkPoint], limit_bytes: int | None
) -> tuple[BenchmarkPoint, ...]:
    """The points, by size, with what binds each, and why.

    Where an epoch is one full batch, the input pipeline alone cannot be told from its start: it is
    taken to be as fast as at the size before.
    """
    per_sample, is_bound = compute_seconds_per_sample(points)
    found: list[BenchmarkPoint] = []
    drawn = None
    for point in points:
        drawn = point.input_samples_per_second or drawn
        fastest = max((p.samples_per_second for p in found), default=0.0)
        known = changed(point, input_samples_per_second=drawn)
        bound_by, evidence = _binds(known, per_sample, is_bound, fastest, limit_bytes)
        found.append(changed(point, bound_by=bound_by, evidence=evidence))
    return tuple(found)


def compute_seconds_per_sample(points: Sequence[BenchmarkPoint]) -> tuple[float | None, bool]:
    """The part of the device's step that grows with the batch; None if sizes are too few to tell.

    And whether it is at most that: where there are two sizes, it is the least seen.
    """
    on_device = [
        changed(
            point,
            samples_per_second=point.device_samples_per_second,
            low=point.device_samples_per_second,
            high=point.device_samples_per_second,
        )
        for point in points
        if point.device_samples_per_second
    ]
    fitted = step_time(on_device)
    if fitted is not None:
        return fitted.seconds_per_sample.value, False
    if len(on_device) < 2:
        return None, False
    return min(1 / point.samples_per_second for point in on_device), True


def _binds(
    point: BenchmarkPoint,
    per_sample: float | None,
    is_bound: bool,
    best_smaller: float,
    limit_bytes: int | None,
) -> tuple[BoundBy, str]:
    size = point.batch_size
    step = size / point.samples_per_second
    device = size / point.device_samples_per_second if point.device_samples_per_second else None
    drawing = size / point.input_samples_per_second if point.input_samples_per_second else None
    told = f"a full batch takes {format_step(step)} in fit"
    if device is not None:
        told += f", {format_step(device)} with its batch on the device"
    if drawing is not None:
        told += f"; drawing a batch takes {format_step(drawing)}"
    near_limit = limit_bytes and point.peak_bytes and point.peak_bytes >= NEAR_LIMIT * limit_bytes
    slower = point.samples_per_second < SLOWER * best_smaller
    if slower and (point.allocator_warnings or near_limit):
        held = f", peak {format_bytes(point.peak_bytes)}" if point.peak_bytes else ""
        times = point.allocator_warnings
        warned = f"; the allocator warned {counted(times, 'time')}" if times else ""
        return "memory", f"slower than a smaller batch{held}{warned}"
    of_epoch = (point.epoch_overhead_seconds or 0.0) * step / point.epoch_seconds
    first_drawn = (drawing or 0.0) * step / point.epoch_seconds  # is in what the epoch takes
    if drawing is not None and drawing >= max(
        INPUT_SHARE * (step - of_epoch), device or 0.0, of_epoch - first_drawn
    ):
        return "input_pipeline", told
    if per_sample is None:
        computing = device
    else:
        computing = per_sample * size
        at_most = "at most " if is_bound else ""
        told += f"; {at_most}{format_step(computing)} of it grows with the batch"
    if of_epoch >= TOLD_SHARE * step:
        told += (
            f"; {format_step(of_epoch)} are its share of what an epoch takes to end and to start"
        )
    waiting = point.epoch_wait_seconds * step / point.epoch_seconds  # however long epochs are
    if computing is None or computing >= COMPUTE_SHARE * (step - waiting):
        return "compute", told
    return ("epoch_overhead" if of_epoch > (step - computing) / 2 else "step_overhead"), told


def executions_to_try(point: BenchmarkPoint, measured: Measured) -> list[int]:
    """Values of `steps_per_execution` worth a measurement; none where overhead is no matter.

    They are above the one that the point was measured with.
    """
    if point.bound_by not in OVERHEADS:
        return []
    now = measured.steps_per_execution
    return [steps for steps in (4, 16, 64) if now < steps <= measured.steps_per_epoch]


def best_execution(point: BenchmarkPoint, executions: Sequence[Execution]) -> int | None:
    """The fewest steps per execution as fast as any, if that is faster than now for certain."""
    sure = [each for each in executions if each.low > PAYS * point.high]
    if not sure:
        return None
    top = max(each.low for each in sure)
    return min(each.steps_per_execution for each in sure if each.high >= top)


def advised(
    points: Sequence[BenchmarkPoint],
    knee: int,
    executions: Sequence[Execution],
    faster: int | None,
    inspected: Inspected,
) -> tuple[BenchmarkPoint, ...]:
    """The points with what to try at each: by what binds it, and by what was tried at the knee."""
    advice = _advice(inspected)
    if executions:
        at_knee = next(point for point in points if point.batch_size == knee)
        told = _of_executions(at_knee, executions, faster)
        if faster is not None:
            advice["step_overhead"] = ""
        for cause in OVERHEADS:
            if cause == at_knee.bound_by or faster is not None:
                advice[cause] = f"{advice[cause]} {told}".lstrip()
    return tuple(changed(p, advice=advice[p.bound_by] if p.bound_by else "") for p in points)


def _of_executions(
    knee: BenchmarkPoint, executions: Sequence[Execution], faster: int | None
) -> str:
    size = knee.batch_size
    if faster is None:
        tried = max(each.steps_per_execution for each in executions)
        best = max(executions, key=lambda each: each.samples_per_second)
        gain = best.samples_per_second / knee.samples_per_second
        seemed = (
            f": {best.steps_per_execution} seemed {gain:.1f}x as fast, which may be chance"
            if gain > PAYS
            else ""
        )
        return (
            f"steps_per_execution up to {tried} was tried at batch {size} and brings nothing "
            f"certain{seemed}."
        )
    found = next(each for each in executions if each.steps_per_execution == faster)
    gain = found.samples_per_second / knee.samples_per_second
    return (
        f"compile(steps_per_execution={faster}) delivers "
        f"{format_rate(found.samples_per_second)} samples/s at batch {size}, {gain:.1f}x as many, "
        "by the same mathematics; callbacks are then called "
        f"once in {faster} steps."
    )
