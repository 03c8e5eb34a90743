"""Paged blocks for layers that do not all see the same tokens: vLLM V1's hybrid KV cache manager.

Layers are in groups (sim/kvcache/groups.py). A block of tokens takes one block of the pool in every group; a
sliding group gives a block back when no later token sees it. All groups share one pool and one LRU order, and a
block is cached under its group and content, so groups lose theirs independently of each other. A prefix is hit as
far as the full groups hold all of it and the sliding ones the window before its end.

As in sim/kvcache/paged.py, blocks that no other request can hit are numbers. Those of a preempted request get names,
so that it finds them again; what had left its window before is not among them.

Source: vLLM, vllm/v1/core/kv_cache_coordinator.py (HybridKVCacheCoordinator, UnitaryKVCacheCoordinator) and
SlidingWindowManager in vllm/v1/core/single_type_kv_cache_manager.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sim.kvcache.groups import KVGroups
from sim.kvcache.paged import Block, CachedRun, PagedKVCache
from sim.kvcache.protocol import MISS, Hit, KVRoom
from sim.request import Request

Column = list[Block | None]
"""One block of tokens: its block in every group, the full groups' first; None where it has left the window."""


@dataclass(frozen=True)
class HybridPaged:
    """Paged blocks in the groups of a model's layers."""

    groups: KVGroups

    def build(self, room: KVRoom) -> "HybridKVCache":
        """An empty cache."""
        return HybridKVCache(room, self.groups)


