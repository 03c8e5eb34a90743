"""Preemption by swapping: the blocks of a preempted request wait in the host's memory until it runs again.

Around any KV cache that can be short of blocks. What the GPU's own prefix cache still holds when the request
returns is not loaded again. A request for which the swap space has no room is recomputed.

Source: vLLM 0.6.x, vllm/core/scheduler.py (`_preempt_by_swap`, `_schedule_swapped`) and worker/cache_engine.py: whole
blocks over PCIe, before the step's forward pass on the same stream. There a full swap space aborts the engine.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from sim.kvcache.protocol import Hit, KVCache, KVCacheChoice, KVRoom
from sim.kvcache.tiers.around import Around
from sim.kvcache.tiers.transfers import Transfers
from sim.request import Request

DEFAULT_SWAP_BYTES = 4 * 2**30
"""Host memory for each GPU: vLLM 0.6's default of --swap-space."""


@dataclass(frozen=True)
class Swapping:
    """A KV cache whose preempted requests go to a swap space of so many blocks."""

    inner: KVCacheChoice
    swap_blocks: int

    def build(self, room: KVRoom) -> KVCache:
        """An empty cache and an empty swap space."""
        return cast(KVCache, SwappingKVCache(self, room))


class _Place(NamedTuple):
    """A hit of the inner cache, and up to where the swapped tokens reach."""

    found: Hit
    tokens: int


class SwappingKVCache(Around):
    """The inner cache, and the tokens of swapped requests."""

    def __init__(self, choice: Swapping, room: KVRoom) -> None:
        super().__init__(choice.inner.build(room))
        self.swap_blocks = self.free_swap_blocks = choice.swap_blocks
        self.swapped: dict[Request, int] = {}
        self.transfers = self.inner.transfers or Transfers()

    def set_aside(self, request: Request, valid_tokens: int) -> None:
        """Swap out what has been computed."""
        blocks = self.inner.blocks_for(valid_tokens)
        if blocks > self.free_swap_blocks:
            self.transfers.recomputed_instead += 1
        elif blocks:
            self.free_swap_blocks -= blocks
            self.swapped[request] = valid_tokens
            self.transfers.swap_out(blocks)
        self.inner.set_aside(request, valid_tokens)

    def lookup(self, request: Request) -> Hit:
        """What the inner cache finds, and behind it what was swapped."""
        found = self.inner.lookup(request)
        tokens = self.swapped.get(request, 0)
        if tokens <= found.tokens:
            return found
        return Hit(tokens, found.blocks, found.evictable_blocks, _Place(found, tokens))

    def adopt(self, request: Request, hit: Hit) -> None:
        """Swap in."""
        place: Any = hit.place
        if not isinstance(place, _Place):
            self.inner.adopt(request, hit)
        else:
            self.inner.adopt(request, place.found)
            self.inner.grow(request, place.tokens - place.found.tokens)
            self.transfers.swap_in(self.inner.blocks_for(place.tokens) - place.found.blocks)
        self._drop(request)

    def abandon(self, request: Request) -> None:
        """It will not come back."""
        self._drop(request)
        self.inner.abandon(request)

    def _drop(self, request: Request) -> None:
        self.free_swap_blocks += self.inner.blocks_for(self.swapped.pop(request, 0))

    def check(self, running: Iterable[tuple[Request, int]]) -> None:
        """Raise AssertionError unless no request is both here and there, and the swap space adds up (INV-2)."""
        running = list(running)
        if any(request in self.swapped for request, _ in running):
            raise AssertionError("INV-2: a running request is swapped out")
        held = sum(self.inner.blocks_for(tokens) for tokens in self.swapped.values())
        if held + self.free_swap_blocks != self.swap_blocks or self.free_swap_blocks < 0:
            raise AssertionError(f"INV-2: {held} and {self.free_swap_blocks} of {self.swap_blocks} swap blocks")
        self.inner.check(running)
