"""`servecast diagnose`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sim.cli.app import app
from sim.cli.asked import keep_question
from sim.cli.options import Format, FromVllmArgs, Jobs, Quiet, Scenario, Set, Slo, changes, refuse_silence
from sim.cli.progress import Progress
from sim.cli.terminal import console, print_json, say_written


@app.command()
def diagnose(
    scenario: Scenario,
    slo: Slo = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="Run everything with so many seeds and take the means.")] = 1,
    set_: Set = [],  # noqa: B006
    from_vllm_args: FromVllmArgs = "",
    out: Annotated[
        Path | None, typer.Option(help="Write diagnosis.json, diagnosis.png and fixed.yaml to this folder.")
    ] = None,
    format: Format = "table",
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Say what holds a scenario back, what would mend it, and by how much: all of it simulated.

    \b
    servecast diagnose my.yaml --out diagnosis
    servecast diagnose my.yaml --set slo.ttft=1s --seeds 3
    """
    from sim.insight.diagnosis import diagnose as find
    from sim.insight.diagnosis.page import print_diagnosis
    from sim.report.folder import check_folder

    refuse_silence(quiet, format, out)
    replaced = check_folder(out, "diagnose")
    overrides = changes(scenario, set_=set_, from_vllm_args=from_vllm_args, slo=slo, quiet=quiet)
    with Progress("runs", shown=not quiet and sys.stderr.isatty()) as progress:
        found = find(scenario, seeds=seeds, overrides=overrides, jobs=jobs, progress=progress.update)
    if out is not None:
        found.save(out)
        keep_question(out, scenario, overrides)
    if format == "json":
        print_json(found.summary())
        return
    if quiet:
        return
    print_diagnosis(found, console(least=110))
    if out is not None:
        print()
        lines = "; fixed.yaml has the lines in it" if found.together else ""
        say_written(out, replaced, f": start with {out / 'diagnosis.png'}{lines}")
