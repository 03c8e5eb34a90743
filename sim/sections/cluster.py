"""A scenario's cluster section: GPUs, pools of replicas, and how requests are spread over them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from sim.choice import Choice, nearest
from sim.quantity import Name, Seconds
from sim.sections.autoscaling import Autoscaling
from sim.sections.cold_start import ColdStart
from sim.sections.disaggregation import Disaggregation, Role
from sim.sections.engine import Engine
from sim.sections.section import Count, Section


class Placement(Section):
    """What one replica runs on, and how many there are."""

    gpu: str = ""
    """A hardware profile by name (`servecast gpus` lists them), or the path of a profile folder. E.g. `h100-sxm`."""
    replicas: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Copies of the model, each with its own engine."""
    tensor_parallel: Count = 1
    """GPUs that share every layer of one copy."""
    pipeline_parallel: Count = 1
    """Stages that the layers of one copy are spread over, each on its own tensor_parallel GPUs."""
    data_parallel: Count = 1
    """Ranks of one copy of a mixture: each has the attention, the queue and the KV cache of its own requests, on
    tensor_parallel GPUs; they share the experts and take every step together. Routers choose among ranks."""
    all2all_backend: Annotated[Any, Choice("sim.alltoall")] = "allgather_reducescatter"
    """How tokens get from the ranks to their experts and back (vLLM: --all2all-backend)."""
    overlap_communication: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the tensor-parallel collectives' time that runs behind matrix products (vLLM's async TP, SGLang's two
    batches); your engine's, not known here."""
    enable_expert_parallel: bool = False
    """Put whole experts of a mixture on each GPU, instead of cutting every expert."""
    expert_load: Annotated[Any, Choice("sim.expertload")] = "uniform"
    """How evenly tokens spread over the experts; the busiest GPU sets the pace."""
    gpus_per_node: Count | None = None
    """GPUs of one machine; larger groups talk over the network. Default: the profile's. E.g. `8`."""
    gpus_per_island: Count | None = None
    """GPUs of a node joined by the GPU's fast link (NVLink), the others over PCIe; default: all of a node. E.g. `2`."""
    network: str | None = None
    """What joins the nodes: a shipped network (infiniband-ndr, roce-400g, ethernet-100g, ...), or the path of a file
    like theirs; default: the GPU profile's. E.g. `roce-400g`."""
    nics_per_node: Count | None = None
    """Network cards of a node, shared evenly by its GPUs; default: the profile's, mostly one for each GPU. E.g. `4`."""
    gpu_price_per_hour: Annotated[float, Field(ge=0)] | None = None
    """US dollars for one GPU for one hour; default: the profile's price, if it has one. E.g. `2.5`."""
    autoscaling: Autoscaling | None = None
    """When replicas are added or go; default: never. E.g. `{rule: queue_length, max_replicas: 8}`."""
    cold_start: ColdStart = ColdStart()
    """How long a replica that starts during the run takes to serve; those at the start are there already."""


class Pool(Placement):
    """Replicas of one kind, beside others. What is left out is the cluster's, the model's and the engine's."""

    model: str = ""
    """The model that it serves; default: the scenario's."""
    engine: Engine = Engine()
    """What differs from the scenario's engine."""
    role: Role = ""
    """prefill: it computes prompts for the pools of role decode; default: all of a request."""

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name in self.model_fields_set}


class Cluster(Placement):
    """The GPUs and how requests are spread over them."""

    router: Annotated[Any, Choice("sim.routing")] = "round_robin"
    """Which replica gets a request. E.g. `least_outstanding`."""
    router_staleness: Annotated[Seconds, Field(ge=0)] = 0.0
    """How often the router learns the replicas' state: it sees them as they were then; 0: as they are."""
    gateway_latency: Seconds = 0.0
    """How long a request takes through the gateway before it is let in and routed. E.g. `5ms`."""
    admission: tuple[Annotated[Any, Choice("sim.admission")], ...] = ()
    """Rules that keep requests out, asked in this order; the first that refuses is the last that is asked. E.g.
    `[{queue_limit: {outstanding_per_replica: 64}}]`."""
    request_timeout: Annotated[Seconds, Field(gt=0)] | None = None
    """The server gives up a request that has not finished so long after a replica got it; default: never. E.g.
    `2min`."""
    queue_timeout: Annotated[Seconds, Field(gt=0)] | None = None
    """The server gives up a request that no step has begun for by then; default: never. E.g. `30s`."""
    faults: tuple[Annotated[Any, Choice("sim.faults")], ...] = ()
    """What goes wrong, and when. E.g. `[{crash: {at: 10min, restart_after: 1min}}]`."""
    on_crash: Literal["requeue", "fail"] = "requeue"
    """A crashed replica's requests: others go on with them, from the tokens that their clients have; or they fail."""
    max_requeues: Count = 10
    """A request that has lost so many replicas, and loses one more, fails."""
    max_gateway_queue: Annotated[int, Field(ge=0)] | None = None
    """Most requests that wait while no replica takes any, further ones fail; default: no limit. E.g. `1000`."""
    pools: dict[Name, Pool] = Field(default={})
    """Replicas of several kinds, by name; what a pool leaves out is as said here. Default: one kind. E.g. `{h100:
    {replicas: 2}, l40s: {gpu: l40s, replicas: 4}}`."""
    disaggregation: Disaggregation = Disaggregation()
    """How prompts' KV gets from pools of role prefill to pools of role decode."""

    def role(self, pool: str) -> Role:
        """What a pool of that name does; "" is the name of the only one."""
        return self.pools[pool].role if self.pools else ""

    @model_validator(mode="after")
    def _every_pool_has_a_gpu(self) -> Self:
        without = [f"pools.{name}." for name, pool in self.pools.items() if not (pool.gpu or self.gpu)]
        if without or not (self.pools or self.gpu):
            raise ValueError(f"{without[0] if without else ''}gpu is missing: `servecast gpus` lists the profiles")
        for name in getattr(self.router, "pools", ()):
            if name not in self.pools:
                raise ValueError(f"router names a pool {name!r} that is not in pools{nearest(name, self.pools)}")
        if self.pools and "replicas" in self.model_fields_set and self.replicas != 1:
            raise ValueError("replicas beside pools: give each pool its own")
        return self
