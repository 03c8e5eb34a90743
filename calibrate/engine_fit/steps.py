"""Step times from an engine's own log, against the profile's.

A row is a step, or the first of several like ones: decode tokens, prefill tokens and the wall time, under their
usual names with the unit at the end (step_time_us, mean_step_us_to_next, wall_s). Steps with prefill are left out:
a log that tells neither context nor chunks cannot be compared there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibrate.engine_fit.replay import Floats, Replay
from sim.errors import TraceError
from sim.models.shape import BatchShape

_DECODES = ("decode_tokens", "num_decode_tokens", "decodes", "num_decode_reqs", "batch_size")
_PREFILL = ("prefill_tokens", "num_prefill_tokens")
_CONTEXT = ("context_tokens", "decode_context_tokens")
_TIMES = ("mean_step_us_to_next", "wall", "step_time", "duration", "step_duration", "latency")
_UNITS = {"_us": 1e6, "_ms": 1e3, "_s": 1.0}
_SMOOTH = 8.0  # batch sizes within this share of each other are averaged: batch / 8 to either side
_FEWEST = 10


@dataclass(frozen=True, eq=False)
class StepErrors:
    """measured / predicted of pure decode steps by batch size; predicted by the profile and the host costs."""

    batch: Floats
    measured_s: Floats
    predicted_s: Floats

    def scale(self, exposed_s: float) -> Callable[[int], float]:
        """A smooth factor on the GPU time of a step, by its number of rows; constant beyond the log."""
        ratio = (self.measured_s - exposed_s) / np.maximum(self.predicted_s - exposed_s, 1e-9)
        sizes = np.unique(self.batch)
        factors = []
        for size in sizes:
            near = np.abs(self.batch - size) <= max(size / _SMOOTH, 0.5)
            factors.append(float(np.median(ratio[near])))
        return lambda rows: float(np.interp(rows, sizes, factors))

    def told(self) -> dict[str, Any]:
        """As JSON: signed and absolute median error."""
        error = self.predicted_s / self.measured_s - 1
        return {
            "steps": len(self.batch),
            "median_error": float(np.median(error)),
            "median_absolute_error": float(np.median(np.abs(error))),
            "p95_absolute_error": float(np.percentile(np.abs(error), 95)),
        }


def read_steps(path: Path, replay: Replay) -> StepErrors:
    """Compare a log of steps (CSV, plain or .gz) with the step times that the replay's scenario has.

    A log of several runs names them in a column `experiment`; rows of the replay's name count. Contexts that the
    log does not tell are taken as the mean prompt and half the mean output. Raises TraceError for a file without
    the columns, or too few pure decode steps.
    """
    try:
        log = pd.read_csv(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise TraceError(f"{path} cannot be read as CSV ({error})") from None
    if "experiment" in log.columns and (log["experiment"] == replay.name).any():
        log = log[log["experiment"] == replay.name]
    decodes, wall_s = _column(log, path, _DECODES), _wall(log, path)
    prefill = next((log[name].to_numpy(np.float64) for name in _PREFILL if name in log.columns), np.zeros(len(log)))
    pure = (prefill == 0) & (decodes >= 1) & np.isfinite(wall_s) & (wall_s > 0)
    if int(pure.sum()) < _FEWEST:
        raise TraceError(f"{path} has {int(pure.sum())} pure decode steps with a time; {_FEWEST} are needed")
    given = next((log[name].to_numpy(np.float64) for name in _CONTEXT if name in log.columns), None)
    table = replay.run.table
    each = float(table.prompt_tokens.mean() + table.output_tokens.mean() / 2)
    contexts = decodes * each if given is None else given
    timer = replay.setup.timer()
    predicted = [
        timer.step(BatchShape([], int(batch), round(context), int(batch))).total_s
        for batch, context in zip(decodes[pure], contexts[pure], strict=True)
    ]
    return StepErrors(decodes[pure], wall_s[pure], np.array(predicted))


def _column(log: pd.DataFrame, path: Path, names: tuple[str, ...]) -> Floats:
    for name in names:
        if name in log.columns:
            return log[name].to_numpy(np.float64)
    raise TraceError(f"{path}: no column tells the decodes of a step; name one {names[0]}")


def _wall(log: pd.DataFrame, path: Path) -> Floats:
    for stem in _TIMES:
        for name in log.columns:
            unit = next((unit for unit in _UNITS if name == stem + unit), None)
            if name == stem == "mean_step_us_to_next":
                unit = "_us"
            if unit is not None:
                return log[name].to_numpy(np.float64) / _UNITS[unit]
    raise TraceError(f"{path}: no column tells the wall time of a step; name one step_time_s, _ms or _us")
