"""From what a scenario says to everything a simulation needs, with every default made explicit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sim import choice, hardware, models, preset
from sim.adapting import LoraEngine
from sim.assembly import hybrid_in_flight_tokens, make_engine, without_windows
from sim.choice import nearest
from sim.cluster.adapter_costs import AdapterCosts
from sim.cluster.host_link import HostLink
from sim.cluster.pool import Pool
from sim.engine import Engine as Replica
from sim.engine import EngineLimits
from sim.errors import ScenarioError, ServecastError
from sim.handover import check_roles, handing
from sim.kvcache._hybrid import HybridPaged
from sim.kvcache.capacity import HybridMemorySplit, MemorySplit
from sim.kvcache.contiguous import Contiguous
from sim.kvcache.paged import Paged
from sim.kvcache.protocol import KVCacheChoice
from sim.kvcache.tiers.offload import Offloading
from sim.kvcache.tiers.swap import DEFAULT_SWAP_BYTES, Swapping
from sim.latency import EngineTiming, StepTimer, TimerContext, default_cudagraph_sizes
from sim.latency.drafting import DraftingTimer, FlatDrafter, ModelDrafter
from sim.latency.first_use import FirstUse, first_use
from sim.latency.profile import Profile
from sim.lora import adapter_costs, adapter_room, refuse_with_lora, slots_bytes
from sim.models import Model
from sim.parallel import (
    expert_shards,
    memory_parts,
    pipeline_timer,
    placed,
    ranks_timer,
    refuse_what_does_not_go_together,
    split,
    split_worst,
)
from sim.pipelining import PipelinedEngine
from sim.placement import network_names
from sim.scenario import SETTINGS_OF_SOME_BATCHINGS, Engine, Scenario


@dataclass(frozen=True)
class Setup:
    """A scenario with one kind of replica, every default filled in, and the parts that it names.

    What follows from the GPU's facts (KV blocks, price) is here and in the summary, not in the scenario, so
    that a saved scenario can be run on another GPU.
    """

    scenario: Scenario
    model: Model
    profile: hardware.Profile
    limits: EngineLimits
    memory: MemorySplit
    timing: EngineTiming
    draft_model: Model | None = None
    stages: tuple[Model, ...] = ()
    """The model's parts, if it is spread over the stages of a pipeline."""

    @property
    def gpus_per_replica(self) -> int:
        """GPUs that share one copy of the model."""
        cluster = self.scenario.cluster
        return cluster.tensor_parallel * cluster.pipeline_parallel * cluster.data_parallel

    @property
    def price_usd_per_gpu_hour(self) -> float | None:
        """The scenario's price of one GPU, or the profile's."""
        given = self.scenario.cluster.gpu_price_per_hour
        return self.profile.price_usd_per_hour if given is None else given

    @property
    def kv_cache(self) -> KVCacheChoice:
        """The KV cache, with the memory around it where preemption swaps or prefixes are offloaded."""
        engine: Any = self.scenario.engine  # resolved: no choice is None
        block = self.memory.bytes_per_block
        kv_cache: KVCacheChoice = engine.kv_cache
        if isinstance(self.memory, HybridMemorySplit):
            return HybridPaged(self.memory.kv_groups)
        if (offload := engine.kv_offload) is not None:
            kv_cache = Offloading(offload.host // block, offload.disk // block)
        if engine.preemption == "swap":
            kv_cache = Swapping(kv_cache, engine.swap_space // block)
        return kv_cache

    @property
    def host_link(self) -> HostLink:
        """What lies between the KV cache and memory beyond the GPU's."""
        offload = self.scenario.engine.kv_offload
        return HostLink(
            self.memory.bytes_per_block,
            self.profile.pcie_bandwidth_bytes_per_s * self.profile.derates.link_bandwidth,
            float((offload and offload.disk_bytes_per_s) or "inf"),
            self.scenario.cluster.tensor_parallel,
        )

    def timer(self, adapters: int = 0) -> StepTimer:
        """The step times of one replica, of steps that hold so many LoRA adapters."""
        lora = self.scenario.engine.lora
        context = TimerContext(
            model=self.model,
            profile=self.profile,
            tensor_parallel=self.scenario.cluster.tensor_parallel,
            weight_dtype=self.memory.weight_dtype,
            kv_dtype=self.memory.kv_dtype,
            max_num_batched_tokens=self.limits.max_num_batched_tokens,
            max_num_seqs=self.limits.max_num_seqs,
            timing=self.timing,
            adapters=adapters,
            lora_rank=lora.max_lora_rank if lora else 0,
            experts=expert_shards(self.scenario.cluster, self.model, self.scenario.seed),
            overlap_communication=self.scenario.cluster.overlap_communication,
        )
        if self.stages:
            return pipeline_timer(self.stages, self.scenario.latency, context)
        if self.scenario.cluster.data_parallel > 1:
            return ranks_timer(self.scenario.cluster, self.scenario.latency, context)
        timer: StepTimer = self.scenario.latency.build(context)
        if (speculative := self.scenario.engine.speculative) is None:
            return timer
        count = speculative.num_speculative_tokens
        if self.draft_model is None:
            return DraftingTimer(timer, FlatDrafter(speculative.draft_token or 0.0, count))
        # The host's work is the model's; the drafter only launches.
        timing = replace(self.timing, host_step_s=0.0, host_seq_s=0.0, host_exposed_s=0.0, overlap=False)
        drafting = replace(context, model=self.draft_model, timing=timing, experts=None)
        return DraftingTimer(timer, ModelDrafter(self.scenario.latency.build(drafting), count))

    def pool(self, name: str = "") -> Pool:
        """The replicas, for the simulation."""
        cluster, engine = self.scenario.cluster, self.scenario.engine
        scaling = cluster.autoscaling
        at_start = cluster.replicas if scaling is None else scaling.at_start(cluster.replicas)
        if scaling is not None and cluster.data_parallel > 1:
            raise ScenarioError("autoscaling with data_parallel is not simulated: leave out one of them")
        return Pool(
            self.make_engine,
            self.timer(),
            name,
            self.model.name,
            replicas=at_start * cluster.data_parallel,  # routers choose among ranks
            gpus_per_replica=self.gpus_per_replica // cluster.data_parallel,
            decide_ahead=bool(engine.async_scheduling),
            request_overhead_s=engine.host_request_s or 0.0,
            output_overhead_s=engine.host_output_s or 0.0,
            host_link=self.host_link,
            make_first_use=self.make_first_use,
            adapter_costs=self.adapter_costs,
            cold_start_s=cluster.cold_start.seconds(
                self.memory.weight_bytes, self.gpus_per_replica, self.host_link.bytes_per_s
            ),
            scaling=None if scaling is None else scaling.scaling(),
        )

    def make_engine(self) -> Replica:
        """A fresh engine for one replica."""
        engine: Any = self.scenario.engine  # resolved: no choice is None
        parts = (self.limits, engine.batching, engine.ordering)
        if self.stages:
            return PipelinedEngine(*parts, kv_cache=self.kv_cache)
        if (lora := engine.lora) is not None:
            return LoraEngine(*parts, kv_cache=self.kv_cache, room=adapter_room(lora))
        window = self.model.sliding_window if self.model.sliding_layers else 0
        return make_engine(self.limits, engine, self.kv_cache, window, self.scenario.seed)

    @property
    def adapter_costs(self) -> AdapterCosts | None:
        """The time of LoRA adapters; None without them."""
        said = self.scenario
        return adapter_costs(said.engine.lora, self.model, self.profile, said.cluster.tensor_parallel, self.timer)

    def make_first_use(self) -> FirstUse | None:
        """The kernels that a fresh replica has not compiled yet."""
        engine: Any = self.scenario.engine  # resolved: nothing is None
        if not isinstance(self.scenario.latency, Profile):
            return None  # a formula, in which the model plays no part
        sizes, rows = engine.cudagraph_capture_sizes, self.limits.max_num_batched_tokens
        return first_use(self.model, engine.moe_first_use_s, sizes, rows)


@dataclass(frozen=True)
class Cluster:
    """A scenario with every default filled in, and the setup of each of its pools: without pools, of one named ""."""

    scenario: Scenario
    pools: dict[str, Setup]

    @property
    def gpus(self) -> int:
        """GPUs at the start."""
        return sum(setup.gpus_per_replica * setup.scenario.cluster.replicas for setup in self.pools.values())

    @property
    def usd_per_hour(self) -> float | None:
        """What these cost, None if the price of one is not known."""
        total = 0.0
        for setup in self.pools.values():
            if setup.price_usd_per_gpu_hour is None:
                return None
            total += setup.price_usd_per_gpu_hour * setup.gpus_per_replica * setup.scenario.cluster.replicas
        return total

    def parts(self) -> list[Pool]:
        """The pools for the simulation."""
        said = self.scenario.cluster
        return [
            handing(setup.pool(name), setup, said.role(name), said.disaggregation) for name, setup in self.pools.items()
        ]

    def models(self, tenants: Sequence[str]) -> list[str]:
        """The model that each tenant asks for. Raises ScenarioError where nobody serves it, or nobody is the tenant."""
        said = self.scenario
        for name in said.tenants:
            if name not in tenants:
                raise ScenarioError(
                    f"{said.name}, tenants.{name}: the workload has no tenant of that name{nearest(name, tenants)}; "
                    f"it has {', '.join(tenants)}"
                )
        served = {setup.model.name for setup in self.pools.values()}
        asked = []
        for name in tenants:
            model = said.tenants[name].model if name in said.tenants else ""
            key = f"tenants.{name}.model" if model else "model"
            with _at(said, key):
                model = models.load(_named_or_path(said, model or said.model, models.builtin_names())).name
                if model not in served:
                    raise ScenarioError(f"no pool serves {model}; pools serve {', '.join(sorted(served))}")
            asked.append(model)
        return asked


def resolve_cluster(scenario: Scenario) -> Cluster:
    """`resolve` for each of the cluster's pools; the resolved scenario loads again to the same cluster."""
    if not scenario.cluster.pools:
        setup = resolve(scenario)
        with _at(scenario, "cluster"):
            check_roles({}, {}, scenario.cluster.disaggregation)
        return Cluster(setup.scenario, {"": setup})
    setups = {name: resolve(scenario.single(name)) for name in scenario.cluster.pools}
    with _at(scenario, "cluster"):
        roles = {name: pool.role for name, pool in scenario.cluster.pools.items()}
        check_roles(setups, roles, scenario.cluster.disaggregation)
    pools = {
        name: scenario.cluster.pools[name].model_copy(update={"engine": setup.scenario.engine})
        for name, setup in setups.items()
    }
    cluster = scenario.cluster.model_copy(update={"pools": pools})
    return Cluster(scenario.model_copy(update={"cluster": cluster}), setups)


def resolve(scenario: Scenario) -> Setup:
    """Load what the scenario names and fill in what it leaves open, as the engine itself would at start-up.

    The resolved scenario loads again to the same setup. Raises ScenarioError for settings that the engine
    refuses, ModelError and ProfileError for what cannot be loaded, CapacityError for what does not fit.
    """
    with _at(scenario, "model"):
        model = models.load(_named_or_path(scenario, scenario.model, models.builtin_names()))
        if scenario.cluster.pipeline_parallel > 1 or scenario.engine.lora is not None:
            model = without_windows(model, "in a pipeline, nor with LoRA adapters")
    with _at(scenario, "cluster.gpu"):
        profile = hardware.load(_named_or_path(scenario, scenario.cluster.gpu, hardware.names()))
    with _at(scenario, "cluster"):
        profile = placed(scenario.cluster, profile, lambda name: _named_or_path(scenario, name, network_names()))
    with _at(scenario, "cluster.tensor_parallel"):
        model.check_tp(scenario.cluster.tensor_parallel)
    with _at(scenario, "cluster.enable_expert_parallel"):
        expert_shards(scenario.cluster, model, scenario.seed)
    with _at(scenario, "cluster.pipeline_parallel"):
        stages = split(scenario.cluster, model)
    with _at(scenario, "engine"):
        values = _filled(scenario.engine, model, profile)
        refuse_what_does_not_go_together(scenario.cluster, scenario.engine, values, scenario.latency)
        values["async_scheduling"] = values["async_scheduling"] and not stages
    draft_model = _draft_model(scenario)
    with _at(scenario, "engine.lora"):
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
    with _at(scenario, "engine.speculative.draft_model"):
        draft = models.load(_named_or_path(scenario, speculative.draft_model, models.builtin_names()))
        draft.check_tp(scenario.cluster.tensor_parallel)
    return without_windows(draft, "in a model that drafts")


@contextmanager
def _at(scenario: Scenario, key: str) -> Iterator[None]:
    """Say which key of which scenario an error is about."""
    try:
        yield
    except ServecastError as error:
        raise type(error)(f"{scenario.name}, {key}: {error}") from None


def _named_or_path(scenario: Scenario, text: str, known: list[str]) -> str | Path:
    """A built-in name as it is; a path, if there is one, from the scenario's folder."""
    if not text:
        raise ScenarioError("is empty; give a name or a path")
    path = scenario.path(text)
    return path if text.lower() not in known and path.exists() else text


def _filled(engine: Engine, model: Model, profile: hardware.Profile) -> dict[str, Any]:
    """Every key of the engine section with its value: the scenario's, the preset's, or by the engine's rule.

    The rules are those of vLLM's arg_utils.py and config/scheduler.py.
    """
    name = engine.preset or preset.DEFAULT
    defaults = preset.load(name).defaults(profile.name, profile.memory_bytes)
    given = {key: getattr(engine, key) for key in Engine.model_fields}
    values: dict[str, Any] = {k: defaults.get(k) if v is None else v for k, v in given.items()}
    values["preset"] = name
    batching = choice.build("sim.batching", values["batching"])
    ahead = getattr(batching, "decides_ahead", False)
    if engine.async_scheduling and not ahead:
        raise ScenarioError(
            f"batching {choice.name_of(batching)} cannot decide a step while one is under way; "
            "set async_scheduling to false, or leave it out"
        )
    if engine.speculative is not None:
        _refuse_speculation(engine, batching)
        ahead = False
    if engine.lora is not None:
        refuse_with_lora(values)
    reads = getattr(batching, "reads", ())
    for key in SETTINGS_OF_SOME_BATCHINGS:
        if key not in reads and given[key] not in (None, defaults.get(key)):
            raise ScenarioError(f"batching {choice.name_of(batching)} knows no {key}; leave it out")
    values["async_scheduling"] = values["async_scheduling"] and ahead
    # A step must hold the longest prompt where prompts are neither split nor rejected.
    refuses = getattr(batching, "refuses_long_prompts", False)
    splits = refuses or (values["enable_chunked_prefill"] and not getattr(batching, "whole_prompts", False))
    longest = values["max_model_len"] = min(values["max_model_len"] or model.max_position, model.max_position)
    if (engine.max_model_len or 0) > model.max_position:
        raise ScenarioError(
            f"max_model_len {engine.max_model_len} is more than the {model.max_position} positions of {model.name}"
        )
    if engine.max_num_batched_tokens is None:
        most = min(values["max_num_batched_tokens"], values["max_num_seqs"] * longest)
        values["max_num_batched_tokens"] = most if splits else max(most, longest)
    if engine.max_num_seqs is None:
        values["max_num_seqs"] = min(values["max_num_seqs"], values["max_num_batched_tokens"])
    _refuse_what_the_engine_refuses(values, splits)
    if values["kv_cache"] is None:
        values["kv_cache"] = "paged"
    if values["disable_hybrid_kv_cache_manager"] is None:
        values["disable_hybrid_kv_cache_manager"] = True
    _fill_memory_beyond_the_gpu(values)
    if values["dtype"] == "auto":
        values["dtype"] = "bf16"
    if values["kv_cache_dtype"] == "auto":
        values["kv_cache_dtype"] = values["dtype"]
    if values["cudagraph_capture_sizes"] is None:
        sizes = default_cudagraph_sizes(values["max_num_seqs"], values["max_num_batched_tokens"])
        values["cudagraph_capture_sizes"] = sizes
    return values


def _fill_memory_beyond_the_gpu(values: dict[str, Any]) -> None:
    """Defaults of preemption and offload; raises ScenarioError for what does not go together."""
    kv_cache = choice.build("sim.kvcache", values["kv_cache"])
    if values["preemption"] is None:
        values["preemption"] = "recompute"
    if values["preemption"] == "swap":
        if isinstance(kv_cache, Contiguous):
            raise ScenarioError("preemption swap with kv_cache contiguous: nobody is preempted there; leave it out")
        if values["swap_space"] is None:
            values["swap_space"] = DEFAULT_SWAP_BYTES
    elif values["swap_space"]:
        raise ScenarioError("swap_space is for preemption: swap; set that, or leave swap_space out")
    if values["kv_offload"] is not None and not (isinstance(kv_cache, Paged) and values["enable_prefix_caching"]):
        raise ScenarioError(
            "kv_offload keeps evicted blocks of vLLM's prefix cache; use kv_cache: paged with "
            "enable_prefix_caching: true, or leave it out"
        )


def _refuse_speculation(engine: Engine, batching: Any) -> None:
    if not getattr(batching, "schedules_drafts", False):
        raise ScenarioError(
            f"batching {choice.name_of(batching)} does not schedule drafts to check; use vllm_v1, or leave out "
            "speculative"
        )
    if engine.async_scheduling:
        raise ScenarioError(
            "speculative needs the tokens of a step before the next is decided; set async_scheduling to false, or "
            "leave it out"
        )


def _refuse_what_the_engine_refuses(values: dict[str, Any], splits: bool) -> None:
    tokens, seqs = values["max_num_batched_tokens"], values["max_num_seqs"]
    longest = values["max_model_len"]
    if tokens < seqs:
        raise ScenarioError(
            f"max_num_batched_tokens {tokens} is less than max_num_seqs {seqs}: a full batch "
            "could not decode; raise the one or lower the other"
        )
    if tokens < longest and not splits:
        raise ScenarioError(
            f"max_num_batched_tokens {tokens} is less than max_model_len {longest} with "
            "chunked prefill off: long prompts could never run; raise it, or lower max_model_len, or use a batching "
            "that splits prompts, with chunking on"
        )
    if (values["max_num_scheduled_tokens"] or 0) > tokens:
        raise ScenarioError(
            f"max_num_scheduled_tokens {values['max_num_scheduled_tokens']} is more than "
            f"max_num_batched_tokens {tokens}; lower it"
        )
    if values["long_prefill_token_threshold"] > longest:
        raise ScenarioError(
            f"long_prefill_token_threshold {values['long_prefill_token_threshold']} is more than "
            f"max_model_len {longest}; lower it"
        )


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
        eager_launch_s=given.eager_launch_s,
    )
