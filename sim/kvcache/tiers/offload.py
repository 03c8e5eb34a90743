"""Prefix blocks beyond the GPU's memory: evicted ones go to host memory, from there to disk, and are loaded on a hit.

Blocks are written in the background when the GPU gives them to somebody else, the least recently used leave first,
and a hit on them is loaded over the link instead of computed: the step that admits the request waits for it. What is
loaded stays here too and moves to the front; from disk it also moves back to host memory. Blocks that nobody can
ever hit take up their room all the same, as no engine knows that.

The idea is that of vLLM's offloading connector, LMCache, and SGLang's HiCache; these load while other requests go
on, and some write blocks when they are computed rather than when they are evicted.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from sim.errors import ScenarioError
from sim.kvcache.paged import NamedBlocks, PagedKVCache
from sim.kvcache.protocol import Hit, KVRoom
from sim.kvcache.tiers.transfers import Transfers
from sim.request import Request


@dataclass(frozen=True)
class Offloading:
    """Paged blocks with prefix caching, and room for so many evicted ones in host memory and on disk."""

    host_blocks: int
    disk_blocks: int = 0

    def build(self, room: KVRoom) -> "OffloadingKVCache":
        """An empty cache; raises ScenarioError without prefix caching, which is all that this is for."""
        if not room.prefix_caching:
            raise ScenarioError("kv_offload keeps prefixes, so it needs enable_prefix_caching")
        return OffloadingKVCache(room, self)


class Tier:
    """Blocks in one kind of memory, the least recently used first; unnamed ones are counted."""

    __slots__ = ("below", "entries", "room", "unnamed", "used")

    def __init__(self, room: int, below: "Tier | None") -> None:
        self.room = room
        self.below = below  # where blocks go that have no room here
        self.used = 0
        self.unnamed = 0  # runs of unnamed blocks so far: their names are negative
        self.entries: OrderedDict[int, int] = OrderedDict()  # blocks by key

    def put(self, key: int) -> bool:
        """Keep a named block; whether it was not here yet."""
        if key in self.entries:
            self.entries.move_to_end(key)
            return False
        self.entries[key] = 1
        self._add(1)
        return True

    def put_unnamed(self, blocks: int) -> None:
        """Keep blocks that nobody will ever ask for."""
        last = next(reversed(self.entries), 0)
        if last >= 0:
            self.unnamed += 1
            last = -self.unnamed
        self.entries[last] = self.entries.get(last, 0) + blocks
        self._add(blocks)

    def remove(self, key: int) -> None:
        """It is elsewhere now."""
        self.used -= self.entries.pop(key, 0)

    def _add(self, blocks: int) -> None:
        self.used += blocks
        while self.used > self.room:
            oldest, count = next(iter(self.entries.items()))
            moved = min(count, self.used - self.room)
            self.used -= moved
            if moved == count:
                del self.entries[oldest]
            else:
                self.entries[oldest] = count - moved
            if self.below is not None and oldest >= 0:
                self.below.put(oldest)
            elif self.below is not None:
                self.below.put_unnamed(moved)


class _Place(NamedTuple):
    """Where a hit lies: on the GPU, then, by key, in host memory or on disk."""

    on_gpu: Hit
    keys: list[int]


class OffloadingKVCache(PagedKVCache):
    """Paged blocks whose evicted ones can be had again."""

    __slots__ = ("disk", "host", "transfers")

    coarse: ClassVar[bool] = True

    def __init__(self, room: KVRoom, choice: Offloading) -> None:
        super().__init__(room.num_blocks, room.block_size, True)
        self.transfers: Transfers = Transfers()
        self.disk = Tier(choice.disk_blocks, None)
        self.host = Tier(choice.host_blocks, self.disk)

    def evicted(self, key: Any, blocks: int) -> None:
        """Write to host memory what is not there yet."""
        if key is None:
            self.host.put_unnamed(blocks)
            self.transfers.kept_blocks += blocks
            return
        self.disk.remove(key)
        if self.host.put(key):
            self.transfers.kept_blocks += 1

    def lookup(self, request: Request) -> Hit:
        """What is on the GPU, and what follows it in host memory and on disk."""
        hit = super().lookup(request)
        if request.segments is None:
            return hit
        keys = self.keys.of(request)
        first = last = hit.blocks
        limit = min(len(keys), (request.known_tokens - 1) // self.block_size)
        while last < limit and (keys[last] in self.host.entries or keys[last] in self.disk.entries):
            last += 1
        if last == first:
            return hit
        return Hit(last * self.block_size, first, hit.evictable_blocks, _Place(hit, keys[first:last]))

    def content(self) -> NamedBlocks:
        """The named blocks of now, wherever they are."""
        beyond = frozenset(self.host.entries) | frozenset(self.disk.entries)
        return NamedBlocks(self.keys, frozenset(self.index), beyond)

    def adopt(self, request: Request, hit: Hit) -> None:
        """Load what is not on the GPU."""
        place: Any = hit.place
        if not isinstance(place, _Place):
            super().adopt(request, hit)
            return
        from_disk = [key for key in place.keys if key not in self.host.entries]
        self.transfers.load(len(place.keys) - len(from_disk), len(from_disk))
        for key in reversed(place.keys):  # the beginning, which more requests share, was used last
            self.disk.remove(key)
            self.host.put(key)
        super().adopt(request, place.on_gpu)
        self.grow(request, hit.tokens - place.on_gpu.tokens)
