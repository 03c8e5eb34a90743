"""Engine presets side by side: how each decides, what bounds it, and what memory and host are taken to be."""

from collections.abc import Iterator
from typing import Any

from sim.preset import Preset

SHOWN_FOR = "a GPU of 80 GB"
_BYTES = 80 * 10**9

_HOST = {
    "host_step_s": "step",
    "host_seq_s": "sequence",
    "host_exposed_s": "exposed",
    "host_request_s": "request",
    "host_output_s": "token out",
}

DECISIONS = ("preset", "stands for", "batching", "order", "step", "ahead")
COSTS = ("preset", "KV cache", "prefix cache", "memory", *_HOST.values())


def decisions(preset: Preset) -> tuple[str, ...]:
    """One line for DECISIONS: the defaults on the GPU of SHOWN_FOR."""
    values = preset.defaults("", _BYTES)
    step = f"{values['max_num_batched_tokens']:,} tokens\n{values['max_num_seqs']:,} requests"
    if "max_model_len" in preset.engine:
        step += f"\nof up to {values['max_model_len']:,}"
    batching, ordering = "\n".join(_choice(values["batching"])), "\n".join(_choice(values["ordering"]))
    return preset.name, preset.stands_for, batching, ordering, step, _yes(values["async_scheduling"])


def costs(preset: Preset) -> tuple[str, ...]:
    """One line for COSTS; a star marks what is assumed."""
    values = preset.defaults("", _BYTES)
    memory = f"{values['gpu_memory_utilization']:.0%}{_star(preset, 'gpu_memory_utilization')}"
    if values["watermark"]:
        memory += f"\n{values['watermark']:.0%} of it kept"
    blocks = " ".join(_choice(values["kv_cache"]))
    host = (f"{_time(values[key])}{_star(preset, key)}" for key in _HOST)
    return preset.name, f"{blocks} {values['block_size']}", _yes(values["enable_prefix_caching"]), memory, *host


def _choice(value: Any) -> Iterator[str]:
    """A choice's name, then its parameters."""
    if isinstance(value, str):
        yield value
        return
    ((name, parameters),) = value.items()
    yield name
    for key, given in parameters.items():
        yield f"  {key}: {_yes(given) if isinstance(given, bool) else given}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _star(preset: Preset, key: str) -> str:
    return "*" if preset.engine[key].origin == "assumed" else ""


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:g} ms" if seconds >= 1e-3 or not seconds else f"{seconds * 1e6:g} us"
