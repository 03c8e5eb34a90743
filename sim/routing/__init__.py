"""Routers: which replica gets a request. One file each, no clock and no I/O.

A router is a small frozen declaration; `start` gives the running thing, a function from a request to the chosen
replica. The replicas to choose from are given at the start, and may come and go later.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from sim.request import Request


class ReplicaView(Protocol):
    """What a router may know of a replica."""

    index: int
    """Its number, which no other replica ever has."""
    pool: str
    """The name of its pool."""
    accepting: bool
    """Whether it is one of those to choose from."""
    outstanding_requests: int
    """Requests sent to it that have not ended."""
    outstanding_tokens: int
    """Prompt tokens and predicted output tokens of those requests."""


class Candidates(Protocol):
    """The replicas that take requests now: there is always at least one when a router is asked."""

    @property
    def members(self) -> Sequence[ReplicaView]:
        """In the order in which they joined; the same sequence always, with changing members."""

    def watch(self, changed: Callable[[ReplicaView], None]) -> None:
        """Have `changed` called with every replica that joins or leaves, and whenever one's load changes.

        It spares a router with its own index from looking at all of them for each request.
        """


Choose = Callable[[Request], ReplicaView]


class Router(Protocol):
    """A routing policy."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A fresh chooser among these replicas; `rng` is its own stream of random numbers."""
