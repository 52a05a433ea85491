"""What a trial changes in an optimizer, whatever way its learning rate was given."""

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest
from asking import SHORT_TRIAL, ask
from pretend import annealed_share

from autobatch.core import scaling
from autobatch.protocol import (
    RATE_FUNCTION,
    Diverged,
    Inspect,
    Inspected,
    Trained,
    Trial,
    UserCodeFailed,
    changed,
)
from autobatch.worker.by_size import rate_exponent
from autobatch.worker.mistakes import UserError
from autobatch.worker.optimizer import (
    change_settings,
    follows_batch,
    learning_rate,
    optimizers,
    peak_step,
    scale_learning_rates,
    settings,
    warm_up_and_anneal,
    went_through,
)
from autobatch.worker.tasks.gradients import preconditioner

layers, schedules = keras.layers, keras.optimizers.schedules


def model(optimizer, *, is_built=True):
    parts = [layers.Dense(4, name="first"), layers.Dense(1, name="last")]
    found = keras.Sequential([keras.Input((8,)), *parts] if is_built else parts)
    found.compile(optimizer, "mse")
    return found


def rates(found):
    return [learning_rate(each)[0] for each in optimizers(found).values()]


def warmed_up(peak):
    """Its peak is between the steps at which a schedule is looked at first."""
    return schedules.CosineDecay(0.0, 10_000, warmup_target=peak, warmup_steps=600)


def mapped(body=None):
    sgd = keras.optimizers.SGD
    chosen = keras.optimizers.OptimizerMap(body or sgd(0.1), {"last/.*": sgd(0.01)})
    return keras.optimizers.MultiOptimizer(chosen)


def test_a_rate_that_is_a_number_is_set():
    found = model(keras.optimizers.SGD(0.01))
    scale_learning_rates(found, 0.08)
    assert rates(found) == [0.08]


@pytest.mark.parametrize("given", [0.001, 0.004])  # is its callable given the rate of the trial?
def test_a_schedules_peak_is_multiplied_once(given):
    own = rates(model(keras.optimizers.SGD(warmed_up(0.001))))[0]
    found = model(keras.optimizers.SGD(warmed_up(given)))
    scale_learning_rates(found, 4 * own)
    assert float(found.optimizer._learning_rate(600)) == pytest.approx(0.004, rel=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 600, 1500, 9999])
def test_the_peak_of_a_schedule_is_found_wherever_it_is(steps):
    schedule = schedules.CosineDecay(0.0, 10_000, warmup_target=0.001, warmup_steps=steps)
    assert learning_rate(keras.optimizers.SGD(schedule))[0] == pytest.approx(0.001, rel=1e-5)
    assert 0.98 * steps - 1 <= peak_step(keras.optimizers.SGD(schedule)) <= steps + 1


@pytest.mark.parametrize("samples", [3000, 50_001])
@pytest.mark.parametrize(
    ("factor", "warm_up", "follows"),
    [(1, None, ""), (2, None, "wholly"), (3, None, "partly"), (2, 100, "partly")],
)
def test_a_schedule_that_is_built_for_the_batch_size_is_told_from_one_that_is_not(
    factor, warm_up, follows, samples
):
    def built(batch_size):
        steps = samples // batch_size * 10
        risen = warm_up or steps // 20
        schedule = schedules.CosineDecay(0.0, steps, warmup_target=0.01, warmup_steps=risen)
        return model(keras.optimizers.SGD(schedule))

    assert follows_batch(built(32), built(32 * factor)) == follows
    assert not follows_batch(model("sgd"), model("sgd"))


