"""The operations of a step, against hand counts and against what is known of whole models."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import models
from sim.models import BatchShape
from sim.models.operations import Operation, distinct_experts, step_operations
from sim.models.shape import attention_pairs
from sim.models.work import flops_and_bytes
from tests.models.configs import PUBLISHED
from tests.models.test_parameters import write


def named(operations: list[Operation], name: str) -> Operation:
    (found,) = [operation for operation in operations if operation.name == name]
    return found


def test_llama_3_1_8b_shapes_at_tp_2() -> None:
    """A chunk of 100 after 50 with 4 decodes over 1000 tokens, of which 5 rows are sampled; two GPUs."""
    shape = BatchShape([(100, 50)], 4, 1000, 5)
    ops = step_operations(models.load("llama-3.1-8b"), shape, tp=2)
    gemms = {op.name: (op.times, op.m, op.n, op.k) for op in ops if op.kind == "gemm"}
    assert gemms == {
        "qkv": (32, 104, 16 * 128 + 2 * 4 * 128, 4096),
        "o": (32, 104, 4096, 16 * 128),
        "gate_up": (32, 104, 14336, 4096),
        "down": (32, 104, 4096, 7168),
        "lm_head": (1, 5, 64128, 4096),
    }
    down = named(ops, "down")
    assert down.flops == 2 * 104 * 4096 * 7168
    assert down.bytes == 2 * (4096 * 7168 + 104 * 7168 + 104 * 4096)
    prefill = named(ops, "attention_prefill")
    assert prefill.flops == 4 * 16 * 128 * (100 * 50 + 100 * 101 // 2)
    assert prefill.bytes == 2 * (2 * 100 * 16 * 128 + 2 * 150 * 4 * 128)
    decode = named(ops, "attention_decode")
    assert (decode.heads, decode.kv_heads, decode.head_dim, decode.times) == (16, 4, 128, 32)
    assert decode.flops == 4 * 16 * 128 * 1000
    assert decode.bytes == 2 * (2 * 4 * 16 * 128 + 2 * 1000 * 4 * 128)
    reduces = [op for op in ops if op.kind == "all_reduce"]
    assert sum(op.times for op in reduces) == 2 * 32 + 1
    assert {op.comm_bytes for op in reduces} == {104 * 4096 * 2}
    assert named(ops, "logits_gather").comm_bytes == 5 * 64128 * 2


@pytest.mark.parametrize("name", ["llama-2-7b", "llama-3.1-70b", "qwen3-8b", "opt-13b"])
def test_flops_per_token_are_twice_the_weights(name: str) -> None:
    """The rule of thumb 2 x parameters holds for what is multiplied: all but embeddings, norms and biases."""
    model = models.load(name)
    ops = step_operations(model, BatchShape([], 1, 1, 1))
    matmul = sum(op.flops * op.times for op in ops if op.kind == "gemm")
    head = 0 if model.tied_embeddings else model.vocab * model.hidden  # a tied table still multiplies
    weights = model.num_parameters - head - model.learned_positions * model.hidden
    assert matmul == pytest.approx(2 * weights, rel=1e-3)


def test_weights_are_read_once_per_step() -> None:
    model = models.load("mistral-7b")
    ops = step_operations(model, BatchShape([], 1, 1, 1))
    gemm = sum(op.bytes * op.times for op in ops if op.kind == "gemm")
    assert gemm == pytest.approx(model.weight_bytes() - model.vocab * model.hidden * 2, rel=1e-3)


def test_mixture_reads_the_experts_it_touches() -> None:
    """One token reads 2 of 8 experts; 2 tokens 8 (1 - 0.75^2) = 3.5 in expectation; many read all."""
    assert distinct_experts(8, 2, 1) == 2
    assert distinct_experts(8, 2, 2) == 3.5
    assert distinct_experts(128, 8, 1) == pytest.approx(8)
    assert distinct_experts(8, 2, 10_000) == 8
    many = distinct_experts(8, 2, np.array([1, 2, 10_000]))
    np.testing.assert_array_equal(many, [2, 3.5, 8])
    ops = step_operations(models.load("mixtral-8x7b"), BatchShape([], 2, 2, 2))
    up = named(ops, "experts_gate_up")
    assert (up.m, up.n, up.k, up.experts, up.experts_per_token) == (2, 28672, 4096, 8, 2)
    assert up.flops == 2 * 2 * 2 * 28672 * 4096
    assert up.read_bytes == 2 * (3.5 * 28672 * 4096 + 2 * 2 * 4096)


@given(tokens=st.integers(0, 10_000))
def test_distinct_experts_matches_the_closed_form(tokens: int) -> None:
    assert distinct_experts(60, 4, tokens) == pytest.approx(60 * (1 - (56 / 60) ** tokens), rel=1e-12)


def test_no_sampled_rows_no_lm_head() -> None:
    ops = step_operations(models.load("llama-2-7b"), BatchShape([(64, 0)], 0, 0, 0))
    assert {op.kind for op in ops} == {"gemm", "elementwise", "attention_prefill"}
    assert "lm_head" not in {op.name for op in ops}


def test_quantised_weights_move_fewer_bytes_and_the_head_stays() -> None:
    model, shape = models.load("llama-3.1-8b"), BatchShape([], 8, 800, 8)
    plain, int4 = step_operations(model, shape), step_operations(model, shape, weight_dtype="int4")
    assert named(int4, "lm_head") == named(plain, "lm_head")
    assert named(int4, "qkv").flops == named(plain, "qkv").flops
    assert named(plain, "qkv").bytes - named(int4, "qkv").bytes == 6144 * 4096 * (2 - 0.51953125)
    assert named(int4, "qkv").compute == "bf16"  # weight-only
    assert named(step_operations(model, shape, weight_dtype="fp8"), "qkv").compute == "fp8"


@given(new=st.integers(1, 300), context=st.integers(0, 300))
def test_attention_pairs_by_counting(new: int, context: int) -> None:
    assert attention_pairs(new, context) == sum(context + i for i in range(1, new + 1))


NAMES = ["llama-3.1-8b", "mixtral-8x7b", "opt-13b", "qwen3-30b-a3b"]


@given(
    name=st.sampled_from(NAMES),
    prefills=st.lists(st.tuples(st.integers(1, 500), st.integers(0, 3000)), max_size=3),
    decodes=st.integers(0, 40),
    context=st.integers(1, 4000),
    ends=st.integers(0, 3),
    steps=st.integers(1, 5),
    tp=st.sampled_from([1, 2, 4]),
)
@settings(max_examples=60, deadline=None)
def test_work_of_columns_is_the_sum_of_the_lists(
    name: str,
    prefills: list[tuple[int, int]],
    decodes: int,
    context: int,
    ends: int,
    steps: int,
    tp: int,
) -> None:
    model = models.load(name)
    if not prefills and not decodes:
        return
    sampled = decodes + min(ends, len(prefills))
    total_context = context * decodes
    shapes = [
        BatchShape(prefills, decodes, total_context + j * decodes, sampled) for j in range(steps)
    ]  # like steps whose decode contexts grow
    lists = [step_operations(model, shape, tp, "fp8", "fp8") for shape in shapes]
    flops, moved = flops_and_bytes(
        model,
        steps=[steps],
        prefill_tokens=[sum(new for new, _ in prefills)],
        decodes=[decodes],
        sampled=[sampled],
        context_tokens=[sum(shape.decode_context_tokens for shape in shapes)],
        attention_pairs=[steps * sum(attention_pairs(new, before) for new, before in prefills)],
        prefill_context_tokens=[steps * sum(before for _, before in prefills)],
        tp=tp,
        weight_dtype="fp8",
        kv_dtype="fp8",
    )
    assert flops[0] == pytest.approx(sum(op.flops * op.times for ops in lists for op in ops), rel=1e-12)
    assert moved[0] == pytest.approx(sum(op.bytes * op.times for ops in lists for op in ops), rel=1e-12)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_family_has_operations(name: str, tmp_path: Path) -> None:
    model = models.load(write(tmp_path, PUBLISHED[name][0]))
    ops = step_operations(model, BatchShape([(10, 0)], 3, 30, 4))
    assert all(op.times > 0 and op.bytes > 0 for op in ops)
    names = {op.name for op in ops}
    assert ("rotary" in names) is (model.family != "opt")
    assert ("qk_norm" in names) is (model.family == "gemma3")
    assert ("up" in names) is (model.family in ("opt", "phi"))
