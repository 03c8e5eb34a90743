"""Engine presets side by side, or one of them with the source of every default."""

from typing import Any

from rich import box
from rich.table import Table

from sim import preset
from sim.preset import Preset
from sim.report.words import duration

_EXAMPLE_GPU, _EXAMPLE_BYTES = "h100-sxm", 80 * 2**30
"""Batch limits follow the GPU; these are an 80 GB one's."""
_ROWS = {
    "batching": "batching",
    "ordering": "queue order",
    "max_num_batched_tokens": "tokens per step (80 GB)",
    "max_num_seqs": "seats (80 GB)",
    "enable_chunked_prefill": "chunked prefill",
    "kv_cache": "KV memory",
    "block_size": "KV block",
    "enable_prefix_caching": "prefix caching",
    "watermark": "watermark",
    "gpu_memory_utilization": "memory share",
    "async_scheduling": "decides ahead",
    "host_step_s": "host per step",
    "host_seq_s": "host per sequence",
    "host_exposed_s": "host never hidden",
    "host_request_s": "host per request",
    "host_output_s": "host per token out",
}


def side_by_side() -> Table:
    """One column per preset, one row per default that tells engines apart."""
    presets = [preset.load(name) for name in preset.names()]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for one in presets:
        table.add_column(one.name, overflow="fold")
    table.add_row("stands for", *(one.stands_for for one in presets))
    values = [one.defaults(_EXAMPLE_GPU, _EXAMPLE_BYTES) for one in presets]
    for key, label in _ROWS.items():
        table.add_row(label, *(_written(key, defaults.get(key)) for defaults in values))
    return table


def with_sources(one: Preset) -> Table:
    """Every default of a preset, and where it is from."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=one.stands_for, title_justify="left")
    for header in ("key", "value", "from", "source"):
        table.add_column(header, overflow="fold")
    for key, default in one.engine.items():
        table.add_row(key, _written(key, default.value), default.origin, default.source)
    for rule in one.by_gpu_memory:
        limits = f"{rule.max_num_batched_tokens} tokens, {rule.max_num_seqs} seats"
        table.add_row("batch limits", limits, "imported", f"GPUs that report at least {rule.at_least / 2**30:.0f} GiB")
    return table


def _written(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_s"):
        return duration(float(value))
    if isinstance(value, dict):  # a choice with parameters
        ((name, given),) = value.items()
        return f"{name} ({', '.join(f'{k} {v}' for k, v in given.items())})" if given else str(name)
    return "none" if value == [] else str(value)
