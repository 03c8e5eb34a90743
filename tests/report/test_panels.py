"""The panels that a notebook asks for show what the run's tables hold."""

import numpy as np
import pytest
from matplotlib import pyplot

import sim

SMALL = ["workload.trace.csv.limit=120"]


@pytest.fixture(scope="module")
def result() -> sim.Result:
    return sim.run("quickstart", overrides=SMALL)


def test_the_latency_curve_ends_at_the_slowest_request(result: sim.Result) -> None:
    axes = result.plot_latency("e2el")
    reached = max(float(np.max(line.get_xdata())) for line in axes.lines)  # type: ignore[arg-type]
    assert reached == pytest.approx(result.requests["e2e_s"].max())
    pyplot.close("all")


def test_the_gpu_time_bar_is_whole(result: sim.Result) -> None:
    axes = result.plot_gpu_time()
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(1)  # type: ignore[attr-defined]
    pyplot.close("all")


def test_a_timeline_column_goes_into_given_axes(result: sim.Result) -> None:
    _, mine = pyplot.subplots()
    assert result.plot_timeline("running", ax=mine) is mine
    pyplot.close("all")


def test_what_cannot_be_drawn_is_answered_with_what_can(result: sim.Result) -> None:
    with pytest.raises(sim.ServecastError, match="ttft, tpot, e2el"):
        result.plot_latency("p99")
    with pytest.raises(sim.ServecastError, match="queue_depth"):
        result.plot_timeline("queue")
