"""Starvation and fairness, against counting by hand and against the definitions taken literally."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import run
from sim.metrics.fairness import always_waiting, fairness, service
from sim.metrics.starvation import by_group, overtaken, smaller_behind, starvation
from tests.metrics.queues import requests_table


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=40))
def test_smaller_behind_counts_what_a_double_loop_counts(values: list[int]) -> None:
    expected = [sum(other < value for other in values[i + 1 :]) for i, value in enumerate(values)]
    assert smaller_behind(np.array(values, float)).tolist() == expected


def waiting(arrival: list[float], scheduled: list[float], **columns: Any) -> dict[str, Any]:
    """A table of requests of one prompt token whose only token comes a second after their first step begins."""
    begun = np.array(scheduled)
    table = requests_table(np.array(arrival), begun, begun + 1, begun + 1, prompt=1)
    return table | {name: np.array(values) for name, values in columns.items()}


def test_overtaken_on_the_same_replica_only() -> None:
    table = waiting([0, 1, 2, 3], [9, 5, 2, 4], replica=[0, 1, 0, 0])
    assert overtaken(table).tolist() == [2, 0, 0, 0]
    assert overtaken(waiting([0, 1, 2, 3], [9, 5, 2, 4])).tolist() == [3, 2, 0, 0]


def test_one_of_forty_starves() -> None:
    """39 wait 1 s each; the first waits till all of them have begun."""
    arrival = list(np.arange(40.0))
    table = waiting(arrival, [41.0, *np.arange(1.0, 40.0) + 1])
    found = starvation(table)
    assert found["max_overtaken"] == 39
    assert found["mean_overtaken"] == pytest.approx(39 / 40)
    assert found["starved_share"] == 1 / 40
    assert found["max_queue_wait_ms"] == 41_000
    in_turn = waiting(arrival, list(np.arange(40) * 3.0 + 40))
    assert starvation(in_turn)["starved_share"] == 0  # long waits, but nobody passes


def test_waits_by_group() -> None:
    table = waiting([0, 0, 1, 1], [1, 3, 2, 8], priority=[0, 5, 0, 5])
    groups = by_group(table, "priority", {5: "batch"})
    assert groups is not None
    assert list(groups) == ["0", "batch"]
    assert groups["0"]["mean_queue_wait_ms"] == 1000
    assert groups["batch"] == {
        "requests": 2, "mean_queue_wait_ms": 5000, "p99_queue_wait_ms": pytest.approx(6960),
        "max_queue_wait_ms": 7000, "p99_ttft_ms": pytest.approx(7960), "max_overtaken": 1,
    }  # fmt: skip
    assert by_group(table, "tenant") is None


def test_service_over_time() -> None:
    """A prompt of 10 counts 10 at 1 s; of 5 tokens the first counts 2 at 2 s, the others 8 evenly until 4 s."""
    one = np.array([1.0])
    table = requests_table(one * 0, one, one * 2, one * 4, prompt=10, generated=5)
    times = np.array([0.5, 1.0, 1.9, 2.0, 3.0, 4.0, 9.0])
    assert service(table, times) == pytest.approx([0, 10, 10, 12, 16, 20, 20])


def test_always_waiting() -> None:
    """Waiting in [0, 2) and [1, 3) and [3.5, 6): not all through [3, 4)."""
    table = waiting([0, 1, 3.5], [2, 3, 6])
    assert always_waiting(table, np.arange(8.0)).tolist() == [True, True, True, False, True, True, False]


def competing(shares: list[float], rounds: int = 1000) -> dict[str, Any]:
    """Tenants that always have a request waiting; in each second tenant k is served shares[k] prompt tokens."""
    rows = [(second, tenant, tokens) for second in range(rounds) for tenant, tokens in enumerate(shares)]
    begun = np.array([second + 0.5 for second, _, _ in rows])
    table = requests_table(np.zeros(len(rows)), begun, begun, begun, np.array([t for *_, t in rows]), generated=0)
    return table | {"tenant": np.array([tenant for _, tenant, _ in rows])}


@pytest.mark.parametrize(("shares", "index"), [([5, 5], 1.0), ([3, 1], 16 / 20), ([1, 1, 4], 36 / 54)])
def test_jains_index(shares: list[float], index: float) -> None:
    found = fairness(competing(shares), 1000.0)
    assert found is not None
    assert found["jain_index"] == pytest.approx(index)
    assert found["competing_share"] == pytest.approx(0.98)  # all but the last of 50 windows
    assert found["service_difference_tokens"] == pytest.approx((max(shares) - min(shares)) * 980)


def test_a_single_tenant_is_neither_fair_nor_unfair() -> None:
    assert fairness(waiting([0, 1], [1, 2]), 3.0) is None


SCENARIO = {
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 40}},
        "prompt_tokens": {"fixed": {"tokens": 200}},
        "output_tokens": {"lognormal": {"mean": 100, "p99": 500}},
        "requests": 300,
        "tenants": {"acme": 3, "bell": 1},
    },
    "cluster": {"gpu": "h100-sxm"},
    "engine": {"max_num_seqs": 8},
}


def test_a_run_says_who_starves_and_how_fair_it_was() -> None:
    in_turn, fair, short = (
        run(SCENARIO, overrides=[f"engine.ordering={order}"])
        for order in ("fcfs", "virtual_token_counter", "shortest_job")
    )
    waits = [found.summary["by_tenant"]["bell"]["mean_queue_wait_ms"] for found in (fair, in_turn)]
    assert waits[0] < 0.6 * waits[1]
    assert in_turn.summary["fairness"]["jain_index"] < 0.8 < 0.9 < fair.summary["fairness"]["jain_index"]
    assert any("starved" in warning for warning in short.warnings)
    assert not any("starved" in warning for warning in in_turn.warnings)
    assert set(fair.requests["tenant"]) == {"acme", "bell"}
