"""AIConfigurator's perf tables: gemm, attention, moe and collectives (ai-dynamo/aiconfigurator, systems/data).

What its numbers mean, from its collectors and its own look-ups: `latency` is the milliseconds of one kernel (moe: of
the experts' block) on one GPU. Shapes are those of one GPU; moe's inter_size is that of the whole expert, before it is
cut over moe_tp_size. A decode has isl + step keys per request, its own included. message_size counts elements: of one
rank's buffer (all-reduce), of what all ranks gather together (all-gather).
Layouts: SYSTEM/ENGINE/VERSION/*.txt (CSV), since 0.11 SYSTEM/FAMILY/ENGINE/VERSION/*.parquet.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibrate.importers.collection import Collection
from calibrate.importers.foreign import counts, first_row, numbers, one_of, read_table
from calibrate.importers.options import ImportOptions
from sim.errors import ProfileError
from sim.models.model import Model
from sim.models.operations import Heads, distinct_experts

_MS = 1e-3
_WEIGHTS = {"bfloat16": "bf16", "float16": "bf16", "fp8": "fp8", "int4_wo": "int4"}
_CACHES = {"bfloat16": "bf16", "float16": "bf16", "fp8": "fp8"}
_ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "half": 2, "fp8": 1, "int8": 1}
_EVEN_LOAD = ("balanced", "uniform")
_UNGATED = {(2688, 1856), (1024, 2688), (2048, 5120)}
"""(hidden_size, inter_size) of Nemotron 3 Nano, Super and Ultra: experts without a gate, which no column tells."""
_COLUMNS: dict[str, tuple[str, ...]] = {
    "gemm": ("gemm_dtype", "m", "n", "k"),
    "context_attention": (
        "attn_dtype", "kv_cache_dtype", "batch_size", "isl", "num_heads", "num_key_value_heads",
    ),
    "generation_attention": (
        "attn_dtype", "kv_cache_dtype", "batch_size", "isl", "num_heads", "num_key_value_heads", "step",
    ),
    "moe": (
        "moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size",
        "distribution",
    ),
    "custom_allreduce": ("allreduce_dtype", "num_gpus", "message_size"),
    "nccl": ("nccl_dtype", "op_name", "num_gpus", "message_size"),
}  # fmt: skip
"""Table -> its columns beside `latency`."""
_ENGINE_FREE = "nccl"


@dataclass(frozen=True)
class _Table:
    """A file, and whose kernels on which GPU it holds."""

    file: Path
    name: str
    gpu: str
    engine: str
    version: str


def read(options: ImportOptions) -> Collection:
    """All points that AIConfigurator's tables under the folder hold, of one GPU and one engine.

    Of an engine's versions the newest that has a table counts, unless `engine` says which ("vllm:0.24.0"). Raises
    ProfileError naming the file and the column for tables that are missing or not AIConfigurator's, and if the
    folder holds several GPUs or engines and the user chose none.
    """
    out = Collection("AIConfigurator")
    folder = options.folder
    tables = [table for file in sorted(folder.rglob("*_perf.*")) if (table := _table(file)) is not None]
    if not any(table.name != _ENGINE_FREE for table in tables):
        raise ProfileError(
            f"{folder}: holds no table of AIConfigurator (gemm_perf, context_attention_perf, ..., .txt or .parquet)"
        )
    out.gpu = one_of([table.gpu for table in tables], options.gpu, "GPU", "--gpu", folder)
    tables = [table for table in tables if table.gpu == out.gpu]
    asked, _, version = (options.engine or "").partition(":")
    engines = [table.engine for table in tables if table.name != _ENGINE_FREE]
    engine = one_of(engines, asked or None, "engine", "--engine", folder)
    assert engine is not None
    chosen = {name: _choose(name, tables, engine, version) for name in _COLUMNS}
    found = sorted({table.version for table in chosen.values() if table and table.name != _ENGINE_FREE})
    if not found:
        known = sorted({table.version for table in tables if table.engine == engine}, key=_order)
        raise ProfileError(f"{folder}: there is no {engine} {version!r}; it holds {engine} {', '.join(known)}")
    out.engine = f"{engine} {', '.join(found)}"
    _read_all(chosen, options.given_models(), out)
    _note(engine, out)
    return out


def _read_all(chosen: dict[str, _Table | None], given: Sequence[Model], out: Collection) -> None:
    for name, table in chosen.items():
        if table is None:
            out.note(f"There is no table {name}_perf: its operations are left to the base's roofline.")
            continue
        frame = read_table(table.file, (*_COLUMNS[name], "latency"), "AIConfigurator")
        out.opened(table.file)
        if name == "gemm":
            _read_gemm(table.file, frame, out)
        elif name in ("context_attention", "generation_attention"):
            _read_attention(table.file, frame, given, out)
        elif name == "moe":
            _read_moe(table.file, frame, given, out)
        elif name == "custom_allreduce":
            _read_collective(table.file, frame, "allreduce_dtype", "all_reduce", out)
        else:
            ops = ["all_gather"] if chosen["custom_allreduce"] else ["all_gather", "all_reduce"]
            for op in ops:
                _read_collective(table.file, frame[frame["op_name"] == op], "nccl_dtype", op, out)


def _table(file: Path) -> _Table | None:
    name = file.stem.removesuffix("_perf")
    if name not in _COLUMNS or file.suffix not in (".txt", ".csv", ".parquet"):
        return None
    row = first_row(file, "AIConfigurator")
    parts = file.resolve().parts
    system = parts[parts.index("data") + 1] if "data" in parts[:-2] else None
    engine = str(row.get("framework", file.resolve().parent.parent.name)).lower()
    version = str(row.get("version", file.resolve().parent.name))
    gpu = system or str(row.get("device", "unknown"))
    return _Table(file, name, gpu, _ENGINE_FREE if name == _ENGINE_FREE else engine, version)


def _choose(name: str, tables: Sequence[_Table], engine: str, version: str) -> _Table | None:
    """The newest table of that name, or the one of the asked version."""
    own = [table for table in tables if table.name == name and table.engine in (engine, _ENGINE_FREE)]
    if version and name != _ENGINE_FREE:
        own = [table for table in own if table.version == version]
    return max(own, key=lambda table: (_order(table.version), str(table.file)), default=None)


def _order(version: str) -> list[tuple[float, int, str]]:
    """1.3.0rc9 < 1.3.0rc20 < 1.3.0 < 1.3.1."""
    parts = re.findall(r"\d+|[a-z]+", version.lower())
    return [(1.0, int(part), "") if part.isdigit() else (0.0, 0, part) for part in parts] + [(0.5, 0, "")]


def _read_gemm(file: Path, frame: pd.DataFrame, out: Collection) -> None:
    frame = _known_format(file, frame, "gemm_dtype", _WEIGHTS, out)
    for cells, part in _fastest(file, frame, ("gemm_dtype", "n", "k"), ("m",)):
        dtype, n, k = str(cells[0]), int(cells[1]), int(cells[2])
        out.add_gemm(dtype, n, k, _places(part, "m"), _seconds(part), "gemm", file)


def _read_attention(file: Path, frame: pd.DataFrame, given: Sequence[Model], out: Collection) -> None:
    """Prefill without context (one prompt), or decode."""
    decode = "generation" in file.stem
    frame = _known_format(file, frame, "kv_cache_dtype", _CACHES, out)
    frame = _keep(file, frame, ~frame["attn_dtype"].astype(str).str.startswith("fp8"), "computed in fp8", out)
    frame = frame.assign(head_dim=counts(frame, file, "head_dim") if "head_dim" in frame.columns else 128)
    for column, wanted, reason in (
        ("window_size", 0, "sliding window"),
        ("beam_width", 1, "beam search"),
        *([] if decode else [("batch_size", 1, "several prompts at once"), ("step", 0, "after a context")]),
    ):
        if column in frame.columns:
            frame = _keep(file, frame, counts(frame, file, column) == wanted, reason, out)
    shape = ("kv_cache_dtype", "num_heads", "num_key_value_heads", "head_dim")
    wanted_heads = _heads_of(given)
    for cells, part in _fastest(file, frame, shape, ("batch_size", "isl", "step") if decode else ("isl",)):
        heads = Heads(*(int(cell) for cell in cells[1:]))
        if given and heads not in wanted_heads:
            out.skip(file.name, "a model that was not asked for", len(part))
            continue
        if decode:
            batch, keys = _places(part, "batch_size"), _places(part, "isl") + _places(part, "step")
            operation = heads.decode(batch, batch * keys, str(cells[0]))
        else:
            tokens = _places(part, "isl")
            operation = heads.prefill(tokens, np.zeros_like(tokens), tokens * (tokens + 1) / 2, str(cells[0]))
        out.add_operation(operation, _seconds(part), file.stem, file)


def _heads_of(given: Sequence[Model]) -> set[Heads]:
    """What attention of these models looks like on one GPU, however they are split."""
    degrees = [1 << power for power in range(8)]
    return {
        Heads(model.heads // tp, max(1, model.kv_heads // tp), model.head_dim)
        for model in given
        for tp in degrees
        if model.heads % tp == 0
    }


def _read_moe(file: Path, frame: pd.DataFrame, given: Sequence[Model], out: Collection) -> None:
    frame = _known_format(file, frame, "moe_dtype", _WEIGHTS, out)
    even = next((name for name in _EVEN_LOAD if (frame["distribution"] == name).any()), _EVEN_LOAD[0])
    frame = _keep(file, frame, frame["distribution"] == even, "experts under uneven load", out)
    spread = counts(frame, file, "moe_ep_size") == 1
    frame = _keep(file, frame, spread, "experts spread over GPUs (moe_ep_size > 1)", out)
    shape = ("moe_dtype", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size")
    wanted = {(m.hidden, m.expert_intermediate, m.experts_per_token, m.experts) for m in given if m.moe_layers}
    for cells, part in _fastest(file, frame, shape, ("num_tokens",)):
        hidden, inner, picks, experts, tp = (int(cell) for cell in cells[1:])
        if given and (hidden, inner, picks, experts) not in wanted:
            out.skip(file.name, "a model that was not asked for", len(part))
        elif not tp or inner % tp:
            out.skip(file.name, "an expert's width that its GPUs do not divide", len(part))
        else:
            tokens = _places(part, "num_tokens")
            times = _as_random(tokens, _seconds(part), experts, picks)
            out.add_experts(
                tokens, times, hidden, inner // tp, experts, picks,
                gated=(hidden, inner) not in _UNGATED, dtype=str(cells[0]), source="moe", file=file,
            )  # fmt: skip
            out.note(
                "Mixtures: its few tokens are dealt out so that no two meet at an expert; ours draw at random. Where "
                "that touches fewer experts, the time is read between the measured ones at that number of experts."
            )


def _as_random(tokens: Any, times_s: Any, experts: int, picks: int) -> Any:
    """Times of evenly dealt tokens as of tokens that draw at random; tokens ascend."""
    dealt = tokens * picks
    few = dealt <= experts
    if few.sum() < 2:
        return times_s
    drawn = distinct_experts(experts, picks, tokens.astype(np.int64))
    return np.where(few, np.interp(drawn, dealt[few], times_s[few]), times_s)


def _read_collective(file: Path, frame: pd.DataFrame, dtype: str, op: str, out: Collection) -> None:
    two_bytes = frame[dtype].map(lambda name: _ELEMENT_BYTES.get(str(name)) == 2).to_numpy(dtype=bool)
    frame = _keep(file, frame, two_bytes, "elements that are not 16 bits long", out)
    for cells, part in _fastest(file, frame, ("num_gpus",), ("message_size",)):
        ranks = int(cells[0])
        if ranks < 2:
            out.skip(file.name, "one GPU alone", len(part))
            continue
        size = 2 * _places(part, "message_size") / (ranks if op == "all_gather" else 1)
        out.add((op, str(ranks)), size[:, None], _seconds(part), op, file)


def _known_format(file: Path, frame: pd.DataFrame, column: str, known: dict[str, str], out: Collection) -> pd.DataFrame:
    """The rows whose number format is one of ours, with our name for it."""
    ours = frame[column].astype(str).map(known)
    for name in sorted(set(frame.loc[ours.isna(), column].astype(str))):
        out.skip(file.name, f"{column} {name!r}: no format of ours", int((frame[column].astype(str) == name).sum()))
    return frame[ours.notna()].assign(**{column: ours[ours.notna()]})


def _keep(file: Path, frame: pd.DataFrame, mask: Any, reason: str, out: Collection) -> pd.DataFrame:
    good = np.asarray(mask, dtype=bool)
    out.skip(file.name, reason, int((~good).sum()))
    return frame[good]


def _fastest(
    file: Path, frame: pd.DataFrame, shape: tuple[str, ...], axes: tuple[str, ...]
) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The rows by shape, ascending along the axes; of several kernels at one place the fastest."""
    text = {"gemm_dtype", "kv_cache_dtype", "moe_dtype"}
    cells = {name: frame[name] if name in text else counts(frame, file, name) for name in (*shape, *axes)}
    plain = pd.DataFrame({**cells, "latency": numbers(frame, file, "latency")}, index=frame.index)
    plain = plain.sort_values("latency").drop_duplicates([*shape, *axes]).sort_values([*shape, *axes])
    return [(tuple(key), part) for key, part in plain.groupby(list(shape), sort=True)]


def _places(part: pd.DataFrame, column: str) -> Any:
    return part[column].to_numpy(dtype=np.float64)


def _seconds(part: pd.DataFrame) -> Any:
    return part["latency"].to_numpy(dtype=np.float64) * _MS


def _note(engine: str, out: Collection) -> None:
    out.note("Where several kernels ran one shape, the fastest counts.")
    out.note("float16 counts as bf16 (one size, one speed). Quantising activations for fp8 products is not included.")
    out.note("Prefill attention was measured without context: chunks after a context are extrapolated, and marked so.")
    if engine == "trtllm":
        for name in ("kv_write", "rotary"):
            out.included[name] = "attention (TensorRT-LLM's attention does both)"
