"""What binds, on made-up rates."""

import pytest
from points import point
from pretend import inspected

from autobatch.core import diagnosis
from autobatch.protocol import Execution, Measured, changed

MIB = 1 << 20


def binds(*points, limit_bytes=None):
    return diagnosis.diagnosed(points, limit_bytes)[-1]


def steps(overhead, per_sample, *, slowed=1.0, **more):
    """Sizes whose device step is a line, and whose fit is `slowed` times slower."""
    rates = {size: size / (overhead + per_sample * size) for size in (16, 32, 64, 128)}
    return [point(size, rate / slowed, device=rate, **more) for size, rate in rates.items()]


def test_a_pipeline_as_slow_as_the_step_binds():
    points = steps(1e-3, 1e-5, slowed=10, input_samples_per_second=3000)
    found = binds(*points)
    assert found.bound_by == "input_pipeline"
    assert "drawing a batch takes 42.7 ms" in found.evidence


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, "step_overhead"), (0.1, "input_pipeline"), (0.85, "epoch_overhead")],
)
def test_a_pipeline_binds_by_the_step_without_what_epochs_take_to_start(share, expected):
    """Steps of 22.8 ms; drawing their batches takes 16 ms."""
    points = steps(1e-3, 1e-5, slowed=10, input_samples_per_second=8000)
    starts = share * points[-1].epoch_seconds
    found = binds(*(changed(each, epoch_overhead_seconds=starts) for each in points))
    assert found.bound_by == expected


def test_the_first_batch_of_an_epoch_is_drawn_by_the_pipeline():
    """An epoch of two batches, drawn in 0.25 s each; it takes 0.3 s more to start."""
    of_two = point(25, 62.5, device=1e4, input_samples_per_second=100, epoch_overhead_seconds=0.55)
    found = binds(changed(of_two, epoch_seconds=0.8))
    assert found.bound_by == "input_pipeline"


def test_where_an_epoch_is_one_batch_the_pipeline_is_as_fast_as_before():
    slow = steps(1e-3, 1e-5, slowed=10, input_samples_per_second=3000)
    whole = changed(slow[-1], input_samples_per_second=None)
    found = binds(*slow[:-1], whole)
    assert (found.bound_by, found.input_samples_per_second) == ("input_pipeline", None)


def test_a_fast_pipeline_does_not_bind():
    assert binds(*steps(1e-5, 1e-4, input_samples_per_second=1e6)).bound_by == "compute"


@pytest.mark.parametrize(("waits", "expected"), [(0.26, "compute"), (0.0, "step_overhead")])
def test_what_epochs_of_any_length_wait_for_is_no_part_of_the_step(waits, expected):
    """A step of 1 s at batch 128: 0.45 s compute, 0.26 s are its share of what an epoch takes."""
    points = steps(0.29, 0.45 / 128, slowed=1 / 0.74, epoch_overhead_seconds=0.26 * 1000 / 128)
    points[-1] = changed(points[-1], epoch_wait_seconds=waits * points[-1].epoch_seconds)
    assert binds(*points).bound_by == expected


def test_steps_that_hardly_grow_with_the_batch_are_overhead():
    found = binds(*steps(1e-2, 1e-6, input_samples_per_second=1e6))
    assert found.bound_by == "step_overhead"
    assert "of it grows with the batch" in found.evidence


def test_steps_that_fit_makes_much_slower_are_overhead():
    assert binds(*steps(1e-5, 1e-4, slowed=4)).bound_by == "step_overhead"


@pytest.mark.parametrize(
    ("overhead", "expected"), [(0.06, "epoch_overhead"), (0.04, "step_overhead")]
)
def test_where_epochs_are_short_their_own_overhead_may_be_most_of_it(overhead, expected):
    """Steps of 13.6 ms where 1.4 ms compute, and 0.1 s an epoch: half of the rest is 45 ms."""
    found = binds(*steps(1e-9, 1.0625e-5, slowed=10, epoch_overhead_seconds=overhead))
    per_epoch = found.epoch_seconds / found.step_seconds
    assert found.bound_by == expected
    assert f"{overhead / per_epoch * 1000:.3g} ms are its share of" in found.evidence


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"peak_bytes": 95 * MIB}, "memory"),
        ({"allocator_warnings": 3}, "memory"),
        ({"peak_bytes": 20 * MIB}, "compute"),
    ],
)
def test_a_large_batch_that_is_slower_for_lack_of_memory_says_so(more, expected):
    points = [point(32, 1000, device=1000), point(64, 1000, device=1000)]
    large = point(128, 700, device=800, **{"peak_bytes": None} | more)
    assert binds(*points, large, limit_bytes=100 * MIB).bound_by == expected


def test_executions_are_tried_only_where_overhead_binds_and_an_epoch_has_the_steps():
    overhead, compute = binds(*steps(1e-2, 1e-6)), binds(*steps(1e-5, 1e-4))
    measured = Measured(
        windows=(),
        whole_epochs=True,
        steps_per_epoch=50,
        samples_per_epoch=800,
        device_windows=(),
        peak_bytes=None,
    )
    assert diagnosis.executions_to_try(overhead, measured) == [4, 16]
    assert diagnosis.executions_to_try(compute, measured) == []
    short_epochs = changed(overhead, bound_by="epoch_overhead")
    assert diagnosis.executions_to_try(short_epochs, measured) == [4, 16]
    by_four = changed(measured, steps_per_execution=4)
    assert diagnosis.executions_to_try(overhead, by_four) == [16]


