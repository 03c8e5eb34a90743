"""The verbs of `servecast trace`: one thin function each. Heavy imports wait until a verb needs them."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sim.cli.app import app
from sim.cli.asked import keep_question, say_where
from sim.cli.options import Format
from sim.cli.progress import waiting
from sim.cli.terminal import console, print_json, say_written
from sim.errors import ServecastError

group = typer.Typer(
    help="Look at trace files: describe, convert, fit.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(group, name="trace")

_File = Annotated[Path, typer.Argument(help="A trace file, plain or .gz (or a folder or tar of WEKA sessions).")]
_Format = Annotated[str | None, typer.Option("--format-name", help="The trace's format; default: guessed from it.")]
_Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="An option of the format: limit=1000.")]
_Arrivals = Annotated[
    str | None, typer.Option(help="For a file without times: what starts sessions, '{poisson: {rate_per_s: 5}}'.")
]
_Seed = Annotated[int, typer.Option(help="Of all that is drawn.")]


@group.command()
def describe(
    file: _File,
    format_name: _Format = None,
    set_: _Set = [],  # noqa: B006
    arrivals: _Arrivals = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw it.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write trace.json and trace.png to this folder, for `servecast report`.")
    ] = None,
    format: Format = "table",
    seed: _Seed = 0,
) -> None:
    """Print a trace's rate, burstiness, lengths, prefix reuse and sessions.

    \b
    servecast trace describe conversation_trace.jsonl --plot trace.png
    """
    from sim.insight.traces.describe import describe as look
    from sim.insight.traces.opened import open_trace
    from sim.insight.traces.save import save_description
    from sim.report.folder import check_file, check_folder

    replaced = check_file(plot)
    in_place = check_folder(out, "trace describe")
    with waiting(f"reading {file}"):
        opened = open_trace(file, format_name, set_, arrivals, seed)
        told = look(opened, seed)
        if out is not None:
            save_description(opened, told, out)
            keep_question(out)
        if plot is not None:
            _draw(plot, opened, told)
    if format == "json":
        print_json(told)
        return
    from sim.insight.traces.table import description_table

    console(least=120).print(description_table(told))
    say_where(out, in_place)
    if plot is not None:
        say_written(plot, replaced)


@group.command()
def convert(
    file: _File,
    out: Annotated[Path, typer.Argument(help="The file to write; compressed if it ends in .gz.")],
    to: Annotated[
        Literal["jsonl", "csv"] | None, typer.Option(help="The plain format to write; default: as the file is called.")
    ] = None,
    format_name: _Format = None,
    set_: _Set = [],  # noqa: B006
    arrivals: _Arrivals = None,
    drop_content: Annotated[bool, typer.Option("--drop-content", help="Leave out what prompts share.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    seed: _Seed = 0,
) -> None:
    """Write a trace in a plain format, which `trace: {jsonl: {path: ...}}` reads.

    \b
    servecast trace convert conversation_trace.jsonl plain.jsonl
    servecast trace convert big.csv first.csv --set limit=1000
    """
    from sim.insight.traces.convert import convert as write
    from sim.insight.traces.opened import open_trace, require_times
    from sim.report.folder import check_file

    replaced = check_file(out)
    if out.exists() and file.exists() and out.samefile(file):
        raise ServecastError(f"{out} is the trace itself; write to another file")
    if replaced and not force:
        raise ServecastError(f"{out} is there already; name another file, or give --force to replace it")
    with waiting(f"converting {file}"):
        opened = open_trace(file, format_name, set_, arrivals, seed)
        require_times(opened, "a plain trace")
        write(opened.table, to or _called(out), out, drop_content)
    for note in opened.table.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{len(opened.table):,} requests ", end="")
    say_written(out, replaced)


@group.command()
def fit(
    file: _File,
    format_name: _Format = None,
    set_: _Set = [],  # noqa: B006
    arrivals: _Arrivals = None,
    lengths: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write the pairs of lengths here, and draw from them.")
    ] = None,
    format: Annotated[Literal["yaml", "json"], typer.Option(help="What to print.")] = "yaml",
    seed: _Seed = 0,
) -> None:
    """Print the synthetic workload that looks like a trace, and how much it does.

    \b
    servecast trace fit AzureLLMInferenceTrace_conv.csv.gz
    """
    from sim.insight.traces.fit import fit as look_alike
    from sim.insight.traces.opened import open_trace
    from sim.report.folder import check_file

    check_file(lengths)
    with waiting(f"fitting {file}"):
        found = look_alike(open_trace(file, format_name, set_, arrivals, seed), seed, lengths)
    if format == "json":
        print_json(found.as_json())
    else:
        typer.echo(found.as_yaml(), nl=False)


def _called(out: Path) -> Literal["jsonl", "csv"]:
    return "csv" if out.name.removesuffix(".gz").endswith(".csv") else "jsonl"


def _draw(plot: Path, opened: Any, told: dict[str, Any]) -> None:
    from sim.insight.traces.picture import picture
    from sim.report.save import save_png

    plot.parent.mkdir(parents=True, exist_ok=True)
    save_png(picture(opened, told), plot)
