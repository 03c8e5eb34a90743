"""LLMServingSim's profiles, of all three layouts (casys-kaist/LLMServingSim).

perf/GPU/MODEL/VARIANT/tpN/{dense,per_sequence,attention,moe}.csv (since 1.0 of its vLLM profiler): microseconds of
GPU work of one vLLM module. Here: the layout, the models, and which file belongs to which.
perf_models/GPU/MODEL/tpN/{layers,attention}.csv and the single table GPU.csv are read by `llmservingsim_old`.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from calibrate.importers.collection import Collection
from calibrate.importers.foreign import counts, numbers, one_of, read_table
from calibrate.importers.options import ImportOptions, find_model
from calibrate.importers.shapes import curve_of
from calibrate.importers.sources._llmservingsim_old import old_bundles, read_old
from sim.errors import ModelError, ProfileError
from sim.models.dtypes import KV_DTYPES, WEIGHT_DTYPES
from sim.models.model import Model
from sim.models.operations import (
    Operation,
    decode_attention,
    distinct_experts,
    prefill_attention,
    sample_operations,
    token_operations,
)

_US = 1e-6
_MODULES = {
    "embedding": "embedding",
    "final_layernorm": "norm",
    "qkv_proj": "qkv",
    "qk_norm": "qk_norm",
    "rotary_emb": "rotary",
    "o_proj": "o",
    "gate_up_proj": "gate_up",
    "act_fn": "activation",
    "down_proj": "down",
    "lm_head": "lm_head",
    "sampler": "sampling",
}
"""Its name of a vLLM module -> our operation."""


class _Bundle(NamedTuple):
    """The files of one model at one tensor-parallel degree."""

    folder: Path
    gpu: str
    label: str
    variant: str
    tp: int


def read(options: ImportOptions) -> Collection:
    """All points that LLMServingSim's tables under the folder hold, of one GPU.

    Raises ProfileError naming the file and the column for tables that are missing or not LLMServingSim's, if the
    folder holds several GPUs and the user chose none, and if none of its models is known.
    """
    out = Collection("LLMServingSim")
    folder = options.folder
    new = [_bundle(file.parent) for file in sorted(folder.rglob("dense.csv"))]
    old = old_bundles(folder)
    if not new and not old:
        raise ProfileError(
            f"{folder}: holds no profile of LLMServingSim (no tpN/dense.csv, no tpN/layers.csv, no table with the "
            f"column 'latency(ns)')"
        )
    both: list[Any] = [*new, *old]
    gpu = one_of([bundle.gpu for bundle in both], options.gpu, "GPU", "--gpu", folder)
    assert gpu is not None
    out.gpu = gpu
    new, old = [b for b in new if b.gpu == gpu], [b for b in old if b.gpu == gpu]
    known = _models({bundle.label for bundle in new} | {bundle.label for bundle in old}, options, out)
    for bundle in new:
        if bundle.label in known:
            _read_bundle(bundle, known[bundle.label], out)
    for older in old:
        if older.label in known:
            read_old(older, known[older.label], out)
    for file in sorted(folder.rglob("predictions/*.csv")):
        out.skip(str(file.relative_to(folder)), "whole file: predictions of a model, not measurements", 1)
    return out


def _models(labels: set[str], options: ImportOptions, out: Collection) -> dict[str, Model]:
    """Which model each label stands for; with one label and one given model, these two."""
    given = options.given_models()
    if len(labels) == 1 and len(given) == 1:
        return {next(iter(labels)): given[0]}
    found = {label: find_model(label, given) for label in sorted(labels)}
    for label, model in found.items():
        if model is None:
            why = "a model that was not asked for" if given else "no built-in model of that name"
            out.skip(label, f"whole model: {why} (--model path/to/config.json names one)", 1)
    known = {label: model for label, model in found.items() if model is not None}
    if not known:
        raise ProfileError(
            f"{options.folder}: none of its models ({', '.join(sorted(labels))}) is "
            f"{'among those of --model' if given else 'built in; name one with --model path/to/config.json'}"
        )
    return known


def _bundle(folder: Path) -> _Bundle:
    """What the path and meta.yaml say of a folder .../GPU/ORG/NAME/VARIANT/tpN."""
    match = re.fullmatch(r"tp(\d+)", folder.name)
    if not match:
        raise ProfileError(f"{folder}: dense.csv must lie in a folder called tp1, tp2, ...")
    variant = folder.resolve().parent
    if len(variant.parents) < 3:
        raise ProfileError(f"{folder}: must lie in a path GPU/ORG/MODEL/VARIANT/{folder.name}, as LLMServingSim writes")
    meta: Any = {}
    file = variant / "meta.yaml"
    if file.is_file():
        try:
            meta = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ProfileError(f"{file}: not readable as YAML ({error})") from error
    if not isinstance(meta, dict):
        raise ProfileError(f"{file}: must hold a mapping")
    label = str(meta.get("model") or f"{variant.parent.parent.name}/{variant.parent.name}")
    gpu = str(meta.get("hardware") or variant.parents[2].name)
    return _Bundle(folder, gpu, label, str(meta.get("variant") or variant.name), int(match[1]))


def _dtypes(variant: str) -> tuple[str, str] | None:
    """(weights, KV cache) of a variant such as bf16, bf16-kvfp8, fp8-kvfp8."""
    weight, _, cache = variant.partition("-kv")
    kv = cache or "bf16"
    return (weight, kv) if weight in WEIGHT_DTYPES and kv in KV_DTYPES else None


def _read_bundle(bundle: _Bundle, model: Model, out: Collection) -> None:
    dtypes = _dtypes(bundle.variant)
    if dtypes is None:
        out.skip(f"{bundle.label}/{bundle.variant}", "whole variant: no number format of ours", 1)
        return
    try:
        model.check_tp(bundle.tp)
    except ModelError as error:
        raise ProfileError(f"{bundle.folder}: {error}; is it the right model? name it with --model") from error
    weight, kv = dtypes
    for name, axis in (("dense", "tokens"), ("per_sequence", "sequences")):
        file = bundle.folder / f"{name}.csv"
        frame = read_table(file, ("layer", axis, "time_us"), "LLMServingSim")
        out.opened(file)
        rows = counts(frame, file, axis)
        ours = _operations(model, rows, bundle.tp, weight, kv, axis)
        _add_modules(file, frame, ours, out)
    _read_attention(bundle, model, kv, out)
    if (bundle.folder / "moe.csv").is_file():
        _read_moe(bundle, model, weight, out)
    for file in sorted(bundle.folder.glob("*.csv")):
        if file.stem not in ("dense", "per_sequence", "attention", "moe"):
            out.skip(file.name, "whole file: nothing of ours reads it", 1)


def _operations(model: Model, rows: Any, tp: int, weight: str, kv: str, axis: str) -> dict[str, Operation]:
    found = token_operations(model, rows, tp, weight, kv) if axis == "tokens" else sample_operations(model, rows, tp)
    return {op.name: op for op in found}


def _add_modules(file: Path, frame: pd.DataFrame, ours: dict[str, Operation], out: Collection) -> None:
    times = numbers(frame, file, "time_us") * _US
    layers = frame["layer"].astype(str)
    for layer in sorted(set(layers)):
        mine = (layers == layer).to_numpy()
        name = _MODULES.get(layer, "")
        if name not in ours:
            out.skip(file.name, f"{layer!r}: {_why_not(layer)}", int(mine.sum()))
            continue
        curve = curve_of(ours[name])
        out.add(curve.key, curve.places[mine], times[mine], layer, file)


def _why_not(layer: str) -> str:
    if layer == "layernorm":
        return "the mean of a norm with and one without residual; final_layernorm, always with, stands for our norm"
    return "not an operation of ours"


def _read_attention(bundle: _Bundle, model: Model, kv: str, out: Collection) -> None:
    file = bundle.folder / "attention.csv"
    frame = read_table(file, ("prefill_chunk", "n_decode", "kv_decode", "time_us"), "LLMServingSim")
    out.opened(file)
    if "layer" in frame.columns:
        other = (frame["layer"] != "attention").to_numpy()
        out.skip(file.name, "kernels beside the plain attention", int(other.sum()))
        frame = frame[~other]
    chunk, decodes = counts(frame, file, "prefill_chunk"), counts(frame, file, "n_decode")
    history, times = counts(frame, file, "kv_decode"), numbers(frame, file, "time_us") * _US
    before = _history(frame, file, chunk)
    mixed = (chunk > 0) & (decodes > 0)
    out.skip(file.name, "prefill and decode in one kernel: our steps add the two", int(mixed.sum()))
    verify = counts(frame, file, "decode_q_len") > 1 if "decode_q_len" in frame.columns else np.zeros(len(frame), bool)
    out.skip(file.name, "several query tokens per decode (speculative decoding)", int((verify & ~mixed).sum()))
    plain = ~mixed & ~verify
    several = plain & (chunk > 0) & (before < 0)
    out.skip(file.name, "several prefill chunks in one batch", int(several.sum()))
    one, many = plain & (chunk > 0) & ~several, plain & (decodes > 0)
    for rows, operation in (
        (one, prefill_attention(model, chunk[one], before[one], 0, bundle.tp, kv)),
        (many, decode_attention(model, decodes[many], decodes[many] * (history[many] + 1), bundle.tp, kv)),
    ):
        if rows.any():
            out.add_operation(operation, times[rows], "attention", file)
    out.included["kv_write"] = "attention (vLLM's attention module writes keys and values)"


def _history(frame: pd.DataFrame, file: Path, chunk: Any) -> Any:
    """KV tokens before the chunk: told as such (`kv_prefill`), or as the mean key length (`prefill_key`).

    The latter is history + chunk / 2; less than chunk / 2 means that several shorter chunks made up the batch.
    """
    if "kv_prefill" in frame.columns:
        return counts(frame, file, "kv_prefill")
    if "prefill_key" not in frame.columns:
        raise ProfileError(f"{file}: column 'kv_prefill' (or, in newer tables, 'prefill_key') is missing")
    return np.round(numbers(frame, file, "prefill_key") - chunk / 2.0)


def _read_moe(bundle: _Bundle, model: Model, weight: str, out: Collection) -> None:
    """The whole block, from router to sum."""
    file = bundle.folder / "moe.csv"
    frame = read_table(file, ("tokens", "activated_experts", "time_us"), "LLMServingSim")
    out.opened(file)
    if not model.moe_layers:
        raise ProfileError(f"{file}: {model.name} has no mixture of experts; name the right model with --model")
    if "ep" in frame.columns:
        spread = counts(frame, file, "ep") != 1
        out.skip(file.name, "experts spread over GPUs (ep > 1)", int(spread.sum()))
        frame = frame[~spread]
    tokens, active = counts(frame, file, "tokens"), numbers(frame, file, "activated_experts")
    times = numbers(frame, file, "time_us") * _US
    kept, blocks = [], []
    for count in sorted(set(tokens.tolist())):
        rows = np.flatnonzero(tokens == count)
        rows = rows[np.argsort(active[rows])]
        expected = float(distinct_experts(model.experts, model.experts_per_token, int(count)))
        # Half an expert of slack: the last grid point of few tokens is all their picks, a little over the mean.
        if not active[rows[0]] - 0.5 <= expected <= active[rows[-1]] + 0.5:
            out.skip(file.name, "too few numbers of active experts to tell the time at even load", len(rows))
            continue
        kept.append(count)
        blocks.append(float(np.interp(expected, active[rows], times[rows])))
    if not kept:
        return
    out.add_experts(
        np.array(kept, dtype=np.float64), np.array(blocks), model.hidden, model.expert_intermediate // bundle.tp,
        model.experts, model.experts_per_token, gated=model.gated_mlp, dtype=weight, source="moe", file=file,
    )  # fmt: skip
    out.included["top_k"] = "the mixture's products"
    out.note(
        "Mixtures: the block at the number of distinct experts that even load touches, linear between the measured "
        "numbers. It holds the router, whose product is counted once more: a few microseconds per layer."
    )
