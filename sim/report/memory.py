"""What the memory of a GPU holds, as a bar and as arithmetic."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from sim.kvcache.capacity import GIB, MemorySplit, activation_bytes
from sim.models import Model
from sim.provenance import versions
from sim.report.folder import whole
from sim.report.save import summary_json

_BAR_CELLS = 72
_COLOURS = {"weights": "blue", "adapters": "cyan", "activations": "magenta", "libraries": "yellow", "KV cache": "green"}


def parts_bytes(split: MemorySplit) -> dict[str, int]:
    """Bytes by part, in the order of the arithmetic; `unused` is what gpu_memory_utilization leaves (CUDA graphs)."""
    kv = split.num_gpu_blocks * split.bytes_per_block if split.given_blocks else max(split.kv_bytes, 0)
    parts = {
        "weights": split.weight_bytes,
        "adapters": split.adapter_bytes,
        "activations": split.activation_bytes,
        "libraries": split.runtime_bytes,
        "KV cache": kv,
    }
    return {**parts, "unused": max(split.memory_bytes - sum(parts.values()), 0)}


def activations_by_tokens(model: Model, tensor_parallel: int, max_num_seqs: int) -> dict[int, int]:
    """Bytes of activations of the largest step, by max_num_batched_tokens."""
    sizes = (1024, 2048, 4096, 8192, 16384, 32768)
    return {tokens: activation_bytes(model, tensor_parallel, tokens, max_num_seqs) for tokens in sizes}


def memory_report(split: MemorySplit, activations: dict[int, int], request_tokens: float, name: str = "") -> Group:
    """A bar of one GPU's memory, the arithmetic, and how many requests of that length (prompt and answer) fit."""
    parts = parts_bytes(split)
    bar, legend = Text(), Text()
    for part, size in parts.items():
        if not size:
            continue
        style = _COLOURS.get(part, "bright_black")
        bar.append(("░" if part == "unused" else "█") * max(1, round(size / split.memory_bytes * _BAR_CELLS)), style)
        legend.append(f"{part} {size / GIB:.1f} GiB   ", style)
    fit = (
        f"{split.whole_requests(max(1, round(request_tokens))):,} requests of {request_tokens:,.0f} tokens "
        "(prompt and answer) fit at once; unused memory is for CUDA graphs and what else grows"
    )
    title = [Text(name, "bold")] if name else []
    by_tokens = ", ".join(f"{tokens:,}: {size / GIB:.2f} GiB" for tokens, size in activations.items())
    grow = f"activations by max_num_batched_tokens: {by_tokens}"
    return Group(*title, bar, legend, Text(split.explain()), Text(grow), Text(fit))


def save_memory(pools: Mapping[str, Mapping[str, Any]], folder: Path, name: str) -> None:
    """Write memory.json into `folder`, whole or not at all: `memory_json` of each pool of the scenario `name`."""
    told = {"name": name, "pools": dict(pools), "made_with": {"versions": versions()}}
    with whole(folder, "memory") as draft:
        (draft / "memory.json").write_text(summary_json(told), encoding="utf-8")


def memory_json(split: MemorySplit, activations: dict[int, int], request_tokens: float) -> dict[str, Any]:
    """The same for programs."""
    fit = split.requests_that_fit(max(1, round(request_tokens)))
    return {
        **asdict(split),
        "parts_bytes": parts_bytes(split),
        "explanation": split.explain(),
        "request_tokens": request_tokens,
        "requests_that_fit": fit,
        "activation_bytes_by_max_num_batched_tokens": activations,
    }
