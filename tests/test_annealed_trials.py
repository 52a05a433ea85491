"""Trials whose learning rate warms up, stays and decays: trials.schedule."""

import re

import keras
import numpy as np
import pytest
from pretend import PretendDevice, annealed_share, inspected, session, telling

from autobatch import tuner
from autobatch.core.warmup_stable_decay import DECAY
from autobatch.engine.record_file import read_record
from autobatch.errors import UsageError
from autobatch.protocol import Diverged, Evaluation, Extent, Trained, Trial, changed
from autobatch.ui import gains, words
from autobatch.ui.charts.ranking import ranking_chart
from autobatch.ui.findings import findings

ANNEALED = "trials.schedule=warmup_stable_decay"


def tune(tmp_path, device, *overrides):
    with session(tmp_path, device, overrides) as opened:
        return tuner.tune(opened)


@pytest.mark.parametrize(
    ("facts", "told", "hint"),
    [
        ({"learning_rate_schedule": "CosineDecay"}, "compiled with a CosineDecay", "a number"),
        ({"learning_rate_schedule": "learning-rate function"}, "a learning-rate fun", "a number"),
        ({"rate_setters": ("ReduceLROnPlateau",)}, "too: ReduceLROnPlateau", "`callbacks`"),
        ({"optimizer": "ScheduleFreeAdamW"}, "in place of annealing", "Leave trials.schedule out"),
    ],
)
def test_what_has_a_schedule_of_its_own_is_refused_before_anything_is_measured(
    tmp_path, facts, told, hint
):
    device = PretendDevice(facts=inspected(**facts))
    with pytest.raises(UsageError, match=told) as refused:
        tune(tmp_path, device, ANNEALED)
    assert hint in refused.value.hint
    assert len(device.tasks) == 1
    tune(tmp_path / "own", device)


def test_all_trials_train_by_the_schedule_and_nothing_else_does(tmp_path):
    device = PretendDevice()
    with session(tmp_path, device, [ANNEALED], events=(told := [])) as opened:
        tuner.tune(opened)
    schedules = {task.schedule for task in device.tasks if isinstance(task, Trial)}
    assert schedules == {"warmup_stable_decay"}
    contests = [each.contest for each in told if getattr(each, "contest", None)]
    assert [each.anneals for each in contests] == [True]


def test_executions_that_go_on_beyond_the_end_show_the_end(tmp_path):
    """The rate is 0 there: what it comes to is no mean of that and of what was seen before."""

    class Executing(PretendDevice):
        def _trial(self, task):
            trained = super()._trial(task)
            if not isinstance(trained, Trained):
                return trained
            *before, last = trained.evaluations
            later = changed(last, step=last.step + 10)
            return changed(trained, evaluations=(*before, later))

    ends = [
        [(c.batch_size, c.learning_rate, c.val_loss) for c in found.candidates]
        for kind in (PretendDevice, Executing)
        for found in [tune(tmp_path / kind.__name__, kind(), ANNEALED)]
    ]
    assert ends[0] == ends[1]


def is_baseline(task):
    return (task.batch_size, task.learning_rate) == (32, 0.01)


class Noisy(PretendDevice):
    """All learn as fast per second as each other, the others `faster`, and have noise on top.

    Which is a share of the loss, of the baseline `noise`, and falls with the rate.
    """

    def __init__(self, *, faster=1.0, noise=0.3, others=0.3, spread=0.15, breaks_above=1e9, **more):
        super().__init__(**more)
        self.spread, self.breaks_above = spread, breaks_above
        self.luck, self.faster, self.of = np.random.default_rng(0), faster, (others, noise)

    def _trial(self, task):
        if task.learning_rate > self.breaks_above:
            return Diverged(step=1, evaluations=())
        speed = self.step_seconds(task.batch_size) * float(np.exp(self.luck.normal(0, self.spread)))
        speed *= 1.0 if is_baseline(task) else self.faster
        noise = self.of[is_baseline(task)]

        def loss(step):
            anneals = task.schedule == "warmup_stable_decay"
            rate = annealed_share(step, task.steps) if anneals else 1.0
            return (1 + speed * step) ** -0.5 * (1 + noise * rate * (step > 0))

        def told(step):
            return {"val_loss": loss(step), "val_accuracy": 1 - loss(step) / 2}

        found = [Evaluation(step=step, metrics=told(step)) for step in task.evaluate_at]
        return Trained(evaluations=tuple(found), steps=task.steps, train_seconds=1.0)


