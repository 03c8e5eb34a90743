"""The report on the terminal, from the summary alone."""

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sim.report.colours import GPU_TIME
from sim.report.targets import verdict
from sim.report.words import (
    count,
    duration,
    known,
    milliseconds,
    money,
    nothing_measured,
    number,
    percent,
    tick,
    unfinished,
)  # fmt: skip

Summary = dict[str, Any]
_LATENCIES = {"TTFT": "ttft", "TPOT": "tpot", "ITL": "itl", "E2E": "e2el", "queue wait": "queue_wait"}
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
_BAR_CELLS = 64


def print_report(summary: Summary, console: Console, wall_s: float | None = None) -> None:
    """Print the report of `summary` (see sim.metrics.summarize); `wall_s` adds the simulation's speed."""
    console.print(report(summary, wall_s))


def report(summary: Summary, wall_s: float | None = None) -> RenderableType:
    """The whole report as one rich renderable, at most 88 columns wide."""
    parts: list[RenderableType] = []
    if summary["saturated"]:
        parts.append(Text(f"SATURATED: {summary['saturation']['reason']}", style="bold red"))
    if nothing := nothing_measured(summary):
        parts.append(Text(nothing, style="bold red"))
    parts += [_headline(summary), _belief(summary), *_targets(summary), _latencies(summary)]
    parts += [_columns(traffic(summary), engine(summary))]
    parts += breakdowns(summary)
    parts += [_gpu_time(summary), *_notes(summary, wall_s)]
    return Group(*parts)


def _headline(summary: Summary) -> Text:
    gpus = f"{summary['gpus']} x {summary['gpu'] or 'GPU'}"
    if summary["replicas"] != summary["gpus"]:
        gpus += f" ({summary['replicas']} replica{'s' * (summary['replicas'] > 1)})"
    line = Text(" · ".join(part for part in (summary["model_id"], gpus) if part))
    if summary["name"]:
        line = Text(summary["name"], style="bold").append(Text(f"   {line.plain}", style="not bold"))
    if summary["provenance"]:
        line.append(f"\nstep times: {summary['provenance']}", style="dim")
    return line


def _belief(summary: Summary) -> Text:
    """Whether the numbers can be believed, and why not."""
    found = summary["validity"]
    style = {"yes": "green", "with care": "yellow", "no": "bold red"}[found["believe"]]
    line = Text("believe these numbers: ", style="dim").append(found["believe"], style=style)
    return line.append("".join(f"\n  {why}" for why in found["why"]), style="dim")


def _targets(summary: Summary) -> Iterable[Text]:
    """Whether the targets are met."""
    if found := verdict(summary):
        met, told = found
        yield Text("targets: ", style="dim").append(told, style="green" if met else "bold red")


def _latencies(summary: Summary) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("latency", min_width=10)
    for statistic in STATISTICS:
        table.add_column(statistic, justify="right", min_width=8)
    slo = summary["slo"] or {}
    if slo:
        table.add_column("SLO", justify="right")
        table.add_column("met by", justify="right")
    for row in latency_rows(summary):
        table.add_row(*row)
    return table


def latency_rows(summary: Summary) -> Iterable[list[str]]:
    """Each latency's name and statistics, and, where it has a target, the target and the share that meets it."""
    slo = summary["slo"] or {}
    for label, name in _LATENCIES.items():
        row = [label, *(known(summary, f"{statistic}_{name}_ms") for statistic in STATISTICS)]
        target = slo.get(f"{name}_ms")
        if target is not None:
            row += [f"≤ {tick(target / 1e3, seconds=True)}", percent(summary["slo_attainment"][name])]
        yield row


def breakdowns(summary: Summary) -> list[Table | Text]:
    """The run told apart by turn, priority, tenant, adapter and pool, as tables and sentences, where there are some."""
    return [*_turns(summary), *_groups(summary)]


def _turns(summary: Summary) -> Iterable[Table | Text]:
    """What turns of sessions find in the cache, and what they wait for, where there is more than one."""
    turns = (summary.get("sessions") or {}).get("by_turn", ())
    if len(turns) < 2:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("turn", "requests", "mean prompt", "found in cache", "mean TTFT"):
        table.add_column(heading, justify="left" if heading == "turn" else "right")
    for row in turns:
        name = f"{row['turn']}{' and later' if row['and_later'] else ''}"
        figures = (number(row["mean_prompt_tokens"]), percent(row["cached_share"]), milliseconds(row["mean_ttft_ms"]))
        table.add_row(name, count(row["requests"]), *figures)
    yield table