class HybridKVCache(PagedKVCache):
    """The KV blocks of one replica, drawn by all groups from one pool."""

    __slots__ = ("groups", "outside_blocks")

    def __init__(self, room: KVRoom, groups: KVGroups) -> None:
        super().__init__(room.num_blocks, room.block_size, room.prefix_caching)
        self.groups = groups
        self.outside_blocks = 0  # of running requests: blocks of tokens that the sliding groups have given back

    def blocks_for(self, tokens: int) -> int:
        """Blocks that `tokens` tokens occupy once the sliding groups have given back what they can."""
        whole, groups = self._whole(tokens), self.groups
        return groups.full * whole + groups.sliding * (whole - groups.outside_blocks(tokens, self.block_size))

    def growth_blocks(self, request: Request, new_tokens: int) -> int:
        """Blocks of all groups that begin within the next `new_tokens` tokens."""
        return super().growth_blocks(request, new_tokens) * self.groups.count

    def beginning(self, request: Request, tokens: int) -> int | None:
        """The key of the block in which those tokens end: it stands for all before it too."""
        keys = self.keys.of(request) if self.prefix_caching else []
        blocks = self._whole(tokens)
        return keys[blocks - 1] if len(keys) >= blocks else None

    def tokens_in_blocks(self, tokens: int) -> int:
        """Tokens of running requests as they lie in blocks: once per group, without what left the windows.

        The room of a block is that of `block_size` such tokens.
        """
        groups = self.groups
        outside = groups.sliding * self.outside_blocks * self.block_size
        return tokens * groups.count - self.doubled_tokens - outside

    def can_admit(self, request: Request, hit: Hit, tokens: int, spared_blocks: int) -> bool:
        """Whether blocks for the first `tokens` tokens, those found included, are free.

        A sliding group needs no more than it will hold at once while they are computed step by step.
        """
        groups = self.groups
        new = max(self._whole(tokens) - hit.blocks, 0)
        needed = groups.full * new
        if groups.sliding:
            needed += groups.sliding * min(new, groups.most_sliding_blocks(tokens, self.block_size))
        return needed + hit.evictable_blocks + spared_blocks <= self.free_blocks

    def lookup(self, request: Request) -> Hit:
        """Find the longest cached prefix; the last known token is never part of it."""
        if not self.prefix_caching or request.segments is None:
            return MISS
        keys = self.keys.of(request)[: (request.known_tokens - 1) // self.block_size]
        blocks = self._hit_of_windows(keys, self._hit_of_full(keys))
        if not blocks:
            return MISS
        start = self.groups.outside_blocks(blocks * self.block_size, self.block_size)
        place = [self._found(key, outside=i < start) for i, key in enumerate(keys[:blocks])]
        evictable = sum(block is not None and block.holders == 0 for column in place for block in column)
        return Hit(blocks * self.block_size, blocks, evictable, place)

    def content(self) -> "HybridKVCache":
        """A copy, good for look-ups alone."""
        copy = HybridKVCache(KVRoom(self.num_blocks, self.block_size, 0, self.prefix_caching), self.groups)
        copy.keys = self.keys
        copy.index = {key: blocks[:1] for key, blocks in self.index.items()}
        return copy

    def _hit_of_full(self, keys: Sequence[int]) -> int:
        """Blocks from the first that all full groups hold."""
        full = range(self.groups.full)
        for blocks, key in enumerate(keys):
            if any((group, key) not in self.index for group in full):
                return blocks
        return len(keys)

    def _hit_of_windows(self, keys: Sequence[int], most: int) -> int:
        """The most blocks, up to `most`, before whose end the sliding groups hold a whole window, or all."""
        groups, run = self.groups, 0
        sliding = range(groups.full, groups.count)
        needed = max(1, -(-(groups.window - 1) // self.block_size))
        for i in range(most - 1, -1, -1):
            if any((group, keys[i]) not in self.index for group in sliding):
                run = 0
                continue
            run += 1
            if run == needed:
                return i + run
        return run

    def _found(self, key: int, outside: bool) -> Column:
        groups = self.groups
        held = groups.full if outside else groups.count
        return [self.index[group, key][0] if group < held else None for group in range(groups.count)]

    def adopt(self, request: Request, hit: Hit) -> None:
        """Let the request hold the blocks that were found; its `computed_tokens` becomes their tokens."""
        request.blocks = hit.place or []
        for column in request.blocks:
            for block in column:
                if block is None:
                    continue
                if block.holders == 0:
                    del self.cached[block]
                    self.free_blocks -= 1
                else:
                    self.doubled_blocks += 1
                block.holders += 1
        request.window_start = self.groups.outside_blocks(hit.tokens, self.block_size)
        self.outside_blocks += request.window_start
        request.computed_tokens = request.keyed_tokens = hit.tokens

    def grow(self, request: Request, new_tokens: int) -> None:
        """Give the request room for `new_tokens` more and count them as computed."""
        self.take(self.growth_blocks(request, new_tokens))
        request.computed_tokens += new_tokens
        self.key(request, min(request.computed_tokens, request.known_tokens - request.pending_tokens))

    def shrink(self, request: Request, tokens: int) -> None:
        """Count the last tokens as not computed, and free the blocks behind; none of those has a key."""
        request.computed_tokens -= tokens
        blocks = super().growth_blocks(request, tokens) * self.groups.count
        self.free_blocks += blocks
        self.unkeyed_blocks += blocks

    def register(self, request: Request) -> None:
        """Make the request's full named blocks findable, up to its keyed tokens."""
        if not self.prefix_caching:
            return
        keys, groups = self.keys.of(request), self.groups
        for i in range(len(request.blocks), min(len(keys), request.keyed_tokens // self.block_size)):
            held = groups.full if i < request.window_start else groups.count
            column: Column = [Block((group, keys[i])) if group < held else None for group in range(groups.count)]
            for block in column[:held]:
                assert block is not None
                self.index.setdefault(block.key, []).append(block)
            request.blocks.append(column)

    def slide(self, request: Request, settled_tokens: int) -> int:
        """So many tokens of a running request are settled: free what left its window and has a name.

        Returns how many blocks of tokens without one left it too; whoever asks passes them to `drop`.
        """
        start, before = self.groups.outside_blocks(settled_tokens, self.block_size), request.window_start
        if start <= before:
            return 0
        request.window_start = start
        named = request.blocks[before:start]
        for group in range(self.groups.full, self.groups.count):
            for column in reversed(named):
                self._release(column[group])
                column[group] = None
        self.outside_blocks += len(named)
        return start - before - len(named)

    def drop(self, blocks: int) -> None:
        """Free blocks of tokens without a name that left the windows of running requests."""
        self.outside_blocks += blocks
        self._unnamed(blocks * self.groups.sliding)

    def set_aside(self, request: Request, valid_tokens: int) -> None:
        """Take all blocks back; the request could find them again, so they all get names."""
        if self.prefix_caching:
            self.keys.extend(request, request.keyed_tokens // self.block_size)
            self.register(request)
        self.free(request)

    def free(self, request: Request) -> None:
        """Take all blocks back, group by group and the last first; those with a key stay cached."""
        held = self._whole(request.computed_tokens)
        full = min(request.keyed_tokens // self.block_size, held) if self.prefix_caching else 0
        for group in range(self.groups.count):
            start = request.window_start if group >= self.groups.full else 0
            empty = held - max(full, start)
            self.unkeyed_blocks += empty
            self.free_blocks += empty
            self._unnamed(max(0, full - max(start, len(request.blocks))))
            for column in reversed(request.blocks[start:]):
                self._release(column[group])
        self.outside_blocks -= request.window_start
        request.window_start = 0
        request.blocks = []

    def abandon(self, request: Request) -> None:
        """Nothing to do: it holds nothing."""

    def _release(self, block: Block | None) -> None:
        assert block is not None
        block.holders -= 1
        if block.holders:
            self.doubled_blocks -= 1
        else:
            self.cached[block] = None
            self.free_blocks += 1

    def _unnamed(self, blocks: int) -> None:
        """Free full blocks that nobody can hit; with prefix caching they are handed out in their turn all the same."""
        if not blocks:
            return
        self.free_blocks += blocks
        if not self.prefix_caching:
            self.unkeyed_blocks += blocks
            return
        last = next(reversed(self.cached), None)
        if isinstance(last, CachedRun):
            last.blocks += blocks
        else:
            self.cached[CachedRun(None, blocks)] = None

    def _whole(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    def check(self, running: Iterable[tuple[Request, int]]) -> None:
        """Raise AssertionError unless free, held and cached blocks make up the capacity (INV-2)."""
        cached = sum(1 if isinstance(entry, Block) else entry.blocks for entry in self.cached)
        cached += self.oldest_run_blocks
        if self.unkeyed_blocks < 0 or self.free_blocks != self.unkeyed_blocks + cached:
            raise AssertionError(
                f"INV-2: {self.free_blocks} blocks are free, {self.unkeyed_blocks} unkeyed, {cached} cached"
            )
        groups, outside = self.groups, 0
        holdings: list[Any] = []
        held = 0
        for request, computed_tokens in running:
            outside += request.window_start
            held += groups.count * self._whole(computed_tokens) - groups.sliding * request.window_start
            holdings += [block for column in request.blocks for block in column if block is not None]
        doubled = len(holdings) - len(set(holdings))
        if self.free_blocks + held - doubled != self.num_blocks:
            raise AssertionError(
                f"INV-2: {self.free_blocks} free and {held - doubled} held of {self.num_blocks} blocks"
            )
        if (doubled, outside) != (self.doubled_blocks, self.outside_blocks):
            raise AssertionError(f"INV-2: {self.doubled_blocks} doubled and {self.outside_blocks} outside, not "
                                 f"{doubled} and {outside}")  # fmt: skip
