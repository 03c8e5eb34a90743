"""`servecast lockstep`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sim.cli.app import app


@app.command()
def lockstep(
    trace: Annotated[Path, typer.Argument(help="Requests, one JSON object per line.")],
    config: Annotated[Path, typer.Argument(help="Engine settings and step-time model, one JSON object.")],
) -> None:
    """Drive the engine by hand and print its step log (a debugging command).

    \b
    servecast lockstep trace.jsonl config.json
    """
    from sim.lockstep import lockstep as drive

    drive(trace, config, sys.stdout)
