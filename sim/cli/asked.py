"""How a result was asked for, kept beside it: the command, and the scenario with all changes in it."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from sim.cli.terminal import say_written


def keep_question(out: Path, source: str = "", overrides: Iterable[str] = ()) -> None:
    """Write the command that runs into a folder of results, and the scenario, where it is one.

    Raises ServecastError if they cannot be written.
    """
    from sim.report.folder import COMMAND, SCENARIO, write_whole
    from sim.scenario import load

    if source:
        write_whole(out / SCENARIO, load(source, overrides).to_yaml(out))
    write_whole(out / COMMAND, shlex.join(["servecast", *sys.argv[1:]]) + "\n")


def say_where(out: Path | None, replaced: bool) -> None:
    """Say where a result is that is best looked at as a page."""
    if out is not None:
        say_written(out, replaced, f"; `servecast report {shlex.quote(str(out))}` makes a page of it")
