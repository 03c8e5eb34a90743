"""LLMServingSim's older profiles: Hugging Face modules one by one, in nanoseconds; FlashAttention in milliseconds.

layers.csv (and the single table of all models): `latency(ns)` of one module over `input` tokens, fp16. Projections
are not fused, the norm is eager code without the residual, the activation lacks its product with the up projection.
attention.csv looks like Vidur's, but its kv_cache_size counts otherwise: all keys that the kernel reads, of the whole
batch together, the chunk's own included.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from calibrate.importers.collection import Collection
from calibrate.importers.foreign import counts, numbers, read_table, truths
from sim.errors import ProfileError
from sim.models.model import Model
from sim.models.operations import decode_attention, prefill_attention, sample_operations, token_operations

_NS, _MS = 1e-9, 1e-3
_LATENCY = "latency(ns)"
_LAYER_COLUMNS = ("layer_name", "input", "kv_cache", _LATENCY)
_PARTS: dict[str, tuple[str, ...]] = {
    "embedding": ("embedding",),
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "rotary": ("rope",),
    "o": ("o_proj",),
    "gate_up": ("gate_proj", "up_proj"),
    "activation": ("act_fn",),
    "down": ("down_proj",),
    "lm_head": ("lm_head",),
}
"""Our operation -> the modules whose times add up to it."""
_NORMS = ("input_layernorm", "post_layernorm", "final_layernorm")
_ATTENTION_COLUMNS = (
    "n_q_head", "n_kv_head", "n_embd", "num_tensor_parallel_workers", "batch_size", "prefill_chunk_size",
    "kv_cache_size", "is_prefill", "time_stats.attn_prefill.median", "time_stats.attn_decode.median",
)  # fmt: skip


class OldBundle(NamedTuple):
    """One model's table of modules, and of attention if it has its own."""

    gpu: str
    label: str
    layers: Path
    attention: Path | None


def old_bundles(folder: Path) -> list[OldBundle]:
    """The bundles of both older layouts under a folder (or in a folder that is one)."""
    found = []
    for file in sorted(folder.rglob("layers.csv")):
        place = file.resolve().parent  # .../GPU/ORG/NAME/tpN
        if len(place.parents) < 3:
            raise ProfileError(f"{file}: must lie in a path GPU/ORG/MODEL/tpN, as LLMServingSim writes")
        label = f"{place.parents[1].name}/{place.parents[0].name}"
        attention = file.with_name("attention.csv")
        found.append(OldBundle(place.parents[2].name, label, file, attention if attention.is_file() else None))
    for file in sorted(folder.glob("*.csv")):
        if file.name == "layers.csv" or not _has_header(file, ("hardware", "model", *_LAYER_COLUMNS)):
            continue
        frame = read_table(file, ("hardware", "model"), "LLMServingSim")
        pairs = frame[["hardware", "model"]].astype(str).drop_duplicates()
        found += [OldBundle(gpu, label, file, None) for gpu, label in pairs.itertuples(index=False)]
    return found


def read_old(bundle: OldBundle, model: Model, out: Collection) -> None:
    """Add the points of one bundle of an older layout."""
    file = bundle.layers
    frame = read_table(file, _LAYER_COLUMNS, "LLMServingSim")
    out.opened(file)
    if "model" in frame.columns:
        mine = (frame["model"].astype(str) == bundle.label) & (frame["hardware"].astype(str) == bundle.gpu)
        frame = frame[mine.to_numpy()]
    degrees = counts(frame, file, "tp_size") if "tp_size" in frame.columns else np.ones(len(frame), int)
    for tp in sorted(set(degrees.tolist())):
        _read_layers(file, frame[degrees == tp], model, int(tp), bundle.attention is None, out)
    if bundle.attention is not None:
        _read_attention(bundle.attention, model, out)
    out.note("LLMServingSim's older tables are in fp16; they count as bf16 (one size, one speed).")
    out.note("qkv and gate_up: the sum of separate products; an engine that fuses them is faster at few tokens.")
    out.note("norm, rotary, activation: eager Hugging Face code, slower than an engine's fused kernels.")
    out.note("norm: the addition of the residual is not in the source, so its time is missing.")


