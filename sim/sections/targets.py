"""What counts as good, for whom, and which requests are measured."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from sim.quantity import Seconds
from sim.sections.section import Section

_LONGEST_WITHOUT_UNIT_S = 10


def _slo_time(value: Any) -> Any:
    """vLLM's --goodput counts in milliseconds, servecast in seconds: a large bare number must say which."""
    if isinstance(value, int | float) and value > _LONGEST_WITHOUT_UNIT_S:
        raise ValueError(f"{value:g} has no unit and would be seconds; write {value:g}ms or {value:g}s")
    return value


SloTime = Annotated[
    Seconds,
    BeforeValidator(_slo_time),
    Field(gt=0),
    PlainSerializer(lambda seconds: f"{seconds!r}s", return_type=str, when_used="json-unless-none"),
]


class Slo(Section):
    """Latency targets; a request is good if it meets every one that is set (vllm bench serve --goodput)."""

    ttft: SloTime | None = None
    """Time to first token, with a unit: 500ms. E.g. `500ms`."""
    tpot: SloTime | None = None
    """Mean time per output token after the first, with a unit: 50ms. E.g. `50ms`."""
    e2el: SloTime | None = None
    """Arrival to last token, with a unit: 30s. E.g. `30s`."""


class Tenant(Section):
    """What holds for the requests of one tenant; the workload says whose each request is."""

    model: str = ""
    """The model that it asks for, which a pool must serve; default: the scenario's."""
    slo: Slo = Slo()
    """Its own latency targets; default: the scenario's."""
    priority: int | None = None
    """Its requests' priority: lower is more urgent; default: the workload's. E.g. `1`."""


class Measure(Section):
    """Which requests the statistics count; the others are simulated all the same."""

    warmup: Seconds = 0.0
    """Leave out requests that arrive before this time. E.g. `1min`."""
    cooldown: Seconds = 0.0
    """Leave out requests that arrive in this last part of the arrivals. E.g. `1min`."""
