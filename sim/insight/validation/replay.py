"""Send the requests of a real run through a scenario, and compare what came of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sim.document import Overrides, repeatable
from sim.errors import ScenarioError, TraceError
from sim.insight.validation.divergence import divergence
from sim.insight.validation.errors import (
    Floats,
    Pair,
    latency_errors,
    median_request_errors,
    statistics,
    throughput_errors,
    told,
)
from sim.metrics.numbers import json_ready
from sim.run import Result, run
from sim.scenario import Scenario, load
from sim.workload.measured.read import MeasuredRun, read_measured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "servecast-validation/1"


@dataclass(frozen=True, eq=False)
class Validation:
    """What a replay came to. summary: JSON-ready; requests: one row per compared request, both sides."""

    summary: dict[str, Any]
    requests: pd.DataFrame
    measured: MeasuredRun
    result: Result

    def __repr__(self) -> str:
        errors = ", ".join(f"{name} {self.error(name):+.1%}" for name in ("ttft", "tpot", "e2e"))
        return f"<Validation of {self.summary['name']!r}: {len(self.requests)} requests compared, means {errors}>"

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from sim.insight.cards import report_card
        from sim.report.validation import validation_parts

        return report_card(validation_parts(self.summary))

    @property
    def diverged(self) -> bool:
        """Whether the two runs are in different regimes."""
        return bool(self.summary["divergence"]["diverged"])

    def error(self, latency: str, statistic: str = "mean") -> float:
        """simulated / measured - 1 of one statistic (mean, p50, p90, p99) of ttft, tpot or e2e."""
        return float(self.summary["metrics"][latency][statistic]["error"])

    def plot(self) -> "Figure":
        """Both runs over time, and their distributions."""
        from sim.report.validation import validation_figure

        return validation_figure(self.summary, self.requests)


def validate(
    scenario: Scenario | str | Path | dict[str, Any],
    measured: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    overrides: Overrides = (),
    fast_forward: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Validation:
    """Replay the requests of the file `measured` through `scenario`, whose own workload is not used.

    `columns` says what the file calls those of its columns that are not known by their usual names, by role. Arrivals,
    prompt and output lengths and shared prompts are replayed; requests that failed are sent and not
    compared. Raises ServecastError for whatever the user can mend.
    """
    overrides = repeatable(overrides)
    if touched := [text for text in overrides if str(text).strip().startswith("workload")]:
        raise ScenarioError(f"--set {touched[0]}: a validation takes its workload from the measured run; leave it out")
    real = read_measured(measured, columns)
    file = str(Path(measured).expanduser().resolve())
    loaded = load(scenario, overrides, workload={"trace": {"measured": {"path": file, "columns": dict(columns or {})}}})
    result = run(loaded, fast_forward=fast_forward, progress=progress)
    table = paired(real, result)
    if table.empty:
        raise TraceError(f"{measured}: no request was answered by both sides, so there is nothing to compare")
    return Validation(_summary(real, result, table, Path(measured)), table, real, result)


def paired(real: MeasuredRun, result: Result) -> pd.DataFrame:
    """One row per request that both sides answered and the scenario measures, in the order of sending.

    Columns: arrival_s, prompt_tokens, output_tokens, stage (if the file has stages), and measured_ and
    simulated_ ttft_s, tpot_s, e2e_s, in seconds.
    """
    simulated = result.requests.sort_values("id", kind="stable")
    table = pd.DataFrame(
        {
            "arrival_s": real.table.arrival_s,
            "prompt_tokens": real.table.prompt_tokens,
            "output_tokens": real.table.output_tokens,
        }
    )
    if real.stage is not None:
        table["stage"] = real.stage
    for name in ("ttft", "tpot", "e2e"):
        table[f"measured_{name}_s"] = getattr(real, f"{name}_s")
        table[f"simulated_{name}_s"] = simulated[f"{name}_s"].to_numpy(np.float64)
    answered = (simulated["status"] == "finished").to_numpy() & simulated["measured"].to_numpy(bool)
    compared: pd.DataFrame = table[real.answered & answered]
    return compared


def _summary(real: MeasuredRun, result: Result, table: pd.DataFrame, file: Path) -> dict[str, Any]:
    said, counts = result.scenario, result.summary["requests"]
    whole = _compared(table)
    whole["metrics"]["itl"] = _itl(real, result)
    head = {
        "format": FORMAT,
        "name": said.name,
        "model": result.summary["model_id"],
        "gpu": result.summary["gpu"],
        "tensor_parallel": said.cluster.tensor_parallel,
        "replicas": said.cluster.replicas,
        "measured_file": file.name,
        "requests": {
            "sent": counts["total"],
            "compared": len(table),
            "failed_in_measured": int((~real.answered).sum()),
            "rejected_in_simulated": counts["rejected"],
        },
    }
    stages = []
    if real.stage is not None:
        for stage, rows in table.groupby("stage", sort=False):
            stages.append({"stage": stage, "requests": len(rows), **_compared(rows)})
    found: dict[str, Any] = json_ready(
        {
            **head,
            **whole,
            "stages": stages,
            "simulated": {name: result.summary[name] for name in _TOLD},
            "validity": result.summary["validity"],
            "warnings": result.summary["warnings"],
            "made_with": result.summary["made_with"],
        }
    )
    return found


_TOLD = ("preemptions", "recomputed_tokens", "prefix_cache_hit_rate", "kv_occupancy_peak", "batch_size_mean")
"""Fields of the run's own summary that help to read the errors."""


def _compared(table: pd.DataFrame) -> dict[str, Any]:
    latencies, rates = latency_errors(table), throughput_errors(table)
    verdict = divergence(table, latencies, rates["output_tokens_per_s"])
    return {
        "diverged": verdict.diverged,
        "metrics": {name: told(pairs, "_s") for name, pairs in latencies.items()},
        "throughput": told(rates),
        "median_request_error": median_request_errors(table),
        "divergence": verdict.told(),
    }


def _itl(real: MeasuredRun, result: Result) -> dict[str, Any] | None:
    """Gaps between tokens pooled over all requests; None when the file does not tell them."""
    if real.itl_s is None:
        return None
    gaps: Floats = np.concatenate(real.itl_s)
    if not gaps.size:
        return None
    measured = statistics(gaps, gaps)
    summary = result.summary
    names = {"mean": "mean_itl_ms", "p50": "p50_itl_ms", "p90": "p90_itl_ms", "p99": "p99_itl_ms"}
    simulated = {name: (summary[field] or np.nan) / 1e3 for name, field in names.items()}
    return told({name: Pair(pair.measured, simulated[name]) for name, pair in measured.items()}, "_s")
