"""What to measure: from models to the plan file that the measuring part reads.

Every curve gets points in levels, from coarse to fine, so that a measurement may stop anywhere and leave
something usable, and a rank, so that what matters most comes first. A fifth of each curve's points is held
out, chosen by a hash of the shape before anything is measured: along one axis, points of the grid that are
not its ends; over two axes, further points off the grid.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from calibrate.gpu.planfile import DEFAULT, FORMAT
from sim.errors import ModelError
from sim.latency.points import COLUMNS
from sim.models import builtin_names, load
from sim.models.model import Model
from sim.models.operations import (
    SAMPLING_BYTES_PER_LOGIT,
    Operation,
    decode_attention,
    sample_operations,
    token_operations,
)

TENSOR_PARALLEL = (1, 2, 4, 8)
WEIGHT_DTYPES = ("bf16", "fp8")
KV_DTYPES = ("bf16", "fp8")

# Matrix products: rows at powers of two; between them; where tiles (64, 128, 256) begin and end; dense.
_M_LEVELS = (
    (1, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384),
    (2, 4, 8, 32, 48, 96, 192, 384, 768, 1536, 3072, 6144, 12288),
    (24, 40, 80, 112, 160, 224, 320, 448, 640, 896, 1280, 1792, 2560, 3584, 5120, 7168, 10240, 14336,
     17, 33, 65, 129, 257, 513, 1025, 2049, 4097),
    (56, 72, 88, 104, 120, 144, 176, 208, 240, 272, 288, 352, 416, 480, 576, 704, 832, 960,
     *range(1088, 2048, 64), *range(2176, 4096, 128), *range(4352, 8192, 256), *range(8704, 16384, 512)),
)  # fmt: skip
_GROUPED_LEVELS = (
    (1, 8, 32, 128, 512, 2048, 8192),
    (2, 4, 16, 64, 256, 1024, 4096, 16384),
    (24, 48, 96, 192, 384, 768, 1536, 3072, 6144, 12288),
)
_ROW_LEVELS = (
    (1, 16, 128, 1024, 4096, 16384),
    (4, 32, 64, 256, 512, 2048, 8192),
    (2, 8, 24, 48, 96, 192, 384, 768, 1536, 3072, 6144, 12288),
)
_SAMPLED_LEVELS = ((1, 8, 64, 256), (2, 4, 16, 32, 128, 512), (24, 48, 96, 192, 384, 1024))
_NEW_LEVELS = ((128, 512, 2048, 8192), (32, 256, 1024, 4096), (16, 64, 768, 1536, 3072, 16384))
_BEFORE_LEVELS = ((0, 2048), (1024, 8192), (512, 4096, 16384, 32768))
_BATCH_LEVELS = ((1, 8, 32, 128), (4, 16, 64, 256), (2, 24, 48, 96, 192, 512))
_CONTEXT_LEVELS = ((128, 1024, 4096), (512, 2048, 16384), (64, 256, 8192, 32768, 131072))
_BYTE_LEVELS = (
    tuple(4**i for i in range(5, 15)),  # 1 KiB to 256 MiB
    tuple(2 * 4**i for i in range(5, 14)),
    tuple(3 * 4**i for i in range(5, 14)),
)
_KERNEL_LEVELS = ((1, 30, 300), (10, 100, 1000), (3, 600))
_GENERIC = (1024, 4096, 16384)
_GENERIC_FINE = (512, 1024, 2048, 4096, 8192, 16384, 32768)
_GENERIC_RANK = 20
"""Shapes of no model come in between, as the models that few people run may well be of another shape."""
_LOGIT_ROWS = 1024
"""LM heads run for the sequences of a step, not for its tokens."""
_LAYER_KV_BYTES = 3 * 2**30
"""No GPU of today holds more keys and values of one layer than that."""
_LONGEST_PREFILL = 49152
_FITTING_BYTES = 72e9
"""Models whose share is larger come last: they do not fit an 80 GB GPU."""
# The models that most people ask about come first.
_FIRST = (
    "llama-3.1-8b", "llama-2-7b", "qwen3-8b", "mixtral-8x7b", "llama-3.1-70b", "llama-2-70b", "codellama-34b",
    "qwen2.5-7b", "mistral-7b", "llama-2-13b", "qwen3-32b", "qwen3-30b-a3b",
)  # fmt: skip


@dataclass(frozen=True)
class Scope:
    """What a plan covers; the limits keep it small for small models and machines."""

    tensor_parallel: Sequence[int] = TENSOR_PARALLEL
    weight_dtypes: Sequence[str] = WEIGHT_DTYPES
    kv_dtypes: Sequence[str] = KV_DTYPES
    max_tokens: int = 16384
    max_context_tokens: int = 131072
    max_batch: int = 512
    max_copy_bytes: int = 2**28
    generic: bool = True


@dataclass
class _Curve:
    op: str
    fixed: dict[str, Any]
    axes: tuple[str, ...]
    rank: int
    how: tuple[str, ...] = ()
    points: dict[tuple[int, ...], int] = field(default_factory=dict)
    """place on the axes, then how to reach it -> level"""
    tests: dict[tuple[int, ...], int] = field(default_factory=dict)
    """held-out places off the grid -> level"""

    @property
    def name(self) -> str:
        return json.dumps([self.op, sorted(self.fixed.items())])


def default_plan() -> dict[str, Any]:
    """The plan that ships: all built-in models on 1, 2, 4 and 8 GPUs."""
    return make_plan([load(name) for name in ordered_builtins()], Scope())


def ordered_builtins() -> list[str]:
    """The built-in models, those that most people ask about first."""
    names = builtin_names()
    return [name for name in _FIRST if name in names] + [name for name in names if name not in _FIRST]


def make_plan(models: Sequence[Model], scope: Scope) -> dict[str, Any]:
    """A plan, as it stands in the file, for these models, the most important first.

    Raises ModelError if no model can be split over any of the scope's numbers of GPUs.
    """
    curves: dict[str, _Curve] = {}
    for curve in (*_machine_curves(scope), *_elementwise_curves(models, scope)):
        _add(curves, curve)
    shares = [(tp, model) for tp in scope.tensor_parallel for model in models if _splits(model, tp)]
    if not shares:
        splits = ", ".join(str(tp) for tp in scope.tensor_parallel)
        raise ModelError(f"none of the models can be split over {splits} GPUs; ask for another --tp")
    # Sorting is stable: by GPUs, then by model; those that do not fit come last.
    shares.sort(key=lambda share: share[1].weight_bytes("bf16", share[0]) > _FITTING_BYTES)
    for rank, (tp, model) in enumerate(shares, start=1):
        for curve in _model_curves(model, tp, rank, scope):
            _add(curves, curve)
    if scope.generic:
        for curve in _generic_curves(min(len(shares) + 1, _GENERIC_RANK), scope):
            _add(curves, curve)
    return {
        "format": FORMAT,
        "models": [model.name for model in models],
        "curves": [_written(curve) for curve in curves.values()],
    }


def write_plan(plan: dict[str, Any], file: Path) -> None:
    """Write a plan as .json.gz, or plain if the name says so; the same plan gives the same bytes."""
    text = json.dumps(plan, separators=(",", ":")).encode() + b"\n"
    temporary = file.with_name(file.name + ".part")
    temporary.write_bytes(gzip.compress(text, mtime=0) if file.suffix == ".gz" else text)
    os.replace(temporary, file)


def _splits(model: Model, tp: int) -> bool:
    try:
        model.check_tp(tp)
    except ModelError:
        return False
    return True


def _add(curves: dict[str, _Curve], curve: _Curve) -> None:
    """Keep a curve, or merge it with the one of its name: the more important rank, the coarser level."""
    known = curves.setdefault(curve.name, curve)
    known.rank = min(known.rank, curve.rank)
    for place, level in curve.points.items():
        known.points[place] = min(level, known.points.get(place, level))


def _model_curves(model: Model, tp: int, rank: int, scope: Scope) -> Iterable[_Curve]:
    for dtype in scope.weight_dtypes:
        for operation in token_operations(model, 1, tp, dtype):
            if operation.kind == "gemm":
                yield _gemm(operation, rank, scope.max_tokens)
            elif operation.kind == "grouped_gemm":
                yield _grouped(operation, rank, scope)
    lm_head = next(op for op in sample_operations(model, 1, tp) if op.kind == "gemm")
    yield _gemm(lm_head, rank, min(scope.max_tokens, _LOGIT_ROWS))
    for dtype in scope.kv_dtypes:
        one = decode_attention(model, 1, 1, tp, dtype)
        yield _prefill(one, rank, scope)
        yield _decode(one, rank, scope, 2 * one.kv_heads * one.head_dim * (1 if dtype == "fp8" else 2))


def _gemm(operation: Operation, rank: int, most: int) -> _Curve:
    fixed = {"dtype": operation.dtype, "n": operation.n, "k": operation.k}
    return _line("gemm", fixed, "m", rank, _M_LEVELS, most)


def _grouped(operation: Operation, rank: int, scope: Scope) -> _Curve:
    fixed = {name: getattr(operation, name) for name in COLUMNS["grouped_gemm"].key}
    return _line("grouped_gemm", fixed, "m", rank, _GROUPED_LEVELS, scope.max_tokens)


def _generic_curves(rank: int, scope: Scope) -> Iterable[_Curve]:
    """Matrix products of round sizes, so that models that nobody planned for are predicted."""
    coarse = (*_M_LEVELS[0], *_M_LEVELS[1])
    for dtype, n, k in product(scope.weight_dtypes, _GENERIC_FINE, _GENERIC_FINE):
        if n * k < 512 * 1024 or n * k > 16384 * 16384:
            continue
        level = 0 if n in _GENERIC and k in _GENERIC else 1
        levels = ((),) * level + (coarse[: len(_M_LEVELS[0])], coarse[len(_M_LEVELS[0]) :], *_M_LEVELS[2:3])
        yield _line("gemm", {"dtype": dtype, "n": n, "k": k}, "m", rank, levels, scope.max_tokens)


def _prefill(one: Operation, rank: int, scope: Scope) -> _Curve:
    fixed = {name: getattr(one, name) for name in COLUMNS["attention_prefill"].key}
    curve = _Curve("attention_prefill", fixed, ("new_tokens", "context_tokens"), rank)
    longest = min(_LONGEST_PREFILL, scope.max_context_tokens)

    def fits(new: int, before: int) -> bool:
        return new <= scope.max_tokens and new + before <= longest

    return _grid(curve, _NEW_LEVELS, _BEFORE_LEVELS, fits)


def _decode(one: Operation, rank: int, scope: Scope, bytes_per_token: int) -> _Curve:
    fixed = {name: getattr(one, name) for name in COLUMNS["attention_decode"].key}
    curve = _Curve("attention_decode", fixed, ("batch", "context_tokens"), rank)

    def fits(batch: int, context: int) -> bool:
        small = batch <= scope.max_batch and context <= scope.max_context_tokens
        return small and batch * context * bytes_per_token <= _LAYER_KV_BYTES

    return _grid(curve, _BATCH_LEVELS, _CONTEXT_LEVELS, fits)


def _elementwise_curves(models: Sequence[Model], scope: Scope) -> Iterable[_Curve]:
    """One curve per op over bytes, at the widths of the first model that has the op.

    The ends reach as far as any of the models goes: a single narrow row, and more rows than a step has.
    """
    first = models[0]
    mixture = next((model for model in models if model.moe_layers), None)
    heads = {"heads": first.heads, "kv_heads": first.kv_heads, "head_dim": first.head_dim}
    width = first.intermediate or first.expert_intermediate
    how: dict[str, dict[str, int]] = {
        "embedding": {"width": first.hidden},
        "norm": {"width": first.hidden},
        "qk_norm": heads,
        "rotary": heads,
        "kv_write": heads,
        "activation": {"width": width},
        "sampling": {"width": first.vocab},
    }
    if mixture is not None:
        picks = mixture.experts_per_token
        how["top_k"] = {"experts": mixture.experts, "picks": picks}
        how["experts_activation"] = {"width": mixture.expert_intermediate, "picks": picks}
        how["experts_sum"] = {"width": mixture.hidden, "picks": picks}
        how["shared_activation"] = {"width": mixture.shared_expert_intermediate or mixture.expert_intermediate}
    needed = _row_bytes(models, scope)
    for op, detail in how.items():
        levels, most = (_SAMPLED_LEVELS, scope.max_batch) if op == "sampling" else (_ROW_LEVELS, scope.max_tokens)
        row = row_bytes(op, detail)
        curve = _Curve(op, {}, ("bytes",), 0, ("rows", *detail))
        for level, counts in enumerate(levels):
            for rows in counts:
                if rows <= most:
                    curve.points[(rows * row, rows, *detail.values())] = level
        least, largest = needed.get(op, (row, row))
        for rows, size in ((1, least), (most, row), (-(-most * largest // row), row)):
            scaled = {name: max(1, value * size // row) for name, value in detail.items() if name in _SCALED}
            place = {**detail, **scaled}
            curve.points[(rows * row_bytes(op, place), rows, *place.values())] = 0
        yield curve


_SCALED = ("width", "kv_heads", "heads", "experts")


def _row_bytes(models: Sequence[Model], scope: Scope) -> dict[str, tuple[int, int]]:
    """op -> least and most bytes of one row, over the models and the ways to split them."""
    found: dict[str, list[int]] = {}
    for model, tp in product(models, scope.tensor_parallel):
        if not _splits(model, tp):
            continue
        for operation in (*token_operations(model, 1, tp), *sample_operations(model, 1, tp)):
            if operation.kind == "elementwise":
                found.setdefault(operation.name, []).append(operation.n)
    return {op: (min(sizes), max(sizes)) for op, sizes in found.items()}


def row_bytes(op: str, detail: Mapping[str, int]) -> int:
    """Bytes that one row of an element-wise op reads and writes, as sim/models/operations.py counts them."""
    width, picks = detail.get("width", 0), detail.get("picks", 1)
    if op in ("qk_norm", "rotary"):
        return 4 * (detail["heads"] + detail["kv_heads"]) * detail["head_dim"]
    if op == "kv_write":
        return 8 * detail["kv_heads"] * detail["head_dim"]
    if op == "top_k":
        return 2 * detail["experts"] + 8 * picks
    if op == "experts_sum":
        return 2 * width * (picks + 1)
    each = {"embedding": 4, "norm": 8, "sampling": SAMPLING_BYTES_PER_LOGIT}
    return each.get(op, 6) * width * picks


def _machine_curves(scope: Scope) -> Iterable[_Curve]:
    """What depends on no model: copies, launches, the host's share of a step, collectives."""
    sizes = [[size for size in level if size <= scope.max_copy_bytes] for level in _BYTE_LEVELS]
    for op in ("copy_d2d", "copy_h2d", "copy_d2h"):
        yield _line(op, {}, "bytes", 0, sizes)
    for op in ("launch_eager", "launch_graph"):
        yield _line(op, {}, "m", 0, _KERNEL_LEVELS)
    yield _line("host_step", {}, "m", 0, _SAMPLED_LEVELS, scope.max_batch)
    for ranks in scope.tensor_parallel:
        if ranks > 1:
            yield _line("all_reduce", {"ranks": ranks}, "bytes", 0, sizes)
            yield _line("all_gather", {"ranks": ranks}, "bytes", 0, sizes)
    if max(scope.tensor_parallel) > 1:
        yield _line("send_recv", {}, "bytes", 0, sizes)


