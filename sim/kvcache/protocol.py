"""What an engine and its batching policy ask of a replica's KV memory, whichever way that is managed."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sim.kvcache.content import BlockKeys
from sim.kvcache.tiers.transfers import Transfers
from sim.request import Request


class Hit(NamedTuple):
    """What a prefix look-up found: `tokens` that need no computing, in `blocks` that are there already.

    `evictable_blocks` of these now count as free. `place` is where they lie, which only the cache understands.
    """

    tokens: int
    blocks: int
    evictable_blocks: int
    place: Any = None


MISS = Hit(0, 0, 0)


class CachedContent(Protocol):
    """What a cache held at some time."""

    def lookup(self, request: Request) -> Hit:
        """The longest beginning of a request that has not begun; only its `tokens` mean anything."""
        ...


class NoContent:
    """Nothing is kept."""

    def lookup(self, request: Request) -> Hit:
        """Nothing is found."""
        return MISS


@dataclass(frozen=True)
class KVRoom:
    """The memory that a KV cache divides: usable blocks of `block_size` tokens, and the longest request."""

    num_blocks: int
    block_size: int
    max_model_len: int
    prefix_caching: bool


class KVCache(Protocol):
    """The KV memory of one replica, in blocks.

    `grows` says that a request takes further blocks while it runs; otherwise all that it will ever need is taken
    when it is admitted. `coarse` says that more may be evicted than is needed. `lands` says that the cache wants to
    know of every chunk that has been computed (`landed`).
    """

    num_blocks: int
    evicted_blocks: int

    @property
    def grows(self) -> bool: ...

    @property
    def coarse(self) -> bool: ...

    @property
    def lands(self) -> bool: ...

    @property
    def transfers(self) -> Transfers | None:
        """What moves between the GPU and other memory; None if nothing ever does."""
        ...

    @property
    def free_blocks(self) -> int:
        """Blocks that can be handed out now, those that only cache something included."""
        ...

    @property
    def empty_blocks(self) -> int:
        """Those of them that cache nothing: handing these out changes no later hit."""
        ...

    @property
    def used_blocks(self) -> int:
        """Blocks that running requests hold."""
        ...

    @property
    def doubled_tokens(self) -> int:
        """Tokens that more than one running request holds in the same block, each further holder counted."""
        ...

    def blocks_for(self, tokens: int) -> int:
        """Blocks that `tokens` tokens occupy."""
        ...

    def whole_blocks(self, request: Request) -> int:
        """The most blocks that the request will hold, at the end of its answer."""
        ...

    def growth_blocks(self, request: Request, new_tokens: int) -> int:
        """Free blocks that a running request takes to compute `new_tokens` more."""
        ...

    def lookup(self, request: Request) -> Hit:
        """The longest beginning of a waiting request that is there already; changes nothing."""
        ...

    def content(self) -> CachedContent:
        """What is there now, as it will still say when other things are."""
        ...

    def share_names(self, names: dict[int, BlockKeys]) -> None:
        """Call equal content by the same names as all other caches with this dictionary, one entry a block size."""
        ...

    def beginning(self, request: Request, tokens: int) -> Hashable | None:
        """A name for what the prompt begins with, `tokens` tokens or up to a block more: equal for equal content.

        None if the prompt is shorter, has content of its own only, or nothing is shared here.
        """
        ...

    def can_admit(self, request: Request, hit: Hit, tokens: int, spared_blocks: int) -> bool:
        """Whether room for the first `tokens` tokens can be had now, with `spared_blocks` others left free."""
        ...

    def adopt(self, request: Request, hit: Hit) -> None:
        """Admit: let the request hold what was found; its `computed_tokens` becomes the hit's tokens."""
        ...

    def grow(self, request: Request, new_tokens: int) -> None:
        """Give a running request room for `new_tokens` more and count them as computed.

        The caller has made sure that the blocks are there.
        """
        ...

    def shrink(self, request: Request, tokens: int) -> None:
        """Count the last `tokens` tokens, which were computed and never known, as not computed."""
        ...

    def take(self, blocks: int) -> None:
        """Hand out blocks to the members of the decode group, who grow together."""
        ...

    def key(self, request: Request, tokens: int) -> None:
        """The first `tokens` tokens of a running request are known, not only computed."""
        ...

    def landed(self, request: Request, tokens: int) -> None:
        """The step has ended in which a chunk up to the first `tokens` tokens of a running request was computed.

        A chunk that looks like a decode, one token behind the prompt, is none.
        """
        ...

    def free(self, request: Request) -> None:
        """Take all blocks back from a request that is done with them."""
        ...

    def set_aside(self, request: Request, valid_tokens: int) -> None:
        """Take all blocks back from a preempted request, whose first `valid_tokens` tokens have been computed."""
        ...

    def abandon(self, request: Request) -> None:
        """A preempted request will not come again."""
        ...

    def check(self, running: Iterable[tuple[Request, int]]) -> None:
        """Raise AssertionError unless all blocks are accounted for (INV-2), given every request's tokens."""
        ...


class KVCacheChoice(Protocol):
    """One way to manage KV memory, as a scenario names it (the folder sim/kvcache)."""

    def build(self, room: KVRoom) -> KVCache:
        """An empty cache for one replica; raises ScenarioError for a room that it cannot manage."""
        ...
