"""Prefill and decode pools as a scenario names them."""

import numpy as np
import pytest

import sim
from sim.cluster.outlet import outlet
from sim.errors import ScenarioError
from sim.hardware import load
from sim.placement import place

APART = {
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 4}}, "requests": 60, "prompt_tokens": {"fixed": {"tokens": 1000}},
        "output_tokens": {"fixed": {"tokens": 50}},
    },
    "cluster": {"gpu": "h100-sxm", "pools": {"p": {"role": "prefill"}, "d": {"role": "decode", "replicas": 2}}},
    "engine": {"max_model_len": 4096},
}  # fmt: skip
KV_BYTES_PER_TOKEN = 32 * 2 * 8 * 128 * 2
"""Layers, keys and values, KV heads, size of a head, bytes of bf16."""


def with_pools(pools: dict, **more: object) -> dict:
    return {**APART, "cluster": {"gpu": "h100-sxm", "pools": pools, **more}}


@pytest.mark.parametrize(("prefill_tp", "decode_tp"), [(1, 1), (4, 1), (1, 2)])
def test_bytes_and_time_follow_the_narrower_side(prefill_tp: int, decode_tp: int) -> None:
    """63 blocks of 16 tokens, over as many cards of 50 GB/s (94% of it) as the narrower side has."""
    pools = {
        "p": {"role": "prefill", "tensor_parallel": prefill_tp, "replicas": 4},
        "d": {"role": "decode", "tensor_parallel": decode_tp},
    }
    result = sim.run(with_pools(pools, network="infiniband-ndr"))
    blocks = 63 * 16 * KV_BYTES_PER_TOKEN
    assert (result.requests["kv_transfer_bytes"] == blocks).all()
    alone = result.requests["kv_transfer_s"].min()
    assert alone == pytest.approx(blocks / (50e9 * 0.94 * min(prefill_tp, decode_tp)) + 5e-6, rel=1e-9)
    assert result.summary["handover"]["bytes"] == 60 * blocks
    assert result.summary["handover"]["requests"] == 60


def test_results_say_what_was_handed_over(tmp_path) -> None:
    result = sim.run(APART)
    rows = result.requests
    assert (rows["prefill_replica"] == 0).all()
    assert set(rows["replica"]) == {1, 2}
    waits = rows["decode_queue_wait_s"] + rows["kv_transfer_s"] + rows["decode_wait_s"]
    assert np.allclose(rows["prefilled_s"] + waits, rows["decode_scheduled_s"])
    assert not result.summary["saturated"]
    assert [pool["requests"] for pool in result.summary["by_pool"].values()] == [60, 60]
    # The resolved scenario is the same run.
    path = tmp_path / "again.yaml"
    path.write_text(result.scenario.to_yaml(tmp_path))
    assert sim.run(path).summary == result.summary


def test_a_queue_before_decoding_is_saturation_too() -> None:
    """The decode replica seats two at a time."""
    pools = {"p": {"role": "prefill"}, "d": {"role": "decode", "engine": {"max_num_seqs": 2}}}
    result = sim.run(with_pools(pools), overrides=["workload.arrivals={poisson: {rate_per_s: 15}}"])
    assert "decode queue still growing" in result.summary["saturation"]["reason"]


def test_layer_by_layer_hides_all_but_the_last() -> None:
    """Over 400 Gb/s a thirty-second part of 2.8 ms is left; over 10 Gb/s the KV takes longer than the prompt."""
    layerwise = {"disaggregation": {"overlap": "layerwise"}}
    hidden = sim.run(with_pools(APART["cluster"]["pools"], network="infiniband-ndr", **layerwise))
    blocks = 63 * 16 * KV_BYTES_PER_TOKEN
    assert hidden.requests["kv_exposed_s"].min() == pytest.approx(blocks / 32 / (50e9 * 0.94) + 5e-6, rel=1e-6)
    slow = sim.run(with_pools(APART["cluster"]["pools"], network="ethernet-10g", **layerwise))
    assert slow.requests["kv_transfer_s"].min() == pytest.approx(blocks / (1.25e9 * 0.94) + 6e-5, rel=1e-3)


def test_short_prompts_stay_where_they_are_decoded() -> None:
    conditional = with_pools(APART["cluster"]["pools"], disaggregation={"from_prompt_tokens": 1001})
    result = sim.run(conditional)
    assert (result.requests["prefill_replica"] == -1).all()
    assert result.summary["handover"]["bytes"] == 0


def test_replicas_behind_one_card() -> None:
    """Eight GPUs with two cards of 50 GB/s: four GPUs share a card, and eight have both."""
    node = place(load("h100-sxm"), nics_per_node=2)
    card = 0.94 * node.inter_node_bandwidth_bytes_per_s
    found = [outlet(node, gpus, "network") for gpus in (1, 2, 4, 8, 16)]
    assert [one.sharing for one in found] == [4, 2, 1, 1, 1]
    assert [one.bytes_per_s for one in found] == pytest.approx([card, card, card, 2 * card, 4 * card])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pools": {"p": {"role": "prefill"}, "d": {}}}, "pools.d has no role"),
        ({"pools": {"p": {"role": "prefill"}}}, "no pool of role decode serves llama-3.1-8b"),
        ({"pools": {"p": {}}, "disaggregation": {"overlap": "layerwise"}}, "give pools roles"),
        (
            {"pools": {"p": {"role": "prefill", "engine": {"max_model_len": 2048}}, "d": {"role": "decode"}}},
            "max_model_len must be the same",
        ),
        (
            {"pools": {"p": {"role": "prefill", "replicas": 8}, "d": {"role": "decode"}},
             "disaggregation": {"link": "island"}},
            "the 9 GPUs of all replicas do not stand in one island of 8",
        ),
        (
            {"pools": {"p": {"role": "prefill"}, "d": {"role": "decode", "engine": {"batching": "tgi"}}}},
            "sets memory aside for whole answers",
        ),
        ({"pools": {"p": {"role": "prefil"}, "d": {"role": "decode"}}}, "role"),
    ],
)  # fmt: skip
def test_mistakes_are_answered(changes: dict, words: str) -> None:
    with pytest.raises(sim.ServecastError, match=words):
        sim.run({**APART, "cluster": {"gpu": "h100-sxm", **changes}})


def test_roles_are_listed_in_the_schema() -> None:
    with pytest.raises(ScenarioError, match="'prefill'"):
        sim.load({**APART, "cluster": {"gpu": "h100-sxm", "pools": {"p": {"role": "both"}}}})


def test_the_decode_side_may_speculate() -> None:
    speculative = {"num_speculative_tokens": 3, "acceptance_rate": 1.0, "draft_token": "0s"}
    pools = {"p": {"role": "prefill"}, "d": {"role": "decode", "engine": {"speculative": speculative}}}
    plain, fast = sim.run(APART), sim.run(with_pools(pools))
    assert (fast.requests["generated_tokens"] == 50).all()
    assert fast.summary["mean_tpot_ms"] < 0.5 * plain.summary["mean_tpot_ms"]
