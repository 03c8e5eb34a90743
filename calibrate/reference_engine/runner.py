"""Runs the steps that the engine decides: plan -> block tables and tensors -> the next tokens.

A batch of decodes alone is, on CUDA, one replayed CUDA graph; every other step is launched kernel by kernel.
As in vLLM, a step of no more rows than the largest graph is padded to the next graph's, whichever way it is
launched.
"""

from bisect import bisect_left
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibrate.reference_engine.batch import Batch, Buffers, Inputs, Sequence, make_batch
from calibrate.reference_engine.kernels import Pages
from calibrate.reference_engine.kv import BlockTables, KVCache
from calibrate.reference_engine.model import Transformer
from sim.plan import StepPlan
from sim.request import Request


@dataclass(frozen=True)
class RunnerLimits:
    """The largest batch and memory that the runner is made for, under vLLM's names.

    `num_gpu_blocks` counts the null block. `graph_sizes` ascend; without any no step is padded.
    """

    num_gpu_blocks: int
    block_size: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    graph_sizes: tuple[int, ...] = ()

    @property
    def most_rows(self) -> int:
        """Rows of the largest step, padding included."""
        return max((self.max_num_batched_tokens, self.max_num_seqs, *self.graph_sizes[-1:]))

    @property
    def most_seqs(self) -> int:
        """Requests of the largest step, padding included."""
        return max((self.max_num_seqs, *self.graph_sizes[-1:]))


class StepClock(NamedTuple):
    """Seconds of one forward pass: on the device, and until the host had launched it all."""

    device_s: float
    launch_s: float


