"""Pieces of HTML that the report page and notebooks share: tables, the validity box, the bar of GPU time."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable
from rich.text import Text

from sim.report.colours import GPU_TIME
from sim.report.words import percent

Cell = str | tuple[str, str] | tuple[str, str, str]
"""A cell's text; or its text, its CSS class, and what is said small beside it."""


@cache
def style() -> str:
    """The style sheet of these pieces; all colours follow from the text's, so that they suit light and dark."""
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8")


def card(*parts: str) -> str:
    """Pieces as one block that a notebook shows."""
    return f'<div class="servecast"><style>{style()}</style>{"".join(parts)}</div>'


def table(headers: Sequence[str], rows: Iterable[Sequence[Cell]], words: int = 1, *, caption: str = "") -> str:
    """A table that scrolls by itself when it is too wide; its first `words` columns hold words, the others numbers.

    The first column's cells are headers of their rows.
    """
    head = "".join(f'<th scope="col"{_class(index, words)}>{escape(text)}</th>' for index, text in enumerate(headers))
    body = "".join(f"<tr>{''.join(_cell(cell, i, words) for i, cell in enumerate(row))}</tr>" for row in rows)
    start = f"<thead><tr>{head}</tr></thead>" if any(headers) else ""
    called = f"<caption>{escape(caption)}</caption>" if caption else ""
    name = escape(caption or next((text for text in headers if text), "figures"))
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{name}">'
        f"<table>{called}{start}<tbody>{body}</tbody></table></div>"
    )


def of_terminal(part: RichTable | Text) -> str:
    """A table or a sentence of the terminal's report."""
    if isinstance(part, Text):
        return paragraph(part.plain, _tone(part))
    columns = [
        [
            (str(cell), " ".join(filter(None, (_tone(cell), "word" * (column.justify == "left")))))
            for cell in column.cells
        ]
        for column in part.columns
    ]
    return table([str(column.header) for column in part.columns], list(zip(*columns, strict=True)))


def _tone(part: object) -> str:
    """The class for a style of the terminal."""
    style = str(part.style) if isinstance(part, Text) else ""
    return next((tone for name, tone in _TONES.items() if name in style), "")


_TONES = {"bold green": "best", "green": "good", "red": "bad", "yellow": "warn", "dim": "faint"}


def paragraph(text: str, style_class: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{style_class}">{escape(text)}</p>'


def bullets(texts: Iterable[str]) -> str:
    """A list of plain texts, nothing where there is none."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def validity_box(found: Mapping[str, Any]) -> str:
    """Whether the numbers can be believed, and why not (`summary["validity"]`)."""
    believe = found["believe"]
    why = bullets(found["why"])
    return (
        f'<div class="box {believe.replace(" ", "-")}">believe these numbers: <b>{escape(believe)}</b> '
        f'<span class="faint">({found["finished_requests"]:,} requests finished)</span>{why}</div>'
    )


def gpu_time_bar(shares: Mapping[str, float | None]) -> str:
    """One bar of all GPU time, and its legend with shares; what is empty is left out."""
    parts = {name: share for name, share in shares.items() if share}
    bar = "".join(
        f'<span style="width:{share * 100:.3f}%;background:{GPU_TIME[name]}" title="{name} {percent(share)}"></span>'
        for name, share in parts.items()
    )
    legend = "".join(
        f'<span><i style="background:{GPU_TIME[name]}"></i>{name} {percent(share)}</span>'
        for name, share in parts.items()
    )
    told = ", ".join(f"{name} {percent(share)}" for name, share in parts.items())
    return f'<div class="bar" role="img" aria-label="GPU time: {told}">{bar}</div><div class="legend">{legend}</div>'


def _cell(cell: Cell, index: int, words: int) -> str:
    text, style_class, small = (cell, "", "") if isinstance(cell, str) else (*cell, "")[:3]
    name = 'th scope="row"' if not index and words else "td"
    told = f"<span>{escape(text)}</span> <small>{escape(small)}</small>" if small else escape(text)
    return f"<{name}{_class(index, words, style_class)}>{told}</{name.partition(' ')[0]}>"


def _class(index: int, words: int, more: str = "") -> str:
    names = " ".join(name for name in ("word" if index < words else "", more) if name)
    return f' class="{names}"' if names else ""
