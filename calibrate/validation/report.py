"""A validation in words: the tables of the terminal and of validation_report.md."""

import sys
from collections.abc import Sequence
from typing import Any

from calibrate.validation.errors import KINDS, LATENCIES, STATISTICS
from calibrate.validation.run import GOALS, HEADLINES, Validation

_TITLES = {
    "step": "step time",
    "ttft": "TTFT",
    "tpot": "TPOT",
    "e2e": "E2E",
    "mean_ttft": "mean TTFT",
    "mean_tpot": "mean TPOT",
    "mean_e2e": "mean E2E",
    "throughput": "throughput",
}


def headline_rows(summary: dict[str, Any]) -> list[list[str]]:
    """A table: one row per workload with the errors that count, then their median and the goals."""
    rows = [["workload", *(_TITLES[name] for name in HEADLINES), "same decisions"]]
    for name, workload in summary["workloads"].items():
        cells = [
            percent(pick(workload), signed=key.startswith("mean_") or key == "throughput")
            for key, pick in HEADLINES.items()
        ]
        rows.append([name, *cells, _same(workload["decisions"])])
    overall = summary["overall"]
    rows.append(["median", *(percent(overall[key]["median"]) for key in HEADLINES), ""])
    goals = [overall[key]["goal"] for key in HEADLINES]
    rows.append(["goal on a GPU", *("" if goal is None else f"{goal:.0%}" for goal in goals), "all"])
    return rows


def verdict(summary: dict[str, Any]) -> str:
    """Which of the goals the medians reach, in a sentence."""
    judged = {name: found for name, found in summary["overall"].items() if name in GOALS}
    words = {
        reached: [_judged(n, f) for n, f in judged.items() if f["reached"] is reached] for reached in (True, False)
    }
    lines = [f"{what}: {', '.join(words[reached])}." for reached, what in _REACHED.items() if words[reached]]
    if not summary["overall"]["identical_decisions"]:
        lines.append("The simulation decided otherwise than the engine, which is a fault of one of them.")
    return " ".join(lines)


_REACHED = {True: "Goals reached", False: "Goals missed"}


def _judged(name: str, found: dict[str, Any]) -> str:
    return f"{_TITLES[name]} {percent(found['median'])} (goal {found['goal']:.0%})"


def markdown(validation: Validation) -> str:
    """The report, with every table."""
    summary = validation.summary
    return (
        "\n\n".join(
            [
                f"# Is the simulation right? {summary['model']} on {summary['device']['name']}",
                _opening(summary),
                verdict(summary),
                "## Errors\n\n" + table(headline_rows(summary)) + "\n\n" + _HOW_TO_READ,
                "![Steps](validation_steps.png)",
                "![Requests](validation_latency.png)",
                "## Steps, by kind\n\n" + table(_step_rows(summary)) + "\n\n" + _STEPS,
                "## Where the error comes from\n\n" + table(_split_rows(summary)) + "\n\n" + _SPLIT,
                "## Requests\n\n" + table(_latency_rows(summary)),
                "## The runs\n\n" + table(_run_rows(summary)) + "\n\n" + _warnings(summary),
            ]
        ).rstrip()
        + "\n"
    )


def print_headlines(summary: dict[str, Any]) -> None:
    """The first table, on the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    head, *body = headline_rows(summary)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, title in enumerate(head):
        shown.add_column(title, justify="right" if place else "left")
    for row in body[:-2]:
        shown.add_row(*row)
    shown.add_section()
    for row in body[-2:]:
        shown.add_row(*row)
    (Console() if sys.stdout.isatty() else Console(width=120)).print(shown)
    print(verdict(summary))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table, the first being its head; all columns but the first are right-aligned."""
    head, *body = rows
    line = ["---", *(["---:"] * (len(head) - 1))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, line, *body))


def percent(value: float, signed: bool = False) -> str:
    """A share as a percentage with one decimal."""
    return f"{value:+.1%}" if signed else f"{value:.1%}"


_HOW_TO_READ = (
    "Step time, TTFT, TPOT and E2E: the median over all steps, or all requests, of the absolute relative error. "
    "Means and throughput: (simulated - measured) / measured. Same decisions: in how many of its steps, from the first "
    "on, the simulation put together the very batch that the engine ran, when given the engine's own step times."
)
_STEPS = (
    "Every batch that the engine ran is given to the latency model. Total: error of the sum. Forward pass: the error "
    "of the device's part alone. Host: what the host's cost leaves unexplained, as a share of the step."
)
_SPLIT = (
    "Shares of the measured mean; they add up to its error. Scheduling: what is left when the simulation is given the "
    "engine's step times. Step time: what the profile's forward passes add. Host: what is added by taking the host's "
    "cost from the calibration run instead of from this one."
)


