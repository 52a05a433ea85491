"""A recommendation verified later: the same device, a slower one, one with less memory, others."""

import contextlib
import json
from functools import partial

import msgspec
import pytest
from commands import HERE, QUICK, autobatch_here, settings
from pretend import PretendDevice, PretendExecutor, inspected
from test_tuner import session, tune

from autobatch import opening, tuner
from autobatch.core.epoch_ends import mean_wait
from autobatch.engine.difference import in_words
from autobatch.engine.runs import read_recommendation, runs_in
from autobatch.errors import UsageError, WrongRunDirectoryError
from autobatch.opening import open_verification
from autobatch.protocol import (
    Benchmark,
    Crashed,
    Interval,
    JobFinished,
    OutOfMemory,
    Probe,
    UserCodeFailed,
    Verification,
    changed,
)


@pytest.fixture(scope="module")
def recommended(tmp_path_factory):
    return tune(tmp_path_factory.mktemp("run"), PretendDevice())


def verify(tmp_path, recommended, device):
    with session(tmp_path, device) as opened:
        return tuner.verify(opened, recommended)


def test_on_the_same_device_it_holds(tmp_path, recommended):
    found = verify(tmp_path, recommended, PretendDevice())
    assert found.holds
    assert (found.speed, found.outcome, found.differences) == ("same", "fits", ())
    assert found.peak_bytes == recommended.peak_bytes
    assert found.batch_size == recommended.batch_size


def test_a_slower_machine_is_told_with_both_rates(tmp_path, recommended):
    device = PretendDevice(step_seconds=lambda size: 3 * (0.001 + 1e-5 * size))
    found = verify(tmp_path, recommended, device)
    assert not found.holds
    assert found.speed == "slower"
    assert any("slower for certain" in reason for reason in found.reasons)


def test_rates_of_less_than_a_sample_a_second_are_told(tmp_path, recommended):
    events = []
    device = PretendDevice(step_seconds=lambda size: 8.0 * size)
    with session(tmp_path, device, events=events) as opened:
        found = tuner.verify(opened, recommended)
    assert any("0.125 samples/s (0.12" in reason for reason in found.reasons)
    timed = [e.answer for e in events if isinstance(e, JobFinished) and "timed" in e.label]
    assert all(answer.startswith("0.125 samples/s") for answer in timed)
    assert len(timed) == 3


class InLongEpochs(PretendDevice):
    """Whose epochs end out of sight."""

    def _benchmark(self, task):
        inside = super()._benchmark(task)
        return changed(inside, whole_epochs=False, input_start_seconds=0.0)


def test_tf_data_is_waited_for_as_often_as_when_it_was_recommended(tmp_path, recommended):
    rates = {}
    for share in (0.0, 0.5):
        waits = Interval(value=share, low=share, high=share)
        then = changed(recommended, benchmark=changed(recommended.benchmark, share_that_wait=waits))
        found = verify(tmp_path / str(share), then, InLongEpochs())
        rates[share] = found.samples_per_second.value
    samples = InLongEpochs().facts.train_samples
    epoch_seconds = samples / rates[0.0]
    waited = 0.5 * mean_wait(epoch_seconds)
    assert waited > 0.01
    assert samples / rates[0.5] == pytest.approx(epoch_seconds + waited)


def test_a_faster_machine_holds(tmp_path, recommended):
    device = PretendDevice(step_seconds=lambda size: (0.001 + 1e-5 * size) / 3)
    found = verify(tmp_path, recommended, device)
    assert (found.holds, found.speed) == (True, "faster")


def test_what_leaves_a_little_less_than_the_headroom_is_not_told_to_leave_as_much(
    tmp_path, recommended
):
    with session(tmp_path, PretendDevice(), ["device.headroom=12.5%"]) as opened:
        opened.limit_bytes = int(recommended.peak_bytes / 0.876)
        found = tuner.verify(opened, recommended)
    (told,) = [reason for reason in found.reasons if reason.startswith("Memory: ")]
    assert told.endswith(" MiB, which leaves less than the headroom of 12.5% free.")


