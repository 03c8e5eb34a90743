"""What a request costs to simulate does not depend on how many replicas there are: counted in calls, not in seconds."""

import sys
from typing import Any

import numpy as np
import pytest

from sim.latency.linear import Linear
from sim.routing import Router
from sim.routing.least_outstanding import LeastOutstanding
from sim.routing.round_robin import RoundRobin
from tests.serving import serve, table


def calls(requests: int, replicas: int, router: Router) -> int:
    """Function calls, those of C included, of a run with the same load on each replica."""
    arrival_s = np.cumsum(np.random.default_rng(1).exponential(1 / (8 * replicas), requests))
    counted = 0

    def count(_frame: object, event: str, _what: Any) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        serve(table(arrival_s, 512, 64), Linear().build(), replicas=replicas, router=router)
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize("router", [RoundRobin(), LeastOutstanding()], ids=lambda router: type(router).__name__)
def test_a_request_costs_the_same_in_a_large_fleet(router: Router) -> None:
    """Whoever looked at all replicas for each request would make hundreds of calls more."""
    few, many = ((calls(800, size, router) - calls(400, size, router)) / 400 for size in (4, 200))
    assert many < 1.25 * few
