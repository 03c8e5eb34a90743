"""Which trace format a file is in, by the names in its first lines."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from sim.choice import options
from sim.errors import TraceError
from sim.workload.fileoptions import Signs
from sim.workload.rows import CsvRows, open_bytes, text_errors

FORMATS = "sim.workload.traces"
_FIRST = 1 << 24


def guess_format(path: Path) -> str:
    """The name of the format whose signs the file bears, of several the one with most.

    Raises TraceError, saying what was found, where none or more than one fits.
    """
    if path.is_dir() or path.name.endswith((".tar", ".tar.gz", ".tgz")):
        return "weka"
    kind, names = _opening(path)
    signs: dict[str, Signs | None] = {name: getattr(cls, "signs", None) for name, cls in options(FORMATS).items()}
    fits = {n: len(s.names) for n, s in signs.items() if s is not None and s.kind == kind and s.names <= names}
    best = [name for name, count in fits.items() if count == max(fits.values())]
    if len(best) == 1:
        return best[0]
    known = ", ".join(options(FORMATS))
    found = ", ".join(sorted(names)[:12]) or "no names"
    between = f"could be {' or '.join(best)}" if best else "is in no known format"
    plain = "" if best else "; a plain CSV has the columns arrival_s, prompt_tokens and output_tokens"
    raise TraceError(f"{path} {between} (found {found}){plain}; or name a format with --format-name: {known}")


def _opening(path: Path) -> tuple[str, set[str]]:
    """The kind of file, and the names of its columns or of its first object's keys."""
    with text_errors(path), open_bytes(path) as file:
        text = file.read(_FIRST).decode("utf-8-sig", errors="ignore").lstrip()
    if text[:1] not in ("{", "["):
        return "csv", set(CsvRows(path).header())
    first: Any = None
    with suppress(ValueError):
        first, _ = json.JSONDecoder().raw_decode(text, 0 if text[0] == "{" else text.index("{"))
    return "json", set(first) if isinstance(first, dict) else set()