def test_a_brief_verification_says_that_it_was_brief(tmp_path, recommended):
    with session(tmp_path, PretendDevice(), ["time_limit=1h"]) as opened:
        opened.limit_bytes = recommended.peak_bytes + 1
        opened.started -= 3600
        found = tuner.verify(opened, recommended)
    assert any("was verified in 3 steps of one process alone" in r for r in found.reasons)


def test_steps_that_were_slow_then_are_waited_for(tmp_path, recommended):
    slow = changed(recommended, samples_per_second=recommended.batch_size / 45)
    device = PretendDevice()
    verify(tmp_path, slow, device)
    asked = zip(device.tasks, device.deadlines, strict=True)
    (deadline,) = [seconds for task, seconds in asked if isinstance(task, Probe)]
    assert deadline > 14 * 45


def test_less_memory_is_told_and_nothing_is_timed(tmp_path, recommended):
    out = OutOfMemory(evidence="OOM when allocating")
    device = PretendDevice(answers={(Probe, recommended.batch_size): [out]})
    found = verify(tmp_path, recommended, device)
    assert not found.holds
    assert (found.outcome, found.peak_bytes, found.samples_per_second) == (
        "out_of_memory",
        None,
        None,
    )
    assert any("does not train" in reason for reason in found.reasons)


def test_code_that_fails_is_not_called_memory(tmp_path, recommended):
    failed = UserCodeFailed(message="KeyError: 3", traceback="")
    device = PretendDevice(answers={(Probe, recommended.batch_size): [failed]})
    found = verify(tmp_path, recommended, device)
    told = next(reason for reason in found.reasons if "does not train" in reason)
    assert told.startswith("Training: ") and "your code failed: KeyError: 3" in told


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (OutOfMemory(evidence="OOM when allocating"), "out of memory"),
        (Crashed(signal=11, exit_code=None, log_tail=""), "crashed (SIGSEGV)"),
    ],
)
@pytest.mark.parametrize("fine", [0, 1, 2])
def test_it_does_not_hold_where_a_process_could_not_be_timed(
    tmp_path, recommended, outcome, why, fine
):
    device = PretendDevice()
    measured = device.run(
        Benchmark(batch_size=recommended.batch_size, seconds=1.0), deadline_seconds=60
    )
    device.answers[Benchmark, recommended.batch_size] = [*[measured] * fine, outcome]
    found = verify(tmp_path, recommended, device)
    assert (found.holds, found.speed, found.samples_per_second) == (False, "unknown", None)
    assert f"Not timed: {why}, in process {fine + 1} of 3." in found.reasons


def test_another_version_is_told_and_no_matter(tmp_path, recommended):
    device = PretendDevice(facts=inspected(versions={"keras": "4.0"}))
    found = verify(tmp_path, recommended, device)
    assert found.holds
    assert [(d.name, d.then, d.now) for d in found.differences] == [("keras", "3.0", "4.0")]


def test_another_configuration_file_is_told_and_one_that_was_not_read_is_not(tmp_path, recommended):
    then = {"configuration": {"model.yaml": "1"}}
    before = changed(recommended, environment=recommended.environment | then)
    told = "A configuration file that your code reads has changed."
    for value, words in (("1", []), ("2", [told])):
        facts = inspected(configuration={"model.yaml": value, "cached.json": "1"})
        found = verify(tmp_path / value, before, PretendDevice(facts=facts))
        assert found.holds
        assert [in_words(each) for each in found.differences] == words


def test_another_cpu_is_told_and_no_matter(tmp_path, recommended):
    before = changed(
        recommended, environment=recommended.environment | {"device": "CPU: A, 2 cores"}
    )
    facts = inspected(device_name="CPU: B, 4 cores")
    found = verify(tmp_path, before, PretendDevice(facts=facts))
    assert found.holds
    words = ["The device was CPU: A, 2 cores and is CPU: B, 4 cores."]
    assert [in_words(each) for each in found.differences] == words


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        ({}, {"XLA_FLAGS": "-x"}, ["XLA_FLAGS was not set and is -x."]),
        ({"XLA_FLAGS": "-x"}, {}, ["XLA_FLAGS was -x and is not set."]),
        (None, {"XLA_FLAGS": "-x"}, []),  # an older recommendation
    ],
)
def test_another_setting_in_the_environment_is_told_and_no_matter(
    tmp_path, recommended, then, now, words
):
    environment = {k: v for k, v in recommended.environment.items() if k != "settings"}
    told = {} if then is None else {"settings": then}
    before = changed(recommended, environment=environment | told)
    found = verify(tmp_path, before, PretendDevice(facts=inspected(settings=now)))
    assert found.holds
    assert [in_words(each) for each in found.differences] == words


