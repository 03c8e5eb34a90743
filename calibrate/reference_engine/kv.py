"""The paged KV cache: blocks of memory on the device, and which of them each request holds.

How many blocks a request holds is the simulator's decision; which ones is decided here. Block 0 is the null
block, as in vLLM: it belongs to nobody, and rows that only fill up a CUDA graph write there.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from sim.models import Model


class BlockTables:
    """Who holds which blocks, as rows of one matrix, so that a batch's tables are one look-up.

    `usable_blocks` blocks, numbered from 1, of `block_size` tokens; at most `max_num_seqs` requests hold any,
    each at most those of `max_model_len` tokens.
    """

    def __init__(self, usable_blocks: int, block_size: int, max_num_seqs: int, max_model_len: int) -> None:
        self.block_size = block_size
        self.usable_blocks = usable_blocks
        self.matrix: NDArray[np.int32] = np.zeros((max_num_seqs, -(-max_model_len // block_size)), np.int32)
        self._held = [0] * max_num_seqs
        self._free_blocks = list(range(usable_blocks, 0, -1))
        self._free_rows = list(range(max_num_seqs - 1, -1, -1))

    @property
    def used_blocks(self) -> int:
        """Blocks that somebody holds."""
        return self.usable_blocks - len(self._free_blocks)

    def open(self) -> int:
        """A row for a request that comes in; it holds no block yet."""
        return self._free_rows.pop()

    def grow(self, row: int, tokens: int) -> None:
        """Give the row blocks enough for `tokens` tokens in all."""
        held, wanted = self._held[row], -(-tokens // self.block_size)
        for place in range(held, wanted):
            self.matrix[row, place] = self._free_blocks.pop()
        self._held[row] = max(held, wanted)

    def close(self, row: int) -> None:
        """Take all blocks and the row back."""
        held = self._held[row]
        self._free_blocks.extend(self.matrix[row, :held][::-1].tolist())
        self.matrix[row, :held] = 0
        self._held[row] = 0
        self._free_rows.append(row)

    def check(self) -> None:
        """Raise AssertionError unless every block is free or with one row, and block 0 with none (INV-2)."""
        held = [block for row, count in enumerate(self._held) for block in self.matrix[row, :count].tolist()]
        if sorted(held + self._free_blocks) != list(range(1, self.usable_blocks + 1)):
            raise AssertionError("INV-2: a KV block is with two requests, or with nobody and not free")

    def slots(self, row: int, first: int, count: int) -> NDArray[np.int64]:
        """Where the tokens first, first + 1, ... of the row lie: block number x block size + offset."""
        places = np.arange(first, first + count)
        blocks: NDArray[np.int64] = self.matrix[row, places // self.block_size].astype(np.int64)
        return blocks * self.block_size + places % self.block_size


class KVCache:
    """Keys and values, each [layers, blocks, block_size, KV heads, head_dim], the null block included."""

    def __init__(
        self, model: Model, num_blocks: int, block_size: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (2, model.layers, num_blocks, block_size, model.kv_heads, model.head_dim)
        self.keys, self.values = torch.zeros(shape, device=device, dtype=dtype)
