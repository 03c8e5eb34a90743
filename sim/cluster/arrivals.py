"""When requests arrive: at times known beforehand, or when a user of a closed loop is ready again.

One process, or none, serves all of them, however many there are.
"""

from collections.abc import Callable, Generator, Iterator
from itertools import repeat
from math import inf

import simpy

from sim.cluster.clock import ANSWERED_ORDER, ARRIVAL_ORDER, At
from sim.request import Request
from sim.workload.table import MAX_TOKENS, ClosedLoop, RequestTable

Arrive = Callable[[Request], None]

_ROWS_AT_ONCE = 4096  # numpy columns become Python numbers in slices, so that a long trace stays small


class Forecast:
    """When the next request will arrive, infinite while unknown: a hint that changes no result."""

    __slots__ = ("next_s",)

    def __init__(self) -> None:
        self.next_s = inf


def open_arrivals(
    env: simpy.Environment, requests: Iterator[Request], arrive: Arrive, delay_s: float, forecast: Forecast
) -> None:
    """Let every request arrive `delay_s` after its own time; `requests` come in that order."""

    def process() -> Generator[simpy.Event, None, None]:
        for request in requests:
            time_s = request.arrival_s + delay_s
            if time_s > env.now:
                forecast.next_s = time_s
                yield At(env, time_s, ARRIVAL_ORDER)
            arrive(request)
        forecast.next_s = inf

    env.process(process())


def closed_loop_arrivals(
    env: simpy.Environment, requests: Iterator[Request], loop: ClosedLoop, arrive: Arrive, delay_s: float
) -> Callable[[float], None]:
    """Let `loop.users` users send one request after another; return what to call when an answer is there.

    Request i goes to the user who is ready first, `loop.think_s[i]` after that user's last answer. One that
    is sent at the very end of a step is not seen by the step that starts then, whichever replica ended it.
    """
    think_s = iter(loop.think_s.tolist())

    def send(now_s: float) -> None:
        request = next(requests, None)
        if request is None:
            return
        request.arrival_s = now_s + next(think_s)
        event = At(env, request.arrival_s + delay_s, ANSWERED_ORDER)
        event.callbacks.append(lambda _: arrive(request))

    for _ in range(loop.users):
        send(0.0)
    return send


def make_requests(table: RequestTable, warmup_s: float, cooldown_s: float) -> Iterator[Request]:
    """The table's rows as requests, one after another; `measured` says whether it is in the window."""
    last_s = float(table.arrival_s[-1]) - cooldown_s
    for first in range(0, len(table), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        columns = zip(
            table.arrival_s[rows].tolist(),
            table.prompt_tokens[rows].tolist(),
            table.output_tokens[rows].tolist(),
            table.priority[rows].tolist(),
            repeat(0) if table.tenant is None else table.tenant[rows].tolist(),
            (table.output_tokens if table.predicted_tokens is None else table.predicted_tokens)[rows].tolist(),
            repeat(inf) if table.cancel_after_s is None else table.cancel_after_s[rows].tolist(),
            repeat(MAX_TOKENS) if table.cancel_after_tokens is None else table.cancel_after_tokens[rows].tolist(),
            strict=False,  # `repeat` has no end
        )
        for index, (arrival_s, prompt, output, priority, tenant, predicted, patience_s, stop) in enumerate(
            columns, first
        ):
            segments = None if table.segments is None else table.segments[index]
            output_name = None if table.output_names is None else table.output_names[index]
            measured = warmup_s <= arrival_s <= last_s
            read = min(output, stop)
            request = Request(
                index, arrival_s, prompt, read, priority, segments, output_name, measured, tenant, predicted, patience_s
            )
            if read < output:
                request.ends_as = "cancelled"
            yield request
