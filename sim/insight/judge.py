"""Which of several scenarios meet what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sim.insight.limits import Limit, broken_limit
from sim.insight.runs import Outcome, run_groups, with_seeds
from sim.report.words import number
from sim.scenario import Scenario


class Verdict(NamedTuple):
    """Why a scenario cannot be run, which limit it breaks, its figures (means over the seeds), its first summary."""

    error: str
    broke: str
    values: Mapping[str, float]
    summary: Mapping[str, Any]

    @property
    def told(self) -> str:
        """The broken limit with the figure that breaks it."""
        name = self.broke.partition(" ")[0]
        value = self.values.get(name)
        if value is None:
            return self.broke
        return f"{self.broke} ({f'{value:.2%}' if name == 'slo_attainment' else number(value)})"


class Judge:
    """Runs scenarios, and says which of them meet the targets."""

    def __init__(
        self, limits: Sequence[Limit], attainment: float, seeds: int, jobs: int | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:  # fmt: skip
        self.limits = limits
        self.attainment = attainment
        self.seeds = seeds
        self.jobs = jobs
        self.progress = progress
        self.rounds = 0

    def verdicts(self, scenarios: Sequence[Scenario]) -> list[Verdict]:
        """One for each scenario."""
        outcomes = run_groups([with_seeds(one, self.seeds) for one in scenarios], self.jobs)
        self.rounds += 1
        if self.progress is not None:
            self.progress(self.rounds, self.rounds + 3)
        return [self._verdict(mine) for mine in outcomes]

    def _verdict(self, outcomes: Sequence[Outcome]) -> Verdict:
        error = next((outcome.error for outcome in outcomes if outcome.error), "")
        if error:
            return Verdict(error, "", {}, {})
        summaries = [outcome.summary for outcome in outcomes if outcome.summary is not None]
        broke, values = broken_limit(summaries, self.limits, self.attainment)
        return Verdict("", broke, values, summaries[0])