def _line(
    op: str,
    fixed: dict[str, Any],
    axis: str,
    rank: int,
    levels: Sequence[Sequence[int]],
    most: int | None = None,
) -> _Curve:
    """A curve over one axis, up to `most`; its end is always measured, and coarsely."""
    curve = _Curve(op, fixed, (axis,), rank)
    for level, places in enumerate(levels):
        for place in places:
            if most is None or place <= most:
                curve.points[(place,)] = level
    if most is not None and (most,) not in curve.points:
        curve.points[(most,)] = min(curve.points.values(), default=0)
    return curve


def _grid(curve: _Curve, firsts: Sequence[Any], seconds: Sequence[Any], fits: Any) -> _Curve:
    """Every pair that fits, at the finer of its two levels; and test points off the grid, a fifth of all."""
    for (i, some), (j, others) in product(enumerate(firsts), enumerate(seconds)):
        for first, second in product(some, others):
            if fits(first, second):
                curve.points[first, second] = max(i, j)
    for level in range(len(firsts)):
        own = [place for place, at in curve.points.items() if at == level]
        known = [place for place, at in curve.points.items() if at <= level]
        for number in range(round(len(own) / 4)):
            place = _off_grid(curve, known, own[_hash(curve, "near", level, number) % len(own)])
            if fits(*place) and place not in curve.points:
                curve.tests[place] = level
    return curve


