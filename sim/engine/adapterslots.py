"""Where LoRA adapters lie: in slots on the GPU, in host memory, on disk; and what a step has to load.

A step's adapters are in slots when it begins. One that is not is copied there from host memory, over the adapter
used least recently; one that is not in host memory either is first read from disk, likewise. What leaves host memory
leaves its slot too. Both wait in the worker, so the step begins later.

Source: vLLM, vllm/lora/worker_manager.py and model_manager.py (LRUCacheWorkerLoRAManager, LRUCacheLoRAModelManager).
There the adapters of a step are looked at in the order of a set, so that one may lose its slot to another of the same
step and be copied again; here those that are in place keep it.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class AdapterRoom:
    """How many adapters fit, under vLLM's names; `on_disk` off: all are in host memory from the start."""

    max_loras: int = 1
    max_cpu_loras: int = 1
    on_disk: bool = True


class Loads(NamedTuple):
    """Adapters that a step waits for: read from disk, and copied to the GPU (which those read then are, too)."""

    from_disk: int = 0
    to_gpu: int = 0


NOTHING = Loads()


class AdapterSlots:
    """The adapters on the GPU and in host memory of one replica, the least recently used first."""

    __slots__ = ("_host", "_on_gpu", "pending", "room", "totals")

    def __init__(self, room: AdapterRoom) -> None:
        self.room = room
        self.pending = self.totals = NOTHING
        self._on_gpu: OrderedDict[int, None] = OrderedDict()
        self._host: OrderedDict[int, None] = OrderedDict()

    def use(self, adapters: list[int]) -> None:
        """A step has these adapters, at most `max_loras`."""
        missing = []
        for adapter in adapters:
            if adapter in self._on_gpu:
                self._on_gpu.move_to_end(adapter)
                self._touch(adapter)
            else:
                missing.append(adapter)
        for adapter in missing:
            from_disk = self._touch(adapter)
            if len(self._on_gpu) == self.room.max_loras:
                self._on_gpu.popitem(last=False)
            self._on_gpu[adapter] = None
            self.pending = _more(self.pending, from_disk)
            self.totals = _more(self.totals, from_disk)

    def _touch(self, adapter: int) -> bool:
        """Have it in host memory, used last; whether it had to be read from disk."""
        if not self.room.on_disk:
            return False
        host = self._host
        if adapter in host:
            host.move_to_end(adapter)
            return False
        if len(host) == self.room.max_cpu_loras:
            oldest, _ = host.popitem(last=False)
            self._on_gpu.pop(oldest, None)
        host[adapter] = None
        return True

    def begin_step(self) -> Loads:
        """What the step that begins now has to wait for."""
        loads, self.pending = self.pending, NOTHING
        return loads

    def check(self) -> None:
        """Raise AssertionError unless the slots and the host memory hold no more than they can, and agree."""
        if len(self._on_gpu) > self.room.max_loras:
            raise AssertionError(f"{len(self._on_gpu)} adapters lie in {self.room.max_loras} slots")
        if self.room.on_disk and not (
            set(self._on_gpu) <= set(self._host) and len(self._host) <= self.room.max_cpu_loras
        ):
            raise AssertionError("an adapter lies in a slot and not in host memory, or that holds too many")


def _more(loads: Loads, from_disk: bool) -> Loads:
    return Loads(loads.from_disk + from_disk, loads.to_gpu + 1)
