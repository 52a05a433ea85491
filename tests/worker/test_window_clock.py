"""The clock of a benchmark, in a made-up time, of a device that trains while Python goes on."""

import itertools
from types import SimpleNamespace

import pytest
from nvml import Driver, card

from autobatch.core import throughput, warm_up
from autobatch.core.epoch_ends import seconds_to_turn
from autobatch.protocol import Measured
from autobatch.worker.nvidia import EnergyCounter
from autobatch.worker.tasks import benchmark, window_clock
from autobatch.worker.tasks.benchmark import input_alone
from autobatch.worker.tasks.window_clock import WindowClock

SIZE = 8


class Time:
    """As told by who sleeps, and wakes somewhat late; each look at it takes a moment."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 1e-6
        return self.now

    def sleep(self, seconds):
        self.now += seconds + 1e-4


time = Time()


@pytest.fixture(autouse=True)
def in_made_up_time(monkeypatch):
    for module in (benchmark, window_clock):
        monkeypatch.setattr(module, "time", time)


class Device:
    """Steps are begun at once, and end one after the other; each sample costs 1 J."""

    def __init__(self, step_seconds):
        self.step_seconds, self.busy_until = step_seconds, 0.0
        self.card = card(millijoules=0)
        self.steps_per_execution, self.stop_training = 1, False
        self.train_function = self.train

    def train(self, samples):
        self.busy_until = max(time.perf_counter(), self.busy_until) + self.step_seconds
        self.card["millijoules"] += 1000 * samples

    def synchronise(self):
        time.sleep(max(0.0, self.busy_until - time.perf_counter()))


def fit(
    device,
    *,
    steps_per_epoch,
    counted=None,
    seconds=0.4,
    ends_after=None,
    epoch_seconds=0.0,
    start_seconds=0.0,
    on_step=None,
    on_begin=None,
    tuned=False,
):
    """As Keras calls the clock, with a ragged batch of 5 samples; the clock, and its energy.

    `counted` are the steps of an epoch as they were counted, where those are not all.
    """
    energy = EnergyCounter("gpu", nvml=Driver(device.card))
    source = SimpleNamespace(count=(counted or steps_per_epoch) * SIZE - 3)
    clock = WindowClock(
        *(seconds, source, SIZE, device.synchronise, energy, lambda progress: None), is_tuned=tuned
    )
    clock.set_model(device)
    epoch = 0
    while not device.stop_training:
        clock.on_epoch_begin(epoch)
        if on_begin:  # the iterator is made anew
            on_begin()
        for batch in range(ends_after or steps_per_epoch):
            clock.on_train_batch_begin(batch)
            time.sleep(0.0 if batch else start_seconds)  # its first batch is drawn
            device.train_function(SIZE - 3 if batch == steps_per_epoch - 1 else SIZE)
            if on_step:
                on_step(device)
            clock.on_train_batch_end(batch)
            if device.stop_training:
                break
        else:
            device.synchronise()  # the logs of the epoch
            time.sleep(epoch_seconds)
            clock.on_epoch_end(epoch)
        epoch += 1
    clock.on_train_end()
    return clock, energy


def rate(clock):
    found = Measured(
        windows=tuple(clock.windows),
        whole_epochs=clock.whole_epochs,
        steps_per_epoch=clock.steps_per_epoch,
        samples_per_epoch=clock.samples,
        device_windows=(),
        peak_bytes=None,
        epoch_overhead_seconds=tuple(clock.overheads),
    )
    return throughput.delivered(found)


@pytest.mark.parametrize(
    ("steps_per_epoch", "whole"), [(4, True), (1000, False)], ids=["whole epochs", "inside epochs"]
)
def test_no_sample_is_counted_without_its_joules(steps_per_epoch, whole):
    clock, energy = fit(Device(0.002), steps_per_epoch=steps_per_epoch)
    assert clock.whole_epochs == whole
    assert energy.joules_per_sample() == pytest.approx(1.0)


def test_steps_that_are_only_begun_are_timed_by_when_they_end():
    """Of 50 ms, where nothing but `synchronise` waits: begun, an epoch of them takes no time."""
    clock, _ = fit(Device(0.05), steps_per_epoch=200)
    assert len(clock.windows) >= 8
    assert all(window.seconds >= 0.045 * window.steps for window in clock.windows)
    assert rate(clock).value <= SIZE / 0.045


@pytest.mark.parametrize("steps_per_epoch", [4, 20])
def test_what_epochs_take_to_end_is_measured(steps_per_epoch):
    clock, _ = fit(Device(0.01), steps_per_epoch=steps_per_epoch, epoch_seconds=0.03)
    assert clock.overheads
    # As long as a step usually takes is taken off, which is somewhat more on a busy machine.
    assert min(clock.overheads) >= 0.9 * 0.03


@pytest.mark.parametrize("steps_per_epoch", [4, 20])
@pytest.mark.parametrize("step_seconds", [0.002, 0.01])
def test_what_epochs_that_end_early_take_is_lost_nowhere(steps_per_epoch, step_seconds):
    """It is in a window, or between two."""
    clock, _ = fit(
        Device(step_seconds), steps_per_epoch=steps_per_epoch, ends_after=3, epoch_seconds=0.03
    )
    assert clock.overheads
    epochs = sum(window.steps for window in clock.windows) // 3
    between = 0 if clock.whole_epochs else sum(clock.overheads)
    took = between + sum(window.seconds for window in clock.windows)
    assert took >= (epochs - 1) * (3 * step_seconds + 0.03)


@pytest.mark.parametrize("steps_per_epoch", [3, 20, 100])
def test_what_the_first_batch_of_an_epoch_is_waited_for_counts_once_an_epoch(steps_per_epoch):
    """Not as often as windows happen to hold it: few are measured, and end with one."""
    clock, _ = fit(Device(0.005), steps_per_epoch=steps_per_epoch, start_seconds=0.3)
    epoch_seconds = steps_per_epoch * 0.005 + 0.3
    assert rate(clock).value == pytest.approx(clock.samples / epoch_seconds, rel=0.1)


@pytest.mark.parametrize(("step_seconds", "whole"), [(0.1, True), (0.4, False)])
def test_epochs_of_one_step_are_measured_with_what_they_take_to_end(step_seconds, whole):
    clock, _ = fit(Device(step_seconds), steps_per_epoch=1, epoch_seconds=0.1)
    assert clock.whole_epochs == whole
    assert min(clock.overheads) >= 0.1
    assert rate(clock).value <= clock.samples / (step_seconds + 0.09)


def test_slow_first_steps_are_in_no_window():
    """As where caches fill, for longer than two stretches."""
    slow = iter([0.2 * 0.8**n for n in range(12)])
    clock, _ = fit(
        Device(0.002),
        steps_per_epoch=4,
        seconds=2.0,
        on_step=lambda device: time.sleep(next(slow, 0.0)),
    )
    assert clock.steps - sum(window.steps for window in clock.windows) >= 12


def test_a_callback_that_ends_the_training_does_not_end_the_measurement():
    def end(device):
        device.stop_training = True

    clock, _ = fit(Device(0.002), steps_per_epoch=4, on_step=end)
    assert len(clock.windows) >= 8
    assert all(window.steps % 4 == 0 for window in clock.windows)


def test_a_training_function_made_anew_is_watched_and_kept():
    device = Device(0.002)

    def make_anew(device):
        if device.train_function != device.train and not hasattr(device, "anew"):
            device.anew = device.train_function = lambda samples: device.train(samples)

    clock, _ = fit(device, steps_per_epoch=4, on_step=make_anew)
    assert len(clock.windows) >= 8
    assert device.train_function == device.anew


def test_training_by_a_callback_is_not_a_step_of_the_epoch():
    def train_on_batch(device):
        device.train_function(1)

    clock, _ = fit(Device(0.002), steps_per_epoch=4, on_step=train_on_batch)
    assert all(window.samples == window.steps / 4 * clock.samples for window in clock.windows)


@pytest.mark.parametrize(
    ("counted", "steps_per_epoch", "stretch_seconds"),
    [(20, 10_000, 0.1), (2, 10_000, 0.1), (2, 10_000, 0.005), (20, 60, 0.1), (2, 6, 0.1)],
)
def test_an_epoch_that_goes_on_beyond_what_was_counted_is_measured(
    monkeypatch, counted, steps_per_epoch, stretch_seconds
):
    """And what its end takes is shared by all the samples that it has.

    After the shortest warm-up, so few steps are known of it that windows of whole epochs would do.
    """
    monkeypatch.setattr(warm_up, "STRETCH_SECONDS", stretch_seconds)
    clock, energy = fit(
        Device(0.004),
        steps_per_epoch=steps_per_epoch,
        counted=counted,
        epoch_seconds=0.04,
    )
    assert len(clock.windows) >= 8
    epoch_seconds = steps_per_epoch * 0.004 + 0.04
    assert rate(clock).value <= 1.05 * steps_per_epoch * SIZE / epoch_seconds
    assert rate(clock).value >= 0.5 * steps_per_epoch * SIZE / epoch_seconds
    assert energy.joules_per_sample() == pytest.approx(1.0, rel=0.1)  # one batch may be ragged
    if steps_per_epoch < 1000:
        assert clock.steps_per_epoch == steps_per_epoch


@pytest.mark.parametrize("samples", [50, 57, 29, 20])
def test_of_the_input_alone_full_batches_count_after_the_first(samples):
    """Batches of 10, the last of what is left; epoch after epoch. What is made first is not timed:
    `fit` makes it once."""
    epochs = []  # the batches drawn in each

    def epoch():
        time.sleep(0.0 if epochs else 0.1)
        return start

    def start():
        time.sleep(0.0 if epochs else 0.05)
        drawn = []
        epochs.append(drawn)

        def draw():
            time.sleep(0.001)
            drawn.append(min(10, samples - sum(drawn)))
            return drawn[-1] > 0

        return draw

    windows, start_seconds = input_alone(epoch, batch_size=10, samples=samples, seconds=0.2)
    assert start_seconds == pytest.approx(0.051, abs=0.04)  # of the first epoch, and its batch
    counted = [epoch[1:] for epoch in epochs]
    assert len(epochs) > 2
    assert sum(window.samples for window in windows) == sum(map(sum, counted))
    assert sum(window.steps for window in windows) == sum(map(len, counted))
    assert {size for epoch in counted for size in epoch} == {10}


def test_an_input_that_ends_early_is_not_asked_for_ever():
    windows, _ = input_alone(lambda: lambda: lambda: False, batch_size=10, samples=50, seconds=0.1)
    assert windows == ()


@pytest.mark.parametrize(
    ("step_seconds", "steps_per_epoch", "whole"), [(0.01, 40, False), (0.055, 3, True)]
)
def test_what_tf_data_waits_for_at_the_end_of_an_epoch_is_kept_apart(
    step_seconds, steps_per_epoch, whole
):
    """Until the next turn of its thread, at every third: overheads are without, and windows, too,
    unless they are whole epochs."""
    began, ends, waited = [0.0], [0], []

    def on_begin():
        ends[0] += 1
        wait = seconds_to_turn(time.perf_counter() - began[0])
        if ends[0] % 3 == 0 and wait >= 0.06:
            time.sleep(wait)
            waited.append(wait)
        began[0] = time.perf_counter()

    device = Device(step_seconds)
    clock, _ = fit(
        device, steps_per_epoch=steps_per_epoch, seconds=2.0, on_begin=on_begin, tuned=True
    )
    assert clock.whole_epochs == whole
    seen = [end.wait_seconds for end in clock.epoch_ends if end.waited]
    assert waited
    assert seen == pytest.approx(waited, abs=0.03)
    assert len(seen) < len(clock.epoch_ends)
    assert max(clock.overheads) < 0.05
    in_windows = sum(waited) / ends[0] if whole else 0.0
    epoch_seconds = steps_per_epoch * step_seconds + in_windows
    assert rate(clock).value == pytest.approx(clock.samples / epoch_seconds, rel=0.25)


@pytest.mark.parametrize(
    ("longer", "ended"),
    [(1.0, 2.0), (1.04, 2.0), (1.2, 4.0)],  # the rate is then known to 0, 1.6 and 7 %
)
def test_what_is_known_to_2_percent_after_half_of_the_time_takes_no_more(longer, ended):
    """Of 4 s: epochs of 0.21 s, each a window, and every second one longer."""
    device, step_seconds = Device(0.0), itertools.cycle((0.035, 0.035 * longer))

    def on_begin():
        device.step_seconds = next(step_seconds)

    clock, _ = fit(device, steps_per_epoch=6, seconds=4.0, on_begin=on_begin)
    assert clock.whole_epochs
    assert len(clock.windows) > 8  # so that it is no matter how many there have to be
    took = sum(window.seconds for window in clock.windows)
    assert took == pytest.approx(ended, abs=0.25)  # an epoch; before the first it was warm


@pytest.mark.parametrize(
    ("step_seconds", "steps_per_epoch", "start_seconds"), [(0.5, 1000, 0.0), (0.02, 100, 0.3)]
)
def test_no_measurement_takes_more_than_three_times_as_long_as_was_asked(
    step_seconds, steps_per_epoch, start_seconds
):
    """With few windows, of a step each; or with one start of an epoch, which may be any other."""
    clock, _ = fit(
        Device(step_seconds),
        steps_per_epoch=steps_per_epoch,
        seconds=1.0,
        start_seconds=start_seconds,
    )
    took = sum(window.seconds for window in clock.windows) + sum(clock.overheads)
    assert took == pytest.approx(3.0, rel=0.15)
