"""The spine when somebody ends it: nothing new is begun, and what is known is concluded."""

from contextlib import contextmanager

import pytest
from pretend import MIB, TARGET, PretendDevice, inspected, predictable

from autobatch import tuner
from autobatch.engine.record import Record
from autobatch.engine.record_file import read_record
from autobatch.errors import InterruptedRunError, RecipeError, UserCodeError
from autobatch.protocol import (
    Benchmark,
    BenchmarkResult,
    Diverged,
    Fits,
    OutOfMemory,
    Probe,
    ProbeResult,
    Recommendation,
    TargetMissing,
    Trial,
    UserCodeFailed,
    changed,
)
from autobatch.recipe import make_recipe
from autobatch.stages.ask import Session


class Stopped(PretendDevice):
    """Ended while it answers the `count`-th task that `matches`; as by a signal, which stays."""

    def __init__(self, matches, count, **more):
        super().__init__(**more)
        self.matches, self.count = matches, count

    def run(self, task, **more):
        outcome = super().run(task, **more)
        if self.is_stopped():
            raise InterruptedRunError
        return outcome

    def is_stopped(self):
        return sum(map(self.matches, self.tasks)) >= self.count


def of(kind):
    return lambda task: isinstance(task, kind)


@contextmanager
def session(tmp_path, device, is_stopped):
    recipe = make_recipe({"model": "train.py:build_model", "data": "train.py:load_data"})
    with Record(tmp_path, TARGET, free_bytes=128 * MIB, version="0") as record:
        yield Session(
            recipe=recipe,
            executor=device,
            record=record,
            on_event=lambda event: None,
            limit_bytes=128 * MIB,
            is_stopped=is_stopped,
        )


def interrupted(tmp_path, work, device):
    """What is told when `work` ends early; nothing is asked after that, or taken for an answer."""
    with (
        session(tmp_path, device, device.is_stopped) as opened,
        pytest.raises(InterruptedRunError) as error,
    ):
        work(opened)
    assert sum(map(device.matches, device.tasks)) == device.count
    assert device.matches(device.tasks[-1])
    found = read_record(tmp_path)
    assert not (found.probe or found.benchmark or found.recommendation or found.verification)
    return error.value.so_far


def test_a_probe_tells_the_bracket_and_that_nothing_is_verified(tmp_path):
    (found,) = interrupted(tmp_path, tuner.probe, Stopped(of(Probe), 5))
    assert isinstance(found, ProbeResult)
    assert (found.verified, found.bounded_by) == (False, "time")
    fitting = [point.batch_size for point in found.probes if point.outcome == "fits"]
    assert found.largest_fitting == max(fitting)
    assert 0 < found.ceiling <= found.largest_fitting
    assert "the run was interrupted. Not verified." in found.notes[0]


def test_what_was_proved_by_then_is_the_answer(tmp_path):
    def second_proof(task):
        return isinstance(task, Probe) and task.repeat == 1

    whole = tmp_path / "whole"
    device = Stopped(second_proof, 99)
    with session(whole, device, device.is_stopped) as opened:
        truth = tuner.probe(opened)
    (found,) = interrupted(
        tmp_path / "part", tuner.probe, Stopped(lambda t: t == device.tasks[-1], 1)
    )
    assert (found.largest_fitting, found.verified) == (truth.largest_fitting, True)
    assert found.bounded_by == truth.bounded_by == "memory"
    assert 0 < found.ceiling < found.largest_fitting
    assert "the size that keeps the headroom was not: the run was interr" in found.notes[0]


class OfTheMachine(Stopped):
    """Whose memory has room for 600 samples."""

    def _probe(self, task):
        out = OutOfMemory(evidence="the kernel's out-of-memory killer", host_memory=True)
        return out if task.batch_size > 600 else super()._probe(task)


def test_what_was_proved_by_then_keeps_the_headroom_of_the_machines_memory_too(tmp_path):
    device = OfTheMachine(of(Probe), 99)
    with session(tmp_path / "whole", device, device.is_stopped) as opened:
        tuner.probe(opened)
    last = device.tasks[-1]
    (found,) = interrupted(tmp_path / "part", tuner.probe, OfTheMachine(lambda t: t == last, 1))
    assert found.bounded_by == "host_memory"
    assert 0 < found.ceiling <= 0.9 * found.largest_fitting


class NeedsMoreToValidate(Stopped):
    """By 22 MiB."""

    def _probe(self, task):
        found = super()._probe(task)
        return changed(found, peak_bytes=found.peak_bytes + 22 * MIB) if task.verify else found


def test_what_needed_too_much_in_its_verification_does_not_keep_the_headroom(tmp_path):
    """Of 128 MiB its steps took 96, and with its validation it took 118."""

    def for_the_headroom(task):
        return isinstance(task, Probe) and task.limit_bytes < 128 * MIB

    device = NeedsMoreToValidate(for_the_headroom, 1, facts=inspected(train_samples=1000))
    (found,) = interrupted(tmp_path, tuner.probe, device)
    assert (found.largest_fitting, found.verified) == (1000, True)
    assert 0 < found.ceiling < 1000


def test_what_was_only_predicted_is_told_too(tmp_path):
    (found,) = interrupted(tmp_path, tuner.probe, Stopped(of(Probe), 3, facts=predictable()))
    predicted = [point.batch_size for point in found.probes if point.outcome == "predicted"]
    assert (found.largest_fitting, found.verified) == (max(predicted), False)
    assert 0 < found.ceiling <= found.largest_fitting


