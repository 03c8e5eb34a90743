"""The finding that scenarios/two-nodes.yaml opens with."""

import pytest

import sim


def test_what_spanning_two_nodes_costs() -> None:
    found = sim.compare("two-nodes", jobs=1)
    tpot, tokens = found.table["mean_tpot_ms"], found.table["output_throughput"]
    assert tpot["as written"] == pytest.approx(15, abs=1)
    assert tpot["TP 16 over NDR"] / tpot["as written"] == pytest.approx(1.5, abs=0.08)
    assert tpot["TP 8 x PP 2 over NDR"] / tpot["as written"] == pytest.approx(1.85, abs=0.15)
    assert tokens["TP 16 over 25 Gb/s"] / tokens["as written"] == pytest.approx(1 / 30, abs=0.01)
    assert found.saturated("TP 16 over 25 Gb/s")
    assert tokens["TP 8 x PP 2 over 25 Gb/s"] / tokens["as written"] == pytest.approx(0.91, abs=0.04)
    assert tpot["TP 8 x PP 2 over 25 Gb/s"] == pytest.approx(42, abs=3)
    for network in ("NDR", "25 Gb/s"):
        assert found.gpu_time(f"TP 8 x PP 2 over {network}")["bubble"] == pytest.approx(0.37, abs=0.05)
