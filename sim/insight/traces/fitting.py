"""How far two samples are apart."""

import numpy as np

from sim.workload.table import Floats, Ints


def ks_distance(first: Floats | Ints, second: Floats | Ints) -> float:
    """The two-sample Kolmogorov-Smirnov distance: the largest difference of the two distribution functions."""
    both = np.concatenate([first, second])
    below = [np.searchsorted(np.sort(sample), both, side="right") / len(sample) for sample in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def rounded_to(value: float, digits: int = 4) -> float:
    """A number with so many significant digits, for people to read."""
    return float(f"{value:.{digits}g}")
