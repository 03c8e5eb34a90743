"""Where verbs print: a console, plain tables, JSON. Heavy imports wait until something is printed."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table


def console(least: int = 100) -> "Console":
    """The terminal as wide as it is; a file or pipe as wide as a report needs."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=least)


def plain_table(*headers: str) -> "Table":
    """An empty table with these columns."""
    from rich import box
    from rich.table import Table

    return Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False)


def say_written(place: "Path", replaced: bool, then: str = "") -> None:
    """Say where results are, whether they replace earlier ones, and what to do next."""
    print(f"written to {place}{', in place of what was there' if replaced else ''}{then}")


def print_json(value: Any) -> None:
    """Print a value as JSON, and nothing else."""
    import json

    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
