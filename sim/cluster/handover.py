"""Requests whose prompt one replica computes and whose answer another one writes.

A replica of a prefill pool computes the prompt and the first token, and keeps the KV. When that token is with its
client, the request is sent to a replica of a decode pool, which takes that pool's time for a request; there it waits
for its turn and for blocks. What these do not hold already is fetched over the links of both, whole blocks at the
narrower side's speed, and only then are the first replica's blocks free. In this order nobody waits for memory in a
circle. It is that of DistServe (Zhong et al., OSDI 2024), whose decoding instances pull, and of vLLM's NIXL
connector.

With `LayerWise` the order is that of SGLang: room at the decode side first, then the prompt, whose KV is sent while it
is computed, so that at the end only the last layer's is still to be sent (as in Splitwise, Patel et al., ISCA 2024).

A request that is preempted while it decodes is computed again there, all of it, as in vLLM. So is one whose KV was lost
before it could be fetched. A transfer whose request is given up stops at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import isnan, nan
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from sim.cluster.clock import ANSWERED_ORDER, REPLICA_ORDER, At
from sim.cluster.handing_replicas import DecodeReplica, PrefillReplica
from sim.cluster.links import Flow, Link, Links
from sim.cluster.pool import Pool
from sim.cluster.replica import Replica
from sim.record import Columns
from sim.request import Request
from sim.routing import Choose, ReplicaView

_TRIP = np.dtype(
    [
        ("prefill_replica", "<i4"), ("kv_transfer_bytes", "<i8"), ("prefilled_s", "<f8"), ("kv_room_s", "<f8"),
        ("kv_sent_s", "<f8"), ("kv_received_s", "<f8"), ("decode_scheduled_s", "<f8"),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class AfterPrefill:
    """The KV is fetched when the prompt has been computed."""

    early: bool = False

    def parts(self, bytes_: int, layers: int) -> tuple[int, int]:
        """Bytes that may be sent while the prompt is computed, and those that may not."""
        return 0, bytes_


@dataclass(frozen=True)
class LayerWise:
    """The KV of a layer is sent as soon as it has been computed."""

    early: bool = True

    def parts(self, bytes_: int, layers: int) -> tuple[int, int]:
        """All but the last layer's, and the last layer's."""
        last = -(-bytes_ // layers)
        return bytes_ - last, last


@dataclass(frozen=True)
class HandoverRules:
    """When the KV is sent, and from how many prompt tokens on that a decode replica does not have cached.

    Shorter prompts are served as a whole by a decode replica.
    """

    sending: AfterPrefill | LayerWise = AfterPrefill()
    from_prompt_tokens: int = 0


class _Trip:
    """A request on its way: itself at the prefill replica, its twin at the decode replica."""

    __slots__ = (
        "asked", "blocks", "computed", "decode", "flow", "given_up", "parts", "prefill", "received_s", "request",
        "room_s", "sent_bytes", "sent_s", "stage", "twin",
    )  # fmt: skip

    def __init__(self, request: Request, prefill: PrefillReplica) -> None:
        self.request = request
        self.prefill = prefill
        self.asked = (request.output_tokens, request.predicted_tokens)
        self.stage = "prefill"  # where it is given up: there, "between" both, or at the "decode" replica
        self.given_up = ""  # as what, when it is too late to stop the first token
        self.decode: DecodeReplica | None = None
        self.twin: Request | None = None
        self.parts = [0, 0]  # bytes that can be sent early, and the others
        self.computed = False
        self.flow: Flow | None = None
        self.sent_bytes = 0
        self.room_s = self.sent_s = self.received_s = nan


class Handover:
    """All requests on their way between the two kinds of replicas.

    `end` is told of every request that ends, with its replica and how.
    """

    def __init__(
        self, env: simpy.Environment, requests: int, rules: HandoverRules, end: Callable[[Request, int, str], None]
    ) -> None:
        self._env = env
        self._requests = requests
        self._rules = rules
        self._end_request = end
        self._links = Links(env)
        self._ports: dict[tuple[str, int], Link] = {}
        self._port_of: dict[int, Link] = {}  # by replica
        self._members: dict[str, int] = {}
        self._trips: dict[Request, _Trip] = {}
        self._meant_for: dict[Request, DecodeReplica] = {}
        self._choose_decode: Sequence[Choose] = ()
        self._replicas: Sequence[Any] = ()

    @cached_property
    def table(self) -> NDArray[np.void]:
        """One row for each request by id, of NaN and -1 where it was not handed over."""
        rows = np.zeros(self._requests, _TRIP)
        rows["prefill_replica"] = -1
        for name in _TRIP.names or ():
            if name.endswith("_s"):
                rows[name] = nan
        return rows

    def kind(self, index: int, pool: Pool) -> Callable[..., Replica]:
        """What makes the replica of a pool that has a role; it stands beside the last one of its pool."""
        place = self._members.get(pool.name, 0)
        self._members[pool.name] = place + 1
        key = (pool.name, place // pool.outlet.sharing)
        self._port_of[index] = self._ports.setdefault(key, Link(pool.outlet.bytes_per_s))
        if pool.role == "prefill":
            return partial(PrefillReplica, handover=self, on_end=self.prefilled)
        return partial(DecodeReplica, handover=self, on_end=self.decoded)

    # At the gateway.

    def connect(
        self, replicas: Sequence[Any], choose_prefill: Sequence[Choose], choose_decode: Sequence[Choose]
    ) -> list[Choose]:
        """For each tenant, a chooser of the replica to which a request goes first; told of all replicas by index."""
        self._replicas, self._choose_decode = replicas, choose_decode
        return [self._split(*choosers) for choosers in zip(choose_prefill, choose_decode, strict=True)]

    def _split(self, choose_prefill: Choose, choose_decode: Choose) -> Choose:
        least = self._rules.from_prompt_tokens

        def choose(request: Request) -> ReplicaView:
            if request.prompt_tokens < least:
                return choose_decode(request)
            if request.segments is None:
                return choose_prefill(request)
            decode: DecodeReplica = self._replicas[choose_decode(request).index]
            decode.catch_up()
            if request.prompt_tokens - decode.engine.kv.lookup(_twin(request, request.output_tokens, 1)).tokens < least:
                return decode
            self._meant_for[request] = decode
            return choose_prefill(request)

        return choose

    # At the prefill replica.

    def begin(self, request: Request, prefill: PrefillReplica) -> None:
        """A request has come to the replica that shall compute its prompt."""
        trip = self._trips[request] = _Trip(request, prefill)
        request.predicted_tokens = 1  # all that is to be expected there
        prefill.count(request)
        if request.output_tokens > 1 and self._rules.sending.early:
            trip.stage = "decode"
            self._send_on(trip, on_arrival=True)
        else:
            self._compute(trip)

    def _compute(self, trip: _Trip) -> None:
        trip.stage = "prefill"
        trip.request.output_tokens = 1
        trip.prefill.enqueue(trip.request)

    def computing(self, request: Request, start_s: float) -> None:
        """The prompt's first step begins then."""
        trip = self._trips[request]
        if trip.parts[0]:
            event = At(self._env, start_s, REPLICA_ORDER + trip.prefill.index)
            event.callbacks.append(lambda _: self._send_early(trip))

    def _send_early(self, trip: _Trip) -> None:
        if trip.request in self._trips and trip.flow is None:
            self._send(trip)

    def prefilled(self, request: Request, prefill: int, status: str) -> None:
        """A request has ended at the prefill replica: with its first token, or given up before."""
        trip = self._trips[request]
        request.output_tokens, request.predicted_tokens = trip.asked
        if not request.generated_tokens:
            self._end(trip, prefill, status)
        elif request.generated_tokens == request.output_tokens:
            self._end(trip, prefill, request.ends_as)
        elif trip.given_up:
            self._end(trip, prefill, trip.given_up)
        else:
            self.table["prefilled_s"][request.id] = self._env.now
            delivered_s, request.finish_s = request.finish_s, nan
            self._go_on(trip, delivered_s)

    def _go_on(self, trip: _Trip, delivered_s: float) -> None:
        trip.computed = True
        if trip.twin is not None:  # layer by layer
            trip.stage = "decode"
            _continue(trip.twin, trip.request)
            if trip.flow is None:
                self._send(trip)
            return
        trip.stage = "between"
        at = At(self._env, delivered_s, ANSWERED_ORDER)  # when every step that ends at that time has ended
        at.callbacks.append(partial(self._route_on, trip))

    def _route_on(self, trip: _Trip, event: simpy.Event) -> None:
        if trip.request not in self._trips:
            return  # given up meanwhile
        common = trip.prefill.common
        common.after_steps = True
        decode = self._decode_replica(trip)
        common.after_steps = False
        if decode.request_overhead_s:
            at = At(self._env, self._env.now + decode.request_overhead_s, ANSWERED_ORDER)
            at.callbacks.append(partial(self._cross, trip))
        else:
            self._cross(trip, event)

    def _cross(self, trip: _Trip, _event: simpy.Event) -> None:
        if trip.request in self._trips:
            trip.stage = "decode"
            self._send_on(trip, on_arrival=False)

    # At the decode replica.

    def _decode_replica(self, trip: _Trip) -> DecodeReplica:
        """The one that was chosen before, if it still takes requests, or one chosen now."""
        decode = trip.decode or self._meant_for.pop(trip.request, None)
        if decode is None or not decode.accepting:
            decode = self._replicas[self._choose_decode[trip.request.tenant](trip.request).index]
        trip.decode = decode
        return decode

    def _send_on(self, trip: _Trip, on_arrival: bool) -> None:
        decode = self._decode_replica(trip)
        twin = trip.twin = _twin(trip.request, *trip.asked)
        self._trips[twin] = trip
        if trip.computed:
            _continue(twin, trip.request)
            if trip.request not in trip.prefill.sender.parked:  # lost in a preemption
                twin.high_water_tokens = twin.prompt_tokens
                decode.deliver(twin, after_steps=True)
                return
        decode.expect(twin, on_arrival)

    def fetch(self, twin: Request, blocks: int) -> None:
        """The decode replica has room for a request, and lacks so many blocks."""
        trip = self._trips[twin]
        assert trip.decode is not None
        trip.room_s = self._env.now
        early, late = self._rules.sending.parts(blocks * trip.decode.kv_bytes_per_block, trip.decode.layers)
        trip.parts = [early, late]
        if trip.computed:
            self._send(trip)
        else:
            self._compute(trip)

    def _send(self, trip: _Trip) -> None:
        """Send what can be sent now."""
        if isnan(trip.sent_s):
            trip.sent_s = self._env.now
        part = 0 if trip.parts[0] else 1
        bytes_ = trip.parts[part]
        if part and not trip.computed:
            trip.flow = None
            return
        if not bytes_:
            self._received(trip)
            return
        assert trip.decode is not None
        trip.parts[part] = 0
        ends = [self._port_of[trip.prefill.index], self._port_of[trip.decode.index]]
        hop_s = max(trip.prefill.outlet.hop_s, trip.decode.outlet.hop_s)
        trip.flow = self._links.send(ends, bytes_, hop_s, partial(self._sent, trip, bytes_))

    def _sent(self, trip: _Trip, bytes_: int) -> None:
        trip.sent_bytes += bytes_
        trip.flow = None
        if trip.parts[0] or trip.parts[1]:
            self._send(trip)
        else:
            self._received(trip)

    def _received(self, trip: _Trip) -> None:
        assert trip.twin is not None and trip.decode is not None
        trip.received_s = self._env.now
        trip.prefill.release(trip.request)
        trip.decode.arrived(trip.twin)

    def decoded(self, twin: Request, decode: int, status: str) -> None:
        """A request has ended at the decode replica."""
        trip = self._trips.get(twin)
        if trip is None:  # it was there from the beginning
            self._end_request(twin, decode, status)
            return
        request = trip.request
        if trip.computed:
            request.generated_tokens = twin.generated_tokens
            request.first_token_s = twin.first_token_s
        else:
            trip.prefill.forget(request)
        request.finish_s = twin.finish_s
        request.recomputed_tokens += twin.recomputed_tokens
        request.preemptions += twin.preemptions
        self._end(trip, decode, status)

    # Anywhere.

    def give_up(self, request: Request, status: str, on_arrival: bool) -> None:
        """Somebody gives the request up: it ends where it is, before the next step is decided there."""
        trip = self._trips.get(request)
        if trip is None:
            return
        if trip.stage == "prefill":
            trip.given_up = status
            trip.prefill.drop(request, status, on_arrival)
        elif trip.stage == "decode":
            assert trip.twin is not None and trip.decode is not None
            trip.decode.give_up(trip.twin, status, on_arrival)
        else:
            request.finish_s = self._env.now
            if request.first_token_s > request.finish_s:  # under way to a client that has gone
                request.first_token_s = nan
            self._end(trip, trip.prefill.index, status)

    def _end(self, trip: _Trip, replica: int, status: str) -> None:
        """Take the request out of wherever it has left something, and note what became of it."""
        request, twin = trip.request, trip.twin
        if trip.flow is not None:
            trip.sent_bytes += self._links.stop(trip.flow)
        trip.prefill.release(request)
        del self._trips[request]
        self._meant_for.pop(request, None)
        if twin is not None:
            del self._trips[twin]
            assert trip.decode is not None
            if replica != trip.decode.index:
                trip.decode.forget(twin)
        request.output_tokens, request.predicted_tokens = trip.asked
        row = self.table[request.id : request.id + 1]
        row["prefill_replica"] = trip.prefill.index
        row["kv_transfer_bytes"] = trip.sent_bytes
        row["kv_room_s"], row["kv_sent_s"], row["kv_received_s"] = trip.room_s, trip.sent_s, trip.received_s
        row["decode_scheduled_s"] = nan if twin is None else twin.scheduled_s
        self._end_request(request, replica, status)

    # At the end of the run.

    def columns(self, order: Any) -> Columns:
        """What the requests table has beside its own columns, its rows being in that order of ids."""
        return {name: self.table[name][order] for name in _TRIP.names or ()}

    def links(self) -> Columns:
        """One row for each port that KV left or came through."""
        ports = list(self._ports.values())
        return {
            "bytes_per_s": np.array([port.bytes_per_s for port in ports]),
            "carried_bytes": np.array([port.carried_bytes for port in ports], np.int64),
            "busy_s": np.array([port.busy_s for port in ports]),
        }


def _twin(request: Request, output_tokens: int, predicted_tokens: int) -> Request:
    """The same request as another engine has it, with its prompt computed and its first token there."""
    twin = Request(
        request.id, request.arrival_s, request.prompt_tokens, output_tokens, request.priority, request.segments,
        request.output_name, request.measured, request.tenant, predicted_tokens, request.patience_s,
    )  # fmt: skip
    twin.ends_as = request.ends_as
    twin.generated_tokens = 1
    return twin


def _continue(twin: Request, request: Request) -> None:
    """Let the twin be where the request is now."""
    twin.first_token_s, twin.last_token_s = request.first_token_s, request.last_token_s
