"""Clients that try again when they are turned away."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sim.quantity import Seconds
from sim.workload.fields import Share


class Retries(BaseModel):
    """A client that is turned away sends its request again after a delay that grows with every attempt.

    Before attempt n + 1 it waits first_delay * factor^(n - 1), at most max_delay, shortened by a random part of it of
    up to `jitter`: 0 is none, 1 any delay between nothing and all. The defaults are those of OpenAI's Python client
    1.x: two retries after 0.5 s and 1 s, shortened by up to a quarter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_attempts: Annotated[int, Field(ge=2, le=1_000_000)] = 3
    """How often it sends a request at the most, the first time included."""
    first_delay: Annotated[Seconds, Field(gt=0)] = 0.5
    """From the first refusal to the second attempt."""
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0
    """How many times as long each further delay is."""
    max_delay: Annotated[Seconds, Field(gt=0)] = 8.0
    """The longest delay."""
    jitter: Share = 0.25
    """Share of a delay that chance may take away, so that clients do not come back all at once."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.max_delay < self.first_delay:
            raise ValueError(f"max_delay ({self.max_delay:g}s) is below first_delay ({self.first_delay:g}s); raise it")
        return self

    def delay_s(self, attempts: int, chance: float) -> float:
        """Seconds from the refusal of the latest of so many attempts to the next; `chance` is from 0 to 1."""
        delay_s = self.first_delay
        for _ in range(attempts - 1):
            delay_s *= self.factor
            if self.factor == 1 or delay_s >= self.max_delay:
                break
        return round(min(delay_s, self.max_delay) * (1 - self.jitter * chance), 9)
