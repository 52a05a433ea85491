"""How much data there is, is found out once, by who inspects it; all others go by that."""

import json
from pathlib import Path

import msgspec
import pytest
from asking import ask
from feeds import endless
from worker.test_targets import HERE, LIMIT, TRIAL

from autobatch import tuner
from autobatch.opening import open_session
from autobatch.protocol import Extent, Fits, Inspect, Inspected, Probe, Trained
from autobatch.worker.datasets import unbatched
from autobatch.worker.source import Look

GOES_ON = (Extent(samples=50, is_whole=False), Extent(samples=20, is_whole=False))
ENDLESS = ("endless_both", "endless_batches", "endless_batches_of_one_shape", "endless_generators")


def ask_dense(tmp_path, task, data, extents=GOES_ON, **more):
    target = {"folder": HERE, "model": "kinds.py:dense", "data": f"feeds.py:{data}"}
    return ask(tmp_path, task, extents=extents, **target, **more)[0]


@pytest.mark.parametrize("data", ENDLESS)
def test_of_data_that_goes_on_a_probe_has_no_more_than_it_needs(tmp_path, data):
    task = Probe(batch_size=20, limit_bytes=LIMIT, verify=True, seconds=0)
    found = ask_dense(tmp_path, task, data, deadline_seconds=60)
    assert isinstance(found, Fits), found
    assert found.full_steps >= 10
    assert found.ragged_samples == (0 if data == "endless_batches_of_one_shape" else 10)
    assert found.validated


@pytest.mark.parametrize("data", ENDLESS)
def test_data_that_goes_on_may_fill_a_batch_larger_than_was_counted(tmp_path, data):
    found = ask_dense(tmp_path, Probe(batch_size=64, limit_bytes=LIMIT, seconds=0), data)
    assert isinstance(found, Fits), found
    assert found.full_steps >= 3


@pytest.mark.parametrize("data", ENDLESS)
def test_what_was_counted_until_time_was_up_is_not_counted_again(tmp_path, data):
    found = ask_dense(tmp_path, Inspect(batch_size=10), data)
    assert isinstance(found, Inspected), found
    assert (found.train_samples, found.validation_samples) == (50, 20)
    assert found.extents == GOES_ON
    more = (Extent(samples=70, is_whole=False), Extent(samples=30, is_whole=False))
    other = ask_dense(tmp_path, Inspect(batch_size=10), data, more)
    assert other.train_samples == 70
    assert other.data_fingerprint == found.data_fingerprint  # it depends on the machine's load


def test_what_was_counted_to_its_end_is_counted_again_when_it_is_inspected(tmp_path):
    before = (Extent(samples=40, is_whole=True), Extent(samples=20, is_whole=True))
    found = ask_dense(tmp_path, Inspect(batch_size=20), "of_unknown_size", before)
    assert found.extents == (Extent(samples=50, is_whole=True), before[1])


@pytest.mark.parametrize("data", ["slow_samples", "slow_batches"])
def test_what_counting_takes_no_process_to_come_does(tmp_path, data):
    found = ask_dense(tmp_path, Inspect(batch_size=5), data, extents=())
    assert isinstance(found, Inspected), found
    assert 0.36 <= found.saved_seconds < 3
    again = ask_dense(tmp_path, Inspect(batch_size=5), data, GOES_ON[:1])
    assert again.saved_seconds == 0


def test_counting_ends_with_the_time_for_it_and_leaves_validation_as_much():
    looks = [unbatched(endless(), "it", Look(seconds), ends=True) for seconds in (0.0, 0.2)]
    assert [look.is_whole for look in looks] == [False, False]
    assert 1 == looks[0].count < looks[1].count
    assert [sum(1 for _ in look.data) for look in looks] == [look.count for look in looks]
    assert looks[0].fingerprint() == looks[1].fingerprint()


def test_a_run_goes_by_what_its_first_process_has_found(tmp_path):
    names = {"model": f"{HERE}/kinds.py:dense", "data": f"{HERE}/feeds.py:of_unknown_size"}
    Path(tmp_path, "recipe.yaml").write_text(json.dumps(names))
    with open_session(f"{tmp_path}/recipe.yaml", run_directory=tmp_path / "run") as session:
        found = tuner.inspect(session)
        assert found.extents == tuple(Extent(samples=n, is_whole=True) for n in (50, 20))
        assert session.executor.extents() == found.extents


def test_what_fills_no_batch_of_a_fixed_size_is_left_out_wherever_the_data_ends(tmp_path):
    target = {"model": "kinds.py:stateful_rnn", "data": "feeds.py:sequences_of_unknown_size"}
    known = (Extent(samples=40, is_whole=False), Extent(samples=20, is_whole=False))
    found, _ = ask(tmp_path, TRIAL, folder=HERE, extents=known, **target)
    assert isinstance(found, Trained), found


@pytest.mark.parametrize("data", ["endless_validation", "endless_both", "endless_one"])
def test_trials_are_evaluated_on_the_validation_samples_that_were_counted(tmp_path, data):
    task = msgspec.structs.replace(TRIAL, steps=2, evaluate_at=(2,))
    known = GOES_ON if data != "endless_one" else (Extent(samples=100, is_whole=False),)
    found = ask_dense(tmp_path, task, data, known, deadline_seconds=60)
    assert isinstance(found, Trained), found
    if data == "endless_validation":
        assert found.evaluations == ask_dense(tmp_path, task, "unbatched").evaluations