@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_a_callable_that_scales_the_rate_itself_is_seen(power):
    def built(batch_size):
        peak, steps = 0.1 * (batch_size / 256) ** power, 50_000 // batch_size * 10
        schedule = schedules.CosineDecay(0.0, steps, warmup_target=peak, warmup_steps=steps // 20)
        return model(keras.optimizers.SGD(schedule))

    assert follows_batch(built(32), built(64)) == "wholly"
    assert rate_exponent(built(32), built(64)) == pytest.approx(power, abs=0.01)


def test_without_an_optimizer_there_is_no_rate_that_could_follow_the_batch_size():
    one, twice = model(None), model(None)
    assert (follows_batch(one, twice), rate_exponent(one, twice)) == ("", 0)


def test_a_schedule_of_a_saved_model_goes_on_from_where_it_is():
    found = model(keras.optimizers.SGD(warmed_up(0.001)))
    optimizer = found.optimizer
    optimizer._iterations.assign(5000)
    now = float(optimizer._learning_rate(5000))
    assert (rates(found), peak_step(optimizer)) == ([pytest.approx(now, rel=1e-4)], 0)
    scale_learning_rates(found, 2 * rates(found)[0], speed=4.0)
    assert float(optimizer._learning_rate(5000)) == pytest.approx(2 * now, rel=1e-4)
    ahead = float(warmed_up(0.001)(5400))
    assert float(optimizer._learning_rate(5100)) == pytest.approx(2 * ahead, rel=1e-3)


def test_an_optimizer_may_warm_up_by_itself():
    optimizer = keras.optimizers.ScheduleFreeAdamW(0.01, warmup_steps=500)
    assert peak_step(optimizer) == 500
    found = model(optimizer)
    assert settings(found)["warmup_steps"] == 500
    change_settings(found, {"warmup_steps": 125.0})
    assert optimizer.warmup_steps == 125


def test_keras_warms_up_by_the_update_where_gradients_are_accumulated():
    optimizer = keras.optimizers.ScheduleFreeAdamW(
        0.1, warmup_steps=3, gradient_accumulation_steps=2
    )
    batches = peak_step(optimizer)
    weight = keras.Variable([0.0])
    optimizer.build([weight])
    steps = [0.0]
    for _ in range(batches + 2):
        optimizer.apply([keras.ops.ones(1)])
        steps.append(-float(optimizer._momentums[0][0]) - sum(steps))
    assert batches == 6
    assert steps[1:] == pytest.approx([0, 0.1 / 3, 0, 0.2 / 3, 0, 0.1, 0, 0.1], abs=1e-5)


def test_keras_averages_at_each_batch_and_overwrites_by_the_update():
    """As `core.scaling.BY_BATCH` has it."""
    averaged = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3}
    optimizer = keras.optimizers.SGD(1.0, gradient_accumulation_steps=2, **averaged)
    weight = keras.Variable([0.0])
    optimizer.build([weight])
    weights, averages = [], []
    for _ in range(5):
        optimizer.apply([keras.ops.ones(1)])
        weights.append(float(weight[0]))
        averages.append(float(optimizer._model_variables_moving_average[0][0]))
    assert averages == [0, -1, -1, -1.5, -1.75]
    assert weights == [0, -1, -1, -2, -1.75]  # of the third update this is the first batch


def test_the_peak_of_a_decay_is_its_start():
    decay = schedules.PiecewiseConstantDecay([10, 20], [0.1, 0.01, 0.001])
    assert learning_rate(keras.optimizers.SGD(decay)) == (0.1, "PiecewiseConstantDecay")
    assert peak_step(keras.optimizers.SGD(decay)) == peak_step(keras.optimizers.SGD(0.1)) == 0


def test_a_schedule_at_its_own_rate_stays_what_it_is():
    found = model(keras.optimizers.SGD(warmed_up(0.001)))
    schedule = found.optimizer._learning_rate
    scale_learning_rates(found, rates(found)[0])
    assert found.optimizer._learning_rate is schedule


def test_a_function_that_gives_the_rate_is_multiplied():
    found = model(keras.optimizers.SGD(lambda: 0.01))
    assert learning_rate(found.optimizer) == (0.01, RATE_FUNCTION)
    scale_learning_rates(found, 0.04, speed=2.0)
    assert rates(found) == [0.04]


def test_of_several_optimizers_all_rates_are_multiplied():
    found = model(mapped())
    assert sorted(rates(found)) == [0.01, 0.1]
    scale_learning_rates(found, 2 * rates(found)[0])
    assert sorted(rates(found)) == [0.02, 0.2]
    assert list(optimizers(found)) == ["optimizer.optimizers[0]", "optimizer.optimizers[1]"]


