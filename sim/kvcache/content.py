"""Names for the content of KV blocks: equal prefixes get equal keys, and nothing else does.

A block's key stands for its tokens and all that went before, like vLLM's chained block hash. Instead of
hashing, keys are interned: each new (parent key, content) pair gets the next integer, so two different
prefixes can never collide.
"""

from collections.abc import Hashable

from sim.request import Request

Piece = tuple[Hashable, int, int]
"""Part of a block: tokens [offset, offset + length) of a named segment."""


class BlockKeys:
    """Hands out one integer key per distinct prefix, in units of full blocks of `block_size` tokens."""

    __slots__ = ("block_size", "ids")

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self.ids: dict[tuple[int, tuple[Piece, ...]], int] = {}

    def of(self, request: Request) -> list[int]:
        """Keys of every full block of the request whose content has a name, first block first.

        These are the prompt's blocks when it has `segments`, and the answer's too when it has an
        `output_name`; a request without segments has none.
        """
        if request.block_keys is None:
            request.block_keys = self._make(request)
        return request.block_keys

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
        segments = list(request.segments)
        if request.output_name is not None:
            segments.append((request.output_name, request.output_tokens))
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
