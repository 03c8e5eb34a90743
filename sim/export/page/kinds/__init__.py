"""One file per kind of result, which is all that a new one needs.

Each says with `VERB` who writes it (and so, by `sim.report.folder.MARKS`, how it is known), and with `NOUN` what the
page calls it; `read` gives what the file's `section` shows.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Protocol

from sim.export.page.section import Section


class Kind(Protocol):
    """What a file in this folder offers."""

    VERB: str
    NOUN: str

    def read(self, folder: Path) -> tuple[str, Any]:
        """The result's name, and what it is. Raises ServecastError, with the mend, if it cannot be read."""

    def section(self, saved: Any, key: str) -> Section:
        """What the page shows of it; `key` tells its parts from other results'."""


def kinds() -> Iterator[Kind]:
    """All of them, by name."""
    for module in sorted(iter_modules(__path__, f"{__name__}."), key=lambda module: module.name):
        yield import_module(module.name)
