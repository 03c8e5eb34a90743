"""Vidur's profiles: mlp.csv, attention.csv and the collectives (microsoft/vidur, data/profiling).

What its numbers mean, from its profiling code: `time_stats.OP.median` is the milliseconds of one kernel (or of the
kernels of one operation) on one GPU for one layer, in fp16, after the split over num_tensor_parallel_workers.
mlp_up_proj is gate and up in one product. The residual addition is a kernel of its own (`add`), beside the norms.
An attention row is either one prefill chunk of prefill_chunk_size tokens after kv_cache_size, or batch_size single
queries, each with kv_cache_size keys before its own. Collectives are in bytes of one rank's buffer.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibrate.importers.collection import Collection
from calibrate.importers.foreign import counts, numbers, one_of, read_table, truths
from calibrate.importers.options import ImportOptions
from calibrate.importers.sources._vidur_network import read_network
from sim.errors import ProfileError
from sim.models.dtypes import ACTIVATION_BYTES
from sim.models.model import Model
from sim.models.operations import Heads, Operation, token_operations

_MS = 1e-3
_SHAPE = ("n_head", "n_kv_head", "n_embd", "n_expanded_embd", "vocab_size", "use_gated_mlp")
_MLP_COLUMNS = (*_SHAPE, "num_tokens", "num_tensor_parallel_workers", "time_stats.attn_pre_proj.median")
_ATTENTION_SHAPE = ("n_q_head", "n_kv_head", "n_embd", "num_tensor_parallel_workers")
_ATTENTION_COLUMNS = (
    *_ATTENTION_SHAPE, "batch_size", "prefill_chunk_size", "kv_cache_size", "is_prefill", "block_size",
    "attention_backend", "time_stats.attn_prefill.median", "time_stats.attn_decode.median",
)  # fmt: skip
_OPERATIONS = {
    "emb": ("embedding",),
    "attn_pre_proj": ("qkv",),
    "attn_rope": ("rotary",),
    "attn_post_proj": ("o",),
    "mlp_up_proj": ("gate_up", "up"),
    "mlp_act": ("activation",),
    "mlp_down_proj": ("down",),
}
"""Vidur's name -> ours (the one of them that the model has)."""
_NORMS = ("input_layernorm", "post_attention_layernorm")


def read(options: ImportOptions) -> Collection:
    """All points that Vidur's tables under the folder hold, of one GPU.

    Raises ProfileError naming the file and the column for tables that are missing or not Vidur's, and if the
    folder holds several GPUs, attention backends or networks and the user chose none.
    """
    out = Collection("Vidur")
    folder = options.folder
    tables = {name: sorted(folder.rglob(f"{name}.csv")) for name in ("mlp", "attention")}
    found = [file for files in tables.values() for file in files]
    if not found:
        raise ProfileError(f"{folder}: holds no mlp.csv and no attention.csv; give the folder that Vidur wrote")
    gpu = one_of(filter(None, (_gpu_of(file) for file in found)), options.gpu, "GPU", "--gpu", folder)
    out.gpu = gpu
    given = options.given_models()
    for name in tables:
        files = [file for file in tables[name] if gpu is None or _gpu_of(file) == gpu]
        if not files:
            raise ProfileError(
                f"{folder}: holds no {name}.csv{f' of {gpu}' if gpu else ''}; both mlp.csv and attention.csv are needed"
            )
        for file in files:
            if name == "mlp":
                _read_mlp(file, given, out)
            else:
                _read_attention(file, given, options.engine, out)
    read_network(folder, gpu, options.network, out)
    _leave_out(folder, out)
    out.note("Vidur measures in fp16; its points count as bf16 (one size, one speed).")
    out.note("Vidur's profiler counts in whole microseconds in some versions: short kernels are coarse.")
    return out


def _gpu_of(file: Path) -> str | None:
    """The folder below `compute` (or below `profiling`, in the older layout)."""
    parts = file.resolve().parts
    for parent in ("compute", "profiling"):
        if parent in parts[:-2]:
            return parts[parts.index(parent) + 1]
    return None


