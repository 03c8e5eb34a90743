"""Help and completion: every verb shows how it is used."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from sim import cli
from tests.commands import servecast


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from verbs(inner, (*path, name))
        if not getattr(inner, "commands", {}):
            yield (*path, name), inner


ALL = dict(verbs(typer.main.get_command(cli.app)))


def test_there_are_verbs() -> None:
    assert {("run",), ("trace", "fit"), ("calibrate", "gpu"), ("scenarios", "copy")} <= set(ALL)


@pytest.mark.parametrize("path", [path for path in ALL if path != ("schema",)], ids=" ".join)
def test_every_verb_shows_an_example_of_itself_with_options_that_it_has(path: tuple[str, ...]) -> None:
    command = ALL[path]
    examples = [line for line in (command.help or "").splitlines() if line.startswith(f"servecast {' '.join(path)}")]
    assert examples
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for line in examples:
        code = line.partition("  #")[0].partition("'")[0]
        assert {word for word in code.split() if word.startswith("-")} <= known


def test_the_help_says_where_to_begin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert servecast(monkeypatch, "--help") == 0
    printed = capsys.readouterr().out
    for words in ("servecast init", "--install-completion", "--show-completion"):
        assert words in printed


def test_a_shell_completes_verbs() -> None:
    words = {"_SERVECAST_COMPLETE": "complete_bash", "COMP_WORDS": "servecast capa", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['servecast']; from sim.cli import main; main()"
    root = str(Path(cli.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **words, "PYTHONPATH": root}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["capacity"]
