"""`servecast timeline`."""

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from sim.cli import completing
from sim.cli.app import app
from sim.cli.options import FromVllmArgs, Quiet, Set, changes
from sim.cli.progress import Progress, waiting
from sim.cli.terminal import say_written


@app.command()
def timeline(
    result: Annotated[
        str,
        typer.Argument(
            help="A folder written by `run --out`, or a scenario, to be run.", autocompletion=completing.scenarios
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write; compressed if it ends in .gz.")] = Path(
        "timeline.json.gz"
    ),
    start: Annotated[float, typer.Option(min=0, help="Leave out what ends before this time [s].")] = 0.0,
    duration: Annotated[float, typer.Option(help="How much to show [s]; default: all.")] = math.inf,
    events: Annotated[int, typer.Option(min=1000, help="About how many events; larger runs are thinned.")] = 200_000,
    set_: Set = [],  # noqa: B006
    from_vllm_args: FromVllmArgs = "",
    quiet: Quiet = False,
) -> None:
    """Write a run's timeline for https://ui.perfetto.dev: steps and requests of every replica, queue and KV.

    \b
    servecast timeline out/quickstart --out t.json.gz
    servecast timeline quickstart --start 20 --duration 5     # five seconds of it
    """
    from sim.export.perfetto import write_timeline
    from sim.export.saved import open_run
    from sim.report.folder import check_file

    replaced = check_file(out)
    overrides = changes(result, set_=set_, from_vllm_args=from_vllm_args, quiet=quiet)
    with Progress(shown=not quiet and sys.stderr.isatty()) as progress:
        run = open_run(result, overrides, progress.update)
    with waiting(f"writing {out}"):
        notes = write_timeline(run, out, start_s=start, duration_s=duration, most_events=events)
    if quiet:
        return
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    say_written(out, replaced, ": open it at https://ui.perfetto.dev")
