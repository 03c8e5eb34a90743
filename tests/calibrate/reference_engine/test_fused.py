"""The engine with the kernels of a GPU, in Triton's interpreter: TRITON_INTERPRET=1, and no GPU."""

import os
from types import SimpleNamespace

import pytest

pytest.importorskip("triton", reason="Triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs TRITON_INTERPRET=1 in the environment", allow_module_level=True)

import torch

from calibrate.reference_engine.engine import prompt, serve
from calibrate.reference_engine.fused import FusedKernels
from calibrate.reference_engine.kernels import PlainKernels
from calibrate.reference_engine.kv import KVCache
from calibrate.reference_engine.model import Transformer
from calibrate.reference_engine.runner import Runner, RunnerLimits
from sim.batching.vllm_v1 import VllmV1
from sim.engine import EngineLimits
from sim.ordering.fcfs import Fcfs
from sim.request import Request
from tests.calibrate.reference_engine.models import small
from tests.calibrate.reference_engine.naive import greedy

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("kind", "tile"),
    [("llama", 64), ("llama", 128), ("multi-head", 64), ("qwen2", 64), ("qwen3", 64), ("opt", 64), ("mixtral", 64),
     ("qwen2_moe", 64), ("qwen3_moe", 64)],
)  # fmt: skip
def test_the_fused_kernels_give_the_plain_models_answers(kind: str, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunked prompts, mixed steps, padded steps and a preemption, in float32 (the interpreter has no bf16)."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(multi_processor_count=4))
    # The grouped product is torch's own and wants a GPU; sums over experts stand for it.
    monkeypatch.setattr(torch, "_grouped_mm", lambda x, w, offs: PlainKernels().grouped(x, w, offs))
    model = Transformer(small(kind), FusedKernels(CPU, tile), CPU, torch.float32, seed=3)
    limits = EngineLimits(7, 64, max_num_seqs=3, max_num_batched_tokens=20, enable_prefix_caching=False)
    cache = KVCache(model.model, 7, limits.block_size, CPU, torch.float32)
    runner = Runner(model, cache, RunnerLimits(7, 16, 64, 3, 20, graph_sizes=(1, 2, 4, 8)))
    requests = [Request(i, 0.0, *lengths) for i, lengths in enumerate([(27, 20), (40, 12), (9, 17)])]
    log = serve(requests, runner, limits, VllmV1(), Fcfs())
    plain = Transformer(small(kind), PlainKernels(), CPU, torch.float32, seed=3)
    right = [greedy(plain, prompt(r, 96).tolist(), r.output_tokens) for r in requests]
    assert log.answers == right
    assert sum(row.preemptions for row in log.requests) > 0
