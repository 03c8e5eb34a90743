"""What papers published beside what comes out here: every scenario of scenarios/papers, as one Markdown table.

    python -m bench.papers                              # a few minutes
    python -m bench.papers --mooncake conversation_trace.jsonl   # and the one that replays Mooncake's trace

What was published, and why ours differs where it does, stands with its source in each scenario.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import sim


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mooncake", metavar="TRACE")
    arguments = parser.parse_args()
    print("| `servecast compare` or `capacity` | published | here |\n| --- | ---: | ---: |")
    for what, published, here in rows(arguments.mooncake):
        print(f"| {what} | {published} | {here} |", flush=True)


def rows(mooncake: str | None) -> Iterator[tuple[str, str, str]]:
    """(what, published, what comes out here)."""
    yield from paged_attention()
    yield continuous_batching()
    yield sarathi_ablation()
    yield sarathi_capacity()
    yield distserve()
    yield from llm_d_prefix()
    if mooncake:
        yield mooncake_routing(mooncake)


def paged_attention() -> Iterator[tuple[str, str, str]]:
    longest, power, known = "reserve 2048", "reserve a power of two", "reserve as it turns out"
    runs = summaries("paged-attention")
    seats = [f"{runs[name]['batch_size_mean']:.3g}" for name in (longest, power, known)]
    yield (
        "`papers/paged-attention`: seats, 2,048 tokens / a power of two / the true length reserved",
        "7.00 / 9.81 / 13.6",
        " / ".join(seats),
    )
    paged, *reserved = rates("paged-attention", [longest, known], "mean_normalized_latency_ms <= 300")
    times = [f"{paged / rate:.1f}" for rate in reserved]
    yield (
        "the same: rate carried by paging against 2,048 / the true length reserved",
        "2.7 to 8 / 1.7 to 2.7 times",
        " / ".join(times) + " times",
    )


def continuous_batching() -> tuple[str, str, str]:
    runs = summaries("continuous-batching")
    naive = runs["naive static"]["request_throughput"]
    times = [runs[name]["request_throughput"] / naive for name in ("static", "continuous", "as written")]
    what = "`papers/continuous-batching`: static, continuous, paged against naive"
    return what, "4, 8, 23 times", ", ".join(f"{value:.2g}" for value in times) + " times"


def sarathi_ablation() -> tuple[str, str, str]:
    runs = summaries("sarathi-ablation")
    gaps = [f"{runs[name]['p99_itl_ms'] / 1e3:.2f}" for name in ("hybrid only", "chunked only", "as written")]
    what = "`papers/sarathi-ablation`: p99 ITL of hybrid only, chunked only, both"
    return what, "0.68, 0.17, 0.14 s", ", ".join(gaps) + " s"


def sarathi_capacity() -> tuple[str, str, str]:
    limits = ("p99_itl_ms <= 200", "median_queue_wait_ms <= 2000")
    chunked, first, orca = rates("sarathi-capacity", ["prefill first", "orca"], *limits)
    what = "`papers/sarathi-capacity`: rate carried against vLLM V0 / Orca"
    return what, "3.7 / 4.0 times", f"{chunked / first:.1f} / {chunked / orca:.1f} times"


def distserve() -> tuple[str, str, str]:
    names = ["prefill only", "decode only", "2 prefill and 1 decode"]
    together, prefill, decode, apart = rates("distserve", names, attainment=0.9, tolerance=0.02)
    carried = (prefill, decode, apart / 3, together)  # two and one: three GPUs; decode only counts its one
    what = "`papers/distserve`: per GPU prefill only, decode only, 2 + 1 apart, together"
    return what, "5.6, 10, 3.3, 1.6/s", ", ".join(f"{rate:.1f}" for rate in carried) + "/s"


def llm_d_prefix() -> Iterator[tuple[str, str, str]]:
    runs = summaries("llm-d-prefix")
    routers = [runs[name] for name in ("as written", "approximate", "load only", "random")]
    waits = [run["p90_ttft_ms"] / 1e3 for run in routers]
    yield (
        "`papers/llm-d-prefix`: p90 TTFT, prefixes known exactly, by an own index, load only, random",
        "0.5, 50, 110, 106 s",
        ", ".join(f"{wait:.1f}" if wait < 1 else f"{wait:.0f}" for wait in waits) + " s",
    )
    tokens = [f"{run['output_throughput']:,.0f}" for run in routers]
    yield "the same: output tokens/s", "10,497, 7,248, 4,745, 4,835", ", ".join(tokens)


def mooncake_routing(trace: str) -> tuple[str, str, str]:
    runs = summaries("mooncake-routing", f"workload.trace.mooncake.path={trace}")
    waits = [f"{runs[name]['p90_ttft_ms'] / 1e3:.2g}" for name in ("as written", "least outstanding", "random")]
    what = "`papers/mooncake-routing`: TTFT (ours: p90 of another stretch), cache-aware, by load, random"
    return what, "14, 60, 92 s", ", ".join(waits) + " s"


def summaries(name: str, *overrides: str) -> dict[str, dict[str, Any]]:
    """The summary of the scenario as written and of each variant."""
    found = sim.compare(f"papers/{name}", overrides=overrides)
    if found.failed:
        raise SystemExit(f"papers/{name}: {found.failed}")
    return {variant: found.summaries[variant, found.seeds[0]] for variant in found.variants}


def rates(name: str, variants: list[str], *limits: str, **options: Any) -> list[float]:
    """Requests/s that the scenario as written and some variants carry."""
    found = sim.capacity(f"papers/{name}", limits=limits, variants=variants, **{"tolerance": 0.05, **options})
    carried = {one.variant: one.rate_per_s for one in found}
    return [carried[variant] for variant in ("as written", *variants)]


if __name__ == "__main__":
    main()
