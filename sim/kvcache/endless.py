"""Paged KV memory without end: what more memory could gain at most, not a GPU."""

from dataclasses import dataclass

from sim.kvcache.paged import Paged, PagedKVCache
from sim.kvcache.protocol import KVRoom

_BLOCKS = 1 << 40


@dataclass(frozen=True)
class Endless(Paged):
    """vLLM's paged blocks, and always another one: nobody is preempted, and no prefix is ever evicted.

    A share of this memory in use, as results tell it, means nothing.
    """

    def build(self, room: KVRoom) -> PagedKVCache:
        """An empty cache."""
        return PagedKVCache(_BLOCKS, room.block_size, room.prefix_caching)
