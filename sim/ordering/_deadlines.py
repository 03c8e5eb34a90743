"""What orders by deadline share: a time for each priority, or for all."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from sim.errors import ScenarioError
from sim.quantity import Seconds
from sim.request import Request

Priority: TypeAlias = int | Literal["other"]


def _for_all(value: Any) -> Any:
    return value if isinstance(value, dict) else {"other": value}


Within: TypeAlias = Annotated[
    dict[Priority, Annotated[Seconds, Field(gt=0)]],
    BeforeValidator(_for_all, json_schema_input_type=float | str | dict[str, float | str]),
    Field(min_length=1),
]
"""Seconds after its arrival by which a request should be answered: `{0: 2s, other: 30s}`, or one time for all."""


def deadline_s(request: Request, within: dict[Priority, float]) -> float:
    """When the request is due. Raises ScenarioError when its priority has no entry."""
    allowed_s = within.get(request.priority, within.get("other"))
    if allowed_s is None:
        known = ", ".join(map(str, within))
        raise ScenarioError(
            f"engine.ordering: no deadline for priority {request.priority}; within: has {known}; add it, or other:"
        )
    return request.arrival_s + allowed_s
