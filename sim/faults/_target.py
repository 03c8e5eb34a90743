"""Whom a fault is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.choice import nearest
from sim.errors import ServecastError
from sim.faults import Act, Control
from sim.quantity import Seconds


@dataclass(frozen=True, kw_only=True)
class Target:
    """Replicas by their index, or the first `count` (default: all) that are there, of a pool or of the cluster."""

    replica: int | tuple[int, ...] | None = None
    """Index of a replica, from 0, or several; default: those of `pool`. E.g. `[0, 3]`."""
    pool: str | None = None
    """Whose replicas; default: of all the cluster. E.g. `h100`."""
    count: int | None = None
    """The first so many that are there; default: all. E.g. `2`."""

    def __post_init__(self) -> None:
        if self.replica is not None and (self.pool is not None or self.count is not None):
            raise ValueError("give replica: (an index, or several), or pool: and count:, not both")
        if min(self.indices or (0,)) < 0 or (self.count is not None and self.count < 1):
            raise ValueError("replica counts from 0, and count from 1")

    @property
    def indices(self) -> tuple[int, ...]:
        """The replicas that are named; none if all of a pool or of the cluster are meant."""
        if self.replica is None:
            return ()
        return self.replica if isinstance(self.replica, tuple) else (self.replica,)

    def check(self, replicas: dict[str, int], may_grow: bool) -> None:
        """Raise ServecastError if there is no such pool, or can be no such replica."""
        if self.pool is not None and self.pool not in replicas:
            raise ServecastError(f"a fault names pool {self.pool!r}, which is not there{nearest(self.pool, replicas)}")
        total = sum(replicas.values())
        for index in self.indices:
            if index >= total and not may_grow:
                raise ServecastError(f"a fault names replica {index}, and there are {total}: 0 to {total - 1}")

    def chosen(self, control: Control) -> Sequence[int]:
        """Those of them that are there now."""
        here = control.here(self.pool)
        if self.indices:
            return [index for index in here if index in self.indices]
        return here[: self.count]

    def means(self, control: Control, replica: int) -> bool:
        """Whether that replica is one of them."""
        if self.indices:
            return replica in self.indices
        return self.pool in (None, control.pool_of(replica))


@dataclass(frozen=True, kw_only=True)
class Slower(Target):
    """Targets that are slower from `at` to `until` (default: to the end)."""

    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """So many times slower. E.g. `1.5`."""
    at: Seconds = 0.0
    """From when."""
    until: Seconds | None = None
    """Until when; default: to the end. E.g. `20min`."""

    def start(self, control: Control) -> None:
        """One event, or two."""
        control.at(self.at, lambda: self._slow_all(control))

    def slow(self, control: Control, replica: int) -> Act:
        """Slow a replica down; return what ends it."""
        raise NotImplementedError

    def _slow_all(self, control: Control) -> None:
        for replica in self.chosen(control):
            end = self.slow(control, replica)
            if self.until is not None:
                control.at(max(self.until, self.at), end)
