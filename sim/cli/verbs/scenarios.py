"""`servecast scenarios` and `servecast schema`."""

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
    servecast scenarios copy quickstart                      # quickstart.yaml and its trace, into this folder
    """
    if verb.invoked_subcommand is not None:
        return
    from sim.scenario import shipped

    table = plain_table("scenario", "question and finding")
    for name, path in shipped().items():
        table.add_row(name, _opening_comment(path))
    console().print(table)


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


def _opening_comment(path: Path) -> str:
    """The comment lines that a scenario file opens with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return "\n".join(lines)
