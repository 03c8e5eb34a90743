"""From a curve of the table of points, and places on it, to the operation that was measured there."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.latency.points import COLUMNS, ELEMENTWISE, Key
from sim.models.operations import Heads, Operation, gemm, grouped_gemm

ATTENTION = ("attention_prefill", "attention_decode")
PRODUCTS = ("gemm", "grouped_gemm")
COLLECTIVES = ("all_reduce", "all_gather")


def key_of(op: Operation) -> Key:
    """The curve that an operation lies on. Raises ValueError for one that the table has no place for."""
    dtype = "bf16" if op.dtype == "fp16" else op.dtype
    if op.kind == "gemm":
        return ("gemm", dtype, str(op.n), str(op.k))
    if op.kind == "grouped_gemm":
        return ("grouped_gemm", dtype, str(op.n), str(op.k), str(op.experts), str(op.experts_per_token))
    if op.kind in ATTENTION:
        return (op.kind, dtype, str(op.heads), str(op.kv_heads), str(op.head_dim))
    if op.kind in COLLECTIVES:
        return (op.kind, str(op.ranks))
    if op.name not in ELEMENTWISE:
        raise ValueError(f"element-wise operation {op.name!r} has no place in the table of points")
    return (op.name,)


def axis_of(op: Operation) -> Any:
    """The place of an operation on a curve of one axis."""
    if op.kind in PRODUCTS:
        return op.m
    return op.comm_bytes if op.kind in COLLECTIVES else op.bytes


def has_roofline(op: str) -> bool:
    """Whether an op of the table is one that step times are made of (copies and launches are not)."""
    return op in (*PRODUCTS, *ATTENTION, *COLLECTIVES, *ELEMENTWISE)


def operation_at(key: Key, places: NDArray[Any]) -> Operation:
    """The operation of a curve at all of these places (one row each, one column per axis).

    Raises ValueError for an op without a roofline.
    """
    op, cells = key[0], key[1:]
    first = places[:, 0]
    if op == "gemm":
        return gemm(op, 1, first, int(cells[1]), int(cells[2]), cells[0])
    if op == "grouped_gemm":
        n, k, experts, picks = (int(cell) for cell in cells[1:])
        return grouped_gemm(op, 1, first, n, k, experts, picks, cells[0])
    if op in ATTENTION:
        heads, second = Heads(*(int(cell) for cell in cells[1:])), places[:, 1]
        if op == "attention_decode":
            return heads.decode(first, second * first, cells[0])
        return heads.prefill(first, second, first * second + first * (first + 1) / 2, cells[0])
    if not has_roofline(op):
        raise ValueError(f"{op} has no roofline")
    ranks = int(cells[0]) if op in COLLECTIVES else 1
    kind = op if op in COLLECTIVES else "elementwise"
    return Operation(kind, op, 1, 0, first, np.zeros_like(first), comm_bytes=first, ranks=ranks)


def split(key: Key) -> tuple[Key, tuple[float, ...]]:
    """(op and format, the numbers that tell the shape) of a curve; heads of attention count per KV head."""
    names = COLUMNS[key[0]].key
    numbers = [float(cell) for name, cell in zip(names, key[1:], strict=True) if name != "dtype"]
    if key[0] in ATTENTION:
        numbers[0] /= numbers[1]
    return key[: 1 + ("dtype" in names)], tuple(numbers)
