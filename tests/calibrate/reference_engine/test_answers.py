"""Whatever the batching, the reference engine answers as the plain model does, token by token."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calibrate.reference_engine.engine import prompt, serve
from calibrate.reference_engine.kernels import PlainKernels
from calibrate.reference_engine.kv import KVCache
from calibrate.reference_engine.log import ServingLog
from calibrate.reference_engine.model import Transformer
from calibrate.reference_engine.runner import Runner, RunnerLimits
from sim.batching.vllm_v1 import VllmV1
from sim.engine import EngineLimits
from sim.errors import ModelError, ServecastError
from sim.ordering.fcfs import Fcfs
from sim.request import Request
from tests.calibrate.reference_engine.models import RUNNABLE, small
from tests.calibrate.reference_engine.naive import greedy

ROOMY = EngineLimits(num_gpu_blocks=65, max_model_len=128, enable_prefix_caching=False)


def transformer(kind: str) -> Transformer:
    """In double precision, so that no rounding decides between two tokens."""
    return Transformer(small(kind), PlainKernels(), torch.device("cpu"), torch.float64, seed=3)


def runner(kind: str, limits: EngineLimits, graph_sizes: tuple[int, ...] = ()) -> Runner:
    model = transformer(kind)
    cache = KVCache(model.model, limits.num_gpu_blocks, limits.block_size, model.embedding.device, torch.float64)
    return Runner(
        model,
        cache,
        RunnerLimits(
            limits.num_gpu_blocks,
            limits.block_size,
            limits.max_model_len,
            limits.max_num_seqs,
            limits.max_num_batched_tokens,
            graph_sizes,
        ),
    )


def requests(lengths: Sequence[tuple[int, int]], apart_s: float = 0.0) -> list[Request]:
    return [Request(i, i * apart_s, prompt, output) for i, (prompt, output) in enumerate(lengths)]


def expected(kind: str, served: Sequence[Request]) -> list[list[int]]:
    model = transformer(kind)
    return [greedy(model, prompt(r, model.model.vocab).tolist(), r.output_tokens) for r in served]


def answers(
    kind: str, lengths: Sequence[tuple[int, int]], limits: EngineLimits, sizes: tuple[int, ...] = ()
) -> tuple[ServingLog, list[list[int]]]:
    served = requests(lengths)
    log = serve(served, runner(kind, limits, sizes), limits, VllmV1(), Fcfs())
    return log, expected(kind, served)


MIXED = [(17, 6), (40, 9), (1, 5), (33, 1), (16, 7)]


@pytest.mark.parametrize("kind", RUNNABLE)
def test_a_batch_of_requests_in_chunks_answers_as_the_plain_model(kind: str) -> None:
    limits = EngineLimits(65, 128, max_num_seqs=4, max_num_batched_tokens=24, enable_prefix_caching=False)
    log, right = answers(kind, MIXED, limits)
    assert log.answers == right
    assert any(shape.prefills and shape.decodes for shape in log.shapes)
    assert any(before for shape in log.shapes for _, before in shape.prefills)  # a prompt came in chunks
    assert len({token for answer in right for token in answer}) > 4  # the model does not say one thing only


def test_a_preempted_request_goes_on_where_it_was() -> None:
    limits = EngineLimits(8, 64, max_num_seqs=4, max_num_batched_tokens=64, block_size=8, enable_prefix_caching=False)
    log, right = answers("llama", [(20, 20), (18, 25), (15, 22)], limits)
    assert log.answers == right
    assert sum(row.preemptions for row in log.requests) > 0
    assert any(row.preempted for row in log.steps)


def test_rows_that_pad_a_step_change_no_answer() -> None:
    limits = EngineLimits(65, 128, max_num_seqs=6, max_num_batched_tokens=30, enable_prefix_caching=False)
    log, right = answers("qwen3", MIXED, limits, sizes=(1, 2, 4, 8, 16))
    assert log.answers == right


class Replayed:
    """Stands for a CUDA graph: computes what was captured once more, from and to the same memory."""

    def __init__(self, runner: Runner, size: int) -> None:
        self.replays = 0
        self.runner, self.size = runner, size
        runner._run(_decodes(runner, size))  # leaves its inputs where each batch of this size has them
        self.inputs = runner.buffers.fill(_decodes(runner, size), runner.tables, size)
        self.hidden = torch.zeros(size, runner.transformer.model.hidden, dtype=torch.float64)

    def replay(self) -> None:
        self.replays += 1
        self.hidden.copy_(self.runner._forward(self.inputs, self.size, [], 128, 0))


def _decodes(runner: Runner, size: int):  # type: ignore[no-untyped-def]
    from calibrate.reference_engine.runner import _dummy

    return _dummy(size, 1, [], runner.tables)


def test_a_graph_reads_and_writes_where_it_was_captured() -> None:
    limits = EngineLimits(65, 128, max_num_seqs=6, max_num_batched_tokens=30, enable_prefix_caching=False)
    model = runner("llama", limits, (2, 4, 8))
    with torch.inference_mode():
        graphs = [Replayed(model, size) for size in (2, 4, 8)]
    model.graphs = {graph.size: (graph, graph.hidden) for graph in graphs}  # type: ignore[misc]
    served = requests([*MIXED, (9, 12), (5, 12)])
    log = serve(served, model, limits, VllmV1(), Fcfs())
    assert log.answers == expected("llama", served)
    alone = sum(not shape.prefills for shape in log.shapes)
    assert sum(graph.replays for graph in graphs) == alone > 10
    assert all(graph.replays for graph in graphs)


def test_warming_up_leaves_no_trace() -> None:
    limits = EngineLimits(65, 128, max_num_seqs=4, max_num_batched_tokens=40, enable_prefix_caching=False)
    model = runner("llama", limits)
    model.warm_up()
    served = requests(MIXED)
    assert serve(served, model, limits, VllmV1(), Fcfs()).answers == expected("llama", served)


def test_prompts_follow_from_the_seed_and_the_request_alone() -> None:
    first, second = requests([(50, 1), (50, 1)])
    assert np.array_equal(prompt(first, 96, 1), prompt(requests([(50, 1)])[0], 96, 1))
    others: list[NDArray[np.int64]] = [prompt(second, 96, 1), prompt(first, 96, 2)]
    assert not any(np.array_equal(prompt(first, 96, 1), other) for other in others)


def test_what_the_engine_does_not_have_is_refused() -> None:
    with pytest.raises(ModelError, match=r"gemma2.*norm, attention, norm and MLP"):
        transformer("gemma2")
    cached = EngineLimits(65, 128)
    with pytest.raises(ServecastError, match="set enable_prefix_caching: false"):
        serve(requests([(3, 3)]), runner("llama", cached), cached, VllmV1(), Fcfs())
    with pytest.raises(ServecastError, match=r"request 0 has 129 tokens.*max_model_len, which is 128"):
        serve(requests([(100, 29)]), runner("llama", ROOMY), ROOMY, VllmV1(), Fcfs())
