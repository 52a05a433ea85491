"""What finalists are ranked by: how much sooner they are; where trials anneal, how they end."""

from autobatch.core.metric import is_maximised
from autobatch.protocol import Candidate, Interval, Recommendation
from autobatch.ui import words
from autobatch.units import ratio

INTERVAL, REACHED = "95 % interval", "reached in"


def name(result: Recommendation) -> str:
    """More of it is better."""
    return f"ends {_way(result)} by" if result.learning_rate_schedule else "sooner"


def _way(result: Recommendation) -> str:
    return "higher" if is_maximised(result.metric) else "lower"


def titles(result: Recommendation) -> tuple[str, str]:
    """(of a chart, of its axis)."""
    whose, way = words.compared(result), _way(result)
    if not result.learning_rate_schedule:
        return f"How much sooner than {whose}", f"sooner than {whose}"
    return f"How much {way} than {whose} each ends", f"ends {way} than {whose} by"


def gain(candidate: Candidate, result: Recommendation) -> Interval | None:
    """Against the baseline; None where there is none."""
    if not result.learning_rate_schedule:
        return candidate.speedup
    found = candidate.end_difference
    return found if found is None or is_maximised(result.metric) else found.times(-1)


def told(candidate: Candidate, result: Recommendation) -> tuple[str, str]:
    """(the gain, its interval); empty where there is none."""
    found = gain(candidate, result)
    if found is None:
        return "", ""
    if result.learning_rate_schedule:
        return f"{found.value:.3g}", f"{found.low:.3g} to {found.high:.3g}"
    return f"{ratio(found.value)}×", f"{ratio(found.low)}–{ratio(found.high)}"


def columns(result: Recommendation) -> tuple[str, ...]:
    """The gain first where times do not decide."""
    if result.learning_rate_schedule:
        return name(result), INTERVAL, REACHED
    return REACHED, name(result), INTERVAL


def cells(candidate: Candidate, result: Recommendation) -> tuple[str, ...]:
    """By `columns`."""
    reached = words.reached_in(candidate, result) if candidate.is_finalist else ""
    if result.learning_rate_schedule:
        return *told(candidate, result), reached
    return reached, *told(candidate, result)


def dispensable(result: Recommendation) -> tuple[str, str]:
    """Of the columns, the first first."""
    return (REACHED, INTERVAL) if result.learning_rate_schedule else (INTERVAL, REACHED)
