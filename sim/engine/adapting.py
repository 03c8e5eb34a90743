"""LoRA: requests that want adapters of the model, and an engine that runs at most `max_loras` of them in one batch.

A waiting request whose adapter would be one too many is passed over until an adapter has left the batch; whoever is
behind it may go first. Requests that are passed over keep their places. All policies keep to this, because the queue
only shows them whom they may take.

Source: vLLM 0.32, vllm/v1/core/sched/scheduler.py (`scheduled_loras`; requests skipped in a step are put back in
front). A request whose last token is under way counts no more, as it is in no later step.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Any, cast

from sim.engine.adapterslots import NOTHING, AdapterRoom, AdapterSlots
from sim.engine.core import Engine
from sim.engine.decoders import DecodeGroup
from sim.engine.plan import StepPlan
from sim.engine.policies import QueueOrdering
from sim.engine.waiting import Key
from sim.errors import ScenarioError
from sim.kvcache.protocol import Hit
from sim.request import NO_ADAPTER, Request


class AdapterQueue:
    """A queue in the order of a key that shows only requests whose adapters the batch has or has room for.

    `batch` counts the batch's requests by adapter; whoever changes which adapters are in it calls `refresh`. The
    length is that of the whole queue; it is false when nobody may be taken.
    """

    __slots__ = ("_batch", "_head", "_heaps", "_key", "_most", "_size", "_stale")

    rearranges = False

    def __init__(self, key: Key, batch: dict[int, int], max_loras: int) -> None:
        self._key = key
        self._batch = batch
        self._most = max_loras
        self._heaps: dict[int, list[tuple[tuple[float, ...], Request]]] = {}  # none is empty
        self._size = 0
        self._head: Request | None = None
        self._stale = False

    @property
    def head(self) -> Request:
        """The first who may be taken; if there is nobody, it is no request at all."""
        if self._stale:
            self._stale = False
            batch, heaps = self._batch, self._heaps
            if len(batch) < self._most:
                firsts = [heap[0] for heap in heaps.values()]
            else:
                firsts = [heaps[adapter][0] for adapter in (NO_ADAPTER, *batch) if adapter in heaps]
            self._head = min(firsts)[1] if firsts else None
        return cast(Request, self._head)

    def push(self, request: Request) -> bool:
        """Let a request wait."""
        heappush(self._heaps.setdefault(request.adapter, []), (self._key(request), request))
        self._size += 1
        self._stale = True
        return False

    def pop(self) -> Request:
        """Take out the head."""
        request = self.head
        heap = self._heaps[request.adapter]
        heappop(heap)
        self._taken(request.adapter, heap)
        return request

    def remove(self, request: Request) -> None:
        """Take out any request that waits."""
        heap = [entry for entry in self._heaps[request.adapter] if entry[1] is not request]
        heapify(heap)
        self._heaps[request.adapter] = heap
        self._taken(request.adapter, heap)

    def _taken(self, adapter: int, heap: list[Any]) -> None:
        if not heap:
            del self._heaps[adapter]
        self._size -= 1
        self._stale = True

    def refresh(self) -> None:
        """Other adapters are in the batch now."""
        self._stale = True

    def __bool__(self) -> bool:
        return self._size > 0 and self.head is not None

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Request]:
        """All requests, in no order that means anything."""
        return (request for heap in self._heaps.values() for _, request in heap)


class AdapterGroup(DecodeGroup):
    """A decode group that knows how many of its members have which adapter."""

    __slots__ = ("adapters",)

    def clear(self) -> None:
        """Forget all members."""
        super().clear()
        self.adapters: dict[int, int] = {}

    def join(self, request: Request) -> None:
        """Take in a request that has one known token left to compute."""
        super().join(request)
        _count(self.adapters, request.adapter, 1)

    def _forget(self, request: Request) -> None:
        super()._forget(request)
        _count(self.adapters, request.adapter, -1)


class LoraEngine(Engine):
    """An engine with adapters; its order must be one that a key tells."""

    __slots__ = ("batch", "slots", "step_adapters")

    def __init__(self, *parts: Any, room: AdapterRoom, **more: Any) -> None:
        super().__init__(*parts, **more)
        if isinstance(self.ordering, QueueOrdering):
            raise ScenarioError("this order has a queue of its own, which cannot pass over requests for LoRA adapters")
        self.decoders: AdapterGroup = AdapterGroup(self.limits.block_size, self.kv.grows)
        self.batch: dict[int, int] = {}  # requests that the next step may hold, by adapter
        self.waiting = AdapterQueue(self.ordering.key, self.batch, room.max_loras)
        self.slots = AdapterSlots(room)
        self.step_adapters = 0  # in the step decided last

    def add(self, request: Request) -> bool:
        """Put an arriving request in the queue; while nobody may be taken, it changes nothing."""
        self.waiting.push(request)
        return bool(self.waiting) and self.batching.may_disturb(self, request)

    def schedule(self, window_over: bool = False) -> StepPlan:
        """Decide the next step, and which adapters must be loaded for it."""
        plan = super().schedule(window_over)
        adapters = {request.adapter for request, _, _ in plan.chunks}
        if plan.decodes:
            adapters.update(self.decoders.adapters)
        if plan.padding_decodes:
            adapters.update(request.adapter for request in self.kept)
        adapters.discard(NO_ADAPTER)
        self.slots.use(sorted(adapters))
        self.step_adapters = len(adapters)
        return plan

    def steady_steps(self, plan: StepPlan) -> int:
        """As any engine; a step that waits for adapters is alone."""
        return 1 if self.slots.pending != NOTHING else super().steady_steps(plan)

    def launch(self, plan: StepPlan, steps: int = 1) -> list[Request]:
        """As any engine; the finished are in no later step."""
        finished = super().launch(plan, steps)
        for request in finished:
            self._count(request, -1)
        return finished

    def admit(self, request: Request, hit: Hit, new_tokens: int, plan: StepPlan) -> None:
        """As any engine."""
        super().admit(request, hit, new_tokens, plan)
        self._count(request, 1)

    def preempt(self, request: Request, plan: StepPlan) -> int:
        """As any engine."""
        if request.generated_tokens < request.output_tokens:
            self._count(request, -1)
        return super().preempt(request, plan)

    def cancel(self, request: Request) -> bool:
        """As any engine."""
        runs = request in self.running
        cancelled = super().cancel(request)
        if cancelled and runs:
            self._count(request, -1)
        return cancelled

    def _count(self, request: Request, change: int) -> None:
        if _count(self.batch, request.adapter, change):
            self.waiting.refresh()

    def check(self) -> None:
        """As any engine; and the batch has the adapters of its requests, and no more than there are slots."""
        super().check()
        self.slots.check()
        counted: dict[int, int] = {}
        for request in self.running:
            if request.generated_tokens < request.output_tokens:
                _count(counted, request.adapter, 1)
        if counted != self.batch or len(counted) > self.slots.room.max_loras:
            raise AssertionError(f"INV-1: the batch has requests of {counted}, and {self.batch} are counted")


def _count(counts: dict[int, int], adapter: int, change: int) -> bool:
    """Count a request more or less; whether an adapter has come or gone."""
    if adapter == NO_ADAPTER:
        return False
    before = counts.get(adapter, 0)
    counts[adapter] = before + change
    if not counts[adapter]:
        del counts[adapter]
    return not before or before + change == 0
