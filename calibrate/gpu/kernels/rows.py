"""The element-wise operations of a decoder layer in Triton, each one kernel, as serving engines fuse them.

Shapes: x, residual, out (rows, width); qkv (rows, heads and key heads and value heads, head_dim); key and
value cache (blocks, block_size, kv_heads, head_dim); positions and slots (rows,) int64, the slot being block
* block_size + place in the block. Every function writes its result in place or into `out` and returns
nothing.
"""

import torch
import triton
import triton.language as tl


def add_rms_norm(x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6) -> None:
    """residual += x; x = weight * residual / rms(residual)."""
    rows, width = x.shape
    _add_rms_norm[(rows,)](x, residual, weight, eps, WIDTH=width, TILE=_power_of_2(width), num_warps=_warps(width))


def head_rms_norm(qkv: torch.Tensor, q_weight: torch.Tensor, k_weight: torch.Tensor, heads: int, kv_heads: int) -> None:
    """Every query and key head divided by its rms and weighted, in place; the value heads stay."""
    rows, _, head_dim = qkv.shape
    normed = heads + kv_heads
    dims = _power_of_2(head_dim)
    tile = _head_tile(normed, dims)
    _head_rms_norm[(rows, triton.cdiv(normed, tile))](
        qkv, q_weight, k_weight, 1e-6, qkv.stride(0), heads, normed,
        HEAD_DIM=head_dim, DIMS=dims, TILE=tile, num_warps=_warps(tile * dims),
    )  # fmt: skip


def rotary(qkv: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, positions: torch.Tensor, turned: int) -> None:
    """The first `turned` heads of each row turned by its position, in place (the halves of a head pair up).

    cosines, sines: (most positions, head_dim / 2).
    """
    rows, _, head_dim = qkv.shape
    half = head_dim // 2
    dims = _power_of_2(half)
    tile = _head_tile(turned, 2 * dims)
    _rotary[(rows, triton.cdiv(turned, tile))](
        qkv, cosines, sines, positions, qkv.stride(0), turned,
        HALF=half, DIMS=dims, TILE=tile, num_warps=_warps(tile * dims),
    )  # fmt: skip


def silu_mul(out: torch.Tensor, x: torch.Tensor) -> None:
    """out = silu(first half of x) * second half of x."""
    rows, width = out.shape
    tile = min(1024, _power_of_2(width))
    _silu_mul[(rows, triton.cdiv(width, tile))](out, x, width, TILE=tile, num_warps=_warps(tile))


def write_kv(
    key_cache: torch.Tensor, value_cache: torch.Tensor, qkv: torch.Tensor, slots: torch.Tensor, heads: int
) -> None:
    """The key and value heads of every row into its slot of the paged cache, in the cache's format."""
    rows, _, head_dim = qkv.shape
    width = key_cache.shape[2] * head_dim
    tile = min(1024, _power_of_2(width))
    _write_kv[(rows, triton.cdiv(width, tile))](
        key_cache, value_cache, qkv, slots, qkv.stride(0), heads * head_dim,
        WIDTH=width, TILE=tile, num_warps=_warps(tile),
    )  # fmt: skip


def weighted_sum(out: torch.Tensor, x: torch.Tensor, weights: torch.Tensor) -> None:
    """out = sum over picks of weights * x; x (rows, picks, width), weights (rows, picks) float32."""
    rows, picks, width = x.shape
    tile = min(1024, _power_of_2(width))
    _weighted_sum[(rows, triton.cdiv(width, tile))](
        out, x, weights, width, PICKS=picks, TILE=tile, num_warps=_warps(tile)
    )


def top_k(weights: torch.Tensor, experts: torch.Tensor, logits: torch.Tensor) -> None:
    """The likeliest experts of each row, likeliest first, and their softmax weights, made to sum to one.

    logits (rows, all experts); weights (rows, picks) float32; experts (rows, picks) int32.
    """
    rows, count = logits.shape
    picks = weights.shape[1]
    _top_k[(rows,)](
        weights, experts, logits, count, PICKS=picks, PICKS_PAD=_power_of_2(picks),
        TILE=_power_of_2(count), num_warps=1,
    )  # fmt: skip


