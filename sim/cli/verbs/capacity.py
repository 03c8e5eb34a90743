"""`servecast capacity`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sim.cli import completing
from sim.cli.app import app
from sim.cli.asked import keep_question, say_where
from sim.cli.options import Format, FromVllmArgs, Jobs, Scenario, Set, Slo, changes
from sim.cli.progress import Progress
from sim.cli.terminal import console


@app.command()
def capacity(
    scenario: Scenario,
    slo: Slo = [],  # noqa: B006
    attainment: Annotated[float, typer.Option(help="Share of requests that must meet the scenario's slo.")] = 0.99,
    limit: Annotated[
        list[str], typer.Option(metavar="LIMIT", help="A further limit: 'p99_itl_ms <= 200'; may be repeated.")
    ] = [],  # noqa: B006
    variant: Annotated[
        list[str], typer.Option(help="Only this variant; may be repeated.", autocompletion=completing.variants)
    ] = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="Judge every rate by the mean over so many seeds.")] = 1,
    tolerance: Annotated[float, typer.Option(help="How narrow the answer must be.")] = 0.02,
    set_: Set = [],  # noqa: B006
    from_vllm_args: FromVllmArgs = "",
    out: Annotated[
        Path | None, typer.Option(help="Write capacity.json to this folder, for `servecast report`.")
    ] = None,
    format: Format = "table",
    jobs: Jobs = None,
) -> None:
    """Find the highest rate of requests that still meets the targets, per GPU and per dollar.

    \b
    servecast capacity quickstart --attainment 0.99
    servecast capacity my.yaml --variant tenfold --limit "p99_itl_ms <= 200" --seeds 3
    """
    from sim.insight import capacity as find
    from sim.report.folder import check_folder

    replaced = check_folder(out, "capacity")
    overrides = changes(scenario, set_=set_, from_vllm_args=from_vllm_args, slo=slo)
    with Progress("rates", shown=sys.stderr.isatty()) as progress:
        found = find(
            scenario, attainment=attainment, limits=limit, variants=variant or None, seeds=seeds,
            tolerance=tolerance, overrides=overrides, jobs=jobs, progress=progress.update,
        )  # fmt: skip
    if out is not None:
        from sim.insight.capacity_table import save_capacities

        save_capacities(found, out, name=found.name, attainment=attainment, limits=limit)
        keep_question(out, scenario, overrides)
    if format == "json":
        from sim.insight.capacity_table import capacities_json

        sys.stdout.write(capacities_json(found))
        return
    from sim.insight.capacity_table import print_capacities

    print_capacities(found, console())
    say_where(out, replaced)
