"""Small scenarios with one bottleneck each, and one with none."""

from typing import Any

from sim.insight.diagnosis.change import BATCHING, ENGINE, IDLE, KV_MEMORY, LATENCY, SCHEDULING, SINGLE_NODE


def _scenario(
    rate_per_s: float,
    prompt: int,
    output: int,
    requests: int,
    slo: dict[str, str],
    cluster: dict[str, Any] | None = None,
    **engine: Any,
) -> dict[str, Any]:
    return {
        "model": "llama-3.1-8b",
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": rate_per_s}},
            "requests": requests,
            "prompt_tokens": {"fixed": {"tokens": prompt}},
            "output_tokens": {"fixed": {"tokens": output}},
        },
        "cluster": {"gpu": "h100-sxm", **(cluster or {})},
        "engine": {"max_model_len": 9000, **engine},
        "slo": slo,
    }  # fmt: skip


CASES: dict[str, dict[str, Any]] = {
    # Four seats, where the memory holds hundreds.
    BATCHING: _scenario(6, 500, 200, 120, {"ttft": "1s"}, max_num_seqs=4),
    # Four GPUs for the work of a part of one.
    IDLE: _scenario(2, 500, 200, 60, {"ttft": "1s", "tpot": "30ms"}, {"replicas": 4}),
    # Room for 16,000 tokens, which are 7 requests, where 20 are wanted.
    KV_MEMORY: _scenario(8, 2000, 300, 150, {"ttft": "1s"}, num_gpu_blocks_override=1000),
    # Prompts of 8,000 tokens hold up all who decode.
    LATENCY: _scenario(1.5, 8000, 200, 60, {"tpot": "10ms"}, max_num_batched_tokens=8192),
    # Random routing of equal requests: queues before some, idling at others.
    SCHEDULING: _scenario(60, 4000, 1, 600, {"ttft": "400ms"}, {"replicas": 8, "router": "random"}),
    # More prompts than one GPU can read.
    SINGLE_NODE: _scenario(15, 4000, 1, 200, {"ttft": "1s"}),
    # The host's work stands between the steps.
    ENGINE: _scenario(4, 200, 200, 60, {"tpot": "10ms"}, preset="vllm-v0"),
    "none": _scenario(7.5, 4000, 1, 200, {"ttft": "1s"}),
}