def execution(steps, rate):
    return Execution(
        steps_per_execution=steps, samples_per_second=rate, low=0.98 * rate, high=1.02 * rate
    )


def test_the_fewest_steps_per_execution_that_are_as_fast_as_any_are_recommended():
    now = binds(*steps(1e-2, 1e-6))
    rate = now.samples_per_second
    tried = [execution(4, 1.5 * rate), execution(16, 2 * rate), execution(64, 2.01 * rate)]
    assert diagnosis.best_execution(now, tried) == 16
    assert diagnosis.best_execution(now, [execution(4, 1.03 * rate)]) is None
    (faster,) = diagnosis.advised([now], now.batch_size, tried, 16, inspected())
    (no_faster,) = diagnosis.advised([now], now.batch_size, tried[:1], None, inspected())
    assert "steps_per_execution=16) delivers" in faster.advice
    assert "2.0x as many" in faster.advice
    assert "A larger batch" not in faster.advice
    assert "nothing certain" in no_faster.advice
    short_epochs = changed(now, bound_by="epoch_overhead")
    (both,) = diagnosis.advised([short_epochs], now.batch_size, tried, 16, inspected())
    assert "several times in each epoch" in both.advice
    assert "steps_per_execution=16) delivers" in both.advice


def test_executions_that_seemed_faster_and_may_be_chance_are_told_at_what_binds_the_knee():
    points = [
        changed(point(size, 1000 * size), bound_by=cause)
        for size, cause in ((8, "step_overhead"), (16, "epoch_overhead"))
    ]
    seemed = [execution(4, 32_000)]
    before, knee = diagnosis.advised(points, 16, seemed, None, inspected())
    assert "at batch 16 and brings nothing certain: 4 seemed 2.0x as fast" in knee.advice
    assert "steps_per_execution" not in before.advice


def test_of_two_sizes_it_is_known_at_most_how_much_grows_with_the_batch():
    two, all_ = steps(1e-2, 1e-6)[:2], steps(1e-2, 1e-6)
    assert "; at most " in binds(*two).evidence
    assert "at most" not in binds(*all_).evidence


def test_each_size_has_the_advice_of_what_binds_it():
    points = [
        *(changed(point(size, 1000 * size), bound_by="step_overhead") for size in (8, 16)),
        changed(point(32, 20_000), bound_by="compute"),
        changed(point(64, 15_000), bound_by="memory"),
    ]
    found = diagnosis.advised(points, 32, [], None, inspected())
    assert [each.advice.split()[0] for each in found] == ["A", "A", "To", "A"]
    assert found[0].advice == found[1].advice != found[3].advice
    at_knee = diagnosis.advised(points, 16, [execution(4, 48_000)], 4, inspected())
    assert "at batch 16, 3.0x as many" in at_knee[0].advice
    assert "mixed precision" in at_knee[2].advice


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, ("mixed_float16", "jit_compile")),
        ({"jit_compile": True}, ("mixed_float16",)),
        ({"precision": "mixed_float16"}, ("jit_compile",)),
        ({"jit_compile": True, "precision": "mixed_bfloat16"}, ()),
    ],
)
def test_what_the_model_has_already_is_not_advised(facts, told):
    computes = binds(*steps(1e-5, 1e-4))
    (found,) = diagnosis.advised([computes], computes.batch_size, [], None, inspected(**facts))
    assert found.bound_by == "compute"
    assert [word for word in ("mixed_float16", "jit_compile") if word in found.advice] == [*told]


@pytest.mark.parametrize(
    ("kind", "quicker", "longer"),
    [
        ("arrays", "uint8", "numpy.repeat"),
        ("dataset", "AUTOTUNE", "dataset.repeat(10)"),
        ("PyDataset", "PyDataset(workers=4)", "__len__"),
        ("DataLoader", "num_workers=4", "persistent_workers"),
        ("generator", "PyDataset(workers=4)", "10 passes"),
    ],
)
def test_advice_on_data_is_for_its_kind_alone(kind, quicker, longer):
    points = [
        changed(point(8, 1000), bound_by="input_pipeline"),
        changed(point(16, 1000), bound_by="epoch_overhead"),
    ]
    found = diagnosis.advised(points, 8, [], None, inspected(data_kind=kind))
    for told, expected in zip(found, (quicker, longer), strict=True):
        assert expected in told.advice
        assert ("DataLoader" in told.advice) <= (kind == "DataLoader")
        assert ("dataset." in told.advice) <= (kind == "dataset" or "utils.data." in told.advice)


@pytest.mark.parametrize("rates", [steps(1e-5, 1e-4), steps(1e-2, 1e-6)])
def test_on_pytorch_it_is_said_what_the_compilation_that_is_advised_costs(rates):
    found = binds(*rates)
    for versions, is_told in (({"torch": "2.13"}, True), ({"tensorflow": "2.21"}, False)):
        (told,) = diagnosis.advised(
            [found], found.batch_size, [], None, inspected(versions=versions)
        )
        assert "jit_compile=True)" in told.advice
        assert ("PyTorch compiles for a minute" in told.advice) == is_told
