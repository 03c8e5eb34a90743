"""Routers before servers of one request at a time with exponential service, where theory knows the mean response."""

from typing import Any

import numpy as np
import pytest

from sim.latency.linear import Linear
from sim.routing.least_outstanding import LeastOutstanding
from sim.routing.power_of_two import PowerOfTwo
from sim.routing.random import Random
from tests.serving import serve, table

SERVERS, STEP_S, MEAN_STEPS = 40, 1e-3, 100


def mean_response(router: Any, load: float, count: int, staleness: float = 0.0) -> float:
    """In mean service times; answers of geometric length are nearly exponential service. The first fifth is left out.

    `staleness` is in mean service times, too.
    """
    rng = np.random.default_rng(5)
    arrivals = np.cumsum(rng.exponential(STEP_S * MEAN_STEPS / (load * SERVERS), count))
    answers = rng.geometric(1 / MEAN_STEPS, count)
    record = serve(
        table(arrivals, 1, answers), Linear(base_s=STEP_S, per_prefill_token_s=0, per_decode_s=0).build(),
        replicas=SERVERS, router=router, limits={"max_num_seqs": 1},
        router_staleness_s=staleness * STEP_S * MEAN_STEPS,
    )  # fmt: skip
    response = record.requests["finish_s"] - record.requests["arrival_s"]
    return float(response[count // 5 :].mean()) / (STEP_S * MEAN_STEPS)


def of_choices(load: float, choices: int) -> float:
    """Mitzenmacher 2001, the limit of many servers: the sum over i >= 1 of load ** ((d^i - d) / (d - 1))."""
    return sum(load ** ((choices**i - choices) / (choices - 1)) for i in range(1, 12))


def test_theory_by_hand() -> None:
    """1 + 0.9^2 + 0.9^6 + 0.9^14 + 0.9^30 + 0.9^62 = 2.615; one choice would be 1 / (1 - 0.9) = 10."""
    assert of_choices(0.9, 2) == pytest.approx(2.615, abs=0.001)


def test_one_choice_two_choices_all() -> None:
    """At a load of 0.7: 3.33 for random (M/M/1), 1.61 for the better of two, hardly more than 1 for the shortest."""
    random = mean_response(Random(), 0.7, 16_000)
    two = mean_response(PowerOfTwo(), 0.7, 8_000)
    shortest = mean_response(LeastOutstanding(), 0.7, 8_000)
    assert random == pytest.approx(1 / 0.3, rel=0.1)
    assert two == pytest.approx(of_choices(0.7, 2), rel=0.05)
    assert 0.95 < shortest < 1.1  # a request alone takes 1, and these few take a little less


def test_two_choices_at_high_load() -> None:
    two, three = (mean_response(PowerOfTwo(choices), 0.9, 12_000) for choices in (2, 3))
    assert two == pytest.approx(of_choices(0.9, 2), rel=0.08)
    assert three == pytest.approx(of_choices(0.9, 3), rel=0.08)


def test_old_news_turn_the_shortest_into_the_worst() -> None:
    """Mitzenmacher 2000, How Useful Is Old Information: refreshed rarely, all rush to where it was short."""
    fresh, old = (mean_response(LeastOutstanding(), 0.9, 4_000, staleness) for staleness in (0.0, 10.0))
    two = mean_response(PowerOfTwo(), 0.9, 4_000, 10.0)
    assert fresh < 2 < two < old
