"""One file per tool: `read(options) -> Collection`. Its name is what `--from` takes; _x.py belongs to another."""

import pkgutil


def names() -> list[str]:
    """The tools whose profiles can be imported: the files of this folder."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
