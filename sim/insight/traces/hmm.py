"""Two alternating Poisson rates behind a series of counts: a hidden Markov model, fitted by expectation-maximisation.

The recursions are those of L. Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77 (1989), with scaling.
"""

import numpy as np

from sim.workload.table import Floats

_ROUNDS = 60
_ENOUGH = 1e-4


def two_rates(counts: Floats) -> tuple[float, float, float, float] | None:
    """(high mean, low mean, chance to leave the high state, chance to leave the low one), all per window.

    None where the counts do not show two states, each visited for over a window on average.
    """
    if len(counts) < 20 or counts.var() <= counts.mean():
        return None
    middle = counts.mean()
    high, low = counts[counts > middle].mean(), counts[counts <= middle].mean()
    leave = np.array([0.1, 0.1])
    previous = -np.inf
    for _ in range(_ROUNDS):
        means = np.maximum([high, low], 1e-6)
        weights, moves, likelihood = _expect(counts, means, leave)
        totals = weights.sum(axis=0)
        if totals.min() < 2:
            return None
        high, low = (weights * counts[:, None]).sum(axis=0) / totals
        leave = np.clip(moves / np.maximum(totals, 1e-9), 1e-6, 1 - 1e-6)
        if likelihood - previous < _ENOUGH * abs(likelihood) * 1e-2:
            break
        previous = likelihood
    if high < low:
        high, low, leave = low, high, leave[::-1]
    separate = high > 1.3 * low and leave.max() < 0.6
    return (float(high), float(low), float(leave[0]), float(leave[1])) if separate else None


def _expect(counts: Floats, means: Floats, leave: Floats) -> tuple[Floats, Floats, float]:
    """Chance of each state in each window, f8[n, 2]; expected moves out of each state, f8[2]; log-likelihood.

    Plain numbers in place of arrays, for two states are too few to pay for numpy's calls.
    """
    logs = counts[:, None] * np.log(means) - means
    top = logs.max(axis=1, keepdims=True)
    seen = np.exp(logs - top).tolist()
    stay_a, stay_b, a_to_b, b_to_a = 1 - leave[0], 1 - leave[1], float(leave[0]), float(leave[1])
    a, b = 0.5, 0.5
    forward, scales = [], []
    for e_a, e_b in seen:
        a, b = (a * stay_a + b * b_to_a) * e_a, (a * a_to_b + b * stay_b) * e_b
        scale = a + b or 1e-300
        a, b = a / scale, b / scale
        forward.append((a, b))
        scales.append(scale)
    n = len(seen)
    weights = [(0.0, 0.0)] * n
    back_a = back_b = 1.0
    moved_a = moved_b = 0.0
    weights[n - 1] = forward[n - 1]
    for t in range(n - 2, -1, -1):
        (a, b), (e_a, e_b) = forward[t], seen[t + 1]
        to_a, to_b = e_a * back_a / scales[t + 1], e_b * back_b / scales[t + 1]
        moved_a += a * a_to_b * to_b
        moved_b += b * b_to_a * to_a
        back_a, back_b = stay_a * to_a + a_to_b * to_b, b_to_a * to_a + stay_b * to_b
        weights[t] = (a * back_a, b * back_b)
    likelihood = float(np.log(scales).sum() + top.sum())
    return np.array(weights), np.array([moved_a, moved_b]), likelihood
