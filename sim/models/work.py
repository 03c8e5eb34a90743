"""FLOPs and bytes of many steps at once, from the columns of the `steps` table."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.models.model import Model
from sim.models.operations import decode_attention, prefill_attention, sample_operations, token_operations


class Windowed(NamedTuple):
    """What attention in one kind of layers reads: the sums that `flops_and_bytes` asks for."""

    context_tokens: ArrayLike
    attention_pairs: ArrayLike
    prefill_context_tokens: ArrayLike


def flops_and_bytes(
    model: Model,
    *,
    steps: ArrayLike,
    prefill_tokens: ArrayLike,
    decodes: ArrayLike,
    sampled: ArrayLike,
    context_tokens: ArrayLike,
    attention_pairs: ArrayLike,
    prefill_context_tokens: ArrayLike,
    window: Windowed | None = None,
    tp: int = 1,
    weight_dtype: str = "bf16",
    kv_dtype: str = "bf16",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(flops, bytes) per row of the `steps` table, on one of `tp` GPUs: sums of the operation lists, exactly.

    steps: like steps in the row. Per step: prefill_tokens, decodes, sampled. Summed over the row:
    context_tokens (KV read by decodes, new tokens included), attention_pairs and prefill_context_tokens (KV
    tokens that lie before the prefill chunks; the chunks' own tokens are added here). Padding rows are no
    useful work and are not counted. `window`: the same sums as layers with a window see them, if there are any.
    """
    count = np.asarray(steps, dtype=np.float64)
    new_tokens = np.asarray(prefill_tokens, dtype=np.float64)
    batch = np.asarray(decodes, dtype=np.float64)
    rows = np.asarray(sampled, dtype=np.float64)
    flops: Any = np.zeros(np.shape(count))
    moved: Any = np.zeros(np.shape(count))
    for operation in token_operations(model, new_tokens + batch, tp, weight_dtype, kv_dtype):
        flops = flops + operation.flops * (operation.times * count)
        moved = moved + operation.bytes * (operation.times * count)
    for operation in sample_operations(model, rows, tp):
        asked = np.where(rows > 0, operation.times * count, 0.0)  # no rows: the LM head does not run
        flops = flops + operation.flops * asked
        moved = moved + operation.bytes * asked
    everything = Windowed(context_tokens, attention_pairs, prefill_context_tokens)
    for seen, layers in ((everything, model.full_layers), (window or everything, model.sliding_layers)):
        if not layers:
            continue
        pairs = np.asarray(seen.attention_pairs, dtype=np.float64)
        before = np.asarray(seen.prefill_context_tokens, dtype=np.float64)
        read = np.asarray(seen.context_tokens, dtype=np.float64)
        for operation in (
            prefill_attention(model, new_tokens * count, before, pairs, tp, kv_dtype),
            decode_attention(model, batch * count, read, tp, kv_dtype),
        ):
            flops = flops + operation.flops * layers
            moved = moved + operation.bytes * layers
    return flops, moved
