"""`probe` where luck decides, near the edge, whether a process has the memory: as on the CPU."""

import numpy as np
import pytest
from pretend import MIB, PretendDevice, session

from autobatch import tuner
from autobatch.protocol import Crashed, Fits, OutOfMemory, TimedOut, UserCodeFailed, changed

EDGE = 1310  # samples that the limit has room for, were memory without gaps
LIMIT_BYTES = MIB + 100_000 * EDGE


class Lucky(PretendDevice):
    """A process lays out its memory more or less luckily; in few steps it needs somewhat less."""

    def __init__(self, luck, spread):
        super().__init__()
        self.luck, self.spread = luck, spread

    def _probe(self, task):
        room = (task.limit_bytes - MIB) / 100_000
        brief = 0 if task.seconds > 10 else self.spread if task.verify else 2 * self.spread
        if task.batch_size > room * (1 - self.spread * abs(self.luck.normal()) + brief):
            return OutOfMemory(evidence="OOM when allocating tensor")
        peak = min(MIB + 100_000 * task.batch_size, task.limit_bytes)
        return Fits(
            peak_bytes=peak, least_peak_bytes=peak, full_steps=10, steps=10, step_seconds=0.01
        )


def probed(folder, spread, **more):
    device = Lucky(np.random.default_rng(7), spread)
    for run in range(20):
        overrides = ["time_limit=10h"]
        with session(folder / str(run), device, overrides, limit_bytes=LIMIT_BYTES) as opened:
            yield tuner.probe(opened, **more)


@pytest.mark.parametrize(
    ("spread", "mostly", "at_most"), [(0, 8, 8), (0.01, 16, 25), (0.04, 17, 26)]
)
def test_the_answer_is_near_the_edge_for_few_probes_more(tmp_path, spread, mostly, at_most):
    found = list(probed(tmp_path, spread))
    counts = sorted(len(each.probes) for each in found)
    assert counts[len(counts) // 2] <= mostly
    assert counts[-1] <= at_most
    for each in found:
        assert (1 - 3 * spread - 0.01) * EDGE <= each.largest_fitting <= EDGE
        assert each.ceiling <= 0.9 * EDGE
        assert each.verified


def test_what_failed_before_is_proved_in_three_processes(tmp_path):
    """Also where it did not fail for memory, for all that is known, so that nothing bounds it."""
    device = PretendDevice(fits_up_to=10**9)
    fits = device._probe
    crashed = Crashed(signal=11, exit_code=None, log_tail="")
    device._probe = lambda task: (
        crashed if task.repeat == 1 and task.batch_size > 1290 else fits(task)
    )
    with session(tmp_path, device, limit_bytes=LIMIT_BYTES) as opened:
        found = tuner.probe(opened)
    assert 1270 < found.largest_fitting <= 1290
    proofs = [task for task in device.tasks if getattr(task, "verify", False)]
    of_answer = {task.repeat for task in proofs if task.batch_size == found.largest_fitting}
    assert of_answer == {0, 1, 2}


def test_a_crash_near_the_edge_asks_nothing_of_sizes_too_small_for_the_model(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    fits = device._probe
    crashed = Crashed(signal=11, exit_code=None, log_tail="")
    too_small = UserCodeFailed(message="pairs of samples are needed")

    def probe(task):
        if task.batch_size < 8:
            return too_small
        return crashed if task.verify and task.batch_size > 1290 else fits(task)

    device._probe = probe
    with session(tmp_path, device, limit_bytes=LIMIT_BYTES) as opened:
        found = tuner.probe(opened)
    assert 1200 < found.largest_fitting <= 1290


def test_a_crash_of_the_smallest_size_that_trained_is_stepped_down_from(tmp_path):
    """It began at 32, and nothing above it fits."""
    device = PretendDevice(fits_up_to=32)
    fits = device._probe
    crashed = Crashed(signal=11, exit_code=None, log_tail="")
    device._probe = lambda task: crashed if task.verify and task.batch_size == 32 else fits(task)
    with session(tmp_path, device, limit_bytes=LIMIT_BYTES) as opened:
        found = tuner.probe(opened)
    assert 28 <= found.largest_fitting < 32


def test_what_hangs_is_not_tried_with_a_little_less(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    fits, hangs = device._probe, TimedOut(deadline_seconds=600.0)
    device._probe = lambda task: hangs if task.verify and task.batch_size > 700 else fits(task)
    with session(tmp_path, device, limit_bytes=LIMIT_BYTES) as opened:
        found = tuner.probe(opened)
    hung = [t.batch_size for t in device.tasks if getattr(t, "verify", 0) and t.batch_size > 700]
    assert len(hung) <= 8
    assert 680 < found.largest_fitting <= 700
    assert found.bounded_by == "failure"


def test_what_trains_without_validation_alone_is_not_called_uneven(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    fits, out = device._probe, OutOfMemory(evidence="in validation")
    device._probe = lambda task: out if task.verify and task.batch_size > 1180 else fits(task)
    with session(tmp_path, device, limit_bytes=LIMIT_BYTES) as opened:
        found = tuner.probe(opened)
    assert 1160 < found.largest_fitting <= 1180
    assert not any("uneven" in note for note in found.notes)


def test_steps_too_slow_for_two_hundred_are_told(tmp_path):
    device = PretendDevice(fits_up_to=10**9)
    fits = device._probe
    slow = {"step_seconds": 1.0}
    device._probe = lambda task: (
        changed(found, **slow) if isinstance(found := fits(task), Fits) else found
    )
    with session(tmp_path, device, limit_bytes=LIMIT_BYTES) as opened:
        found = tuner.probe(opened)
    assert any("was verified over 3 steps, as they are slow" in note for note in found.notes)


def test_an_exact_search_ends_too(tmp_path):
    counts = [len(found.probes) for found in probed(tmp_path, 0.01, exact=True)]
    assert max(counts) <= 64


class InPieces(PretendDevice):
    """Of the memory that it needs it holds four fifths: the rest lies between."""

    def __init__(self):
        super().__init__(fits_up_to=10**9)

    def _probe(self, task):
        found = super()._probe(task)
        if not isinstance(found, Fits):
            return found
        held = found.peak_bytes * 4 // 5
        return changed(found, peak_bytes=held, least_peak_bytes=held)


@pytest.mark.parametrize("exact", [False, True])
def test_what_holds_less_than_it_needs_keeps_the_headroom_where_it_trains_in_less(tmp_path, exact):
    with session(tmp_path, InPieces(), limit_bytes=LIMIT_BYTES) as opened:
        found = tuner.probe(opened, exact=exact)
    assert 0.98 * EDGE <= found.largest_fitting <= EDGE
    assert 0.85 * EDGE <= found.ceiling <= 0.9 * EDGE
    ran_at_last = [p for p in found.probes if p.batch_size == found.ceiling and p.outcome == "fits"]
    assert ran_at_last[-1].limit_bytes <= 0.9 * LIMIT_BYTES


def test_a_size_that_trains_in_less_than_the_limit_is_the_ceiling_itself(tmp_path):
    """Two samples need three quarters of what there is, three more than all."""
    device = PretendDevice(fits_up_to=2)
    with session(tmp_path, device, limit_bytes=(MIB + 200_000) * 4 // 3) as opened:
        found = tuner.probe(opened)
    assert (found.largest_fitting, found.ceiling) == (2, 2)
    assert found.probes[-1].limit_bytes < found.limit_bytes
