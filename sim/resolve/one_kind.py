"""From a scenario with one kind of replica to everything that its simulation needs."""

from typing import Any

from sim import models
from sim.engine import EngineLimits
from sim.kvcache.capacity import MemorySplit
from sim.latency import EngineTiming
from sim.models import Model
from sim.placement import network_names
from sim.resolve.assembly import hybrid_in_flight_tokens, without_windows
from sim.resolve.engine_defaults import filled
from sim.resolve.lora import slots_bytes
from sim.resolve.naming import at, gpu_profile, named_or_path
from sim.resolve.parallel import (
    expert_shards,
    memory_parts,
    placed,
    refuse_what_does_not_go_together,
    split,
    split_worst,
)
from sim.resolve.setup import Setup
from sim.scenario import Scenario
from sim.sections import Engine


def resolve(scenario: Scenario) -> Setup:
    """Load what the scenario names and fill in what it leaves open, as the engine itself would at start-up.

    The resolved scenario loads again to the same setup. Raises ScenarioError for settings that the engine
    refuses, ModelError and ProfileError for what cannot be loaded, CapacityError for what does not fit.
    """
    with at(scenario, "model"):
        model = models.load(named_or_path(scenario, scenario.model, models.builtin_names()))
        if scenario.cluster.pipeline_parallel > 1 or scenario.engine.lora is not None:
            model = without_windows(model, "in a pipeline, nor with LoRA adapters")
    with at(scenario, "cluster.gpu"):
        profile = gpu_profile(scenario, scenario.cluster.gpu)
    with at(scenario, "cluster"):
        profile = placed(scenario.cluster, profile, lambda name: named_or_path(scenario, name, network_names()))
    with at(scenario, "cluster.tensor_parallel"):
        model.check_tp(scenario.cluster.tensor_parallel)
    with at(scenario, "cluster.enable_expert_parallel"):
        expert_shards(scenario.cluster, model, scenario.seed)
    with at(scenario, "cluster.pipeline_parallel"):
        stages = split(scenario.cluster, model)
    with at(scenario, "engine"):
        values = filled(scenario.engine, model, profile)
        refuse_what_does_not_go_together(scenario.cluster, scenario.engine, values, scenario.latency)
        values["async_scheduling"] = values["async_scheduling"] and not stages
    draft_model = _draft_model(scenario)
    with at(scenario, "engine.lora"):
        adapters = slots_bytes(scenario.engine.lora, model, scenario.cluster.tensor_parallel)
    memory = split_worst(
        memory_parts(scenario.cluster, model, stages),
        profile,
        tensor_parallel=scenario.cluster.tensor_parallel,
        weight_dtype=values["dtype"] if values["quantization"] == "none" else values["quantization"],
        kv_dtype=values["kv_cache_dtype"],
        gpu_memory_utilization=values["gpu_memory_utilization"],
        max_num_batched_tokens=values["max_num_batched_tokens"],
        max_num_seqs=values["max_num_seqs"],
        max_model_len=values["max_model_len"],
        block_size=values["block_size"],
        num_gpu_blocks=values["num_gpu_blocks_override"],
        draft=draft_model,
        adapter_bytes=adapters,
        hybrid_in_flight=hybrid_in_flight_tokens(values, draft_model),
    )
    engine = Engine.model_validate(values)
    return Setup(
        scenario=scenario.model_copy(update={"engine": engine}),
        model=model,
        profile=profile,
        limits=_limits(engine, memory),
        memory=memory,
        timing=_timing(engine),
        draft_model=draft_model,
        stages=stages,
    )


def _draft_model(scenario: Scenario) -> Model | None:
    speculative = scenario.engine.speculative
    if speculative is None or speculative.draft_model is None:
        return None
    with at(scenario, "engine.speculative.draft_model"):
        draft = models.load(named_or_path(scenario, speculative.draft_model, models.builtin_names()))
        draft.check_tp(scenario.cluster.tensor_parallel)
    return without_windows(draft, "in a model that drafts")


def _limits(engine: Engine, memory: MemorySplit) -> EngineLimits:
    names = [name for name in EngineLimits.__dataclass_fields__ if name != "num_gpu_blocks"]
    return EngineLimits(memory.num_gpu_blocks, **{name: getattr(engine, name) for name in names})


def _timing(engine: Engine) -> EngineTiming:
    given: Any = engine  # resolved: no field is None
    return EngineTiming(
        host_step_s=given.host_step_s,
        host_seq_s=given.host_seq_s,
        host_exposed_s=given.host_exposed_s,
        overlap=given.async_scheduling,
        cudagraph_sizes=given.cudagraph_capture_sizes,
        eager_launch_s=given.uncompiled_launch_s if given.enforce_eager else given.eager_launch_s,
    )
