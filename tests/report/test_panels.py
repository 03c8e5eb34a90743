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


def test_two_runs_in_one_panel_are_told_apart(result: sim.Result) -> None:
    slower = sim.run("quickstart", overrides=[*SMALL, "cluster.gpu=l40s"])
    axes = slower.plot_latency("ttft", label="L40S")
    assert axes.get_legend() is None and len(axes.texts) == 1
    assert result.plot_latency("ttft", ax=axes) is axes
    legend = [text.get_text() for text in axes.get_legend().get_texts()]  # type: ignore[union-attr]
    assert [text.split(":")[0] for text in legend] == ["L40S", "quickstart"]
    assert not axes.texts  # what only one of them said
    curves = [line for line in axes.lines if line.get_label() in legend]
    assert len({line.get_color() for line in curves}) == 2
    left, right = axes.get_xlim()
    for line in curves:
        assert left < np.min(line.get_xdata()) and np.max(line.get_xdata()) < right  # type: ignore[arg-type]
    over_time = result.plot_timeline("running")
    assert over_time.get_legend() is None
    slower.plot_timeline("running", ax=over_time, label="L40S")
    ends = [run.timeline["time_s"].iloc[-1] for run in (result, slower)]
    assert over_time.get_xlim()[1] > max(ends)
    assert [text.get_text() for text in over_time.get_legend().get_texts()] == ["quickstart", "L40S"]  # type: ignore[union-attr]
    pyplot.close("all")


def test_what_cannot_be_drawn_is_answered_with_what_can(result: sim.Result) -> None:
    with pytest.raises(sim.ServecastError, match="ttft, tpot, e2el"):
        result.plot_latency("p99")
    with pytest.raises(sim.ServecastError, match="queue_depth"):
        result.plot_timeline("queue")
