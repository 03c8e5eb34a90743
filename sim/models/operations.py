"""The operations of one forward pass, on one GPU, with their exact shapes, FLOPs and bytes.

Latency, utilisation (MFU, bandwidth) and calibration all read these lists. Every amount may be a number or a
numpy array over many steps at once: the formulas are the same. FLOPs count matrix products and attention only
(a multiply-add is two), as MFU is defined; element-wise work is counted in bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sim.models.dtypes import (
    ACTIVATION_BYTES,
    compute_dtype,
    kv_bytes_per_element,
    weight_bytes_per_element,
)
from sim.models.experts import ExpertShards
from sim.models.model import Model
from sim.models.shape import BatchShape, attention_pairs
from sim.models.windows import window_seen

Amount: TypeAlias = int | float | NDArray[Any]
"""A number, or one number per step."""

SAMPLING_BYTES_PER_LOGIT = 18
"""Read bf16, write fp32, softmax reads and writes, one more read to draw: 2 + 4 + 4 + 4 + 4 (assumed)."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One kernel, run `times` times in the step; flops and bytes are those of one run on one GPU.

    kind: gemm, grouped_gemm, lora, attention_prefill, attention_decode, elementwise, all_reduce or all_gather.
    dtype: of the weights (gemm), the KV cache (attention) or activations; compute: format of the products.
    gemm: m rows times a (k, n) matrix. grouped_gemm: m tokens, each through `experts_per_token` of `experts`
    such matrices. Attention: heads, kv_heads, head_dim of one GPU, and either new_tokens after context_tokens
    (prefill) or batch queries over context_tokens in total (decode). Collectives: comm_bytes per rank.
    """

    kind: str
    name: str
    times: int
    flops: Amount
    read_bytes: Amount
    write_bytes: Amount
    dtype: str = "bf16"
    compute: str = "bf16"
    m: Amount = 0
    n: int = 0
    k: int = 0
    experts: int = 0
    experts_per_token: int = 0
    batch: Amount = 0
    new_tokens: Amount = 0
    context_tokens: Amount = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    comm_bytes: Amount = 0
    ranks: int = 1

    @property
    def bytes(self) -> Amount:
        """Bytes that one run moves between the GPU and its memory."""
        return self.read_bytes + self.write_bytes


def step_operations(
    model: Model,
    shape: BatchShape,
    tp: int = 1,
    weight_dtype: str = "bf16",
    kv_dtype: str = "bf16",
    experts: ExpertShards | None = None,
) -> list[Operation]:
    """Every operation of one step of `shape` on one of `tp` GPUs, in the order of first use.

    experts: where they are spread whole over the GPUs instead of being cut; then on the busiest GPU.

    Raises ModelError for an unknown dtype or a `tp` that does not divide the model.
    """
    operations = list(token_operations(model, shape.tokens, tp, weight_dtype, kv_dtype, experts))
    if model.sliding_layers:
        operations += _windowed_attention(model, shape, tp, kv_dtype)
    else:
        for new, context in shape.prefills:
            pairs = attention_pairs(new, context)
            operations.append(prefill_attention(model, new, context, pairs, tp, kv_dtype))
        if shape.decodes:
            operations.append(decode_attention(model, shape.decodes, shape.decode_context_tokens, tp, kv_dtype))
    if shape.sampled:
        operations.extend(sample_operations(model, shape.sampled, tp))
    return operations


def _windowed_attention(model: Model, shape: BatchShape, tp: int, kv_dtype: str) -> Iterator[Operation]:
    """Attention where some layers see a window: first of those that see all, then of those."""
    heads = Heads(model.heads_on_gpu(tp), model.kv_heads_on_gpu(tp), model.head_dim)
    full, sliding, window = model.full_layers, model.sliding_layers, model.sliding_window
    for new, context in shape.prefills:
        if full:
            yield heads.prefill(new, context, attention_pairs(new, context), kv_dtype, full)
        seen = window_seen(new, context, window)
        yield heads.prefill(new, seen.keys - new, seen.pairs, kv_dtype, sliding)
    if shape.decodes:
        if full:
            yield heads.decode(shape.decodes, shape.decode_context_tokens, kv_dtype, full)
        yield heads.decode(shape.decodes, shape.seen_in_window(window)[0], kv_dtype, sliding)


def token_operations(
    model: Model,
    tokens: Amount,
    tp: int = 1,
    weight_dtype: str = "bf16",
    kv_dtype: str = "bf16",
    experts: ExpertShards | None = None,
) -> Iterator[Operation]:
    """What depends on the number of rows alone: projections, MLP, norms, rotary, embedding, all-reduces."""
    model.check_tp(tp)
    layers, hidden, act = model.layers, model.hidden, ACTIVATION_BYTES
    q_width = model.heads_on_gpu(tp) * model.head_dim
    kv_width = model.kv_heads_on_gpu(tp) * model.head_dim
    qkv_width = q_width + 2 * kv_width

    if model.embeds:
        yield _elementwise("embedding", 1, tokens, read=hidden * act, write=hidden * act)
        if tp > 1:
            yield _all_reduce("embedding_reduce", 1, tokens * hidden * act, tp)
    norms = layers * model.norms_per_layer + model.samples
    # Fused residual add + norm: reads the block's output and the residual, writes the normed and the new one.
    yield _elementwise("norm", norms, tokens, read=2 * hidden * act, write=2 * hidden * act)
    yield gemm("qkv", layers, tokens, qkv_width, hidden, weight_dtype)
    if model.qk_norm:
        width = q_width + kv_width
        yield _elementwise("qk_norm", layers, tokens, read=width * act, write=width * act)
    if model.rotary:
        width = q_width + kv_width
        yield _elementwise("rotary", layers, tokens, read=width * act, write=width * act)
    stored = 2 * kv_width * kv_bytes_per_element(kv_dtype)
    yield _elementwise("kv_write", layers, tokens, read=2 * kv_width * act, write=stored)
    yield gemm("o", layers, tokens, hidden, q_width, weight_dtype)
    if tp > 1:
        yield _all_reduce("attention_reduce", layers, tokens * hidden * act, tp)
    if model.dense_layers:
        yield from _mlp(model, "", model.dense_layers, tokens, model.intermediate // tp, weight_dtype)
    if model.moe_layers:
        yield from _mixture(model, tokens, tp, weight_dtype, experts)
    if tp > 1:
        yield _all_reduce("mlp_reduce", layers, tokens * hidden * act, tp)


def sample_operations(model: Model, rows: Amount, tp: int = 1) -> Iterator[Operation]:
    """LM head, gathering of its shards and sampling, for `rows` rows; bf16 under every weight format."""
    if not model.samples:
        return
    shard = -(-model.vocab // tp)
    yield gemm("lm_head", 1, rows, shard, model.hidden, "bf16")
    if tp > 1:
        payload = rows * shard * ACTIVATION_BYTES
        yield Operation("all_gather", "logits_gather", 1, 0, payload, payload * tp, comm_bytes=payload, ranks=tp)
    half = SAMPLING_BYTES_PER_LOGIT // 2
    yield _elementwise("sampling", 1, rows, read=model.vocab * half, write=model.vocab * half)


def prefill_attention(
    model: Model, new_tokens: Amount, context_tokens: Amount, pairs: Amount, tp: int, kv_dtype: str
) -> Operation:
    """Causal attention of a prefill chunk (or the sum of several: all amounts add up)."""
    heads = Heads(model.heads_on_gpu(tp), model.kv_heads_on_gpu(tp), model.head_dim)
    return heads.prefill(new_tokens, context_tokens, pairs, kv_dtype, model.layers)


def decode_attention(model: Model, batch: Amount, context_tokens: Amount, tp: int, kv_dtype: str) -> Operation:
    """Attention of `batch` single queries over `context_tokens` keys in total, their own included."""
    heads = Heads(model.heads_on_gpu(tp), model.kv_heads_on_gpu(tp), model.head_dim)
    return heads.decode(batch, context_tokens, kv_dtype, model.layers)


class Heads(NamedTuple):
    """The attention of one layer on one GPU."""

    heads: int
    kv_heads: int
    head_dim: int

    def prefill(
        self, new_tokens: Amount, context_tokens: Amount, pairs: Amount, kv_dtype: str, times: int = 1
    ) -> Operation:
        """Causal attention of a chunk of new tokens after a context; pairs: of a query and a key it sees."""
        return self._attention("attention_prefill", times, new_tokens, context_tokens + new_tokens, pairs, kv_dtype,
                               new_tokens=new_tokens, context_tokens=context_tokens)  # fmt: skip

    def decode(self, batch: Amount, context_tokens: Amount, kv_dtype: str, times: int = 1) -> Operation:
        """Attention of `batch` single queries over `context_tokens` keys in total, their own included."""
        return self._attention("attention_decode", times, batch, context_tokens, context_tokens, kv_dtype,
                               batch=batch, context_tokens=context_tokens)  # fmt: skip

    def _attention(
        self, kind: str, times: int, rows: Amount, keys: Amount, pairs: Amount, kv_dtype: str, **places: Amount
    ) -> Operation:
        queries = rows * (self.heads * self.head_dim * ACTIVATION_BYTES)
        per_key = 2 * self.kv_heads * self.head_dim * kv_bytes_per_element(kv_dtype)
        return Operation(
            kind,
            kind,
            times,
            flops=pairs * (4 * self.heads * self.head_dim),
            read_bytes=queries + keys * per_key,
            write_bytes=queries,
            dtype=kv_dtype,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            batch=places.get("batch", 0),
            new_tokens=places.get("new_tokens", 0),
            context_tokens=places["context_tokens"],
        )


def distinct_experts(experts: int, experts_per_token: int, tokens: Amount) -> Amount:
    """Experts that at least one of `tokens` tokens picks, in expectation, if all are equally likely.

    E * (1 - (1 - k/E)^tokens). The power is taken by repeated squaring, with multiplications alone, so that
    every machine gets the same bits.
    """
    missed: Any = 1.0 + 0.0 * np.asarray(tokens)
    exponent = np.asarray(tokens, dtype=np.int64)
    base = 1.0 - experts_per_token / experts
    while exponent.any():
        missed = np.where(exponent & 1, missed * base, missed)
        base *= base
        exponent = exponent >> 1
    amount: Any = experts * (1.0 - missed)
    return amount if isinstance(tokens, np.ndarray) else float(amount)


def _mlp(model: Model, prefix: str, layers: int, tokens: Amount, width: int, weight_dtype: str) -> Iterator[Operation]:
    ups = 2 if model.gated_mlp else 1
    up = "gate_up" if model.gated_mlp else "up"
    act = ACTIVATION_BYTES
    yield gemm(prefix + up, layers, tokens, ups * width, model.hidden, weight_dtype)
    yield _elementwise(prefix + "activation", layers, tokens, read=ups * width * act, write=width * act)
    yield gemm(prefix + "down", layers, tokens, model.hidden, width, weight_dtype)


def _mixture(
    model: Model, tokens: Amount, tp: int, weight_dtype: str, shards: ExpertShards | None
) -> Iterator[Operation]:
    """Router, top-k, and every token through its experts: each cut along its width, or whole ones on each GPU."""
    layers, picks, act = model.moe_layers, model.experts_per_token, ACTIVATION_BYTES
    width = model.expert_intermediate // tp
    ups = 2 if model.gated_mlp else 1
    yield gemm("router", layers, tokens, model.experts, model.hidden, "bf16")
    yield _elementwise("top_k", layers, tokens, read=model.experts * act, write=picks * 8)
    if shards is None:
        yield _grouped(model, "experts_gate_up", tokens, ups * width, model.hidden, weight_dtype)
        up = picks * width * act
        yield _elementwise("experts_activation", layers, tokens, read=ups * up, write=up)
        yield _grouped(model, "experts_down", tokens, model.hidden, width, weight_dtype)
        rows = picks * model.hidden * act
        yield _elementwise("experts_sum", layers, tokens, read=rows, write=model.hidden * act)
    elif not shards.apart:
        yield from expert_operations(model, tokens, weight_dtype, shards)
    if model.shared_expert_intermediate:
        shared = model.shared_expert_intermediate // tp
        yield from _mlp(model, "shared_", layers, tokens, shared, weight_dtype)


def expert_operations(model: Model, tokens: Amount, weight_dtype: str, shards: ExpertShards) -> Iterator[Operation]:
    """The whole experts of the busiest GPU, for batches of `tokens` tokens on all GPUs together."""
    layers, act, hidden = model.moe_layers, ACTIVATION_BYTES, model.hidden
    rows: Any = shards.busiest_picks(model, tokens)
    own, width = model.experts // shards.ranks, model.expert_intermediate
    ups = 2 if model.gated_mlp else 1
    yield grouped_gemm("experts_gate_up", layers, rows, ups * width, hidden, own, 1, weight_dtype)
    yield _elementwise("experts_activation", layers, rows, read=ups * width * act, write=width * act)
    yield grouped_gemm("experts_down", layers, rows, hidden, width, own, 1, weight_dtype)
    # What a GPU's experts made of a token is one row, however many of them it went to.
    read, written = rows * (hidden * act), np.minimum(rows, tokens) * (hidden * act)
    yield Operation("elementwise", "experts_sum", layers, 0, read, written, m=rows, n=2 * hidden * act)


def gemm(name: str, times: int, m: Amount, n: int, k: int, weight_dtype: str) -> Operation:
    """m rows times a (k, n) matrix, stored in `weight_dtype`."""
    return Operation(
        "gemm",
        name,
        times,
        flops=m * (2 * n * k),
        read_bytes=n * k * weight_bytes_per_element(weight_dtype) + m * (k * ACTIVATION_BYTES),
        write_bytes=m * (n * ACTIVATION_BYTES),
        dtype=weight_dtype,
        compute=compute_dtype(weight_dtype),
        m=m,
        n=n,
        k=k,
    )


def _grouped(model: Model, name: str, tokens: Amount, n: int, k: int, weight_dtype: str) -> Operation:
    return grouped_gemm(name, model.moe_layers, tokens, n, k, model.experts, model.experts_per_token, weight_dtype)


def grouped_gemm(
    name: str, times: int, tokens: Amount, n: int, k: int, experts: int, experts_per_token: int, weight_dtype: str
) -> Operation:
    """Every token through `experts_per_token` of the experts' (k, n) matrices; which ones is random."""
    picks = experts_per_token
    touched = distinct_experts(experts, picks, tokens)
    return Operation(
        "grouped_gemm",
        name,
        times,
        flops=tokens * (2 * picks * n * k),
        read_bytes=touched * (n * k * weight_bytes_per_element(weight_dtype)) + tokens * (picks * k * ACTIVATION_BYTES),
        write_bytes=tokens * (picks * n * ACTIVATION_BYTES),
        dtype=weight_dtype,
        compute=compute_dtype(weight_dtype),
        m=tokens,
        n=n,
        k=k,
        experts=experts,
        experts_per_token=picks,
    )


def _elementwise(name: str, times: int, rows: Amount, *, read: int, write: int) -> Operation:
    """An op that reads `read` and writes `write` bytes per row; n is its bytes per row, for calibration."""
    return Operation("elementwise", name, times, 0, rows * read, rows * write, m=rows, n=read + write)


def _all_reduce(name: str, times: int, payload: Amount, tp: int) -> Operation:
    return Operation("all_reduce", name, times, 0, payload, payload, comm_bytes=payload, ranks=tp)
