"""A folder of results: all of its files, whole, or none."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from sim.errors import ServecastError

MARKS = {
    "run": "summary.json",
    "compare": "comparison.json",
    "diagnose": "diagnosis.json",
    "sweep": "sweep.csv",
    "validate": "validation.png",
    "calibrate validate": "validation_report.md",
    "capacity": "capacity.json",
    "size": "size.json",
    "check": "check.json",
    "memory": "memory.json",
    "trace describe": "trace.json",
}
"""The verbs that write a folder of results, and the file of each that tells whose it is."""

COMMAND = "command.txt"
"""The file in a folder of results that holds the command which wrote it."""
SCENARIO = "scenario.yaml"
"""The file beside it with the scenario that was asked about, its overrides included."""

RUNS = "runs"
"""Where a sweep keeps its runs, so that one that was stopped goes on."""


def check_folder(out: Path | None, verb: str) -> bool:
    """Refuse a place that the verb cannot write its results to, before the work is done. None is no wish.

    A folder holds the result of one verb; returns whether it holds one of this verb, which will be replaced. Raises
    ServecastError for another verb's, and for what cannot be written to.
    """
    if out is None:
        return False
    if not out.name:
        raise ServecastError("--out needs the name of a folder")
    probe(out)
    if out.exists() and not out.is_dir():
        raise ServecastError(f"--out {out}: there is a file of that name; choose another folder")
    return _is_there(out, verb)


def check_file(out: Path | None) -> bool:
    """Refuse a place that cannot become a file, before the work is done. None is no wish.

    Returns whether a file is there, which will be replaced. Raises ServecastError.
    """
    if out is None:
        return False
    if out.name:
        probe(out)
    if not out.name or out.is_dir():
        raise ServecastError(f"{out} is a folder; name a file")
    if out.exists() and not out.is_file():
        raise ServecastError(f"{out} is no ordinary file; name another")
    return out.exists()


def keeps_runs(folder: Path) -> bool:
    """Whether the folder holds runs of a sweep, finished or not."""
    return any((folder / RUNS).glob("*.json"))


@contextmanager
def whole(folder: Path, verb: str, sometimes: Sequence[str] = ()) -> Iterator[Path]:
    """An empty folder to write the verb's results into, whose files move to `folder` when all are complete.

    It is a hidden neighbour, so that a full disk or Ctrl-C leaves no half-written file. The verb's earlier results in
    `folder` are replaced, those that it writes only `sometimes` too; its mark goes first and comes last, so that no
    mixture of old and new passes for a result; files that are no results stay. Raises ServecastError when the folder
    cannot be written, or is another verb's.
    """
    folder = folder.absolute()
    if folder.exists() and not folder.is_dir():
        raise ServecastError(f"cannot write results to {folder}: a file has that name; choose another")
    _is_there(folder, verb)
    draft = _draft(folder / folder.name if folder.exists() else folder)
    mark = MARKS[verb]
    try:
        draft.mkdir(parents=True)
        yield draft
        if folder.exists():
            for name in (mark, COMMAND, SCENARIO, *sometimes):
                (folder / name).unlink(missing_ok=True)
            for path in sorted(draft.iterdir(), key=lambda path: (path.name == mark, path.name)):
                os.replace(path, folder / path.name)
        else:
            draft.rename(folder)
    except OSError as error:
        raise ServecastError(f"cannot write results to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _is_there(folder: Path, verb: str) -> bool:
    """Whether the verb's result is in the folder. Raises ServecastError if another's is."""
    for other, mark in MARKS.items():
        if other != verb and (folder / mark).is_file():
            raise ServecastError(f"{folder} holds the result of `servecast {other}`; choose another folder")
    if verb != "sweep" and keeps_runs(folder):
        raise ServecastError(f"{folder} holds a sweep that is not finished; choose another folder")
    return (folder / MARKS[verb]).is_file()


def probe(place: Path) -> None:
    """Refuse a place where nothing can be written: tries it in the folder that it, or its folder, will be made in."""
    nearest = next(parent for parent in (place, *place.absolute().parents) if os.path.lexists(parent))
    try:
        with suppress(FileNotFoundError):
            os.stat(_draft(place))  # a name that is too long, a file where a folder should be
        TemporaryFile(dir=nearest if nearest.is_dir() else nearest.parent).close()
    except OSError as error:
        raise ServecastError(f"cannot write to {place}: {error.strerror or error}; choose another place") from None


def _draft(place: Path) -> Path:
    """The hidden neighbour that will become `place` when it is complete."""
    return place.with_name(f".{place.name}.partial-{os.getpid()}")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that is complete or not there, its folder made if need be. Raises ServecastError if it cannot be."""
    draft = _draft(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        os.replace(draft, path)
    except OSError as error:
        raise ServecastError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
