"""`servecast version`."""

import typer

from sim.cli.app import app


@app.command()
def version() -> None:
    """Print the versions of servecast and of what it computes with.

    \b
    servecast version
    """
    from sim.provenance import versions

    for name, number in versions().items():
        typer.echo(f"{name} {number}")
