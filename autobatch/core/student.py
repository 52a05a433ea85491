"""Student's t distribution, by which means of few values get their intervals."""

from scipy.special import stdtrit  # scipy.stats, which has it too, takes a second to import


def quantile(share: float, degrees: int) -> float:
    """What t, of so many degrees of freedom, is below with a probability of `share`."""
    return float(stdtrit(degrees, share))
