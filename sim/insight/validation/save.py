"""A validation on disk: all of its files, or none."""

from pathlib import Path

from sim.errors import ServecastError
from sim.insight.validation.replay import Validation
from sim.report.folder import whole
from sim.report.save import save_png, summary_json


def save(validation: Validation, out: Path | None, plot: Path | None) -> None:
    """Write validation.json, requests.csv, validation.png and scenario.resolved.yaml to `out`, a picture to `plot`."""
    if out is None and plot is None:
        return
    figure = validation.plot()
    if out is not None:
        with whole(out, "validate") as draft:
            (draft / "validation.json").write_text(summary_json(validation.summary), encoding="utf-8")
            validation.requests.to_csv(draft / "requests.csv", index_label="request")
            save_png(figure, draft / "validation.png")
            resolved = validation.result.scenario.to_yaml(out)
            (draft / "scenario.resolved.yaml").write_text(resolved, encoding="utf-8")
    if plot is not None:
        try:
            plot.parent.mkdir(parents=True, exist_ok=True)
            save_png(figure, plot)
        except OSError as error:
            raise ServecastError(f"cannot write {plot}: {error.strerror or error}") from error
