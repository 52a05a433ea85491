"""What a recommendation says of jobs that are unusual: few samples, odd losses, other wishes."""

import re

import pytest
from pretend import MIB, PretendDevice, inspected, session, telling

from autobatch import tuner
from autobatch.engine.record_file import read_record
from autobatch.errors import UsageError, UserCodeError
from autobatch.protocol import (
    Abilities,
    Benchmark,
    Crashed,
    Differentiated,
    Diverged,
    Extent,
    Gradients,
    JobFinished,
    OutOfMemory,
    RangeTest,
    TimedOut,
    Trained,
    Trial,
    UserCodeFailed,
    changed,
)
from autobatch.ui import words
from autobatch.ui.charts.ranking import ranking_table
from autobatch.ui.findings import findings
from autobatch.units import format_average


def tune(tmp_path, device, *overrides):
    with session(tmp_path, device, overrides) as opened:
        return tuner.tune(opened)


def shifted(device, by):
    """The same losses, `by` higher."""
    return telling(device, lambda task, loss: loss + by)


def rising(trained):
    """To a loss of 0.9, at its last evaluation."""
    *before, last = trained.evaluations
    return changed(trained, evaluations=(*before, changed(last, metrics={"val_loss": 0.9})))


def test_twenty_samples_are_enough_for_an_answer(tmp_path):
    device = PretendDevice(facts=inspected(train_samples=20, validation_samples=5))
    found = tune(tmp_path, device, "baseline.batch_size=8")
    assert found.batch_size <= 20
    assert {t.batch_size for t in device.tasks if isinstance(t, Trial)} <= set(range(1, 21))
    assert found.steps_per_epoch == -(-20 // found.batch_size)


def test_negative_losses_are_ranked_like_others(tmp_path):
    plain = tune(tmp_path / "plain", PretendDevice())
    negative = tune(tmp_path / "negative", shifted(PretendDevice(), -5))
    assert (negative.batch_size, negative.learning_rate) == (plain.batch_size, plain.learning_rate)
    assert negative.verdict == "better"
    assert negative.val_loss == pytest.approx(plain.val_loss - 5)


@pytest.mark.parametrize(("exponent", "is_told"), [(1.0, True), (0.01, False)])
def test_a_loss_that_depends_on_the_batch_size_before_any_training_is_told(
    tmp_path, exponent, is_told
):
    device = telling(PretendDevice(), lambda task, loss: loss * task.batch_size**exponent)
    told = [told for told in tune(tmp_path, device).warnings if "Before any training" in told]
    assert len(told) == is_told
    expected = r"val_loss is (\d+) at batch \1 and (\d+) at batch \2: it depends"
    assert all(re.search(expected, each) for each in told)


@pytest.mark.parametrize(("start", "is_told"), [("{seed}", False), ("loaded", True), ("", False)])
def test_seeds_that_start_from_the_same_weights_are_told(tmp_path, start, is_told):
    device = PretendDevice()
    learn = device._trial

    def trial(task):
        found = learn(task)
        told = start.format(seed=task.seed)
        return changed(found, start=told) if isinstance(found, Trained) else found

    device._trial = trial
    told = tune(tmp_path, device).warnings
    assert any("All seeds start from the same weights" in each for each in told) == is_told


def test_without_validation_samples_nothing_is_ranked(tmp_path):
    device = PretendDevice(facts=inspected(validation_samples=None))
    with pytest.raises(UserCodeError, match="no validation samples to rank trials by") as refused:
        tune(tmp_path, device)
    assert "Return (train, validation)" in refused.value.hint
    assert not [task for task in device.tasks if isinstance(task, Trial)]


def test_an_unknown_optimizer_is_tuned_from_its_own_rate_and_that_is_said(tmp_path):
    device = PretendDevice(facts=inspected(optimizer="Shampoo"))
    found = tune(tmp_path, device)
    assert found.learning_rate_rule == "none"
    assert found.verdict == "better"
    (told,) = [reason for reason in found.reasons if "Shampoo" in reason]
    rungs = found.learning_rate / found.baseline.learning_rate
    assert f"({rungs:g} times yours) was chosen" in told


def test_what_was_found_on_the_data_is_told_with_the_answer(tmp_path):
    note = "train.py:load_data returned one dataset: its last 9 of 48 samples (20%) are used"
    found = tune(tmp_path, PretendDevice(facts=inspected(notes=(note,))))
    assert note in found.warnings


def test_the_largest_of_equals_is_preferred_where_that_is_asked(tmp_path):
    small = tune(tmp_path / "small", PretendDevice(critical_batch=400.0))
    large = tune(tmp_path / "large", PretendDevice(critical_batch=400.0), "recommend.prefer=large")
    assert small.batch_size < large.batch_size


def test_a_loss_that_rises_again_is_told_with_what_keeps_the_best(tmp_path):
    device = PretendDevice()
    assert not any("got worse again" in told for told in tune(tmp_path / "a", device).warnings)
    learn = device._trial

    def overfits(task):
        trained = learn(task)
        return rising(trained) if isinstance(trained, Trained) else trained

    device._trial = overfits
    found = tune(tmp_path / "b", device)
    assert found.verdict == "better"
    (told,) = [told for told in found.warnings if "got worse again" in told]
    assert "to 0.9 at their end, as at your setting" in told


def test_what_goes_wrong_by_the_end_is_chosen_only_where_nothing_else_is_better(tmp_path):
    device = PretendDevice()
    whole = tune(tmp_path / "whole", device)
    learn = device._trial

    def breaks_down(task, *, everywhere=False):
        trained = learn(task)
        is_it = (task.batch_size, task.learning_rate) == (whole.batch_size, whole.learning_rate)
        is_other = everywhere and (task.batch_size, task.learning_rate) != (32, 0.01)
        if not isinstance(trained, Trained) or not (is_it or is_other):
            return trained
        return rising(trained)

    device._trial = breaks_down
    found = tune(tmp_path / "one", device)
    assert found.verdict == "better"
    assert (found.batch_size, found.learning_rate) != (whole.batch_size, whole.learning_rate)
    assert not any("got worse again" in told for told in found.warnings)
    device._trial = lambda task: breaks_down(task, everywhere=True)
    found = tune(tmp_path / "all", device)
    assert (found.verdict, found.batch_size) == ("better", whole.batch_size)
    assert any("got worse again" in told for told in found.warnings)


def test_seeds_with_which_a_finalist_diverges_are_told(tmp_path):
    device = PretendDevice()
    whole = tune(tmp_path / "whole", device)
    size, rate = whole.batch_size, whole.learning_rate
    learn = device._trial

    def unstable(task):
        is_it = (task.batch_size, task.learning_rate, task.seed) == (size, rate, 3)
        return Diverged(step=1, evaluations=()) if is_it else learn(task)

    device._trial = unstable
    found = tune(tmp_path / "unstable", device)
    assert (found.batch_size, found.learning_rate) != (size, rate)
    told = f"Batch {size} with learning rate {rate:.3g} diverged with 1 of 5 seeds."
    assert told in found.warnings


def test_a_baseline_that_diverges_with_some_seeds_is_told_with_what_to_do(tmp_path):
    device = PretendDevice()
    learn = device._trial

    def unstable(task):
        is_own = (task.batch_size, task.learning_rate) == (32, 0.01)
        return Diverged(step=1, evaluations=()) if is_own and task.seed == 3 else learn(task)

    device._trial = unstable
    found = tune(tmp_path / "unstable", device)
    assert (found.verdict, found.batch_size, found.target_seconds) == ("inconclusive", 32, None)
    assert "with every seed" not in words.target(found)
    complete = [c for c in found.candidates if c.status == "finalist" and c.seeds == 5]
    best = min(complete, key=lambda c: c.val_loss)
    size, rate = best.batch_size, best.learning_rate
    assert "diverges with some seeds" in found.reasons[0]
    assert "Set a lower baseline.learning_rate. Batch" in found.reasons[0]
    named = [f"baseline.batch_size={size}", f"baseline.learning_rate={rate:.3g}"]
    assert found.reasons[0].endswith("".join(f" --set {each}" for each in named) + ".")
    assert tune(tmp_path / "named", device, *named).verdict != "inconclusive"


def test_a_wish_that_needs_no_accumulation_says_so_to_who_accumulates(tmp_path):
    device = PretendDevice(facts=inspected(accumulation_steps=4))
    found = tune(tmp_path, device, "recommend.effective_batch=64")
    (told,) = (each for each in found.warnings if "samples per update" in each)
    assert "batch_size=64 without gradient_accumulation_steps in the optimizer" in told


@pytest.mark.parametrize(
    ("samples", "follows", "told"),
    [
        (8192, False, "batches, also between updates: divide its numbers of steps by {:.4g}"),
        (8192, True, "batches, also between updates: leave its numbers of steps"),
        (1024, False, "steps: divide its numbers of steps by {:.4g}"),
        (1024, True, ""),
        (32, False, ""),  # the user's own
    ],
)
def test_a_wish_says_what_becomes_of_a_schedule(tmp_path, samples, follows, told):
    """Keras' schedules count batches, however many of them an update has."""
    schedule = {"learning_rate_schedule": "CosineDecay", "schedule_follows_batch": follows}
    device = PretendDevice(facts=inspected(**schedule))
    found = tune(tmp_path, device, f"recommend.effective_batch={samples}")
    (wish,) = (each for each in found.warnings if "samples per update" in each)
    kappa = found.effective_batch.batch_size / 32
    assert (f"CosineDecay counts {told.format(kappa)}" in wish) if told else "Cosine" not in wish


def test_averages_of_batch_normalization_forget_as_at_the_users_own_size(tmp_path):
    """Also where another size stands in for it."""
    facts = inspected(batch_norm_layers=2, batch_norm_momentum=0.9, batch_size=64)
    device = PretendDevice(fits_up_to=40, facts=facts)
    tune(tmp_path, device, "baseline.batch_size=64")
    ratios = {t.batch_size: t.batch_ratio for t in device.tasks if isinstance(t, Trial)}
    assert ratios == {size: size / 64 for size in ratios}
    assert min(ratios) < max(ratios) <= 40


@pytest.mark.parametrize("stays", [False, True])
def test_an_argument_that_is_not_the_rate_of_all_stays_in_all_that_varies_it(tmp_path, stays):
    device = PretendDevice(facts=inspected(rate_argument_stays=stays))
    tune(tmp_path, device)
    tasks = [task for task in device.tasks if isinstance(task, Trial | Gradients | RangeTest)]
    assert {type(task) for task in tasks} == {Trial, Gradients, RangeTest}
    assert {task.rate_argument_stays for task in tasks} == {stays}


@pytest.mark.parametrize("layers", [0, 2])
def test_a_wish_speaks_of_batch_normalization_where_there_is_any(tmp_path, layers):
    facts = inspected(batch_norm_layers=layers, batch_norm_momentum=0.9 if layers else None)
    found = tune(tmp_path, PretendDevice(facts=facts), "recommend.effective_batch=8192")
    (wish,) = (each for each in found.warnings if "samples per update" in each)
    assert ("BatchNormalization still sees the smaller batch" in wish) == bool(layers)
    size = found.effective_batch.batch_size
    momentum = f"BatchNormalization is {format_average(0.9 ** (size / 32))} at batch {size}."
    assert (momentum in wish) == bool(layers)
    assert "The gradients added up take up to" in wish


@pytest.mark.parametrize("predicts", [False, True])
@pytest.mark.parametrize(
    ("parameter_bytes", "parts", "fits"),
    [(MIB, 2, True), (40 * MIB, 3, True), (200 * MIB, 2, False)],
)
def test_a_wish_leaves_room_for_the_gradients_that_are_added_up(
    tmp_path, parameter_bytes, parts, fits, predicts
):
    """What was probed adds none up; where no batch leaves the room, that is told."""
    abilities = Abilities(predicts_memory=predicts)
    facts = inspected(parameter_bytes=parameter_bytes, abilities=abilities)
    device = PretendDevice(fits_up_to=10**9, facts=facts)
    wish = ["recommend.effective_batch=3600"]
    with session(tmp_path, device, wish, limit_bytes=200 * MIB) as opened:
        found = tuner.tune(opened)
    wished = found.effective_batch
    assert (wished.gradient_accumulation_steps, wished.batch_size) == (parts, 3600 // parts)
    peak_bytes = MIB + 100_000 * wished.batch_size + parameter_bytes
    assert wished.peak_bytes == pytest.approx(peak_bytes, rel=0.01)
    assert (wished.peak_bytes <= 0.9 * 200 * MIB) == fits
    (told,) = (each for each in found.warnings if "samples per update" in each)
    assert ("no smaller batch keeps the headroom" in told) != fits


def test_averages_of_weights_go_with_the_batch_where_gradients_are_accumulated(tmp_path):
    """Keras takes them at each batch, also between updates; what it counts are updates."""
    settings = {"ema_momentum": 0.99, "beta_2": 0.999, "ema_overwrite_frequency": 800}
    facts = inspected(optimizer="Adam", learning_rate=0.001, optimizer_settings=settings)
    wish = tune(tmp_path, PretendDevice(facts=facts), "recommend.effective_batch=8192")
    wished = wish.effective_batch
    assert wished.gradient_accumulation_steps == 3
    kappa = wished.batch_size / 32
    assert wished.hyperparameters["ema_momentum"] == pytest.approx(0.99**kappa)
    updates = 800 * 32 / wished.samples
    assert wished.hyperparameters["ema_overwrite_frequency"] == round(updates)
    assert wished.hyperparameters["beta_2"] == 0.9


@pytest.mark.parametrize(("overhead", "fits_up_to"), [(0.005, 3000), (0, 3000), (0.005, 200)])
def test_who_accumulates_what_fits_as_one_batch_is_told(tmp_path, overhead, fits_up_to):
    device = PretendDevice(
        facts=inspected(accumulation_steps=8),
        step_seconds=lambda size: overhead + 2e-5 * size,
        fits_up_to=fits_up_to,
    )
    found = tune(tmp_path, device)
    told = [each for each in found.warnings if "leave gradient_accumulation_steps out" in each]
    assert bool(told) == (overhead > 0 and fits_up_to > 256)
    if told:
        assert "256 samples takes 45 ms as 8 batches of 32, and 10 ms as one batch" in told[0]


@pytest.mark.parametrize("fits_up_to", [30, 3000])
def test_an_optimum_beyond_what_fits_is_told_as_such(tmp_path, fits_up_to):
    device = PretendDevice(
        step_seconds=lambda size: 0.02 + 0.001 * size,
        fits_up_to=fits_up_to,
        critical_batch=2000.0,
    )
    found = tune(tmp_path, device, "baseline.batch_size=8")
    (told,) = [reason for reason in found.reasons if "the model puts the optimum" in reason]
    beyond = fits_up_to == 30
    assert ("outside the sizes that can be used here" in told) == beyond
    assert "as good as there" not in told or not beyond


def test_no_batch_of_less_than_a_sample_is_told_as_the_optimum(tmp_path):
    device = PretendDevice(step_seconds=lambda size: 1e-4 + 1e-3 * size, critical_batch=1.0)
    found = tune(tmp_path, device, "baseline.batch_size=8")
    (told,) = [reason for reason in found.reasons if "the model puts the optimum" in reason]
    assert re.search(r"optimum at the smallest batch; batch \d+ is .*the best that can be", told)


def test_how_far_a_size_is_from_an_optimum_that_was_not_measured_is_told_by_the_line(tmp_path):
    """It lies near 128, which has not much more than half of the time of those measured."""
    device = PretendDevice(step_seconds=lambda size: 1e-4 * (128 + size), critical_batch=128)
    found = tune(tmp_path, device, "benchmark.sizes=[448,512]")  # and 32, the user's own
    (told,) = [reason for reason in found.reasons if "the model puts the optimum" in reason]
    beyond = re.search(rf"; batch {found.batch_size} is within (\d+)% of its time", told)
    assert 40 <= int(beyond[1]) <= 65


def test_updates_are_counted_where_they_are_accumulated(tmp_path):
    """A trial of 20 steps has two or three updates of eight batches each."""
    device = PretendDevice(facts=inspected(accumulation_steps=8), step_seconds=lambda size: 0.1)
    with pytest.raises(UsageError, match="fewer than 160 tell nothing") as refused:
        tune(tmp_path / "a", device, "trials.budget=3min", "time_limit=10h")
    named = re.search(r"--set (\S+\w)", refused.value.hint)[1]
    found = tune(tmp_path / "b", device, named, "time_limit=10h")
    assert min(task.steps for task in device.tasks if isinstance(task, Trial)) >= 160
    assert found.candidates


def test_a_warm_up_is_told_in_batches_where_gradients_are_accumulated(tmp_path):
    schedule = {"learning_rate_schedule": "CosineDecay", "schedule_peak_step": 10**6}
    found = tune(tmp_path, PretendDevice(facts=inspected(accumulation_steps=8, **schedule)))
    assert "warms up for 1,000,000 batches" in " ".join(found.warnings)


def test_a_range_test_makes_as_many_updates_where_they_are_accumulated(tmp_path):
    device = PretendDevice(facts=inspected(accumulation_steps=8))
    found = tune(tmp_path, device)
    (task,) = [each for each in device.tasks if isinstance(each, RangeTest)]
    assert task.steps == 8 * 100
    assert found.candidates


def test_an_effective_batch_has_all_that_goes_with_it(tmp_path):
    facts = inspected(optimizer="Adam", optimizer_settings={"beta_2": 0.999, "weight_decay": 0.01})
    device = PretendDevice(facts=facts, best_rate=lambda size: 0.08 * (size / 32) ** 0.5)
    found = tune(tmp_path, device, "recommend.effective_batch=8192")
    wished = found.effective_batch
    assert wished.gradient_accumulation_steps > 1
    kappa = wished.samples / 32
    assert wished.hyperparameters["beta_2"] == pytest.approx(max(0.9, 0.999**kappa))
    assert wished.hyperparameters.keys() == {"beta_2", "weight_decay"}
    (told,) = [told for told in found.warnings if "samples per update" in told]
    assert "beta_2" in told
    assert told.endswith("There are only 4096 training samples.")
    assert f"({wished.samples / found.batch_size:.0f} times), no rule is more than a guess" in told


def test_a_rule_is_trusted_near_what_was_tried(tmp_path):
    found = tune(tmp_path, PretendDevice(), "recommend.effective_batch=512")
    (told,) = [told for told in found.warnings if "samples per update" in told]
    assert found.effective_batch.samples <= 8 * found.batch_size
    assert "guess" not in told


@pytest.mark.parametrize(("best_rate", "is_tried"), [(0.08, True), (1e-7, False)])
def test_a_wish_that_fits_in_one_batch_has_no_rate_that_diverged_there(
    tmp_path, best_rate, is_tried
):
    """The best that was tried, or where all diverged, a lower one; the rule's would be one."""
    device = PretendDevice(best_rate=lambda size: best_rate if size == 256 else 0.08)
    found = tune(tmp_path, device, "recommend.effective_batch=256")
    rates = [t.learning_rate for t in device.tasks if isinstance(t, Trial) and t.batch_size == 256]
    wished = found.effective_batch
    assert (wished.batch_size, wished.tried) == (256, is_tried)
    assert max(rates) > 2 * best_rate
    assert wished.learning_rate <= (2 * best_rate if is_tried else 0.51 * min(rates))
    assert (wished.learning_rate in rates) == is_tried
    (told,) = [told for told in found.warnings if "samples per update" in told]
    assert ("not tried" in told) != is_tried


def test_without_a_noise_scale_a_rate_that_was_not_tried_is_not_near_one_that_broke_down(tmp_path):
    class Unresolved(PretendDevice):
        def _gradients(self, task):
            return Differentiated(moments=(), reason="a training step of its own")

    wish = "recommend.effective_batch=8192"
    unknown = "(the noise scale was not resolved: up to which batch the rule holds is not known)"
    found = tune(tmp_path / "known", PretendDevice(), wish)
    assert found.effective_batch.learning_rate > found.learning_rate
    assert unknown not in " ".join(found.reasons)
    found = tune(tmp_path / "unknown", Unresolved(), wish.replace("8192", "400"))
    assert found.effective_batch.learning_rate == found.learning_rate
    assert unknown in " ".join(found.reasons)
    (told,) = [told for told in found.warnings if "samples per update" in told]
    assert "noise scale was not resolved" in told


def test_trials_have_the_settings_that_go_with_their_size_and_schedules_their_speed(tmp_path):
    facts = inspected(
        optimizer="Adam",
        optimizer_settings={"beta_2": 0.999, "epsilon": 1e-7},
        learning_rate_schedule="CosineDecay",
    )
    device = PretendDevice(facts=facts)
    found = tune(tmp_path, device)
    trials = [task for task in device.tasks if isinstance(task, Trial)]
    assert {task.batch_size for task in trials} > {32}
    for task in trials:
        kappa = task.batch_size / 32
        assert task.schedule_speed == kappa
        if kappa == 1:
            assert task.settings == {}
            continue
        assert task.settings["beta_2"] == pytest.approx(max(0.9, 0.999**kappa))
        assert task.settings["epsilon"] == pytest.approx(1e-7 / kappa**0.5)
    assert found.batch_size != 32
    assert f"model.optimizer.beta_2 = {found.hyperparameters['beta_2']:.6g}" in found.snippet


def test_what_stands_for_a_batch_has_its_settings_too(tmp_path):
    """They are compiled for the batch that does not fit."""
    facts = inspected(
        optimizer="AdamW",
        optimizer_settings={"beta_2": 0.95, "weight_decay": 0.01},
        learning_rate_schedule="CosineDecay",
        batch_norm_layers=1,
        batch_norm_momentum=0.9,
    )
    device = PretendDevice(facts=facts, fits_up_to=128)
    found = tune(tmp_path, device, "baseline.batch_size=512", "trials.learning_rate=none")
    assert (found.baseline.batch_size, found.baseline.instead_of) == (128, 512)
    trials = [task for task in device.tasks if isinstance(task, Trial)]
    (own,) = {tuple(task.settings.items()) for task in trials if task.batch_size == 128}
    assert dict(own) == {
        "beta_2": pytest.approx(0.95**0.25),
        "weight_decay": pytest.approx(0.01 / 4),
    }
    assert {task.schedule_speed for task in trials if task.batch_size == 128} == {0.25}
    kappa = f"steps by {found.batch_size / 512:.4g}, as the trials did"
    assert any(kappa in warning for warning in found.warnings)


@pytest.mark.parametrize(("samples", "warns"), [(4097, True), (4096, False)])
def test_a_last_batch_of_one_sample_is_worth_a_warning(tmp_path, samples, warns):
    found = tune(tmp_path, PretendDevice(facts=inspected(train_samples=samples)))
    assert found.ragged_samples == (1 if warns else 0)
    told = [w for w in found.warnings if f"only 1 of {found.batch_size} samples" in w]
    assert bool(told) == warns


def test_half_of_a_batch_of_two_is_worth_no_warning(tmp_path):
    device = PretendDevice(facts=inspected(train_samples=257), fits_up_to=2)
    found = tune(tmp_path, device, "baseline.batch_size=2")
    assert (found.batch_size, found.ragged_samples) == (2, 1)
    assert not any("The last batch of an epoch has only" in told for told in found.warnings)


@pytest.mark.parametrize(("samples", "is_told"), [(4097, True), (4096, False)])
def test_a_last_batch_is_told_of_where_there_is_one(tmp_path, samples, is_told):
    found = tune(tmp_path, PretendDevice(facts=inspected(train_samples=samples)))
    (told,) = [reason for reason in found.reasons if reason.startswith("Memory: ")]
    assert ("with its last batch and a validation pass" in told) == is_told
    assert "a validation pass, in a fresh process." in told


def test_a_reason_that_ends_a_sentence_does_not_end_it_twice(tmp_path):
    failed = UserCodeFailed(message="Give more samples.", traceback="")
    device = PretendDevice(answers={(Benchmark, 64): [failed] * 9})
    told = [w for w in tune(tmp_path, device).warnings if w.startswith("Not measured: 64")]
    assert told
    assert all(each.endswith("Give more samples.") for each in told)


def test_code_that_fails_where_a_rate_is_too_high_drops_that_rate_alone(tmp_path):
    class Checked(PretendDevice):
        def _trial(self, task):
            if task.learning_rate > 1.5 * self.best_rate(task.batch_size):
                return UserCodeFailed(message="ValueError: the loss is NaN", traceback="")
            return super()._trial(task)

    found = tune(tmp_path, Checked())
    assert found.verdict == "better"
    failed = [each for each in found.candidates if each.status == "failed"]
    assert failed


@pytest.mark.parametrize(("follows", "parts"), [(True, 1), (False, 1), (False, 4)])
def test_a_schedule_that_follows_the_batch_is_not_sped_up_once_more(tmp_path, follows, parts):
    """Another counts batches, also where an update has several."""
    schedule = {"learning_rate_schedule": "CosineDecay", "schedule_follows_batch": follows}
    device = PretendDevice(facts=inspected(**schedule, accumulation_steps=parts))
    found = tune(tmp_path, device)
    trials = [task for task in device.tasks if isinstance(task, Trial)]
    assert found.batch_size != 32
    for task in trials:
        assert task.schedule_speed == (1 if follows else task.batch_size / 32)
    micro = " (batches, also between updates)" if parts > 1 else ""
    told = f"Your CosineDecay counts steps{micro}: divide its numbers of steps by "
    assert any(told in warning for warning in found.warnings) != follows


def test_differences_of_a_metric_that_is_maximised_have_its_sign(tmp_path):
    class Accurate(PretendDevice):
        def _trial(self, task):
            found = super()._trial(task)
            return changed(
                found,
                evaluations=tuple(
                    changed(each, metrics={"val_accuracy": 1 - each.metrics["val_loss"]})
                    for each in found.evaluations
                ),
            )

    device = Accurate(facts=inspected(metrics=("val_loss", "val_accuracy")))
    found = tune(tmp_path, device, "trials.metric=val_accuracy")
    difference = found.loss_difference
    assert found.verdict == "better"
    assert found.val_loss > found.baseline.val_loss
    assert 0 < difference.low < difference.value < difference.high
    assert any(f"{difference.value:.1%} higher" in reason for reason in found.reasons)


def test_curves_of_trials_that_went_on_to_the_end_of_an_execution_are_shown(tmp_path):
    """With `steps_per_execution`, evaluations are later than they were asked for."""

    class BySixteens(PretendDevice):
        def _trial(self, task):
            later = tuple(-(-step // 16) * 16 for step in task.evaluate_at)
            return super()._trial(changed(task, evaluate_at=later))

    found = tune(tmp_path, BySixteens())
    shown = findings(read_record(tmp_path), "run").curves
    for candidate in found.candidates:
        setting = (candidate.batch_size, candidate.learning_rate)
        curves = [each for each in shown if (each.batch_size, each.learning_rate) == setting]
        assert len(curves) == candidate.seeds


@pytest.mark.parametrize("as_compiled", [True, False])
def test_steps_that_are_not_executed_as_in_the_benchmark_are_not_compared_with_it(
    tmp_path, as_compiled
):
    class Slow(PretendDevice):
        def _trial(self, task):
            found = super()._trial(task)
            if not isinstance(found, Trained):
                return found
            return changed(found, as_compiled=as_compiled, train_seconds=2 * found.train_seconds)

    told = " ".join(tune(tmp_path, Slow()).warnings)
    assert ("Is something else running?" in told) == as_compiled


def test_a_noise_scale_takes_no_longer_than_the_trial_that_it_is_of(tmp_path):
    device = PretendDevice(step_seconds=lambda size: 0.05 + 0.001 * size)
    tune(tmp_path, device, "trials.budget=5min", "baseline.batch_size=8")
    (task,) = [each for each in device.tasks if isinstance(each, Gradients)]
    steps = max(task.measure_at)
    assert 32 < steps < 256
    assert task.micro_batches == steps


@pytest.mark.parametrize("sizes", ["powers_of_two", "[32]", "[32, 256]"])
def test_replicas_are_predicted_from_the_sizes_measured_where_no_line_is_known(tmp_path, sizes):
    """From batch 256 on steps take ten times as long, as where memory is scarce."""

    def step_seconds(size):
        return (0.001 + 1e-5 * size) * (10 if size >= 256 else 1)

    device = PretendDevice(step_seconds=step_seconds)
    found = tune(tmp_path, device, f"benchmark.sizes={sizes}", "recommend.replicas=[1, 4]")
    assert [each.replicas for each in found.replicas] == [1, 4]
    assert all(each.per_replica_batch_size < 256 for each in found.replicas)
    told = [reason for reason in found.reasons if "the model puts the optimum" in reason]
    assert all("which not all follow" in reason for reason in told)
    assert bool(told) == (sizes == "powers_of_two")


def test_what_a_loader_drops_is_in_no_last_batch(tmp_path):
    class Dropping(PretendDevice):
        def _benchmark(self, task):
            found, size = super()._benchmark(task), task.batch_size
            steps = found.samples_per_epoch // size
            return changed(found, steps_per_epoch=steps, samples_per_epoch=steps * size)

    found = tune(tmp_path, Dropping(facts=inspected(train_samples=4097)))
    assert found.batch_size > 1
    assert found.steps_per_epoch == 4097 // found.batch_size
    assert found.ragged_samples == 0
    assert not any("The last batch of an epoch" in warning for warning in found.warnings)


def test_of_samples_that_were_not_all_counted_no_last_batch_is_told(tmp_path):
    extents = (Extent(samples=4097, is_whole=False), Extent(samples=512, is_whole=True))
    events = []
    device = PretendDevice(facts=inspected(train_samples=4097, extents=extents))
    with session(tmp_path, device, events=events) as opened:
        found = tuner.tune(opened)
    assert found.ragged_samples == 0
    assert not any("The last batch of an epoch" in warning for warning in found.warnings)
    told = next(event for event in events if isinstance(event, JobFinished))
    assert told.answer.endswith("at least 4,097 training samples, tensorflow on pretend")


def test_beside_equal_time_stand_equal_steps_and_equal_samples(tmp_path):
    """Where all had made as many steps, each curve is read there; so for samples."""
    device = PretendDevice(noise=0.0)
    found = tune(tmp_path, device)
    finalists = [c for c in found.candidates if c.seeds > 1]
    trials = [t for t in device.tasks if isinstance(t, Trial)]

    def steps(candidate):
        return max(t.steps for t in trials if t.batch_size == candidate.batch_size)

    def loss(candidate, at):
        share = candidate.learning_rate / device.best_rate(candidate.batch_size)
        speed = share * (2 - share) / (1 + device.critical_batch / candidate.batch_size)
        return (1 + speed * at) ** -0.5

    fewest = min(map(steps, finalists))
    least = min(steps(c) * c.batch_size for c in finalists)
    assert len({c.batch_size for c in finalists}) > 1
    for c in finalists:
        assert c.val_loss_at_equal_steps == pytest.approx(loss(c, fewest), rel=0.03)
        assert c.val_loss_at_equal_samples == pytest.approx(loss(c, least / c.batch_size), rel=0.03)


def test_what_runs_out_of_memory_in_a_verification_of_its_own_is_not_recommended(tmp_path):
    """Memory that is uneven: steps of a size fit, and many steps of it do not."""

    class Uneven(PretendDevice):
        def _probe(self, task):
            if task.verify and task.batch_size in failing:
                return OutOfMemory(evidence="OOM when allocating tensor")
            return super()._probe(task)

    failing = set()
    first = tune(tmp_path / "even", Uneven(fits_up_to=300))
    failing = {first.batch_size}
    found = tune(tmp_path / "uneven", Uneven(fits_up_to=300))
    assert first.batch_size > 32
    assert found.batch_size < first.batch_size
    assert any(told.startswith("Memory:") for told in found.reasons)
    assert found.warnings[0] == (
        f"Batch {first.batch_size} was not verified by itself (out of memory); what is "
        "recommended was chosen without it."
    )
    told = f"batch {first.batch_size} did not pass a verification of its own (out of memory)."
    assert f"batch {first.batch_size}" not in found.reasons[0].lower()
    assert found.reasons[1].endswith(told)
    failures = {c.failure for c in found.candidates if c.batch_size == first.batch_size}
    assert "did not pass a verification of its own (out of memory)" in failures


class FailsAtLength(PretendDevice):
    """Memory that is uneven: once there were trials, no size of `failing` is verified."""

    failing = ()

    def _probe(self, task):
        after_trials = any(isinstance(each, Trial) for each in self.tasks)
        if task.verify and task.batch_size in self.failing and after_trials:
            return OutOfMemory(evidence="OOM when allocating tensor")
        return super()._probe(task)


def test_sizes_above_one_at_which_memory_ran_out_are_told_to_be_of_no_use(tmp_path):
    """Nothing else says so of them: they themselves were not verified."""
    wanted = tune(tmp_path / "whole", FailsAtLength()).batch_size
    device = FailsAtLength()
    device.failing = {wanted}
    found = tune(tmp_path / "failing", device)
    larger = [c for c in found.candidates if c.is_finalist and c.batch_size > wanted]
    assert larger and found.batch_size < wanted
    assert {c.failure for c in larger} == {"is larger than one at which memory ran out"}
    rows = [row for row in ranking_table(found).rows if row[-1].startswith("finalist: is larger")]
    assert len(rows) == len(larger)
    assert found.reasons[1].split(", but batch ")[1] in (
        f"{wanted} did not pass a verification of its own (out of memory).",
        *(f"{c.batch_size} {c.failure}." for c in larger),
    )


@pytest.mark.parametrize("is_too_large", [False, True])
def test_the_users_size_leaves_too_little_free_by_its_own_peak_alone(tmp_path, is_too_large):
    """Not as a smaller one ran out of memory, which puts the ceiling below it."""
    device, limit_bytes = FailsAtLength(), 1024 << 20
    if is_too_large:
        slower = {"best_rate": lambda size: 0.01 * size / 512, "critical_batch": 50_000}
        device, limit_bytes = FailsAtLength(**slower), 53 << 20
    device.failing = () if is_too_large else range(512)
    with session(tmp_path, device, ["baseline.batch_size=512"], limit_bytes=limit_bytes) as opened:
        found = tuner.tune(opened)
    assert found.batch_size == 512 > found.probe.ceiling
    told = "Batch 512 is yours, and leaves less than the headroom of 10% free"
    assert any(each.startswith(told) for each in found.warnings) == is_too_large


def test_where_only_what_ran_out_of_memory_was_better_that_is_told(tmp_path):
    class Uneven(PretendDevice):
        def _probe(self, task):
            if task.verify and task.batch_size > 32 and any(map(is_trial, self.tasks)):
                return OutOfMemory(evidence="OOM when allocating tensor")
            return super()._probe(task)

    def is_trial(task):
        return isinstance(task, Trial)

    found = tune(tmp_path, Uneven(fits_up_to=300, best_rate=lambda size: 0.01 * size / 32))
    assert (found.verdict, found.batch_size) == ("inconclusive", 32)
    assert words.verdict(found).startswith("inconclusive: nothing that can be used beats")
    assert found.reasons[0].startswith("No other finalist can be used: your batch 32")
    assert "did not pass a verification of its own" in found.reasons[1]
    (memory,) = [told for told in found.reasons if told.startswith("Memory:")]
    assert f"The largest seen to fit is {found.probe.largest_fitting}, bounded by" in memory


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (UserCodeFailed(message="ValueError: 127", traceback=""), "your code failed: ValueError"),
        (Crashed(signal=11, exit_code=None, log_tail=""), "crashed (SIGSEGV)"),
        (TimedOut(deadline_seconds=60.0), "no answer in 1 min"),
    ],
)
def test_what_fails_in_a_verification_of_its_own_gives_way_also_to_larger_sizes(
    tmp_path, outcome, why
):
    class Failing(PretendDevice):
        def _probe(self, task):
            fails = task.verify and task.batch_size in failing
            return outcome if fails else super()._probe(task)

    failing = set()
    wishes = ["recommend.effective_batch=128", "recommend.replicas=[1, 2]"]
    first = tune(tmp_path / "whole", Failing(), *wishes)
    assert first.batch_size == 128
    assert 128 in {each.per_replica_batch_size for each in first.replicas}
    failing = {128}
    found = tune(tmp_path / "failing", Failing(), *wishes)
    assert found.verdict == "better"
    assert found.batch_size > 128
    assert found.probe.ceiling == first.probe.ceiling
    assert found.peak_bytes == (1 << 20) + 100_000 * found.batch_size
    assert found.warnings[0].startswith(f"Batch 128 was not verified by itself ({why}")
    assert 128 not in {each.batch_size for each in found.predictions}
    assert 128 not in {each.per_replica_batch_size for each in found.replicas}
    wished = found.effective_batch
    assert (wished.batch_size, wished.gradient_accumulation_steps) == (64, 2)


def test_a_ceiling_that_fails_in_a_verification_of_its_own_is_lowered(tmp_path):
    class Failing(PretendDevice):
        def _probe(self, task):
            is_it = task.verify and task.limit_bytes < limit_bytes and task.batch_size == ceiling
            failed = UserCodeFailed(message="ValueError: 127", traceback="")
            return failed if is_it else super()._probe(task)

    def found(directory):
        asked = ["recommend.prefer=large", "trials.learning_rate=none", "batch_sizes.max=256"]
        device = Failing(critical_batch=2000.0, best_rate=lambda size: 0.01)
        with session(tmp_path / directory, device, asked, limit_bytes=limit_bytes) as opened:
            return tuner.tune(opened)

    limit_bytes, ceiling = 30_400_000, None
    first = found("whole")
    ceiling = first.probe.ceiling
    assert first.batch_size == ceiling
    second = found("failing")
    assert second.probe.ceiling == max(p.batch_size for p in second.benchmark.points[:-1])
    assert second.probe.ceiling not in [p.batch_size for p in second.probe.probes]
    assert second.probe.ceiling_peak_bytes == (1 << 20) + 100_000 * second.probe.ceiling
    assert second.batch_size < ceiling


def test_the_users_own_size_stays_where_nothing_passes_a_verification_of_its_own(tmp_path):
    class Uneven(PretendDevice):
        def _probe(self, task):
            if any(isinstance(before, Trial) for before in self.tasks):
                return failed
            return super()._probe(task)

    failed = OutOfMemory(evidence="OOM when allocating tensor")
    found = tune(tmp_path / "memory", Uneven(fits_up_to=300))
    assert found.batch_size == 32
    assert not any(told.startswith("Memory:") for told in found.reasons)
    assert any("Batch 32 was not verified by itself" in told for told in found.warnings)
    failed = UserCodeFailed(message="ValueError: 127", traceback="")
    found = tune(tmp_path / "code", Uneven(best_rate=lambda size: 0.01))
    assert found.batch_size == 32
    assert found.peak_bytes == found.probe.ceiling_peak_bytes
    assert any("Batch 32 was not verified by itself (your code" in told for told in found.warnings)


@pytest.mark.parametrize("replicas", ["[]", "[1, 2]"])
def test_one_size_alone_may_be_timed_though_it_is_above_the_ceiling(tmp_path, replicas):
    """It fits, without the headroom, and is the user's own."""
    asked = ["baseline.batch_size=1100", "benchmark.sizes=[1100]", "time_limit=10h"]
    asked.append(f"recommend.replicas={replicas}")
    with session(tmp_path, PretendDevice(), asked, limit_bytes=115_000_000) as opened:
        found = tuner.tune(opened)
    assert found.probe.ceiling < found.batch_size == 1100 <= found.probe.largest_fitting
    assert {each.per_replica_batch_size for each in found.replicas} <= {1100}
    assert len(found.replicas) == (replicas != "[]") * 2
