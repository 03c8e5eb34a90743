"""Scenarios with models spread over GPUs: what a user writes, and what is refused."""

from typing import Any

import pytest

from sim import hardware, run
from sim.errors import ScenarioError, ServecastError
from sim.latency.pipeline import PipelineTimer, hop
from sim.placement import load_network, place
from sim.resolve import resolve
from sim.scenario import load

H100 = hardware.load("h100-sxm")


def scenario(cluster: dict[str, Any], engine: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    lengths = {"prompt_tokens": {"fixed": {"tokens": 400}}, "output_tokens": {"fixed": {"tokens": 40}}}
    return {
        "model": "llama-3.1-70b",
        "workload": {"arrivals": {"poisson": {"rate_per_s": 20}}, "requests": 200, **lengths},
        "cluster": {"gpu": "h100-sxm", **cluster},
        "engine": engine or {},
        **more,
    }


def test_every_stage_has_its_layers_and_the_fullest_decides() -> None:
    """70B in two stages of 40 layers on four GPUs each: one embeds, the other has an LM head of the same size."""
    whole = resolve(load(scenario({"tensor_parallel": 8})))
    halves = resolve(load(scenario({"tensor_parallel": 4, "pipeline_parallel": 2})))
    assert halves.gpus_per_replica == whole.gpus_per_replica == 8
    assert [stage.layers for stage in halves.stages] == [40, 40]
    assert isinstance(halves.timer(), PipelineTimer)
    # A GPU holds a quarter of half the model: an eighth, as with eight ways of tensor parallelism.
    assert halves.memory.weight_bytes == pytest.approx(whole.memory.weight_bytes, rel=1e-3)
    # Of half the layers, two of eight KV heads each: the same bytes per token too.
    assert halves.memory.bytes_per_block == whole.memory.bytes_per_block
    assert halves.scenario.engine.async_scheduling is False


def test_a_pipeline_from_end_to_end() -> None:
    """More stages, fewer and smaller messages: less communication than tensor parallelism, and bubbles instead."""
    whole, halves = (
        run(scenario(cluster)) for cluster in ({"tensor_parallel": 8}, {"tensor_parallel": 4, "pipeline_parallel": 2})
    )
    assert halves.summary["requests"]["finished"] == 200
    shares = [one.summary["gpu_time"]["fraction"] for one in (whole, halves)]
    assert shares[0]["bubble"] == 0 < 0.2 < shares[1]["bubble"]
    assert shares[1]["communication"] < shares[0]["communication"]
    said = ["stages of the pipeline stood still" in " ".join(one.warnings) for one in (whole, halves)]
    assert said == [False, shares[1]["bubble"] > 0.3 * (1 - shares[1]["starved"])]
    tpot = [one.requests["tpot_s"].mean() for one in (whole, halves)]
    assert tpot[1] > tpot[0]


def test_stages_in_other_nodes_send_over_the_network() -> None:
    """8192 numbers twice in bf16: over NVLink at 0.8 x 450 GB/s, over the network at 0.94 x 50 GB/s."""
    inside, outside = hop(H100, 8192, 1, 0), hop(H100, 8192, 1, 7)
    assert inside.per_token_s == pytest.approx(2 * 8192 * 2 / (0.8 * 450e9))
    assert outside.per_token_s == pytest.approx(2 * 8192 * 2 / (0.94 * 50e9))
    assert outside.fixed_s - inside.fixed_s == pytest.approx(5e-6 - 2e-6)


def test_eight_ways_send_an_eighth_each_and_gather() -> None:
    sent = hop(H100, 8192, 8, 0)
    share = 2 * 8192 * 2 / 8
    assert sent.per_token_s == pytest.approx(share / (0.94 * 50e9) + 7 * share / (0.8 * 450e9))


def test_tensor_parallelism_inside_nodes_and_a_pipeline_across() -> None:
    """405B's advice in small: on 10 Gb/s, sixteen ways of tensor parallelism crawl where two stages of eight do not."""
    slow = {"network": "ethernet-10g", "nics_per_node": 1}
    crawling, staged = (
        run(scenario({**slow, **cluster}, model="llama-3.1-70b"), overrides=["workload.requests=40"])
        for cluster in (
            {"gpus_per_node": 4, "tensor_parallel": 8},
            {"gpus_per_node": 4, "tensor_parallel": 4, "pipeline_parallel": 2},
        )
    )
    assert crawling.requests["tpot_s"].mean() > 5 * staged.requests["tpot_s"].mean()


@pytest.mark.parametrize(
    ("cluster", "engine", "complaint"),
    [
        ({"pipeline_parallel": 81}, {}, "pipeline_parallel 81 is more than its 80 layers"),
        (
            {"pipeline_parallel": 4},
            {"async_scheduling": True},
            "async_scheduling is not simulated with cluster.pipeline_parallel",
        ),
        (
            {"pipeline_parallel": 4},
            {"preset": "sglang"},
            "batching sglang is not simulated with cluster.pipeline_parallel",
        ),
        (
            {"pipeline_parallel": 4},
            {"preemption": "swap"},
            "preemption swap is not simulated with cluster.pipeline_parallel",
        ),
        (
            {"pipeline_parallel": 4},
            {"kv_offload": {"host": "1GiB"}},
            "kv_offload is not simulated with cluster.pipeline_parallel",
        ),
        (
            {"pipeline_parallel": 4},
            {"speculative": {"num_speculative_tokens": 2, "acceptance_rate": 0.5, "draft_token": "0s"}},
            "speculative is not simulated with cluster.pipeline_parallel",
        ),
        ({"pipeline_parallel": 3, "tensor_parallel": 4, "gpus_per_node": 6}, {}, "do not fill nodes of 6 GPUs"),
        ({"tensor_parallel": 16, "gpus_per_node": 6}, {}, "tensor_parallel 16 does not fill gpus_per_node 6"),
        ({"network": "infiniband-ndx"}, {}, "no network 'infiniband-ndx'"),
    ],
)
def test_refusals(cluster: dict[str, Any], engine: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ServecastError, match=complaint):
        resolve(load(scenario(cluster, engine)))


def test_a_formula_has_no_layers() -> None:
    with pytest.raises(ScenarioError, match="latency linear knows no layers and no experts"):
        resolve(load(scenario({"pipeline_parallel": 2}, latency="linear")))


def test_vllms_names_are_understood() -> None:
    with pytest.raises(ScenarioError, match=r"pipeline_parallel_size.*cluster\.pipeline_parallel"):
        load(scenario({"pipeline_parallel_size": 2}))


def test_a_network_of_ones_own() -> None:
    assert place(H100, network=load_network("ethernet-100g")).inter_node_bandwidth_bytes_per_s == 12.5e9


def test_expert_parallelism_in_a_scenario() -> None:
    """Qwen3-30B-A3B on four GPUs: skew costs time, and a dense model has nothing to spread."""
    cluster = {"tensor_parallel": 4, "enable_expert_parallel": True}
    said = [
        scenario({**cluster, "expert_load": load}, model="qwen3-30b-a3b")
        for load in ("uniform", {"zipf": {"exponent": 1}})
    ]
    even, skewed = (run(one).requests["e2e_s"].mean() for one in said)
    assert even < skewed
    with pytest.raises(ServecastError, match=r"cluster\.enable_expert_parallel: llama-3.1-70b has no experts"):
        resolve(load(scenario({"tensor_parallel": 4, "enable_expert_parallel": True})))


def test_hidden_communication_in_a_scenario() -> None:
    plain, hidden = (
        run(scenario({"tensor_parallel": 8, "overlap_communication": share})).summary["gpu_time"]["seconds"]
        for share in (0, 0.9)
    )
    assert hidden["communication"] < 0.3 * plain["communication"]


MIXTURE = {"model": "qwen3-30b-a3b"}


def test_ranks_in_a_scenario() -> None:
    """Eight GPUs: eight ranks, each with its own KV cache; the network between nodes costs what the backend sends."""
    cluster = {"data_parallel": 8, "enable_expert_parallel": True}
    ranks = run(scenario(cluster, **MIXTURE))
    assert ranks.summary["gpus"] == 8
    assert set(ranks.record.requests["replica"].tolist()) == set(range(8))
    assert ranks.summary["requests"]["finished"] == 200
    assert 0 < ranks.summary["mfu_busy"] < 1 and ranks.summary["mbu_busy"] is None
    apart = run(scenario({**cluster, "gpus_per_node": 4, "network": "ethernet-25g"}, **MIXTURE))
    assert apart.requests["tpot_s"].mean() > 2 * ranks.requests["tpot_s"].mean()


@pytest.mark.parametrize(
    ("cluster", "more", "complaint"),
    [
        ({"expert_load": {"zipf": {}}}, MIXTURE, "expert_load is for enable_expert_parallel"),
        ({"all2all_backend": "deepep_low_latency"}, MIXTURE, "nothing is exchanged without data_parallel"),
        ({"data_parallel": 2}, MIXTURE, "data_parallel 2 without enable_expert_parallel"),
        ({"data_parallel": 2, "enable_expert_parallel": True}, {}, r"llama-3\.1-70b has no experts"),
        ({"data_parallel": 3, "enable_expert_parallel": True}, MIXTURE, "128 experts do not divide among 3 GPUs"),
        (
            {"data_parallel": 2, "enable_expert_parallel": True, "pipeline_parallel": 2},
            MIXTURE,
            "pipeline_parallel and data_parallel are not simulated together",
        ),
        (
            {"data_parallel": 2, "enable_expert_parallel": True},
            {**MIXTURE, "latency": "linear"},
            "latency linear knows no layers and no experts",
        ),
        (
            {"data_parallel": 2, "enable_expert_parallel": True, "gpus_per_node": 3},
            MIXTURE,
            None,
        ),
        (
            {"data_parallel": 4, "enable_expert_parallel": True, "gpus_per_node": 3},
            MIXTURE,
            "tensor_parallel x data_parallel 4 does not fill gpus_per_node 3",
        ),
    ],
)
def test_refused_ranks(cluster: dict[str, Any], more: dict[str, Any], complaint: str | None) -> None:
    if complaint is None:
        resolve(load(scenario(cluster, **more)))
        return
    with pytest.raises(ServecastError, match=complaint):
        resolve(load(scenario(cluster, **more)))