def _off_grid(curve: _Curve, known: list[tuple[int, ...]], near: tuple[int, ...]) -> tuple[int, ...]:
    """A place between `near` and the next grid lines below it; on a line where the grid ends."""
    place = []
    for axis, value in enumerate(near):
        below = max((point[axis] for point in known if point[axis] < value), default=value)
        share = _hash(curve, "at", axis, near) % 1000 / 1000
        between = below + (value - below) * share
        place.append(round(between))
    if curve.op == "attention_prefill" and _hash(curve, "first", near) % 3 == 0:
        place[1] = 0  # the first chunk of a prompt is the usual one
    return tuple(place)


def _hash(curve: _Curve, *what: Any) -> int:
    return int.from_bytes(hashlib.sha256(repr((curve.name, what)).encode()).digest()[:8], "big")


def _held_out(curve: _Curve) -> set[tuple[int, ...]]:
    """A fifth of a line's points, but never its ends."""
    if len(COLUMNS[curve.op].axes) > 1:
        return set()
    inner = sorted(curve.points)[1:-1]
    inner.sort(key=lambda place: _hash(curve, place[0]))
    return set(inner[: round(len(curve.points) / 5)])


def _written(curve: _Curve) -> dict[str, Any]:
    out = _held_out(curve)
    rows = [[*place, level, int(place in out)] for place, level in curve.points.items()]
    rows += [[*place, level, 1] for place, level in curve.tests.items()]
    rows.sort()
    return {
        "op": curve.op,
        "rank": curve.rank,
        "fixed": curve.fixed,
        "axes": list(curve.axes),
        "how": list(curve.how),
        "points": rows,
    }


if __name__ == "__main__":
    write_plan(default_plan(), DEFAULT)
