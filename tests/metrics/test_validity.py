"""How much a run's statistics are worth, against time series whose worth is known."""

from dataclasses import replace

import numpy as np
import pytest

from sim.metrics import summarize
from sim.metrics.validity import independent, least_requests
from tests.metrics.queues import Tables, mm1


def autoregressive(phi: float, n: int, seed: int) -> np.ndarray:
    """x_i = phi x_{i-1} + e_i: its mean is worth n (1 - phi) / (1 + phi) independent values."""
    noise = np.random.default_rng(seed).standard_normal(n)
    values = np.empty(n)
    values[0] = noise[0] / np.sqrt(1 - phi**2)
    for i in range(1, n):
        values[i] = phi * values[i - 1] + noise[i]
    return values


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_the_worth_of_an_autoregressive_series(phi: float) -> None:
    """One estimate by 30 batch means is off by a quarter (chi-square of 29); the median of 50 is near."""
    n = 6000
    found = [independent(autoregressive(phi, n, seed)) for seed in range(50)]
    assert np.median(found) == pytest.approx(n * (1 - phi) / (1 + phi), rel=0.15)


def test_requests_that_a_percentile_needs() -> None:
    """Wilks, Annals of Mathematical Statistics 12 (1941): 59 for 95/95; 299 for 95/99."""
    assert [least_requests(percentile) for percentile in (50, 90, 95, 99)] == [5, 29, 59, 299]


def told(tables: Tables, **facts: object) -> dict:
    context = replace(tables.context, **facts)
    return summarize(tables.requests, tables.steps, tables.bins, tables.counts, context)["validity"]


def test_a_long_light_run_on_measured_curves_is_believed() -> None:
    found = told(mm1(0.3, 6000, seed=1), provenance="measured gpu, 2026-01-01")
    assert (found["believe"], found["why"], found["too_few_for"]) == ("yes", [], [])
    assert found["finished_requests"] == 6000


def test_doubts_are_told() -> None:
    light = mm1(0.3, 6000, seed=1)
    assert told(light, provenance="datasheet gpu, 2026-01-01")["believe"] == "with care"
    heavy = told(mm1(0.95, 6000, seed=1), provenance="measured")
    assert heavy["believe"] == "with care"
    assert "few bursts" in heavy["why"][0]
    assert heavy["independent_requests"]["e2el"]["p99"] < 299
    short = told(mm1(0.3, 100, seed=1), provenance="measured")
    assert short["too_few_for"] == ["p99"]
    assert "too few for a p99" in short["why"][0]
    light.steps["extrapolated"][:] = True
    assert told(light, provenance="measured")["believe"] == "no"


def test_nothing_is_said_of_a_growing_queue() -> None:
    found = told(mm1(1.5, 2000, seed=1), provenance="measured")
    assert found["believe"] == "no"
    assert "saturated" in found["why"][0]


def test_nothing_finished() -> None:
    tables = mm1(0.3, 10, seed=1)
    tables.requests["measured"][:] = False
    assert told(tables)["believe"] == "no"
