"""The verbs of `servecast profiles`, and of `servecast gpus`, which is the same for short."""

from typing import Annotated, Any

import typer

from sim.cli import completing
from sim.cli.catalogue import catalogue
from sim.cli.options import Format
from sim.cli.terminal import console, print_json


def _list(format: str) -> None:
    """Where the profiles' numbers are from, their points, and the error of their fits."""
    from sim.insight.profiles import all_inventories
    from sim.report.profiles import profile_list

    found = all_inventories()
    _print(found, profile_list(found), format)


def _show(name: str, format: str) -> None:
    """How many points of each operation, their range, and the error of the fit."""
    from sim import hardware
    from sim.insight.profiles import inventory
    from sim.report.profiles import profile_list

    found = inventory(hardware.load(name))
    _print(found, profile_list([found]), format)


group = catalogue("profiles", "the GPU profiles", "h100-sxm", _list, _show, completing.gpus)
catalogue("gpus", "the GPU profiles (as `profiles` does)", "h100-sxm", _list, _show, completing.gpus)


@group.command()
def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="A profile's name, or its folder.", autocompletion=completing.gpus)
    ],
    second: Annotated[
        str,
        typer.Argument(metavar="B", help="Another one; its times are divided by A's.", autocompletion=completing.gpus),
    ],
    model: Annotated[
        str, typer.Option(help="A built-in, or a config.json.", autocompletion=completing.models)
    ] = "llama-3.1-8b",
    tp: Annotated[int, typer.Option(help="GPUs that share the model.")] = 1,
    weights: Annotated[str, typer.Option(help="Number format of the weights.")] = "bf16",
    kv: Annotated[str, typer.Option(help="Number format of the KV cache.")] = "bf16",
    format: Format = "table",
) -> None:
    """How much longer B takes than A: each operation of a model over a grid of shapes, and whole steps.

    \b
    servecast profiles compare h100-sxm a100-80g --model llama-3.1-8b
    """
    from sim import hardware, models
    from sim.insight.profiles import Setting, compare_profiles
    from sim.report.profiles import profile_comparison

    setting = Setting(models.load(model), tp, weights, kv)
    found = compare_profiles(hardware.load(first), hardware.load(second), setting)
    _print(found, profile_comparison(found), format)


def _print(found: Any, table: Any, format: str) -> None:
    if format == "json":
        print_json(found)
    else:
        console(least=120).print(table)
