"""The page as a whole: its head, its contents, one section per result, and all that draws them."""

from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path

from sim.export.page.comparison_section import comparison_section, runs_compared
from sim.export.page.diagnosis_section import diagnosis_section
from sim.export.page.run_section import run_section
from sim.export.page.sweep_section import sweep_section
from sim.export.saved import Saved, SavedComparison, SavedDiagnosis, SavedRun, SavedSweep
from sim.provenance import versions
from sim.report import markup
from sim.report.folder import write_whole


def write_page(results: Sequence[Saved], path: Path, title: str = "") -> None:
    """Write the page to a file that is complete or not there. Raises ServecastError if it cannot be written."""
    write_whole(path, page(results, title))


def page(results: Sequence[Saved], title: str = "") -> str:
    """All results on one page of HTML that loads nothing; the same bytes for the same results."""
    runs = [saved for saved in results if isinstance(saved, SavedRun)]
    sections = [(f"part-{number}", saved, _section(saved, number)) for number, saved in enumerate(results)]
    parts = []
    if len(sections) > 1:
        links = "".join(f'<a href="#{key}">{escape(saved.name)}</a>' for key, saved, _ in sections)
        parts.append(f"<nav>{links}</nav>")
    if len(runs) > 1:
        parts.append(f"<section><h2>The runs side by side</h2>{runs_compared(runs)}</section>")
    heading = title or " · ".join(dict.fromkeys(saved.name for saved in results))
    for key, saved, html in sections:
        named = f'<h2>{escape(saved.name)} <span class="faint">{_KINDS[type(saved)]}</span></h2>'
        parts.append(f'<section id="{key}">{named if len(sections) > 1 or title else ""}{html}</section>')
    made = f"servecast {versions()['servecast']}, simulated"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(heading)}</title>\n<style>{markup.style()}{_asset('page.css')}</style>\n</head>\n"
        f'<body class="servecast">\n<header><h1>{escape(heading)}</h1><p class="faint">{escape(made)}</p></header>\n'
        f"{''.join(parts)}\n<script>{_plotly()}</script>\n<script>{_asset('page.js')}</script>\n</body>\n</html>\n"
    )


_KINDS: dict[type, str] = {
    SavedRun: "run", SavedComparison: "comparison", SavedDiagnosis: "diagnosis", SavedSweep: "sweep",
}  # fmt: skip


def _section(saved: Saved, number: int) -> str:
    if isinstance(saved, SavedRun):
        return run_section(saved, f"run-{number}")
    if isinstance(saved, SavedComparison):
        return comparison_section(saved)
    if isinstance(saved, SavedDiagnosis):
        return diagnosis_section(saved)
    return sweep_section(saved)


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    library: str = get_plotlyjs()
    return library.replace("</script", "<\\/script")


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
