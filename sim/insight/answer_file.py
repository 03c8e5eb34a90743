"""What `size` and `capacity` write with --out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sim.insight.comparison import metrics_of
from sim.metrics.numbers import json_ready
from sim.report.folder import MARKS, whole
from sim.report.save import summary_json


def save_answers(
    folder: Path, verb: str, answers: str, found: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], *,
    name: str, attainment: float, limits: Sequence[str],
) -> None:  # fmt: skip
    """Write the verb's answers about the scenario `name` into `folder`, whole or not at all.

    Each is its own figures and the summary of the run behind it ({} where there is none); together they are `answers`.
    """
    told = {"name": name, "attainment": attainment, "limits": list(limits)}
    told[answers] = [{**figures, **_kept(summary)} for figures, summary in found]
    told["made_with"] = next((summary["made_with"] for _, summary in found if summary), {})
    with whole(folder, verb) as draft:
        (draft / MARKS[verb]).write_text(summary_json(json_ready(told)), encoding="utf-8")


def _kept(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a saved answer keeps of the run behind it."""
    if not summary:
        return {"metrics": {}, "gpu_time": {}, "slo": None, "validity": None}
    kept = {"slo": summary["slo"], "validity": summary["validity"]}
    return {"metrics": metrics_of(summary), "gpu_time": summary["gpu_time"]["fraction"], **kept}