def test_equal_settings_are_called_better_in_at_most_5_percent_of_annealed_runs(tmp_path):
    device, wrong = Noisy(), 0
    for run in range(100):
        found = tune(tmp_path / str(run), device, ANNEALED, "batch_sizes.max=512")
        wrong += found.verdict == "better"
    assert wrong <= 5


def test_what_annealing_gains_counts_where_trials_anneal(tmp_path):
    """Twice as fast, with noise that only goes as the rate falls: high rates are like that."""
    noisy = {"faster": 2.0, "others": 1.0}
    own = tune(tmp_path / "own", Noisy(**noisy))
    annealed = tune(tmp_path / "annealed", Noisy(**noisy), ANNEALED)
    assert (own.verdict != "better", own.learning_rate_schedule) == (True, None)
    assert annealed.verdict == "better"
    assert annealed.learning_rate_schedule == "warmup_stable_decay"
    assert annealed.val_loss < annealed.baseline.val_loss < 1.5 * annealed.val_loss
    told = f"ends at val_loss {annealed.val_loss:.4g}, "
    assert told in annealed.reasons[0]
    assert told in words.verdict(annealed)


def test_losses_that_rise_again_are_told_by_their_ends(tmp_path):
    """In a training that anneals it does not help to stop early."""
    device = telling(Noisy(), lambda task, loss: 0.5 + abs(loss - 0.5))
    found = tune(tmp_path, device, ANNEALED)
    (told,) = [each for each in found.warnings if "got worse again" in each]
    assert f"to {found.val_loss:.4g} at their end" in told
    assert "(ModelCheckpoint)" in told


def test_of_settings_that_end_alike_the_batch_is_preferred_that_is_asked_for(tmp_path):
    found = {
        prefer: tune(
            tmp_path / prefer,
            Noisy(faster=2.0, spread=0.01),
            *(ANNEALED, "batch_sizes.max=512", f"recommend.prefer={prefer}"),
        )
        for prefer in ("small", "large")
    }
    assert found["small"].batch_size < found["large"].batch_size
    for prefer, word in (("small", "smaller"), ("large", "larger")):
        told = f"as good as equal, so that the {word} batch is preferred."
        assert told in found[prefer].reasons[0]


def test_near_where_training_breaks_down_half_the_rate_is_chosen_if_it_ends_alike(tmp_path):
    device = Noisy(faster=2.0, spread=0.005, breaks_above=0.1)
    found = tune(tmp_path, device, ANNEALED, "batch_sizes.min=32", "batch_sizes.max=32")
    first = {c.learning_rate: c.val_loss for c in found.candidates if c.seeds}
    assert max(first) == 0.08
    assert (found.verdict, found.learning_rate) == ("better", 0.04)
    assert "closer to where training breaks down" in found.reasons[0]


def test_settings_that_end_worse_for_certain_are_no_reason_to_change(tmp_path):
    found = tune(tmp_path, Noisy(faster=0.5), ANNEALED)
    assert found.verdict == "tie"
    assert "none ends better by more than 2%, for certain" in found.reasons[0]


def test_what_seeds_cannot_tell_of_annealed_trials_says_how_many_would(tmp_path):
    found = tune(tmp_path, Noisy(faster=1.1, spread=0.07), ANNEALED, "trials.seeds=3")
    assert found.verdict == "inconclusive"
    assert found.learning_rate == 0.01
    (seeds,) = map(int, re.findall(r"--set trials.seeds=(\d+)", found.reasons[0]))
    assert 3 < seeds <= 20


def test_accuracies_of_annealed_trials_have_their_own_sign(tmp_path):
    facts = inspected(metrics=("val_loss", "val_accuracy"))
    found = tune(tmp_path, Noisy(faster=2.0, facts=facts), ANNEALED, "trials.metric=val_accuracy")
    assert found.verdict == "better"
    assert found.val_loss > found.baseline.val_loss
    assert "% higher (95 % interval" in found.reasons[0]


