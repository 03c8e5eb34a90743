"""The finding that scenarios/engines.yaml opens with."""

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
    assert 0.55 < goodput["vllm-v0"] / best < 0.75
    assert 0.3 < goodput["tgi"] / best < 0.5
    assert found.table["p99_tpot_ms"]["tgi"] < found.table["p99_tpot_ms"]["as written"]
    tokens = found.table["output_throughput"]
    assert 10 < tokens["as written"] / tokens["naive-static"] < 15
    assert [name for name in found.variants if found.saturated(name)] == ["naive-static"]
    assert found.gpu_time("vllm-v0")["host"] > 0.2 > found.gpu_time("as written")["host"]
