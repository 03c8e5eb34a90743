"""`servecast run`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sim.cli import completing
from sim.cli.app import app
from sim.cli.asked import keep_question
from sim.cli.options import Format, FromVllmArgs, NoFastForward, Quiet, Scenario, Set, changes, refuse_silence
from sim.cli.progress import Progress
from sim.cli.terminal import console, print_json, say_written


@app.command()
def run(
    scenario: Scenario,
    set_: Set = [],  # noqa: B006
    from_vllm_args: FromVllmArgs = "",
    out: Annotated[
        Path | None, typer.Option(help="Write tables, summary, resolved scenario and picture to this folder.")
    ] = None,
    format: Format = "table",
    variant: Annotated[
        str | None, typer.Option(help="Run this variant of the scenario.", autocompletion=completing.variants)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed than the scenario's.")] = None,
    no_fast_forward: NoFastForward = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a scenario and report what happened.

    \b
    servecast run quickstart --out out/quickstart
    servecast run my.yaml --set engine.max_num_seqs=64 --variant tenfold
    servecast run my.yaml --from-vllm-args '--max-num-seqs 128 --no-enable-prefix-caching'
    """
    from sim.report.folder import check_folder
    from sim.run import run as simulate

    refuse_silence(quiet, format, out)
    replaced = check_folder(out, "run")
    seeded = [] if seed is None else [f"seed={seed}"]
    overrides = changes(scenario, set_=[*set_, *seeded], from_vllm_args=from_vllm_args, quiet=quiet)
    with Progress(shown=not quiet and sys.stderr.isatty()) as progress:
        result = simulate(
            scenario,
            overrides=overrides,
            variant=variant,
            fast_forward=not no_fast_forward,
            progress=progress.update,
        )
    if out is not None:
        result.save(out)
        keep_question(out)
    if format == "json":
        print_json(result.summary)
        return
    if quiet:
        return
    from sim.report.terminal import print_report

    print_report(result.summary, console(), result.wall_s)
    if out is not None:
        print()
        say_written(out, replaced, f": start with {out / 'overview.png'}")
