"""`servecast validate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sim.cli import completing
from sim.cli.app import app
from sim.cli.asked import keep_question
from sim.cli.options import Format, FromVllmArgs, NoFastForward, Quiet, Set, changes, refuse_silence
from sim.cli.progress import Progress
from sim.cli.terminal import console, print_json, say_written
from sim.errors import OptionError


@app.command()
def validate(
    scenario: Annotated[
        str,
        typer.Argument(help="A scenario's YAML file; its workload is not used.", autocompletion=completing.scenarios),
    ],
    measured: Annotated[
        Path, typer.Option(help="A real run: CSV, JSON lines, or a detailed `vllm bench serve` JSON, plain or .gz.")
    ],
    set_: Set = [],  # noqa: B006
    from_vllm_args: FromVllmArgs = "",
    column: Annotated[
        list[str], typer.Option(metavar="ROLE=NAME", help="What the file calls a column: arrival=ts, ttft=first_ms.")
    ] = [],  # noqa: B006
    format: Format = "table",
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw both runs.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write validation.json, requests.csv, picture and scenario to this folder.")
    ] = None,
    no_fast_forward: NoFastForward = False,
    quiet: Quiet = False,
) -> None:
    """Replay a real run through a scenario: measured, simulated and error of every metric.

    \b
    servecast validate my.yaml --measured bench.json --plot errors.png
    """
    from sim.insight.traces.opened import named_columns
    from sim.insight.validation import validate as replay
    from sim.insight.validation.save import save
    from sim.report.folder import check_file, check_folder

    refuse_silence(quiet, format, out, plot)
    replaced = {out: check_folder(out, "validate"), plot: check_file(plot)}
    columns = named_columns(column)
    overrides = changes(scenario, set_=set_, from_vllm_args=from_vllm_args, quiet=quiet)
    with Progress(shown=not quiet and sys.stderr.isatty()) as progress:
        try:
            found = replay(
                scenario, measured, columns=columns, overrides=overrides, fast_forward=not no_fast_forward,
                progress=progress.update,
            )  # fmt: skip
        except OptionError as error:
            raise error.for_command("--column", within="columns") from error
    save(found, out, plot)
    if out is not None:
        keep_question(out)
    if format == "json":
        print_json(found.summary)
        return
    if quiet:
        return
    from sim.report.validation import validation_report

    console().print(validation_report(found.summary))
    for place in (out, plot):
        if place is not None:
            say_written(place, replaced[place])
