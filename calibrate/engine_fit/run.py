"""`servecast calibrate engine`: read the logs, fit, split the error, write the snippet."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from calibrate.engine_fit.fit import EngineFit, fit_engine, simulate
from calibrate.engine_fit.replay import Replay, mean_errors
from calibrate.engine_fit.split import split_errors
from calibrate.engine_fit.steps import read_steps
from sim.errors import ServecastError, TraceError
from sim.metrics.numbers import json_ready
from sim.scenario import load
from sim.workload.measured.read import read_measured

FORMAT = "servecast-engine-fit/1"
_FEWEST_REQUESTS = 32


def engine_fit(
    requests: Path, scenario: Path, steps: Path | None, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Fit the scenario's host costs to a log of requests; returns a JSON-ready report.

    Raises ServecastError for what cannot be read or is too little.
    """
    run = read_measured(requests)
    if int(run.answered.sum()) < _FEWEST_REQUESTS:
        raise TraceError(f"{requests} has {int(run.answered.sum())} answered requests; a fit needs {_FEWEST_REQUESTS}")
    file = str(requests.expanduser().resolve())
    name = requests.name.split(".")[0]
    replay = Replay(name, load(scenario, workload={"trace": {"measured": {"path": file}}}), run)
    found = None if steps is None else read_steps(steps, replay)
    scale = None if found is None else found.scale(replay.costs["host_exposed_s"])
    fit = fit_engine(replay, scale, say)
    say("splitting the error")
    parts = split_errors(replay, fit, scale)
    before = mean_errors(replay.measured, replay.simulated())
    after = mean_errors(replay.measured, simulate(replay, fit.values(), scale))
    report: dict[str, Any] = json_ready(
        {
            "format": FORMAT,
            "requests_file": requests.name,
            "steps_file": None if steps is None else steps.name,
            "requests": len(replay.rows),
            "costs": {cost.name: cost.told() for cost in fit.costs},
            "left": {"rms_tpot": fit.rms["tpot"], "rms_ttft": fit.rms["ttft"], "blocks": fit.blocks},
            "error_of_means": {"before": before, "after": after},
            "error_split": parts,
            "steps": None if found is None else found.told(),
            "simulations": fit.evaluations,
            "engine": snippet(fit),
            "notes": _notes(fit, replay, scale is not None),
        }
    )
    return report


def snippet(fit: EngineFit) -> dict[str, float]:
    """The keys of a scenario's `engine:` section that the log could tell, in seconds."""
    return {cost.name: float(f"{cost.value:.6g}") for cost in fit.costs if cost.identified}


def write_snippet(report: dict[str, Any], path: Path) -> None:
    """Write the fitted keys as YAML, each with its interval and where it is from. Raises ServecastError."""
    lines = [
        "# Host costs for a scenario's `engine:` section, in seconds, with 95% intervals.",
        f"# imported: fitted by simulation to {report['requests_file']} ({report['requests']:,} requests).",
    ]
    body = yaml.safe_dump({"engine": report["engine"]}, sort_keys=False).splitlines()
    for line in body:
        cost = report["costs"].get(line.strip().split(":")[0])
        lines.append(line if cost is None else f"{line}  # {cost['low']:.3g} to {cost['high']:.3g}; {cost['meaning']}")
    lines += [f"# {note}" for note in report["notes"]]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise ServecastError(f"cannot write {path}: {error.strerror or error}") from error


def _notes(fit: EngineFit, replay: Replay, told: bool) -> list[str]:
    notes = list(replay.run.notes)
    for cost in fit.costs:
        if not cost.identified:
            notes.append(f"{cost.name} does not show in this log and was left at {cost.before:.3g}")
        elif cost.like:
            notes.append(f"{cost.name} acts here almost as {' and '.join(cost.like)}; only their sum is sure")
    if not told:
        notes.append("without --steps an error of the step times cannot be told from overhead, and is a part of it")
    if replay.setup.timing.overlap:
        notes.append("host_step_s and host_seq_s hide behind the GPU of an asynchronous engine and were not fitted")
    return notes