def _opening(summary: dict[str, Any]) -> str:
    profile, engine, host = summary["profile"], summary["engine"], summary["host"]
    graphs = engine["cudagraph_capture_sizes"]
    clock = "in real time" if summary["device"]["device"] == "cuda" else "by the time that the CPU gave to it"
    graph_text = f"CUDA graphs for decode batches up to {graphs[-1]}" if graphs else "no CUDA graphs"
    return (
        f"The reference engine (random weights in {summary['dtype']}, paged KV cache, chunked prefill, {graph_text}) "
        f"served {len(summary['workloads'])} workloads {clock}, {summary['seconds']:g} s of arrivals each, and "
        f"the same requests were simulated with the profile `{profile['name']}` of {profile['date']} "
        f"(sha256 {profile['sha256'][:12]}). At most {engine['max_num_seqs']} requests and "
        f"{engine['max_num_batched_tokens']} tokens a step. torch {summary['device']['torch']}, "
        f"CUDA {summary['device']['cuda'] or 'none'}; {summary['device']['platform']}.\n\n"
        f"Host cost, from {host['steps']} steps of a calibration run of its own: "
        f"{host['host_step_s'] * 1e6:.0f} us a step, {host['host_seq_s'] * 1e6:.2f} us a request, "
        f"{host['eager_launch_s'] * 1e6:.2f} us a kernel launch; median residual {host['residual_s'] * 1e6:.0f} us."
    )


def _step_rows(summary: dict[str, Any]) -> list[list[str]]:
    rows = [["workload", "kind", "steps", "median", "p95", "total", "forward pass, median", "forward pass, total",
             "host", "extrapolated"]]  # fmt: skip
    for name, workload in summary["workloads"].items():
        for kind in (*KINDS, "all"):
            if kind in workload["step"]:
                found = workload["step"][kind]
                rows.append(
                    [
                        name,
                        kind,
                        str(found["steps"]),
                        percent(found["median"]),
                        percent(found["p95"]),
                        percent(found["total"], True),
                        percent(found["device_median"]),
                        percent(found["device_total"], True),
                        percent(found["host_median_of_step"]),
                        percent(found["extrapolated"]),
                    ]
                )
    return rows


def _split_rows(summary: dict[str, Any]) -> list[list[str]]:
    parts = ("scheduling", "step_time", "host", "all")
    rows = [["workload", "mean", *(part.replace("_", " ") for part in parts)]]
    for name, workload in summary["workloads"].items():
        for latency in LATENCIES:
            split = workload["split"][latency]
            rows.append([name, latency.upper(), *(percent(split[part], True) for part in parts)])
    return rows


def _latency_rows(summary: dict[str, Any]) -> list[list[str]]:
    rows = [["workload", "latency", *(f"{s}: measured, simulated, error" for s in STATISTICS)]]
    for name, workload in summary["workloads"].items():
        for latency in LATENCIES:
            cells = []
            for statistic in STATISTICS:
                found = workload["latency"][latency][statistic]
                ms = f"{found['measured_s'] * 1e3:.1f} ms, {found['simulated_s'] * 1e3:.1f} ms"
                cells.append(f"{ms}, {percent(found['error'], True)}")
            rows.append([name, latency.upper(), *cells])
    return rows


def _run_rows(summary: dict[str, Any]) -> list[list[str]]:
    rows = [["workload", "asks for", "requests", "per s", "busy", "mean decodes", "KV blocks",
             "steps, measured, simulated", "preemptions", "output tokens/s"]]  # fmt: skip
    for name, run in summary["workloads"].items():
        steps, lost, flow = run["engine_steps"], run["preemptions"], run["throughput"]
        rows.append(
            [
                name,
                run["asks"],
                str(run["requests"]),
                f"{run['rate_per_s']:.3g}",
                f"{run['busy']:.0%}",
                f"{run['mean_decodes']:.1f}",
                str(run["num_gpu_blocks"]),
                f"{steps['measured']}, {steps['simulated']}",
                f"{lost['measured']}, {lost['simulated']}",
                f"{flow['measured_per_s']:.0f}, {flow['simulated_per_s']:.0f}",
            ]
        )
    return rows


def _warnings(summary: dict[str, Any]) -> str:
    lines = [f"- {name}: {text}" for name, run in summary["workloads"].items() for text in run["warnings"]]
    return "\n".join(["What the simulations warn of:", "", *lines]) if lines else ""


def _same(decisions: dict[str, Any]) -> str:
    if decisions["identical"]:
        return f"all {decisions['steps']}"
    return f"{decisions['same']} of {decisions['steps']}"
