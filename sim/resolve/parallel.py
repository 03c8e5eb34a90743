"""A model spread over GPUs: where they stand, stages, experts and ranks, and what does not go with them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sim import choice
from sim.alltoall.allgather_reducescatter import AllgatherReducescatter
from sim.errors import ScenarioError
from sim.expertload.uniform import Uniform
from sim.hardware import Profile
from sim.kvcache.capacity import MemorySplit, split_memory
from sim.kvcache.paged import Paged
from sim.latency import EngineTiming, TimerContext
from sim.latency.handover import AllToAll
from sim.latency.pipeline import NO_HOP, PipelineTimer, Stage, hop
from sim.latency.profile import Profile as ProfileLatency
from sim.latency.ranks import RanksTimer
from sim.models import Model
from sim.models.experts import ExpertShards
from sim.models.stages import split_stages
from sim.placement import check_group, check_groups, load_network, place
from sim.sections import Cluster, Engine, Placement


def placed(cluster: Placement, profile: Profile, network_file: Callable[[str], str | Path]) -> Profile:
    """The profile in the nodes and on the network that the scenario names; ScenarioError if the groups do not fit."""
    profile = place(
        profile,
        gpus_per_node=cluster.gpus_per_node,
        gpus_per_island=cluster.gpus_per_island,
        network=None if cluster.network is None else load_network(network_file(cluster.network)),
        nics_per_node=cluster.nics_per_node,
    )
    check_group(profile, cluster.tensor_parallel, "tensor_parallel")
    check_groups(profile, cluster.tensor_parallel, cluster.pipeline_parallel)
    check_group(profile, cluster.tensor_parallel * cluster.data_parallel, "tensor_parallel x data_parallel")
    return profile


def expert_shards(cluster: Placement, model: Model, seed: int) -> ExpertShards | None:
    """Where whole experts lie, None where each is cut.

    Raises ModelError if they do not divide among the GPUs, ScenarioError for ranks that would share nothing and for
    settings that would mean nothing.
    """
    if cluster.data_parallel == 1 and cluster.all2all_backend != AllgatherReducescatter():
        raise ScenarioError("all2all_backend: nothing is exchanged without data_parallel; set that, or leave it out")
    if not cluster.enable_expert_parallel:
        if cluster.expert_load != Uniform():
            raise ScenarioError("expert_load is for enable_expert_parallel; set that, or leave it out")
        if cluster.data_parallel > 1:
            raise ScenarioError(
                f"data_parallel {cluster.data_parallel} without enable_expert_parallel is not simulated; set that for "
                "a mixture, and use cluster.replicas for a model without experts"
            )
        return None
    shards = ExpertShards(cluster.tensor_parallel * cluster.data_parallel, cluster.expert_load, seed)
    shards.check(model)
    return shards if shards.ranks > 1 else None


def memory_parts(cluster: Placement, model: Model, stages: tuple[Model, ...]) -> tuple[Model, ...]:
    """What lies on one GPU, before tensor parallelism: the model, each of its stages, or one rank's part of it."""
    return stages or (model if cluster.data_parallel == 1 else replace(model, experts_spread=cluster.data_parallel),)


def ranks_timer(cluster: Placement, latency: Any, context: TimerContext) -> RanksTimer:
    """The step times of ranks that share the experts of a mixture."""
    assert context.experts is not None
    own = replace(context, timing=_gpu_alone(context.timing), experts=replace(context.experts, apart=True))
    backend: AllToAll = cluster.all2all_backend
    return RanksTimer(latency.build(own), context, cluster.data_parallel, backend)


def _gpu_alone(timing: EngineTiming) -> EngineTiming:
    """Without the host's work, but for launching where there is no CUDA graph."""
    return EngineTiming(0.0, 0.0, 0.0, True, timing.cudagraph_sizes, timing.eager_launch_s)


def split(cluster: Placement, model: Model) -> tuple[Model, ...]:
    """The model's stages, none without a pipeline; ModelError for more stages than layers."""
    return split_stages(model, cluster.pipeline_parallel) if cluster.pipeline_parallel > 1 else ()


def split_worst(parts: Sequence[Model], profile: Profile, **settings: Any) -> MemorySplit:
    """The memory of the stage that has room for the fewest KV blocks: all stages get as many, as in vLLM."""
    return min((split_memory(part, profile, **settings) for part in parts), key=lambda split: split.num_gpu_blocks)


def pipeline_timer(stages: Sequence[Model], latency: Any, context: TimerContext) -> PipelineTimer:
    """The step times of a replica whose stages stand one behind the other on the GPUs of as few nodes as will do."""
    timing, gpu_alone = context.timing, _gpu_alone(context.timing)
    tp, last = context.tensor_parallel, len(stages) - 1
    return PipelineTimer(
        [
            Stage(
                latency.build(replace(context, model=stage, timing=gpu_alone)),
                NO_HOP if index == last else hop(context.profile, stage.hidden, tp, index * tp),
            )
            for index, stage in enumerate(stages)
        ],
        timing,
    )


def refuse_what_does_not_go_together(cluster: Cluster, given: Engine, values: dict[str, Any], latency: Any) -> None:
    """Raise ScenarioError for what is not simulated with pipeline_parallel or data_parallel."""
    pipeline, ranks = cluster.pipeline_parallel > 1, cluster.data_parallel > 1
    if not (pipeline or ranks):
        return
    if pipeline and ranks:
        raise ScenarioError("pipeline_parallel and data_parallel are not simulated together; set one of them to 1")
    key = "cluster.pipeline_parallel" if pipeline else "cluster.data_parallel"
    batching = choice.build("sim.batching", values["batching"])
    kv_cache = choice.build("sim.kvcache", values["kv_cache"])
    able = "pipelines" if pipeline else "decides_ahead"  # these never hold requests back
    refused = {
        f"batching {choice.name_of(batching)}": not getattr(batching, able, False),
        f"kv_cache {choice.name_of(kv_cache)}": pipeline and not isinstance(kv_cache, Paged),
        "speculative": values["speculative"] is not None,
        "lora": values["lora"] is not None,
        "kv_offload": values["kv_offload"] is not None,
        "preemption swap": values["preemption"] == "swap",
        "faults": ranks and bool(cluster.faults),
        "async_scheduling": pipeline and bool(given.async_scheduling),
    }
    for what, is_set in refused.items():
        if is_set:
            raise ScenarioError(f"{what} is not simulated with {key}; change it, or set {key} to 1")
    if not isinstance(latency, ProfileLatency):
        raise ScenarioError(
            f"latency {choice.name_of(latency)} knows no layers and no experts to divide; use latency: profile, or set "
            f"{key} to 1"
        )
