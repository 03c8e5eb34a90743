"""Faults: what happens to replicas, and when. One file each, no clock and no I/O.

A fault is a small frozen declaration; `start` tells the cluster what to do at which times.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

Act = Callable[[], None]


class Control(Protocol):
    """What a fault may do to the cluster. Replicas are known by their index; the first have 0, 1, 2, ..."""

    @property
    def is_over(self) -> bool:
        """Whether all requests have ended, so that nothing more can matter."""

    def at(self, time_s: float, act: Act) -> None:
        """Do something at a time, in virtual seconds."""

    def here(self, pool: str | None) -> Sequence[int]:
        """The replicas, of one pool or all, that serve, load or drain now, by index."""

    def whenever_ready(self, act: Callable[[int], None]) -> None:
        """Do something with every replica that begins to serve, those at the start included."""

    def while_serving(self, replica: int, after_s: float, act: Act) -> None:
        """Do something after a time, if the replica has served without a break until then."""

    def pool_of(self, replica: int) -> str:
        """The name of its pool."""

    def crash(self, replica: int, restart_after_s: float | None) -> None:
        """It serves no more from the end of the step under way on, and starts again after a time; None: never.

        A replica that never comes back has given its GPUs back.
        """

    def lose(self, replica: int, notice_s: float) -> None:
        """It gets no more requests, and is gone when it has none, or crashes after `notice_s`."""

    def restart(self, replica: int, grace_s: float | None, then: Act) -> None:
        """It gets no more requests and starts again when it has none, or after `grace_s` crashes and does; then."""

    def slow(self, replica: int, steps: float = 1.0, links: float = 1.0) -> Act:
        """From now on its steps, or what goes over its links, take so many times as long; returns what ends that."""

    def rng(self, name: str) -> np.random.Generator:
        """Random numbers for one purpose of this fault."""


class Fault(Protocol):
    """Something that goes wrong."""

    def check(self, replicas: dict[str, int], may_grow: bool) -> None:
        """Raise ServecastError if it names what is not there: given the pools and their replicas at the start."""

    def start(self, control: Control) -> None:
        """Arrange for it to happen; the clock stands at 0 and no replica is there yet."""
