"""Arguments and options that several verbs share."""

from typing import Annotated, Literal

import typer

Scenario = Annotated[str, typer.Argument(help="A scenario's YAML file, or a shipped scenario's name.")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one key: engine.max_num_seqs=64.")]
Format = Annotated[Literal["table", "json"], typer.Option(help="What to print.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no report and no progress.")]
Jobs = Annotated[int | None, typer.Option(help="Runs at once; default: one per core.")]
NoFastForward = Annotated[
    bool, typer.Option("--no-fast-forward", help="Simulate every step on its own: slower, same result.")
]

Slo = Annotated[
    list[str],
    typer.Option(metavar="TARGET=TIME", help="A latency target: ttft=1s, tpot=50ms, e2el=30s; repeatable."),
]


def slo_overrides(given: list[str]) -> list[str]:
    """Targets as changes to the scenario."""
    return [f"slo.{text}" for text in given]
