"""A gateway that turns requests away, and clients that come again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.admission import Rule
from sim.choice import name_of
from sim.cluster.clock import At
from sim.cluster.gateway import Gateway
from sim.record import Columns
from sim.request import Request
from sim.routing import Candidates
from sim.workload.retries import Retries


@dataclass(frozen=True)
class _Door:
    """What rules see of one model; see sim.admission.Door."""

    candidates: Candidates
    tenants: Sequence[str]
    held: Callable[[], int]

    @property
    def held_requests(self) -> int:
        """Those that wait for a replica."""
        return self.held()


@dataclass(frozen=True)
class TurningAway:
    """Who is turned away, and who then comes again: the rules, asked in their order, and what clients do."""

    rules: Sequence[Rule] = ()
    retries: Retries | None = None

    @property
    def knows_caches(self) -> bool:
        """Whether a rule asks what KV caches hold."""
        return any(getattr(rule, "knows_caches", False) for rule in self.rules)


class Client:
    """One who was turned away: when its request was first sent and last, and how often."""

    __slots__ = ("attempts", "first_s", "sent_s")

    def __init__(self, first_s: float) -> None:
        self.first_s = self.sent_s = first_s
        self.attempts = 1


class GuardedGateway(Gateway):
    """Lets in whom every admission rule admits; a request that one refuses is sent again, or ends as refused.

    A request that was let in once is not judged again. One that finds no replica and no room to wait for one fails,
    unless its client tries again. The server knows the latest attempt only: its `arrival_s`, by which queues are
    ordered, is that attempt's, while the client's patience goes on, and `first_arrivals` has what the record tells.
    """

    def __init__(
        self, *parts: Any, turning_away: TurningAway, seen: Sequence[Candidates], tenants: Sequence[str],
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        super().__init__(*parts)
        self.refusals: dict[str, int] = {name_of(rule): 0 for rule in turning_away.rules}
        self._retries = turning_away.retries
        self._rng = rng
        self._clients: dict[int, Client] = {}
        judges = {}
        for way, candidates in zip(self._ways, seen, strict=True):
            door = _Door(candidates, tenants, partial(self.held_requests, way[0]))
            if id(candidates) not in judges:
                judges[id(candidates)] = [(name_of(rule), rule.start(door)) for rule in turning_away.rules]
        self._judges = [judges[id(candidates)] for candidates in seen]  # by the tenant of a request

    def arrive(self, request: Request) -> None:
        """A request is there to be judged."""
        if request.prompt_tokens <= self._longest:
            for name, admits in self._judges[request.tenant]:
                if not admits(request, self._env.now):
                    self.refusals[name] += 1
                    self._turn_away(request, "refused")
                    return
        super().arrive(request)

    def counters(self) -> dict[str, int]:
        """How often a request was refused, in all and by each rule."""
        by_rule = {f"refusals_{name}": count for name, count in self.refusals.items()}
        return {"refusals": sum(self.refusals.values()), **by_rule}

    def columns(self, rows: NDArray[np.int64], arrival_s: NDArray[np.float64]) -> Columns:
        """How often each of these requests was sent, and when last; nothing where nobody tries again.

        Of one whose client gave up between two attempts the last is that moment: it was with no server.
        """
        if self._retries is None:
            return {}
        sent = np.ones(len(rows), np.int64)
        last_s = arrival_s.copy()
        for place, row in enumerate(rows.tolist()):
            client = self._clients.get(row)
            if client is not None:
                sent[place], last_s[place] = client.attempts, client.sent_s
        return {"attempts": sent, "sent_s": last_s}

    def first_arrivals(self) -> Mapping[int, float]:
        """When those that were sent again were first sent."""
        return {row: client.first_s for row, client in self._clients.items()}

    def _turn_away(self, request: Request, status: str) -> None:
        now_s, retries = self._env.now, self._retries
        client = self._clients.get(request.id)
        attempts = 1 if client is None else client.attempts
        if retries is None or attempts == retries.max_attempts or request.holder is not None:
            if status == "refused":
                self._leave(request, -1, status, now_s)
            else:
                super()._turn_away(request, status)
            return
        if client is None:
            client = self._clients[request.id] = Client(request.arrival_s)
        sent_s = now_s + retries.delay_s(attempts, self._rng.random())
        given_up_s = request.arrival_s + request.patience_s
        if given_up_s <= sent_s:
            client.sent_s = max(given_up_s, now_s)
            event = At(self._env, client.sent_s, self._order)
            event.callbacks.append(lambda _: self._end(request, "cancelled"))
            return
        client.attempts += 1
        client.sent_s = request.arrival_s = sent_s
        request.patience_s = given_up_s - sent_s
        event = At(self._env, sent_s + self.delay_s, self._order)
        event.callbacks.append(lambda _: self.arrive(request))