def test_before_anything_fitted_there_is_nothing_to_tell(tmp_path):
    assert interrupted(tmp_path, tuner.probe, Stopped(of(Probe), 1)) == ()


def test_a_benchmark_tells_the_sizes_measured_and_those_left_out(tmp_path):
    _, found = interrupted(tmp_path, tuner.benchmark, Stopped(of(Benchmark), 4))
    assert isinstance(found, BenchmarkResult)
    assert len(found.points) == 3
    assert any("the run was interrupted" in reason for reason in found.skipped)


def test_a_benchmark_without_any_size_tells_what_was_probed(tmp_path):
    (found,) = interrupted(tmp_path, tuner.benchmark, Stopped(of(Benchmark), 1))
    assert isinstance(found, ProbeResult)
    assert found.verified


def test_before_the_finals_nothing_is_recommended(tmp_path):
    found = interrupted(tmp_path, tuner.tune, Stopped(of(Trial), 4))
    assert [type(each) for each in found] == [ProbeResult, BenchmarkResult]


@pytest.mark.parametrize(
    ("failed", "kind"),
    [
        (UserCodeFailed(message="KeyError: 'loss'", traceback=""), UserCodeError),
        (TargetMissing(message="The GPU is gone.", hint=None, is_device=True), RecipeError),
    ],
)
def test_what_was_measured_before_a_run_cannot_go_on_is_told(tmp_path, failed, kind):
    device = PretendDevice(answers={(Trial, 32): [failed]})
    with (
        pytest.raises(kind) as end,
        session(tmp_path, device, lambda: False) as opened,
    ):
        tuner.tune(opened)
    assert [type(each) for each in end.value.so_far] == [ProbeResult, BenchmarkResult]


def test_whole_rounds_of_finals_are_concluded_from_and_a_torn_one_is_left_out(tmp_path):
    def third_seed(task):
        return isinstance(task, Trial) and task.seed == 3

    (*_, found) = interrupted(tmp_path, tuner.tune, Stopped(third_seed, 2))
    assert isinstance(found, Recommendation)
    assert {c.seeds for c in found.candidates if c.status == "finalist"} == {2}
    assert any("since the run was interrupted" in warning for warning in found.warnings)
    assert "was not verified by itself (the run was interrupted before)" in found.warnings[0]
    assert not any(reason.startswith("Memory:") for reason in found.reasons)
    assert not (tmp_path / "recommendation.json").exists()


class Torn(Stopped):
    """Ended in its third round of finals, by when its second finalist, which diverges, failed."""

    def __init__(self):
        super().__init__(lambda task: isinstance(task, Trial) and task.seed == 3, 3)

    def _trial(self, task):
        finals = [each for each in self.tasks if isinstance(each, Trial) and each.seed > 0]
        if len(finals) > 1 and changed(task, seed=1) == finals[1]:
            return OutOfMemory(evidence="") if task.seed == 3 else Diverged(step=1, evaluations=())
        found = super()._trial(task)
        return changed(found, sharpness=float(task.seed)) if task.seed > 0 else found


def test_a_torn_round_of_finals_leaves_nothing_in_the_answer(tmp_path):
    (*_, found) = interrupted(tmp_path, tuner.tune, Torn())
    statuses = {candidate.status for candidate in found.candidates}
    assert {"baseline", "finalist", "diverged"} <= statuses
    assert "failed" not in statuses
    assert {c.sharpness for c in found.candidates if c.sharpness} == {1.5}  # of seeds 1 and 2


def test_the_next_start_goes_on_and_asks_nothing_twice(tmp_path):
    stopped, device = Stopped(of(Trial), 4), PretendDevice()
    interrupted(tmp_path, tuner.tune, stopped)
    with session(tmp_path, device, lambda: False) as opened:
        assert tuner.tune(opened).verdict == "better"
    before = [task for task in stopped.tasks[:-1] if isinstance(task, Probe | Benchmark | Trial)]
    assert not [task for task in device.tasks if task in before]


def test_a_recommendation_whose_own_size_was_not_verified_says_so(tmp_path):
    """Stopped in the very last job, the verification of the size that was chosen."""
    whole = PretendDevice()
    with session(tmp_path / "whole", whole, lambda: False) as opened:
        found = tuner.tune(opened)
    last = whole.tasks[-1]
    assert isinstance(last, Probe)
    assert last.batch_size == found.batch_size
    (*_, told) = interrupted(tmp_path / "part", tuner.tune, Stopped(lambda t: t == last, 1))
    assert told.batch_size == found.batch_size
    assert "not verified by itself (the run was interrupted before)" in told.warnings[0]
    assert not any(reason.startswith("Memory:") for reason in told.reasons)


def test_fits_is_what_a_ceiling_needs(tmp_path):
    """Where no size has left the headroom free so far, none is named."""
    device = Stopped(of(Probe), 2)
    peak = 127 * MIB
    held = Fits(peak_bytes=peak, least_peak_bytes=peak, full_steps=3, steps=3, step_seconds=1)
    device.answers = {(Probe, 32): [held]}
    (found,) = interrupted(tmp_path, tuner.probe, device)
    assert (found.largest_fitting, found.ceiling) == (32, 0)
