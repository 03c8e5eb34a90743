"""The replicas at both ends of a hand-over."""

from bisect import bisect_right
from collections.abc import Callable, Generator
from typing import Any, Protocol

import simpy

from sim.cluster.pool import Pool
from sim.cluster.replica import Replica
from sim.engine.handing_over import Receiver, Sender
from sim.engine.plan import StepPlan
from sim.request import Request


class Between(Protocol):
    """What lies between the two kinds."""

    def begin(self, request: Request, prefill: "PrefillReplica") -> None: ...
    def computing(self, request: Request, start_s: float) -> None: ...
    def fetch(self, twin: Request, blocks: int) -> None: ...
    def give_up(self, request: Request, status: str, on_arrival: bool) -> None: ...


class PrefillReplica(Replica):
    """A replica that computes prompts, and keeps their KV until it has been fetched."""

    def __init__(self, env: simpy.Environment, index: int, pool: Pool, *, handover: Between, **more: Any) -> None:
        super().__init__(env, index, pool, **more)
        self.handover = handover
        self.outlet = pool.outlet
        self.sender = Sender(self.engine)

    def deliver(self, request: Request, after_steps: bool = False) -> None:
        """A request comes; it may have to wait for room elsewhere before its prompt is computed here."""
        self.handover.begin(request, self)

    def count(self, request: Request) -> None:
        """From now on the request is one of those sent here."""
        self._count(request, 1)

    def give_up(self, request: Request, status: str, on_arrival: bool = False) -> None:
        """Drop a request that came here, wherever it is now."""
        self.handover.give_up(request, status, on_arrival)

    def drop(self, request: Request, status: str, on_arrival: bool) -> None:
        """Drop a request of this engine before the next step is decided."""
        super().give_up(request, status, on_arrival)

    def forget(self, request: Request) -> None:
        """A request was given up before its prompt came to this engine's queue."""
        self._count(request, -1)

    def release(self, request: Request) -> None:
        """The request's KV is not needed any more."""
        if self.sender.release(request):
            self._change()

    def _launch(self, start_s: float, plan: StepPlan) -> Any:
        for request in plan.admitted:
            self.handover.computing(request, start_s)
        return super()._launch(start_s, plan)

    def _sleep(self) -> Generator[simpy.Event, None, None]:
        yield from _noting_waits(self, bool(self.engine.parked_tokens and self.engine.waiting), super()._sleep)


class DecodeReplica(Replica):
    """A replica that fetches prompts' KV and goes on from there; it can also serve a request as a whole."""

    def __init__(self, env: simpy.Environment, index: int, pool: Pool, *, handover: Between, **more: Any) -> None:
        super().__init__(env, index, pool, **more)
        self.handover = handover
        self.outlet = pool.outlet
        self.request_overhead_s = pool.request_overhead_s
        self.kv_bytes_per_block = pool.kv_bytes_per_block
        self.layers = pool.layers
        self.receiver = Receiver(self.engine)
        self._arrived: list[Request] = []  # since the latest decision, like those that were given up elsewhere
        self._forgotten: list[Request] = []

    def expect(self, request: Request, on_arrival: bool) -> None:
        """A request comes whose KV must be fetched; `on_arrival`, right when it arrives at the gateway."""
        self._count(request, 1)
        request.queued_s = self.env.now
        if self.receiver.expect(request):
            self._change(self._step_reached if on_arrival else bisect_right)

    def arrived(self, request: Request) -> None:
        """All KV of a request is here; the next decision sees it."""
        self._arrived.append(request)
        if self.engine.has_seat or self._idle is not None:
            self._change()

    def forget(self, request: Request) -> None:
        """A request that has not begun to decode here will not do so."""
        self._forgotten.append(request)
        self._count(request, -1)
        self._change()

    def _drop_given_up(self) -> None:
        """Also take note of what has come, and begin to fetch whatever there is room for now."""
        self._note_arrivals()
        super()._drop_given_up()
        for request in self._forgotten:
            self.engine.cancel(request)
        self._forgotten = []
        for request, blocks in self.receiver.begin():
            self.handover.fetch(request, blocks)
        self._note_arrivals()

    def _note_arrivals(self) -> None:
        for request in self._arrived:
            self.receiver.arrived(request)
        self._arrived = []

    def _steady_steps(self, plan: StepPlan) -> int:
        """Should the cache change in a run, whoever is next might find more in it, and need less room.

        Likewise when the finished leave.
        """
        engine = self.engine
        if engine.leaving:
            return 1
        if self.receiver.queue.blocked and engine.has_seat and (engine.decoders.named or engine.kv.coarse):
            return 1
        return super()._steady_steps(plan)

    def _sleep(self) -> Generator[simpy.Event, None, None]:
        yield from _noting_waits(self, bool(self.engine.parked_tokens), super()._sleep)


def _noting_waits(
    replica: Replica, for_kv: bool, sleep: Callable[[], Generator[simpy.Event, None, None]]
) -> Generator[simpy.Event, None, None]:
    since_s = replica.env.now
    yield from sleep()
    if for_kv and replica.env.now > since_s:
        replica.waits.append((since_s, replica.env.now))
