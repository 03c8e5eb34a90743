"""Routers: which replica gets a request. One file each, no clock and no I/O.

A router is a small frozen declaration; `start` gives the running thing, a function from a request to the chosen
replica. The replicas to choose from are given at the start, and may come and go later.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from sim.latency import StepTimer
from sim.request import Request


class ReplicaView(Protocol):
    """What a router may know of a replica: true now, or as old as `cluster.router_staleness` allows."""

    @property
    def index(self) -> int:
        """Its number, which no other replica ever has."""

    @property
    def pool(self) -> str:
        """The name of its pool."""

    @property
    def accepting(self) -> bool:
        """Whether it is one of those to choose from."""

    @property
    def outstanding_requests(self) -> int:
        """Requests sent to it that have not ended."""

    @property
    def outstanding_tokens(self) -> int:
        """Prompt tokens and predicted output tokens of those requests."""

    @property
    def running_requests(self) -> int:
        """Requests in its batch."""

    @property
    def waiting_requests(self) -> int:
        """Requests in its queue."""

    @property
    def kv_used_blocks(self) -> int:
        """KV blocks that running requests hold."""

    @property
    def kv_used_share(self) -> float:
        """The same as a share of all its blocks."""

    @property
    def context_tokens(self) -> int:
        """KV tokens of running requests."""

    @property
    def prefill_tokens(self) -> int:
        """Tokens that its requests have still to compute before they get their next one, prefix hits left out."""

    @property
    def block_size(self) -> int:
        """Tokens of a KV block."""

    @property
    def token_budget(self) -> int:
        """Tokens that one step may compute."""

    @property
    def step_timer(self) -> StepTimer:
        """How long its steps take."""

    def cached_tokens(self, request: Request) -> int:
        """How many of the request's first tokens its KV cache holds.

        Only for routers that say so with a class attribute `knows_caches = True`: their gateway must hear of every
        KV block that comes and goes (vLLM: --kv-events-config).
        """


class Candidates(Protocol):
    """The replicas that take requests now: there is always at least one when a router is asked."""

    @property
    def members(self) -> Sequence[ReplicaView]:
        """In the order in which they joined; the same sequence always, with changing members."""

    def watch(self, changed: Callable[[ReplicaView], None]) -> None:
        """Have `changed` called with every replica that joins or leaves, and whenever one's load changes.

        It spares a router with its own index from looking at all of them for each request. What a replica's requests
        hold grows with every step they decode, and that is not told; if it shrinks, it is.
        """


Choose = Callable[[Request], ReplicaView]


class Router(Protocol):
    """A routing policy."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A fresh chooser among these replicas; `rng` is its own stream of random numbers."""
