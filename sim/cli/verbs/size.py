"""`servecast size`."""

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
from sim.errors import ScenarioError


@app.command()
def size(
    scenario: Scenario,
    gpu: Annotated[
        list[str],
        typer.Option(
            help="A GPU profile to consider, or `all`; may be repeated; default: the scenario's.",
            autocompletion=completing.gpus,
        ),
    ] = [],  # noqa: B006
    tensor_parallel: Annotated[
        list[int], typer.Option(help="GPUs for each replica to consider; may be repeated; default: the scenario's.")
    ] = [],  # noqa: B006
    slo: Slo = [],  # noqa: B006
    attainment: Annotated[float, typer.Option(help="Share of requests that must meet the targets.")] = 0.99,
    limit: Annotated[
        list[str], typer.Option(metavar="LIMIT", help="A further limit: 'p99_itl_ms <= 200'; may be repeated.")
    ] = [],  # noqa: B006
    price: Annotated[
        list[str],
        typer.Option(metavar="GPU=USD", help="What one GPU costs for an hour: a100-80g=1.2; repeatable."),
    ] = [],  # noqa: B006
    every: Annotated[
        bool, typer.Option("--all", help="Look on where more GPUs are dearer than another kind that is enough.")
    ] = False,
    most_gpus: Annotated[int, typer.Option(help="Look no further than so many GPUs.")] = 64,
    seeds: Annotated[int, typer.Option(help="Judge every size by the mean over so many seeds.")] = 1,
    set_: Set = [],  # noqa: B006
    from_vllm_args: FromVllmArgs = "",
    out: Annotated[Path | None, typer.Option(help="Write size.json to this folder, for `servecast report`.")] = None,
    format: Format = "table",
    jobs: Jobs = None,
) -> None:
    """Find the fewest replicas, and the cheapest GPUs, that carry a scenario's load and meet its targets.

    \b
    servecast size my.yaml --gpu h100-sxm --gpu l4
    servecast size my.yaml --gpu all --tensor-parallel 1 --tensor-parallel 2
    servecast size my.yaml --gpu h100-sxm --gpu a100-80g --price a100-80g=1.2 --all
    """
    from sim.insight.sizing import size as find
    from sim.report.folder import check_folder

    replaced = check_folder(out, "size")
    overrides = changes(scenario, set_=set_, from_vllm_args=from_vllm_args, slo=slo)
    with Progress("rounds", shown=sys.stderr.isatty()) as progress:
        found = find(
            scenario, gpus=gpu, tensor_parallel=tensor_parallel, most_gpus=most_gpus, attainment=attainment,
            limits=limit, prices=_prices(price), finish_all=every, seeds=seeds, overrides=overrides, jobs=jobs,
            progress=progress.update,
        )  # fmt: skip
    if out is not None:
        from sim.insight.size_table import save_sizes

        save_sizes(found, out, name=found.name, attainment=attainment, limits=limit)
        keep_question(out, scenario, overrides)
    if format == "json":
        from sim.insight.size_table import sizes_json

        sys.stdout.write(sizes_json(found))
        return
    from sim.insight.size_table import print_sizes

    print_sizes(found, console(least=130))
    say_where(out, replaced)


def _prices(given: list[str]) -> dict[str, float]:
    prices = {}
    for text in given:
        gpu, _, usd = text.partition("=")
        try:
            prices[gpu] = float(usd)
        except ValueError:
            raise ScenarioError(f"--price {text!r} is not like 'a100-80g=1.2': a GPU, and US dollars an hour") from None
    return prices
