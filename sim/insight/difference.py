"""One variant against another in one metric: how far apart, and whether that can be claimed."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

_SURE = 0.95
"""Of the interval, both sides together."""


@dataclass(frozen=True)
class Difference:
    """A variant against the first one, in one metric, paired by seed.

    `change` is the mean of variant minus first; `low` and `high` bound it with 95% confidence (Student's t): the mean's
    standard error over the seeds and, beside it, how much the change moves when the step times are wrong as the
    profile may be. `better` is the probability that the variant is the better one. These three are None where
    neither is known. `doubt` says what makes the interval hold 0: "model", where the seeds alone would not, or "seeds".
    """

    variant: str
    metric: str
    first: float
    value: float
    change: float
    low: float | None = None
    high: float | None = None
    better: float | None = None
    doubt: str = ""

    @property
    def sure(self) -> bool:
        """Whether it can be claimed: the interval is known, and 0 lies outside."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def sureness(
    changes: Sequence[float], moved: Sequence[float], more_is_better: bool | None
) -> tuple[float, float, float | None, str]:
    """(low, high, probability of being better, doubt) of the mean change, by Student's t; see `Difference`.

    `changes` has one change per seed, at least two; `moved` says by how much each moves with wrong step times. More
    seeds make the mean over them surer, but the model no better.
    """
    from scipy.stats import t

    count = len(changes)
    mean = sum(changes) / count
    chance = sum((change - mean) ** 2 for change in changes) / (count - 1) / count
    wrong = sum(move**2 for move in moved) / len(moved) if moved else 0.0
    error = sqrt(chance + wrong)
    likely = float(mean > 0) if mean else 0.5
    more = float(t.cdf(mean / error, count - 1)) if error else likely
    times = float(t.ppf((1 + _SURE) / 2, count - 1))
    reach = times * error
    doubt = "" if abs(mean) > reach else "model" if wrong and abs(mean) > times * sqrt(chance) else "seeds"
    better = None if more_is_better is None else more if more_is_better else 1.0 - more
    return mean - reach, mean + reach, better, doubt
