"""How replicas come, stop, come back and go."""

from collections.abc import Callable
from functools import partial

import simpy

from sim.cluster.clock import ARRIVAL_ORDER, At
from sim.cluster.fleet import Fleet
from sim.cluster.replica import Replica
from sim.request import Request

Then = Callable[[Replica], None]
"""What a replica does when it has stopped."""


class Lifecycle:
    """Starts, drains, crashes and restarts replicas; the one place that lets them join and leave the candidates.

    A replica is "loading" for its pool's cold start, then "serving". It may be "draining" or "crashing", which are
    over at the end of a step, and then is "down" or "gone". `lost` is told of the requests of one that has crashed.
    """

    def __init__(self, env: simpy.Environment, fleet: Fleet, lost: Callable[[Replica, list[Request]], None]) -> None:
        self.env = env
        self.fleet = fleet
        self.states: list[str] = []
        """What each replica does, by its index."""
        self.on_ready: list[Then] = []
        """Told of every replica that begins to serve, once it is a candidate."""
        self.on_gone: list[Then] = []
        """Told of every replica that will never serve again."""
        self._lost = lost
        self._then: dict[int, Then] = {}
        self._turns: list[int] = []  # so that what is overtaken by events is not done

    def start(self, pool: int) -> Replica:
        """A new replica that serves from now on."""
        replica = self._add(pool)
        self._ready(replica)
        return replica

    def launch(self, pool: int) -> Replica:
        """A new replica that has to load first."""
        replica = self._add(pool)
        self.load(replica)
        return replica

    def drain(self, replica: Replica, then: Then | None = None) -> None:
        """Send it no more requests; when it has none, it is gone, or does what comes `then`."""
        state = self.states[replica.index]
        if state in ("serving", "loading"):
            self._stop(replica, then or self.go, "draining")

    def crash(self, replica: Replica, then: Then | None = None) -> None:
        """Stop at the end of the step under way; then it is gone, or does what comes `then`.

        One that drains goes where it was going, only sooner. A replica that does not serve or load cannot crash.
        """
        state = self.states[replica.index]
        if state in ("serving", "loading"):
            self._stop(replica, then or self.go, "crashing")
        elif state == "draining":
            self._now(replica, "crashing")
            replica.crash()
        else:
            return
        self.fleet.counters["crashes"] += 1

    def go(self, replica: Replica) -> None:
        """Give the GPUs back."""
        self._now(replica, "gone")
        for tell in list(self.on_gone):
            tell(replica)

    def load(self, replica: Replica) -> None:
        """Load the weights and warm up, then serve."""
        self._now(replica, "loading")
        self.unless_changed(replica, replica.kind.cold_start_s, self._ready)

    def repair(self, after_s: float, replica: Replica) -> None:
        """Be out of order for so long, then load."""
        self._now(replica, "down")
        self.unless_changed(replica, after_s, self.load)

    def unless_changed(self, replica: Replica, after_s: float, act: Then) -> None:
        """Do it after so long, if the replica is still in the state in which it is now."""
        event = At(self.env, self.env.now + after_s, ARRIVAL_ORDER)
        event.callbacks.append(partial(self._unless_overtaken, self._turns[replica.index], replica, act))

    def _add(self, pool: int) -> Replica:
        replica = self.fleet.add(pool)
        replica.stopped = self._stopped
        self.states.append("")
        self._turns.append(0)
        return replica

    def _now(self, replica: Replica, state: str) -> None:
        self.states[replica.index] = state
        self._turns[replica.index] += 1
        if state not in ("draining", "crashing"):  # which still serve those that they have
            self.fleet.note(replica, state, self.env.now)

    def _unless_overtaken(self, turn: int, replica: Replica, act: Then, _event: simpy.Event) -> None:
        if self._turns[replica.index] == turn:
            act(replica)

    def _ready(self, replica: Replica) -> None:
        self._now(replica, "serving")
        replica.begin()
        self.fleet.candidates(replica).join(replica)
        for tell in list(self.on_ready):
            tell(replica)

    def _stop(self, replica: Replica, then: Then, how: str) -> None:
        loading = self.states[replica.index] == "loading"
        self._now(replica, how)
        if loading:
            then(replica)
            return
        self._then[replica.index] = then
        self.fleet.candidates(replica).leave(replica)
        if how == "draining":
            replica.drain()
        else:
            replica.crash()

    def _stopped(self, replica: Replica, lost: list[Request]) -> None:
        self._then.pop(replica.index)(replica)
        if lost:
            self._lost(replica, lost)