@pytest.mark.parametrize(("metric", "way"), [("val_loss", "lower"), ("val_accuracy", "higher")])
def test_the_difference_that_decides_is_in_the_result_and_leads(tmp_path, metric, way):
    facts = inspected(metrics=("val_loss", "val_accuracy"))
    found = tune(tmp_path, Noisy(faster=2.0, facts=facts), ANNEALED, f"trials.metric={metric}")
    finalists = [each for each in found.candidates if each.is_finalist]
    (own,) = [each for each in finalists if each.status == "baseline"]
    others = [each for each in finalists if each is not own]
    assert own.end_difference is None
    for each in others:
        difference = each.end_difference
        assert difference.value == pytest.approx(each.val_loss - own.val_loss)
        assert difference.low < difference.value < difference.high
        assert gains.gain(each, found).value == pytest.approx(abs(difference.value))
    sign = 1 if way == "lower" else -1
    ends = [sign * each.val_loss for each in finalists]
    assert ends == sorted(ends)
    assert gains.columns(found)[0] == f"ends {way} by"
    shown = ranking_chart(found)
    assert shown.title == f"How much {way} than yours each ends"
    assert f"ends {way} by" in shown.table.columns and "sooner" not in shown.table.columns
    assert f"{len(others)} finalists against your setting at 0. " in shown.alt


def test_what_stands_for_the_users_setting_is_not_called_yours(tmp_path):
    found = tune(tmp_path, Noisy(faster=2.0), ANNEALED)
    assert f", yours at {found.baseline.val_loss:.4g}," in words.verdict(found)
    found = changed(found, baseline=changed(found.baseline, instead_of=512))
    assert f", the baseline at {found.baseline.val_loss:.4g}," in words.verdict(found)
    assert ranking_chart(found).title == "How much lower than the baseline each ends"


def test_annealed_losses_are_timed_and_looked_at_where_the_rate_falls(tmp_path):
    device = Noisy(faster=2.0)
    found = tune(tmp_path, device, ANNEALED)
    finals = [t for t in device.tasks if isinstance(t, Trial) and len(t.evaluate_at) > 10]
    seconds = max(t.steps * device.step_seconds(32) for t in finals if is_baseline(t))
    assert (1 - DECAY) * seconds < found.target_seconds <= 1.01 * seconds
    for task in finals:
        shares = [step / task.steps for step in task.evaluate_at]
        assert len(shares) == 19
        assert sum(1 - DECAY < each < 1 for each in shares) >= 3
    assert "with the trials, the critical batch" not in " ".join(found.reasons)


def test_points_in_the_midst_of_one_annealed_trial_stand_beside_the_end_of_none(tmp_path):
    found = tune(tmp_path, PretendDevice(), ANNEALED, "trials.sharpness=true")
    finalists = [each for each in found.candidates if each.is_finalist]
    assert {each.val_loss_at_equal_steps for each in finalists} == {None}
    assert {each.val_loss_at_equal_samples for each in finalists} == {None}
    assert words.measures(found) == ("val_loss", "sharpness")
    assert words.measured(finalists[0], found)[1] == f"{finalists[0].sharpness:.4g}"


@pytest.mark.parametrize("schedule", ["own", "warmup_stable_decay"])
def test_the_answer_says_what_it_holds_for(tmp_path, schedule):
    found = tune(tmp_path, PretendDevice(), f"trials.schedule={schedule}")
    told = "So this holds for a training that does the same" in " ".join(found.reasons)
    assert told == (schedule != "own") == ("annealed to 0" in words.beside_rate(found))


def test_of_a_run_that_has_both_the_page_shows_the_trials_of_the_answer(tmp_path):
    tune(tmp_path, PretendDevice())
    found = tune(tmp_path, PretendDevice(), ANNEALED)
    shown = findings(read_record(tmp_path), "both").curves
    seeds = {(curve.batch_size, curve.learning_rate, curve.seed) for curve in shown}
    assert len(seeds) == len(shown) > 10
    assert found.learning_rate_schedule