@pytest.mark.parametrize(
    "compiled",
    [keras.optimizers.LossScaleOptimizer, lambda kept: mapped(body=kept)],  # as for mixed_float16
)
def test_an_optimizer_that_the_model_also_keeps_by_itself_is_scaled_once(compiled):
    kept = keras.optimizers.SGD(0.1)
    found = model(compiled(kept))
    found.kept = kept
    scale_learning_rates(found, 2 * rates(found)[0])
    assert float(kept.learning_rate) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("inner", "own", "expected"),
    [
        (keras.optimizers.Adam, (), ["optimizer.inner_optimizer"]),
        (keras.optimizers.RMSprop, ("d", "g"), ["d", "g"]),  # as of a GAN, which names it none
        (mapped, (), [f"optimizer.inner_optimizer.optimizers[{number}]" for number in (0, 1)]),
    ],
)
def test_each_optimizer_is_where_the_lines_to_paste_say_also_for_mixed_float16(
    inner, own, expected
):
    found = model(keras.optimizers.LossScaleOptimizer(inner()))
    for name in own:
        setattr(found, name, keras.optimizers.Adam())
    named = optimizers(found)
    assert list(named) == expected
    for path, optimizer in named.items():
        assert eval(f"model.{path}", {"model": found}) is optimizer


def test_optimizers_that_a_function_chooses_are_those_of_the_built_model():
    def chosen(weight):
        return head if "last" in weight.path else body

    head, body = keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.1)
    found = model(keras.optimizers.MultiOptimizer(chosen))
    scale_learning_rates(found, 0.3)  # of the first weights'
    assert (rates(found), float(head.learning_rate)) == ([0.3, 0.03], pytest.approx(0.03))
    unbuilt = model(keras.optimizers.MultiOptimizer(chosen), is_built=False)
    with pytest.raises(UserError, match="before it is built") as refused:
        optimizers(unbuilt)
    assert "OptimizerMap" in refused.value.hint


def test_what_goes_with_the_batch_is_set_before_the_step_is_traced():
    found = model(keras.optimizers.Adam(0.01, weight_decay=0.1, use_ema=True))
    given = {"beta_2": 0.9, "epsilon": 1e-3, "weight_decay": 0.2, "ema_momentum": 0.5}
    assert given.keys() <= settings(found).keys()
    change_settings(found, given)
    assert settings(found) == given


def test_what_muon_trains_as_adam_does_has_settings_of_its_own():
    found = model(keras.optimizers.Muon(0.01))
    given = {"adam_beta_2": 0.9, "adam_weight_decay": 0.2}
    assert given.keys() | {"weight_decay"} <= settings(found).keys()
    change_settings(found, given)
    assert given.items() <= settings(found).items()


def test_settings_are_had_with_a_keras_that_lacks_the_newest_optimizers(monkeypatch):
    monkeypatch.delattr(keras.optimizers, "ScheduleFreeAdamW")
    found = model(keras.optimizers.Adam(0.01))
    assert settings(found).keys() == {"beta_2", "epsilon"}
    assert peak_step(found.optimizer) == 0


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        *(
            (getattr(keras.optimizers, name), {"_velocities": 4.0})
            for name in ("Adam", "AdamW", "Nadam", "RMSprop", "ScheduleFreeAdamW")
        ),
        (keras.optimizers.Adamax, {"_u": 2.0}),
        (partial(keras.optimizers.Adam, amsgrad=True), {"_velocities": 1.0, "_velocity_hats": 4.0}),
        (
            partial(keras.optimizers.RMSprop, centered=True),
            {"_velocities": 5.0, "_average_gradients": 1.0},
        ),
    ],
)
def test_gradients_are_scaled_by_what_the_optimizer_divides_them_by(kind, kept):
    found = model(kind())
    found.optimizer.build(found.trainable_variables)
    for name, value in kept.items():
        for variable in getattr(found.optimizer, name):
            variable.assign(keras.ops.full_like(variable, value))
    for scales in preconditioner(found):
        assert keras.ops.convert_to_numpy(scales) == pytest.approx(0.5, rel=1e-5)


