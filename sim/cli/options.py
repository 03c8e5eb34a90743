"""Arguments and options that several verbs share."""

import sys
from typing import Annotated, Literal

import typer

Scenario = Annotated[str, typer.Argument(help="A scenario's YAML file, or a shipped scenario's name.")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one key: engine.max_num_seqs=64.")]
FromVllmArgs = Annotated[
    str,
    typer.Option(
        "--from-vllm-args",
        metavar="'FLAGS'",
        help="Settings as vLLM's command line has them: '--max-num-seqs 128 -tp 2'; --set goes on top.",
    ),
]
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


def vllm_overrides(text: str, *, quiet: bool = False) -> list[str]:
    """The overrides that vLLM's flags come to; says on stderr which of them make no difference."""
    if not text.strip():
        return []
    from sim.vllmargs import settings_of

    found = settings_of(text)
    if found.ignored and not quiet:
        print(f"note: these flags do not matter to timing: {' '.join(found.ignored)}", file=sys.stderr)
    return found.overrides
