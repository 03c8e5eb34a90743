"""Bottlenecks taken away, each by itself, which nobody can buy: what each one costs is what that would gain."""

from collections.abc import Iterator
from typing import Any

from sim.insight.diagnosis.change import BATCHING, ENGINE, KV_MEMORY, LATENCY, SCHEDULING, Change
from sim.latency.profile import Profile
from sim.resolve import Cluster

_NO_HOST = dict.fromkeys(
    (
        "host_step_s",
        "host_seq_s",
        "host_exposed_s",
        "host_request_s",
        "host_output_s",
        "eager_launch_s",
        "uncompiled_launch_s",
    ),
    0.0,
)
_MANY_SEATS = 4096
_SMALL_STEPS = (256, 512, 1024)


def ideals(cluster: Cluster) -> Iterator[Change]:
    """What to run; where several stand for one bottleneck, the best of them is what it costs."""
    said = cluster.scenario
    engines: list[Any] = [setup.scenario.engine for setup in cluster.pools.values()]
    given = min(setup.limits.num_gpu_blocks for setup in cluster.pools.values())
    yield Change("KV memory without end", KV_MEMORY, _engine(kv_cache="endless"))
    yield Change("no host overhead", ENGINE, _engine(**_NO_HOST, moe_first_use_s=0.0))
    seats = max(_MANY_SEATS, *(engine.max_num_seqs for engine in engines))
    budget = max(seats, *(engine.max_num_batched_tokens for engine in engines))
    # More seats would leave less KV memory, which is not what is asked here.
    yield Change(
        "continuous batching without a limit of seats",
        BATCHING,
        _engine(
            batching="vllm_v1", max_num_seqs=seats, max_num_batched_tokens=budget, num_gpu_blocks_override=given,
            enable_chunked_prefill=True,
        ),
    )  # fmt: skip
    if isinstance(said.latency, Profile):
        yield Change("prefill and decode undisturbed", LATENCY, {"latency": "undisturbed"})
        for tokens in _SMALL_STEPS:
            # Side by side, and in steps so short that a decode waits for no prompt.
            keys = {"batching": "vllm_v1", "enable_chunked_prefill": True, "max_num_scheduled_tokens": tokens}
            yield Change(
                f"prefill and decode undisturbed, in steps of {tokens} tokens",
                LATENCY,
                {"latency": "undisturbed", **_engine(**keys)},
            )
    yield Change("shortest answers first, lengths known", SCHEDULING, _engine(ordering="shortest_job"))
    if sum(setup.scenario.cluster.replicas for setup in cluster.pools.values()) > 1:
        yield Change("the least loaded replica", SCHEDULING, {"cluster": {"router": "least_outstanding"}})


def _engine(**keys: Any) -> dict[str, Any]:
    return {"engine": keys}
