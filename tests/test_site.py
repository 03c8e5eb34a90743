"""The documentation site builds without a broken link, and shows scenarios and commands that exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from sim.cli.app import app, load_verbs
from sim.scenario import Scenario

ROOT = Path(__file__).resolve().parent.parent
BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "workload": {"arrivals": "all_at_once", "requests": 1, "lengths": {"empirical": {"path": "any.csv"}}},
    "cluster": {},
}
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason="the extra `docs` is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-2000:]
    assert "max_num_batched_tokens" in (tmp_path / "reference/scenario/index.html").read_text()
    assert "--attainment" in (tmp_path / "reference/commands/index.html").read_text()


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
            assert words[0] in command.commands or words[0].isupper(), line
            if words[0].isupper():
                break
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            option = word.split("=")[0]
            assert not option.startswith("--") or " " in word or option in {*known, "--help"}, line
