"""Names for the content of KV blocks: equal prefixes get equal keys, and nothing else does.

A block's key stands for its tokens and all that went before, like vLLM's chained block hash. Instead of
hashing, keys are interned: each new (parent key, content) pair gets the next integer, so two different
prefixes can never collide.
"""

from collections.abc import Hashable

from sim.request import Request, Segments

Piece = tuple[Hashable, int, int]
"""Part of a block: tokens [offset, offset + length) of a named segment."""


class BlockKeys:
    """Hands out one integer key per distinct prefix, in units of full blocks of `block_size` tokens.

    A request keeps its keys for each block size, so all caches that may see it must share one of these for each.
    """

    __slots__ = ("block_size", "ids")

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self.ids: dict[tuple[int, tuple[Piece, ...]], int] = {}

    def of(self, request: Request) -> list[int]:
        """Keys of every full block of the request whose content has a name, first block first.

        These are the prompt's blocks when it has `segments`, and the answer's too when it has an
        `output_name`; a request without segments has none.
        """
        made = request.block_keys
        if made is None:
            made = request.block_keys = {}
        keys = made.get(self.block_size)
        if keys is None:
            keys = made[self.block_size] = self._make(request)
        return keys

    def extend(self, request: Request, blocks: int) -> list[int]:
        """Name the request's content up to `blocks` full blocks, those included that nobody else has."""
        keys = self.of(request)
        while len(keys) < blocks:
            own = (("private", request.id), len(keys) * self.block_size, self.block_size)
            keys.append(self.ids.setdefault((keys[-1] if keys else -1, (own,)), len(self.ids)))
        request.segments = request.segments or ()
        return keys

    def _make(self, request: Request) -> list[int]:
        if request.segments is None:
            return []
        if request.output_name is None:
            return self.chain(request.segments)
        return self.chain((*request.segments, (request.output_name, request.output_tokens)))

    def chain(self, segments: Segments) -> list[int]:
        """Keys of the full blocks of this content."""
        keys: list[int] = []
        pieces: list[Piece] = []
        missing = self.block_size
        parent = -1
        for name, length in segments:
            offset = 0
            while offset < length:
                taken = min(missing, length - offset)
                pieces.append((name, offset, taken))
                offset += taken
                missing -= taken
                if missing == 0:
                    parent = self.ids.setdefault((parent, tuple(pieces)), len(self.ids))
                    keys.append(parent)
                    pieces = []
                    missing = self.block_size
        return keys
