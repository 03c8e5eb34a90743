"""Which trace format a file is in, by the names in its first lines."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sim.choice import options
from sim.errors import OptionError, ScenarioError, TraceError
from sim.workload.csvrows import CsvRows
from sim.workload.fileoptions import Signs
from sim.workload.jsonlrows import JsonlRows
from sim.workload.measured.bench import is_bench
from sim.workload.naming import PLAIN, listed, plain_columns
from sim.workload.rows import open_bytes, text_errors

FORMATS = "sim.workload.traces"
_FIRST = 1 << 24
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_DATUM = re.compile(r"[-+]?\d[\d.,:TZ +/-]*")


class UnknownFormatError(TraceError):
    """A file that could be in none of the formats, or in several."""


def guess_format(path: Path, columns: Mapping[str, str] | None = None) -> str:
    """The name of the format whose signs the file bears, of several the one with most; else a plain one.

    `columns` says what a plain file calls its columns. Raises OptionError for a file whose columns must be named, and
    TraceError, saying what was found, where none or more than one format fits.
    """
    if path.is_dir() or path.name.endswith(_ARCHIVES):
        return _of_sessions(path)
    kind, names = _opening(path)
    if columns:
        return kind
    signs: dict[str, Signs | None] = {name: getattr(cls, "signs", None) for name, cls in options(FORMATS).items()}
    fits = {n: len(s.names) for n, s in signs.items() if s and s.kind in kind and s.names <= set(names)}
    best = [name for name, count in fits.items() if count == max(fits.values())]
    if len(best) == 1 and (fits[best[0]] > 1 or not _is_plain(names, path)):
        return best[0]
    if len(best) > 1:
        raise UnknownFormatError(f"{path} could be {' or '.join(best)} (found {listed(names)})")
    if kind == "json":
        return _of_one_value(path, names)
    if names and all(_DATUM.fullmatch(name.strip()) for name in names):
        raise TraceError(
            f"{path} has no header: it begins with {listed(names)}; put a line such as "
            "arrival_s,prompt_tokens,output_tokens before it"
        )
    try:
        plain_columns(names, {}, path)
    except OptionError as error:
        if error.mend["columns"].count("NAME") < len(PLAIN):
            raise
        raise OptionError(f"{path} is in no known format (found {listed(names)})", error.mend) from error
    return kind


def no_bare_file(value: Any) -> Any:
    """Refuse a file given where `trace:` wants a format, with what to write; let pass all else."""
    if isinstance(value, str) and ":" not in value and ("/" in value or "." in value):
        value = {"path": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("path"), str):
        return value
    jsonl = value["path"].removesuffix(".gz").endswith((".jsonl", ".json", ".ndjson"))
    kind, written = "jsonl" if jsonl else "csv", ", ".join(f"{key}: {said}" for key, said in value.items())
    raise ValueError(f"a file needs its format, so write trace: {{{kind}: {{{written}}}}} (or name another format)")


def refuse_trace(path: Path) -> None:
    """Raise ScenarioError for a trace that stands where a scenario is wanted."""
    if not path.is_file() or path.suffix in (".yaml", ".yml"):
        return
    with suppress(TraceError):
        form = guess_format(path)
        mend = f"`servecast init my.yaml --trace {path}` makes a scenario for it"
        raise ScenarioError(f"{path} is a trace ({form}), not a scenario; {mend}")


def _is_plain(names: list[str], path: Path) -> bool:
    try:
        return bool(plain_columns(names, {}, path))
    except TraceError:
        return False


def _of_sessions(path: Path) -> str:
    """`weka`, for an archive, or a folder of its sessions. Raises TraceError for any other folder."""
    if not path.is_dir():
        return "weka"
    signs: Signs | None = getattr(options(FORMATS)["weka"], "signs", None)
    files = sorted(f for f in path.iterdir() if f.is_file() and f.name.removesuffix(".gz").endswith(".json"))
    if signs is not None and files:
        with suppress(TraceError):
            if signs.names <= set(_opening(files[0])[1]):
                return "weka"
    raise TraceError(f"{path} is a folder, and not one of WEKA sessions; name the file in it")


def _of_one_value(path: Path, names: list[str]) -> str:
    """`measured`, for a benchmark's result; `jsonl`, for a list of requests. Raises TraceError for anything else."""
    if is_bench(dict.fromkeys(names)):
        return "measured"
    if _is_plain(names, path):
        return "jsonl"
    raise UnknownFormatError(
        f"{path} is in no known format (found {listed(names)}); a trace is a list of JSON objects, or has one a line"
    )


def _opening(path: Path) -> tuple[str, list[str]]:
    """`csv`, `jsonl`, or `json` for one value over many lines; and the names of its columns or first object's keys."""
    with text_errors(path), open_bytes(path) as file:
        text = file.read(_FIRST).decode("utf-8-sig", errors="ignore").lstrip()
    if text[:1] not in ("{", "["):
        return "csv", CsvRows(path).header()
    first: Any = None
    end = 0
    with suppress(ValueError):
        first, end = json.JSONDecoder().raw_decode(text, 0 if text[0] == "{" else text.index("{"))
    names = list(first) if isinstance(first, dict) else re.findall(r'"(\w+)" ?: ?\[', text)
    if text[0] == "[" or not isinstance(first, dict) or is_bench(first) or "\n" in text[:end].strip():
        return "json", names
    return "jsonl", [*dict.fromkeys((*JsonlRows(path).header(), *names))]
