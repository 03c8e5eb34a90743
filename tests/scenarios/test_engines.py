"""The finding that scenarios/engines.yaml opens with."""

from pathlib import Path

import pytest

import sim
from sim import preset
from sim.scenario import load


def test_every_preset_is_compared() -> None:
    """All but the engine that calibration runs."""
    scenario = load("engines")
    compared = {scenario.engine.preset} | {scenario.variant(name).engine.preset for name in scenario.variants}
    assert compared == set(preset.names()) - {"reference"}
    assert all(name == scenario.variant(name).engine.preset for name in scenario.variants)


def test_what_engines_make_of_the_same_traffic() -> None:
    found = sim.compare("engines", jobs=1)
    goodput = found.table["request_goodput"].to_dict()
    best = goodput["as written"]
    assert all(abs(goodput[name] / best - 1) < 0.02 for name in ("sglang", "tensorrt-llm"))
    assert goodput["vllm-v0"] / best == pytest.approx(2 / 3, abs=0.05)
    assert goodput["tgi"] / best == pytest.approx(2 / 5, abs=0.05)
    tokens = found.table["output_throughput"]
    assert 45 < tokens["as written"] / tokens["naive-static"] < 60
    assert [name for name in found.variants if found.saturated(name)] == ["naive-static"]
    ttft, tpot = found.table["mean_ttft_ms"], found.table["mean_tpot_ms"]
    assert ttft["sglang"] == ttft.min() and ttft["tgi"] == ttft.drop("naive-static").max()
    assert (tpot["sglang"], tpot["as written"], tpot["vllm-v0"]) == pytest.approx((20.5, 17.5, 36), abs=0.5)
    assert found.table["p99_tpot_ms"].drop("naive-static").idxmin() == "tgi"
    batch = found.table["batch_size_mean"]
    assert (batch["vllm-v0"], batch["as written"], batch["tgi"]) == pytest.approx((149, 75, 87), abs=1)
    assert found.gpu_time("vllm-v0")["host"] > 0.2 > found.gpu_time("as written")["host"]
    naive = found.gpu_time("naive-static")
    assert naive["host"] > 0.8
    assert naive["padding"] / (1 - naive["host"]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("variant", "overrides", "meet"),
    [
        ("vllm-v0", ["max_num_seqs=1024", "host_step_s=0.0015", "host_seq_s=5e-6", "host_exposed_s=0.00069"], 0.94),
        ("tgi", ["max_num_seqs=512", "batching={tgi: {waiting_served_ratio: 0.1}}"], 0.71),
        ("tgi", ["batching={tgi: {max_new_tokens: 4096}}"], 0.29),
        ("tensorrt-llm", ["batching={tensorrt_llm: {max_new_tokens: 4096}}"], 0.62),
        ("sglang", ["batching={sglang: {max_new_tokens: 4096}}"], 0.966),
    ],
)
def test_what_is_said_to_hold_an_engine_back(variant: str, overrides: list[str], meet: float) -> None:
    run = sim.run("engines", variant=variant, overrides=[f"engine.{text}" for text in overrides])
    assert run.summary["slo_attainment"]["all"] == pytest.approx(meet, abs=0.01)


def test_a_real_trace(shared: Path) -> None:
    path = shared / "traces" / "azure2023" / "AzureLLMInferenceTrace_conv.csv.gz"
    trace = f"workload.trace={{azure: {{path: {path}, limit: 2000, speedup: 3}}}}"
    found = sim.compare("engines", overrides=[trace], jobs=1)
    goodput = found.table["request_goodput"].to_dict()
    assert [goodput[name] for name in ("as written", "sglang", "tensorrt-llm")] == pytest.approx([13.8] * 3, rel=0.01)
    assert (goodput["vllm-v0"], goodput["tgi"]) == pytest.approx((11.3, 4.2), rel=0.02)
    assert [name for name in found.variants if found.saturated(name)] == ["tgi", "naive-static"]
