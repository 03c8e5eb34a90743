"""Laws that hold on every run, whatever was simulated."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sim.metrics.context import Columns, RunContext
from sim.metrics.numbers import exact_sum, ratio
from sim.metrics.series import entered, requests_between, sent_s, system_intervals


class InvariantError(AssertionError):
    """A numbered invariant does not hold: the simulator is wrong, not its user."""


@dataclass(frozen=True)
class LittlesLaw:
    """Both sides of L = lambda * W over the whole run, each from other columns."""

    mean_in_system: float
    """L: the time average of how many requests were in the system."""
    throughput_times_e2e: float
    """lambda * W: finished requests per second times their mean end-to-end latency."""

    @property
    def relative_error(self) -> float:
        gap = abs(self.mean_in_system - self.throughput_times_e2e)
        return ratio(gap, max(abs(self.throughput_times_e2e), abs(self.mean_in_system)))


def littles_law(requests: Columns, steps: Columns, context: RunContext) -> LittlesLaw | None:
    """Little's law from two sides; None when a request is unfinished (it has no latency) or none ran.

    L comes from the steps table (requests seated, over time) and the queue waits; lambda * W from finish times. A
    request that its client sent again counts from then on. With preemptions and crashes, whose second wait no table
    holds, or a second queue between replicas, L is the integral of arrivals less departures: that tests the arithmetic,
    not the tables against each other.
    """
    inside = entered(requests)
    finished = requests["status"] == "finished"
    if not context.makespan_s or not inside.any() or not finished[inside].all():
        return None
    again = requests["preemptions"].any() or requests["requeues"].any()
    if again or "prefill_replica" in requests:
        arrival, leave = system_intervals(requests, context.makespan_s)
        present = float(requests_between(arrival, leave, np.array([0.0, context.makespan_s]))[0])
    else:
        seated = exact_sum(steps["running"] * (steps["end_s"] - steps["start_s"]))
        present = seated + exact_sum((requests["scheduled_s"] - sent_s(requests))[finished])
    latency = exact_sum((requests["finish_s"] - sent_s(requests))[finished])
    count = int(finished.sum())
    return LittlesLaw(
        mean_in_system=present / context.makespan_s,
        throughput_times_e2e=count / context.makespan_s * (latency / count),
    )


def check_littles_law(requests: Columns, steps: Columns, context: RunContext, tolerance: float = 1e-6) -> None:
    """Raise InvariantError unless both sides of Little's law agree, where both can be had."""
    law = littles_law(requests, steps, context)
    if law is not None and law.relative_error > tolerance:
        raise InvariantError(
            f"Little's law: {law.mean_in_system:.9g} requests in the system on average, but throughput times "
            f"mean latency is {law.throughput_times_e2e:.9g}"
        )


def check_causality(requests: Columns) -> None:
    """Raise InvariantError citing INV-3 unless arrival <= scheduled <= first token <= finish, always."""
    names = ("arrival_s", "scheduled_s", "first_token_s", "finish_s")
    for earlier, later in pairwise(names):
        wrong = np.flatnonzero(requests[later] < requests[earlier])  # NaN compares false: it did not happen
        if wrong.size:
            row = int(wrong[0])
            raise InvariantError(
                f"INV-3: request {requests['id'][row]} has {later} {requests[later][row]} "
                f"before {earlier} {requests[earlier][row]}"
            )
