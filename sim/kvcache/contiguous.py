"""One unbroken stretch of KV memory for each request, reserved whole when it is admitted, as before PagedAttention.

Nothing is shared and nothing is taken later, so nobody is ever preempted; what is paid instead is memory reserved
for tokens that never come (`kv_unused_share` in the results), and gaps between stretches that fit nobody.

Source: Kwon et al., Efficient Memory Management for LLM Serving with PagedAttention, SOSP 2023, section 6.1: Orca
(Max), (Pow2) and (Oracle). The authors had to guess at Orca's allocator and took a buddy allocator (`buddies`);
otherwise a stretch starts at the first gap that holds it, at any block.
"""

from bisect import bisect, insort
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from sim.errors import ScenarioError
from sim.kvcache.content import BlockKeys
from sim.kvcache.protocol import MISS, Hit, KVRoom, NoContent
from sim.kvcache.tiers.transfers import Transfers
from sim.request import Request


@dataclass(frozen=True)
class Contiguous:
    """One stretch for each request, long enough for all that it could come to."""

    reserve: Literal["max", "pow2", "oracle"] = "max"
    """max: max_model_len tokens; oracle: the prompt and the answer as it will turn out; pow2: the prompt and the
    answer's length rounded up to a power of two."""
    buddies: bool = False
    """Stretches are a power of two of blocks long and begin at a multiple of that, as a buddy allocator's."""

    def build(self, room: KVRoom) -> "ContiguousKVCache":
        """An empty cache; raises ScenarioError when the longest request has no room."""
        return ContiguousKVCache(room, self.reserve, self.buddies)


