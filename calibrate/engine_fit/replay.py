"""A measured run, simulated again and again with other costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.cluster.simulate import simulate
from sim.hardware import Profile
from sim.latency import StepTimer
from sim.resolve import Setup, resolve
from sim.scenario import Scenario
from sim.workload.measured.read import MeasuredRun
from sim.workload.table import RequestTable

Floats = NDArray[np.float64]
LATENCIES = ("ttft", "tpot", "e2e")
HOST_COSTS = ("host_step_s", "host_seq_s", "host_exposed_s", "host_request_s", "host_output_s")


@dataclass(frozen=True, eq=False)
class Latencies:
    """TTFT, TPOT and E2E of the requests that both sides answered, f8[n] each, in seconds."""

    ttft: Floats
    tpot: Floats
    e2e: Floats

    def at(self, rows: Any) -> "Latencies":
        """Those of some requests."""
        return Latencies(self.ttft[rows], self.tpot[rows], self.e2e[rows])


class Replay:
    """One measured run and the scenario that served it."""

    def __init__(self, name: str, scenario: Scenario, run: MeasuredRun) -> None:
        self.name = name
        self.setup = resolve(scenario)
        self.run = run
        longest = self.setup.limits.max_model_len
        self.rows = np.flatnonzero(run.answered & (run.table.prompt_tokens < longest))
        self.measured = Latencies(run.ttft_s, run.tpot_s, run.e2e_s).at(self.rows)

    @property
    def costs(self) -> dict[str, float]:
        """The host costs that the scenario and its preset say, by engine key, in seconds."""
        return {name: float(getattr(self.setup.scenario.engine, name)) for name in HOST_COSTS}

    def simulated(
        self,
        costs: Mapping[str, float] | None = None,
        profile: Profile | None = None,
        change: Callable[[Setup], Setup] | None = None,
        wrap: Callable[[StepTimer], StepTimer] | None = None,
        table: RequestTable | None = None,
    ) -> Latencies:
        """The same requests under other host costs (engine keys, seconds), device facts, setup, times or content."""
        setup = _with_costs(self.setup, costs or {})
        if profile is not None:
            setup = replace(setup, profile=profile)
        if change is not None:
            setup = change(setup)
        said: Any = setup.scenario
        pool = setup.pool()
        record = simulate(
            table or self.run.table,
            [pool if wrap is None else replace(pool, timer=wrap(pool.timer))],
            router=said.cluster.router,
            seed=said.seed,
            request_timeout_s=said.cluster.request_timeout,
            queue_timeout_s=said.cluster.queue_timeout,
        )
        columns = record.requests
        order = np.argsort(columns["id"], kind="stable")
        arrival, first, finish = (columns[name][order] for name in ("arrival_s", "first_token_s", "finish_s"))
        gaps = columns["generated_tokens"][order] - 1
        tpot = np.full(len(order), np.nan)
        np.divide(finish - first, gaps, out=tpot, where=gaps > 0)
        return Latencies(first - arrival, tpot, finish - arrival).at(self.rows)


def mean_errors(measured: Latencies, simulated: Latencies) -> dict[str, float]:
    """simulated / measured - 1 of the mean of each latency."""
    return {
        name: float(np.nanmean(getattr(simulated, name)) / np.nanmean(getattr(measured, name)) - 1)
        for name in LATENCIES
    }


def _with_costs(setup: Setup, costs: Mapping[str, float]) -> Setup:
    engine = setup.scenario.engine.model_copy(update=dict(costs))
    timing: dict[str, Any] = {name: cost for name, cost in costs.items() if name in vars(setup.timing)}
    return replace(
        setup,
        scenario=setup.scenario.model_copy(update={"engine": engine}),
        timing=replace(setup.timing, **timing),
    )
