"""When requests arrive whose times are known beforehand; one process serves all of them, however many there are."""

from collections.abc import Callable, Generator, Iterator
from itertools import repeat
from math import inf

import simpy

from sim.cluster.clock import ARRIVAL_ORDER, At
from sim.request import Request
from sim.workload.table import MAX_TOKENS, RequestTable

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
            repeat(-1) if table.sessions is None else table.sessions[rows].tolist(),
            strict=False,  # `repeat` has no end
        )
        for index, values in enumerate(columns, first):
            arrival_s, prompt, output, priority, tenant, predicted, patience_s, stop, session = values
            segments = None if table.segments is None else table.segments[index]
            output_name = None if table.output_names is None else table.output_names[index]
            measured = warmup_s <= arrival_s <= last_s
            read = min(output, stop)
            request = Request(
                index, arrival_s, prompt, read, priority, segments, output_name, measured, tenant, predicted,
                patience_s, session,
            )  # fmt: skip
            if read < output:
                request.ends_as = "cancelled"
            yield request
