"""Autoscaling rules: how many replicas a pool should have. One file each, no clock and no I/O.

A rule is a small frozen declaration; `start` gives the running thing, a function from what was seen of the pool to
the number of replicas that it should have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Seen(NamedTuple):
    """What a pool's metrics say at one time."""

    time_s: float
    ready: int
    """Replicas that serve."""
    coming: int
    """Replicas that load or are being repaired."""
    waiting: int
    """Requests that no step has taken up, those included that wait because no replica serves."""
    in_flight: int
    """Requests that are here and not done, waiting or running."""
    busy: float
    """Replicas that had a step running, on average since the last look."""
    kv_used: float
    """KV memory in use, in replicas: two that are half full count as one."""
    ttft_s: Sequence[float]
    """TTFT of every first token since the last look."""
    tpot_s: Sequence[float]
    """TPOT of every answer that ended since then."""


class Coming(NamedTuple):
    """Requests, and the tokens of the answers that they will get."""

    requests: int
    output_tokens: int


@dataclass(frozen=True)
class Knowledge:
    """What a rule may know beside what is seen."""

    ttft_s: float | None
    tpot_s: float | None
    """The targets of the SLO."""
    lead_s: float
    """From a decision to a replica that serves: a cold start."""
    interval_s: float
    """From one decision to the next."""
    arrivals_between: Callable[[float, float], "Coming"]
    """What arrives from one time to another: what only an oracle should ask."""


Decide = Callable[[Seen], int | None]
"""The number of replicas that there should be; None: as it is."""


class Rule(Protocol):
    """A rule for the number of replicas."""

    def start(self, known: Knowledge) -> Decide:
        """A fresh decider; raises ScenarioError if it does not know what it needs."""


@dataclass(frozen=True)
class Scaling:
    """A rule, and what it is bound by.

    Every `interval_s` the rule is shown the pool as it was at least `lag_s` before. What it wants is kept for a while:
    replicas go only if all wishes of the last `down_window_s` agree, and come only if all of the last `up_window_s`
    do, as in Kubernetes' HorizontalPodAutoscaler. After a change nothing is changed for `cooldown_s`.
    """

    rule: Rule
    most: int
    least: int = 1
    interval_s: float = 15.0
    lag_s: float = 0.0
    up_window_s: float = 0.0
    down_window_s: float = 300.0
    cooldown_s: float = 0.0
