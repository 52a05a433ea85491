"""What the model of noise scale and step time says, in sentences with measured numbers."""

from math import isfinite

from autobatch.core import time_to_target
from autobatch.core.evidence import Evidence
from autobatch.core.outlook import Outlook
from autobatch.core.standing import Choice
from autobatch.protocol import Interval, NoiseScale
from autobatch.units import about, ratio

NEAR_OPTIMUM = 0.005  # of the least time: what rounds to no per cent

CRITICAL = "training at it takes twice the fewest possible steps, and twice the fewest samples"


def on_the_model(choice: Choice, evidence: Evidence, outlook: Outlook) -> tuple[str, ...]:
    """What noise scale and step time say, beside what was tried."""
    if not evidence.noise:
        return ()
    last, first = evidence.noise[-1], evidence.noise[0]
    critical = critical_batch(outlook.critical_batch, evidence.inspected.accumulation_steps)
    earlier = f" ({noise(first)} after {first.step})" if first is not last else ""
    with_trials = "with the trials, " if outlook.from_trials else ""
    told = (
        f"Noise scale: {noise(last)} samples after {last.step} steps of your training{earlier}; "
        f"{with_trials}the critical batch is {critical}."
    )
    if outlook.optimal_batch and isfinite(outlook.optimal_batch):
        sizes = [each.batch_size for each in outlook.predictions]
        beyond = outlook.relative_time - 1
        where, least = f"near {about(outlook.optimal_batch)}", "its time"
        as_good = "as good as there"
        if outlook.optimal_batch < 1:
            where, least = "at the smallest batch", "the best that can be used here"
            as_good = least
        elif not min(sizes) <= outlook.optimal_batch <= max(sizes):
            where += ", outside the sizes that can be used here"
            least = as_good = "the best of those"
        near = f"within {beyond:.0%} of {least}" if beyond >= NEAR_OPTIMUM else as_good
        line = "" if outlook.is_described else " (a line through them, which not all follow)"
        told += (
            f" With the measured step times{line}, the model puts the optimum "
            f"{where}; batch {choice.setting.batch_size} is {near}."
        )
    told += _on_accumulation(choice, evidence, outlook)
    growth = outlook.growth
    if growth is None:
        return (told,)
    share = f"about {growth.saving:.0%}" if growth.saving >= 0.01 else "less than 1%"
    told += f" A batch that grows with the noise scale would save {share} of the time: "
    if growth.saving < time_to_target.PAYS:
        return (f"{told}not worth it.",)
    return (
        f"{told}near {about(growth.early_batch)} at first, then doubled up to near "
        f"{about(growth.late_batch)}, and the learning rate by the rule with it; not tried.",
    )


def _on_accumulation(choice: Choice, evidence: Evidence, outlook: Outlook) -> str:
    """What pays is told where as many samples do not fit as one batch, which takes less time."""
    found = outlook.accumulation
    # Who does it already is told elsewhere.
    if found is None or evidence.inspected.accumulation_steps > 1:
        return ""
    if found.batches == 1:
        return " Accumulating gradients over several batches would not be faster."
    samples = found.batches * choice.setting.batch_size
    if samples <= outlook.ceiling:
        return ""
    return (
        f" Updates of {samples} samples, which take several batches, would be at most "
        f"{ratio(1 + found.gain)} times as soon, by the model; not tried (--effective-batch "
        f"{samples} says how)."
    )


def on_a_guess(evidence: Evidence, outlook: Outlook) -> tuple[str, ...]:
    """What speedups of more devices are predicted by, where no noise scale was resolved."""
    if any(each.value is not None for each in evidence.noise[-1:]):
        return ()
    critical = outlook.critical_batch
    known = "known from the trials alone" if outlook.from_trials else "a guess"
    return (
        "The speedups with more devices follow from the critical batch, which here is "
        f"{known}, since the noise scale was not resolved: {about(critical.value)} (95 % interval "
        f"{about(critical.low)} to {about(critical.high)}).",
    )


def critical_batch(found: Interval, accumulation_steps: int) -> str:
    """What it is, and means: other than the noise scale it is of a batch, and not of an update."""
    update = ""
    if accumulation_steps > 1:
        update = f", {about(accumulation_steps * found.value)} samples an update"
    interval = f"95 % interval {about(found.low)} to {about(found.high)}"
    return f"{about(found.value)} ({interval}){update}: {CRITICAL}"


def noise(found: NoiseScale) -> str:
    """The scale with its interval, in samples; or the bound that is known of it."""
    if found.value is None or found.high is None:
        return f"at least {about(found.low)}"
    return f"{about(found.value)} ({about(found.low)} to {about(found.high)})"
