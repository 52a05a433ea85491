"""Gradients and rates of real models in real processes."""

import numpy as np
import pytest
from asking import ask, on_backends

from autobatch.core.noise_scale import noise_scale
from autobatch.core.range_test import divergence_rate
from autobatch.protocol import Differentiated, Gradients, Ranged, RangeTest, Trained, Trial

pytestmark = pytest.mark.usefixtures("on_each_backend")


def gradients(
    tmp_path, model, data="pilots.py:samples", *, args=None, class_weight=None, **changes
):
    settings = {
        "batch_size": 32,
        "learning_rate": 0.01,
        "measure_at": (1, 20),
        "micro_batch_size": 32,
        "micro_batches": 64,
        "training_samples": 16384,
        "seed": 0,
    }
    task = Gradients(**(settings | changes))
    target = {"model": f"pilots.py:{model}", "data": data, "class_weight": class_weight}
    outcome, _ = ask(tmp_path, task, **target, args=args or {})
    assert isinstance(outcome, Differentiated), outcome
    return outcome


HALF = {0: 0.5} | {k: 0.0 for k in range(1, 20)}  # by the whole number nearest to y


@pytest.mark.parametrize(
    ("data", "class_weight", "share"),
    [("samples", None, 1.0), ("half_of_sorted_samples", None, 0.5), ("samples", HALF, 0.5)],
)
def test_the_noise_scale_of_a_real_regression_is_that_of_its_formula(
    tmp_path, data, class_weight, share
):
    """End to end: 4.2058 for any factor on the loss; gradients are without the optimizer's.

    Where half of the samples have no weight the mean gradient is half of it, and its mean square.
    An execution as long as the late measurement is late does not put off the early one.
    """
    truth = (4.2058 + 1) / share - 1
    settings = {"learning_rate": 1e-12, "micro_batches": 400, "class_weight": class_weight}
    settings["args"] = {"loss_scale_factor": 1024, "executed": 20}
    steps = (1, 20) if share == 1 else (1,)
    outcome = gradients(tmp_path, "regression", f"pilots.py:{data}", measure_at=steps, **settings)
    assert tuple(each.step for each in outcome.moments) == steps
    early = outcome.moments[0]
    assert noise_scale(early).value == pytest.approx(truth, rel=0.08)
    assert noise_scale(early).low <= truth * 1.05
    signal = sum((2 * np.array([1, 0.5, 0.25, 0.1]) * [1, -1, 0.5, 2]) ** 2)  # |2 H delta|^2
    squared_norm = sum(early.squared_norms) / sum(early.micro_batches)
    assert squared_norm == pytest.approx(share**2 * signal * (1 + truth / 32), rel=0.25)
    assert not early.preconditioned


@pytest.mark.parametrize("weight", [1e-7, 64.0])  # small gradients, and some that overflow first
def test_the_noise_scale_in_half_precision_is_of_the_scaled_loss(tmp_path, weight):
    settings = {"learning_rate": 1e-12, "micro_batches": 400, "args": {"weight": weight}}
    early, late = gradients(tmp_path, "half_precision_regression", **settings).moments
    assert noise_scale(early).value == pytest.approx(4.2058, rel=0.1)
    assert noise_scale(late).value == pytest.approx(4.2058, rel=0.1)


def test_a_penalty_on_weights_adds_to_the_signal_and_nothing_to_the_noise(tmp_path):
    """tr(Sigma) / |G + lambda w|^2 = 1.88; without the penalty it would be 3.52."""
    settings = {"learning_rate": 1e-12, "measure_at": (1,), "micro_batches": 400}
    found = gradients(tmp_path, "penalised_regression", **settings)
    h, error = np.array([1, 0.5, 0.25, 0.1]), np.array([2, 0, 1.5, 3])  # w + delta, of w = 1
    signal = (h * error + 0.5) ** 2
    spread = (h @ error**2 + 0.3) * h + (h * error) ** 2
    truth = spread.sum() / signal.sum()
    assert noise_scale(found.moments[0]).value == pytest.approx(truth, rel=0.2)


def test_what_dropout_leaves_out_is_noise_of_its_own_in_each_batch(tmp_path):
    """Samples are all alike: of a gradient 2m, m = 0 or 2, the variance is what its mean square is.

    Were the same left out of each batch there would be none.
    """
    settings = {"learning_rate": 1e-12, "micro_batch_size": 2}
    found = gradients(tmp_path, "dropping_regression", "pilots.py:ones", **settings)
    for moments in found.moments:
        assert noise_scale(moments).value == pytest.approx(1, rel=0.5)


def test_adams_noise_scale_is_that_of_gradients_over_the_roots_of_their_mean_squares(tmp_path):
    """tr(P Sigma P) / |P G|^2 = 8.2. Plain gradients' is 2.4; over the mean squares, 16.

    P^2 = 1 / (G^2 + Sigma / 32), by batches of 32.
    """
    settings = {"learning_rate": 1e-12, "measure_at": (200,), "micro_batches": 400}
    found = gradients(tmp_path, "uneven_adam_regression", "pilots.py:uneven_samples", **settings)
    h, delta = np.array([1, 0.01]), np.array([1, 3])
    signal = (h * delta) ** 2
    spread = (h @ delta**2 + 0.3) * h + signal
    squares = signal + spread / 32
    truth = (spread / squares).sum() / (signal / squares).sum()
    assert noise_scale(found.moments[0]).value == pytest.approx(truth, rel=0.25)


