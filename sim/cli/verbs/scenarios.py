"""`servecast scenarios` and `servecast schema`."""

from pathlib import Path

import typer

from sim.cli.app import app
from sim.cli.terminal import console, plain_table


@app.command()
def scenarios() -> None:
    """List the scenarios that ship with servecast."""
    from sim.scenario import shipped

    table = plain_table("scenario", "question and finding")
    for name, path in shipped().items():
        table.add_row(name, _opening_comment(path))
    console().print(table)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a scenario, for editors and checkers."""
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
