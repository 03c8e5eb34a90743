"""Runs the steps that the engine decides: plan -> block tables and tensors -> the next tokens.

A batch of decodes alone is, on CUDA, one replayed CUDA graph; every other step is launched kernel by kernel.
As in vLLM, a step of no more rows than the largest graph is padded to the next graph's, whichever way it is
launched.
"""

import statistics
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibrate.reference_engine.batch import Batch, Buffers, Inputs, Sequence, make_batch
from calibrate.reference_engine.kernels import Pages
from calibrate.reference_engine.kv import BlockTables, KVCache
from calibrate.reference_engine.model import Transformer
from sim.engine.plan import StepPlan
from sim.request import Request

_REPLAYS = 20


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


class PassTimes(NamedTuple):
    """Seconds of one forward pass: on the device, and until the host had launched it all."""

    device_s: float
    launch_s: float


class Runner:
    """The model over a KV cache on one device, with block tables and graphs of its own."""

    def __init__(self, transformer: Transformer, cache: KVCache, limits: RunnerLimits) -> None:
        assert limits.num_gpu_blocks <= cache.keys.shape[1] and limits.block_size == cache.keys.shape[2]
        self.transformer, self.cache, self.limits = transformer, cache, limits
        self.device = transformer.embedding.device
        self.on_cuda = self.device.type == "cuda"
        self.tables = BlockTables(
            limits.num_gpu_blocks - 1, limits.block_size, limits.max_num_seqs, limits.max_model_len
        )
        self.sequences: dict[Request, Sequence] = {}
        self.buffers = Buffers(limits.most_rows, limits.most_seqs, self.tables.matrix.shape[1], self.device)
        self.graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def add(self, request: Request, prompt: NDArray[np.int64]) -> None:
        """Take the tokens of a request's prompt."""
        self.sequences[request] = Sequence(prompt, request.output_tokens)

    def step(self, plan: StepPlan) -> PassTimes:
        """Run the plan, before the engine completes it; whoever is due a token has it then."""
        for request in plan.preempted:
            self._release(request)
        if not plan.chunks:
            return PassTimes(0.0, 0.0)
        for chunk in plan.chunks:
            sequence = self.sequences[chunk.request]
            if sequence.row < 0:
                sequence.row = self.tables.open()
        batch = make_batch(plan, self.sequences, self.tables)
        tokens, times = self._run(batch)
        for request, row, token in zip(batch.takers, batch.sampled, tokens, strict=True):
            self.sequences[request].tokens[batch.rows[1, row] + 1] = token
        return times

    def finish(self, request: Request) -> list[int]:
        """Let a finished request go; returns its answer."""
        self._release(request)
        answer: list[int] = self.sequences.pop(request).tokens[request.prompt_tokens :].tolist()
        return answer

    @torch.inference_mode()
    def capture(self) -> None:
        """Make the CUDA graphs, largest first, so that the others find their memory in its."""
        for size in reversed(self.limits.graph_sizes if self.on_cuda else ()):
            self._capture(size)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run every kernel at sizes from one row to the most, on the null block, so that none is made later.

        On a CPU at all sizes, because oneDNN makes a kernel of its own for each.
        """
        most, longest = self.limits.max_num_batched_tokens, self.limits.max_model_len
        for rows in _spread(most) if self.on_cuda else range(1, most + 1):
            new = min(rows, longest)
            self._run(_dummy(0, 1, [new], self.tables))
        for length in (1, longest):  # attention that splits the context, or does not
            self._run(_dummy(1, length, [min(most - 1, longest)], self.tables))
            self._run(_dummy(1, length, [], self.tables))
        for seqs in range(1, self.limits.max_num_seqs + 1):
            self._run(_dummy(seqs, 1, [], self.tables))

    def start_s(self) -> float:
        """Seconds from the start of a replayed forward pass until the GPU is at work on it; 0 without graphs.

        A pass alone takes so much longer than one of many that wait in line.
        """
        if not self.graphs:
            return 0.0
        graph, _ = self.graphs[min(self.graphs)]
        alone_s = [_elapsed_s(graph.replay, 1) for _ in range(_REPLAYS)]
        return max(0.0, statistics.median(alone_s) - _elapsed_s(graph.replay, _REPLAYS))

    def _release(self, request: Request) -> None:
        sequence = self.sequences[request]
        if sequence.row >= 0:
            self.tables.close(sequence.row)
            sequence.row = -1

    @torch.inference_mode()
    def _run(self, batch: Batch) -> tuple[list[int], PassTimes]:
        """The next tokens of the batch's takers, and how long it took."""
        inputs = self.buffers.fill(batch, self.tables, self._padded(batch.rows.shape[1]))
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if self.on_cuda else []
        clock = time.perf_counter if self.on_cuda else time.thread_time
        begin_s = clock()
        if events:
            events[0].record()
        hidden = self._hidden(batch, inputs)
        picked = self.transformer.next_tokens(hidden[inputs.sampled]) if batch.sampled else inputs.sampled
        if not events:
            tokens: list[int] = picked.tolist()
            spent_s = clock() - begin_s
            return tokens, PassTimes(spent_s, spent_s)
        events[1].record()
        launch_s = clock() - begin_s
        events[1].synchronize()
        return picked.tolist(), PassTimes(events[0].elapsed_time(events[1]) / 1e3, launch_s)

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


def _spread(most: int) -> list[int]:
    """1, 2, 4, ..., every 64th, and `most`: as many as make every kernel of the matrix products load."""
    return sorted({*(1 << i for i in range(most.bit_length())), *range(64, most, 64), most})


def _elapsed_s(run: Callable[[], None], times: int) -> float:
    """Seconds of one run on the GPU, of so many that are queued at once."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(times):
        run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / times


def _dummy(decodes: int, length: int, chunks: list[int], tables: BlockTables) -> Batch:
    """A batch of token 0 in the null block: so many decodes of one length, and prefill chunks."""
    assert not tables.used_blocks  # so that every row of the tables is the null block's
    seqs, rows = decodes + len(chunks), decodes + sum(chunks)
    zeros = np.zeros((3, rows), np.int64)
    return Batch(zeros, decodes, [0] * seqs, [length] * decodes + chunks, [1] * decodes + chunks, [rows - 1], [])
