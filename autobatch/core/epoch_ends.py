"""What a pipeline of tf.data may wait for as its epoch ends, and how often it does.

An iterator has a thread that tunes it, at turns whose distance doubles from 20 ms up to a minute
(`Model::OptimizeLoop`, tensorflow 2.21). The epoch's end wakes that thread, but says that it is to
end only afterwards: if the thread looks too soon, it sleeps on to its next turn, for up to as long
as the epoch took, and `fit` waits for it. Whether it does is chance, and few ends are seen of a
size: how long follows from what its epochs take, and how often from all ends, whatever their size.
"""

from collections.abc import Iterable
from math import exp, sqrt
from statistics import NormalDist, fmean

from autobatch.core import quantiles
from autobatch.protocol import EpochEnd, Interval

FIRST_SECONDS, MOST_SECONDS = 0.02, 60.0  # between turns
LEAST_SECONDS = 0.05  # of a wait: shorter ones are not told from what epochs take to begin
SLACK_SHARE = 0.1  # of its life, by which an iterator's turn is late on a busy machine
EPOCHS = NormalDist(sigma=0.1).quantiles(21)  # logarithms of what one takes, over the mean
NEVER = Interval(value=0.0, low=0.0, high=0.0)


def seconds_to_turn(lived: float) -> float:
    """How long after `lived` seconds of an iterator the next turn of its thread comes."""
    turn, distance = 0.0, FIRST_SECONDS
    while turn <= lived:
        turn, distance = turn + distance, min(2 * distance, MOST_SECONDS)
    return turn - lived


def mean_wait(epoch_seconds: float) -> float:
    """What epochs of about that length wait for, of those that do, in s.

    Just before a turn that is nothing, and just after it as much again as the epoch took: so it is
    the mean over epochs that differ by a tenth, as they do from one to the next. Waits that are
    not told from what epochs take to begin count there.
    """
    waits = [seconds_to_turn(epoch_seconds * exp(each)) for each in EPOCHS]
    return fmean(wait if wait >= LEAST_SECONDS else 0.0 for wait in waits)


def epoch_end(lived: float, took: float, *, unsure: float = 0.0) -> EpochEnd:
    """The end of an epoch that took `lived`, and then `took` seconds until the next could begin.

    Its iterator may be `unsure` seconds older. Of no wait at all where the turn comes too soon to
    tell, whether it waited or not: else those that did would be counted more often.
    """
    wait = seconds_to_turn(lived + unsure / 2)
    if wait < LEAST_SECONDS:
        return EpochEnd(wait_seconds=0.0, waited=False)
    late = LEAST_SECONDS + SLACK_SHARE * (lived + took)  # the next iterator is made, too
    earliest = max(lived, lived + took - late)
    turn = earliest + seconds_to_turn(earliest)
    waited = took >= LEAST_SECONDS and turn <= lived + took + unsure
    return EpochEnd(wait_seconds=took if waited else wait, waited=waited)


def share_that_wait(ends: Iterable[EpochEnd]) -> Interval:
    """Of those that tell, with Wilson's 95 % interval (1927); 0 where none was seen to wait."""
    waited = [end.waited for end in ends if end.wait_seconds > 0]
    if not any(waited):
        return NEVER
    z, count = quantiles.NORMAL, len(waited)
    share = sum(waited) / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return Interval(value=share, low=middle - half, high=middle + half)
