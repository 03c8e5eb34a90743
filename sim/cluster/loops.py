"""Arrivals that answers bring about: the turns of sessions, and users who ask again."""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from math import inf

import simpy

from sim.cluster.arrivals import Forecast
from sim.cluster.clock import ANSWERED_ORDER, At
from sim.request import Request
from sim.workload.table import RequestTable


class _Session:
    """The turns that a session has still to send, last first, and how the one under way stands."""

    __slots__ = ("answered_s", "dropped", "open", "turns")

    def __init__(self, turns: list[list[Request]]) -> None:
        self.turns = turns
        self.open = 0  # requests of the turn that have no answer yet
        self.answered_s = 0.0
        self.dropped = False


class Loops:
    """Sends each turn of a session when the one before is answered, and each session of a user after the last.

    Sessions start at their own times, or the next one when a user of the closed loop is ready. A turn is sent its
    pause after the last answer of the turn before, all its requests side by side. A session ends with a turn of
    which a request was rejected, cancelled or timed out; what it would have sent after that is `not_sent`. A request
    is measured if it is sent from `warmup_s` on and no later than `until_s`.

    One that is sent at the very end of a step is not seen by the step that starts then, whichever replica ended it.
    Of those that arrive at one time the lower id comes first.
    """

    def __init__(
        self, env: simpy.Environment, requests: Iterator[Request], table: RequestTable,
        arrive: Callable[[Request], None], delay_s: float, forecast: Forecast, warmup_s: float, until_s: float = inf,
    ) -> None:  # fmt: skip
        self.env = env
        self.requests = requests
        self.arrive = arrive
        self.delay_s = delay_s
        self.forecast = forecast
        self.warmup_s = warmup_s
        self.until_s = until_s
        self.not_sent = 0
        begins = table.session_begins().tolist()
        self._spans = iter(zip(begins, [*begins[1:], len(table)], strict=True))
        self._turns, self._pause_s = table.turns, table.pause_s
        self._start_s = table.arrival_s
        self._loop = table.closed_loop
        self._due: list[tuple[float, int, Request]] = []
        self._in_flight: dict[int, _Session] = {}
        self._latest = -1  # the first request of the session that was started last
        if self._loop is None:
            self._start()
        else:
            for _ in range(self._loop.users):
                self._start()

    def answered(self, request: Request, status: str, now_s: float) -> None:
        """Learn that a request has left as `status`, at `now_s`."""
        session = self._in_flight.pop(request.id)
        session.open -= 1
        session.answered_s = max(session.answered_s, now_s)
        session.dropped |= status != "finished"
        if session.open:
            return
        if session.turns and not session.dropped:
            self._send(session, session.answered_s)
            return
        self.not_sent += sum(len(turn) for turn in session.turns)
        if self._loop is not None:
            self._start(session.answered_s)

    def _start(self, ready_s: float = 0.0) -> None:
        """Start the next session: at its own time, or when its user, who is ready, has thought."""
        first, end = next(self._spans, (0, 0))
        if first == end:
            return
        turns: list[list[Request]] = []
        number = 0
        for row in range(first, end):
            turn = number if self._turns is None else int(self._turns[row])
            if turn != number or row == first:
                turns.append([])
                number = turn
            turns[-1].append(next(self.requests))
        self._latest = first
        start_s = float(self._start_s[first]) if self._loop is None else ready_s + float(self._loop.think_s[first])
        self._send(_Session(turns[::-1]), start_s)

    def _send(self, session: _Session, from_s: float) -> None:
        turn = session.turns.pop()
        session.open = len(turn)
        for request in turn:
            pause_s = 0.0 if self._pause_s is None else float(self._pause_s[request.id])
            request.arrival_s = from_s + pause_s
            request.measured = self.warmup_s <= request.arrival_s <= self.until_s
            self._in_flight[request.id] = session
            time_s = request.arrival_s + self.delay_s
            heappush(self._due, (time_s, request.id, request))
            At(self.env, time_s, ANSWERED_ORDER).callbacks.append(self._arrived)
        self.forecast.next_s = self._due[0][0]

    def _arrived(self, _event: simpy.Event) -> None:
        _, _, request = heappop(self._due)
        if self._loop is None and request.id == self._latest:
            self._start()  # no earlier than this one
        self.forecast.next_s = self._due[0][0] if self._due else inf
        self.arrive(request)
