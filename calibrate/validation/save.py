"""A validation on disk: report, JSON, pictures and every logged step and request; all of them, or none."""

import json
import os
import shutil
from pathlib import Path

from calibrate.validation.pictures import latency_picture, steps_picture
from calibrate.validation.report import markdown
from calibrate.validation.run import Validation
from sim.errors import ServecastError
from sim.report import save_png

LOGS = "validation_logs"


def check_folder(folder: Path) -> Path:
    """The folder, if results could be written there; raises ServecastError before time is spent on them."""
    if not folder.name:
        raise ServecastError("--out needs the name of a folder")
    if folder.exists() and not folder.is_dir():
        raise ServecastError(f"--out {folder}: there is a file of that name; choose another folder")
    return folder


def save(validation: Validation, folder: Path) -> Path:
    """Write validation.json, validation_report.md, two pictures, and the logs' CSV files; returns the folder.

    Everything is written into a hidden neighbour first. Files of an earlier validation are replaced, others
    stay. Raises ServecastError when the folder cannot be written.
    """
    folder = folder.absolute()
    draft = folder / f".validation.partial-{os.getpid()}"
    try:
        draft.mkdir(parents=True)
        _write_all(validation, draft)
        shutil.rmtree(folder / LOGS, ignore_errors=True)
        for path in sorted(draft.iterdir()):
            os.replace(path, folder / path.name)
    except OSError as error:
        raise ServecastError(f"cannot write the validation to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
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
