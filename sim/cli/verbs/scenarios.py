"""`servecast scenarios` and `servecast schema`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from sim.cli.app import app
from sim.cli.terminal import console, plain_table

group = typer.Typer(
    help="List the scenarios that ship with servecast, or copy one to change it.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(group, name="scenarios")


@group.callback(invoke_without_command=True)
def scenarios(verb: typer.Context) -> None:
    """List the scenarios that ship with servecast, or copy one to change it.

    \b
    servecast scenarios                                      # each with its question and finding
    servecast scenarios show engines                         # all that its file says of it, and the file
    servecast scenarios copy quickstart                      # quickstart.yaml and its trace, into this folder
    """
    if verb.invoked_subcommand is not None:
        return
    from sim.scenario import shipped

    table = plain_table("scenario", "question, and the finding in short")
    for name, path in shipped().items():
        table.add_row(name, "\n".join(_in_short(_opening_comment(path))))
    console().print(table)


@group.command()
def show(name: Annotated[str, typer.Argument(help="A shipped scenario (`servecast scenarios` lists them).")]) -> None:
    """Print a shipped scenario's file.

    \b
    servecast scenarios show quickstart
    """
    from sim.scenario import locate

    typer.echo(locate(name).read_text(encoding="utf-8"), nl=False)


@group.command()
def copy(
    name: Annotated[str, typer.Argument(help="A shipped scenario (`servecast scenarios` lists them).")],
    folder: Annotated[Path, typer.Argument(help="Where to put it.")] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Copy a shipped scenario, and the files that it reads, into a folder.

    \b
    servecast scenarios copy quickstart                      # quickstart.yaml and its trace, into this folder
    servecast scenarios copy papers/paged-attention here
    """
    from sim.shipping import copy_scenario

    written = copy_scenario(name, folder, force=force)
    typer.echo(f"written: {', '.join(map(str, written))}; next: servecast run {written[0]}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a scenario, for editors and checkers.

    \b
    servecast schema > scenario.schema.json
    """
    import json

    from sim.scenario import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def _in_short(comment: str) -> Iterator[str]:
    """The question, and the first sentence of the finding."""
    parts = re.split(r"^(Question|Finding|Source|Run): ", comment, flags=re.MULTILINE)
    found = {kind: " ".join(text.split()) for kind, text in zip(parts[1::2], parts[2::2], strict=True)}
    if "Question" in found:
        yield f"Question: {found['Question']}"
    if "Finding" in found:
        first = re.split(r"(?<=[a-z0-9%)])\. ", found["Finding"])[0].rstrip(".")
        yield f"{first[:1].upper()}{first[1:]}."


def _opening_comment(path: Path) -> str:
    """The comment lines that a scenario file opens with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return "\n".join(lines)
