"""What the documents show works as shown."""

import re
from pathlib import Path

import pytest
import yaml

import sim
from sim.errors import ScenarioError
from sim.scenario import load

ROOT = Path(__file__).resolve().parent.parent


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def test_the_readmes_scenario_loads_and_its_error_is_true(tmp_path: Path) -> None:
    text, *_fragments = blocks("README.md", "yaml")
    path = tmp_path / "my.yaml"
    path.write_text(text)
    assert load(path).cluster.replicas == 4
    [shown] = re.findall(r"^servecast: my\.yaml(, .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    path.write_text(text.replace("max_num_batched_tokens: 4096", "max_num_sequences: 4096"))
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value) == f"{path}{shown}"


def test_the_readmes_python_runs() -> None:
    [code] = blocks("README.md", "python")
    exec(code, {})


def test_the_router_of_the_contributing_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = blocks("CONTRIBUTING.md", "python")
    (tmp_path / "guide.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    result = sim.run(
        "quickstart",
        overrides=["cluster.router={'guide:Pinned': {index: 1}}", "workload.trace.csv.limit=20"],
    )
    assert set(result.requests["replica"]) == {1}


def test_documents_name_only_files_that_exist() -> None:
    for document in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text()):
            assert (ROOT / target).exists(), target


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_scenarios_open_with_question_and_finding(path: Path) -> None:
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert comment[0].startswith("# Question: ")
    assert any(line.startswith("# Finding: ") for line in comment)
    assert yaml.safe_load(path.read_text())["name"] == path.stem
    load(path)
