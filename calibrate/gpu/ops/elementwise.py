"""Norms, rotary, activations and the other operations that are bound by memory: fused in Triton, and in plain
torch.

Each is one row of the table below: how to make its inputs, run it fused, run it in torch, and what float32
says. In an engine the kernel before has just written the inputs, so a fused kernel is also timed `hot`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from calibrate.gpu.bench import BLOCK_SIZE, Bench, Candidate, poisoned, relative_error
from calibrate.gpu.planfile import PlanPoint
from calibrate.gpu.timing import Call

Tensors = dict[str, torch.Tensor]
_EPSILON = 1e-6
_CHECKED_ROWS = 37
_POSITIONS = 4096


@dataclass(frozen=True)
class _Op:
    """inputs: (bench, rows, detail, take) -> tensors; fused, plain: change or return tensors; want: in
    float32.

    `result` names the tensor that holds what the op makes; an op that returns it says "".
    """

    inputs: Callable[[Bench, int, PlanPoint], Tensors]
    plain: Callable[[Tensors], torch.Tensor | None]
    fused: Callable[[Tensors], torch.Tensor | None] | None
    want: Callable[[Tensors], torch.Tensor]
    result: str = ""


def candidates(point: PlanPoint, bench: Bench) -> list[Candidate]:
    """The op over as many rows as the plan says make up the point's bytes."""
    op = OPS[point.op]
    plain = _candidate(point, bench, op, op.plain, "torch", hot=False)
    if not (bench.cuda and bench.triton and op.fused is not None):
        return [plain]
    hot, cold = (
        _candidate(point, bench, op, op.fused, name, name == "triton_hot") for name in ("triton_hot", "triton")
    )
    return [hot, cold, replace(plain, fallback=True)]


def _candidate(
    point: PlanPoint,
    bench: Bench,
    op: _Op,
    run: Callable[[Tensors], torch.Tensor | None],
    name: str,
    hot: bool,
) -> Candidate:
    def prepare() -> Call:
        tensors = op.inputs(bench, point.number("rows"), point)
        return lambda: run(tensors)

    def check() -> float:
        tensors = op.inputs(bench, _CHECKED_ROWS, point)
        tensors = {key: value.clone() for key, value in tensors.items()}
        want = op.want(tensors)
        made = run(tensors)
        out = tensors[op.result] if op.result else made
        assert out is not None
        return relative_error(out, want)

    return Candidate(name, prepare, check, (point.op, name.removesuffix("_hot")), hot=hot)


