"""What a replica is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sim.cluster.adapter_costs import AdapterCosts
from sim.cluster.host_link import HostLink
from sim.cluster.outlet import Outlet
from sim.engine import Engine
from sim.errors import ServecastError
from sim.latency import StepTimer
from sim.latency.first_use import FirstUse
from sim.latency.pipeline import PipelineTimer
from sim.latency.ranks import RanksTimer
from sim.scaling import Scaling


def nothing_to_compile() -> FirstUse | None:
    """A replica that has served before."""
    return None


@dataclass(frozen=True)
class Pool:
    """Replicas of one kind, and how many there are at the start.

    They serve requests for `model`, whatever that is called. A request reaches an engine's queue `request_overhead_s`
    after it was sent there, and the tokens of a step reach their clients `output_overhead_s` after its end for each of
    them. `host_link` is needed by a KV cache that moves blocks to the host's memory. `decide_ahead` is asynchronous
    scheduling: a step is decided while the one before it is under way. `make_first_use` says what a fresh replica
    still has to compile. `adapter_costs` are for engines that take LoRA adapters, which requests that want some need.
    One that starts or restarts during the run serves `cold_start_s` later, and `scaling` says when one starts or goes.

    A pool of role "prefill" computes prompts for those of role "decode": their KV, `kv_bytes_per_block` on all GPUs of
    a replica together and so many `layers`, goes through both their outlets.
    """

    make_engine: Callable[[], Engine]
    timer: StepTimer
    name: str = ""
    model: str = ""
    replicas: int = 1
    gpus_per_replica: int = 1
    decide_ahead: bool = False
    request_overhead_s: float = 0.0
    output_overhead_s: float = 0.0
    host_link: HostLink | None = None
    make_first_use: Callable[[], FirstUse | None] = nothing_to_compile
    adapter_costs: AdapterCosts | None = None
    cold_start_s: float = 0.0
    scaling: Scaling | None = None
    role: Literal["", "prefill", "decode"] = ""
    outlet: Outlet = Outlet()  # noqa: RUF009
    kv_bytes_per_block: int = 0
    layers: int = 1

    def __post_init__(self) -> None:
        if self.role and self.adapter_costs is not None:
            raise ServecastError("LoRA adapters are not modelled where prompts are computed elsewhere: leave one out")
        if self.role and isinstance(self.timer, PipelineTimer | RanksTimer):
            raise ServecastError(
                "pipeline_parallel and data-parallel attention are not modelled where prompts are computed elsewhere: "
                "use tensor_parallel"
            )
        if self.decide_ahead and not getattr(self.make_engine().batching, "decides_ahead", False):
            raise ServecastError(
                "this batching cannot decide a step while one is under way: decide_ahead must be False"
            )