class Runner:
    """The model, its KV cache and its graphs on one device."""

    def __init__(self, transformer: Transformer, limits: RunnerLimits) -> None:
        self.transformer, self.limits = transformer, limits
        self.device, dtype = transformer.embedding.device, transformer.embedding.dtype
        self.on_cuda = self.device.type == "cuda"
        self.cache = KVCache(transformer.model, limits.num_gpu_blocks, limits.block_size, self.device, dtype)
        self.reset(limits.num_gpu_blocks)
        self.buffers = Buffers(limits.most_rows, limits.most_seqs, self.tables.matrix.shape[1], self.device)
        self.graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def reset(self, num_gpu_blocks: int) -> None:
        """Forget all requests; from here on there are `num_gpu_blocks` blocks, the null block included."""
        limits = self.limits
        assert num_gpu_blocks <= limits.num_gpu_blocks
        self.tables = BlockTables(num_gpu_blocks - 1, limits.block_size, limits.max_num_seqs, limits.max_model_len)
        self.sequences: dict[Request, Sequence] = {}

    def add(self, request: Request, prompt: NDArray[np.int64]) -> None:
        """Take the tokens of a request's prompt."""
        self.sequences[request] = Sequence(prompt, request.output_tokens)

    def step(self, plan: StepPlan) -> StepClock:
        """Run the plan, before the engine completes it; whoever is due a token has it then."""
        for request in plan.preempted:
            self._release(request)
        if not plan.chunks:
            return StepClock(0.0, 0.0)
        for chunk in plan.chunks:
            sequence = self.sequences[chunk.request]
            if sequence.row < 0:
                sequence.row = self.tables.open()
        batch = make_batch(plan, self.sequences, self.tables)
        tokens, clock = self._run(batch)
        for request, row, token in zip(batch.takers, batch.sampled, tokens, strict=True):
            self.sequences[request].tokens[batch.rows[1, row] + 1] = token
        return clock

    def finish(self, request: Request) -> list[int]:
        """Let a finished request go; returns its answer."""
        self._release(request)
        answer: list[int] = self.sequences.pop(request).tokens[request.prompt_tokens :].tolist()
        return answer

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Capture the graphs, and run every kernel at sizes from one row to the most, on the null block.

        On a CPU at all sizes, because oneDNN makes a kernel of its own for each.
        """
        most, longest = self.limits.max_num_batched_tokens, self.limits.max_model_len
        for size in reversed(self.limits.graph_sizes if self.on_cuda else ()):
            self._capture(size)
        self._run(_dummy(1, longest, [], self.tables))
        for rows in _powers_of_two(most) if self.on_cuda else range(1, most + 1):
            new = min(rows, longest)
            self._run(_dummy(0, 1, [new], self.tables))
            self._run(_dummy(1, 1, [new], self.tables))
        for seqs in range(1, self.limits.max_num_seqs + 1):
            self._run(_dummy(seqs, 1, [], self.tables))

    def _release(self, request: Request) -> None:
        sequence = self.sequences[request]
        if sequence.row >= 0:
            self.tables.close(sequence.row)
            sequence.row = -1

    @torch.inference_mode()
    def _run(self, batch: Batch) -> tuple[list[int], StepClock]:
        """The next tokens of the batch's takers, and how long it took."""
        inputs = self.buffers.fill(batch, self.tables, self._padded(batch.rows.shape[1]))
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if self.on_cuda else []
        begin_s = perf_counter()
        if events:
            events[0].record()
        hidden = self._hidden(batch, inputs)
        picked = self.transformer.next_tokens(hidden[inputs.sampled]) if batch.sampled else inputs.sampled
        if not events:
            tokens: list[int] = picked.tolist()
            spent_s = perf_counter() - begin_s
            return tokens, StepClock(spent_s, spent_s)
        events[1].record()
        launch_s = perf_counter() - begin_s
        events[1].synchronize()
        return picked.tolist(), StepClock(events[0].elapsed_time(events[1]) / 1e3, launch_s)

    def _hidden(self, batch: Batch, inputs: Inputs) -> Tensor:
        rows = len(inputs.tokens)
        if rows in self.graphs and batch.decodes == len(batch.holders):
            graph, hidden = self.graphs[rows]
            graph.replay()
            return hidden
        chunks = list(zip(batch.new, batch.lengths, strict=True))[batch.decodes :]
        decodes = batch.decodes if chunks else rows
        contexts = batch.lengths[: batch.decodes] or [1]
        return self._forward(inputs, decodes, chunks, max(contexts), sum(contexts))

    def _forward(self, inputs: Inputs, decodes: int, chunks: list[tuple[int, int]], longest: int, total: int) -> Tensor:
        """Hidden states of all rows: decodes, then the chunks (new, length), then padding.

        No decode has more than `longest` tokens; together they have about `total`.
        """
        model, kernels, cache = self.transformer.model, self.transformer.kernels, self.cache
        end = decodes + sum(new for new, _ in chunks)

        def attend(layer: int, qkv: Tensor) -> Tensor:
            keys, values, queries = cache.keys[layer], cache.values[layer], qkv[:, : model.heads]
            kernels.write_kv(keys, values, qkv, inputs.slots, model.heads)
            out = torch.empty_like(queries, memory_format=torch.contiguous_format)
            pages = Pages(keys, values, inputs.tables, inputs.lengths, inputs.starts)
            if decodes:
                kernels.decode(out[:decodes], queries[:decodes], pages, longest, total)
            if chunks:
                kernels.prefill(out[decodes:end], queries[decodes:end], pages, chunks)
            if end < len(out):
                out[end:] = 0
            return out.flatten(1)

        return self.transformer.forward(inputs.tokens, inputs.positions, attend)

    def _capture(self, size: int) -> None:
        """Make the graph of `size` decodes; its inputs lie where `Buffers` puts each batch of that size."""
        inputs = self.buffers.fill(_dummy(size, 1, [], self.tables), self.tables, size)
        longest = self.limits.max_model_len
        total = size * longest // 4  # a guess: a graph cuts contexts in one way, however long they are
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._forward(inputs, size, [], longest, total)  # compiles and tunes outside the graph
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        pool = next((other.pool() for other, _ in self.graphs.values()), None)
        with torch.cuda.graph(graph, pool=pool):
            hidden = self._forward(inputs, size, [], longest, total)
        self.graphs[size] = (graph, hidden)

    def _padded(self, rows: int) -> int:
        sizes = self.limits.graph_sizes
        place = bisect_left(sizes, rows)
        return sizes[place] if place < len(sizes) else rows


def _powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... and `most`."""
    return [*(1 << i for i in range((most - 1).bit_length())), most]


def _dummy(decodes: int, length: int, chunks: list[int], tables: BlockTables) -> Batch:
    """A batch of token 0 in the null block: so many decodes of one length, and prefill chunks."""
    assert not tables.used_blocks  # so that every row of the tables is the null block's
    seqs, rows = decodes + len(chunks), decodes + sum(chunks)
    zeros = np.zeros((3, rows), np.int64)
    return Batch(zeros, decodes, [0] * seqs, [length] * decodes + chunks, [1] * decodes + chunks, [rows - 1], [])
