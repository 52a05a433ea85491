"""The spine on a pretend device: what is asked, in which order, and what is concluded."""

import itertools
import re
import signal
import time
from collections import Counter
from math import exp

import msgspec
import numpy as np
import pytest
from pretend import LIMIT, MIB, TARGET, PretendDevice, inspected, predictable, session, telling

from autobatch import tuner
from autobatch.core import metric as metrics
from autobatch.core.scaling import scaled
from autobatch.engine.record import Record
from autobatch.engine.record_file import FILE_NAME
from autobatch.errors import (
    NothingFitsError,
    RecipeError,
    UsageError,
    UserCodeError,
    WrongRunDirectoryError,
)
from autobatch.protocol import (
    OWN_LOSS,
    Abilities,
    Benchmark,
    BenchmarkResult,
    Crashed,
    Differentiated,
    Diverged,
    Evaluation,
    Fits,
    Gradients,
    Inspect,
    JobFinished,
    Note,
    OutOfMemory,
    OverBudget,
    Probe,
    ProbeResult,
    Ranged,
    RangeTest,
    Recommendation,
    StageExpects,
    StageFinished,
    StageStarted,
    TargetMissing,
    TimedOut,
    Trained,
    Trial,
    UserCodeFailed,
    changed,
)
from autobatch.recipe import make_recipe
from autobatch.stages.apart import apart_from_theirs
from autobatch.stages.ask import Session
from autobatch.ui.words import replica_plan
from autobatch.units import about, ratio


def tune(tmp_path, device, *overrides, **more) -> Recommendation:
    with session(tmp_path, device, overrides, **more) as opened:
        return tuner.tune(opened)


def probe(tmp_path, device, *overrides, **more):
    with session(tmp_path, device, overrides, **more) as opened:
        return tuner.probe(opened)


def sizes(device, kind):
    return [task.batch_size for task in device.tasks if isinstance(task, kind)]


def test_stages_come_in_the_users_order(tmp_path):
    events = []
    tune(tmp_path, PretendDevice(), events=events)
    finished = [event.stage for event in events if isinstance(event, StageFinished)]
    assert finished == ["inspect", "probe", "benchmark", "trials"]


def test_a_setting_that_is_truly_faster_is_found_and_called_better(tmp_path):
    found = tune(tmp_path, PretendDevice())
    assert found.verdict == "better"
    assert found.speedup.low > 1
    assert found.batch_size > found.baseline.batch_size
    # Eight times the baseline's rate is best at its size, and linearly more at others: where the
    # rule saturates, the ladder of twos comes as near as it can.
    best = 0.08 * found.batch_size / 32
    assert best / 2**0.5 <= found.learning_rate <= best * 2**0.5
    assert found.noise_scale.value == pytest.approx(500, rel=0.02)
    assert found.confidence == "high"
    assert any("Noise scale: 500" in reason for reason in found.reasons)


@pytest.mark.parametrize(("own", "is_far"), [(8, True), (32, False)])
def test_far_from_the_baseline_it_is_told_what_the_other_rule_would_give(tmp_path, own, is_far):
    found = tune(tmp_path, PretendDevice(), f"baseline.batch_size={own}")
    assert (found.batch_size > 8 * own) == is_far
    (told,) = [each for each in found.reasons if each.startswith("Linear scaling, the rule")]
    sizes = {"old_batch": own, "new_batch": found.batch_size}
    other = scaled(0.01, "sqrt", **sizes, critical_batch=found.noise_scale.value)
    clause = f"; sqrt scaling, as good a guess so far from batch {own}, would give {other:.3g}. Of "
    assert (clause in told) == is_far


@pytest.mark.parametrize(
    ("of_gradients", "of_training", "confidence"),
    [
        (1000, 1000, "high"),
        (1100, 1100, "medium"),  # more than the 4,096 samples measured resolve
        (1000, 5, "medium"),  # no batch would be too large, says the model; 32 is best by trials
    ],
)
def test_confidence_is_high_where_a_resolved_noise_scale_agrees_with_the_trials(
    tmp_path, of_gradients, of_training, confidence
):
    device = PretendDevice(critical_batch=of_training)
    device._gradients = PretendDevice(critical_batch=of_gradients)._gradients
    found = tune(tmp_path, device)
    assert (found.noise_scale.value is None) == (of_gradients == 1100)
    assert (found.verdict, found.confidence) == ("better", confidence)
    at_least = f"Noise scale: at least {about(found.noise_scale.low)} samples after "
    assert found.reasons[-1].startswith(at_least) == (of_gradients == 1100)


def test_the_speedup_is_that_of_the_known_curves(tmp_path):
    found = tune(tmp_path, PretendDevice(noise=0.001))

    def learning_per_second(size, share):
        return share * (2 - share) / (1 + 500 / size) / (0.001 + 1e-5 * size)

    truth = learning_per_second(found.batch_size, 1) / learning_per_second(32, 1 / 8)
    assert found.speedup.value == pytest.approx(truth, rel=0.1)


def test_when_nothing_is_better_the_baseline_stays(tmp_path):
    """The rate is at its best already, and time to target does not depend on the batch."""
    device = PretendDevice(
        best_rate=lambda size: 0.01 * size / 32,
        step_seconds=lambda size: 0.001 / (1 + 500 / size),
    )
    found = tune(tmp_path, device)
    assert found.verdict in ("tie", "inconclusive")
    assert (found.batch_size, found.learning_rate) == (32, 0.01)
    assert "your batch 32" in found.reasons[0]


def is_baseline(task):
    return (task.batch_size, task.learning_rate) == (32, 0.01)


def test_the_size_beside_the_best_is_tried_though_the_noise_scale_led_elsewhere(tmp_path):
    device, misled = PretendDevice(critical_batch=50.0), PretendDevice(critical_batch=1e5)
    device._gradients = misled._gradients
    found = tune(tmp_path, device)
    first = [task for task in device.tasks if isinstance(task, Trial) and task.seed == 0]
    chosen_first = list(dict.fromkeys(task.batch_size for task in first))
    assert (chosen_first[:5], chosen_first[5:]) == ([32, 512, 1024, 2048, 2984], [64, 128])
    assert found.batch_size == 64
    assert len(first) <= 6 + 4 * 4  # as many as were planned


def test_sizes_beside_the_best_take_no_more_trials_than_were_planned(tmp_path):
    """The best rate there is far from those of other sizes, and so the ladder to it is long."""

    def best_rate(size):
        return 0.32 * size / 32 / (64 if size == 256 else 1)

    device = PretendDevice(critical_batch=400.0, best_rate=best_rate)
    device._gradients = PretendDevice(critical_batch=1e5)._gradients
    tune(tmp_path, device)
    first = [task for task in device.tasks if isinstance(task, Trial) and task.seed == 0]
    assert 256 in {task.batch_size for task in first}
    assert len(first) == 6 + 4 * 4


def slower_than_the_baseline():
    """Its rate is the best, and larger batches take longer than they are worth."""
    return PretendDevice(
        best_rate=lambda size: 0.01 * size / 32,
        step_seconds=lambda size: 0.001 * (1 + abs(size - 32) / 16),
    )


def test_a_baseline_that_is_best_for_certain_is_told_so(tmp_path):
    found = tune(tmp_path, slower_than_the_baseline())
    assert (found.verdict, found.batch_size, found.learning_rate) == ("tie", 32, 0.01)
    assert found.confidence != "low"
    assert "the soonest other finalist" in found.reasons[0]
    assert "times as soon (95 % interval 0." in found.reasons[0]
    (told,) = [each for each in found.reasons if each.startswith("After equal training time")]
    assert "the best val_loss of batch" in told
    assert found.loss_difference is None  # that of the recommended
    assert any("over much longer training larger batches gain" in each for each in found.warnings)


def others_level_off():
    """Above the loss that the baseline has reached in half of a trial."""

    def levels_off(task, loss):
        return loss if is_baseline(task) else max(0.2, loss)

    return telling(slower_than_the_baseline(), levels_off)


def test_where_nothing_else_gets_there_with_any_seed_the_baseline_is_best(tmp_path):
    found = tune(tmp_path, others_level_off())
    assert (found.verdict, found.batch_size, found.learning_rate) == ("tie", 32, 0.01)
    assert "no other finalist gets there in" in found.reasons[0]
    assert {c.status for c in found.candidates if c.is_finalist} == {
        "baseline",
        "target_not_reached",
    }


def test_two_seeds_that_do_not_get_there_may_be_chance(tmp_path):
    found = tune(tmp_path, others_level_off(), "trials.seeds=2")
    assert (found.verdict, found.batch_size) == ("inconclusive", 32)


def test_what_is_little_more_than_half_as_fast_as_the_baseline_has_a_time(tmp_path):
    """With every seed, not with the lucky ones alone."""
    device = PretendDevice(
        best_rate=lambda size: 0.01 * size / 32,
        step_seconds=lambda size: (1 if size == 32 else 1.8) * 0.0166 / (1 + 500 / size),
    )
    found = tune(tmp_path, device)
    others = [c.speedup for c in found.candidates if c.is_finalist and c.batch_size != 32]
    assert any(speedup and 0.5 < speedup.value < 0.6 for speedup in others)


def curving(own, others, same_size=None):
    """Losses by the share of a trial that is done: of the baseline, and of all else."""
    luck = np.random.default_rng(0)

    def trial(task):
        loss = (same_size or others) if task.batch_size == 32 else others
        loss = own if is_baseline(task) else loss
        chance = luck.lognormal(0, 0.02)
        evaluations = tuple(
            Evaluation(step=step, metrics={"val_loss": chance * loss(step / task.steps)})
            for step in task.evaluate_at
        )
        return Trained(evaluations=evaluations, steps=task.steps, train_seconds=1)

    device = PretendDevice()
    device._trial = trial
    return device


def test_what_is_sooner_but_levels_off_above_the_baseline_is_not_better(tmp_path):
    device = curving(
        lambda done: 2.3 * exp(-2.4 * done), lambda done: 0.45 + 1.85 * exp(-60 * done)
    )
    found = tune(tmp_path, device)
    assert (found.verdict, found.batch_size) == ("inconclusive", 32)
    assert "times as soon at val_loss 0.7" in found.reasons[0]
    assert re.search(r", but its best val_loss in .+ is .+% higher than yours", found.reasons[0])
    assert "--set trials.schedule=warmup_stable_decay" in found.reasons[0]


def test_of_several_that_are_sooner_the_one_that_goes_on_is_recommended(tmp_path):
    """The smallest batch is as soon where the baseline ends, and then levels off."""
    device = curving(
        lambda done: 2.3 * exp(-1.2 * done),
        lambda done: 2.3 * exp(-21 * done),
        same_size=lambda done: 0.3 + 2 * exp(-30 * done),
    )
    found = tune(tmp_path, device)
    speedups = {c.batch_size: c.speedup for c in found.candidates if c.speedup}
    assert speedups[32].value > 0.9 * max(each.value for each in speedups.values())
    assert (found.verdict, found.batch_size > 32) == ("better", True)
    assert found.speedup == speedups[found.batch_size]
    assert 32 not in found.tied_with
    assert "Of those that are sooner, it is at 4 values of val_loss from" in found.reasons[0]


def final_seconds(device):
    """Of training at the baseline's batch size."""
    steps = next(t.steps for t in device.tasks if isinstance(t, Trial) and t.seed)
    return steps * device.step_seconds(32)


def test_what_ends_better_is_timed_to_where_the_baseline_ends(tmp_path):
    """In half of the trial it is no sooner."""
    device = curving(lambda done: 0.2 + 2.1 * exp(-6 * done), lambda done: 2.3 * exp(-3.9 * done))
    found = tune(tmp_path, device)
    assert found.verdict == "better"
    assert found.target_seconds == pytest.approx(final_seconds(device))


def test_what_is_no_sooner_but_ends_better_is_no_tie(tmp_path):
    """Other sizes get to where the baseline is in half of its trial, and not to its end."""
    device = curving(
        lambda done: 0.2 + 2.1 * exp(-6 * done),
        lambda done: 0.25 + 2.05 * exp(-5.5 * done),
        same_size=lambda done: 2.3 * exp(-3.9 * done),
    )
    found = tune(tmp_path, device)
    assert (found.verdict, found.learning_rate) == ("inconclusive", 0.01)
    assert found.target_seconds == pytest.approx(final_seconds(device) / 2)
    assert re.search(r", but its best val_loss in .+ is .+% lower than yours", found.reasons[0])
    assert "trials.budget" in found.reasons[0]


def test_a_baseline_that_learns_late_is_timed_later(tmp_path):
    """Until then its losses are noise, whose least is below where it started."""
    noise = np.random.default_rng(1)
    device = curving(
        lambda done: 2.3 - max(0, done - 0.55) * 3 + noise.normal(0, 0.002),
        lambda done: 2.3 - max(0, done - 0.65) * 3 + noise.normal(0, 0.002),
        same_size=lambda done: 2.3 * exp(-1.5 * done),  # more, and others were no finalists
    )
    found = tune(tmp_path, device)
    assert (found.verdict, found.batch_size) == ("better", 32)
    assert found.target_seconds == pytest.approx(0.75 * final_seconds(device), rel=0.01)
    others = [c.speedup.value for c in found.candidates if c.speedup and c.batch_size != 32]
    assert others and all(0.7 < value < 1 for value in others)


@pytest.mark.parametrize("times_as_soon", [5, 20, 40])
def test_how_much_sooner_is_told_far_from_the_baseline(tmp_path, times_as_soon):
    device = curving(
        lambda done: 2.3 * (1 + 20 * done) ** -0.5,
        lambda done: 2.3 * (1 + times_as_soon * 20 * done) ** -0.5,
    )
    found = tune(tmp_path, device)
    assert found.verdict == "better"
    assert found.speedup.value == pytest.approx(times_as_soon, rel=0.1)


def test_what_mostly_does_not_get_there_is_later(tmp_path):
    """With one seed of five it does."""

    def mostly_slow(task, loss):
        return loss if is_baseline(task) or task.seed == 3 else max(0.2, loss)

    found = tune(tmp_path, telling(slower_than_the_baseline(), mostly_slow))
    assert (found.verdict, found.batch_size) == ("tie", 32)
    assert "no other finalist gets there" in found.reasons[0]


def test_finalists_that_could_not_be_trained_are_not_called_later(tmp_path):
    device = PretendDevice()
    learn = device._trial

    def fails_later(task):
        return learn(task) if is_baseline(task) or task.seed == 0 else OutOfMemory(evidence="OOM")

    device._trial = fails_later
    found = tune(tmp_path, device)
    assert (found.verdict, found.batch_size, found.confidence) == ("inconclusive", 32, "low")
    assert "No other finalist could be trained" in found.reasons[0]


def test_what_fails_with_one_seed_is_not_called_diverged(tmp_path):
    device = PretendDevice()
    learn = device._trial

    def fails_once(task):
        fails = task.seed == 2 and (task.batch_size == 256 or is_baseline(task))
        return OutOfMemory(evidence="OOM") if fails else learn(task)

    device._trial = fails_once
    found = tune(tmp_path, device)
    assert "could not be trained with some seeds (out of memory)" in found.reasons[0]
    told = [each for each in found.warnings if "with 1 of 5 seeds" in each]
    assert told and all("could not be trained (out of memory)" in each for each in told)
    failures = {c.failure for c in found.candidates if c.batch_size == 256 and c.seeds == 4}
    assert failures == {"out of memory"}


def refused_hint(tmp_path, device, *settings):
    with pytest.raises(UsageError) as refused:
        tune(tmp_path, device, *settings)
    return refused.value.hint


