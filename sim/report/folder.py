"""A folder of results: all of its files, whole, or none."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sim.errors import ServecastError


def check_folder(out: Path | None) -> None:
    """Refuse a place that cannot become a folder of results, before the work is done. None is no wish."""
    if out is not None and not out.name:
        raise ServecastError("--out needs the name of a folder")
    if out is not None and out.exists() and not out.is_dir():
        raise ServecastError(f"--out {out}: there is a file of that name; choose another folder")


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """An empty folder to write into, whose files move to `folder` when all are complete.

    It is a hidden neighbour, so that a full disk or Ctrl-C leaves no half-written file; results of an earlier run
    in `folder` are replaced, other files stay. Raises ServecastError when the folder cannot be written.
    """
    folder = folder.absolute()
    if folder.exists() and not folder.is_dir():
        raise ServecastError(f"cannot write results to {folder}: a file has that name; choose another")
    draft = (folder if folder.exists() else folder.parent) / f".{folder.name}.partial-{os.getpid()}"
    try:
        draft.mkdir(parents=True)
        yield draft
        if folder.exists():
            for path in sorted(draft.iterdir()):
                os.replace(path, folder / path.name)
        else:
            draft.rename(folder)
    except OSError as error:
        raise ServecastError(f"cannot write results to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that is complete or not there, its folder made if need be. Raises ServecastError if it cannot be."""
    draft = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        os.replace(draft, path)
    except OSError as error:
        raise ServecastError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)


def check_file(out: Path) -> None:
    """Refuse a place that cannot become a file, before the work is done."""
    if out.is_dir():
        raise ServecastError(f"{out} is a folder; name a file")