def _groups(summary: Summary) -> Iterable[Table | Text]:
    """Waits by priority, tenant and adapter, where there is more than one."""
    for label in ("priority", "tenant", "adapter"):
        groups = summary.get(f"by_{label}")
        if not groups:
            continue
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column(label, min_width=10)
        judged = any("slo_attainment" in row for row in groups.values())
        headings = ("requests", "mean wait", "p99 wait", "max wait", "p99 TTFT", "overtaken by")
        for heading in (*headings, "meet the SLO") if judged else headings:
            table.add_column(heading, justify="right", min_width=8)
        for name, row in groups.items():
            waits = (f"{statistic}_queue_wait_ms" for statistic in ("mean", "p99", "max"))
            times = [milliseconds(row[key]) for key in (*waits, "p99_ttft_ms")]
            met = [percent(row["slo_attainment"])] if judged else []
            table.add_row(name or "none", count(row["requests"]), *times, f"≤ {count(row['max_overtaken'])}", *met)
        yield table
    if pools := summary.get("by_pool"):
        yield _pools(pools)
    fair = summary.get("fairness")
    if fair and fair["jain_index"] is not None:
        told = f"fairness of tenants while they compete ({percent(fair['competing_share'])} of the time): "
        told += f"Jain's index {fair['jain_index']:.3f}, service differs by at most "
        yield Text(told + f"{number(fair['service_difference_tokens'])} weighted tokens")


