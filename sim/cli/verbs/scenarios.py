"""`servecast scenarios` and `servecast schema`."""

import re
from pathlib import Path
from typing import Annotated

import typer

from sim.cli import completing
from sim.cli.app import app
from sim.cli.catalogue import catalogue
from sim.cli.terminal import console, plain_table, print_json


def _list(format: str) -> None:
    from sim.scenario import shipped

    found = [_as_json(name, path) for name, path in shipped().items()]
    if format == "json":
        print_json(found)
        return
    table = plain_table("scenario", "question, and the finding in short")
    for one in found:
        short = [f"Question: {one['question']}"] if one["question"] else []
        if one["finding"]:
            first = re.split(r"(?<=[a-z0-9%)])\. ", one["finding"])[0].rstrip(".")
            short.append(f"{first[:1].upper()}{first[1:]}.")
        table.add_row(one["name"], "\n".join(short))
    console().print(table)


def _show(name: str, format: str) -> None:
    from sim.scenario import locate

    path = locate(name)
    text = path.read_text(encoding="utf-8")
    if format == "json":
        print_json({**_as_json(name, path), "text": text})
        return
    print(text, end="")


def _as_json(name: str, path: Path) -> dict[str, str]:
    """A scenario, with the question and the finding that its file opens with."""
    parts = re.split(r"^(Question|Finding|Source|Run): ", _opening_comment(path), flags=re.MULTILINE)
    found = {kind: " ".join(text.split()) for kind, text in zip(parts[1::2], parts[2::2], strict=True)}
    return {
        "name": name,
        "path": str(path),
        "question": found.get("Question", ""),
        "finding": found.get("Finding", ""),
    }


group = catalogue("scenarios", "the scenarios that ship", "engines", _list, _show, completing.shipped_scenarios)


@group.command()
def copy(
    name: Annotated[
        str,
        typer.Argument(
            help="A shipped scenario (`servecast scenarios` lists them).", autocompletion=completing.shipped_scenarios
        ),
    ],
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
