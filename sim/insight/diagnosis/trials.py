"""The runs of a diagnosis: the scenario with changes, each set of changes once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sim.errors import ScenarioError
from sim.insight.diagnosis.change import FAILED, Change, Score, apply, score
from sim.insight.runs import run_groups, with_seeds
from sim.run import Result
from sim.scenario import Scenario


class Trials:
    """Runs of the scenario with changes, each set of changes once."""

    def __init__(
        self, scenario: Scenario, seeds: int, jobs: int | None, progress: Callable[[int, int], None] | None
    ) -> None:
        self._scenario = scenario
        self._seeds = seeds
        self._jobs = jobs
        self._progress = progress
        self._known: dict[str, list[dict[str, Any]]] = {}
        self.failed: dict[str, str] = {}
        self.runs = 0

    def know(self, first: Result) -> None:
        """The run as written, with its own seed, need not be done again where that is the only one."""
        if self._seeds == 1:
            self.runs += 1
            self._known[_key(self._scenario)] = [first.summary]

    def scores(self, sets: Sequence[Sequence[Change]]) -> list[Score]:
        """The scores of several sets of changes, run at once."""
        keys: list[str] = []
        wanted: dict[str, Scenario] = {}
        for changes in sets:
            try:
                scenario = apply(self._scenario, changes)
            except ScenarioError as error:
                self.failed[_label(changes)] = str(error)
                keys.append("")
                continue
            keys.append(_key(scenario))
            if keys[-1] not in self._known:
                wanted[keys[-1]] = scenario
        groups = [with_seeds(scenario, self._seeds) for scenario in wanted.values()]
        total = self.runs + len(groups) * self._seeds
        outcomes = run_groups(groups, self._jobs, self._told(total)) if groups else []
        self.runs = total
        for key, mine in zip(wanted, outcomes, strict=True):
            errors = [outcome.error for outcome in mine if outcome.error]
            self._known[key] = [] if errors else [outcome.summary for outcome in mine if outcome.summary is not None]
            if errors:
                self.failed[_label(sets[keys.index(key)])] = errors[0]
        return [score(found) if (found := self._known.get(key)) else FAILED for key in keys]

    def score(self, changes: Sequence[Change]) -> Score:
        """The score of one set of changes."""
        return self.scores([changes])[0]

    def missed(self, changes: Sequence[Change]) -> dict[str, float]:
        """Share of requests that miss each target under these changes, with the first seed."""
        known = self._known[_key(apply(self._scenario, changes))]
        return {name: 1 - share for name, share in known[0]["slo_attainment"].items()}

    def _told(self, total: int) -> Callable[[int, int], None] | None:
        if self._progress is None:
            return None
        tell, before = self._progress, self.runs
        return lambda done, _: tell(before + done, total)


def _key(scenario: Scenario) -> str:
    return scenario.to_yaml()


def _label(changes: Sequence[Change]) -> str:
    return " + ".join(change.label for change in changes)
