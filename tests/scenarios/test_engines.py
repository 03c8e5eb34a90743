"""The finding that scenarios/engines.yaml opens with."""

import sim


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
