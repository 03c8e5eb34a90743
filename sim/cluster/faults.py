"""What faults do to the replicas of a running simulation."""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import numpy as np

from sim.cluster.clock import ARRIVAL_ORDER, At
from sim.cluster.lifecycle import Lifecycle
from sim.cluster.replica import Replica
from sim.faults import Act, Fault
from sim.streams import stream


def start_faults(
    faults: Sequence[Fault], lifecycle: Lifecycle, seed: int, is_over: Callable[[], bool], may_grow: bool = False
) -> None:
    """Let all faults happen; raises ServecastError if one names a replica or pool that is not there."""
    pools: dict[str, int] = {pool.name: pool.replicas for pool in lifecycle.fleet.pools}
    paces = Paces()
    for number, fault in enumerate(faults):
        fault.check(pools, may_grow)
        fault.start(Controls(lifecycle, paces, f"fault {number}", seed, is_over))


class Paces:
    """By how much each replica is slowed down now: it may be for several reasons."""

    def __init__(self) -> None:
        self._factors: dict[int, dict[object, tuple[float, float]]] = {}

    def slow(self, replica: Replica, steps: float, links: float) -> Act:
        """One reason more; returns what takes it away."""
        reason = object()
        self._factors.setdefault(replica.index, {})[reason] = (steps, links)
        self._apply(replica)
        return partial(self._end, replica, reason)

    def _end(self, replica: Replica, reason: object) -> None:
        del self._factors[replica.index][reason]
        self._apply(replica)

    def _apply(self, replica: Replica) -> None:
        steps, links = (
            prod(factors) for factors in zip((1.0, 1.0), *self._factors[replica.index].values(), strict=True)
        )
        replica.pace(steps, links)


class Controls:
    """The hands of one fault; see sim.faults.Control."""

    def __init__(self, lifecycle: Lifecycle, paces: Paces, name: str, seed: int, is_over: Callable[[], bool]) -> None:
        self._lifecycle = lifecycle
        self._fleet = lifecycle.fleet
        self._paces = paces
        self._name = name
        self._seed = seed
        self._is_over = is_over

    @property
    def is_over(self) -> bool:
        """Whether all requests have ended."""
        return self._is_over()

    def at(self, time_s: float, act: Act) -> None:
        """An event before all others of its time but arrivals."""
        event = At(self._lifecycle.env, time_s, ARRIVAL_ORDER)
        event.callbacks.append(lambda _: act())

    def here(self, pool: str | None) -> Sequence[int]:
        """Those that serve, load or drain."""
        states, replicas = self._lifecycle.states, self._fleet.replicas
        here = (replica for replica in replicas if states[replica.index] in ("serving", "loading", "draining"))
        return [replica.index for replica in here if pool in (None, replica.pool)]

    def whenever_ready(self, act: Callable[[int], None]) -> None:
        """Those to come."""
        self._lifecycle.on_ready.append(lambda replica: act(replica.index))

    def while_serving(self, replica: int, after_s: float, act: Act) -> None:
        """Unless overtaken by events."""
        self._lifecycle.unless_changed(self._fleet.replicas[replica], after_s, lambda _: act())

    def pool_of(self, replica: int) -> str:
        """Its pool."""
        return self._fleet.replicas[replica].pool

    def crash(self, replica: int, restart_after_s: float | None) -> None:
        """Down, or gone."""
        then = None if restart_after_s is None else partial(self._lifecycle.repair, restart_after_s)
        self._lifecycle.crash(self._fleet.replicas[replica], then)

    def lose(self, replica: int, notice_s: float) -> None:
        """Drain, then crash what still drains."""
        self._drain(self._fleet.replicas[replica], self._lifecycle.go, notice_s)

    def restart(self, replica: int, grace_s: float | None, then: Act) -> None:
        """Drain, then load, then go on."""
        one = self._fleet.replicas[replica]

        def done(other: Replica) -> None:
            if other is one:
                for told in (self._lifecycle.on_ready, self._lifecycle.on_gone):
                    told.remove(done)
                then()

        for told in (self._lifecycle.on_ready, self._lifecycle.on_gone):
            told.append(done)
        self._drain(one, self._lifecycle.load, grace_s)

    def _drain(self, replica: Replica, then: Callable[[Replica], None], notice_s: float | None) -> None:
        self._lifecycle.drain(replica, then)
        if notice_s is not None and self._lifecycle.states[replica.index] == "draining":
            self._lifecycle.unless_changed(replica, notice_s, self._lifecycle.crash)

    def slow(self, replica: int, steps: float = 1.0, links: float = 1.0) -> Act:
        """A reason more to be slow."""
        return self._paces.slow(self._fleet.replicas[replica], steps, links)

    def rng(self, name: str) -> np.random.Generator:
        """A stream of its own for each fault and name."""
        return stream(self._seed, f"{self._name}, {name}")
