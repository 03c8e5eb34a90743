"""Do the real run and the simulated one behave alike, or does one of them run away?

Two runs diverge when their latencies cannot be compared at all, because the one is in another regime:

1. queue: at the end of the arrivals the queue still grows in the one and not in the other. A request queues from
   its arrival to its first token; growing is judged by `sim.metrics.queue_growth`;
2. speed: output tokens per second differ by more than a fifth;
3. time: the mean E2E latency differs by more than a factor of 2, or the mean TTFT by more than a factor of 3.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from sim.insight.validation.errors import Pair, column
from sim.metrics import Saturation, queue_growth

_SPEED = 0.2
_E2E_FACTOR = 2.0
_TTFT_FACTOR = 3.0


@dataclass(frozen=True)
class Divergence:
    """Whether two runs diverge, why, and how each of them does at the end of the arrivals."""

    reasons: tuple[str, ...]
    measured: Saturation
    simulated: Saturation

    @property
    def diverged(self) -> bool:
        return bool(self.reasons)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "diverged": self.diverged,
            "reasons": list(self.reasons),
            "measured": _side(self.measured),
            "simulated": _side(self.simulated),
        }


def divergence(table: pd.DataFrame, latencies: dict[str, dict[str, Pair]], speed: Pair) -> Divergence:
    """Judge compared requests, by their means and by output tokens per second."""
    measured, simulated = (_growth(table, side) for side in ("measured", "simulated"))
    reasons = []
    if measured.saturated != simulated.saturated:
        one, other = ("measured", "simulated") if measured.saturated else ("simulated", "measured")
        grown = measured if measured.saturated else simulated
        reasons.append(
            f"the {one} queue still grows at the last arrival ({grown.backlog:,} without a first token), "
            f"the {other} one does not"
        )
    if abs(speed.error) > _SPEED:
        reasons.append(f"output tokens per second differ by {speed.error:+.0%}")
    for name, factor in (("e2e", _E2E_FACTOR), ("ttft", _TTFT_FACTOR)):
        mean = latencies[name]["mean"]
        if mean.measured > 0 and not 1 / factor <= mean.simulated / mean.measured <= factor:
            times = mean.simulated / mean.measured
            reasons.append(f"the mean {name.upper()} is {times:.2g} times the measured one")
    return Divergence(tuple(reasons), measured, simulated)


def _growth(table: pd.DataFrame, side: str) -> Saturation:
    arrival = column(table, "arrival_s")
    return queue_growth(arrival, arrival + column(table, f"{side}_ttft_s"))


def _side(growth: Saturation) -> dict[str, Any]:
    told = asdict(growth)
    kept = ("saturated", "backlog", "growth", "drain_s")
    return {name: told[name] if np.isfinite(told[name]) else None for name in kept}