@pytest.mark.parametrize(
    "change", [{"data_fingerprint": "xyz"}, {"parameters": 7}, {"optimizer": "Adam"}]
)
def test_for_another_model_or_other_data_it_does_not_hold(tmp_path, recommended, change):
    found = verify(tmp_path, recommended, PretendDevice(facts=inspected(**change)))
    assert not found.holds
    assert [each.name for each in found.differences if each.matters] == list(change)


def test_data_are_compared_at_the_size_that_they_were_looked_at_with(tmp_path):
    """They are built for a batch size, and there was memory for no more than 8 samples."""

    class Batched(PretendDevice):
        most = 8

        def _inspect(self, task):
            size = task.batch_size
            if size > self.most:
                return OutOfMemory(evidence="OOM when allocating tensor")
            return inspected(batch_size=size, data_fingerprint=str(size))

    recommended, device = tune(tmp_path / "run", Batched()), Batched()
    device.most = 64
    assert verify(tmp_path / "later", recommended, device).differences == ()


def test_a_recommendation_is_read_from_its_file(tmp_path, recommended):
    path = tmp_path / "recommendation.json"
    path.write_bytes(msgspec.json.encode(recommended))
    assert read_recommendation(path).batch_size == recommended.batch_size


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"schema_version": 9}', "schema_version 9, newer than the 1"),
        ('{"batch_size": 3}', "is no recommendation"),
        ("[]", "is no recommendation"),
        ("\xff", "is no recommendation"),
    ],
)
def test_what_is_no_recommendation_is_refused(tmp_path, text, problem):
    path = tmp_path / "recommendation.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=problem):
        read_recommendation(path)


def test_a_recommendation_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_recommendation(tmp_path / "nothing.json")


def test_what_was_verified_is_kept_and_listed(tmp_path, recommended):
    run = tmp_path / "verify-1"
    verify(run, recommended, PretendDevice())
    (found,) = runs_in(tmp_path)
    assert (found.state, found.answer) == (
        "verified",
        f"batch {recommended.batch_size} holds",
    )


def test_a_verification_measures_anew(tmp_path, recommended):
    verify(tmp_path, recommended, PretendDevice())
    with (
        pytest.raises(WrongRunDirectoryError, match="measures anew"),
        open_verification(recommended, f"{HERE}/targets.py:model", run_directory=tmp_path),
    ):
        pass


def test_a_verification_prints_all_its_fields_as_json_though_it_does_not_hold(
    tmp_path, recommended, monkeypatch
):
    other = partial(PretendExecutor, facts=inspected(parameters=7))
    monkeypatch.setattr(opening, "LocalExecutor", other)
    path = tmp_path / "recommendation.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(recommended, batch_size=16)))
    here = settings("data=targets.py:data", *QUICK)
    given = ("verify", path, "--target", f"{HERE}/targets.py:model", *here)
    code, stdout, stderr = autobatch_here(*given, "--json", "--quiet", cwd=tmp_path)
    assert code == 6, stderr
    found = json.loads(stdout)
    assert found.keys() == set(Verification.__struct_fields__)
    assert (found["holds"], found["batch_size"], found["outcome"]) == (False, 16, "fits")
    assert "parameters" in {each["name"] for each in found["differences"] if each["matters"]}


def test_verifications_begun_at_the_same_time_have_a_directory_each(
    tmp_path, recommended, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        opened = [
            stack.enter_context(open_verification(recommended, f"{HERE}/targets.py:model"))
            for _ in range(3)
        ]
    assert len({each.record.directory for each in opened}) == 3
