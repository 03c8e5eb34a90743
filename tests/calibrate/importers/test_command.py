"""`servecast calibrate import`: what it prints, and how it fails."""

from pathlib import Path

import pytest

from calibrate.importers.sources import names
from tests.calibrate.importers import foreign
from tests.commands import servecast


def test_it_makes_a_profile_and_says_what_it_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, out = foreign.aiconfigurator(tmp_path / "in"), tmp_path / "theirs"
    arguments = ("calibrate", "import", "--from", "aiconfigurator", str(folder), "--out", str(out))
    assert servecast(monkeypatch, *arguments, "--model", "mixtral-8x7b", "--engine", "vllm:0.14.0") == 0
    printed = capsys.readouterr().out
    for words in ("AIConfigurator, GPU h100_sxm, vllm 0.14.0", "attention_decode", "batch 4 to 4", "is a profile"):
        assert words in printed
    assert (out / "device.yaml").is_file()
    assert servecast(monkeypatch, "run", "quickstart", "--quiet", "--format", "json", "--set", f"cluster.gpu={out}",
                     "--set", "workload.trace.csv.limit=5") == 0  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "vidor"), "did you mean 'vidur'?"),
        (("--from", "vidur"), "holds no mlp.csv"),
        ((), "--from"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    (tmp_path / "in").mkdir()
    call = ("calibrate", "import", str(tmp_path / "in"), "--out", str(tmp_path / "p"), "--quiet", *arguments)
    assert servecast(monkeypatch, *call) == 2
    printed, complained = capsys.readouterr()
    assert printed == ""
    assert complained.startswith("servecast: ")
    assert complained.count("\n") == 1
    assert words in complained
    assert not (tmp_path / "p").exists()


def test_the_help_names_every_source(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert servecast(monkeypatch, "calibrate", "import", "--help") == 0
    told = capsys.readouterr().out
    assert len(names()) == 3
    assert all(name in told for name in names())
