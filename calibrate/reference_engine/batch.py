"""A step's plan as the numbers that the model reads, and the buffers that carry them to the device."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibrate.reference_engine.kv import BlockTables
from sim.engine.plan import Chunk, StepPlan
from sim.request import Request

Ints = NDArray[np.int64]


class Sequence:
    """What a request holds beside its counts: its tokens, and its row of the block tables (-1: none)."""

    __slots__ = ("row", "tokens")

    def __init__(self, prompt: Ints, output_tokens: int) -> None:
        self.tokens: Ints = np.concatenate([prompt, np.zeros(output_tokens, np.int64)])
        self.row = -1


@dataclass(frozen=True)
class Batch:
    """One forward pass: the rows of the decodes, then those of the prefill chunks.

    rows: int64 [3, rows], the token, position and slot of each. Of every decode, then of every chunk:
    `holders`, the row of the block tables; `lengths`, its tokens after the step; `new`, its tokens in the
    step. sampled: the rows after which a token is wanted, `takers`: who gets it.
    """

    rows: Ints
    decodes: int
    holders: list[int]
    lengths: list[int]
    new: list[int]
    sampled: list[int]
    takers: list[Request]


def make_batch(plan: StepPlan, sequences: dict[Request, Sequence], tables: BlockTables) -> Batch:
    """Give every scheduled request the blocks that the plan counted, and lay its tokens out.

    What is a decode and what a prefill chunk is told as by `StepPlan.shape`.
    """
    chunks = sorted(plan.chunks, key=_is_prefill)  # a stable sort
    rows = np.empty((3, sum(chunk.new_tokens for chunk in chunks)), np.int64)
    holders, lengths, sampled, takers = [], [], [], []
    first = 0
    for request, new, before in chunks:
        sequence = sequences[request]
        tables.grow(sequence.row, before + new)
        last = first + new
        rows[0, first:last] = sequence.tokens[before : before + new]
        rows[1, first:last] = np.arange(before, before + new)
        rows[2, first:last] = tables.slots(sequence.row, before, new)
        holders.append(sequence.row)
        lengths.append(before + new)
        if before + new == request.known_tokens:
            sampled.append(last - 1)
            takers.append(request)
        first = last
    decodes = len(chunks) - sum(map(_is_prefill, chunks))
    return Batch(rows, decodes, holders, lengths, [chunk.new_tokens for chunk in chunks], sampled, takers)


def _is_prefill(chunk: Chunk) -> bool:
    return chunk.new_tokens > 1 or chunk.computed_before < chunk.request.prompt_tokens


class Inputs(NamedTuple):
    """A batch on the device, its rows padded.

    tokens, positions, slots: int64 [rows]. sampled: int64, the rows to sample. Of every decode, then of every
    chunk: lengths, int32, and tables, int32 [.., most blocks]. starts: int32, the first row of every chunk,
    counted from the first chunk's, and the end.
    """

    tokens: Tensor
    positions: Tensor
    slots: Tensor
    sampled: Tensor
    lengths: Tensor
    tables: Tensor
    starts: Tensor


class Buffers:
    """Memory for the largest batch on host and device, in which every size of batch has its fixed place.

    A batch goes over in two copies. On a CPU host and device are one.
    """

    def __init__(self, max_rows: int, max_seqs: int, table_width: int, device: torch.device) -> None:
        self.max_seqs, self.width = max_seqs, table_width
        self._host_long = _host(3 * max_rows + max_seqs, torch.int64, device)
        self._host_int = _host(max_seqs * (table_width + 2) + 1, torch.int32, device)
        self._long, self._int = self._host_long.to(device), self._host_int.to(device)

    def fill(self, batch: Batch, tables: BlockTables, rows: int) -> Inputs:
        """Bring a batch to the device, padded to `rows` rows: token 0 of nobody, in the null block."""
        real, held, picked = batch.rows.shape[1], len(batch.holders), len(batch.sampled)
        seqs = held if batch.decodes < held else rows  # the rows that pad decodes are decodes as well
        host = self._inputs(self._host_long.numpy(), self._host_int.numpy(), rows, seqs, picked)
        for line, numbers in zip((host.tokens, host.positions, host.slots), batch.rows, strict=True):
            line[:real], line[real:] = numbers, 0
        host.sampled[:] = batch.sampled
        host.lengths[:held], host.lengths[held:] = batch.lengths, 1
        host.tables[:held], host.tables[held:] = tables.matrix[batch.holders], 0
        host.starts[0] = 0
        np.cumsum(batch.new[batch.decodes :], out=host.starts[1 : held - batch.decodes + 1])
        if self._long is not self._host_long:
            longs, ints = 3 * rows + picked, 2 * self.max_seqs + 1 + seqs * self.width
            self._long[:longs].copy_(self._host_long[:longs], non_blocking=True)
            self._int[:ints].copy_(self._host_int[:ints], non_blocking=True)
        device: Inputs = self._inputs(self._long, self._int, rows, seqs, picked)
        return device._replace(starts=device.starts[: held - batch.decodes + 1])

    def _inputs(self, longs: Any, ints: Any, rows: int, seqs: int, picked: int) -> Any:
        """Views of the two buffers, which may be arrays or tensors."""
        most = self.max_seqs
        tables = ints[2 * most + 1 : 2 * most + 1 + seqs * self.width].reshape(seqs, self.width)
        return Inputs(
            tokens=longs[:rows],
            positions=longs[rows : 2 * rows],
            slots=longs[2 * rows : 3 * rows],
            sampled=longs[3 * rows : 3 * rows + picked],
            lengths=ints[:seqs],
            starts=ints[most : 2 * most + 1],
            tables=tables,
        )


def _host(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.zeros(size, dtype=dtype, pin_memory=device.type == "cuda")
