"""`servecast compare`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sim.cli import completing
from sim.cli.app import app
from sim.cli.asked import keep_question
from sim.cli.options import Format, FromVllmArgs, Jobs, Quiet, Set, changes, refuse_silence
from sim.cli.progress import Progress, waiting
from sim.cli.terminal import console, print_json, say_written


@app.command()
def compare(
    scenarios: Annotated[
        list[str],
        typer.Argument(help="One scenario with variants, or several scenarios.", autocompletion=completing.scenarios),
    ],
    seeds: Annotated[int, typer.Option(help="Repeat with so many seeds: only these say how sure a difference is.")] = 1,
    variant: Annotated[
        list[str], typer.Option(help="Only this variant; may be repeated.", autocompletion=completing.variants)
    ] = [],  # noqa: B006
    set_: Set = [],  # noqa: B006
    from_vllm_args: FromVllmArgs = "",
    model_error: Annotated[
        bool, typer.Option(help="With two seeds or more: run all again with step times as wrong as the profile may be.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="Write comparison.json, runs.csv and comparison.png to this folder.")
    ] = None,
    format: Format = "table",
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Run the variants of a scenario on the same requests, and say what differs.

    \b
    servecast compare quickstart --seeds 5 --out out/variants
    servecast compare today.yaml tomorrow.yaml
    """
    from sim.insight import compare as run_variants
    from sim.report.folder import check_folder

    refuse_silence(quiet, format, out)
    replaced = check_folder(out, "compare")
    overrides = changes(*scenarios, set_=set_, from_vllm_args=from_vllm_args, quiet=quiet)
    if seeds > 1 and not quiet:
        _warn_of_replays(scenarios[0], overrides, model_error)
    with Progress("runs", shown=not quiet and sys.stderr.isatty()) as progress:
        found = run_variants(
            *scenarios, variants=variant or None, seeds=seeds, overrides=overrides, model_error=model_error, jobs=jobs,
            progress=progress.update,
        )  # fmt: skip
    if out is not None:
        found.save(out)
        keep_question(out, scenarios[0] if len(scenarios) == 1 else "", overrides)
    if format == "json":
        print_json(found.summary())
        return
    if quiet:
        return
    from sim.insight.comparison_table import print_comparison

    print_comparison(found, console(least=140))
    if out is not None:
        print()
        say_written(out, replaced, f": start with {out / 'comparison.png'}")


def _warn_of_replays(scenario: str, overrides: list[str], model_error: bool) -> None:
    """Say before the runs that seeds do not make other requests, where they do not."""
    from sim.insight.identical import replays
    from sim.scenario import load

    with waiting("reading the trace"):
        if not replays(load(scenario, overrides)):
            return
    told = "they tell how far the model's own error goes, not what chance does" if model_error else "they tell nothing"
    print(f"note: the trace gives every seed the same requests: {told}", file=sys.stderr)
