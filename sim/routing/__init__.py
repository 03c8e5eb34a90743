"""Routers: which replica gets a request. One file each, no clock and no I/O.

A router is a small frozen declaration; `start` gives the running thing, a function from a request and
the replicas' views to the index of the chosen replica.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from sim.request import Request


class ReplicaView(Protocol):
    """What a router may know of a replica."""

    outstanding_requests: int
    """Requests sent to it that have not finished."""


Choose = Callable[[Request, Sequence[ReplicaView]], int]


class Router(Protocol):
    """A routing policy."""

    def start(self, rng: np.random.Generator) -> Choose:
        """A fresh chooser; `rng` is its own stream of random numbers."""