def _warps(width: int) -> int:
    """Warps for a tile of that many numbers: eight per thread, at least one warp."""
    return max(1, min(16, _power_of_2(width) // 256))


def _head_tile(heads: int, dims: int) -> int:
    return max(1, min(_power_of_2(heads), 2048 // dims))


def _power_of_2(number: int) -> int:
    """The next power of two, as Triton's tiles need it."""
    return 1 << max(number - 1, 0).bit_length()


@triton.jit
def _add_rms_norm(
    x_ptr, residual_ptr, weight_ptr, eps, WIDTH: tl.constexpr, TILE: tl.constexpr
):  # fmt: skip
    base = tl.program_id(0).to(tl.int64) * WIDTH
    at = tl.arange(0, TILE)
    mask = at < WIDTH
    x = tl.load(x_ptr + base + at, mask=mask, other=0.0).to(tl.float32)
    x += tl.load(residual_ptr + base + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(residual_ptr + base + at, x.to(residual_ptr.dtype.element_ty), mask=mask)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, 0) / WIDTH + eps)
    weight = tl.load(weight_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(x_ptr + base + at, (x * scale * weight).to(x_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _head_rms_norm(
    x_ptr, q_weight_ptr, k_weight_ptr, eps, row_stride, heads, normed,
    HEAD_DIM: tl.constexpr, DIMS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) * TILE + tl.arange(0, TILE)
    dim = tl.arange(0, DIMS)
    mask = (head[:, None] < normed) & (dim[None, :] < HEAD_DIM)
    at = tl.program_id(0).to(tl.int64) * row_stride + head[:, None] * HEAD_DIM + dim[None, :]
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, 1) / HEAD_DIM + eps)
    in_head = dim < HEAD_DIM
    q_weight = tl.load(q_weight_ptr + dim, mask=in_head, other=0.0).to(tl.float32)
    k_weight = tl.load(k_weight_ptr + dim, mask=in_head, other=0.0).to(tl.float32)
    weight = tl.where(head[:, None] < heads, q_weight[None, :], k_weight[None, :])
    tl.store(x_ptr + at, (x * scale[:, None] * weight).to(x_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["position_ptr"])
def _rotary(
    x_ptr, cos_ptr, sin_ptr, position_ptr, row_stride, turned,
    HALF: tl.constexpr, DIMS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    head = tl.program_id(1) * TILE + tl.arange(0, TILE)
    dim = tl.arange(0, DIMS)
    position = tl.load(position_ptr + row)
    cos = tl.load(cos_ptr + position * HALF + dim, mask=dim < HALF, other=0.0).to(tl.float32)
    sin = tl.load(sin_ptr + position * HALF + dim, mask=dim < HALF, other=0.0).to(tl.float32)
    mask = (head[:, None] < turned) & (dim[None, :] < HALF)
    at = row.to(tl.int64) * row_stride + head[:, None] * (2 * HALF) + dim[None, :]
    first = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(x_ptr + at + HALF, mask=mask, other=0.0).to(tl.float32)
    kind = x_ptr.dtype.element_ty
    tl.store(x_ptr + at, (first * cos[None, :] - second * sin[None, :]).to(kind), mask=mask)
    tl.store(x_ptr + at + HALF, (second * cos[None, :] + first * sin[None, :]).to(kind), mask=mask)


@triton.jit
def _silu_mul(out_ptr, x_ptr, width, TILE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * TILE + tl.arange(0, TILE)
    mask = at < width
    gate = tl.load(x_ptr + row * 2 * width + at, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(x_ptr + row * 2 * width + width + at, mask=mask, other=0.0).to(tl.float32)
    value = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(out_ptr + row * width + at, value.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["slot_ptr"])
def _write_kv(
    k_cache_ptr, v_cache_ptr, qkv_ptr, slot_ptr, row_stride, key_offset,
    WIDTH: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    slot = tl.load(slot_ptr + row).to(tl.int64)
    at = tl.program_id(1) * TILE + tl.arange(0, TILE)
    mask = at < WIDTH
    source = qkv_ptr + row.to(tl.int64) * row_stride + key_offset + at
    kind = k_cache_ptr.dtype.element_ty
    k = tl.load(source, mask=mask, other=0.0)
    v = tl.load(source + WIDTH, mask=mask, other=0.0)
    tl.store(k_cache_ptr + slot * WIDTH + at, k.to(kind), mask=mask)
    tl.store(v_cache_ptr + slot * WIDTH + at, v.to(kind), mask=mask)


@triton.jit
def _weighted_sum(out_ptr, x_ptr, weight_ptr, width, PICKS: tl.constexpr, TILE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * TILE + tl.arange(0, TILE)
    mask = at < width
    acc = tl.zeros([TILE], tl.float32)
    for pick in tl.static_range(PICKS):
        weight = tl.load(weight_ptr + row * PICKS + pick)
        x = tl.load(x_ptr + (row * PICKS + pick) * width + at, mask=mask, other=0.0)
        acc += weight * x.to(tl.float32)
    tl.store(out_ptr + row * width + at, acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _top_k(
    weight_ptr, expert_ptr, logit_ptr, count,
    PICKS: tl.constexpr, PICKS_PAD: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, TILE)
    left = tl.load(logit_ptr + row * count + at, mask=at < count, other=float("-inf")).to(tl.float32)
    place = tl.arange(0, PICKS_PAD)
    best = tl.full([PICKS_PAD], float("-inf"), tl.float32)
    which = tl.zeros([PICKS_PAD], tl.int32)
    for pick in tl.static_range(PICKS):
        value = tl.max(left, 0)
        index = tl.min(tl.where(left == value, at, TILE), 0)
        best = tl.where(place == pick, value, best)
        which = tl.where(place == pick, index, which)
        left = tl.where(at == index, float("-inf"), left)
    weight = tl.exp(best - tl.max(best, 0))
    weight = weight / tl.sum(weight, 0)
    tl.store(weight_ptr + row * PICKS + place, weight, mask=place < PICKS)
    tl.store(expert_ptr + row * PICKS + place, which, mask=place < PICKS)