def _read_mlp(file: Path, given: Sequence[Model], out: Collection) -> None:
    frame = read_table(file, _MLP_COLUMNS, "Vidur")
    out.opened(file)
    gated = truths(frame, file, "use_gated_mlp")
    shape: dict[str, Any] = {name: counts(frame, file, name) for name in _SHAPE if name != "use_gated_mlp"}
    shape |= {"use_gated_mlp": gated, "tp": counts(frame, file, "num_tensor_parallel_workers")}
    for cells, part in _groups(frame, shape):
        model = _model(file, cells)
        tp = int(cells["tp"])
        if given and not any(_dimensions(m) == _dimensions(model) for m in given):
            out.skip(file.name, "a model that was not asked for", len(part))
            continue
        tokens = counts(part, file, "num_tokens")
        ours = {op.name: op for op in token_operations(model, tokens, tp)}
        for theirs, names in _OPERATIONS.items():
            _add(file, part, theirs, [ours[name] for name in names if name in ours], out)
        _add_norm(file, part, ours["norm"], out)
    known_columns = {*_OPERATIONS, *_NORMS, "add"}
    for name in sorted(_timed(frame) - known_columns):
        out.skip(file.name, f"{name!r}: not an operation of ours", len(frame))


def _add(file: Path, part: pd.DataFrame, theirs: str, ours: list[Operation], out: Collection) -> None:
    column = f"time_stats.{theirs}.median"
    if not ours or column not in part.columns:
        out.skip(file.name, f"{theirs!r}: the file or the model has none", len(part))
        return
    out.add_operation(ours[0], numbers(part, file, column) * _MS, theirs, file)


def _add_norm(file: Path, part: pd.DataFrame, ours: Operation, out: Collection) -> None:
    """Our norm adds the residual and normalises: Vidur's two kernels, of which one runs per norm."""
    norms = [f"time_stats.{name}.median" for name in _NORMS if f"time_stats.{name}.median" in part.columns]
    if not norms or "time_stats.add.median" not in part.columns:
        out.skip(file.name, "norms: the file has no 'input_layernorm' and 'add'", len(part))
        return
    added = numbers(part, file, "time_stats.add.median")
    for column in norms:
        alone = numbers(part, file, column)
        if not np.isnan(alone).all():  # a model with parallel blocks has no second norm
            out.add_operation(ours, (alone + added) * _MS, "layernorm + add", file)
    out.note("norm: Vidur's engine adds the residual in a kernel of its own, so each norm is layernorm + add.")


