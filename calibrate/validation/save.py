"""A validation on disk: report, JSON, pictures and every logged step and request; all of them, or none."""

import json
import shutil
from pathlib import Path

from calibrate.validation.pictures import latency_picture, steps_picture
from calibrate.validation.report import markdown
from calibrate.validation.run import Validation
from sim.report.folder import whole
from sim.report.save import save_png

LOGS = "validation_logs"


def save(validation: Validation, folder: Path) -> Path:
    """Write validation.json, validation_report.md, two pictures, and the logs' CSV files; returns the folder.

    Everything is written into a hidden neighbour first. Files of an earlier validation are replaced, others
    stay. Raises ServecastError when the folder cannot be written.
    """
    with whole(folder, "calibrate validate") as draft:
        _write_all(validation, draft)
        shutil.rmtree(folder / LOGS, ignore_errors=True)  # a folder does not replace one that holds files
    return folder


def _write_all(validation: Validation, draft: Path) -> None:
    summary, runs = validation.summary, validation.runs
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    (draft / "validation.json").write_text(text, encoding="utf-8")
    (draft / "validation_report.md").write_text(markdown(validation), encoding="utf-8")
    where = f"{summary['model']} on {summary['device']['name']}"
    save_png(steps_picture(runs, f"Step times, {where}"), draft / "validation_steps.png")
    save_png(latency_picture(runs, f"Latencies of requests, {where}"), draft / "validation_latency.png")
    logs = draft / LOGS
    logs.mkdir()
    for run in runs:
        run.log.write(logs, run.name)
        run.requests.to_csv(logs / f"{run.name}_requests.csv", index=False, lineterminator="\n")
