"""The finding that scenarios/lora-adapters.yaml opens with."""

import pytest

import sim
from sim.resolve import resolve


def test_what_adapters_cost() -> None:
    found = sim.compare("lora-adapters", jobs=1)
    table = found.table
    tpot, goodput, ttft = table["mean_tpot_ms"], table["request_goodput"], table["p99_ttft_ms"]
    rate = table["request_throughput"]
    assert tpot["as written"] / tpot["no adapters"] == pytest.approx(1.2, abs=0.05)
    assert tpot["rank 64"] / tpot["no adapters"] == pytest.approx(1.5, abs=0.05)
    assert goodput["as written"] > 0.98 * goodput["no adapters"]
    scenario = sim.load("lora-adapters")
    blocks = {name: resolve(scenario.variant(name)).memory.num_gpu_blocks for name in ("no adapters", "rank 64")}
    assert resolve(scenario).memory.num_gpu_blocks / blocks["no adapters"] == pytest.approx(0.91, abs=0.02)
    assert blocks["rank 64"] / blocks["no adapters"] == pytest.approx(0.64, abs=0.02)
    assert ttft["sixteen slots"] > 2000 > 300 > ttft["as written"]
    assert rate["four slots"] == pytest.approx(8.0, abs=0.3)
    assert rate["one slot"] == pytest.approx(3.6, abs=0.2)
    assert [name for name in found.variants if found.saturated(name)] == ["four slots", "one slot"]
    assert found.gpu_time("sixteen slots and a disk")["transfer"] > 0.2
    assert found.gpu_time("sixteen slots")["transfer"] < 0.01