def _pools(pools: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("pool", min_width=10)
    for heading in ("replicas", "GPUs", "requests", "mean TTFT", "p99 TTFT", "useful", "idle", "cost"):
        table.add_column(heading, justify="right")
    for name, row in pools.items():
        shares = {key: share or 0.0 for key, share in row["gpu_time"]["fraction"].items()}
        table.add_row(
            name, count(row["replicas"]), count(row["gpus"]), count(row["requests"]), milliseconds(row["mean_ttft_ms"]),
            milliseconds(row["p99_ttft_ms"]), percent(shares["prefill"] + shares["decode"]), percent(shares["starved"]),
            "-" if row["cost_usd"] is None else money(row["cost_usd"]),
        )  # fmt: skip
    return table


def traffic(summary: Summary) -> Iterable[tuple[str, str]]:
    """What was asked and what was answered: names and figures."""
    counts = summary["requests"]
    ended = [f"{count(counts['finished'])} finished"]
    ended += [f"{many} {how}" for many, how in unfinished(counts)]
    yield "requests", ", ".join(ended)
    if kept_out := summary.get("admission"):
        by_rule = ", ".join(f"{count(times)} by {name}" for name, times in kept_out["by_rule"].items() if times)
        yield "refusals", by_rule or "none"
        if tried := kept_out["attempts"]:
            again, done = count(tried["requests_sent_again"]), count(tried["of_these_finished"])
            yield "attempts", f"{count(tried['total'])}, {again} requests sent again, of which {done} finished"
    if answers := summary.get("all_answers"):
        mean, p99 = (milliseconds(answers[f"{statistic}_e2el_ms"]) for statistic in ("mean", "p99"))
        yield "all answers", f"{mean} mean, {p99} p99 of {count(answers['completed'])} prompts"
    if held := summary.get("sessions"):
        told = f"{count(held['completed'])} of {count(held['sessions'])} completed, {number(held['mean_turns'])} turns"
        yield "sessions", told
        yield (
            "session time",
            f"{milliseconds(held['mean_session_ms'])} mean, {milliseconds(held['p99_session_ms'])} p99",
        )
        yield "of it waiting", f"{milliseconds(held['mean_waiting_ms'])} mean"
        yield "turn time", f"{milliseconds(held['mean_turn_ms'])} mean, {milliseconds(held['p99_turn_ms'])} p99"
        if held["requests_not_sent"]:
            yield "never sent", f"{count(held['requests_not_sent'])} requests of sessions that ended early"
    if summary.get("given_up_output_tokens"):
        yield "given up", f"{number(summary['given_up_output_tokens'])} output tokens for them"
    if summary["num_prompts"] != counts["total"]:
        yield "measured", f"{count(summary['num_prompts'])} of {count(counts['total'])}"
    yield "duration", duration(summary["duration"])
    yield "requests/s", number(summary["request_throughput"])
    if summary["request_goodput"] is not None:
        share = percent(summary["slo_attainment"]["all"])
        yield "goodput/s", f"{number(summary['request_goodput'])}  ({share} meet the SLO)"
    yield "output tokens/s", number(summary["output_throughput"])
    yield "total tokens/s", number(summary["total_token_throughput"])
    yield "most at once", count(summary["peak_concurrent_requests"])
    if summary["usd_per_million_output_tokens"] is not None:
        yield "cost", f"{money(summary['usd_per_million_output_tokens'])} per 1M output tokens"
        yield "", f"{money(summary['usd_per_1k_requests'])} per 1k requests"
    yield "GPU hours", number(summary["gpu_hours"])
    if fleet := summary.get("fleet"):
        held = number(fleet["replicas_held_mean"])
        yield "replicas", f"{held} held mean, {count(fleet['replicas_held_peak'])} peak"
        words = {"started": "started", "ended": "gone", "crashes": "crashes", "requeued": "requests sent on"}
        yield "", ", ".join(f"{count(fleet[name])} {word}" for name, word in words.items() if fleet[name])


def engine(summary: Summary) -> Iterable[tuple[str, str]]:
    """How full batch, queue and KV cache were: names and figures."""
    yield "queue", f"{_mean_and_peak(summary, 'queue_depth')} (all replicas)"
    yield "per busy replica", ""
    yield "· running batch", _mean_and_peak(summary, "batch_size")
    occupancy = percent(summary["kv_occupancy_mean"])
    yield "· KV cache", f"{occupancy} mean, {percent(summary['kv_occupancy_peak'])} peak"
    yield "· KV room unused", f"{percent(summary['kv_unused_share'])} of what is held"
    yield "KV blocks", f"{count(summary['kv_blocks_per_replica'])} x {summary['block_size']} per replica"
    yield "prefix cache", f"{percent(summary['prefix_cache_hit_rate'])} of prompt tokens"
    if lora := summary.get("adapters"):
        told = f"{count(lora['loads'])} loads of {count(lora['adapters'])} LoRA adapters"
        yield "adapters", told + (f", {count(lora['disk_loads'])} from disk" if lora["disk_loads"] else "")
    if summary["max_overtaken"]:
        yield "overtaken", f"{number(summary['mean_overtaken'])} times mean, {count(summary['max_overtaken'])} most"
    moved = summary["kv_transfers"] or {}
    for tier in ("host", "disk"):
        if hits := moved.get(f"{tier}_hit_tokens"):
            yield f"loaded from {tier}", f"{number(hits)} tokens"
    yield from _handover(summary.get("handover"))
    yield "preemptions", count(summary["preemptions"])
    if moved.get("swapped_out_tokens"):
        yield "swapped", f"{number(moved['swapped_out_tokens'])} tokens"
    if moved.get("recomputed_instead"):
        yield "swap space full", f"{count(moved['recomputed_instead'])} times"
    if summary["recomputed_tokens"]:
        yield "recomputed", f"{number(summary['recomputed_tokens'])} tokens"
    yield "engine steps", count(summary["engine_steps"])
    yield "tokens per step", number(summary["tokens_per_step_mean"])
    for label, name in (("MFU", "mfu"), ("bandwidth used", "mbu")):
        busy, overall = summary[f"{name}_busy"], summary[f"{name}_makespan"]
        if busy is not None:
            yield label, f"{percent(busy)} busy, {percent(overall)} overall"


def _handover(moved: Summary | None) -> Iterable[tuple[str, str]]:
    """What prefill replicas handed over to decode replicas."""
    if moved is None:
        return
    yield "handed over", f"{count(moved['requests'])} requests, {number(moved['bytes'] / 1e9)} GB"
    for label, name in (
        ("KV transfer", "kv_transfer"),
        ("of it exposed", "kv_exposed"),
        ("decode queue", "decode_queue_wait"),
    ):
        if name == "kv_exposed" and moved["mean_kv_exposed_ms"] == moved["mean_kv_transfer_ms"]:
            continue  # nothing was sent while a prompt was computed
        yield label, f"{milliseconds(moved[f'mean_{name}_ms'])} mean, {milliseconds(moved[f'p99_{name}_ms'])} p99"
    yield (
        "links used",
        f"{percent(moved['link_utilisation_mean'])} mean, {percent(moved['link_utilisation_peak'])} peak",
    )


def _mean_and_peak(summary: Summary, name: str) -> str:
    return f"{number(summary[f'{name}_mean'])} mean, {count(summary[f'{name}_peak'])} peak"


def _columns(left: Iterable[tuple[str, str]], right: Iterable[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 3))
    grid.add_row(_pairs(left), _pairs(right))
    return grid


def _pairs(pairs: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for key, value in pairs:
        table.add_row(key, value)
    return table


def _gpu_time(summary: Summary) -> Group:
    """One bar of all GPU time, and its legend with shares; empty buckets are left out."""
    shares = {name: share or 0.0 for name, share in summary["gpu_time"]["fraction"].items()}
    bar, drawn, upto = Text(), 0, 0.0
    legend: list[RenderableType] = []
    for name, share in shares.items():
        upto += share
        cells = round(upto * _BAR_CELLS) - drawn
        drawn += cells
        bar.append("█" * cells, style=GPU_TIME[name])
        if share:
            legend.append(Text("■ ", style=GPU_TIME[name]).append(f"{name} {percent(share)}", style="none"))
    total = duration(summary["gpu_time"]["total_s"])
    return Group(Text(f"\nGPU time, {total} in all", style="dim"), bar, Columns(legend, padding=(0, 3)))


def _notes(summary: Summary, wall_s: float | None) -> Iterable[Text]:
    if wall_s:
        speed = number(summary["requests"]["total"] / wall_s)
        told = f"simulated {duration(summary['makespan_s'])} in {duration(wall_s)}"
        yield Text(f"\n{told} ({speed} requests per second)", style="dim")
    for warning in summary["warnings"]:
        yield Text(f"warning: {warning}", style="yellow")
