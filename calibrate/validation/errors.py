"""How far the simulation is from the engine, step by step and request by request."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from calibrate.reference_engine.log import ServingLog
from calibrate.validation.host import HostCost
from sim.latency import StepTime
from sim.models import BatchShape

Numbers = NDArray[np.float64]
KINDS = ("prefill", "decode", "mixed")
LATENCIES = ("ttft", "tpot", "e2e")
STATISTICS = ("mean", "p50", "p90", "p99")


def kind_of(shape: BatchShape) -> str:
    """prefill, decode or mixed; empty for a step in which nothing was computed."""
    if not shape.decodes and not shape.prefills:
        return ""
    return "mixed" if shape.decodes and shape.prefills else "prefill" if shape.prefills else "decode"


def step_table(log: ServingLog, times: Sequence[StepTime], host: HostCost) -> pd.DataFrame:
    """One row per step: its kind, measured and predicted seconds of all, of the forward pass and of the host."""
    host_s = [host.predict(shape) for shape in log.shapes]
    table = pd.DataFrame(
        {
            "kind": [kind_of(shape) for shape in log.shapes],
            "measured_s": [step.duration_s for step in log.steps],
            "predicted_s": [time.total_s for time in times],
            "device_s": [step.device_s - host.start_s for step in log.steps],
            "predicted_device_s": [time.total_s - own for time, own in zip(times, host_s, strict=True)],
            "host_s": [step.host_s + host.start_s for step in log.steps],
            "predicted_host_s": host_s,
            "extrapolated": [time.extrapolated for time in times],
        }
    )
    return table[table["kind"] != ""].reset_index(drop=True)


def step_errors(table: pd.DataFrame) -> dict[str, Any]:
    """Per kind of step, and of all: how many, median and p95 of |error|, and the error of their sum; shares."""
    groups = {"all": table, **{kind: table[table["kind"] == kind] for kind in KINDS}}
    return {name: _step_errors(rows) for name, rows in groups.items() if len(rows)}


def _step_errors(rows: pd.DataFrame) -> dict[str, Any]:
    measured, predicted = _column(rows, "measured_s"), _column(rows, "predicted_s")
    device, own = _column(rows, "device_s"), _column(rows, "predicted_device_s")
    host_left = np.abs(_column(rows, "predicted_host_s") - _column(rows, "host_s"))
    errors = np.abs(predicted / measured - 1)
    return {
        "steps": len(rows),
        "median": float(np.median(errors)),
        "p95": float(np.percentile(errors, 95)),
        "total": float(predicted.sum() / measured.sum() - 1),
        "device_median": float(np.median(np.abs(own / device - 1))),
        "device_total": float(own.sum() / device.sum() - 1),
        "host_median_of_step": float(np.median(host_left / measured)),
        "extrapolated": float(rows["extrapolated"].mean()),
    }


def request_table(log: ServingLog, simulated: pd.DataFrame) -> pd.DataFrame:
    """One row per request: the engine's columns, and the simulation's latencies."""
    table = pd.DataFrame([vars(row) for row in log.requests])
    for name in LATENCIES:
        table[f"simulated_{name}_s"] = simulated[f"{name}_s"].to_numpy()
    table["simulated_preemptions"] = simulated["preemptions"].to_numpy()
    return table


def latency_errors(table: pd.DataFrame) -> dict[str, Any]:
    """Per latency: each statistic measured (seconds), simulated and its error; and the median over the requests."""
    return {name: _latency_errors(table, name) for name in LATENCIES}


def _latency_errors(table: pd.DataFrame, name: str) -> dict[str, Any]:
    measured, simulated = _column(table, f"{name}_s"), _column(table, f"simulated_{name}_s")
    known = ~np.isnan(measured)
    measured, simulated = measured[known], simulated[known]
    found: dict[str, Any] = {}
    for statistic in STATISTICS:
        one, other = _statistic(measured, statistic), _statistic(simulated, statistic)
        found[statistic] = {"measured_s": one, "simulated_s": other, "error": other / one - 1}
    found["median_request_error"] = float(np.median(np.abs(simulated / measured - 1)))
    return found


def throughput_error(log: ServingLog, simulated: pd.DataFrame) -> dict[str, float]:
    """Output tokens per second from the first arrival to the last token, measured and simulated."""
    first_s = log.requests[0].arrival_s
    tokens = sum(row.output_tokens for row in log.requests)
    measured = tokens / (max(row.arrival_s + row.e2e_s for row in log.requests) - first_s)
    predicted = tokens / (float(simulated["finish_s"].max()) - first_s)
    return {"measured_per_s": measured, "simulated_per_s": predicted, "error": predicted / measured - 1}


def error_split(log: ServingLog, replayed: pd.DataFrame, own_host: pd.DataFrame, simulated: pd.DataFrame) -> Any:
    """Where the error of each latency's mean comes from, as shares of the measured mean; they add up to the error.

    scheduling: what is left with the engine's own step times; step_time: what the step times of the profile
    add to that, with the host cost fitted to this very run; host: what the host cost of the calibration run
    adds.
    """
    measured = pd.DataFrame([vars(row) for row in log.requests])
    split = {}
    for name in LATENCIES:
        means = [float(np.nanmean(_column(table, f"{name}_s"))) for table in (measured, replayed, own_host, simulated)]
        real, replay, own, predicted = means
        split[name] = {
            "scheduling": (replay - real) / real,
            "step_time": (own - replay) / real,
            "host": (predicted - own) / real,
            "all": (predicted - real) / real,
        }
    return split


def _statistic(values: Numbers, name: str) -> float:
    return float(np.mean(values) if name == "mean" else np.percentile(values, float(name[1:])))


def _column(table: pd.DataFrame, name: str) -> Numbers:
    return table[name].to_numpy(np.float64)
