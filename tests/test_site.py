"""The documentation site builds without a broken link, and shows scenarios and commands that exist."""

import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from typer.main import get_command

import sim
from sim.choice import options
from sim.cli.app import app, load_verbs
from sim.scenario import Scenario, json_schema
from tests.export.browser import look

ROOT = Path(__file__).resolve().parent.parent
BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "workload": {"arrivals": "all_at_once", "requests": 1, "lengths": {"empirical": {"path": "any.csv"}}},
    "cluster": {},
}
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


class Loads(HTMLParser):
    """What a page makes a browser fetch, and its headings."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched: set[str] = set()
        self.headings: list[str] = []
        self._in_heading = False
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.fetched |= {given[key] or "" for key in ("src", "srcset", "poster", "data") if key in given}
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.add(given["href"] or "")
        if re.fullmatch("h[1-6]", tag):
            self._in_heading = True
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_heading = self._in_heading and not re.fullmatch("h[1-6]", tag)

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings[-1] = (self.headings[-1] + data).strip(" ¶\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; building fails for a link or an anchor that leads nowhere."""
    for package in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(package, reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-2000:]
    return folder


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        fetched = Loads(page).fetched
        assert fetched and not {url for url in fetched if re.match(r"(https?:)?//", url)}, page
    for style in [*site.rglob("*.css"), *site.rglob("*.html")]:
        assert not re.search(r"url\(\W*(https?:)?//|@import", style.read_text()), style


@pytest.mark.parametrize("page", ["index", "model/index", "reference/scenario/index"])
def test_a_page_fits_a_phone(site: Path, page: str) -> None:
    path = (site / page).with_suffix(".html")
    assert look(path.read_text(), path.parent, size=(390, 844)).width <= 390


def test_every_equation_is_mathml(site: Path) -> None:
    for page in PAGES:
        prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
        equations = len(re.findall(r"\\\(.+?\\\)|\$\$.+?\$\$", prose, re.DOTALL))
        path = page.relative_to(ROOT / "docs").with_suffix("")
        built = (site / ("" if path.name == "index" else path) / "index.html").read_text()
        maths = re.findall(r"<math.*?</math>", built, re.DOTALL)
        assert len(maths) == equations and "arithmatex" not in built, page
        for mathml in maths:
            assert "\\" not in "".join(ElementTree.fromstring(mathml).itertext()), mathml
    assert "<mfrac>" in (site / "model/index.html").read_text()


def test_an_equation_that_cannot_be_converted_stops_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("latex2mathml", reason="the extra `docs` is not installed")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import equations

    marked = '<span class="arithmatex">\\(\\frac{a}{b} &lt; 2\\)</span>'
    assert equations.on_page_content(marked).count("<mfrac>") == 1
    with pytest.raises(ValueError, match="nosuchcommand"):
        equations.mathml(r"\nosuchcommand{a}")


def test_the_reference_has_every_field_option_command_and_function(site: Path) -> None:
    scenario = (site / "reference/scenario/index.html").read_text()
    schema = json_schema()
    for name, definition in (("", schema), *schema["$defs"].items()):
        for field in definition.get("properties", {}):
            assert f"<code>{field}</code>" in scenario, f"{name}.{field}"
    for router in options("sim.routing"):
        assert f"<code>{router}</code>" in scenario, router
    commands = Loads(site / "reference/commands/index.html").headings
    load_verbs()
    root: Any = get_command(app)
    assert {f"servecast {verb}" for verb, command in root.commands.items() if not hasattr(command, "commands")} <= {
        *commands
    }
    python = Loads(site / "reference/python/index.html").headings
    assert {f"sim.{name}" for name in dir(sim) if not name.startswith("_")} <= {*python}


def test_nothing_in_the_reference_is_without_a_word(site: Path) -> None:
    for page in ("scenario", "commands"):
        rows = re.findall(r"<tr>(.*?)</tr>", (site / f"reference/{page}/index.html").read_text(), re.DOTALL)
        for row in rows:
            cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
            assert all(cell.strip() for cell in cells[:2]), row
    python = (site / "reference/python/index.html").read_text()
    for contents in re.findall(r'class="doc doc-contents[^"]*">\s*(.{0,200})', python, re.DOTALL):
        assert contents.startswith(("<p>", '<div class="doc-signature')), contents


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_scenarios_and_parts_of_them_on_a_page_are_valid(page: Path) -> None:
    for text in blocks(page, "yaml"):
        shown = yaml.safe_load(text)
        if "{...}" not in text and set(shown) <= set(Scenario.model_fields):
            whole = BASE | shown
            if not whole["workload"].keys() & {"arrivals", "trace", "mix"}:
                whole["workload"] = BASE["workload"] | whole["workload"]
            Scenario.model_validate(whole | {"cluster": {"gpu": "h100-sxm"} | whole["cluster"]})


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.stem)
def test_commands_on_a_page_exist_with_their_options(page: Path) -> None:
    load_verbs()
    root: Any = get_command(app)
    text = "\n".join([*blocks(page, "sh"), *re.findall(r"`(servecast [^`]+)`", page.read_text())])
    for line in re.findall(r"^\s*servecast (.+)$", text, re.MULTILINE):
        command, words = root, shlex.split(line, comments=True)
        while words and hasattr(command, "commands") and not words[0].startswith("-"):
            shown = command.commands.get("show") if words[0] not in command.commands else None  # `engines sglang`
            assert words[0] in command.commands or words[0].isupper() or shown, line
            if words[0].isupper() or shown:
                command = shown or command
                break
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            option = word.split("=")[0]
            assert not option.startswith("--") or " " in word or option in {*known, "--help"}, line
