"""What a wheel holds, and that it runs from another folder."""

import importlib.util
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source archive, built from this checkout without the network."""
    for needed in ("build", "hatchling"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"the package {needed!r} is not installed (it is in the dev extra)")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def names(built: Path) -> set[str]:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_code_data_and_licence(names: set[str]) -> None:
    for name in (
        "sim/__init__.py",
        "sim/py.typed",
        "sim/cluster/simulate.py",
        "sim/presets/vllm-v1.yaml",
        "sim/models/builtin/llama-3.1-8b.json",
        "sim/_data/hwprofiles/h100-sxm/device.yaml",
        "sim/_data/scenarios/quickstart.yaml",
        "sim/_data/scenarios/traces/chat-sample.csv",
        "calibrate/__init__.py",
    ):
        assert name in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    for kind, folder in (
        ("*/device.yaml", "hwprofiles"),
        ("networks/*.yaml", "hwprofiles"),
        ("**/*.yaml", "scenarios"),
    ):
        for path in (ROOT / folder).glob(kind):
            assert f"sim/_data/{path.relative_to(ROOT)}" in names


def test_the_wheel_holds_nothing_else(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"sim", "calibrate"}
    for name in names:
        assert not {"__pycache__", ".mypy_cache", ".ruff_cache"} & set(name.split("/")), name


def test_the_source_archive_can_build_the_wheel_again(built: Path) -> None:
    [archive] = built.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        inside = {name.partition("/")[2] for name in content.getnames()}
    for name in (
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "Makefile",
        "scenarios/quickstart.yaml",
        "tests/conftest.py",
    ):
        assert name in inside
    assert not any(name.startswith(("out/", ".venv/")) for name in inside)


def test_the_quickstart_runs_from_the_wheel_in_another_folder(built: Path, tmp_path: Path) -> None:
    [wheel] = built.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = "import sim; assert 'site' in sim.__file__, sim.__file__; from sim.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "quickstart", "--set", "workload.trace.csv.limit=20"]
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=elsewhere, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "20 finished" in done.stdout


def test_the_command_and_the_extras_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "servecast"
    assert project["scripts"] == {"servecast": "sim.cli:main"}
    assert set(project["optional-dependencies"]) == {"calibrate", "docs", "ray", "notebook", "dev"}
    assert not any("torch" in requirement for requirement in project["dependencies"])
    assert any(line.startswith("torch") for line in project["optional-dependencies"]["calibrate"])


def test_the_version_stands_in_the_changelog() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_continuous_integration_runs_the_same_line() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().splitlines()[-1] == "exec make test"
