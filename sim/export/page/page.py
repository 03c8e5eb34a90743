"""The page as a whole: its head, its contents, one section per result, and all that draws them."""

import gzip
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from sim.errors import ServecastError
from sim.export.page.opening import Opened
from sim.export.page.section import Section
from sim.export.page.side_by_side import runs_side_by_side
from sim.export.saved import SavedRun
from sim.provenance import versions
from sim.report import markup
from sim.report.folder import write_whole

_FEW_HEADINGS = 3
_MOST_NAMES = 4
_AGAIN = "In a file scenario.yaml, `servecast run scenario.yaml` comes to the same result."
_HEADING = re.compile(r"<h3>(.*?)</h3>")


class _Part(NamedTuple):
    """A section in its place: what it is called, its anchor, and the result behind it, if it is one."""

    name: str
    noun: str
    key: str
    section: Section
    opened: Opened | None = None


def write_page(results: Sequence[Opened], path: Path, title: str = "") -> None:
    """Write the page to a file that is complete or not there. Raises ServecastError if it cannot be written."""
    write_whole(path, page(results, title))


def page(results: Sequence[Opened], title: str = "") -> str:
    """All results on one page of HTML that loads nothing; the same bytes for the same results."""
    parts = list(_parts(results))
    alone = len(parts) == 1
    names = list(dict.fromkeys(opened.name for opened in results))
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    heading = title or " · ".join(names[:_MOST_NAMES]) + more
    contents, sections = "", []
    for part in parts:
        html, below = _section(part, named=not alone or bool(title))
        sections.append(html)
        contents += _headings(below) if alone else _entry(part)
    made = f"servecast {versions()['servecast']}, simulated"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(heading)}</title>\n<style>{markup.style()}{_asset('page.css')}</style>\n</head>\n"
        f'<body class="servecast">\n<a class="skip" href="#results">To the results</a>\n'
        f'<header><h1>{escape(heading)}</h1><p class="faint">{escape(made)}</p></header>\n'
        f'{_nav(contents)}<main id="results">{"".join(sections)}</main>\n'
        "<noscript><p>The charts need JavaScript; the tables do not.</p></noscript>\n"
        f'<script type="application/gzip" id="plotly">{_plotly()}</script>\n'
        f"<script>{_asset('page.js')}</script>\n</body>\n</html>\n"
    )


def _parts(results: Sequence[Opened]) -> Iterator[_Part]:
    runs = [opened.saved for opened in results if isinstance(opened.saved, SavedRun)]
    if len(runs) > 1:
        yield _Part("The runs side by side", "", "side-by-side", runs_side_by_side(runs))
    for number, opened in enumerate(results, 1):
        key = f"part-{number}"
        try:
            section = opened.kind.section(opened.saved, key)
        except KeyError as error:
            raise ServecastError(
                f"the result {opened.name} has no {error}: another version of servecast wrote it; run "
                f"`servecast {opened.kind.VERB}` again with --out"
            ) from error
        yield _Part(opened.name, opened.kind.NOUN, key, section, opened)


def _section(part: _Part, named: bool) -> tuple[str, Mapping[str, str]]:
    """The section's HTML, and the headings in it by their anchors."""
    found = part.section
    head = [
        f'<h2>{escape(part.name)} <span class="faint">{part.noun}</span></h2>' if named else "",
        markup.paragraph(found.setting, "faint setting") if found.setting else "",
        markup.validity_box(found.validity) if found.validity else "",
        markup.paragraph(found.headline, "headline"),
    ]
    headings: dict[str, str] = {}

    def anchored(match: re.Match[str]) -> str:
        key = f"{part.key}-{len(headings) + 1}"
        headings[key] = match[1]
        return f'<h3 id="{key}">{match[1]}</h3>'

    body = _HEADING.sub(anchored, found.body)
    return f'<section id="{part.key}">{"".join(head)}{body}{"".join(_ending(part))}</section>', headings


def _ending(part: _Part) -> Iterator[str]:
    """How to run it again, the scenario, and what it rests on: folded."""
    opened, found = part.opened, part.section
    if opened is None:
        return
    if opened.command:
        yield _folded("Run it again", f"<pre tabindex=0>{escape(opened.command)}</pre>")
    if scenario := found.scenario or opened.scenario:
        called = "The resolved scenario" if found.scenario else "The scenario"
        again = "" if opened.command else markup.paragraph(_AGAIN, "faint")
        yield _folded(called, f"{again}<pre tabindex=0>{escape(scenario)}</pre>")
    if found.made_with:
        rows = ((name, str(value)) for name, value in _flat(found.made_with))
        yield _folded("Provenance", markup.table(("", ""), rows, words=2))


def _nav(contents: str) -> str:
    return f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n' if contents else ""


def _headings(found: Mapping[str, str]) -> str:
    """The contents of a page with one result: its headings, where there are some."""
    if len(found) < _FEW_HEADINGS:
        return ""
    return "".join(f'<li><a href="#{key}">{text}</a></li>' for key, text in found.items())


def _entry(part: _Part) -> str:
    """A line of the contents of a page with several results: one of them, and its answer."""
    noun = f' <span class="faint">{part.noun}</span>' if part.noun else ""
    told = escape(part.section.headline)
    return f'<li><a href="#{part.key}">{escape(part.name)}</a>{noun}<br><span class="answer">{told}</span></li>'


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{above}{key}.")
        else:
            yield f"{above}{key}", inner


def _folded(title: str, html: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{html}</details>"


@cache
def _plotly() -> str:
    """The library that draws, gzipped in base64: 1.9 MB in place of 4.8."""
    from plotly.offline import get_plotlyjs

    return b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