def _embedding(bench: Bench, rows: int, point: PlanPoint) -> Tensors:
    width = point.number("width")
    vocabulary = max(1, min(32768, bench.arena_bytes // (4 * width)))
    return {
        "table": bench.random("bf16", vocabulary, width),
        "tokens": bench.integers(bench.rng.integers(vocabulary, size=rows), torch.int64),  # others each time
    }


def _norm(bench: Bench, rows: int, point: PlanPoint) -> Tensors:
    width = point.number("width")
    return {
        "x": bench.scratch("bf16", rows, width),
        "residual": bench.scratch("bf16", rows, width),
        "weight": bench.random("bf16", width),
    }


def _norm_plain(t: Tensors) -> None:
    t["residual"] += t["x"]
    t["x"].copy_(F.rms_norm(t["residual"], t["weight"].shape, t["weight"], _EPSILON))


def _norm_want(t: Tensors) -> torch.Tensor:
    total = t["x"].float() + t["residual"].float()
    return _rms(total) * t["weight"].float()


def _qkv(bench: Bench, rows: int, point: PlanPoint) -> Tensors:
    heads, kv_heads, dim = (point.number(name) for name in ("heads", "kv_heads", "head_dim"))
    blocks = -(-rows // BLOCK_SIZE)
    angles = bench.kept(("angles", dim), lambda: bench.normal("bf16", _POSITIONS, dim // 2).float())

    def positions() -> torch.Tensor:
        return bench.integers(bench.rng.integers(_POSITIONS, size=rows), torch.int64)

    def slots() -> torch.Tensor:
        return bench.integers(bench.rng.permutation(blocks * BLOCK_SIZE)[:rows], torch.int64)

    return {
        "qkv": bench.scratch("bf16", rows, heads + 2 * kv_heads, dim),
        "q_weight": bench.random("bf16", dim),
        "k_weight": bench.random("bf16", dim),
        "cos": bench.kept(("cos", dim), angles.cos),
        "sin": bench.kept(("sin", dim), angles.sin),
        "positions": bench.kept(("positions", rows), positions),
        "slots": bench.kept(("slots", rows), slots),
        "keys": bench.scratch("bf16", blocks, BLOCK_SIZE, kv_heads, dim),
        "values": bench.scratch("bf16", blocks, BLOCK_SIZE, kv_heads, dim),
    }


def _heads(t: Tensors) -> tuple[int, int]:
    kv_heads = t["keys"].shape[2]
    return t["qkv"].shape[1] - 2 * kv_heads, kv_heads


def _qk_norm_plain(t: Tensors) -> None:
    heads, kv_heads = _heads(t)
    for part, weight in (
        (t["qkv"][:, :heads], t["q_weight"]),
        (t["qkv"][:, heads : heads + kv_heads], t["k_weight"]),
    ):
        part.copy_(F.rms_norm(part, weight.shape, weight, _EPSILON))


def _qk_norm_want(t: Tensors) -> torch.Tensor:
    heads, kv_heads = _heads(t)
    qkv = t["qkv"].float()
    normed = _rms(qkv)
    q, k = (
        normed[:, :heads] * t["q_weight"].float(),
        normed[:, heads : heads + kv_heads] * t["k_weight"].float(),
    )
    return torch.cat((q, k, qkv[:, heads + kv_heads :]), 1)


def _rotary_plain(t: Tensors) -> None:
    turned = t["qkv"][:, : sum(_heads(t))]
    turned.copy_(_turned(turned, t))


def _rotary_want(t: Tensors) -> torch.Tensor:
    last = sum(_heads(t))
    qkv = t["qkv"].float()
    return torch.cat((_turned(qkv[:, :last], t), qkv[:, last:]), 1)


def _turned(x: torch.Tensor, t: Tensors) -> torch.Tensor:
    cos, sin = t["cos"][t["positions"]].unsqueeze(1), t["sin"][t["positions"]].unsqueeze(1)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def _write_plain(t: Tensors) -> None:
    heads, kv_heads = _heads(t)
    t["keys"].view(-1, *t["keys"].shape[2:])[t["slots"]] = t["qkv"][:, heads : heads + kv_heads]
    t["values"].view(-1, *t["keys"].shape[2:])[t["slots"]] = t["qkv"][:, heads + kv_heads :]


def _write_want(t: Tensors) -> torch.Tensor:
    heads, kv_heads = _heads(t)
    want = t["keys"].float().view(-1, *t["keys"].shape[2:])
    want[t["slots"]] = t["qkv"][:, heads : heads + kv_heads].float()
    return want.view(t["keys"].shape)


def _activation(bench: Bench, rows: int, point: PlanPoint) -> Tensors:
    picks = point.detail.get("picks", 1)
    width = point.number("width")
    return {
        "x": bench.random("bf16", rows * picks, 2 * width),
        "out": poisoned(rows * picks, width, device=bench.device),
    }


def _activation_plain(t: Tensors) -> None:
    gate, up = t["x"].chunk(2, dim=-1)
    torch.mul(F.silu(gate), up, out=t["out"])


def _activation_want(t: Tensors) -> torch.Tensor:
    gate, up = t["x"].float().chunk(2, dim=-1)
    return F.silu(gate) * up


def _sum(bench: Bench, rows: int, point: PlanPoint) -> Tensors:
    picks, width = point.number("picks"), point.number("width")
    return {
        "x": bench.random("bf16", rows, picks, width),
        "weights": bench.kept(("weights", rows), lambda: torch.rand(rows, picks, device=bench.device)),
        "out": poisoned(rows, width, device=bench.device),
    }


def _sum_plain(t: Tensors) -> None:
    torch.sum(t["x"] * t["weights"].unsqueeze(-1).to(t["x"].dtype), 1, out=t["out"])


def _top_k(bench: Bench, rows: int, point: PlanPoint) -> Tensors:
    picks = point.number("picks")
    return {
        "logits": bench.random("bf16", rows, point.number("experts")),
        "weights": poisoned(rows, picks, device=bench.device, dtype=torch.float32),
        "experts": bench.integers(torch.full((rows, picks), -1)),
    }


def _top_k_plain(t: Tensors) -> None:
    best, experts = t["logits"].float().topk(t["weights"].shape[1], dim=-1)
    t["weights"].copy_(best.softmax(-1))
    t["experts"].copy_(experts)


def _rms(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + _EPSILON)


def _fused(name: str, *arguments: str) -> Callable[[Tensors], None]:
    """A kernel of calibrate.gpu.kernels.rows, its arguments by name; Triton is imported at the first run."""

    def run(t: Tensors) -> None:
        from calibrate.gpu.kernels import rows

        getattr(rows, name)(*(t[argument] for argument in arguments))

    return run


def _fused_on_heads(name: str, *arguments: str, turned: bool = False, both: bool = False) -> Callable[[Tensors], None]:
    def run(t: Tensors) -> None:
        from calibrate.gpu.kernels import rows

        heads, kv_heads = _heads(t)
        counts = (heads + kv_heads,) if turned else (heads, kv_heads) if both else (heads,)
        getattr(rows, name)(*(t[argument] for argument in arguments), *counts)

    return run


_ACTIVATION = _Op(_activation, _activation_plain, _fused("silu_mul", "out", "x"), _activation_want, "out")

OPS: dict[str, _Op] = {
    "embedding": _Op(
        _embedding,
        lambda t: F.embedding(t["tokens"], t["table"]),
        None,
        lambda t: t["table"].float()[t["tokens"]],
    ),
    "norm": _Op(_norm, _norm_plain, _fused("add_rms_norm", "x", "residual", "weight"), _norm_want, "x"),
    "qk_norm": _Op(
        _qkv,
        _qk_norm_plain,
        _fused_on_heads("head_rms_norm", "qkv", "q_weight", "k_weight", both=True),
        _qk_norm_want,
        "qkv",
    ),
    "rotary": _Op(
        _qkv,
        _rotary_plain,
        _fused_on_heads("rotary", "qkv", "cos", "sin", "positions", turned=True),
        _rotary_want,
        "qkv",
    ),
    "kv_write": _Op(
        _qkv, _write_plain, _fused_on_heads("write_kv", "keys", "values", "qkv", "slots"), _write_want, "keys"
    ),
    "activation": _ACTIVATION,
    "experts_activation": _ACTIVATION,
    "shared_activation": _ACTIVATION,
    "experts_sum": _Op(
        _sum,
        _sum_plain,
        _fused("weighted_sum", "out", "x", "weights"),
        lambda t: (t["x"].float() * t["weights"].unsqueeze(-1)).sum(1),
        "out",
    ),
    "top_k": _Op(
        _top_k,
        _top_k_plain,
        _fused("top_k", "weights", "experts", "logits"),
        lambda t: t["logits"].float().topk(t["weights"].shape[1], dim=-1).values.softmax(-1),
        "weights",
    ),
}
