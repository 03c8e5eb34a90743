"""Arguments and options that several verbs share."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from sim.cli import completing
from sim.errors import ServecastError

Scenario = Annotated[
    str,
    typer.Argument(help="A scenario's YAML file, or a shipped scenario's name.", autocompletion=completing.scenarios),
]
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


def changes(
    *sources: str, set_: list[str], from_vllm_args: str = "", slo: list[str] | None = None, quiet: bool = False
) -> list[str]:
    """What the options change, as overrides; notes on stderr say what may not be what was meant.

    `sources` are the scenarios that will be loaded. Raises ScenarioError for flags and scenarios that cannot be.
    """
    flags = vllm_overrides(from_vllm_args, quiet=quiet)
    overrides = [*flags, *set_, *(f"slo.{text}" for text in slo or ())]
    if not quiet:
        notes = list(_also_here(sources))
        if any("_parallel=" in flag for flag in flags):
            notes += _gpus_in_all(sources, overrides)
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
    return overrides


def refuse_silence(quiet: bool, format: str, *places: Path | None) -> None:
    """Raise ServecastError where -q leaves nothing of the work: no report, and no place to write to."""
    if quiet and format != "json" and not any(places):
        raise ServecastError(
            "-q prints no report, so nothing would be left: give --out or --format json, or leave out -q"
        )


def vllm_overrides(text: str, *, quiet: bool = False) -> list[str]:
    """The overrides that vLLM's flags come to; says on stderr which of them make no difference."""
    if not text.strip():
        return []
    from sim.vllmargs import settings_of

    found = settings_of(text)
    if found.ignored and not quiet:
        print(f"note: these flags do not matter to timing: {' '.join(found.ignored)}", file=sys.stderr)
    if found.variables and not quiet:
        print(f"note: environment variables are not looked at: {' '.join(found.variables)}", file=sys.stderr)
    if found.behind and not quiet:
        print(f"note: left out, what the shell does with it: {' '.join(found.behind)}", file=sys.stderr)
    return found.overrides


def _also_here(sources: Iterable[str]) -> Iterator[str]:
    """A shipped scenario was named, and a file of that name, a copy perhaps, is here."""
    for source in sources:
        file = Path(f"{Path(source).name}.yaml")
        if file.is_file() and not Path(source).exists():
            from sim.scenario import shipped

            if source in shipped():
                yield f"{source} is the scenario that ships; {file} is here too: for that write {file}"


def _gpus_in_all(sources: Iterable[str], overrides: list[str]) -> Iterator[str]:
    """One vLLM is one replica: flags that say how many GPUs it has say nothing of how many there are of it."""
    from sim.scenario import load

    for source in sources:
        if Path(source).is_dir():
            continue  # a result, which has been run
        cluster = load(source, overrides).cluster
        gpus = cluster.tensor_parallel * cluster.pipeline_parallel * cluster.data_parallel
        if cluster.replicas > 1 and gpus > 1 and not cluster.pools:
            each = f"{cluster.replicas} replicas x {gpus} GPUs = {cluster.replicas * gpus} GPUs"
            yield f"{each}; for a single replica --set cluster.replicas=1"