def _read_attention(file: Path, given: Sequence[Model], asked: str | None, out: Collection) -> None:
    needed = [name for name in _ATTENTION_COLUMNS if name != "block_size"]
    frame = read_table(file, needed, "Vidur")
    if "block_size" not in frame.columns:
        raise ProfileError(
            f"{file}: column 'block_size' is missing; LLMServingSim writes such a file, with another meaning of "
            f"kv_cache_size: import it with --from llmservingsim"
        )
    out.opened(file)
    backends = frame["attention_backend"].astype(str).str.replace("AttentionBackend.", "", regex=False)
    backend = one_of(backends, asked, "attention backend", "--engine", file)
    out.engine = str(backend)
    mine = (backends == backend).to_numpy()
    out.skip(file.name, "another attention backend", int((~mine).sum()))
    frame = frame[mine]
    shape: dict[str, Any] = {name: counts(frame, file, name) for name in _ATTENTION_SHAPE}
    for cells, part in _groups(frame, shape):
        heads, kv_heads, hidden = (int(cells[name]) for name in ("n_q_head", "n_kv_head", "n_embd"))
        wanted = (heads, kv_heads, hidden)
        if given and wanted not in [(m.heads, m.kv_heads, m.hidden) for m in given]:
            out.skip(file.name, "a model that was not asked for", len(part))
            continue
        if not heads or hidden % heads:
            raise ProfileError(f"{file}: n_embd {hidden} is no multiple of n_q_head {heads}")
        tp = int(cells["num_tensor_parallel_workers"])
        local = Heads(heads // tp, max(1, kv_heads // tp), hidden // heads)
        _add_attention(file, part, local, out)
    if "time_stats.attn_kv_cache_save.median" not in frame.columns:
        out.included["kv_write"] = f"attention ({backend} writes keys and values itself)"
    for name in ("attn_input_reshape", "attn_output_reshape"):
        if name in _timed(frame):
            median = float(np.nanmedian(numbers(frame, file, f"time_stats.{name}.median")))
            out.skip(file.name, f"{name!r} (median {median * 1e3:.1f} us): not an operation of ours", len(frame))


def _add_attention(file: Path, part: pd.DataFrame, local: Heads, out: Collection) -> None:
    prefill = truths(part, file, "is_prefill")
    batch, chunk = counts(part, file, "batch_size"), counts(part, file, "prefill_chunk_size")
    before = counts(part, file, "kv_cache_size")
    several = prefill & ((batch != 1) | (chunk == 0))
    out.skip(file.name, "prefill of several requests at once", int(several.sum()))
    one = prefill & ~several
    if one.any():
        times = numbers(part, file, "time_stats.attn_prefill.median")[one] * _MS
        out.add_operation(local.prefill(chunk[one], before[one], 0, "bf16"), times, "attn_prefill", file)
    empty = ~prefill & (batch == 0)
    out.skip(file.name, "decode of no request", int(empty.sum()))
    many = ~prefill & ~empty
    if many.any():
        times = numbers(part, file, "time_stats.attn_decode.median")[many] * _MS
        operation = local.decode(batch[many], batch[many] * (before[many] + 1), "bf16")
        out.add_operation(operation, times, "attn_decode", file)
    column = "time_stats.attn_kv_cache_save.median"
    if column in part.columns:
        tokens = np.where(prefill, batch * chunk, batch)
        moved = tokens * (4.0 * local.kv_heads * local.head_dim * ACTIVATION_BYTES)  # read, and written
        out.add(("kv_write",), moved[:, None], numbers(part, file, column) * _MS, "attn_kv_cache_save", file)


def _groups(frame: pd.DataFrame, cells: dict[str, Any]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows by equal cells, in the order of first appearance."""
    keys = pd.DataFrame(cells, index=frame.index)
    parts = keys.groupby(list(keys.columns), sort=False).indices
    groups: Any = parts.items()
    return [(dict(zip(keys.columns, key, strict=True)), frame.iloc[rows]) for key, rows in groups]


def _model(file: Path, cells: dict[str, Any]) -> Model:
    heads, hidden = int(cells["n_head"]), int(cells["n_embd"])
    if not heads or hidden % heads:
        raise ProfileError(f"{file}: n_embd {hidden} is no multiple of n_head {heads}")
    model = Model(
        name=file.parent.name,
        family="vidur",
        layers=1,
        hidden=hidden,
        heads=heads,
        kv_heads=int(cells["n_kv_head"]),
        head_dim=hidden // heads,
        intermediate=int(cells["n_expanded_embd"]),
        vocab=int(cells["vocab_size"]),
        max_position=1,
        gated_mlp=bool(cells["use_gated_mlp"]),
    )
    model.check_tp(int(cells["tp"]))
    return model


def _dimensions(model: Model) -> tuple[Any, ...]:
    """What tells one dense model from another; the vocabulary does not, because Vidur rounds it up."""
    return model.hidden, model.heads, model.kv_heads, model.head_dim, model.intermediate, model.gated_mlp


def _timed(frame: pd.DataFrame) -> set[str]:
    return {str(name).split(".")[1] for name in frame.columns if str(name).startswith("time_stats.")}


def _leave_out(folder: Path, out: Collection) -> None:
    reasons = {
        "cpu_overhead": "host overheads belong to the engine's timing, not to the GPU's profile",
        "all_gather": "what its sizes count is not documented",
        "p2p": "point-to-point transfers between pipeline stages are not modelled",
    }
    for file in sorted(folder.rglob("*.csv")):
        for start, reason in reasons.items():
            if file.name.startswith(start):
                out.skip(str(file.relative_to(folder)), f"whole file: {reason}", 1)
