"""A fixture for pytest: `def test_policy(servecast): servecast.check("chat.yaml")`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sim.document import Overrides
    from sim.insight.check import Check
    from sim.run import Result


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--servecast-update` writes the baselines of the tests that run."""
    group = parser.getgroup("servecast")
    group.addoption("--servecast-update", action="store_true", help="write the baselines of servecast.check anew")


class Servecast:
    """Runs and checks scenarios; relative paths start from the test file's folder."""

    def __init__(self, folder: Path, update: bool) -> None:
        self.folder = folder
        self.update = update

    def run(self, scenario: str | Path | Mapping[str, Any], overrides: Overrides = ()) -> Result:
        """`sim.run`."""
        from sim.run import run

        return run(self._located(scenario), overrides=overrides)

    def check(
        self,
        scenario: str | Path | Mapping[str, Any],
        baseline: str | Path | None = None,
        *,
        seeds: int = 5,
        tolerance: float = 0.01,
        strict: bool = False,
        metrics: Iterable[str] = (),
        overrides: Overrides = (),
    ) -> Check | None:
        """Fail the test if a metric has become worse than in the baseline, baselines/NAME.json unless told otherwise.

        With --servecast-update the baseline is written, with so many seeds, and nothing is judged.
        """
        from sim.insight.check import check, reports
        from sim.insight.check.check import measure
        from sim.scenario import load

        loaded = load(self._located(scenario), overrides)
        path = self.folder / (baseline or f"baselines/{loaded.name}.json")
        if self.update:
            measure(loaded, range(loaded.seed, loaded.seed + seeds), jobs=1)[0].write(path)
            return None
        found = check(loaded, path, tolerance=tolerance, strict=strict, metrics=metrics, jobs=1)
        if not found.passed:
            told = [reports.headline(found), *map(reports.sentence, found.failures), *reports.reasons(found)]
            pytest.fail("\n".join([*told, f"if this is meant: pytest --servecast-update ({path})"]), pytrace=False)
        return found

    def _located(self, scenario: str | Path | Mapping[str, Any]) -> str | Path | Mapping[str, Any]:
        if isinstance(scenario, Mapping):
            return scenario
        beside = self.folder / scenario
        return beside if beside.is_file() else scenario


@pytest.fixture
def servecast(request: pytest.FixtureRequest) -> Servecast:
    """Checks scenarios against baselines that are kept beside the test."""
    return Servecast(Path(request.path).parent, bool(request.config.getoption("--servecast-update", default=False)))
