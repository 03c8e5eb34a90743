"""Where results go: places are tried before the work, and a folder holds the result of one verb."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sim
from sim.errors import ServecastError
from sim.report.folder import MARKS, check_file, check_folder, whole
from tests.commands import servecast

SMALL = ("--set", "workload.trace.csv.limit=20", "--quiet")
SWEEP = ("sweep", "quickstart", "--grid", "engine.max_num_seqs=4,8", "--jobs", "1")
FOLDERS = {
    "run": ("run", "quickstart"),
    "compare": ("compare", "quickstart"),
    "diagnose": ("diagnose", "quickstart"),
    "sweep": SWEEP,
    "validate": ("validate", "quickstart", "--measured", "none.csv"),
}


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gets as far as the simulation fails the test."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it ran")

    for name in list(sys.modules):
        if name in ("sim.run", "sim.insight.runs", "sim.measure"):
            for verb in ("run", "run_all", "run_each", "measure"):
                if hasattr(sys.modules[name], verb):
                    monkeypatch.setattr(sys.modules[name], verb, fail)


def verbs_that_write(place: str) -> Iterator[tuple[str, ...]]:
    """Every verb with a place to write to, told to write there."""
    for arguments in FOLDERS.values():
        yield (*arguments, "--out", place)
    yield ("report", "quickstart", "--out", place)
    yield ("timeline", "quickstart", "--out", place)
    yield ("export", "quickstart", place, "--to", "prometheus")
    yield ("check", "quickstart", "--baseline", place, "--update")
    yield ("check", "quickstart", "--baseline", "none.json", "--junit", place)
    yield ("check", "quickstart", "--baseline", "none.json", "--markdown", place)
    yield ("validate", "quickstart", "--measured", "none.csv", "--plot", place)
    yield ("init", place, "--yes")
    yield ("trace", "convert", "none.csv", place)
    yield ("trace", "describe", "none.csv", "--plot", place)
    yield ("trace", "fit", "none.csv", "--lengths", place)
    yield ("scenarios", "copy", "quickstart", place)
    yield ("calibrate", "gpu", "--out", place)
    yield ("calibrate", "plan", "--out", f"{place}.json")
    yield ("calibrate", "import", "none", "--from", "vidur", "--out", place)
    yield ("calibrate", "engine", "--requests", "none.csv", "--scenario", "none.yaml", "--out", place)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("arguments", verbs_that_write("PLACE"), ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("place", ["a-file/inside", "/proc/x", "n" * 300])
def test_a_place_that_cannot_be_written_is_found_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...],
    place: str,
) -> None:  # fmt: skip
    if place.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("needs /proc")
    monkeypatch.chdir(tmp_path)
    Path("a-file").write_text("mine")
    assert servecast(monkeypatch, *(word.replace("PLACE", place) for word in arguments)) == 2
    complained = capsys.readouterr().err
    assert place in complained and complained.count("\n") == 1
    assert "cannot write to" in complained
    assert [path.name for path in tmp_path.iterdir()] == ["a-file"]
    assert Path("a-file").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_rights_is_refused(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    for check in (check_file, lambda place: check_folder(place, "run")):
        with pytest.raises(ServecastError, match="cannot write to"):
            check(locked / "new" / "place")


def test_a_sweep_in_python_tries_its_place_too(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(ServecastError, match="holds the result of `servecast run`"):
        sim.sweep("quickstart", ["engine.max_num_seqs=4,8"], keep=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    assert not check_folder(tmp_path / "some" / "new" / "folder", "run")
    assert not check_file(tmp_path / "some" / "file.json")
    assert not check_file(None) and not check_folder(None, "run")
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine.txt").write_text("mine")
    assert check_file(tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("verb", FOLDERS)
@pytest.mark.parametrize("owner", MARKS)
def test_another_verb_s_result_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: str, owner: str
) -> None:
    if verb == owner:
        pytest.skip("its own is replaced")
    (tmp_path / MARKS[owner]).write_text("{}")
    assert servecast(monkeypatch, *FOLDERS[verb], "--out", str(tmp_path)) == 2
    told = f"servecast: {tmp_path} holds the result of `servecast {owner}`; choose another folder\n"
    assert capsys.readouterr().err == told
    assert [path.name for path in tmp_path.iterdir()] == [MARKS[owner]]
    with pytest.raises(ServecastError, match="holds the result of"), whole(tmp_path, verb):
        pass


def test_the_same_verb_s_result_is_replaced_and_said_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("run", "quickstart", *SMALL[:2], "--out", str(out))
    assert servecast(monkeypatch, *arguments) == 0
    assert f"written to {out}: start with" in capsys.readouterr().out
    (out / "mine.txt").write_text("mine")
    assert servecast(monkeypatch, *arguments, "--seed", "9") == 0
    assert f"written to {out}, in place of what was there: start with" in capsys.readouterr().out
    assert (out / "mine.txt").read_text() == "mine"
    assert re.search(r'"seed": 9\b', (out / "summary.json").read_text())
    page = ("report", str(out), "--out", str(tmp_path / "page.html"))
    for words in ("page.html: open it", "page.html, in place of what was there: open it"):
        assert servecast(monkeypatch, *page) == 0
        assert words in capsys.readouterr().out


def test_a_mixture_of_old_and_new_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("comparison.json", "comparison.png", "runs.csv"):
        (tmp_path / name).write_text("old")
    replace, moved = os.replace, []

    def stopped(source: Path, target: Path) -> None:
        if moved:
            raise KeyboardInterrupt
        moved.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt), whole(tmp_path, "compare") as draft:
        for name in ("comparison.json", "comparison.png", "runs.csv"):
            (draft / name).write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comparison.png", "runs.csv"]


def test_a_name_that_its_draft_is_too_long_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServecastError, match="cannot write to"):
        check_folder(tmp_path / ("n" * 250), "run")


def test_a_folder_is_no_scenario_and_a_page_is_html(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert servecast(monkeypatch, "run", str(tmp_path)) != 0
    assert f"is a folder; for a folder of results: `servecast report {tmp_path}`" in capsys.readouterr().err
    assert servecast(monkeypatch, "report", "quickstart", "--out", str(tmp_path / "boss.pdf")) != 0
    assert "name a file that ends in .html" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["run", "compare", "diagnose"])
def test_work_that_would_leave_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert servecast(monkeypatch, verb, "quickstart", "-q") == 2
    assert "nothing would be left: give --out or --format json" in capsys.readouterr().err