def _read_layers(file: Path, frame: pd.DataFrame, model: Model, tp: int, attention_too: bool, out: Collection) -> None:
    fresh = counts(frame, file, "kv_cache") == 0
    tokens, times = counts(frame, file, "input"), numbers(frame, file, _LATENCY) * _NS
    layers = frame["layer_name"].astype(str).to_numpy()
    table = pd.DataFrame({"layer": layers, "tokens": tokens, "s": times})[fresh]
    wide = table.pivot_table(index="tokens", columns="layer", values="s", aggfunc="median").sort_index()
    rows = wide.index.to_numpy(dtype=np.int64)
    ours = {op.name: op for op in token_operations(model, rows, tp)}
    ours |= {op.name: op for op in sample_operations(model, rows, tp)}
    for name, parts in _PARTS.items():
        if name in ours and set(parts) <= set(wide.columns):
            total: Any = wide[list(parts)].sum(axis=1, min_count=len(parts)).to_numpy()
            out.add_operation(ours[name], total, " + ".join(parts), file)
    norms = [name for name in _NORMS if name in wide.columns]
    for name in norms:
        out.add_operation(ours["norm"], wide[name].to_numpy(dtype=np.float64), name, file)
    read = {part for name, parts in _PARTS.items() if name in ours for part in parts} | set(norms)
    if attention_too:
        read.add("attn")
        _add_attention(file, layers == "attn", tokens, counts(frame, file, "kv_cache"), times, model, tp, out)
    for layer in sorted(set(layers) - read):
        out.skip(file.name, f"{layer!r}: {_why_not(layer)}", int((layers == layer).sum()))
    unread = ~fresh & ~(layers == "attn" if attention_too else np.zeros(len(layers), bool))
    out.skip(file.name, "modules after a KV cache: the same as without", int(unread.sum()))


def _why_not(layer: str) -> str:
    if layer == "attn":
        return "attention.csv has it for more shapes"
    if layer.startswith("expert"):
        return "one expert alone; what the product of all chosen experts takes is not told"
    return "not an operation of ours"


def _add_attention(
    file: Path, attn: Any, tokens: Any, before: Any, times: Any, model: Model, tp: int, out: Collection
) -> None:
    """From the table of modules: prompts without context, and single queries of a batch of one."""
    prompt, query = attn & (before == 0), attn & (before > 0) & (tokens == 1)
    out.skip(file.name, "'attn' of several tokens after a KV cache", int((attn & ~prompt & ~query).sum()))
    if prompt.any():
        out.add_operation(
            prefill_attention(model, tokens[prompt], before[prompt], 0, tp, "bf16"), times[prompt], "attn", file
        )
    if query.any():
        out.add_operation(
            decode_attention(model, tokens[query], before[query] + 1, tp, "bf16"), times[query], "attn", file
        )


def _read_attention(file: Path, model: Model, out: Collection) -> None:
    frame = read_table(file, _ATTENTION_COLUMNS, "LLMServingSim")
    if "block_size" in frame.columns:
        raise ProfileError(f"{file}: has the column 'block_size', so Vidur wrote it; import it with --from vidur")
    out.opened(file)
    heads, kv_heads = counts(frame, file, "n_q_head"), counts(frame, file, "n_kv_head")
    if (heads != model.heads).any() or (kv_heads != model.kv_heads).any():
        raise ProfileError(
            f"{file}: has {heads[0]} heads and {kv_heads[0]} KV heads, {model.name} has {model.heads} and "
            f"{model.kv_heads}; name the right model with --model"
        )
    degrees, prefill = counts(frame, file, "num_tensor_parallel_workers"), truths(frame, file, "is_prefill")
    batch, chunk = counts(frame, file, "batch_size"), counts(frame, file, "prefill_chunk_size")
    keys = counts(frame, file, "kv_cache_size")
    short = prefill & (keys < chunk)
    out.skip(file.name, "fewer keys than queries", int(short.sum()))
    few = ~prefill & (keys < batch)
    out.skip(file.name, "decode with less than one key per request", int(few.sum()))
    for tp in sorted(set(degrees.tolist())):
        one, many = prefill & ~short & (degrees == tp), ~prefill & ~few & (degrees == tp)
        if one.any():
            times = numbers(frame, file, "time_stats.attn_prefill.median")[one] * _MS
            out.add_operation(
                prefill_attention(model, chunk[one], keys[one] - chunk[one], 0, tp, "bf16"), times, "attn_prefill", file
            )
        if many.any():
            times = numbers(frame, file, "time_stats.attn_decode.median")[many] * _MS
            each = keys[many] // batch[many]
            out.add_operation(
                decode_attention(model, batch[many], each * batch[many], tp, "bf16"), times, "attn_decode", file
            )


def _has_header(file: Path, columns: Sequence[str]) -> bool:
    try:
        with file.open(encoding="utf-8") as stream:
            header = stream.readline()
    except (OSError, UnicodeDecodeError):
        return False
    return set(columns) <= {cell.strip() for cell in header.split(",")}