def pasted(snippet, trained, **names):
    """The rates that it sets, of each optimizer, for the steps of its training."""
    rates = []

    class Rates(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    fit = trained.fit
    trained.fit = lambda *given, **named: fit(*given, **named, verbose=0, callbacks=[Rates()])
    exec(snippet, {"model": trained, **names})
    return rates


def linear():
    found = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    found.compile(keras.optimizers.SGD(0.01), "mse")
    return found


@pytest.mark.parametrize("made", [0, 5000])
def test_what_is_pasted_trains_by_the_schedule_over_all_of_the_users_epochs(tmp_path, made):
    facts = inspected(train_samples=4096, steps_made=made)
    found = tune(tmp_path, PretendDevice(facts=facts), ANNEALED)
    trained = linear()
    trained.optimizer._iterations.assign(made)
    x = np.zeros((4096, 4), "float32")
    rates = pasted(found.snippet, trained, x=x, y=x[:, :1], EPOCHS=5)
    steps = 5 * found.steps_per_epoch
    expected = [found.learning_rate * annealed_share(step, steps) for step in range(steps)]
    assert rates == pytest.approx(expected, rel=1e-5)


def test_what_is_pasted_can_be_saved_and_loaded(tmp_path):
    found = tune(tmp_path, PretendDevice(), ANNEALED)
    trained, x = linear(), np.zeros((64, 4), "float32")
    pasted(found.snippet, trained, x=x, y=x[:, :1], EPOCHS=1)
    trained.save(tmp_path / "model.keras")
    schedule = keras.models.load_model(tmp_path / "model.keras").optimizer._learning_rate
    assert schedule.steps == found.steps_per_epoch


def test_each_of_several_optimizers_goes_on_from_its_own_rate(tmp_path):
    names = ("optimizer.optimizers[0]", "optimizer.optimizers[1]")
    facts = inspected(optimizer="SGD, SGD", optimizer_names=names)
    found = tune(tmp_path, PretendDevice(facts=facts), ANNEALED)
    trained = linear()
    sgd = keras.optimizers.SGD
    parts = keras.optimizers.OptimizerMap(sgd(0.01), {".*bias": sgd(0.1)})
    trained.compile(keras.optimizers.MultiOptimizer(parts), "mse")
    first, second = (each.learning_rate.numpy() for each in trained.optimizer.optimizers)
    x = np.zeros((64, 4), "float32")
    exec(found.snippet, {"model": trained, "x": x, "y": x[:, :1], "EPOCHS": 1})
    peaks = [each._learning_rate.rate for each in trained.optimizer.optimizers]
    factor = found.learning_rate / 0.01
    assert peaks == pytest.approx([factor * first, factor * second], rel=1e-3)


def test_where_steps_were_not_all_counted_the_user_fills_them_in(tmp_path):
    extents = (Extent(samples=4096, is_whole=False), Extent(samples=512, is_whole=True))
    call = "train, validation = load(batch_size={size})\nmodel.fit(train)"
    facts = inspected(extents=extents, fit_call=call)
    found = tune(tmp_path, PretendDevice(facts=facts), ANNEALED)
    schedule = f"WarmupStableDecay({found.learning_rate:.6g}, steps=EPOCHS * STEPS_PER_EPOCH)"
    assert f"model.optimizer.learning_rate = {schedule}\n# STEPS_PER_EPOCH: " in found.snippet
    last = "model.fit(train, steps_per_epoch=STEPS_PER_EPOCH, epochs=EPOCHS)"
    assert found.snippet.splitlines()[-1] == last


@pytest.mark.parametrize("is_dropped", [False, True])
@pytest.mark.parametrize(("samples", "between"), [(600, ", also between updates"), (290, "")])
def test_a_wish_has_the_schedule_over_the_batches_that_it_trains_with(
    tmp_path, samples, between, is_dropped
):
    """Of 4096 samples; Keras' schedules count batches, however many of them an update has."""

    class Dropping(PretendDevice):
        def _benchmark(self, task):
            found, steps = super()._benchmark(task), 4096 // task.batch_size
            whole = {"steps_per_epoch": steps, "samples_per_epoch": steps * task.batch_size}
            return changed(found, **whole if is_dropped else {})

    device, wish = Dropping(fits_up_to=300), f"recommend.effective_batch={samples}"
    found = tune(tmp_path, device, ANNEALED, wish, "benchmark.sizes=[32,96,128]")
    (told,) = [each for each in found.warnings if "samples per update" in each]
    assert found.effective_batch.batch_size > found.batch_size
    size = found.effective_batch.batch_size
    steps = 4096 // size + (not is_dropped)
    expected = f"snippet then has steps=EPOCHS * {steps}: batches of {size}{between}."
    assert expected in told