@pytest.mark.parametrize("settings", [["trials.budget=30s"], [], ["time_limit=100s"]])
def test_the_least_budget_and_time_limit_that_are_named_are_enough(tmp_path, settings):
    device = PretendDevice(step_seconds=lambda size: 1.2361)
    named = re.findall(r"--set (\S+\w)", refused_hint(tmp_path / "a", device, *settings))
    assert [each.split("=")[0] for each in named] == ["trials.budget", "time_limit"]
    assert tune(tmp_path / "b", device, *named).candidates
    hint = refused_hint(tmp_path / "c", device, *settings, "time_limit=10h")
    assert "time_limit" not in hint


@pytest.mark.parametrize(
    ("time_limit", "samples"), [("303s", 512), ("200s", 2_000_000), ("220s", 2_000_000)]
)
def test_seeds_that_would_tell_are_named_with_the_time_limit_that_they_take(
    tmp_path, time_limit, samples
):
    """The limit cuts the budget; with what is named, the trials that were made count again."""
    device = PretendDevice(
        facts=inspected(validation_samples=samples),
        noise=0.2,
        best_rate=lambda size: 0.018 * (size / 32) ** 0.5,
        step_seconds=lambda size: 0.0002 + 0.001 * size / 32,
    )
    found = tune(tmp_path, device, f"time_limit={time_limit}", "batch_sizes.max=64")
    named = re.findall(r"--set (\S+\w)", found.reasons[0])
    assert [each.split("=")[0] for each in named] == ["trials.seeds", "trials.budget", "time_limit"]
    trained = list(device.tasks)
    again = tune(tmp_path, device, *named, "batch_sizes.max=64")
    assert {c.seeds for c in again.candidates if c.is_finalist} == {int(named[0].split("=")[1])}
    further = [t for t in device.tasks[len(trained) :] if isinstance(t, Trial)]
    assert min(t.seed for t in further) > max(t.seed for t in trained if isinstance(t, Trial))
    assert not any("instead of trials.budget" in each for each in again.warnings)


def validated_on(tmp_path, samples, *overrides, kind=PretendDevice, **facts):
    """(samples that trials are validated on, warnings)"""
    device = kind(facts=inspected(validation_samples=samples, **facts))
    found = tune(tmp_path, device, *overrides)
    (asked,) = {task.validation_samples for task in device.tasks if isinstance(task, Trial)}
    return asked, " ".join(found.warnings)


def test_validation_takes_no_longer_than_training(tmp_path):
    asked, told = validated_on(tmp_path / "a", 2_000_000)
    assert asked in [2**k for k in range(13, 17)]
    assert f"validated on {asked:,} of 2,000,000 samples" in told
    more, _ = validated_on(tmp_path / "b", 2_000_000, "trials.budget=20min", "time_limit=2h")
    assert more == 4 * asked


class BoundByInput(PretendDevice):
    def _benchmark(self, task):
        found = super()._benchmark(task)
        return changed(found, input_windows=found.windows)


def test_validation_is_drawn_no_faster_than_what_training_waits_for(tmp_path):
    free, _ = validated_on(tmp_path / "a", 2_000_000)
    bound, _ = validated_on(tmp_path / "b", 2_000_000, kind=BoundByInput)
    assert bound < free


def test_validation_that_comes_in_batches_is_no_faster_than_at_the_users_own_size(tmp_path):
    """As they are built for it, whatever larger batches would gain."""
    free, _ = validated_on(tmp_path / "a", 2_000_000)
    built, _ = validated_on(tmp_path / "b", 2_000_000, validation_is_batched=True)
    assert built < free


def test_a_time_limit_that_is_named_is_enough_for_validation_too(tmp_path):
    device = PretendDevice(
        facts=inspected(validation_samples=50_000), step_seconds=lambda size: 0.01 + size / 10
    )
    with pytest.raises(UsageError) as refused:
        tune(tmp_path / "a", device, "trials.budget=2h", "time_limit=5min")
    named = re.search(r"--set (\S+\w)", refused.value.hint)[1]
    assert tune(tmp_path / "b", device, "trials.budget=2h", named).candidates


def test_where_the_time_limit_cuts_trials_a_run_that_goes_on_has_the_same(tmp_path):
    """However long its inspection takes, which is made at each start."""

    class Slow(PretendDevice):
        def run(self, task, **more):
            self.stopped_seconds = -1.5 if isinstance(task, Inspect) else 0.0  # so much longer
            return super().run(task, **more)

    settings = ("trials.budget=1h", "time_limit=4min")
    with session(tmp_path, PretendDevice(), settings, events=(told := [])) as opened:
        tuner.tune(opened)
    (trials,) = [e for e in told if isinstance(e, StageStarted) and e.stage == "trials"]
    assert trials.expected_seconds < 4 * 60
    again = Slow()
    found = tune(tmp_path, again, *settings)
    assert any("of training for trials, instead of" in warning for warning in found.warnings)
    assert not [task for task in again.tasks if isinstance(task, Trial)]


def test_where_the_time_limit_cuts_trials_what_fails_at_each_start_changes_none(tmp_path):
    """Failures are not kept, but measured anew, for a longer or shorter time."""

    class Failing(PretendDevice):
        def __init__(self, seconds):
            super().__init__()
            self.seconds = seconds

        def run(self, task, **more):
            is_failing = isinstance(task, Benchmark) and task.batch_size == 1
            self.stopped_seconds = -self.seconds if is_failing else 0.0  # so much longer
            return super().run(task, **more)

        def _benchmark(self, task):
            if task.batch_size > 1:
                return super()._benchmark(task)
            return UserCodeFailed(message="ValueError: too few", traceback="")

    settings = ("trials.budget=1h", "time_limit=4min")
    tune(tmp_path, Failing(0.0), *settings)
    again = Failing(1.5)
    tune(tmp_path, again, *settings)
    assert any(isinstance(task, Benchmark) for task in again.tasks)
    assert not [task for task in again.tasks if isinstance(task, Trial)]


def test_few_samples_for_validation_are_all_used(tmp_path):
    asked, told = validated_on(tmp_path, 5000)
    assert asked is None
    assert "validated on" not in told


def test_some_hundred_are_validated_on_however_slow_the_model(tmp_path):
    device = PretendDevice(
        facts=inspected(validation_samples=50_000), step_seconds=lambda size: 0.2 + size / 10
    )
    tune(tmp_path, device, "trials.budget=2h", "time_limit=5h")
    assert {t.validation_samples for t in device.tasks if isinstance(t, Trial)} == {256}


def test_an_answer_that_cannot_be_kept_is_given_all_the_same(tmp_path):
    (tmp_path / "recommendation.tmp").mkdir()
    events = []
    found = tune(tmp_path, PretendDevice(), events=events)
    assert found.reasons
    told = [event.text for event in events if isinstance(event, Note)]
    assert any("not kept in the run directory" in text for text in told)


@pytest.mark.parametrize(
    ("setting", "is_told"),
    [("baseline.learning_rate=0.02", True), ("baseline.batch_size=32", False)],
)
def test_the_batch_size_that_is_taken_for_the_users_is_told_before_and_after(
    tmp_path, setting, is_told
):
    events = []
    found = tune(tmp_path, PretendDevice(), setting, events=events)
    before = [event.text for event in events if isinstance(event, Note)]
    for told in (before, found.warnings):
        assert any("taken to be 32, Keras' own default" in each for each in told) == is_told


def test_what_the_users_own_training_is_given_is_told_before_and_after(tmp_path):
    training = "def main():\n    net.fit(x, y, batch_size=128, class_weight=weights)\n"
    (tmp_path / "train.py").write_text(training)
    target, events = changed(TARGET, folder=str(tmp_path)), []
    found = tune(
        tmp_path, PretendDevice(), "baseline.learning_rate=0.02", events=events, target=target
    )
    before = [event.text for event in events if isinstance(event, Note)]
    for told in (before, found.warnings):
        assert any("--set baseline.batch_size=128" in each for each in told)
        assert any("train.py, line 2, trains with class_weight" in each for each in told)


TRAINED_OTHERWISE = """
def build_model(): ...

if __name__ == "__main__":
    keras.mixed_precision.set_global_policy("mixed_float16")
    build_model().fit(x, y, batch_size=64, shuffle=False, validation_batch_size=512)
"""


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (tuner.probe, ["calls set_global_policy", "validation_batch_size=512"]),
        (
            tuner.benchmark,
            [
                *("baseline.batch_size=64", "calls set_global_policy"),
                *("shuffle=False", "validation_batch_size=512"),
            ],
        ),
    ],
)
def test_probe_and_benchmark_say_what_of_it_concerns_them(tmp_path, work, told):
    (tmp_path / "train.py").write_text(TRAINED_OTHERWISE)
    target, events = changed(TARGET, folder=str(tmp_path)), []
    with session(tmp_path, PretendDevice(), events=events, target=target) as opened:
        found = work(opened)
    before = [event.text for event in events if isinstance(event, Note)]
    for notes in (before[: len(told)], found.notes[-len(told) :]):
        assert all(words in note for words, note in zip(told, notes, strict=True)), notes


WEIGHTED = "model.fit(x, y, sample_weight=sample_weight, batch_size={size})"


@pytest.mark.parametrize(
    ("facts", "overrides", "told"),
    [
        ({}, [], ["a LearningRateScheduler", "sample_weight"]),
        ({}, ["callbacks=train.py:callbacks"], ["sample_weight"]),
        ({"fit_call": WEIGHTED}, [], ["a LearningRateScheduler"]),
        ({"data_kind": "dataset"}, [], ["a LearningRateScheduler"]),
    ],
)
def test_callbacks_and_weights_of_samples_are_told_where_they_are_not_measured(
    tmp_path, facts, overrides, told
):
    rates = "callbacks=[LearningRateScheduler(halved)]"
    (tmp_path / "train.py").write_text(f"def main(): net.fit(x, y, sample_weight=w, {rates})\n")
    target = changed(TARGET, folder=str(tmp_path))
    overrides = [*overrides, "baseline.batch_size=32"]
    with session(tmp_path, PretendDevice(), overrides, target=target) as opened:
        found = sorted(apart_from_theirs(opened, inspected(**facts)))
    assert [each.split("trains with ")[1].split(",")[0] for each in found] == told


def test_a_module_that_is_named_is_read_for_it_too_and_by_the_functions_that_are_its_own(tmp_path):
    policy = "def build_model():\n    keras.config.set_floatx('float16')\n"
    (tmp_path / "net.py").write_text(policy)
    (tmp_path / "net_data.py").write_text(f"{policy}def load_data(): ...\n")
    target, named = changed(TARGET, folder=str(tmp_path)), "net:build_model"
    overrides = [f"model={named}", "data=net_data:load_data"]
    with session(tmp_path, PretendDevice(), overrides, target=target) as opened:
        _, told = apart_from_theirs(opened, inspected())
    assert told.startswith("net_data.py, line 2, calls set_floatx")


def test_every_finalist_has_fresh_seeds_and_equal_training_time(tmp_path):
    device = PretendDevice()
    tune(tmp_path, device, "trials.seeds=4", "seed=7")
    trials = [task for task in device.tasks if isinstance(task, Trial)]
    assert {task.seed for task in trials if task.steps == trials[0].steps} == {7}
    finals = [task for task in trials if task.seed != 7]
    assert {task.seed for task in finals} == {8, 9, 10, 11}
    seconds = [task.steps * device.step_seconds(task.batch_size) for task in finals]
    assert max(seconds) - min(seconds) < 2 * device.step_seconds(4096)


def test_momentum_is_kept_and_what_that_means_is_told(tmp_path):
    facts = inspected(optimizer_settings={"momentum": 0.9})
    found = tune(tmp_path, PretendDevice(facts=facts))
    (told,) = [warning for warning in found.warnings if "Momentum" in warning]
    assert told.startswith("Momentum stays 0.9")
    assert f"over {found.batch_size / 32:.4g} times the samples" in told
    assert "momentum" not in found.snippet


def test_averages_for_a_much_smaller_batch_are_not_told_as_1(tmp_path):
    facts = inspected(
        optimizer="Adam",
        optimizer_settings={"beta_2": 0.9999},
        batch_norm_layers=1,
        batch_norm_momentum=0.999,
    )
    device = PretendDevice(
        facts=facts, step_seconds=lambda size: 1e-5 * size, critical_batch=1, best_rate=lambda _: 1
    )
    found = tune(tmp_path, device, "baseline.batch_size=2048", "batch_sizes.max=2048")
    kappa = found.batch_size / 2048
    assert kappa < 1 / 16
    (beta,) = re.findall(r"beta_2 = (.*)", found.snippet)
    (momentum,) = re.findall(r"momentum=(.*)\)", found.snippet)
    assert 1 - float(beta) == pytest.approx(1 - 0.9999**kappa, rel=0.005)
    assert 1 - float(momentum) == pytest.approx(1 - 0.999**kappa, rel=0.005)
    told = " ".join(found.warnings)
    assert f"beta_2 {beta}" in told
    assert f"momentum is {momentum} instead of 0.999." in told


def test_sharpness_is_that_of_the_finalists_where_it_is_asked_for(tmp_path):
    found = tune(tmp_path, PretendDevice(), "trials.sharpness=true")
    for candidate in found.candidates:
        asked = candidate.batch_size if candidate.is_finalist else None
        assert candidate.sharpness == asked
    assert any("Sharpness" in warning for warning in found.warnings)


def test_sharpness_that_was_asked_for_and_not_measured_says_why(tmp_path):
    class Unable(PretendDevice):
        def _trial(self, task):
            found = super()._trial(task)
            told = isinstance(found, Trained) and task.sharpness
            return changed(found, sharpness="it has no loss") if told else found

    found = tune(tmp_path / "a", Unable(), "trials.sharpness=true")
    (told,) = (warning for warning in found.warnings if "harpness" in warning)
    assert told == "Sharpness was not measured: it has no loss."
    assert not any("harpness" in each for each in tune(tmp_path / "b", Unable()).warnings)


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3, 4, 5)])
def test_sharpness_that_some_trials_have_not_is_told_beside_that_of_others(tmp_path, seeds):
    class Partly(PretendDevice):
        def _trial(self, task):
            found, own = super()._trial(task), (32, 0.01)
            missing = task.seed in seeds and (task.batch_size, task.learning_rate) == own
            return changed(found, sharpness="it is NaN") if missing else found

    found = tune(tmp_path, Partly(), "trials.sharpness=true")
    caveat, missing = (warning for warning in found.warnings if "harpness" in warning)
    assert "decided nothing" in caveat
    own = "your batch 32 with learning rate 0.01"
    assert missing == f"In trials of {own} sharpness was not measured: it is NaN."


def test_what_to_type_is_for_the_users_kind_of_data(tmp_path):
    found = tune(
        tmp_path, PretendDevice(facts=inspected(fit_call="model.fit(train.batch({size}))"))
    )
    assert found.snippet.endswith(f"model.fit(train.batch({found.batch_size}))")


def test_the_choice_is_verified_in_memory_at_its_very_size(tmp_path):
    device = PretendDevice()
    found = tune(tmp_path, device)
    verified = [t.batch_size for t in device.tasks if isinstance(t, Probe) and t.verify]
    assert found.batch_size in verified
    assert found.peak_bytes == MIB + 100_000 * found.batch_size


def greedy(device):
    """Whose steps hold what they are given, as with allocators that give nothing back."""
    fits = device._probe

    def ask(task):
        found = fits(task)
        held = int(0.95 * task.limit_bytes)
        return changed(found, peak_bytes=held) if isinstance(found, Fits) else found

    device._probe = ask
    return device


