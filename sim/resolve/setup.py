"""One kind of replica, every default filled in, and the parts that it is made of."""

from dataclasses import dataclass, replace
from typing import Any

from sim import hardware
from sim.cluster.adapter_costs import AdapterCosts
from sim.cluster.host_link import HostLink
from sim.cluster.pool import Pool
from sim.engine import Engine as Replica
from sim.engine import EngineLimits
from sim.engine.adapting import LoraEngine
from sim.engine.pipelining import PipelinedEngine
from sim.errors import ScenarioError
from sim.kvcache._hybrid import HybridPaged
from sim.kvcache.capacity import HybridMemorySplit, MemorySplit
from sim.kvcache.protocol import KVCacheChoice
from sim.kvcache.tiers.offload import Offloading
from sim.kvcache.tiers.swap import Swapping
from sim.latency import EngineTiming, StepTimer, TimerContext
from sim.latency.drafting import DraftingTimer, FlatDrafter, ModelDrafter
from sim.latency.first_use import FirstUse, first_use
from sim.latency.profile import Profile
from sim.models import Model
from sim.resolve.assembly import make_engine
from sim.resolve.lora import adapter_costs, adapter_room
from sim.resolve.parallel import (
    expert_shards,
    pipeline_timer,
    ranks_timer,
)
from sim.scenario import Scenario


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
