"""The synthetic workload that looks like a trace, and how much it does."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sim.insight.traces.describe import dispersions, known, quantiles, rank_correlation
from sim.insight.traces.fit_arrivals import Candidate, draw_times, fit_arrivals
from sim.insight.traces.fit_lengths import fit_lengths, poor
from sim.insight.traces.fit_prefix import fit_prefix
from sim.insight.traces.fit_sessions import fit_sessions
from sim.insight.traces.fitting import ks_distance
from sim.insight.traces.opened import Opened
from sim.workload.burstiness import gap_cv, mean_rate_per_s
from sim.workload.reuse import measure_reuse
from sim.workload.spec import Workload
from sim.workload.table import Floats, RequestTable

_KS_BESIDE = {"gap_cv": "gaps", "prompt_tokens p50": "prompt_tokens", "output_tokens p50": "output_tokens"}
_NO_TIMES: dict[str, Any] = {"poisson": {"rate_per_s": 1.0}}


@dataclass(frozen=True, eq=False)
class Fit:
    """`workload`: what to write into a scenario; `match`: trace and synthetic side by side, and KS distances;
    `candidates`: the arrival processes tried, the chosen one first; `remarks`: what to know before using it."""

    workload: dict[str, Any]
    match: dict[str, Any]
    candidates: list[Candidate]
    remarks: list[str]

    def as_json(self) -> dict[str, Any]:
        """All of it, as plain JSON."""
        tried = [
            {"process": c.process, "ks": c.ks, "dispersion_error": c.dispersion_error, "distance": c.distance}
            for c in self.candidates
        ]
        return {"workload": self.workload, "match": self.match, "arrivals_tried": tried, "remarks": self.remarks}

    def as_yaml(self) -> str:
        """The workload as YAML that a scenario can take, with the comparison as comments above it."""
        text = yaml.safe_dump({"workload": self.workload}, sort_keys=False, default_flow_style=None, width=110)
        return "\n".join([*(f"# {line}" for line in self._told()), text])

    def _told(self) -> list[str]:
        lines = [f"{'':24}{'trace':>12}{'this':>12}{'KS':>8}"]
        for name, sides in self.match["values"].items():
            distance = self.match["ks"].get(_KS_BESIDE.get(name))
            ours = (f"{'-' if sides[side] is None else format(sides[side], '.4g'):>12}" for side in ("trace", "fit"))
            lines.append(f"{name:24}{''.join(ours)}{'' if distance is None else format(distance, '.3f'):>8}")
        others = ", ".join(f"{c.name} {c.distance:.2f}" for c in self.candidates)
        return [*lines, *([f"arrivals tried, by distance: {others}"] if others else []), *self.remarks]


def fit(opened: Opened, seed: int = 0, lengths_out: Path | None = None) -> Fit:
    """Fit arrivals, lengths, shared prefixes and growing conversations, draw the workload, hold it against the trace.

    With `lengths_out`, the pairs of lengths are written there as CSV and the workload draws from that file; those of
    conversations are not, since they are sums.
    """
    table = opened.spread(seed)
    remarks = [] if opened.grid_s is None else [f"arrivals were spread within their {opened.grid_s:.3g} s grid first"]
    talks = fit_sessions(table, seed)
    times = table.arrival_s if talks is None else talks.starts_s
    candidates = fit_arrivals(times, seed) if opened.timed else []
    if not opened.timed:
        remarks.append("the file has no arrival times; the rate below is a place to write your own")
    workload: dict[str, Any] = {"arrivals": candidates[0].process if candidates else _NO_TIMES}
    if talks is not None:
        workload |= talks.workload
        remarks += talks.remarks
    else:
        workload |= _single(table, seed, lengths_out, remarks)
    drawn = Workload.model_validate(workload).table(seed, Path())
    match = _match(table, drawn, times if opened.timed else None, candidates, seed)
    if talks is not None and lengths_out is not None:
        remarks.append(
            "--lengths was left alone: the prompts of conversations are sums, which no list of lengths gives"
        )
    far = [name for name in ("prompt_tokens", "output_tokens") if poor(match["ks"][name])]
    if far:
        sides = " and ".join(name.split("_")[0] for name in far)
        mend = "; --lengths FILE.csv keeps the trace's own" if talks is None else ""
        remarks.append(f"{sides} lengths fit poorly{mend}")
    return Fit(workload, match, candidates, remarks)


def _single(table: RequestTable, seed: int, lengths_out: Path | None, remarks: list[str]) -> dict[str, Any]:
    """Keys of requests that stand alone: lengths, what their prompts share, and how many."""
    shared = fit_prefix(table)
    remarks += [shared.remark] if shared.remark else []
    workload: dict[str, Any] = {}
    if lengths_out is not None and shared.rows is None:
        _write_lengths(lengths_out, shared.own_tokens, table.output_tokens)
        workload["lengths"] = {"empirical": {"path": str(lengths_out)}}
    else:
        workload |= fit_lengths(shared.own_tokens, table.output_tokens, seed, apart=shared.rows is not None)
    if shared.prefix is not None:
        workload["prefix"] = shared.prefix
    return workload | {"requests": len(table)}


def _write_lengths(path: Path, prompt: Any, output: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["prompt_tokens", "output_tokens"])
        writer.writerows(zip(prompt.tolist(), output.tolist(), strict=True))


def _match(
    table: RequestTable, drawn: RequestTable, times: Floats | None, candidates: list[Candidate], seed: int
) -> dict[str, Any]:
    """Trace and synthetic workload side by side, and the distances of their distributions."""
    values: dict[str, dict[str, float | None]] = {}
    distances: dict[str, float] = {}
    if times is not None:
        arrivals = [_arrivals(times), _drawn_arrivals(candidates[0], times, seed)]
        values |= {name: {"trace": arrivals[0][name], "fit": arrivals[1][name]} for name in arrivals[0]}
        distances["gaps"] = candidates[0].ks
    for name in ("prompt_tokens", "output_tokens"):
        sides = [getattr(side, name) for side in (table, drawn)]
        told = [quantiles(side) for side in sides]
        values |= {f"{name} {q}": {"trace": told[0][q], "fit": told[1][q]} for q in ("mean", "p50", "p99")}
        distances[name] = ks_distance(*sides)
    related = [known(rank_correlation(side.prompt_tokens, side.output_tokens)) for side in (table, drawn)]
    values["length correlation"] = {"trace": related[0], "fit": related[1]}
    if table.segments is not None:
        rates = [0.0 if (reuse := measure_reuse(side)) is None else reuse.token_hit_rate for side in (table, drawn)]
        values["prefix token hit rate"] = {"trace": rates[0], "fit": rates[1]}
    return {"values": values, "ks": distances}


def _arrivals(times: Floats) -> dict[str, float | None]:
    windows = {f"IDC in {name}": value for name, value in dispersions(times).items()}
    return {"rate_per_s": known(mean_rate_per_s(times)), "gap_cv": known(gap_cv(times)), **windows}


def _drawn_arrivals(chosen: Candidate, times: Floats, seed: int) -> dict[str, float | None]:
    """The mean over several draws, for a single one of a bursty process says little."""
    span = float(times[-1] - times[0])
    if span <= 0:
        return _arrivals(times)
    told = [_arrivals(drawn) for drawn in draw_times(chosen.process, span, seed, 5 if len(times) < 100_000 else 2)]
    means = {}
    for name in told[0]:
        some = [value for one in told if (value := one[name]) is not None]
        means[name] = float(np.mean(some)) if some else None
    return means
