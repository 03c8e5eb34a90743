"""A validation on disk: all of its files, or none."""

from pathlib import Path

from sim.errors import ServecastError
from sim.insight.validation.replay import Validation
from sim.report.folder import check_folder, whole
from sim.report.save import save_png, summary_json


def check_places(out: Path | None, plot: Path | None) -> None:
    """Refuse places that cannot be written to, before the work is done."""
    check_folder(out)
    if plot is not None and (not plot.name or plot.is_dir()):
        raise ServecastError(f"--plot {plot}: needs the name of a file, like validation.png")


def save(validation: Validation, out: Path | None, plot: Path | None) -> None:
    """Write validation.json, requests.csv, validation.png and scenario.resolved.yaml to `out`, a picture to `plot`."""
    if out is None and plot is None:
        return
    figure = validation.plot()
    if out is not None:
        with whole(out) as draft:
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
