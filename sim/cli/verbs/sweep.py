"""`servecast sweep`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sim.cli.app import app
from sim.cli.asked import keep_question
from sim.cli.options import FromVllmArgs, Jobs, Quiet, Scenario, Set, changes
from sim.cli.progress import Progress
from sim.cli.terminal import console, say_written
from sim.errors import StoppedError


@app.command()
def sweep(
    scenario: Scenario,
    grid: Annotated[
        list[str],
        typer.Option(
            help="A key and its values, engine.max_num_seqs=64,128, or, to --search, a range, 16:1024:log; repeatable."
        ),
    ],
    search: Annotated[
        int | None, typer.Option(help="Do not run all combinations but search them, with so many trials.")
    ] = None,
    objective: Annotated[
        list[str], typer.Option(help="What counts, may be repeated; default: goodput, p99 TTFT and cost.")
    ] = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="Run each point with so many seeds and take the means.")] = 1,
    set_: Set = [],  # noqa: B006
    from_vllm_args: FromVllmArgs = "",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Keep the runs in this folder, so that a stopped sweep goes on, and write sweep.csv and sweep.png."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on this Ray cluster (auto, ray://host:10001; local: start one)."),
    ] = None,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Run a scenario at many points of its settings, and say which of them no other beats.

    \b
    servecast sweep my.yaml --grid engine.max_num_seqs=64,128,256 --grid cluster.replicas=1,2 --out sweep
    servecast sweep my.yaml --grid engine.max_num_seqs=16:1024:log --search 50 --out sweep
    """
    from sim.insight.sweeps import sweep as run_points
    from sim.insight.sweeps.page import print_sweep
    from sim.report.folder import MARKS, check_folder, keeps_runs

    replaced = check_folder(out, "sweep")
    overrides = changes(scenario, set_=set_, from_vllm_args=from_vllm_args, quiet=quiet)
    with Progress("runs", shown=not quiet and sys.stderr.isatty()) as progress:
        try:
            found = run_points(
                scenario, grid, search=search, objectives=objective or None, seeds=seeds, overrides=overrides, keep=out,
                jobs=jobs, ray=ray, progress=progress.update,
            )  # fmt: skip
            if out is not None:
                found.save(out)
                keep_question(out, scenario, overrides)
        except KeyboardInterrupt:
            if out is None or not keeps_runs(out):
                raise
            before = f"; {out / MARKS['sweep']} is still that of an earlier sweep" if replaced else ""
            raise StoppedError(
                f"stopped after {progress.done} of {progress.total} runs, which are kept in {out}; the same command "
                f"goes on from there{before}"
            ) from None
    if quiet:
        return
    print_sweep(found, console(least=110))
    if out is not None:
        print()
        say_written(out, replaced, f": start with {out / 'sweep.png'}")
