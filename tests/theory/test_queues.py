"""The simulator at limits where queueing theory knows the answer.

Means are compared with theory by batch means: 20 batches, each long against the busy period, give a
standard error, and the mean must lie within 4 of them, which must themselves be small.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.latency.linear import Linear, LinearTimer
from sim.record import Record
from sim.routing.random import Random
from tests.serving import serve, table

ONE_AT_A_TIME = {"max_num_seqs": 1}


def fixed_step(seconds: float) -> LinearTimer:
    return Linear(base_s=seconds, per_prefill_token_s=0, per_decode_s=0).build()


def poisson(rng: np.random.Generator, rate_per_s: float, count: int) -> NDArray[np.float64]:
    return np.cumsum(rng.exponential(1 / rate_per_s, count))


def wait_s(record: Record) -> NDArray[np.float64]:
    return np.asarray(record.requests["scheduled_s"] - record.requests["arrival_s"])


def agrees(values: NDArray[np.float64], theory: float, within: float) -> bool:
    """The mean is within 4 standard errors of theory, and these are at most `within` of it together."""
    batches = values[len(values) // 20 :].reshape(19, -1).mean(axis=1)
    error = 4 * batches.std(ddof=1) / np.sqrt(len(batches))
    assert error < within * theory, f"too few samples: 4 standard errors are {error} of {theory}"
    return bool(abs(batches.mean() - theory) < error)


def test_md1_waiting_time() -> None:
    """M/D/1, rho = 0.7: Wq = rho s / (2 (1 - rho)) (Pollaczek-Khinchine)."""
    service, rho = 0.01, 0.7
    arrivals = poisson(np.random.default_rng(1), rho / service, 100_000)
    record = serve(table(arrivals, 1, 1), fixed_step(service), limits=ONE_AT_A_TIME)
    assert agrees(wait_s(record), rho * service / (2 * (1 - rho)), within=0.08)


def test_mm1_shaped_waiting_time() -> None:
    """Geometric answers of mean 100 tokens: nearly exponential service, so nearly M/M/1.

    Exactly, Wq = rate E[S^2] / (2 (1 - rho)) with E[S^2] = (2 - p) / p^2 steps^2.
    """
    rng = np.random.default_rng(2)
    step, p, rho = 1e-3, 0.01, 0.6
    rate = rho * p / step
    answers = rng.geometric(p, 60_000)
    record = serve(table(poisson(rng, rate, 60_000), 1, answers), fixed_step(step), limits=ONE_AT_A_TIME)
    exact = rate * (2 - p) / p**2 * step**2 / (2 * (1 - rho))
    mm1 = rho / (1 - rho) * step / p
    assert exact == pytest.approx(mm1, rel=0.01)
    assert agrees(wait_s(record), exact, within=0.12)


def test_random_split_of_a_poisson_stream_is_poisson() -> None:
    """Four replicas behind a random router are four M/D/1 queues, each with a quarter of the rate."""
    service, rho = 0.01, 0.6
    arrivals = poisson(np.random.default_rng(3), 4 * rho / service, 60_000)
    record = serve(table(arrivals, 1, 1), fixed_step(service), replicas=4, router=Random(), limits=ONE_AT_A_TIME)
    assert agrees(wait_s(record), rho * service / (2 * (1 - rho)), within=0.08)


def test_an_arrival_waits_for_the_rest_of_the_running_step() -> None:
    """With seats for all and the replica always busy, the wait is uniform over a step: mean half of it."""
    rng = np.random.default_rng(4)
    step = 0.05
    record = serve(
        table(poisson(rng, 20, 50_000), 1, 200), fixed_step(step),
        limits={"max_num_seqs": 100_000, "num_gpu_blocks": 100_000},
    )  # fmt: skip
    busy = wait_s(record)[10_000:]
    assert agrees(busy, step / 2, within=0.03)
    assert busy.max() <= step


def test_batching_serves_what_one_at_a_time_cannot() -> None:
    """rho = 5 for one seat: a batch engine with a constant step time holds about rate x E2E requests."""
    rng = np.random.default_rng(5)
    rate, answer, step = 50.0, 100, 1e-3
    record = serve(table(poisson(rng, rate, 20_000), 1, answer), fixed_step(step))
    steps = record.steps
    mean_running = float(np.sum(steps["running"] * (steps["end_s"] - steps["start_s"]))) / record.makespan_s
    assert mean_running == pytest.approx(rate * answer * step, rel=0.03)


@pytest.mark.parametrize("users", [1, 3])
def test_closed_loop_cycle_time(users: int) -> None:
    """N users, seats for all, a constant step: each cycle is think time plus the steps of one answer."""
    from tests.serving import ClosedLoop

    requests, think, step, answer = 300, 0.25, 0.01, 5
    loop = ClosedLoop(users, np.full(requests, think))
    record = serve(table(np.zeros(requests), 1, answer, closed_loop=loop), fixed_step(step))
    # All users think and start together, so nobody ever waits for the rest of another's step.
    assert record.makespan_s == pytest.approx(requests / users * (think + answer * step), rel=1e-9)