KINDS = sorted({*scaling.RULES, *scaling.WITHOUT_RULE})
NO_KINDS = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer"}  # wrap others, or are their base
BESIDE_SUMS = {"Ftrl": dict.fromkeys(scaling.BESIDE_SUMS, 0.5)}  # most are 0 else


def test_every_optimizer_of_keras_is_known_with_a_rule_or_without_one():
    kinds = {
        name
        for name, each in vars(keras.optimizers).items()
        if isinstance(each, type) and issubclass(each, keras.optimizers.Optimizer)
    }
    assert sorted(kinds - NO_KINDS) == KINDS
    assert len(KINDS) == len(scaling.RULES) + len(scaling.WITHOUT_RULE)  # none is in both


def test_gradients_are_scaled_as_those_optimizers_do_that_results_name():
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    told = re.search(r"scaled as the optimizer scales them \((.+?)\)", page)[1].split(", ")
    scaled = []
    for kind in KINDS:
        found = model(getattr(keras.optimizers, kind)())
        found.optimizer.build(found.trainable_variables)
        scaled += [kind] if preconditioner(found) is not None else []
    assert scaled == sorted(told)


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_with_the_batch_is_known_and_set_in_every_optimizer_of_keras(kind):
    given = BESIDE_SUMS.get(kind, {})
    found = model(getattr(keras.optimizers, kind)(weight_decay=0.1, use_ema=True, **given))
    own = settings(found)
    changes = scaling.hyperparameters(kind, own, kappa=4, rate_ratio=2)
    assert given.keys() <= changes.keys() <= own.keys()
    assert changes["weight_decay"] == pytest.approx(0.1 * 4 / 2)
    assert changes["ema_momentum"] == pytest.approx(own["ema_momentum"] ** 4)
    change_settings(found, changes)
    assert settings(found) == pytest.approx(own | changes)