def test_adam_is_measured_in_its_own_geometry_and_training_goes_on_undisturbed(tmp_path):
    outcome = gradients(tmp_path, "adam_regression", learning_rate=0.001)
    assert all(each.preconditioned for each in outcome.moments)
    again = gradients(tmp_path, "adam_regression", learning_rate=0.001, measure_at=(20,))
    # The early measurement ran layers in training mode; what they keep was given back.
    assert again.moments[0].squared_norms == pytest.approx(
        outcome.moments[1].squared_norms, rel=1e-4
    )


@on_backends("tensorflow")  # which slots an optimizer has is the same on others
def test_relatives_of_adam_are_measured_in_their_own_geometry(tmp_path):
    """After one step all of these scale a gradient by its own size, in units of their own."""

    def measured(name):
        settings = {"learning_rate": 1e-12, "measure_at": (1,), "args": {"optimizer": name}}
        (moments,) = gradients(tmp_path, "regression_by", **settings).moments
        assert moments.preconditioned
        return noise_scale(moments).value

    of_adam = measured("Adam")
    assert of_adam > 1.5 * 4.2058  # that of gradients as they are
    for name in ("Adamax", "ScheduleFreeAdamW"):
        assert measured(name) == pytest.approx(of_adam, rel=1e-3)


@on_backends("tensorflow")  # others have no slices
def test_slices_of_an_embedding_count_as_the_whole_gradient(tmp_path):
    """The norm of slices as they are would leave out that rows repeat."""
    found = [
        noise_scale(gradients(tmp_path, model, "pilots.py:words").moments[0]).value
        for model in ("embedding", "embedding_as_matrix")
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize(
    ("model", "name"), [("own_step", "OwnStep"), ("assigned_step", "Sequential")]
)
def test_a_training_step_of_ones_own_is_skipped_with_the_reason(tmp_path, model, name):
    outcome = gradients(tmp_path, model)
    assert outcome.moments == ()
    assert f"{name} has a train_step of its own" in outcome.reason


@pytest.mark.parametrize(("accumulated", "steps"), [(1, 100), (4, 400)])
def test_the_rate_at_which_a_regression_breaks_down_is_found(tmp_path, accumulated, steps):
    """Gradient descent on H diverges beyond 2 / (2 lambda_max), somewhat earlier with noise."""
    task = RangeTest(
        batch_size=32,
        learning_rate=0.01,
        lowest_factor=0.1,
        highest_factor=4096.0,
        steps=steps,
        seed=0,
    )
    target = {"model": "pilots.py:fast_regression", "data": "pilots.py:samples"}
    outcome, _ = ask(tmp_path, task, **target, args={"accumulated": accumulated})
    assert isinstance(outcome, Ranged), outcome
    rates = [0.01 * factor for factor in outcome.factors]
    found = divergence_rate(rates, outcome.losses, broke_down=outcome.broke_down)
    assert 0.5 < found < 4


def test_a_rate_does_not_grow_in_steps_that_loss_scaling_skips(tmp_path):
    """The loss is 64 times the weight, whose gradient is 64: it falls by 4096 times the rate."""
    task = RangeTest(
        batch_size=32, learning_rate=1e-4, lowest_factor=0.1, highest_factor=10, steps=20, seed=0
    )
    found, _ = ask(tmp_path, task, model="pilots.py:half_precision_falling", data="pilots.py:ones")
    assert isinstance(found, Ranged), found
    falls = -np.diff(found.losses)
    skipped = np.flatnonzero(falls)[0]
    assert skipped == 6  # from 2^15 to 2^9
    trained_with = falls[skipped:] / (4096 * task.learning_rate)
    assert found.factors[skipped:-1] == pytest.approx(trained_with, rel=0.05)
    assert set(found.factors[:skipped]) == {0.1}


def test_sharpness_is_where_the_trial_was_evaluated_last(tmp_path):
    """Of w^4 it is 12 w^2: at the end about 2, and 12 at what the callback puts back."""
    task = Trial(
        batch_size=32,
        learning_rate=0.01,
        steps=50,
        evaluate_at=(25, 50),
        validation_batch_size=16,
        seed=0,
        sharpness=True,
    )
    target = {"model": "pilots.py:quartic", "data": "pilots.py:ones"}
    found, _ = ask(tmp_path, task, **target, callbacks="pilots.py:restores")
    assert isinstance(found, Trained), found
    last = found.evaluations[-1].metrics["val_loss"]
    assert found.sharpness == pytest.approx(12 * last**0.5, rel=0.03)


@pytest.mark.parametrize(
    ("size", "speed", "accumulated"),
    [(32, 1.0, 1), (64, 2.0, 1), (8, 0.25, 1), (32, 1.0, 4), (64, 2.0, 4)],
)
def test_a_schedule_takes_as_many_samples_at_every_size(tmp_path, size, speed, accumulated):
    """320 samples of training, then a rate of nothing: the loss stays what it is.

    Its steps are batches, also where an update has several.
    """
    end = 320 // size
    task = Trial(
        batch_size=size,
        learning_rate=0.025,  # half of its own
        steps=2 * end,
        evaluate_at=(end - accumulated, end, 2 * end),
        validation_batch_size=512,
        seed=0,
        schedule_speed=speed,
    )
    target = {"model": "pilots.py:scheduled_regression", "data": "pilots.py:samples"}
    outcome, _ = ask(tmp_path, task, **target, args={"accumulated": accumulated})
    assert isinstance(outcome, Trained), outcome
    before, at_end, later = (each.metrics["val_loss"] for each in outcome.evaluations)
    assert before != at_end == later
