"""Help and completion: every verb shows how it is used."""

import os
import re
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


SHELLS = {
    "bash": lambda words: {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)},
    "zsh": lambda words: {"_TYPER_COMPLETE_ARGS": " ".join(words)},
    "fish": lambda words: {"_TYPER_COMPLETE_ARGS": " ".join(words), "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}
"""What each shell's script, which --show-completion prints, asks the command with."""


def completed(shell: str, *words: str, cwd: Path) -> set[str]:
    """What the command says to that shell, without what each puts around it."""
    asked = {"_SERVECAST_COMPLETE": f"complete_{shell}", **SHELLS[shell](["servecast", *words])}
    code = "import sys; sys.argv = ['servecast']; from sim.cli import main; main()"
    root = str(Path(cli.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked, "PYTHONPATH": root}, capture_output=True, text=True,
        check=False, cwd=cwd,
    )  # fmt: skip
    assert done.stderr == ""
    if shell == "zsh":
        return set(re.findall(r'(?<!:)"([^":]+)"', done.stdout))
    return {line.partition("\t")[0] for line in done.stdout.splitlines() if line}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_verbs_and_values(shell: str, tmp_path: Path) -> None:
    (tmp_path / "quiet.yaml").write_text("variants: {calm: {}, wild: {}}\n")
    (tmp_path / "quantities").mkdir()
    (tmp_path / "quiet.txt").write_text("")
    for words, expected in {
        ("capa",): {"capacity"},
        ("run", "qu"): {"quickstart", "quiet.yaml", "quantities/"},
        ("run", "quickstart", "--variant", "t"): {"tenfold", r"three\ GPUs" if shell == "bash" else "three GPUs"},
        ("compare", "quiet.yaml", "--variant", "w"): {"wild"},
    }.items():
        assert completed(shell, *words, cwd=tmp_path) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("size", "quickstart", "--gpu", "h100"), {"h100-sxm"}),
        (("init", "--model", "opt"), {"opt-13b"}),
        (("init", "--preset", "sg"), {"sglang"}),
        (("check", "quickstart", "--metric", "p99_tp"), {"p99_tpot_ms"}),
        (("scenarios", "copy", "quick"), {"quickstart"}),
        (("models", "show", "opt"), {"opt-13b"}),
        (("run", "none.yaml", "--variant", ""), set()),
        (("run", "nowhere/"), set()),
    ],
)
def test_names_complete(words: tuple[str, ...], expected: set[str], tmp_path: Path) -> None:
    assert completed("bash", *words, cwd=tmp_path) == expected


@pytest.mark.parametrize(
    ("arguments", "mend"),
    [
        (("rnu", "quickstart"), "Did you mean 'run'?"),
        (("trace", "descrbe", "x"), "Did you mean 'describe'?"),
        (("run", "quickstart", "--vraiant", "x"), "--variant"),
        (("scenarios", "copy", "quikstart"), "did you mean 'quickstart'?"),
        (("scenarios", "show", "quikstart"), "did you mean 'quickstart'?"),
        (("profiles", "show", "h100"), "did you mean 'h100-sxm'?"),
        (("compare", "quickstart", "--variant", "tenfld"), "did you mean 'tenfold'?"),
        (("timeline", "quikstart"), "did you mean 'quickstart'?"),
        (("run", "missing.yaml"), "missing.yaml: there is no such file"),
        (("export", "quickstart", "x", "--to", "promtheus"), "'prometheus'"),
    ],
)
def test_a_slip_is_answered_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...],
    mend: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert servecast(monkeypatch, *arguments) == 2
    told = capsys.readouterr().err
    assert mend in told and told.count("\n") == 1
    assert not list(tmp_path.iterdir())
