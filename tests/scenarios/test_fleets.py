"""The findings that scenarios about changing fleets open with."""

import pytest

import sim


def test_how_many_gpus_a_day_needs() -> None:
    found = sim.compare("gpus-for-a-day", jobs=1)
    hours = {name: found.summaries[name, 1]["gpu_hours"] for name in found.variants}
    good = {name: found.summaries[name, 1]["slo_attainment"]["all"] for name in found.variants}
    assert hours["as written"] == pytest.approx(148, abs=1)
    assert good["as written"] == pytest.approx(0.987, abs=0.002)
    assert 1 - hours["by KV use"] / hours["as written"] == pytest.approx(0.40, abs=0.02)
    assert good["by KV use"] == pytest.approx(0.983, abs=0.002)
    assert good["by queue"] == pytest.approx(0.84, abs=0.01) and hours["by queue"] == pytest.approx(120, abs=1)
    assert found.summaries["by queue", 1]["fleet"]["started"] == pytest.approx(330, abs=10)
    assert hours["oracle"] == pytest.approx(94, abs=1) and good["oracle"] == pytest.approx(0.983, abs=0.002)
    # Without cold starts and drains it would be the sum of its windows: nobody is asked for more than it carries.
    assert hours["oracle"] > 2580 / 0.0092 / 3600


def test_what_a_dying_node_costs_at_the_peak() -> None:
    found = sim.compare("node-dies", jobs=1)
    missed = {name: 1 - found.summaries[name, 1]["slo_attainment"]["all"] for name in found.variants}
    assert missed["nothing happens"] == missed["one node more"] == pytest.approx(0.0003, abs=0.0002)
    assert missed["as written"] == pytest.approx(0.35, abs=0.02)
    assert missed["its requests fail"] == pytest.approx(missed["as written"], abs=0.05)
    assert missed["who waits a second is sent away"] == pytest.approx(0.25, abs=0.02)
    counts = found.summaries["its requests fail", 1]["requests"]
    assert counts["failed"] == found.summaries["as written", 1]["fleet"]["requeued"] == pytest.approx(139, abs=10)
    assert found.summaries["who waits a second is sent away", 1]["requests"]["timed_out"] < 0.025 * 10_800
    assert found.gpu_time("as written")["loading"] / found.gpu_time("as written")["down"] == pytest.approx(3.8, abs=0.1)


def test_a_retry_storm_outlasts_its_cause() -> None:
    written = sim.load("retry-storm")
    runs = {name: sim.run(written.variant(name)) for name in written.variants} | {"as written": sim.run(written)}
    good = {}
    for name, run in runs.items():
        late = run.requests[run.requests["arrival_s"] >= 120]
        good[name] = float(((late["status"] == "finished") & (late["ttft_s"] <= 1.0)).mean())
    assert good["nobody tries again"] == pytest.approx(0.96, abs=0.01)
    assert good["as written"] == pytest.approx(0.38, abs=0.03)
    assert good["back-off for as long"] == pytest.approx(0.73, abs=0.03)
    assert good["back-off with jitter"] == pytest.approx(0.91, abs=0.02)
    assert good["eager for five seconds"] == pytest.approx(0.93, abs=0.02)
    tried = {name: run.summary["admission"]["attempts"] for name, run in runs.items()}
    assert tried["as written"]["mean"] == pytest.approx(15, abs=1) and tried["as written"]["max"] == 60
    assert tried["back-off for as long"]["total"] < 0.2 * tried["as written"]["total"]
    refused = {name: run.summary["requests"]["refused"] for name, run in runs.items()}
    assert refused["as written"] == 350 and refused["eager for five seconds"] == 594
