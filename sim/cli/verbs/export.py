"""`servecast export`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from sim.cli import completing
from sim.cli.app import app
from sim.cli.options import FromVllmArgs, Quiet, Set, changes
from sim.cli.progress import Progress, waiting
from sim.cli.terminal import say_written


@app.command()
def export(
    result: Annotated[
        str,
        typer.Argument(
            help="A folder written by `run --out`, or a scenario, to be run.", autocompletion=completing.scenarios
        ),
    ],
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    to: Annotated[
        Literal["vllm-bench", "prometheus", "openmetrics"],
        typer.Option(
            help="`vllm bench serve`'s JSON; vLLM's metrics at the end of the run; or these over time, for promtool."
        ),
    ],
    detailed: Annotated[bool, typer.Option(help="vllm-bench: with the lists of requests and token gaps.")] = True,
    epoch: Annotated[float, typer.Option(min=0, help="openmetrics: when the run begins, in Unix time [s].")] = 0.0,
    set_: Set = [],  # noqa: B006
    from_vllm_args: FromVllmArgs = "",
    quiet: Quiet = False,
) -> None:
    """Write a run in a format of other tools.

    \b
    servecast export out/quickstart bench.json --to vllm-bench
    servecast export out/quickstart metrics.txt --to prometheus
    servecast export out/quickstart series.txt --to openmetrics --epoch 1735689600
    """
    from sim.export.saved import open_run
    from sim.report.folder import check_file, write_whole

    replaced = check_file(file)
    overrides = changes(result, set_=set_, from_vllm_args=from_vllm_args, quiet=quiet)
    with Progress(shown=not quiet and sys.stderr.isatty()) as progress:
        run = open_run(result, overrides, progress.update)
    notes: list[str] = []
    with waiting(f"writing {file}"):
        if to == "vllm-bench":
            import json

            from sim.export.vllm_bench import bench_result

            found, notes = bench_result(run, detailed=detailed)
            text = json.dumps(found, allow_nan=False)
        else:
            from sim.export.prometheus import series, snapshot

            text = snapshot(run) if to == "prometheus" else series(run, epoch)
        write_whole(file, text)
    if quiet:
        return
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    say_written(file, replaced)