@pytest.mark.parametrize("wrap", [lambda adam: adam, keras.optimizers.LossScaleOptimizer])
def test_the_lines_of_the_readme_reach_an_optimizer_that_keras_wraps(wrap):
    """As `compile` does for mixed_float16."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    lines = re.search(r"# Without these.*?(?=model\.fit\()", readme, re.DOTALL)[0]
    result = SimpleNamespace(learning_rate=0.25, hyperparameters={"beta_2": 0.9})
    adam = keras.optimizers.Adam()
    exec(lines, {"model": model(wrap(adam)), "result": result})
    assert (float(adam.learning_rate), adam.beta_2) == (0.25, 0.9)


def test_of_several_optimizers_what_all_have_alike_is_set_in_all():
    def adam(decay):
        return keras.optimizers.AdamW(0.01, weight_decay=decay, beta_2=0.99)

    parts = keras.optimizers.OptimizerMap(adam(0.1), {"last/.*": adam(0.2)})
    found = model(keras.optimizers.MultiOptimizer(parts))
    assert settings(found).keys() >= {"beta_2", "epsilon"}
    assert "weight_decay" not in settings(found)
    change_settings(found, {"beta_2": 0.9})
    assert [each.beta_2 for each in optimizers(found).values()] == [0.9, 0.9]


@pytest.mark.usefixtures("on_each_backend")
def test_a_trial_has_the_settings_and_the_rate_that_it_is_given(tmp_path):
    task = changed(SHORT_TRIAL, batch_size=16, validation_batch_size=64, learning_rate=0.01)
    still = changed(task, settings={"epsilon": 1e6})
    target = {"model": "pilots.py:adam_alone", "data": "targets.py:data"}
    trained, unmoved = (ask(tmp_path, each, **target)[0] for each in (task, still))
    assert isinstance(unmoved, Trained), unmoved
    losses = [each.metrics["val_loss"] for each in unmoved.evaluations]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    assert trained.evaluations[-1].metrics["val_loss"] < 0.99 * losses[0]


@pytest.mark.usefixtures("on_each_backend")
def test_a_multi_optimizer_is_inspected_and_tried(tmp_path):
    found, _ = ask(tmp_path, Inspect(batch_size=8), model="pilots.py:several_optimizers")
    assert isinstance(found, Inspected), found
    assert (found.optimizer, found.learning_rate) == ("SGD, Adam", 0.01)
    task = changed(SHORT_TRIAL, learning_rate=0.02)
    trained, _ = ask(tmp_path, task, model="pilots.py:several_optimizers")
    assert isinstance(trained, Trained), trained


@pytest.mark.usefixtures("on_each_backend")
def test_a_trial_whose_loss_overflows_has_diverged(tmp_path):
    outcome, _ = ask(tmp_path, changed(SHORT_TRIAL, learning_rate=1e30))
    assert isinstance(outcome, Diverged), outcome
    assert outcome.step == 4  # of 0, 4 and 7, where it is evaluated
    assert len(outcome.evaluations) == 1


ANNEALED = Trial(
    batch_size=16,
    learning_rate=0.25,
    steps=200,
    evaluate_at=(0, 8, 20, 100, 160, 180, 200),
    validation_batch_size=16,
    seed=1,
    schedule="warmup_stable_decay",
)


@pytest.mark.parametrize("executed", [1, 4])
def test_an_annealed_trial_steps_by_the_rates_of_its_schedule(on_each_backend, tmp_path, executed):
    if on_each_backend == "torch":
        executed = 1  # Keras takes no other
    target = {
        "model": "pilots.py:falling",
        "data": "pilots.py:ones",
        "args": {"executed": executed},
    }
    outcome, _ = ask(tmp_path, ANNEALED, **target)
    assert isinstance(outcome, Trained), outcome
    expected = {
        at: -0.25 * sum(annealed_share(step, 200) for step in range(at))
        for at in ANNEALED.evaluate_at
    }
    found = {each.step: each.metrics["val_loss"] for each in outcome.evaluations}
    assert found == pytest.approx(expected, rel=1e-4)


def weights_of(optimizer, batches):
    """After each of so many batches, of gradient 1."""
    weight = keras.Variable([0.0])
    optimizer.build([weight])
    found = [0.0]
    for _ in range(batches):
        optimizer.apply([keras.ops.ones(1)], [weight])
        found.append(float(weight[0]))
    return found


def test_a_saved_model_is_annealed_from_where_it_is():
    found = model(keras.optimizers.SGD(0.5))
    found.optimizer._iterations.assign(5000)
    warm_up_and_anneal(found, 20)
    expected = -0.5 * sum(annealed_share(step, 20) for step in range(20))
    assert weights_of(found.optimizer, 20)[-1] == pytest.approx(expected, rel=1e-5)
    assert went_through(found, 20)
    assert not went_through(found, 40)


def test_an_annealed_optimizer_that_accumulates_counts_batches():
    found = model(keras.optimizers.SGD(0.5, gradient_accumulation_steps=2))
    warm_up_and_anneal(found, 20)
    expected = -0.5 * sum(annealed_share(step, 20) for step in range(1, 20, 2))
    assert weights_of(found.optimizer, 20)[-1] == pytest.approx(expected, rel=1e-5)
    assert went_through(found, 20)


def test_each_of_several_optimizers_is_annealed_from_its_own_rate():
    found = model(mapped())
    scale_learning_rates(found, 2 * rates(found)[0])
    warm_up_and_anneal(found, 100)
    assert sorted(rates(found)) == pytest.approx([0.02, 0.2])


def test_an_optimizer_that_keras_wraps_is_annealed():
    adam = keras.optimizers.Adam(0.5)
    warm_up_and_anneal(model(keras.optimizers.LossScaleOptimizer(adam)), 100)
    assert float(adam.learning_rate) == pytest.approx(0.05)


@pytest.mark.parametrize(("updates", "expected"), [(1, Trained), (2, UserCodeFailed)])
def test_an_optimizer_that_makes_more_updates_than_steps_is_refused(tmp_path, updates, expected):
    task = changed(ANNEALED, steps=20, evaluate_at=(0, 20))
    outcome, _ = ask(tmp_path, task, model="pilots.py:critic", args={"updates": updates})
    assert isinstance(outcome, expected), outcome
    if updates > 1:
        assert "more or fewer updates than the training has steps" in outcome.message
