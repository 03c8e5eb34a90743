"""Requests that begin alike, or of one tenant, to one replica, without knowing any cache."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from sim.request import Request
from sim.routing import Candidates, Choose, ReplicaView
from sim.routing._ring import Ring


@dataclass(frozen=True)
class ConsistentHash:
    """A consistent hash of the first `prefix_tokens` tokens of the prompt, or of the tenant.

    No replica gets more than `load_factor` times the mean number of unfinished requests; null: no bound. Source:
    KubeAI, strategy PrefixHash: 100 characters, which is about 25 tokens, and 125% of the mean load.
    """

    key: Literal["prefix", "tenant"] = "prefix"
    """What is hashed: the first tokens of the prompt, or the tenant."""
    prefix_tokens: Annotated[int, Field(ge=1)] = 25
    """How many of the first tokens."""
    load_factor: Annotated[float, Field(gt=1)] | None = 1.25
    """No replica gets more than so many times the mean number of unfinished requests; null: no bound."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        """A chooser with every replica on its ring."""
        ring = Ring(candidates, self.load_factor)

        def choose(request: Request) -> ReplicaView:
            return ring.choose(request.tenant if self.key == "tenant" else _beginning(request, self.prefix_tokens))

        return choose


def _beginning(request: Request, tokens: int) -> Hashable:
    """A name for the first tokens of the prompt, the same for all that begin so."""
    pieces = []
    for name, length in request.segments or ((("request", request.id), request.prompt_tokens),):
        pieces.append((name, min(length, tokens)))
        tokens -= length
        if tokens <= 0:
            break
    return tuple(pieces)
