"""The elements of one large JSON array, one after another, so that the file is never whole in memory."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sim.errors import TraceError
from sim.workload.rows import open_bytes, text_errors

_CHUNK = 1 << 20
_MOST = 1 << 28


def json_elements(path: Path) -> Iterator[Any]:
    """Every element of the array in a file (plain or .gz). Raises TraceError where it is none."""
    decoder = json.JSONDecoder()
    with text_errors(path), open_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig")
        buffer = text.read(_CHUNK).lstrip()
        if not buffer.startswith("["):
            raise TraceError(f"{path} is not a JSON array; give one [...] of conversations")
        at, index, ended = 1, 0, False
        while True:
            at = _skip(buffer, at, " \t\r\n,")
            if buffer.startswith("]", at):
                return
            try:
                value, end = decoder.raw_decode(buffer, at)
                if end == len(buffer) and not ended:  # a number may go on
                    raise ValueError
            except ValueError as error:
                more = "" if ended or len(buffer) - at > _MOST else text.read(max(_CHUNK, len(buffer) - at))
                if not more:
                    raise TraceError(
                        f"{path}: element {index} of the array is cut off or no JSON ({error}); fetch the file again"
                    ) from error
                buffer, at = buffer[at:] + more, 0
                continue
            yield value
            at, index = end, index + 1


def _skip(text: str, at: int, what: str) -> int:
    while at < len(text) and text[at] in what:
        at += 1
    return at
