"""`servecast engines`."""

from typing import Annotated

import typer

from sim.cli.app import app
from sim.cli.terminal import console, plain_table


@app.command()
def engines(
    name: Annotated[str | None, typer.Argument(help="Show every default of this preset, and its source.")] = None,
) -> None:
    """Show the engine presets side by side, or one of them with its sources.

    \b
    servecast engines
    servecast engines sglang
    """
    from sim import preset
    from sim.report.engines import COSTS, DECISIONS, SHOWN_FOR, costs, decisions

    if name is not None:
        one = preset.load(name)
        table = plain_table("key", "value", "from", "source")
        for key, default in one.engine.items():
            table.add_row(key, str(default.value), default.origin, default.source)
        console().print(one.stands_for)
        console().print(table)
        return
    for title, columns, row in (("decisions", DECISIONS, decisions), ("memory and host time", COSTS, costs)):
        table = plain_table(*columns)
        table.title, table.columns[0].no_wrap = title, True
        for known in preset.names():
            table.add_row(*row(preset.load(known)))
        console().print(table)
    typer.echo(f"Limits as on {SHOWN_FOR}; * assumed, not measured. servecast engines NAME tells every source.")
