"""Tables of other tools (CSV, text or Parquet), with errors that name the file, the column and the row."""

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.errors import ProfileError

_LFS_POINTER = b"version https://git-lfs"


def read_table(file: Path, columns: Sequence[str], made_by: str) -> pd.DataFrame:
    """The table of `file`, which must hold at least one row and all of `columns`.

    Raises ProfileError for a file that cannot be read, a Git LFS pointer in the place of the data, and a missing
    column; `made_by` names the tool in the sentence.
    """
    _reject_pointer(file)
    try:
        frame = pd.read_parquet(file) if file.suffix == ".parquet" else _read_csv(file, low_memory=False)
    except (OSError, UnicodeDecodeError, ValueError) as error:  # pandas and arrow raise kinds of ValueError
        raise _unreadable(file, made_by, error) from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        found = ", ".join(str(name) for name in list(frame.columns)[:12])
        more = ", ..." if len(frame.columns) > 12 else ""
        raise ProfileError(
            f"{file}: column {missing[0]!r} is missing, so this is not the table that {made_by} writes; "
            f"it has {found}{more}"
        )
    if frame.empty:
        raise ProfileError(f"{file}: holds no rows")
    return frame


def first_row(file: Path, made_by: str) -> dict[str, Any]:
    """Column -> cell of the first row of data, without the empty ones.

    Raises ProfileError as `read_table` does.
    """
    _reject_pointer(file)
    try:
        if file.suffix == ".parquet":
            import pyarrow.parquet

            table = next(pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=1)).to_pandas()
        else:
            table = _read_csv(file, nrows=1, dtype=str)
    except StopIteration:
        table = pd.DataFrame()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise _unreadable(file, made_by, error) from error
    if table.empty:
        raise ProfileError(f"{file}: holds no rows")
    return dict(table.iloc[0].dropna())


def numbers(frame: pd.DataFrame, file: Path, column: str) -> NDArray[np.float64]:
    """A column as numbers; an empty cell is NaN.

    Raises ProfileError for text, an infinite or a negative number, naming the line of the file.
    """
    values: Any = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64)
    given = frame[column].notna().to_numpy()
    bad = (given & np.isnan(values)) | np.isinf(values) | (values < 0)
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        line = int(frame.index[i]) + 2  # the first line names the columns
        cell = frame[column].iloc[i]
        raise ProfileError(f"{file}, line {line}: column {column!r} must be a number of at least 0, not {cell!r}")
    result: NDArray[np.float64] = values
    return result


def counts(frame: pd.DataFrame, file: Path, column: str) -> NDArray[np.int64]:
    """A column of whole numbers.

    Raises ProfileError for an empty cell or anything but a whole number of at least 0, naming the line.
    """
    values = numbers(frame, file, column)
    bad = np.isnan(values) | (values != np.floor(values))
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        cell = frame[column].iloc[i]
        raise ProfileError(
            f"{file}, line {int(frame.index[i]) + 2}: column {column!r} must be a whole number, not {cell!r}"
        )
    return values.astype(np.int64)


def truths(frame: pd.DataFrame, file: Path, column: str) -> NDArray[np.bool_]:
    """A column of True and False. Raises ProfileError for anything else, naming the line."""
    text = frame[column].astype(str).str.strip().str.lower()
    bad = ~text.isin(["true", "false"]).to_numpy()
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        cell = frame[column].iloc[i]
        raise ProfileError(
            f"{file}, line {int(frame.index[i]) + 2}: column {column!r} must be True or False, not {cell!r}"
        )
    result: NDArray[np.bool_] = (text == "true").to_numpy()
    return result


def _read_csv(file: Path, **options: Any) -> pd.DataFrame:
    """A CSV; rows longer than the first are an error, where pandas would take their first cells for names of rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame: pd.DataFrame = pd.read_csv(file, index_col=False, **options)
        except pd.errors.ParserWarning as error:
            raise ValueError("rows have more cells than the first line has names") from error
        return frame


def _unreadable(file: Path, made_by: str, error: Exception) -> ProfileError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ProfileError(f"{file}: not a readable table of {made_by} ({reason})")


def sha256(file: Path) -> str:
    """The SHA-256 of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def one_of(found: Iterable[str], asked: str | None, what: str, option: str, where: Path) -> str | None:
    """The one label to import: the asked one, or the only one; None if there is none at all.

    Raises ProfileError if the asked one is not there, or if there are several and none was asked for.
    """
    labels = sorted(set(found))
    if asked is not None:
        hits = [label for label in labels if label.lower() == asked.lower()]
        if not hits:
            raise ProfileError(f"{where}: there is no {what} {asked!r}; it holds {', '.join(labels) or 'none'}")
        return hits[0]
    if len(labels) > 1:
        raise ProfileError(f"{where}: holds several {what}s ({', '.join(labels)}); choose one with {option}")
    return labels[0] if labels else None


def _reject_pointer(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_LFS_POINTER))
    except OSError as error:
        raise ProfileError(f"{file}: cannot be read ({error.strerror or error})") from error
    if start == _LFS_POINTER:
        raise ProfileError(
            f"{file}: is a Git LFS pointer, not the data; run 'git lfs pull' in its repository and import again"
        )