class ContiguousKVCache:
    """Stretches of blocks at addresses 0 .. num_blocks - 1."""

    __slots__ = (
        "block_size", "buddies", "evicted_blocks", "free_blocks", "gaps", "max_model_len", "num_blocks", "reserve",
        "taken",
    )  # fmt: skip

    grows: ClassVar[bool] = False
    coarse: ClassVar[bool] = False
    transfers: ClassVar[Transfers | None] = None
    lands: ClassVar[bool] = False

    def __init__(self, room: KVRoom, reserve: str, buddies: bool = False) -> None:
        self.num_blocks = self.free_blocks = room.num_blocks
        self.block_size = room.block_size
        self.max_model_len = room.max_model_len
        self.reserve = reserve
        self.buddies = buddies
        self.evicted_blocks = 0
        self.gaps = [(0, room.num_blocks)]  # (first block, blocks), by address
        self.taken: dict[Request, tuple[int, int]] = {}
        if self._stretch(room.max_model_len) > room.num_blocks:
            raise ScenarioError(
                f"kv_cache contiguous reserves up to max_model_len {room.max_model_len} tokens for a request, and the "
                f"KV cache holds {room.num_blocks * room.block_size}; lower engine.max_model_len"
            )

    @property
    def empty_blocks(self) -> int:
        """All that are free."""
        return self.free_blocks

    @property
    def used_blocks(self) -> int:
        """Blocks reserved for running requests."""
        return self.num_blocks - self.free_blocks

    @property
    def doubled_tokens(self) -> int:
        """None: nothing is shared."""
        return 0

    def blocks_for(self, tokens: int) -> int:
        """Blocks that `tokens` tokens occupy."""
        return -(-tokens // self.block_size)

    def whole_blocks(self, request: Request) -> int:
        """What is reserved for the request."""
        answer = request.output_tokens
        if self.reserve == "max":
            return self._stretch(self.max_model_len)
        if self.reserve == "pow2":
            answer = 1 << (answer - 1).bit_length()
        return self._stretch(min(request.prompt_tokens + answer, self.max_model_len))

    def _stretch(self, tokens: int) -> int:
        blocks = self.blocks_for(tokens)
        return 1 << (blocks - 1).bit_length() if self.buddies else blocks

    def _place(self, gap: tuple[int, int], needed: int) -> int | None:
        """Where in the gap a stretch would begin, None if the gap does not hold it."""
        first, blocks = gap
        begin = -(-first // needed) * needed if self.buddies else first
        return begin if begin + needed <= first + blocks else None

    def growth_blocks(self, request: Request, new_tokens: int) -> int:
        """None: they are reserved already."""
        return 0

    def lookup(self, request: Request) -> Hit:
        """Nothing is shared."""
        return MISS

    def content(self) -> NoContent:
        """Nothing is shared."""
        return NoContent()

    def share_names(self, names: dict[int, BlockKeys]) -> None:
        """Content has no names here."""

    def beginning(self, request: Request, tokens: int) -> None:
        """Nothing is shared."""

    def can_admit(self, request: Request, hit: Hit, tokens: int, spared_blocks: int) -> bool:
        """Whether a gap is large enough for all that the request could come to."""
        needed = self.whole_blocks(request)
        if needed + spared_blocks > self.free_blocks:
            return False
        return any(self._place(gap, needed) is not None for gap in self.gaps)

    def adopt(self, request: Request, hit: Hit) -> None:
        """Reserve the request's stretch at the first gap that holds it."""
        needed = self.whole_blocks(request)
        begins = ((place, self._place(gap, needed)) for place, gap in enumerate(self.gaps))
        place, begin = next((place, begin) for place, begin in begins if begin is not None)
        first, blocks = self.gaps[place]
        left = [(first, begin - first), (begin + needed, first + blocks - begin - needed)]
        self.gaps[place : place + 1] = [gap for gap in left if gap[1]]
        self.taken[request] = (begin, needed)
        self.free_blocks -= needed

    def grow(self, request: Request, new_tokens: int) -> None:
        """Count the tokens; their room is there."""
        request.computed_tokens += new_tokens

    def shrink(self, request: Request, tokens: int) -> None:
        """Count the tokens as not computed; their room stays."""
        request.computed_tokens -= tokens

    def take(self, blocks: int) -> None:
        """Nothing: members of the decode group need no blocks."""

    def key(self, request: Request, tokens: int) -> None:
        """Nothing: content has no names."""

    def landed(self, request: Request, tokens: int) -> None:
        """Nothing."""

    def set_aside(self, request: Request, valid_tokens: int) -> None:
        """Nobody is ever short of blocks; a policy that preempts all the same gives the stretch back."""
        self.free(request)

    def free(self, request: Request) -> None:
        """Give the stretch back and let it grow together with the gaps beside it."""
        first, blocks = self.taken.pop(request)
        self.free_blocks += blocks
        place = bisect(self.gaps, (first, blocks))
        if place < len(self.gaps) and self.gaps[place][0] == first + blocks:
            blocks += self.gaps.pop(place)[1]
        if place and sum(self.gaps[place - 1]) == first:
            first, before = self.gaps.pop(place - 1)
            blocks += before
        insort(self.gaps, (first, blocks))

    def abandon(self, request: Request) -> None:
        """Nothing: whoever waits has nothing here."""

    def check(self, running: Iterable[tuple[Request, int]]) -> None:
        """Raise AssertionError unless gaps and stretches tile the memory, and every request's tokens fit (INV-2)."""
        held = dict(running)
        tiles = sorted([*self.gaps, *self.taken.values()])
        end = 0
        for first, blocks in tiles:
            if first != end or blocks < 1:
                raise AssertionError(f"INV-2: blocks {end} to {first} are neither free nor reserved, or both")
            end = first + blocks
        if end != self.num_blocks or self.free_blocks != sum(blocks for _, blocks in self.gaps):
            raise AssertionError(f"INV-2: {self.free_blocks} of {self.num_blocks} blocks are not what is free")
        if set(held) != set(self.taken):
            raise AssertionError("INV-2: the requests that hold a stretch are not those that run")
        for request, tokens in held.items():
            if tokens > self.taken[request][1] * self.block_size:
                raise AssertionError(f"INV-2: {request} has {tokens} tokens, beyond its stretch")
