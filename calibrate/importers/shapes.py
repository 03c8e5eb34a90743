"""Where an operation of a model stands in the table of points, and how long the base device would take for it."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.hardware import Profile
from sim.latency import roofline
from sim.latency.points import ELEMENTWISE, Key
from sim.models.dtypes import ACTIVATION_BYTES, compute_dtype, weight_bytes_per_element
from sim.models.model import Model
from sim.models.operations import Operation, decode_attention, distinct_experts, prefill_attention
from sim.models.shape import attention_pairs

Array = NDArray[np.float64]


class Curve(NamedTuple):
    """A curve of the table: its op with key cells, and places on its axes (one column per axis)."""

    key: Key
    places: Array


def curve_of(operation: Operation) -> Curve:
    """The curve and the places of an operation whose amounts are numbers or arrays."""
    op = operation
    dtype = "bf16" if op.dtype == "fp16" else op.dtype
    if op.kind == "gemm":
        return Curve(("gemm", dtype, str(op.n), str(op.k)), _columns(op.m))
    if op.kind == "grouped_gemm":
        cells = (str(op.n), str(op.k), str(op.experts), str(op.experts_per_token))
        return Curve(("grouped_gemm", dtype, *cells), _columns(op.m))
    if op.kind in ("attention_prefill", "attention_decode"):
        key = (op.kind, dtype, str(op.heads), str(op.kv_heads), str(op.head_dim))
        if op.kind == "attention_prefill":
            return Curve(key, _columns(op.new_tokens, op.context_tokens))
        return Curve(key, _columns(op.batch, np.asarray(op.context_tokens) / np.asarray(op.batch)))
    if op.kind in ("all_reduce", "all_gather"):
        return Curve((op.kind, str(op.ranks)), _columns(op.comm_bytes))
    return Curve((op.name,), _columns(op.bytes))


def roofline_s(key: Key, places: Array, base: Profile) -> Array:
    """Seconds of one run at these places of a curve on `base`: its derated roofline, kernel latency included."""
    return np.asarray(roofline.seconds(operation_at(key, places), base), dtype=np.float64)


def ideal_s(key: Key, places: Array, base: Profile) -> Array:
    """The same at the full datasheet peaks and without the kernel latency: what no kernel can beat from memory."""
    shares = {name: 1.0 for name in type(base.derates).__dataclass_fields__}
    full = replace(base, derates=type(base.derates)(**shares))
    return np.asarray(roofline.roof(operation_at(key, places), full), dtype=np.float64)


def operation_at(key: Key, places: Array) -> Operation:
    """The operation of a curve at all of its places: the inverse of `curve_of`."""
    op, cells = key[0], key[1:]
    first = places[:, 0]
    if op == "gemm":
        return _product(op, cells[0], int(cells[1]), int(cells[2]), first, 1.0, 1)
    if op == "grouped_gemm":
        n, k, experts, picks = (int(cell) for cell in cells[1:])
        touched = distinct_experts(experts, picks, first.astype(np.int64))
        grouped = _product(op, cells[0], n, k, first, touched, picks)
        return replace(grouped, experts=experts, experts_per_token=picks)
    if op in ("attention_prefill", "attention_decode"):
        heads, kv_heads, head_dim = (int(cell) for cell in cells[1:])
        model = attention_model(heads, kv_heads, head_dim)
        second = places[:, 1]
        if op == "attention_decode":
            return decode_attention(model, first, second * first, 1, cells[0])
        pairs: Any = attention_pairs(first.astype(np.int64), second.astype(np.int64))  # type: ignore[arg-type]
        return prefill_attention(model, first, second, pairs, 1, cells[0])
    if op in ("all_reduce", "all_gather"):
        return Operation(op, op, 1, 0, first, first, comm_bytes=first, ranks=int(cells[0]))
    return Operation("elementwise", op, 1, 0, first, 0 * first)


def has_roofline(op: str) -> bool:
    """Whether the latency model has a roofline for this op of the table (copies and launches have none)."""
    products = ("gemm", "grouped_gemm", "attention_prefill", "attention_decode", "all_reduce", "all_gather")
    return op in products or op in ELEMENTWISE


def attention_model(heads: int, kv_heads: int, head_dim: int) -> Model:
    """A model of one layer, for its attention alone."""
    return Model(
        "attention", "none", 1, heads * head_dim, heads, kv_heads, head_dim, intermediate=1, vocab=1, max_position=1
    )


def _product(kind: str, dtype: str, n: int, k: int, m: Array, matrices: Any, picks: int) -> Operation:
    rows = m * picks
    return Operation(
        kind,
        kind,
        1,
        flops=rows * (2.0 * n * k),
        read_bytes=matrices * (n * k * weight_bytes_per_element(dtype)) + rows * (k * ACTIVATION_BYTES),
        write_bytes=rows * (n * ACTIVATION_BYTES),
        dtype=dtype,
        compute=compute_dtype(dtype),
        m=m,
        n=n,
        k=k,
    )


def _columns(*axes: Any) -> Array:
    shaped = np.broadcast_arrays(*(np.atleast_1d(np.asarray(axis, dtype=np.float64)) for axis in axes))
    return np.stack(shaped, axis=1)
