"""What a GPU's memory holds."""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from sim.export.page import charts
from sim.export.page.section import Section, grid
from sim.export.saved import called, read_json
from sim.kvcache.capacity import GIB
from sim.report import markup
from sim.report.colours import AMBER, BLUE, FAINT, GREEN, PINK, PURPLE
from sim.report.folder import MARKS

VERB = "memory"
NOUN = "memory"
_COLOURS = {
    "weights": BLUE, "adapters": PINK, "activations": PURPLE, "libraries": AMBER, "KV cache": GREEN, "unused": FAINT,
}  # fmt: skip


def read(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """`memory.json`."""
    told = read_json(folder / MARKS[VERB], ("name", "pools"))
    return called(told["name"], folder), told


def section(told: Mapping[str, Any], key: str) -> Section:
    """The memory of each pool's GPUs."""
    pools: Mapping[str, Any] = told["pools"]
    body = [grid([*_split(pools), *_activations(pools)]), _table(pools)]
    for name, pool in pools.items():
        body.append(f"<h3>The arithmetic{escape(f' of {name}') if name else ''}</h3>")
        body.append(f"<pre tabindex=0>{escape(pool['explanation'])}</pre>")
    first = next(iter(pools.values()))
    setting = f"{first['model']} in {first['weight_dtype']}, KV in {first['kv_dtype']}"
    return Section(" ".join(_sentences(pools)), "".join(body), made_with=told.get("made_with", {}), setting=setting)


def _sentences(pools: Mapping[str, Any]) -> Iterator[str]:
    for name, pool in pools.items():
        gpus = f"{pool['tensor_parallel']} x {pool['gpu']}" if pool["tensor_parallel"] > 1 else f"One {pool['gpu']}"
        holds = "hold" if pool["tensor_parallel"] > 1 else "holds"
        yield (
            f"{f'{name}: ' if name else ''}{gpus} {holds} {pool['requests_that_fit']:,.1f} requests of "
            f"{pool['request_tokens']:,.0f} tokens (prompt and answer) at once, in "
            f"{pool['num_gpu_blocks'] * pool['block_size']:,} tokens of KV cache."
        )


def _split(pools: Mapping[str, Any]) -> Iterator[str]:
    names = [charts.plain(name or pool["gpu"]) for name, pool in pools.items()]
    traces = []
    for part, colour in _COLOURS.items():
        sizes = [pool["parts_bytes"].get(part, 0) / GIB for pool in pools.values()]
        if any(sizes):
            traces.append(
                {
                    "type": "bar", "orientation": "h", "y": names, "x": charts.numbers(sizes), "name": part,
                    "marker": {"color": colour}, "text": [f"{size:.1f} GiB" for size in sizes],
                    "textposition": "none", "hovertemplate": f"{part} %{{x:.2f}} GiB<extra></extra>",
                }
            )  # fmt: skip
    down = {"type": "category", "autorange": "reversed"}
    made = charts.figure("memory", traces, "GiB of one GPU", barmode="stack", yaxis=down)
    yield charts.chart("What one GPU holds", made, height=150 + 32 * len(names))


def _table(pools: Mapping[str, Any]) -> str:
    rows = (
        [name or pool["gpu"], *(f"{pool['parts_bytes'].get(part, 0) / GIB:.2f}" for part in _COLOURS)]
        for name, pool in pools.items()
    )
    return markup.table(("GiB of one GPU", *_COLOURS), rows)


def _activations(pools: Mapping[str, Any]) -> Iterator[str]:
    traces = []
    for place, (name, pool) in enumerate(pools.items()):
        sizes = pool["activation_bytes_by_max_num_batched_tokens"]
        values = charts.numbers(size / GIB for size in sizes.values())
        called_ = charts.plain(name or "activations")
        traces.append(charts.line([int(tokens) for tokens in sizes], values, called_, **charts.nth(place)))
    made = charts.figure("activations", traces, "max_num_batched_tokens", "GiB", xaxis={"type": "log"})
    yield charts.chart("Activations of the largest step", made)
