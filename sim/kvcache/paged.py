"""Paged KV blocks with vLLM's automatic prefix cache, kept in counts wherever nothing can be shared.

The rules are those of vLLM V1's block pool (prefix keys per full block, least recently freed block
evicted first, the tail of a sequence before its head, blocks without a key reused first). Blocks that no
other request can ever hit are never made into objects: a request's private blocks are a number while it
runs and one `CachedRun` after it is freed, so a request that shares nothing costs O(1).

vLLM's free list always is a run of blocks without keys followed by the cached ones, because blocks
without keys are only ever put at its front and those with keys at its back. So it is kept as a count
and an ordered dict.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from sim.kvcache.content import BlockKeys
from sim.kvcache.protocol import MISS, CachedContent, Hit, KVRoom
from sim.kvcache.tiers.transfers import Transfers
from sim.request import Request


@dataclass(frozen=True)
class Paged:
    """Blocks of `engine.block_size` tokens, taken one by one as a request grows (vLLM's PagedAttention)."""

    def build(self, room: KVRoom) -> "PagedKVCache":
        """An empty cache."""
        return PagedKVCache(room.num_blocks, room.block_size, room.prefix_caching)


class Block:
    """A full block whose content has a name: its key, and how many running requests hold it."""

    __slots__ = ("holders", "key")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.holders = 1


class CachedRun:
    """Freed full blocks that only their own request could hit; the last is evicted first."""

    __slots__ = ("blocks", "owner")

    def __init__(self, owner: Request | None, blocks: int) -> None:
        self.owner = owner
        self.blocks = blocks


class NamedBlocks(NamedTuple):
    """The named blocks of one time: on the GPU, and in the memory from which they can be loaded behind these."""

    keys: BlockKeys
    on_gpu: frozenset[Hashable]
    beyond: frozenset[Hashable] = frozenset()

    def lookup(self, request: Request) -> Hit:
        """The longest beginning of a request that has not begun."""
        size = self.keys.block_size
        if request.segments is None:
            return MISS
        blocks = 0
        where = self.on_gpu
        for key in self.keys.of(request)[: (request.known_tokens - 1) // size]:
            if key not in where:
                where = self.beyond
                if key not in where:
                    break
            blocks += 1
        return Hit(blocks * size, blocks, 0)


class _Place(NamedTuple):
    """Where a hit lies: in named blocks, then in private ones of the request itself."""

    shared: list[Block]
    private_blocks: int


_NOWHERE = _Place([], 0)


class PagedKVCache:
    """The KV blocks of one replica.

    `num_blocks` usable blocks (without vLLM's null block) of `block_size` tokens. With `prefix_caching`
    off no block outlives its request.
    """

    __slots__ = (
        "block_size", "cached", "doubled_blocks", "evicted_blocks", "free_blocks", "index", "keys", "num_blocks",
        "oldest_run_blocks", "prefix_caching", "unkeyed_blocks",
    )  # fmt: skip

    grows: ClassVar[bool] = True
    coarse: ClassVar[bool] = False
    transfers: Transfers | None = None
    lands: ClassVar[bool] = False

    def __init__(self, num_blocks: int, block_size: int, prefix_caching: bool) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.prefix_caching = prefix_caching
        self.free_blocks = num_blocks  # unkeyed ones, the oldest run's and all that `cached` holds
        self.unkeyed_blocks = num_blocks
        self.oldest_run_blocks = 0  # left of a run that nobody can hit, while it is being handed out
        self.cached: OrderedDict[Block | CachedRun, None] = OrderedDict()
        self.index: dict[Hashable, list[Block]] = {}  # copies of a key in the order of their registration
        self.keys = BlockKeys(block_size)
        self.evicted_blocks = 0
        self.doubled_blocks = 0  # holders of named blocks beyond the first of each

    @property
    def empty_blocks(self) -> int:
        """Blocks without a key."""
        return self.unkeyed_blocks

    @property
    def used_blocks(self) -> int:
        """Blocks held by running requests."""
        return self.num_blocks - self.free_blocks

    @property
    def doubled_tokens(self) -> int:
        """Tokens of named blocks, for every holder beyond the first."""
        return self.doubled_blocks * self.block_size

    def blocks_for(self, tokens: int) -> int:
        """Blocks that `tokens` tokens occupy."""
        return -(-tokens // self.block_size)

    def whole_blocks(self, request: Request) -> int:
        """Blocks of the whole prompt and answer."""
        return self.blocks_for(request.prompt_tokens + request.output_tokens)

    def growth_blocks(self, request: Request, new_tokens: int) -> int:
        """Blocks that begin within the next `new_tokens` tokens."""
        before, size = request.computed_tokens, self.block_size
        return -(-(before + new_tokens) // size) - -(-before // size)

    def beginning(self, request: Request, tokens: int) -> int | None:
        """The key of the block in which those tokens end: it stands for all before it too."""
        keys = self.keys.of(request) if self.prefix_caching else []
        blocks = self.blocks_for(tokens)
        return keys[blocks - 1] if len(keys) >= blocks else None

    def can_admit(self, request: Request, hit: Hit, tokens: int, spared_blocks: int) -> bool:
        """Whether blocks for the first `tokens` tokens, those found included, are free."""
        needed = -(-tokens // self.block_size) - hit.blocks
        return (needed if needed > 0 else 0) + hit.evictable_blocks + spared_blocks <= self.free_blocks

    def lookup(self, request: Request) -> Hit:
        """Find the longest cached prefix; the last known token is never part of it, as in vLLM."""
        if not self.prefix_caching or (request.segments is None and request.private_run is None):
            return MISS
        limit = (request.known_tokens - 1) // self.block_size
        keys = self.keys.of(request)
        shared: list[Block] = []
        evictable = 0
        for key in keys[:limit]:
            copies = self.index.get(key)
            if not copies:
                break
            shared.append(copies[0])
            evictable += copies[0].holders == 0
        private = 0
        if request.private_run is not None and len(shared) == len(keys):
            private = min(request.private_run.blocks, limit - len(shared))
        blocks = len(shared) + private
        return Hit(blocks * self.block_size, blocks, evictable + private, _Place(shared, private))

    def content(self) -> CachedContent:
        """The named blocks of now."""
        return NamedBlocks(self.keys, frozenset(self.index))

    def share_names(self, names: dict[int, BlockKeys]) -> None:
        """Before anything is cached: take the names that all use for blocks of this size."""
        self.keys = names.setdefault(self.block_size, self.keys)

    def adopt(self, request: Request, hit: Hit) -> None:
        """Let the request hold the blocks that were found; its `computed_tokens` becomes their tokens."""
        place: _Place = hit.place or _NOWHERE
        for block in place.shared:
            if block.holders == 0:
                del self.cached[block]
                self.free_blocks -= 1
            else:
                self.doubled_blocks += 1
            block.holders += 1
        request.blocks = place.shared.copy()
        run = request.private_run
        if run is not None:
            request.private_run = None
            run.owner = None
            if run.blocks == place.private_blocks:
                del self.cached[run]
                self.free_blocks -= run.blocks
            else:
                self._adopt_by_name(request, place, run)
        request.computed_tokens = request.keyed_tokens = hit.tokens

    def _adopt_by_name(self, request: Request, place: _Place, run: CachedRun) -> None:
        """Adopt the private blocks but the last, which is full of known tokens and yet must be recomputed.

        There will then be two blocks of the same content, so from here on they get names like shared ones.
        It takes a request that is preempted in the very step that schedules its last known tokens.
        """
        keys = self.keys.extend(request, len(place.shared) + run.blocks)
        named = [Block(key) for key in keys[len(place.shared) :]]
        for block in named:
            self.index[block.key] = [block]
        left = named[place.private_blocks :]
        for block in left:
            block.holders = 0
        request.blocks += named[: place.private_blocks]
        self.free_blocks -= place.private_blocks
        in_order = [left[::-1] if entry is run else [entry] for entry in self.cached]
        self.cached = OrderedDict.fromkeys(entry for entries in in_order for entry in entries)

    def grow(self, request: Request, new_tokens: int) -> None:
        """Give the request room for `new_tokens` more and count them as computed.

        The caller has made sure that the blocks are there. Blocks that this step fills with known tokens
        become findable at once, before the step has run, as in vLLM.
        """
        before = request.computed_tokens
        after = before + new_tokens
        size = self.block_size
        self.take(-(-after // size) - -(-before // size))
        request.computed_tokens = after
        known = request.known_tokens - request.pending_tokens
        self.key(request, after if after < known else known)

    def shrink(self, request: Request, tokens: int) -> None:
        """Count the last tokens as not computed, and free the blocks behind; none of those has a key."""
        before = request.computed_tokens
        request.computed_tokens = before - tokens
        blocks = self.blocks_for(before) - self.blocks_for(request.computed_tokens)
        self.free_blocks += blocks
        self.unkeyed_blocks += blocks

    def key(self, request: Request, tokens: int) -> None:
        """The request's first `tokens` tokens are known: its full blocks up to there have a key now."""
        if tokens > request.keyed_tokens:
            request.keyed_tokens = tokens
            if request.segments is not None:
                self.register(request)

    def landed(self, request: Request, tokens: int) -> None:
        """Nothing to do: blocks are findable from when they are scheduled."""

    def register(self, request: Request) -> None:
        """Make the request's full named blocks findable, up to its keyed tokens."""
        if not self.prefix_caching:
            return
        keys = self.keys.of(request)
        for key in keys[len(request.blocks) : request.keyed_tokens // self.block_size]:
            block = Block(key)
            request.blocks.append(block)
            self.index.setdefault(key, []).append(block)

    def take(self, blocks: int) -> None:
        """Hand out free blocks: those without a key first, then the least recently freed."""
        self.free_blocks -= blocks
        rest = self.unkeyed_blocks - blocks
        if rest >= 0:
            self.unkeyed_blocks = rest
        else:
            self.unkeyed_blocks = 0
            self._evict(-rest)

    def evicted(self, key: Hashable | None, blocks: int) -> None:
        """Blocks of that content are handed out (None: content that nobody else can hit); here it is lost."""

    def _evict(self, blocks: int) -> None:
        self.evicted_blocks += blocks
        left = self.oldest_run_blocks
        if left:
            self.evicted(None, blocks if blocks < left else left)
        blocks -= left
        while blocks > 0:
            oldest = next(iter(self.cached))
            if isinstance(oldest, Block):
                del self.cached[oldest]
                copies = self.index[oldest.key]
                copies.remove(oldest)
                if not copies:
                    del self.index[oldest.key]
                self.evicted(oldest.key, 1)
                blocks -= 1
            elif oldest.owner is None:
                del self.cached[oldest]
                self.evicted(None, min(blocks, oldest.blocks))
                blocks -= oldest.blocks
            else:
                taken = min(blocks, oldest.blocks)
                self.evicted(None, taken)
                oldest.blocks -= taken
                blocks -= taken
                if oldest.blocks == 0:
                    del self.cached[oldest]
                    oldest.owner.private_run = None
        self.oldest_run_blocks = -blocks

    def free(self, request: Request) -> None:
        """Take all blocks back; those with a key stay cached until they are handed out again."""
        self._free(request, may_return=False)

    def set_aside(self, request: Request, valid_tokens: int) -> None:
        """The same; the request could find its own private blocks again."""
        self._free(request, may_return=True)

    def _free(self, request: Request, may_return: bool) -> None:
        size = self.block_size
        held = -(-request.computed_tokens // size)
        if not self.prefix_caching:
            self.free_blocks += held
            self.unkeyed_blocks += held
            return
        full = request.keyed_tokens // size
        private = full - len(request.blocks)
        self.unkeyed_blocks += held - full
        self.free_blocks += held - len(request.blocks)
        if private:
            run = CachedRun(request if may_return else None, private)
            self.cached[run] = None
            if may_return:
                request.private_run = run
        if request.blocks:
            for block in reversed(request.blocks):
                block.holders -= 1
                if block.holders == 0:
                    self.cached[block] = None
                    self.free_blocks += 1
                else:
                    self.doubled_blocks -= 1
            request.blocks = []

    def abandon(self, request: Request) -> None:
        """It will not come back for its own blocks."""
        if request.private_run is not None:
            request.private_run.owner = None
            request.private_run = None

    def check(self, running: Iterable[tuple[Request, int]]) -> None:
        """Raise AssertionError unless free, held and cached blocks make up the capacity (INV-2)."""
        cached = sum(1 if isinstance(entry, Block) else entry.blocks for entry in self.cached)
        cached += self.oldest_run_blocks
        if self.unkeyed_blocks < 0 or self.free_blocks != self.unkeyed_blocks + cached:
            raise AssertionError(
                f"INV-2: {self.free_blocks} blocks are free, {self.unkeyed_blocks} unkeyed, {cached} cached"
            )
        private = named = 0
        shared = set()
        for request, computed_tokens in running:
            private += self.blocks_for(computed_tokens) - len(request.blocks)
            named += len(request.blocks)
            shared.update(request.blocks)
        held = private + len(shared)
        if self.free_blocks + held != self.num_blocks:
            raise AssertionError(f"INV-2: {self.free_blocks} free and {held} held of {self.num_blocks} blocks")
        if self.doubled_blocks != named - len(shared):
            raise AssertionError(f"INV-2: {self.doubled_blocks} blocks counted as doubled, not {named - len(shared)}")