def test_the_choice_keeps_the_headroom_though_its_steps_would_take_what_there_is(tmp_path):
    found = tune(tmp_path, greedy(PretendDevice()))
    assert found.batch_size < found.probe.ceiling
    assert found.peak_bytes < 0.9 * found.probe.limit_bytes
    assert not any("leaves less than the headroom" in warning for warning in found.warnings)


def test_the_users_own_size_that_does_not_keep_the_headroom_is_verified_without(tmp_path):
    device = greedy(PretendDevice())
    fits, out = device._probe, OutOfMemory(evidence="OOM")
    device._probe = lambda task: (
        out if task.batch_size == 32 and task.verify and task.limit_bytes < LIMIT else fits(task)
    )
    found = tune(tmp_path, device, "trials.seeds=1")  # with which it stays
    assert (found.batch_size, found.peak_bytes) == (32, int(0.95 * LIMIT))
    assert found.probe.ceiling < 32
    assert any("Batch 32 is yours, and leaves less than" in warning for warning in found.warnings)


def test_probe_reports_what_fits_and_what_keeps_the_headroom(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    found = probe(tmp_path, device, limit_bytes=200 * MIB)
    truth = (200 * MIB - MIB) // 100_000
    assert truth * 0.99 - 1 <= found.largest_fitting <= truth
    assert found.ceiling_peak_bytes <= 0.9 * 200 * MIB
    assert found.ceiling >= 0.86 * found.largest_fitting
    assert all(point.limit_bytes <= 0.9 * 200 * MIB for point in found.probes[-1:])
    assert found.bounded_by == "memory"
    assert found.verified


# At which one sample takes more than nine tenths, two fit, and three do not.
TIGHT = 1_260_000


@pytest.mark.parametrize("facts", [inspected(), predictable()])
@pytest.mark.parametrize("exact", [False, True])
def test_what_fits_is_told_where_no_size_keeps_the_headroom(tmp_path, exact, facts):
    device = PretendDevice(fits_up_to=10**9, facts=facts)
    with session(tmp_path, device, limit_bytes=TIGHT) as opened:
        found = tuner.probe(opened, exact=exact)
    assert (found.largest_fitting, found.ceiling, found.ceiling_peak_bytes) == (2, 0, 0)
    assert (found.verified, found.bounded_by) == (True, "memory")
    (told,) = [note for note in found.notes if note.startswith("No size was found that keeps 10%")]
    assert "free. Even a batch of 1 does not: " in told


def test_code_that_fails_at_sizes_that_would_keep_the_headroom_loses_no_answer(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    fits, failure = device._probe, UserCodeFailed(message="ValueError: at least 4")
    device._probe = lambda task: fits(task) if task.batch_size >= 4 else failure
    found = probe(tmp_path, device, "baseline.batch_size=5", limit_bytes=TIGHT + 300_000)
    assert (found.largest_fitting, found.ceiling) == (5, 0)
    assert "No size was found that keeps 10% free. ValueError: at least 4" in found.notes


def test_workers_that_are_ended_say_nothing_of_the_headroom(tmp_path):
    device, killed = PretendDevice(fits_up_to=10**9), Crashed(signal=9, exit_code=None, log_tail="")
    fits = device._probe
    device._probe = lambda task: fits(task) if task.batch_size >= 4 else killed
    with pytest.raises(UserCodeError, match="was killed from outside twice"):
        probe(tmp_path, device, "baseline.batch_size=5", limit_bytes=TIGHT + 300_000)


@pytest.mark.parametrize("work", [tuner.tune, tuner.benchmark])
def test_where_no_size_keeps_the_headroom_none_is_gone_on_with(tmp_path, work):
    device = PretendDevice(fits_up_to=10**9)
    with (
        session(tmp_path, device, limit_bytes=TIGHT) as opened,
        pytest.raises(NothingFitsError, match=r"keeps 10% of 1.2 MiB free; .* is 2\.") as refused,
    ):
        work(opened)
    assert "device.headroom=0%" in refused.value.hint
    assert [type(known) for known in refused.value.so_far] == [ProbeResult]


def test_sizes_that_are_named_need_no_headroom(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    with session(tmp_path, device, ["benchmark.sizes=[1, 2]"], limit_bytes=TIGHT) as opened:
        assert [point.batch_size for point in tuner.benchmark(opened).points] == [1, 2]


def test_without_headroom_the_largest_is_gone_on_with(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    found = probe(tmp_path, device, "device.headroom=0%", limit_bytes=TIGHT)
    assert (found.largest_fitting, found.ceiling) == (2, 2)


@pytest.mark.parametrize("exact", [False, True])
def test_where_memory_is_known_ahead_two_probes_run_and_the_others_are_predicted(tmp_path, exact):
    device = PretendDevice(fits_up_to=10**9, facts=predictable())
    with session(tmp_path, device, limit_bytes=200 * MIB) as opened:
        found = tuner.probe(opened, exact=exact)
    truth, keeps = ((limit - MIB) // 100_000 for limit in (200 * MIB, 180 * MIB))
    ran = [point for point in found.probes if point.outcome == "fits"]
    assert [point.batch_size for point in ran] == [found.largest_fitting, found.ceiling]
    assert all(point.verify for point in ran)
    assert truth * (1 if exact else 0.99) - 1 < found.largest_fitting <= truth
    assert keeps * (1 if exact else 0.99) - 1 < found.ceiling <= keeps
    assert found.bounded_by == "memory"


def test_where_a_predicted_size_crashes_it_is_soon_told_that_none_trains(tmp_path):
    class Crashing(PretendDevice):
        def _probe(self, task):
            crash = Crashed(signal=11, exit_code=None, log_tail="")
            return super()._probe(task) if task.predict else crash

    device = Crashing(fits_up_to=10**9, facts=predictable())
    with pytest.raises(UserCodeError, match=r"Training with batch 1 does not work: crashed"):
        probe(tmp_path, device, limit_bytes=200 * MIB)
    assert sum(isinstance(task, Probe) and not task.predict for task in device.tasks) == 2


def test_a_size_that_needs_more_than_was_predicted_is_stepped_down_from(tmp_path):
    class Needier(PretendDevice):
        def _probe(self, task):
            found = super()._probe(task)
            if isinstance(found, Fits):
                if found.peak_bytes * 1.05 > task.limit_bytes:
                    return OverBudget(peak_bytes=int(found.peak_bytes * 1.05))
                return msgspec.structs.replace(found, peak_bytes=int(found.peak_bytes * 1.05))
            return found

    device = Needier(fits_up_to=10**9, facts=predictable())
    found = probe(tmp_path, device, limit_bytes=200 * MIB)
    truth = (200 * MIB / 1.05 - MIB) // 100_000
    assert truth * 0.98 <= found.largest_fitting <= truth
    assert found.ceiling_peak_bytes <= 0.9 * 200 * MIB
    assert "did not pass verification in 200.0 MiB" in found.notes[0]


@pytest.mark.parametrize("replicas", [2, 3])
def test_sizes_are_of_all_replicas_together_and_multiples_of_them(tmp_path, replicas):
    device = PretendDevice(fits_up_to=1000)
    shares = (
        f"device.replicas={replicas}",
        "baseline.batch_size=30",
        "recommend.effective_batch=4000",
    )
    found = tune(tmp_path, device, *shares)
    asked = [task.batch_size for task in device.tasks if hasattr(task, "batch_size")]
    assert all(size % replicas == 0 for size in asked)
    trials = [task for task in device.tasks if isinstance(task, Trial)]
    assert all(task.validation_batch_size % replicas == 0 for task in trials)
    assert {task.built_validation_size for task in trials} == {30}
    assert found.probe.largest_fitting % replicas == found.probe.ceiling % replicas == 0
    assert 0.99 * 1000 - replicas < found.probe.largest_fitting <= 1000
    assert found.per_replica_batch_size * replicas == found.batch_size
    assert found.effective_batch.batch_size % replicas == 0
    assert found.probe.replicas == found.benchmark.replicas == replicas


def test_a_verification_that_could_not_validate_is_told_of(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    fits = device._probe
    assert not any("validation" in note for note in probe(tmp_path / "with", device).notes)
    device._probe = lambda task: changed(fits(task), validated=False)
    (told,) = probe(tmp_path / "without", device).notes
    assert told.startswith("Verified without a validation pass")


def test_replicas_that_can_share_no_size_are_refused(tmp_path):
    shares = ("device.replicas=8", "batch_sizes.min=41", "batch_sizes.max=47")
    with pytest.raises(UsageError, match="8 replicas cannot share any batch of 41 to 47"):
        probe(tmp_path, PretendDevice(), *shares)


def test_probe_bounded_by_the_samples_says_so_and_costs_little(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    found = probe(tmp_path, device)
    assert (found.largest_fitting, found.ceiling, found.bounded_by) == (4096, 4096, "samples")
    assert len(found.probes) <= 4


def of_plenty_of_memory(fits_up_to):
    """Steps of what fits would take long."""
    device = PretendDevice(
        fits_up_to=fits_up_to,
        step_seconds=lambda size: 0.01 + size * 0.001,
        facts=inspected(train_samples=10**6),
    )
    ask = device._probe

    def in_steps_as_benchmarked(task):
        found = ask(task)
        if not isinstance(found, Fits):
            return found
        return changed(found, step_seconds=device.step_seconds(task.batch_size))

    device._probe = in_steps_as_benchmarked
    return device


@pytest.mark.parametrize("groups_of", [1, 16])
def test_a_recommendation_looks_no_further_than_trials_go(tmp_path, groups_of):
    device = failing_where(of_plenty_of_memory(10**6), lambda size: size % groups_of)
    with session(tmp_path, device, limit_bytes=10**12) as opened:
        found = tuner.tune(opened)
    assert found.probe.bounded_by == "trials"
    assert found.probe.name_of_largest == "largest that was probed"
    # A first trial has some 4 s: 20 steps of 190 samples.
    assert found.probe.largest_fitting == 128
    assert max(sizes(device, Probe)) < 200
    assert not any("Not tried" in warning for warning in found.warnings)
    assert any("the length of trials" in reason for reason in found.reasons)
    assert probe(tmp_path, device, limit_bytes=10**12).largest_fitting > 10**4


def test_of_sizes_that_are_too_slow_none_takes_the_place_of_another(tmp_path):
    device = PretendDevice(step_seconds=lambda size: 0.01 + size * 0.001, critical_batch=5000.0)
    found = tune(tmp_path, device)
    tried = {task.batch_size for task in device.tasks if isinstance(task, Trial)}
    assert len(tried) == 5
    assert max(tried) == 128
    told = next(warning for warning in found.warnings if "fewer than 20 updates" in warning)
    assert told.startswith("Not tried, since")
    assert "batch 256, 512, " in told


@pytest.mark.parametrize(
    "more",
    [
        ["recommend.effective_batch=4096"],
        ["recommend.replicas=[1, 2]"],
        ["benchmark.sizes=[32, 64, 1000]"],
    ],
)
def test_sizes_that_are_asked_for_are_looked_at_however_slow(tmp_path, more):
    device = of_plenty_of_memory(20_000)
    with session(tmp_path, device, more, limit_bytes=10**12) as opened:
        assert tuner.tune(opened).probe.bounded_by != "trials"


def test_probe_bounded_by_the_recipe_says_so(tmp_path):
    found = probe(tmp_path, PretendDevice(fits_up_to=10**9), "batch_sizes.max=100")
    assert (found.largest_fitting, found.bounded_by) == (100, "range")


def test_a_size_that_fails_verification_is_stepped_down_from(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    fits = device._probe(Probe(batch_size=32, limit_bytes=LIMIT))
    device.answers = {(Probe, 32): [fits, OutOfMemory(evidence="in validation")]}
    found = probe(tmp_path, device, "batch_sizes.max=32")
    assert found.largest_fitting == 31
    assert "32 did not pass verification" in found.notes[0]


@pytest.mark.parametrize("fails_from", [64, 1])
def test_code_that_fails_in_verification_alone_bounds_it_where_a_smaller_size_passes(
    tmp_path, fails_from
):
    device = PretendDevice(fits_up_to=10**9)
    fits = device._probe
    failed = UserCodeFailed(message="ValueError: so many are not validated", traceback="")

    def probe_of(task):
        return failed if task.verify and task.batch_size >= fails_from else fits(task)

    device._probe = probe_of
    if fails_from == 1:
        with pytest.raises(UserCodeError, match="so many are not validated"):
            probe(tmp_path, device, "batch_sizes.max=256")
        return
    found = probe(tmp_path, device, "batch_sizes.max=256")
    assert 60 <= found.largest_fitting < 64
    assert found.bounded_by == "failure"
    assert any("so many are not validated" in note for note in found.notes)


def test_where_the_line_shows_the_way_the_answer_alone_is_verified(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    found = probe(tmp_path, device, limit_bytes=200 * MIB)
    tried = [(point.batch_size, point.verify) for point in found.probes]
    assert tried[:4] == [(32, False), (1576, False), (2081, False), (2091, False)]
    assert tried[4:6] == [(2071, True), (2071, True)]  # off the edge, in two processes
    assert "2081 trained too, at the very edge; 2071" in found.notes[0]


def test_sizes_near_the_edge_are_verified_at_once(tmp_path):
    found = probe(tmp_path, PretendDevice(fits_up_to=1000), limit_bytes=10**10)
    verified = [point.batch_size for point in found.probes if point.verify]
    assert len(verified) >= 5
    assert all(900 < size < 1250 for size in verified)
    assert found.largest_fitting == 995


def test_a_size_that_trains_in_one_process_of_two_is_not_the_answer(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    fits = device._probe
    out = OutOfMemory(evidence="laid out less luckily")
    device._probe = lambda task: out if task.repeat and task.batch_size > 1900 else fits(task)
    found = probe(tmp_path, device, limit_bytes=200 * MIB)
    assert 1880 < found.largest_fitting <= 1900
    assert "did not pass verification" in found.notes[0]
    assert not any("at the very edge" in note for note in found.notes)  # that failed
    assert sum("did not pass" in note for note in found.notes) == 1


def test_where_processes_were_seen_to_differ_a_third_is_asked(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    fits = device._probe
    out = OutOfMemory(evidence="laid out less luckily")
    bounds = {0: 10**9, 1: 1900, 2: 1850}  # that the first, the second and the third process allow
    device._probe = lambda task: out if task.batch_size > bounds[task.repeat] else fits(task)
    found = probe(tmp_path, device, limit_bytes=200 * MIB)
    assert 1830 < found.largest_fitting <= 1850
    steady = PretendDevice(fits_up_to=10**9)
    probe(tmp_path / "steady", steady, limit_bytes=200 * MIB)
    assert max(task.repeat for task in steady.tasks if isinstance(task, Probe)) == 1


def test_an_exact_search_looks_at_the_next_size_where_a_confirmation_fails(tmp_path):
    device = PretendDevice(fits_up_to=1000)
    fits = device._probe
    out = OutOfMemory(evidence="laid out less luckily")
    device._probe = lambda task: out if task.repeat and task.batch_size == 1000 else fits(task)
    with session(tmp_path, device, (), limit_bytes=10**10) as opened:
        found = tuner.probe(opened, exact=True)
    assert found.largest_fitting == 999
    assert found.notes[-1].startswith("Memory is uneven: 1000 trained in one process, 1000 did not")


@pytest.mark.parametrize(("replicas", "limit", "answer"), [(8, 200, 200), (4, 1000, 996)])
def test_the_step_off_the_edge_is_a_whole_number_of_shares(tmp_path, replicas, limit, answer):
    device = PretendDevice(fits_up_to=limit)
    found = probe(tmp_path, device, f"device.replicas={replicas}", limit_bytes=10**10)
    assert found.largest_fitting == answer


def on_a_machine_for(size, evidence="the kernel's out-of-memory killer ended it"):
    device = PretendDevice(fits_up_to=10**9)
    fits = device._probe
    out = OutOfMemory(evidence=evidence, host_memory=True)
    device._probe = lambda task: out if task.batch_size > size else fits(task)
    return device


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("settings", "leaves"), [((), 0.9), (("device.headroom=25%",), 0.75)])
def test_the_machines_memory_may_be_what_bounds_it(tmp_path, settings, leaves, exact):
    with session(tmp_path, on_a_machine_for(600), settings, limit_bytes=10**10) as opened:
        found = tuner.probe(opened, exact=exact)
    assert found.bounded_by == "host_memory"
    assert 590 <= found.largest_fitting <= 600
    assert found.ceiling == int(found.largest_fitting * leaves)
    verified = [point.batch_size for point in found.probes if point.verify]
    assert found.verified and {found.largest_fitting, found.ceiling} <= set(verified)
    told = f"of {found.largest_fitting} samples at most {found.ceiling} are taken to keep"
    assert any(told in note for note in found.notes)


def test_of_the_machines_memory_too_no_headroom_may_be_kept(tmp_path):
    found = probe(tmp_path, on_a_machine_for(600), "device.headroom=0%", limit_bytes=10**10)
    assert found.ceiling == found.largest_fitting
    assert not any("samples at most" in note for note in found.notes)


def test_replicas_share_what_keeps_the_headroom_of_the_machines_memory(tmp_path):
    found = probe(tmp_path, on_a_machine_for(600), "device.replicas=8", limit_bytes=10**10)
    assert (found.largest_fitting, found.ceiling) == (600, 536)


def test_where_the_machine_has_memory_for_the_smallest_size_alone_none_keeps_the_headroom(tmp_path):
    found = probe(tmp_path, on_a_machine_for(1), limit_bytes=10**10)
    assert (found.largest_fitting, found.ceiling) == (1, 0)
    assert any("keeps 10% free. Memory of the machine bounds" in note for note in found.notes)


NO_SHARED = "RuntimeError: unable to allocate shared memory(shm) for file </torch_1>: No space"


def test_where_shared_memory_bounds_it_it_is_said_how_to_have_more(tmp_path):
    found = probe(tmp_path, on_a_machine_for(600, NO_SHARED), limit_bytes=10**10)
    assert sum("docker run --shm-size=2g" in note for note in found.notes) == 1


@pytest.mark.parametrize(("size", "work"), [(0, tuner.probe), (1, tuner.benchmark)])
def test_so_it_is_where_there_is_too_little_for_an_answer(tmp_path, size, work):
    device = on_a_machine_for(size, NO_SHARED)
    with (
        session(tmp_path, device, limit_bytes=10**10) as opened,
        pytest.raises(NothingFitsError) as refused,
    ):
        work(opened)
    assert "docker run --shm-size=2g" in refused.value.hint


def test_nothing_fits_is_the_answer_not_a_default(tmp_path):
    with pytest.raises(
        NothingFitsError, match=r"Even a batch of 1 does not: it runs out of memory \(OOM when"
    ):
        probe(tmp_path, PretendDevice(fits_up_to=0))


def test_nothing_fits_names_what_it_needs_where_more_memory_is_free(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    recipe = make_recipe({"model": "train.py:build_model", "data": "train.py:load_data"}, ())
    with Record(tmp_path, TARGET, free_bytes=LIMIT, version="0") as record:
        opened = Session(recipe, device, record, lambda _: None, limit_bytes=MIB)
        with pytest.raises(NothingFitsError, match=r"peaks at 1.1 MiB, and may use 1.0 MiB"):
            tuner.probe(opened)


def test_nothing_fits_names_the_peak_where_it_is_known_by_compiling(tmp_path):
    device = PretendDevice(facts=predictable())
    device._probe = lambda task: OverBudget(peak_bytes=2 * LIMIT)
    with pytest.raises(NothingFitsError, match=r"it peaks at 2.0 GiB, and may use 1.0 GiB"):
        probe(tmp_path, device)


@pytest.mark.parametrize("kind", [Inspect, Probe])
def test_of_the_machines_memory_nothing_is_said_that_helps_a_gpu_alone(tmp_path, kind):
    out = OutOfMemory(evidence="the kernel's out-of-memory killer ended it", host_memory=True)
    device = PretendDevice()
    setattr(device, f"_{kind.__name__.lower()}", lambda task: out)
    recipe = make_recipe({"model": "train.py:build_model", "data": "train.py:load_data"}, ())
    with Record(tmp_path, changed(TARGET, device="gpu"), free_bytes=LIMIT, version="0") as record:
        opened = Session(recipe, device, record, lambda _: None, limit_bytes=LIMIT)
        with pytest.raises(NothingFitsError, match="the kernel's out-of-memory killer") as refused:
            tuner.probe(opened)
    assert "use fewer workers" in refused.value.hint
    assert "memory_limit" not in refused.value.hint


@pytest.mark.parametrize("work", [tuner.probe, tuner.benchmark])  # nothing fits; no size keeps
@pytest.mark.parametrize(
    ("device", "free_bytes", "told", "untold"),
    [
        ("cpu", TIGHT, "Free memory of the machine and start with --fresh, make", "memory_limit"),
        ("gpu", TIGHT, "GPU (`autobatch doctor` says who holds it) and start", "memory_limit"),
        ("cpu", 2 * TIGHT, "Raise device.memory_limit, make the model", "--fresh"),
    ],
)
def test_a_higher_limit_is_advised_only_where_more_is_free(
    tmp_path, work, device, free_bytes, told, untold
):
    pretend = PretendDevice(fits_up_to=0 if work is tuner.probe else 10**9)
    recipe = make_recipe({"model": "train.py:build_model", "data": "train.py:load_data"}, ())
    target = changed(TARGET, device=device)
    with Record(tmp_path, target, free_bytes=free_bytes, version="0") as record:
        opened = Session(recipe, pretend, record, lambda _: None, limit_bytes=TIGHT)
        with pytest.raises(NothingFitsError) as refused:
            work(opened)
    assert told in refused.value.hint
    assert untold not in refused.value.hint


def test_nothing_fits_says_how_to_have_what_is_free_now(tmp_path):
    for more in (False, True):
        with session(tmp_path / str(more), PretendDevice(fits_up_to=0)) as opened:
            opened.more_is_free = more
            with pytest.raises(NothingFitsError) as refused:
                tuner.probe(opened)
        assert ("--fresh measures anew" in refused.value.hint) == more


def test_a_leak_is_told_with_when_it_ends_the_training(tmp_path):
    leaking = Fits(
        peak_bytes=LIMIT // 2,
        least_peak_bytes=LIMIT // 2,
        full_steps=12,
        steps=18,
        step_seconds=0.1,
        leak_bytes_per_step=MIB,
    )
    device = PretendDevice(fits_up_to=10**9, answers={(Probe, 4096): [leaking, leaking]})
    found = probe(tmp_path, device)
    assert any("Memory leaks" in note and "after some 512 more" in note for note in found.notes)


@pytest.mark.parametrize(
    ("of_device", "told"), [(0, "Memory of the machine leaks"), (MIB, "Memory leaks")]
)
def test_a_leak_of_the_machine_is_told_where_it_is_not_that_of_the_device(
    tmp_path, of_device, told
):
    leaking = Fits(
        peak_bytes=MIB,
        least_peak_bytes=MIB,
        full_steps=40,
        steps=60,
        step_seconds=0.1,
        leak_bytes_per_step=of_device,
        host_leak_bytes_per_step=1024 * MIB,
    )
    device = PretendDevice(fits_up_to=10**9, answers={(Probe, 4096): [leaking, leaking]})
    notes = [note for note in probe(tmp_path, device).notes if "leaks" in note]
    assert len(notes) == 1 and notes[0].startswith(told)


def test_a_range_above_the_number_of_samples_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"batch_sizes.min is 5000, but there are 4096"):
        probe(tmp_path, PretendDevice(), "batch_sizes.min=5000")


def test_a_second_start_measures_nothing_again(tmp_path):
    first = tune(tmp_path, PretendDevice())
    record = tmp_path / FILE_NAME
    begun = first.environment["measured"]
    record.write_text(record.read_text().replace(f'"created":"{begun}', '"created":"2020-02-02'))
    again = PretendDevice()
    events = []
    second = tune(tmp_path, again, events=events)
    assert second.environment["measured"] == "2020-02-02"
    assert [type(task) for task in again.tasks] == [Inspect]
    assert all(e.reused for e in events if isinstance(e, JobFinished) and e.stage != "inspect")
    assert (second.batch_size, second.speedup) == (first.batch_size, first.speedup)


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    device = PretendDevice(answers={(Benchmark, 256): [KeyboardInterrupt()]})
    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path, device)
    measured = {msgspec.json.encode(task) for task in device.tasks[:-1]}
    again = PretendDevice()
    resumed = tune(tmp_path, again)
    asked = {msgspec.json.encode(task) for task in again.tasks if not isinstance(task, Inspect)}
    assert not measured & asked
    undisturbed = tune(tmp_path / "other", PretendDevice())
    assert (resumed.batch_size, resumed.speedup) == (undisturbed.batch_size, undisturbed.speedup)


def killed(number=signal.SIGKILL):
    return Crashed(signal=number, exit_code=None, log_tail="")


NO_PROCESS = Crashed(signal=None, exit_code=None, log_tail="no room", never_started=True)


@pytest.mark.parametrize("first", [killed(), NO_PROCESS])
def test_a_worker_killed_from_outside_or_not_started_is_tried_once_more(tmp_path, first):
    device = PretendDevice(answers={(Probe, 32): [first], (Benchmark, 64): [first]})
    found = tune(tmp_path, device)
    assert sizes(device, Probe).count(32) == 2
    assert 64 in {point.batch_size for point in found.benchmark.points}


@pytest.mark.parametrize(
    ("last", "told"),
    [(killed(), "killed from outside twice"), (NO_PROCESS, "failed to start twice .no room")],
)
def test_a_second_time_it_ends_the_run_and_is_not_called_memory(tmp_path, last, told):
    device = PretendDevice(answers={(Probe, 32): [killed(), last]})
    with pytest.raises(UserCodeError, match=told) as ended:
        probe(tmp_path, device)
    assert "--set device.memory_limit=" in ended.value.hint  # earlyoom may be who ends them


def test_one_failing_size_never_loses_the_others(tmp_path):
    device = PretendDevice(answers={(Benchmark, 64): [killed(signal.SIGSEGV)]})
    with session(tmp_path, device) as opened:
        found = tuner.benchmark(opened)
    assert 64 not in {point.batch_size for point in found.points}
    assert found.skipped == ("64: crashed (SIGSEGV)",)
    assert len(found.points) >= 8


def test_a_size_that_runs_out_of_memory_after_its_probe_lowers_the_ceiling(tmp_path):
    device = PretendDevice(answers={(Benchmark, 2048): [OutOfMemory(evidence="OOM")]})
    found = tune(tmp_path, device)
    assert found.benchmark.ceiling == 1024
    assert "ceiling is lowered to 1024" in found.benchmark.notes[0]
    assert (found.probe.ceiling, found.probe.verified) == (1024, False)
    assert max(sizes(device, Trial)) <= 1024


def test_what_is_larger_than_a_size_without_memory_is_not_recommended(tmp_path):
    device = PretendDevice(answers={(Benchmark, 512): [OutOfMemory(evidence="OOM")]})
    with session(tmp_path, device) as opened:
        found = tuner.benchmark(opened)
    above = [p.batch_size for p in found.points if found.is_above_ceiling(p.batch_size)]
    assert (found.ceiling, above[:2]) == (256, [1024, 2048])  # measured, and told
    assert (found.best, found.knee) == (256, 256)


def test_sizes_that_all_run_out_of_memory_when_timed_do_not_fit(tmp_path):
    ran_out = {(Benchmark, size): [OutOfMemory(evidence="OOM")] for size in (32, 64)}
    told = "32: out of memory; 64: out of memory"
    with (
        session(tmp_path, PretendDevice(answers=ran_out), ["benchmark.sizes=[64]"]) as opened,
        pytest.raises(NothingFitsError, match=told) as refused,
    ):
        tuner.benchmark(opened)
    assert str(refused.value.hint).startswith("Name smaller sizes.")


def test_where_the_smallest_runs_out_of_memory_no_other_is_recommended(tmp_path):
    class RunningOut(PretendDevice):
        def _benchmark(self, task):
            ran_out = task.batch_size == 256 and task.repeat > 0
            return OutOfMemory(evidence="OOM") if ran_out else super()._benchmark(task)

    asked = ["baseline.batch_size=256", "benchmark.sizes=[256, 512]"]
    with session(tmp_path / "timed", RunningOut(), asked) as opened:
        found = tuner.benchmark(opened)
    assert [point.batch_size for point in found.points] == [512]
    assert found.is_above_ceiling(512)
    with pytest.raises(NothingFitsError, match="256 again: out of memory"):
        tune(tmp_path / "tuned", RunningOut(), *asked)


def test_what_stands_for_a_baseline_without_memory_is_below_the_ceiling(tmp_path):
    device = PretendDevice(answers={(Benchmark, 500): [OutOfMemory(evidence="OOM")]})
    found = tune(tmp_path, device, "baseline.batch_size=500")
    assert (found.baseline.batch_size, found.baseline.instead_of) == (256, 500)
    assert max(sizes(device, Trial)) <= 256
    assert not re.search(r"your (batch|setting)|yours", " ".join(found.reasons))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (["benchmark.sizes=[5000]"], r"\(5000: there are 4096 training samples\)"),
        (["benchmark.sizes=[128]", "batch_sizes.max=64"], r"\(128: above batch_sizes.max \(64\)\)"),
    ],
)
def test_sizes_that_cannot_be_measured_are_refused_with_the_reason(tmp_path, settings, why):
    """Not answered with the user's own size, which is measured beside those they name."""
    with (
        session(tmp_path, PretendDevice(), settings) as opened,
        pytest.raises(UsageError, match=why),
    ):
        tuner.benchmark(opened)


def test_where_sizes_are_named_no_larger_one_is_probed(tmp_path):
    device = PretendDevice()
    with session(tmp_path, device, ["benchmark.sizes=[16, 48]"]) as opened:
        found = tuner.benchmark(opened)
    assert [point.batch_size for point in found.points] == [16, 32, 48]
    assert max(sizes(device, Probe)) == 48
    assert len(sizes(device, Probe)) <= 4


def test_the_largest_of_the_sizes_named_is_not_called_the_largest_that_fits(tmp_path):
    events = []
    with session(tmp_path, PretendDevice(), ["benchmark.sizes=[16, 48]"], events=events) as opened:
        tuner.benchmark(opened)
    told = next(e.answer for e in events if isinstance(e, StageFinished) and e.stage == "probe")
    assert told.startswith("48 fits, the largest to be measured; peak ")


def test_what_takes_long_to_be_ready_is_waited_for(tmp_path):
    with session(tmp_path, PretendDevice()) as opened:
        quick = opened.deadline_of_work(3)
        opened.job_seconds = 200.0
        assert opened.deadline_of_work(3) == quick + 2000 - 300


def test_a_size_that_was_not_probed_has_the_time_for_steps_of_the_next_larger(tmp_path):
    with session(tmp_path, PretendDevice()) as opened:
        opened.step_seconds = {32: 1.0, 1000: 60.0}
        at_least = opened.deadline_of_work(3)
        assert opened.deadline_of_work(3, 512) == opened.deadline_of_work(3, 1000)
        assert opened.deadline_of_work(3, 16) == opened.deadline_of_work(3, 32)
        assert at_least < opened.deadline_of_work(3, 32) < opened.deadline_of_work(3, 512)
        assert opened.deadline_of_work(3, 2000) == at_least


def test_the_time_told_for_a_benchmark_is_that_of_its_steps_and_is_corrected(tmp_path):
    class Slow(PretendDevice):
        def _probe(self, task):
            return changed(super()._probe(task), step_seconds=task.batch_size / 16)

    events = []
    device = Slow(step_seconds=lambda size: size / 16)
    with session(tmp_path, device, ["benchmark.sizes=[64]"], events=events) as opened:
        tuner.benchmark(opened)
    begun = events.index(next(e for e in events if getattr(e, "stage", "") == "benchmark"))
    # Two sizes in three processes of six steps, and three more in the first: of 2 s, and of 4 s.
    assert events[begun].expected_seconds == pytest.approx(21 * (2 + 4) + 6 * opened.job_seconds)
    told = [event for event in events[begun:] if isinstance(event, StageExpects)]
    assert [event.jobs_left for event in told] == [5, 4, 3, 2, 1, 0]
    assert told[0].seconds_left > 21 * 4 > 1 > told[1].seconds_left  # pretended, they took no time


def test_epochs_longer_than_what_is_measured_are_told_of(tmp_path):
    class InsideEpochs(PretendDevice):
        def _benchmark(self, task):
            return changed(super()._benchmark(task), whole_epochs=False)

    with session(tmp_path, InsideEpochs(), ["benchmark.sizes=[64]"]) as opened:
        notes = tuner.benchmark(opened).notes
    assert any(note.startswith("Epochs of batch 32, 64 are longer") for note in notes)


def test_a_size_that_no_trial_can_use_is_measured_once(tmp_path):
    """Of 6 s in a first trial, a step of 4096 samples takes 2 s: no 20 updates."""
    device = PretendDevice(step_seconds=lambda size: 0.001 + 5e-4 * size)
    found = tune(tmp_path, device)
    asked = Counter(task.batch_size for task in device.tasks if isinstance(task, Benchmark))
    tried = {candidate.batch_size for candidate in found.candidates}
    once = {size for size, times in asked.items() if times == 1}
    assert once and not once & tried
    assert min(once) > max(tried)
    assert {asked[size] for size in tried} == {2}


def test_sizes_are_measured_again_backwards_and_a_machine_that_changed_is_told(tmp_path):
    class Slowed(PretendDevice):
        def _benchmark(self, task):
            slower = PretendDevice(step_seconds=lambda size: 0.002 + 2e-5 * size)
            return slower._benchmark(task) if task.repeat else super()._benchmark(task)

    device = Slowed()
    with session(tmp_path, device) as opened:
        found = tuner.benchmark(opened)
    order = sizes(device, Benchmark)[: 2 * len(found.points)]
    assert order == order[::-1]
    assert found.drift == pytest.approx(-0.5, abs=0.02)
    assert "50% slower" in found.notes[0]
    assert all(point.low < 0.75 * point.samples_per_second for point in found.points)


def test_steps_per_execution_is_tried_where_overhead_binds_and_recommended_where_faster(tmp_path):
    device = PretendDevice(step_seconds=lambda size: 0.05)
    with session(tmp_path, device, ["batch_sizes.max=64"]) as opened:
        found = tuner.benchmark(opened)
    assert found.bound_by == "step_overhead"
    assert [each.steps_per_execution for each in found.executions] == [4, 16, 64]
    assert found.steps_per_execution is None  # the pretend device is no faster for it
    assert all("nothing certain" in point.advice for point in found.points)


def test_no_execution_of_several_steps_is_tried_where_they_are_not_heeded(tmp_path):
    facts = inspected(abilities=Abilities(executes_several_steps=False))
    device = PretendDevice(step_seconds=lambda size: 0.05, facts=facts)
    with session(tmp_path, device, ["batch_sizes.max=64"]) as opened:
        assert tuner.benchmark(opened).executions == ()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_every_second_size_is_measured_where_each_process_compiles_its_own(tmp_path, jit_compile):
    facts = inspected(abilities=Abilities(compiles_anew=True), jit_compile=jit_compile)
    device = PretendDevice(fits_up_to=128, facts=facts)
    with session(tmp_path, device, ["baseline.batch_size=32"]) as opened:
        found = tuner.benchmark(opened)
    measured = [point.batch_size for point in found.points]
    assert measured == ([1, 4, 16, 32, 64, 128] if jit_compile else [2**k for k in range(8)])


def test_an_execution_of_more_steps_that_pays_is_recommended_and_its_cost_told(tmp_path):
    class Launching(PretendDevice):
        def _benchmark(self, task):
            self.step_seconds = lambda _: 0.001 + 0.05 / min(task.steps_per_execution or 1, 16)
            return super()._benchmark(task)

    events = []
    with session(tmp_path, Launching(), ["batch_sizes.max=64"], events=events) as opened:
        found = tuner.benchmark(opened)
    assert found.steps_per_execution == 16  # 64 are as fast, and callbacks are called less often
    gain = (0.001 + 0.05) / (0.001 + 0.05 / 16)
    assert all(f"{gain:.1f}x as many" in point.advice for point in found.points)
    told = [event.jobs_left for event in events if isinstance(event, StageExpects)]
    assert told[-3:] == [3, 2, 1]


def test_sizes_whose_resident_batch_could_not_be_trained_on_are_told_of_once(tmp_path):
    class Leaking(PretendDevice):
        def _benchmark(self, task):
            return changed(super()._benchmark(task), device_windows=())

    settings = ["benchmark.sizes=[16, 64]", "baseline.batch_size=32"]
    with session(tmp_path, Leaking(), settings) as opened:
        notes = tuner.benchmark(opened).notes
    told = "What holds batch 16, 32, 64 back is not known for certain"
    assert [note.startswith(told) for note in notes] == [True]


def test_rates_that_differ_much_between_processes_are_told_of_however_few_sizes(tmp_path):
    class Contended(PretendDevice):
        def _benchmark(self, task):
            found, slow = super()._benchmark(task), 2.0 if task.repeat == 1 else 1.0
            windows = tuple(changed(each, seconds=each.seconds * slow) for each in found.windows)
            return changed(found, windows=windows)

    for device, times in ((PretendDevice(), 0), (Contended(), 1)):
        with session(tmp_path / str(times), device, ["benchmark.sizes=[32]"]) as opened:
            notes = tuner.benchmark(opened).notes
        assert sum("differ much from one process to the next" in note for note in notes) == times


def test_a_size_left_out_since_the_users_code_fails_there_says_so(tmp_path):
    failure = UserCodeFailed(message="At batch 128: ValueError: 128 is unlucky")
    answers = {(Probe, size): [failure] * 3 for size in range(65, 129)}
    device = PretendDevice(answers=answers)
    with session(tmp_path, device, ["benchmark.sizes=[64, 128]"]) as opened:
        (told,) = tuner.benchmark(opened).skipped
    assert told.startswith("128: above the largest that fits (64). Batch ")
    assert "128 is unlucky" in told


def test_epochs_too_long_to_see_begin_are_told_of_where_the_pipeline_begins_slowly(tmp_path):
    class InLongEpochs(PretendDevice):
        starts = 0.0

        def _benchmark(self, task):
            found = super()._benchmark(task)
            return changed(found, whole_epochs=False, input_start_seconds=self.starts)

    device = InLongEpochs()
    settings = ["benchmark.sizes=[32]", "baseline.batch_size=32"]
    with session(tmp_path / "quick", device, settings) as opened:
        quick = tuner.benchmark(opened)
    device.starts = 1.0
    with session(tmp_path / "slow", device, settings) as opened:
        slow = tuner.benchmark(opened)
    assert quick.notes == ()
    assert "the input pipeline alone takes 1.0 s" in slow.notes[0]
    assert slow.points[0].epoch_seconds == pytest.approx(quick.points[0].epoch_seconds + 1)


def test_a_trial_that_crashes_drops_its_candidate_alone(tmp_path):
    device = PretendDevice()
    device.answers = {(Trial, 256): [killed(signal.SIGSEGV)]}
    assert tune(tmp_path, device).verdict == "better"


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (TargetMissing(message="train.py has no build_model", hint="…"), RecipeError),
        (UserCodeFailed(message="ValueError: no"), UserCodeError),
    ],
)
def test_what_the_user_must_mend_ends_the_run_with_their_message(tmp_path, outcome, error):
    with pytest.raises(error, match=outcome.message.split(":")[0]):
        tune(tmp_path, PretendDevice(answers={(Inspect, 32): [outcome]}))


def test_a_model_that_runs_out_of_memory_before_it_trains_fits_nothing(tmp_path):
    out = OutOfMemory(evidence="its resident memory reached 9.0 GiB", host_memory=True)
    device = PretendDevice(answers={(Inspect, size): [out] for size in (32, 8, 2, 1)})
    with pytest.raises(NothingFitsError, match=r"anything trains, with batch 1 .* 9\.0 GiB"):
        probe(tmp_path, device)
    assert probe(tmp_path, PretendDevice()).largest_fitting  # there is more memory now
    device = PretendDevice(answers={(Inspect, 32): [out]})
    with pytest.raises(NothingFitsError, match="with batch 32"):  # and now less again
        probe(tmp_path, device)
    assert sizes(device, Inspect) == [32]


def test_a_model_with_memory_for_few_samples_alone_is_inspected_with_so_few(tmp_path):
    out, events = OutOfMemory(evidence="OOM when allocating tensor"), []
    device = PretendDevice(fits_up_to=3, answers={(Inspect, size): [out, out] for size in (32, 8)})
    assert probe(tmp_path, device, events=events).largest_fitting == 3
    assert any("is from batch 2." in event.text for event in events if isinstance(event, Note))
    assert probe(tmp_path, device).largest_fitting == 3
    assert sizes(device, Inspect) == [32, 8, 2, 2, 32, 8]  # the second time, first as before
    device = PretendDevice(facts=inspected(data_fingerprint="x"))
    with pytest.raises(WrongRunDirectoryError, match="the data has changed"):
        probe(tmp_path, device)


def test_where_memory_is_enough_for_fewer_than_the_model_takes_nothing_fits(tmp_path):
    answers = {
        (Inspect, 32): [OutOfMemory(evidence="OOM when allocating tensor")],
        (Inspect, 8): [UserCodeFailed(message="ValueError: at least 16")],
    }
    with pytest.raises(NothingFitsError, match=r"with batch 32 .* OOM when"):
        probe(tmp_path, PretendDevice(answers=answers))


@pytest.mark.parametrize(("limit", "deadline"), [("1s", 60), ("5min", 300), ("1h", 600)])
def test_a_hang_is_not_waited_for_beyond_the_time_limit(tmp_path, limit, deadline):
    device = PretendDevice()
    probe(tmp_path, device, f"time_limit={limit}")
    inspection, *others = device.deadlines
    assert deadline - 30 < max(others) <= deadline  # by as much later as the test may be slow
    most = 1800 if limit == "1h" else deadline  # half of the limit, to load and look at the data
    assert most - 30 < inspection <= most


def test_a_hang_is_waited_for_by_what_probes_took_before(tmp_path):
    """Ten steps of 10 ms at batch 32, and so of 1.3 s at 4096, take ten times 13 s at most."""
    device = PretendDevice(fits_up_to=10_000)
    probe(tmp_path, device)
    waited = {
        task.batch_size: seconds
        for task, seconds in zip(device.tasks, device.deadlines, strict=True)
        if isinstance(task, Probe) and not task.verify
    }
    assert waited[32] == 600  # nothing is known by then
    assert 100 < max(s for size, s in waited.items() if size != 32) < 140


def test_a_slow_size_that_trained_is_verified_however_little_time_is_left(tmp_path):
    """Ten steps of 15 s, and as many batches of validation, where a hang is given a minute."""

    class Slow(PretendDevice):
        def run(self, task, *, deadline_seconds, **more):
            found = super().run(task, deadline_seconds=deadline_seconds, **more)
            if not isinstance(found, Fits):
                return found
            if deadline_seconds < (300 if task.verify else 45):
                return TimedOut(deadline_seconds=deadline_seconds)
            return changed(found, step_seconds=15.0)

    found = probe(tmp_path, Slow(), "time_limit=1s", "batch_sizes.max=32")
    assert (found.largest_fitting, found.bounded_by) == (32, "range")


def test_code_that_fails_at_every_size_ends_the_run_with_its_message(tmp_path):
    failure = UserCodeFailed(message="ValueError: no batch will do")
    device = PretendDevice(answers={(Probe, size): [failure] for size in (32, 8, 2, 1)})
    with pytest.raises(UserCodeError, match="no batch will do"):
        probe(tmp_path, device)


@pytest.mark.parametrize(
    ("failure", "known"),
    [
        (UserCodeFailed(message="ValueError: at most 63"), "Not about memory."),
        (
            Crashed(signal=6, exit_code=None, log_tail=""),
            "Nothing it left says that memory is why.",
        ),
    ],
)
def test_a_failure_from_some_size_on_bounds_the_search_and_is_not_called_memory(
    tmp_path, failure, known
):
    device = PretendDevice(fits_up_to=10**9)
    fits = device._probe
    device._probe = lambda task: fits(task) if task.batch_size < 64 else failure
    found = probe(tmp_path, device)
    assert (found.largest_fitting, found.bounded_by) == (63, "failure")
    (told,) = [note for note in found.notes if note.endswith(known)]
    assert told.startswith("Batch 64 and ") and "larger that were tried: " in told


def failing_where(device, fails):
    """With the user's own exception, at sizes of which `fails` is true."""
    answer = device._probe
    failure = UserCodeFailed(message="ValueError: cannot reshape")
    device._probe = lambda task: failure if fails(task.batch_size) else answer(task)
    return device


@pytest.mark.parametrize("predicts", [False, True])
@pytest.mark.parametrize(
    ("groups_of", "replicas", "own", "most"),
    [
        *((2, 1, 48, 3000), (16, 1, 64, 3000), (12, 1, 48, 3000), (48, 1, 48, 3000)),
        *((6, 3, 48, 3000), (16, 1, 4096, 5900), (16, 1, 1024, 3000), (16, 1, 32, 3000)),
    ],
)
def test_code_that_takes_multiples_alone_is_no_bound_from_above(
    tmp_path, groups_of, replicas, own, most, predicts
):
    facts = predictable() if predicts else inspected()
    facts = msgspec.structs.replace(facts, train_samples=100_000)
    device = PretendDevice(facts=facts, fits_up_to=most)
    device = failing_where(device, lambda size: size % groups_of)
    settings = (f"baseline.batch_size={own}", f"device.replicas={replicas}")
    found = probe(tmp_path, device, *settings)
    assert found.largest_fitting % groups_of == 0
    assert 0.98 * most - groups_of < found.largest_fitting <= most
    assert found.bounded_by == "memory"
    assert len(found.probes) <= 24
    if groups_of > 2:  # sizes that are tried may all be even
        assert any(f"only multiples of {groups_of} are" in note for note in found.notes)


def test_code_that_takes_multiples_alone_is_asked_for_no_others_after_the_probe(tmp_path):
    facts = inspected(train_samples=12 << 12, validation_samples=10**6)
    device = failing_where(PretendDevice(facts=facts), lambda size: size % 12)
    wishes = ("recommend.effective_batch=4000", "recommend.replicas=[1, 8]")
    found = tune(tmp_path, device, "baseline.batch_size=48", *wishes)
    assert found.probe.multiple == 12
    measured = [point.batch_size for point in found.benchmark.points]
    assert measured[:-1] == [12 * 2**k for k in range(8)]
    trials = [task for task in device.tasks if isinstance(task, Trial)]
    validated = [size for t in trials for size in (t.validation_batch_size, t.validation_samples)]
    replicas = [each.per_replica_batch_size for each in found.replicas]
    advised = [found.effective_batch.batch_size, *replicas]
    asked = (*measured, *sizes(device, Trial), *validated, *advised)
    assert {size % 12 for size in asked} == {0}


@pytest.mark.parametrize("minimum", [1, 64])
@pytest.mark.parametrize(
    ("wished", "parts"), [(40, None), (100, None), (130, (2, 65)), (80, (1, 80)), (250, (3, 83))]
)
def test_no_smaller_batch_is_advised_than_the_code_or_the_recipe_takes(
    tmp_path, wished, parts, minimum
):
    """Nor where the search had to find out which is the least that the code takes."""
    device = failing_where(PretendDevice(fits_up_to=96), lambda size: size < 64)
    sizes = (f"batch_sizes.min={minimum}", "baseline.batch_size=128")
    wish = f"recommend.effective_batch={wished}"
    found = tune(tmp_path, device, *sizes, wish)
    had = found.effective_batch
    assert (had and (had.gradient_accumulation_steps, had.batch_size)) == parts
    refused = [each for each in found.warnings if "cannot be had" in each]
    assert len(refused) == (parts is None)
    if refused:
        assert refused[0].startswith(f"{wished} samples per update cannot be had in equal batches")
        assert "at least 64 samples" in refused[0]
        assert f"at most {found.probe.ceiling}," in refused[0]


def test_the_users_own_size_is_advised_though_it_is_below_the_least_that_is_searched(tmp_path):
    sizes = ("batch_sizes.min=64", "baseline.batch_size=32")
    found = tune(tmp_path, PretendDevice(), *sizes, "recommend.effective_batch=32")
    assert found.batch_size != 32
    had = found.effective_batch
    assert (had.gradient_accumulation_steps, had.batch_size, had.tried) == (1, 32, True)


@pytest.mark.parametrize("most", [900, 1023, 1024, 1200])
def test_code_that_takes_no_more_than_some_number_is_not_said_to_take_multiples(tmp_path, most):
    device = failing_where(PretendDevice(), lambda size: size > most)
    found = probe(tmp_path, device)
    assert 0.99 * most <= found.largest_fitting <= most
    assert found.bounded_by == "failure"
    assert not any("multiples" in note for note in found.notes)


def test_a_process_that_ended_is_one_way_of_failing_whatever_its_number(tmp_path):
    ended = "RuntimeError: DataLoader worker (pid(s) {}) exited unexpectedly"
    device = PretendDevice(fits_up_to=10**9)
    fits, numbers = device._probe, itertools.count(100)

    def failing(task):
        return UserCodeFailed(message=f"At batch {task.batch_size}: {ended.format(next(numbers))}")

    device._probe = lambda task: fits(task) if task.batch_size < 64 else failing(task)
    (told,) = [note for note in probe(tmp_path, device).notes if "DataLoader" in note]
    assert "tried: your code failed: RuntimeError: DataLoader worker exited unexpectedly." in told


@pytest.mark.parametrize(("fits_up_to", "largest"), [(30, 30), (8, 8)])
def test_a_model_that_takes_no_fewer_samples_is_searched_from_those_on(
    tmp_path, fits_up_to, largest
):
    device = PretendDevice(fits_up_to=fits_up_to)
    fits, failure = device._probe, UserCodeFailed(message="ValueError: at least 8")
    device._probe = lambda task: fits(task) if task.batch_size >= 8 else failure
    found = probe(tmp_path, device)
    assert (found.largest_fitting, found.bounded_by) == (largest, "memory")
    assert sizes(device, Probe)[:5] == [32, 1, 2, 4, 8]
    (told,) = found.notes
    assert told.startswith("Batch 1 and 2 larger that were tried: your code failed: ValueError: ")


def test_where_no_size_between_fits_the_hint_is_to_begin_the_search_there(tmp_path):
    failure = UserCodeFailed(message="ValueError: at least 20")
    device = PretendDevice(fits_up_to=25)
    fits = device._probe
    device._probe = lambda task: fits(task) if task.batch_size >= 20 else failure
    with pytest.raises(UserCodeError, match="at least 20") as refused:
        probe(tmp_path, device)
    assert "Batch 32 is out of memory already" in refused.value.hint
    assert "set batch_sizes.min" in refused.value.hint
    assert probe(tmp_path, device, "batch_sizes.min=20").largest_fitting == 25


def test_verification_that_fails_again_and_again_ends_at_a_size_that_passes(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    fits = device._probe
    out = OutOfMemory(evidence="in validation")
    device._probe = lambda task: out if task.verify and task.batch_size > 1000 else fits(task)
    assert 500 < probe(tmp_path, device).largest_fitting <= 1000


def test_recommend_without_data_is_refused_and_says_what_to_add(tmp_path):
    device = PretendDevice(facts=inspected(train_samples=None))
    with pytest.raises(RecipeError, match="recommend needs data"):
        tune(tmp_path, device)


@pytest.mark.parametrize(
    ("asked", "meant"), [("val_acc", "val_accuracy"), ("val_perplexity", "val_loss")]
)
def test_a_metric_that_the_model_does_not_report_is_refused_with_what_to_type(
    tmp_path, asked, meant
):
    device = PretendDevice(facts=inspected(metrics=("val_loss", "val_accuracy")))
    with pytest.raises(UsageError, match=f"trials.metric is {asked}, which") as refused:
        tune(tmp_path, device, f"trials.metric={asked}")
    told = f"It reports: val_loss, val_accuracy. Use --set trials.metric={meant}"
    assert refused.value.hint == told
    assert [type(task) for task in device.tasks] == [Inspect]  # before anything is measured


def test_a_model_whose_updates_have_as_many_samples_at_every_size_is_refused(tmp_path):
    device = PretendDevice(facts=inspected(accumulation_steps=32, accumulation_follows_batch=True))
    with pytest.raises(UserCodeError, match="go with the batch size") as refused:
        tune(tmp_path, device)
    assert "autobatch benchmark" in refused.value.hint
    assert len(device.tasks) == 1
    assert probe(tmp_path / "probe", device).ceiling > 32


def test_a_metric_of_unknown_direction_is_refused_rather_than_guessed(tmp_path):
    device = PretendDevice(facts=inspected(metrics=("val_loss", "val_wobble")))
    with pytest.raises(UsageError, match="val_wobble is better is not known"):
        tune(tmp_path, device, "trials.metric=val_wobble")


def test_a_baseline_that_does_not_learn_gives_no_speedup(tmp_path):
    device = telling(PretendDevice(), lambda task, loss: 2.0 - loss)
    found = tune(tmp_path, device)
    assert (found.verdict, found.batch_size) == ("inconclusive", 32)
    assert "does not improve val_loss" in found.reasons[0]


@pytest.mark.parametrize("overrides", [[], ["trials.learning_rate=none"]])
def test_a_loss_that_no_training_changes_ends_the_run_early(tmp_path, overrides):
    """As where all validation sample weights are 0."""
    facts = inspected(metrics=("val_loss", "val_accuracy"))
    device = telling(PretendDevice(facts=facts), lambda task, loss: 0.0)
    with pytest.raises(UserCodeError, match="val_loss is 0 in all of") as refused:
        tune(tmp_path, device, *overrides)
    assert "validation sample weights 0" in refused.value.hint
    assert refused.value.hint.endswith("--set trials.metric=val_accuracy.")
    trials = [task for task in device.tasks if isinstance(task, Trial)]
    assert {task.seed for task in trials} == {0}
    assert len({task.batch_size for task in trials}) == (2 if overrides else 1)


def test_of_a_loss_that_test_step_returns_it_is_told_where_keras_looks_for_it(tmp_path):
    device = telling(PretendDevice(facts=inspected(loss=OWN_LOSS)), lambda task, loss: 0.0)
    with pytest.raises(UserCodeError) as refused:
        tune(tmp_path, device)
    assert "keep a keras.metrics.Mean(name='loss') there" in refused.value.hint


def test_another_metric_that_stands_still_is_told_so(tmp_path):
    device = PretendDevice(facts=inspected(metrics=("val_loss", "val_accuracy")))

    def still(task):
        evaluations = [
            Evaluation(step=step, metrics={"val_accuracy": 0.9}) for step in task.evaluate_at
        ]
        return Trained(evaluations=tuple(evaluations), steps=task.steps, train_seconds=1)

    device._trial = still
    found = tune(tmp_path, device, "trials.metric=val_accuracy")
    assert (found.verdict, found.batch_size) == ("inconclusive", 32)
    assert found.reasons[0].startswith("val_accuracy is 0.9 in every trial, before training and")
    assert found.reasons[0].endswith("else let trials.metric name another.")


def test_a_baseline_that_stays_where_each_seed_started_gives_no_speedup(tmp_path):
    device = PretendDevice()

    def stuck(task):
        """Worse than at the start, which differs from seed to seed."""
        started = 2.0 + 0.1 * task.seed
        worse = [Evaluation(step=0, metrics={"val_loss": started})]
        worse += [
            Evaluation(step=step, metrics={"val_loss": started + 1})
            for step in task.evaluate_at
            if step
        ]
        return Trained(evaluations=tuple(worse), steps=task.steps, train_seconds=1)

    device._trial = stuck
    found = tune(tmp_path, device)
    assert (found.verdict, found.batch_size) == ("inconclusive", 32)
    assert "does not improve val_loss" in found.reasons[0]


def test_what_learns_where_the_baseline_hardly_does_is_named_as_another_baseline(tmp_path):
    """By less than its seeds differ at the start, so that no loss can be timed to."""

    def hardly(task, loss):
        return 2.0 + 0.1 * task.seed - (0.05 if is_baseline(task) else 1.5) * (1 - loss)

    found = tune(tmp_path, telling(PretendDevice(), hardly))
    assert (found.verdict, found.batch_size) == ("inconclusive", 32)
    (size, rate), told = re.findall(r"=(\S+\w)", found.reasons[0]), found.reasons[0]
    assert "does learn, to val_loss" in told
    named = min((c for c in found.candidates if c.is_finalist), key=lambda c: c.val_loss)
    assert (int(size), float(rate)) == (named.batch_size, float(f"{named.learning_rate:.3g}"))
    assert not [c for c in found.candidates if c.status == "target_not_reached"]


def test_seeds_that_change_nothing_tell_nothing_of_chance(tmp_path):
    device = PretendDevice()
    learn = device._trial
    device._trial = lambda task: learn(changed(task, seed=1))
    found = tune(tmp_path, device)
    assert (found.verdict, found.batch_size) == ("inconclusive", 32)
    assert "5 seeds gave the same training" in found.reasons[0]


def test_steps_that_take_no_longer_for_larger_batches_are_no_crash(tmp_path):
    found = tune(tmp_path, PretendDevice(step_seconds=lambda size: 0.01 * (1 - 1e-4 * size)))
    assert found.benchmark.step_time.seconds_per_sample.value == 0
    assert not any("Accumulating" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("fits_up_to", "parts", "is_told"),
    [(40, 1, True), (3000, 1, False), (40, 4, False)],  # fits as one batch; is done already
)
def test_accumulation_that_may_pay_is_told(tmp_path, fits_up_to, parts, is_told):
    """Steps take 0.1 s, nearly whatever their size, and the critical batch is 1,000."""
    device = PretendDevice(
        critical_batch=1000,
        fits_up_to=fits_up_to,
        step_seconds=lambda size: 0.1 + 1e-4 * size,
        facts=inspected(accumulation_steps=parts),
    )
    one_seed = ["trials.seeds=1"]  # with which the baseline stays
    found = tune(tmp_path, device, *one_seed, "trials.budget=20min", "time_limit=1h")
    (model,) = [each for each in found.reasons if each.startswith("Noise scale")]
    told = r"Updates of (\d+) samples, .* at most [\d.]+ times as soon, by the model; not tried "
    found = re.search(told + r"\(--effective-batch (\d+) says how", model)
    assert (found is not None) == is_told
    assert "Accumulating" not in model
    # The noise scale is of an update, and the critical batch of a batch.
    assert ("00 samples an update: training at it" in model) == (parts > 1)
    if found:
        samples, asked = map(int, found.groups())
        assert samples == asked > fits_up_to


@pytest.mark.parametrize(
    ("metric", "is_maximised"),
    [
        ("val_loss", False),
        ("val_error_type_accuracy", True),
        ("val_accuracy_loss", False),
        ("val_top_k_accuracy", True),
        ("val_mean_io_u", True),  # Keras' own name for MeanIoU
        ("val_kl_divergence", False),
        ("val_top-5-accuracy", True),
        ("val_ndcg@10", True),
        ("val_dice_loss", False),
        ("val_pearson_correlation", True),
        ("val_concordance_correlation", True),
    ],
)
def test_the_last_word_of_a_metric_says_which_way_it_goes(metric, is_maximised):
    assert metrics.is_maximised(metric) == is_maximised


def test_a_score_may_go_either_way(tmp_path):
    device = PretendDevice(facts=inspected(metrics=("val_loss", "val_brier_score")))
    with pytest.raises(UsageError, match="val_brier_score is better is not known"):
        tune(tmp_path, device, "trials.metric=val_brier_score")


GROWING = "A batch that grows with the noise scale"


@pytest.mark.parametrize(
    ("early", "late", "parts", "told"),
    [
        (5.0, 1000.0, 1, "near 22 at first, then doubled up to near 310, and the learning rate"),
        (20.0, 1000.0, 4, "near 22 at first, then doubled up to near 150, and the learning rate"),
        (450.0, 1000.0, 1, f"{GROWING} would save less than 1% of the time: not worth it."),
        (500.0, 500.0, 1, f"{GROWING} would save less than 1% of the time: not worth it."),
        (1000.0, 5.0, 1, f"{GROWING} would save less than 1% of the time: not worth it."),
        (5.0, 100_000.0, 1, None),  # the later one is not resolved
    ],
)
def test_of_noise_scales_it_is_told_whether_a_batch_that_grows_with_them_pays(
    tmp_path, early, late, parts, told
):
    device = PretendDevice(facts=inspected(accumulation_steps=parts))
    measure = device._gradients

    def growing(task):
        moments = []
        for step, device.critical_batch in zip(task.measure_at, (early, late), strict=True):
            (found,) = measure(changed(task, measure_at=(step,))).moments
            moments.append(found)
        device.critical_batch = 500.0
        return Differentiated(moments=tuple(moments))

    device._gradients = growing
    reasons = " ".join(tune(tmp_path, device).reasons)
    assert (GROWING in reasons) == (told is not None)
    assert told is None or told in reasons


def test_a_schedule_is_multiplied_from_what_it_is_compiled_with(tmp_path):
    facts = inspected(learning_rate=0.001, learning_rate_schedule="CosineDecay")
    found = tune(tmp_path, PretendDevice(facts=facts), "baseline.learning_rate=0.01")
    factor = found.learning_rate / 0.001
    assert found.snippet.startswith(f"# multiply your CosineDecay by {factor:.4g}")


def test_a_schedule_that_stays_as_it_is_is_not_multiplied(tmp_path):
    facts = inspected(learning_rate_schedule="CosineDecay", fit_call="model.fit(train)")
    found = tune(tmp_path, PretendDevice(facts=facts), "trials.learning_rate=none")
    assert found.learning_rate == 0.01
    assert found.snippet.splitlines()[-1] == "model.fit(train)"
    assert "multiply" not in found.snippet


@pytest.mark.parametrize("follows", [True, False])
def test_a_schedule_that_counts_steps_is_made_as_fast_as_trials_had_it(tmp_path, follows):
    schedule = {"learning_rate_schedule": "CosineDecay", "schedule_follows_batch": follows}
    found = tune(tmp_path, PretendDevice(facts=inspected(**schedule)))
    assert found.batch_size != 32
    told = f"# your CosineDecay: divide its numbers of steps by {found.batch_size / 32:.4g}"
    assert (told in found.snippet.splitlines()) != follows


@pytest.mark.parametrize(("peak_step", "told"), [(10**6, "warms up for 1,000,000"), (3, "")])
def test_trials_that_end_in_a_warm_up_find_no_rate_above_the_rules(tmp_path, peak_step, told):
    schedule = {"learning_rate_schedule": "CosineDecay", "schedule_peak_step": peak_step}
    device = PretendDevice(facts=inspected(learning_rate=0.001, **schedule))
    found = tune(tmp_path, device)
    tried = {(each.batch_size, each.learning_rate) for each in found.candidates}
    above = [rate for size, rate in tried if size == 32 and rate > 0.0011]
    assert bool(above) != bool(told)
    assert told in " ".join(found.warnings)


@pytest.mark.parametrize("follows", [False, True])
def test_a_warm_up_takes_small_batches_longest(tmp_path, follows):
    """In as many samples, of which they see the fewest in equal time."""
    schedule = {"learning_rate_schedule": "CosineDecay", "schedule_peak_step": 2500}
    facts = inspected(learning_rate=0.001, schedule_follows_batch=follows, **schedule)
    device = PretendDevice(facts=facts, critical_batch=20)
    found = tune(tmp_path, device, "trials.budget=5min", "batch_sizes.max=128")
    rule = {"old_batch": 32, "critical_batch": 20}
    above = {
        each.batch_size
        for each in found.candidates
        if each.learning_rate > 1.5 * scaled(0.001, "linear", new_batch=each.batch_size, **rule)
    }
    sizes = {each.batch_size for each in found.candidates}
    (told,) = [warning for warning in found.warnings if "warms up" in warning]
    rising = {
        int(size) for size in re.findall(r"\d+", told.split("at batch")[1].split("as what")[0])
    }
    assert above
    assert rising
    assert rising.isdisjoint(above)
    assert rising <= sizes
    assert max(rising) < min(above)


@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_a_callback_that_sets_the_rate_is_told_and_multiplied(tmp_path, exponent):
    scheduler = {"rate_scheduler": "LearningRateScheduler", "learning_rate_exponent": exponent}
    found = tune(tmp_path, PretendDevice(facts=inspected(learning_rate=0.01, **scheduler)))
    assert found.batch_size != 32
    own = 0.01 * (found.batch_size / 32) ** exponent
    assert found.snippet.startswith(
        "# multiply the rates that your optimizer and your LearningRateScheduler name by "
        f"{found.learning_rate / own:.4g} (not those made from lr)\n"
    )
    assert any("would write over a rate that is set" in each for each in found.warnings)


def test_what_is_to_be_multiplied_is_what_the_callable_gives_at_that_size(tmp_path):
    facts = inspected(learning_rate_schedule="CosineDecay", learning_rate_exponent=1.0)
    found = tune(tmp_path, PretendDevice(facts=facts))
    assert found.batch_size != 32
    factor = found.learning_rate / (0.01 * found.batch_size / 32)
    line = found.snippet.splitlines()[0]
    assert line == f"# multiply your CosineDecay by {factor:.4g}"


def test_a_rate_of_zero_is_refused(tmp_path):
    with pytest.raises(UserCodeError, match="compiled with a learning rate of 0"):
        tune(tmp_path, PretendDevice(facts=inspected(learning_rate=0.0)))


def test_optimizers_of_the_models_own_are_named_in_the_snippet(tmp_path):
    one = inspected(optimizer_names=("g_optimizer",))
    found = tune(tmp_path / "one", PretendDevice(facts=one))
    assert found.snippet.startswith(f"model.g_optimizer.learning_rate = {found.learning_rate:.6g}")
    two = inspected(optimizer="Adam, SGD", optimizer_names=("d_optimizer", "g_optimizer"))
    found = tune(tmp_path / "two", PretendDevice(facts=two))
    assert found.snippet.startswith(
        "# multiply the learning rates of model.d_optimizer and model.g_optimizer by "
        f"{found.learning_rate / 0.01:.4g}"
    )


def test_one_noise_scale_that_cannot_be_had_does_not_cost_the_other(tmp_path):
    device = PretendDevice()
    differentiate = device._gradients

    def late_only(task):
        early, late = differentiate(task).moments
        still = changed(early, squared_norms=(0.0,) * 8, gram=((0.0,) * 8,) * 8)
        return Differentiated(moments=(still, late))

    device._gradients = late_only
    found = tune(tmp_path, device)
    assert found.noise_scale.value == pytest.approx(500, rel=0.1)
    assert found.noise_scale_early == found.noise_scale


@pytest.mark.parametrize(
    ("samples", "measure", "why"),
    [
        (
            4096,
            lambda task: Differentiated(moments=(), reason="it has its own step"),
            "was not measured: it has its own step.",
        ),
        (4096, lambda task: OutOfMemory(evidence="OOM"), "was not measured: out of memory."),
        (
            4096,
            PretendDevice(critical_batch=0)._gradients,
            "was not measured: the gradients do not vary, or are too few.",
        ),
        (63, None, "cannot be measured with 63 samples."),
    ],
)
def test_why_there_is_no_noise_scale_is_told(tmp_path, samples, measure, why):
    device = PretendDevice(facts=inspected(train_samples=samples))
    device._gradients = measure
    found = tune(tmp_path, device)
    assert found.noise_scale is None
    assert f"The noise scale {why}" in found.warnings


@pytest.mark.parametrize(
    ("step_seconds", "parts", "are_many"), [(0.005, 1, True), (0.01, 1, False), (0.005, 2, False)]
)
def test_the_critical_batch_is_also_that_of_trials_which_have_many_updates(
    tmp_path, step_seconds, parts, are_many
):
    """By the gradients it is 20, by the trials 500. Of the best 128 they have 90 steps, or 45."""
    device = PretendDevice(
        step_seconds=lambda size: step_seconds * (1 + size / 100),
        facts=inspected(accumulation_steps=parts),
    )
    device._gradients = PretendDevice(critical_batch=20)._gradients
    found = tune(tmp_path, device, "batch_sizes.max=128")
    assert found.noise_scale.value == pytest.approx(20)
    (told,) = [each for each in found.reasons if each.startswith("Noise scale: ")]
    assert ("; with the trials, the critical batch is " in told) == are_many
    assert found.critical_batch.value > 100 if are_many else found.critical_batch.value < 25
    assert (found.critical_batch.high > 500) == are_many


def test_what_the_model_says_of_each_size_is_over_the_best_size_and_over_ones_own(tmp_path):
    found = tune(tmp_path, PretendDevice())
    critical = found.critical_batch.value
    times = {
        each.batch_size: (0.001 + 1e-5 * each.batch_size) * (1 + critical / each.batch_size)
        for each in found.predictions
    }
    assert {32, found.batch_size} <= times.keys()
    for each in found.predictions:
        samples = (critical + each.batch_size) / (critical + 32)
        assert each.relative_samples == pytest.approx(samples)
        time = times[each.batch_size] / min(times.values())
        assert each.relative_time == pytest.approx(time, rel=0.01)


@pytest.mark.parametrize("resolved", [True, False])
def test_what_devices_would_bring_is_told_to_be_by_a_guess_where_it_is(tmp_path, resolved):
    device = PretendDevice()
    if not resolved:
        device._gradients = lambda _: Differentiated(moments=(), reason="it has its own step")
    found = tune(tmp_path, device, "recommend.replicas=[1,8]", "batch_sizes.min=32")
    told = [each for each in found.reasons if "with more devices follow" in each]
    assert bool(told) != resolved
    assert all("since the noise scale was not resolved: " in each for each in told)
    eight = found.replicas[1]
    assert 1 < eight.predicted_speedup_low < eight.predicted_speedup < eight.predicted_speedup_high
    bounds = f"{ratio(eight.predicted_speedup_low)} to {ratio(eight.predicted_speedup_high)} by"
    assert bounds in replica_plan(eight)[1]
    assert all(replica_plan(each)[1].startswith("(predicted") for each in found.replicas)
    assert "by" not in replica_plan(found.replicas[0])[1]


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (OutOfMemory(evidence="OOM"), "out of memory"),
        (Crashed(signal=signal.SIGSEGV, exit_code=None, log_tail=""), "crashed (SIGSEGV)"),
        (
            Ranged(factors=(), losses=(), broke_down=True),
            "its first step had no loss that is a finite number",
        ),
    ],
)
def test_a_range_test_that_failed_is_told(tmp_path, outcome, why):
    found = tune(tmp_path, PretendDevice(answers={(RangeTest, 32): [outcome]}))
    told = f"The learning-rate range test failed ({why}): no upper end of rates is known."
    assert told in found.warnings


@pytest.mark.parametrize(("best_rate", "most"), [(0.01, 2), (0.004, 8)])
def test_no_trial_has_a_rate_above_the_one_at_which_a_range_test_broke_down(
    tmp_path, best_rate, most
):
    """It does at 2.4 times what it takes for the best; eight times the baseline's rate is that.

    One that breaks down below the baseline's rate, which trains, is not believed.
    """
    device = PretendDevice()
    device._rangetest = PretendDevice(best_rate=lambda _: best_rate)._rangetest
    found = tune(tmp_path, device)
    rule = {"old_batch": 32, "critical_batch": found.noise_scale.value}
    times = [
        task.learning_rate / scaled(0.01, "linear", new_batch=task.batch_size, **rule)
        for task in device.tasks
        if isinstance(task, Trial)
    ]
    assert max(times) == pytest.approx(2) if most == 2 else max(times) >= most


def test_what_a_process_takes_before_it_trains_is_told_by_long_verifications_too(tmp_path):
    """Where memory is known by compiling, none may be brief; this one trains for 30 s of 35."""
    device = PretendDevice()
    task = Probe(batch_size=32, limit_bytes=LIMIT, verify=True)
    device.answers = {(Probe, 32): [changed(device._probe(task), steps=3000, step_seconds=0.01)]}
    device.stopped_seconds = -35.0  # so much longer than the answer takes here
    with session(tmp_path, device) as opened:
        opened.ask("probe", task, "", str, deadline_seconds=60)
        assert 5 <= opened.start_seconds < 30


def test_a_trial_has_time_for_its_evaluations(tmp_path):
    """Of which each takes much longer than all of the training."""
    facts = inspected(validation_samples=256)
    device = PretendDevice(step_seconds=lambda size: 0.05 * size, facts=facts)
    sizes = ["baseline.batch_size=1", "batch_sizes.max=2", "baseline.learning_rate=0.001"]
    tune(tmp_path, device, *sizes, "trials.budget=2min", "time_limit=2h")
    for task, seconds in zip(device.tasks, device.deadlines, strict=True):
        if isinstance(task, Trial):
            training = task.steps * 0.05 * task.batch_size
            evaluations = 19 * 256 * 0.05 / 3
            assert seconds >= 300 + 10 * (training + 0.99 * evaluations)


def test_a_trial_that_fails_is_not_called_diverged(tmp_path):
    out = OutOfMemory(evidence="OOM")
    device = PretendDevice(answers={(Trial, 256): [out] * 6})
    found = tune(tmp_path, device)
    told = {(c.status, c.failure) for c in found.candidates if c.batch_size == 256}
    assert ("failed", "out of memory") in told


def test_a_size_that_cannot_be_trained_is_not_tried_at_other_rates(tmp_path):
    """Whose first trial runs out of memory: no learning rate mends that."""
    device = PretendDevice(answers={(Trial, 256): [OutOfMemory(evidence="OOM")]})
    found = tune(tmp_path, device)
    assert len([t for t in device.tasks if isinstance(t, Trial) and t.batch_size == 256]) == 1
    assert [c.failure for c in found.candidates if c.batch_size == 256] == ["out of memory"]


def test_finalists_of_one_seed_are_finalists(tmp_path):
    found = tune(tmp_path, PretendDevice(), "trials.seeds=1")
    finalists = [c for c in found.candidates if c.is_finalist]
    assert len(finalists) > 2
    assert {c.seeds for c in finalists} == {1}


def trained_for(device):
    """Seconds, all trials and the pilot."""
    steps = [
        (task.batch_size, task.steps)
        if isinstance(task, Trial | RangeTest)
        else (task.batch_size, max(task.measure_at) + 2 * task.micro_batches)
        for task in device.tasks
        if isinstance(task, Trial | RangeTest | Gradients)
    ]
    return sum(count * device.step_seconds(size) for size, count in steps)


@pytest.mark.parametrize(
    ("best_at_32", "exponent", "seeds"),
    [(10, 1, 5), (10, -3, 5), (40, -2.4, 1)],  # from the second on, ladders are longer than planned
)
def test_all_trials_together_train_no_longer_than_the_budget(tmp_path, best_at_32, exponent, seeds):
    device = PretendDevice(best_rate=lambda size: best_at_32 * (size / 32) ** exponent)
    tune(tmp_path, device, "trials.budget=60s", f"trials.seeds={seeds}")
    assert 53 < trained_for(device) <= 60


@pytest.mark.parametrize(("parts", "budget"), [(1, 15), (8, 116)])
def test_nor_do_they_where_the_pilot_takes_as_long_as_many_trials(tmp_path, parts, budget):
    """With about the fewest steps that a trial may have."""
    device = PretendDevice(step_seconds=lambda _: 0.01, facts=inspected(accumulation_steps=parts))
    few = ["batch_sizes.min=16", "batch_sizes.max=64", "time_limit=1h"]
    tune(tmp_path, device, *few, f"trials.budget={budget}s")
    assert 0.8 * budget < trained_for(device) <= budget


def test_a_budget_that_buys_nothing_says_what_would(tmp_path):
    with pytest.raises(UsageError, match="steps a trial") as refused:
        tune(tmp_path, PretendDevice(), "trials.budget=100ms")
    assert "--set trials.budget=" in str(refused.value)


def nan_later(task):
    told = [{"val_loss": 1.0}, *[{"val_acc": 0.5}] * (len(task.evaluate_at) - 1)]
    evaluations = map(Evaluation, task.evaluate_at, told)
    return Trained(evaluations=tuple(evaluations), steps=task.steps, train_seconds=1)


@pytest.mark.parametrize(
    ("first", "told", "hint"),
    [
        (
            Diverged(step=3, evaluations=()),
            "it diverges",
            "Mend the data, or set a lower baseline.learning_rate.",
        ),
        (
            Diverged(step=0, evaluations=()),
            "val_loss is not finite before any training",
            "Mend the loss (a logarithm of 0?) or the validation data.",
        ),
        (
            nan_later,
            "val_loss was not a finite number",
            "Mend the metric (a division by 0?), or rank by another: --set trials.metric=NAME.",
        ),
        (OutOfMemory(evidence="OOM"), "out of memory", "Its log in the run directory says more."),
    ],
)
def test_a_baseline_that_cannot_be_trained_is_told_with_what_to_do(tmp_path, first, told, hint):
    device = PretendDevice()
    device._trial = first if callable(first) else lambda task: first
    with pytest.raises(UserCodeError, match=told) as found:
        tune(tmp_path, device)
    assert found.value.hint == f"There is nothing to compare with. {hint}"


def test_a_baseline_that_does_not_fit_is_replaced_and_that_is_said(tmp_path):
    found = tune(tmp_path, PretendDevice(fits_up_to=100), "baseline.batch_size=512")
    assert found.baseline.batch_size <= 100
    assert (
        "Your batch size 512 cannot be tried (at most 100, bounded by device memory)"
        in found.warnings[0]
    )


@pytest.mark.parametrize(("rule", "rate"), [("auto", 0.01 / 8), ("none", 0.01)])
def test_what_stands_for_a_baseline_that_does_not_fit_has_the_rate_by_the_rule(
    tmp_path, rule, rate
):
    device = PretendDevice(fits_up_to=64)
    overrides = ["baseline.batch_size=512", f"trials.learning_rate={rule}"]
    found = tune(tmp_path, device, *overrides)
    assert found.baseline.batch_size == 64
    assert found.baseline.learning_rate == pytest.approx(rate)
    assert ("with learning rate 0.00125 by the rule" in found.warnings[0]) == (rule == "auto")


def test_what_stands_for_a_batch_of_more_than_all_samples_keeps_the_rate(tmp_path):
    device = PretendDevice(facts=inspected(train_samples=256))
    found = tune(tmp_path, device, "baseline.batch_size=500")
    assert found.baseline.batch_size == 256
    assert found.baseline.learning_rate == pytest.approx(0.01)


def test_learning_rate_none_leaves_the_rate_alone(tmp_path):
    device = PretendDevice()
    tune(tmp_path, device, "trials.learning_rate=none")
    assert {t.learning_rate for t in device.tasks if isinstance(t, Trial)} == {0.01}


@pytest.mark.parametrize(("rule", "optimizer"), [("linear", "Adam"), ("sqrt", "SGD")])
def test_a_rule_that_the_recipe_names_stands_for_that_of_the_optimizer(tmp_path, rule, optimizer):
    """From the best rate of the baseline's size, 8 times its own."""
    device = PretendDevice(facts=inspected(optimizer=optimizer))
    found = tune(tmp_path, device, f"trials.learning_rate={rule}")
    assert found.learning_rate_rule == rule
    first = next(t for t in device.tasks if isinstance(t, Trial) and t.batch_size != 32)
    sizes = {"old_batch": 32, "new_batch": first.batch_size}
    rate = scaled(0.01, rule, **sizes, critical_batch=found.noise_scale.value)
    assert first.learning_rate == pytest.approx(8 * rate)


def test_one_seed_alone_ranks_nothing(tmp_path):
    found = tune(tmp_path, PretendDevice(), "trials.seeds=1")
    assert found.verdict == "inconclusive"
    assert found.batch_size == 32


def test_a_benchmark_out_of_time_keeps_what_was_measured(tmp_path):
    device = PretendDevice()
    with session(tmp_path, device, ["time_limit=1h"]) as opened:
        out_of_time_in(opened, "benchmark")
        found = tuner.benchmark(opened)
    assert [point.batch_size for point in found.points] == [32]  # the user's own
    assert "64: time_limit 1 h 00 min was reached" in found.skipped
    assert "Not every size was measured again" in found.notes[0]


def test_a_benchmark_out_of_time_tries_no_more_sizes_where_none_could_be_measured(tmp_path):
    hangs = TimedOut(deadline_seconds=300)
    device = PretendDevice(answers={(Benchmark, 32): [hangs]})
    with session(tmp_path, device, ["time_limit=1h"]) as opened:
        out_of_time_in(opened, "benchmark")
        with pytest.raises(UserCodeError) as refused:
            tuner.benchmark(opened)
    assert "32: no answer in 5 min 00 s; 1: time_limit 1 h 00 min was reached" in str(refused.value)
    assert [t.batch_size for t in device.tasks if isinstance(t, Benchmark)] == [32]


def out_of_time_in(opened, stage):
    """Let the hour of time_limit be over as soon as a stage begins."""

    def on_event(event):
        if isinstance(event, StageStarted) and event.stage == stage:
            opened.started -= 3600

    opened.on_event = on_event


class SlowlyEvaluated(PretendDevice):
    """Each evaluation takes a second, whatever was planned; time goes by as tasks take it."""

    def run(self, task, **more):
        self.stopped_seconds = 0.0
        if isinstance(task, Trial):
            training = task.steps * self.step_seconds(task.batch_size)
            self.stopped_seconds = -training - len(task.evaluate_at)
        found = super().run(task, **more)
        if isinstance(found, Trained):
            return changed(found, evaluation_seconds=len(task.evaluate_at) - 1.0)
        return found


class SlowlyDifferentiated(PretendDevice):
    """Each gradient takes a step of its batch; time goes by as tasks take it."""

    def __init__(self, gradients):
        super().__init__(step_seconds=lambda size: 0.001 + 2e-4 * size)
        self.gradients = gradients

    def run(self, task, **more):
        self.stopped_seconds = 0.0
        if isinstance(task, Trial):
            training = task.steps * self.step_seconds(task.batch_size)
            gradient_seconds = self.step_seconds(task.validation_batch_size)
            self.stopped_seconds = -training - self.gradients * task.sharpness * gradient_seconds
        return super().run(task, **more)


@pytest.mark.parametrize(("limit", "gradients", "seeds"), [(560, 60, 5), (840, 180, 3)])
def test_time_is_kept_for_sharpness_where_it_is_asked_for(tmp_path, limit, gradients, seeds):
    """As many gradients as there are at most; or, where they are slower, as finalists took."""
    device = SlowlyDifferentiated(gradients)
    with session(tmp_path, device, ["trials.sharpness=true", f"time_limit={limit}s"]) as opened:
        found = tuner.tune(opened)
        assert opened.seconds_left() > 0
    assert {c.seeds for c in found.candidates if c.is_finalist} == {seeds}


def test_no_time_is_kept_for_sharpness_that_is_known_not_to_be_measured(tmp_path):
    def trials(folder, **facts):
        device = SlowlyDifferentiated(60)
        device.facts = inspected(**facts)
        out = tmp_path / folder
        with session(out, device, ["trials.sharpness=true"], events=(told := [])) as opened:
            tuner.tune(opened)
        return next(e for e in told if isinstance(e, StageStarted) and e.stage == "trials")

    kept = trials("a").expected_seconds - trials("b", why_no_sharpness="no").expected_seconds
    assert kept == pytest.approx(5 * 5 * 60 * (0.001 + 2e-4 * 1024), rel=0.1)


def test_a_time_limit_that_is_named_is_enough_for_sharpness_too(tmp_path):
    device, asked = SlowlyDifferentiated(60), "trials.sharpness=true"
    hint = refused_hint(tmp_path / "a", device, asked, "time_limit=200s")
    named = re.findall(r"--set (\S+\w)", hint)
    assert [each.split("=")[0] for each in named] == ["time_limit"]
    assert tune(tmp_path / "b", device, asked, *named).candidates


def test_a_time_limit_named_once_it_is_over_has_sharpness_of_finalists_alone(tmp_path):
    def named(folder, *settings):
        device = SlowlyDifferentiated(60)
        with session(tmp_path / folder, device, ["time_limit=1h", *settings]) as opened:
            out_of_time_in(opened, "trials")
            with pytest.raises(UsageError) as refused:
                tuner.tune(opened)
        return int(re.search(r"--set time_limit=(\d+)s", refused.value.hint)[1])

    finals, gradient_seconds = 5 * 5, 0.001 + 2e-4 * 1024
    more = named("b", "trials.sharpness=true") - named("a")
    assert more == pytest.approx(finals * 60 * gradient_seconds, rel=0.1)


def test_time_is_kept_for_the_evaluations_of_finalists_which_have_more_than_first_trials(tmp_path):
    found = tune(tmp_path, SlowlyEvaluated(), "time_limit=650s")
    assert {c.seeds for c in found.candidates if c.is_finalist} == {5}


@pytest.mark.parametrize(
    ("left", "why"), [({1: 60}, "leaves no time for more"), ({0: 60, 1: -1}, "was reached")]
)
def test_time_that_is_left_and_not_enough_is_not_called_over_nor_told_twice(tmp_path, left, why):
    """Of the first trials (seed 0) and the finals, which end each for themselves."""
    device = PretendDevice()
    with session(tmp_path, device, ["time_limit=2h", "trials.budget=1h"]) as opened:
        learn = device._trial

        def trial(task):
            if task.seed in left:
                opened.started = time.monotonic() - 7200 + left[task.seed]
            return learn(task)

        device._trial = trial
        found = tuner.tune(opened)
    (told,) = [warning for warning in found.warnings if "Not all trials were done" in warning]
    assert told.startswith(f"Not all trials were done, since time_limit 2 h 00 min {why};")


def test_a_probe_out_of_time_verifies_what_fits_so_far_and_says_where_it_left_off(tmp_path):
    device = PretendDevice()
    with session(tmp_path, device, ["time_limit=1h"]) as opened:
        out_of_time_in(opened, "probe")
        found = tuner.probe(opened)
    assert (found.largest_fitting, found.ceiling) == (32, 32)
    assert (found.verified, found.bounded_by) == (True, "time")
    assert found.name_of_largest == "largest that was verified"
    assert found.notes == (
        "32 fits, and nothing larger was tried: time_limit 1 h 00 min was reached.",
    )


def test_a_size_that_steps_down_in_verification_costs_more_and_that_is_told(tmp_path):
    device, events = PretendDevice(fits_up_to=1000), []
    fits, out = device._probe, OutOfMemory(evidence="in validation")
    device._probe = lambda task: out if task.seconds > 1 and task.batch_size > 990 else fits(task)
    with session(tmp_path, device, events=events, limit_bytes=110 * MIB) as opened:
        found = tuner.probe(opened)
    assert found.largest_fitting <= 990
    told = [event for event in events if isinstance(event, StageExpects)]
    assert told[-1].jobs_left == 3
    # 200 steps of 10 ms each
    assert told[-1].seconds_left == pytest.approx(3 * (opened.start_seconds + 2.0))


@pytest.mark.parametrize(
    ("limit_bytes", "least", "most"), [(100 * MIB, 90, 150), (4 * LIMIT, 0, 5)]
)
def test_what_verifications_near_the_limit_cost_is_told_once_one_size_ran(
    tmp_path, limit_bytes, least, most
):
    """A small one is far from the limit; that the search leads there is known by its memory."""
    device, events = PretendDevice(fits_up_to=10_000), []
    with session(tmp_path, device, events=events, limit_bytes=limit_bytes) as opened:
        tuner.probe(opened)
    told = [event.seconds_left for event in events if isinstance(event, StageExpects)]
    assert least <= told[1] <= most


def test_where_much_is_lacking_verification_goes_down_by_large_steps(tmp_path):
    """As with ResNet50 on the CPU: a few steps pass, and many need a third more."""
    device = PretendDevice(fits_up_to=1000)
    fits, out = device._probe, OutOfMemory(evidence="in validation")
    device._probe = lambda task: out if task.seconds > 1 and task.batch_size > 720 else fits(task)
    with session(tmp_path, device, ["device.headroom=0%"], limit_bytes=110 * MIB) as opened:
        found = tuner.probe(opened)
    verified = {task.batch_size for task in device.tasks if getattr(task, "verify", False)}
    assert 710 <= found.largest_fitting <= 720
    assert len(verified) <= 18


def test_where_memory_is_scarce_a_probe_out_of_time_verifies_briefly_and_says_so(tmp_path):
    device = PretendDevice()
    settings = ["time_limit=1h", "device.headroom=0%"]
    with session(tmp_path, device, settings, limit_bytes=5 * MIB) as opened:
        out_of_time_in(opened, "probe")
        found = tuner.probe(opened)
    assert (found.largest_fitting, found.verified, found.bounded_by) == (32, False, "time")
    verifications = [task for task in device.tasks if isinstance(task, Probe) and task.verify]
    assert [(task.batch_size, task.seconds) for task in verifications] == [(32, 1.0)]
    assert found.notes[-1] == (
        "32 was verified in 3 steps of one process alone (time_limit 1 h 00 min was reached): "
        "it may need more over more steps, or in another process."
    )


@pytest.mark.parametrize(("fails", "answer"), [(0, 995), (1, 895)])
def test_time_may_end_in_a_verification(tmp_path, fails, answer):
    """The size that passed has not done so in a second process; what is below one that failed is
    taken by a large step."""
    device = PretendDevice(fits_up_to=1000)
    fits, out = device._probe, OutOfMemory(evidence="in validation")
    with session(tmp_path, device, limit_bytes=110 * MIB) as opened:

        def asked(task):
            if task.seconds <= 1:
                return fits(task)
            opened.started -= 3600
            return out if fails else fits(task)

        device._probe = asked
        found = tuner.probe(opened)
    assert (found.largest_fitting, found.verified) == (answer, False)
    assert found.bounded_by == ("time" if fails else "memory")
    assert "alone (time_limit" in " ".join(found.notes)


def test_the_time_limit_ends_with_the_best_answer_so_far(tmp_path):
    device = PretendDevice()
    with session(tmp_path, device, ["time_limit=1h"]) as opened:
        opened.started -= 3600
        with pytest.raises(UsageError, match="time_limit") as ended:
            tuner.tune(opened)
    assert [type(known) for known in ended.value.so_far] == [ProbeResult, BenchmarkResult]
    assert not [task for task in device.tasks if isinstance(task, Gradients | RangeTest | Trial)]


@pytest.mark.parametrize(("limit_bytes", "is_brief"), [(LIMIT, False), (150 * MIB, True)])
def test_what_is_recommended_when_time_ends_is_verified_all_the_same(
    tmp_path, limit_bytes, is_brief
):
    """After two seeds. Where memory is scarce it is by few steps, and that is told."""
    device = PretendDevice()
    with session(tmp_path, device, ["time_limit=1h"], limit_bytes=limit_bytes) as opened:
        learn = device._trial

        def trial(task):
            if task.seed == 2:
                opened.started = time.monotonic() - 3600
            return learn(task)

        device._trial = trial
        found = tuner.tune(opened)
        last = device.tasks[-1]
        assert isinstance(last, Probe) and last.verify
        assert isinstance(opened.record.find(last).outcome, Fits)
    assert last.batch_size == found.batch_size != 32
    assert {c.seeds for c in found.candidates if c.is_finalist} == {2}
    doubt = f"{found.batch_size} was verified in 3 steps of one process alone (time_limit 1 h"
    assert any(told.startswith(doubt) for told in found.warnings) == is_brief


@pytest.mark.parametrize("kind", [Benchmark, Trial])
def test_a_time_limit_that_lets_nothing_be_compared_names_one_that_does(tmp_path, kind):
    """Whatever the hour went to, the 5 minutes of all trials have room beside it, and a spare."""
    device, name = PretendDevice(), f"_{kind.__name__.lower()}"
    measure = getattr(device, name)
    with session(tmp_path, device, ["time_limit=1h"]) as opened:

        def slow(task):
            opened.started = time.monotonic() - 3600
            return measure(task)

        setattr(device, name, slow)
        with pytest.raises(UsageError, match="before any setting could be compared") as ended:
            tuner.tune(opened)
    limit = int(re.search(r"time_limit=(\d+)s", ended.value.hint)[1])
    assert 3600 + 300 + 60 < limit < 3600 + 300 + 120
    found = tune(tmp_path, PretendDevice(), f"time_limit={limit}s")
    assert found.verdict == "better"
    assert not any("instead of trials.budget" in told for told in found.warnings)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"data_fingerprint": "x"}, "the data has changed"),
        ({"versions": {"keras": "4"}}, "the version of keras was '3.0' and is '4'"),
    ],
)
def test_with_another_baseline_too_other_data_are_refused(tmp_path, change, told):
    probe(tmp_path, PretendDevice())
    with pytest.raises(WrongRunDirectoryError, match=told):
        probe(tmp_path, PretendDevice(facts=inspected(**change)), "baseline.batch_size=64")


def test_the_recommendation_round_trips_through_json(tmp_path):
    found = tune(tmp_path, PretendDevice())
    written = (tmp_path / "recommendation.json").read_text()
    assert msgspec.json.decode(written, type=Recommendation) == found
