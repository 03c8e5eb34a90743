"""What a scenario's engine.lora comes to: slots in memory, an engine's room, times; and what does not go with it."""

from collections.abc import Callable
from functools import cache
from typing import Any

from sim import choice
from sim.cluster.adapter_costs import AdapterCosts
from sim.engine.adapterslots import AdapterRoom
from sim.engine.policies import QueueOrdering
from sim.errors import ScenarioError
from sim.hardware import Profile
from sim.latency import StepTimer
from sim.models import Model
from sim.models.lora import adapter_bytes
from sim.sections.engineparts import Lora


def slots_bytes(lora: Lora | None, model: Model, tensor_parallel: int) -> int:
    """Memory of the adapters' slots on one GPU, which vLLM makes before it lays out the KV cache."""
    return 0 if lora is None else lora.max_loras * adapter_bytes(model, lora.max_lora_rank, tensor_parallel)


def adapter_room(lora: Lora) -> AdapterRoom:
    """How many adapters fit where."""
    return AdapterRoom(lora.max_loras, lora.host_slots, lora.disk_bytes_per_s is not None)


def adapter_costs(
    lora: Lora | None, model: Model, profile: Profile, tensor_parallel: int, timer: Callable[[int], StepTimer]
) -> AdapterCosts | None:
    """The time of adapters, given that of steps which hold so many; None without them."""
    if lora is None:
        return None
    return AdapterCosts(
        cache(timer),
        adapter_bytes(model, lora.adapter_rank, tensor_parallel),
        adapter_bytes(model, lora.adapter_rank),
        profile.pcie_bandwidth_bytes_per_s * profile.derates.link_bandwidth,
        float(lora.disk_bytes_per_s or "inf"),
    )


def refuse_with_lora(values: dict[str, Any]) -> None:
    """Raise ScenarioError for what is not simulated together with engine.lora."""
    if values["speculative"] is not None:
        raise ScenarioError("lora and speculative together are not modelled; leave out one of them")
    ordering = choice.build("sim.ordering", values["ordering"])
    if isinstance(ordering, QueueOrdering):
        raise ScenarioError(
            f"ordering {choice.name_of(ordering)} has a queue of its own, which cannot pass over requests whose "
            "adapters are too many; use one with a key, such as fcfs, or leave out lora"
        )
