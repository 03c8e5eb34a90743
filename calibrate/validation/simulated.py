"""The same requests in virtual time: as the profile predicts, and with the step times that the engine had."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import sim
from calibrate.reference_engine.log import ServingLog
from sim.cluster.pool import Pool
from sim.cluster.simulate import simulate
from sim.latency import StepTime
from sim.metrics import requests_frame
from sim.models import BatchShape
from sim.resolve import Setup


class LoggedTimer:
    """A step timer that gives out the engine's own durations, in order, and notes whether the batches agree.

    The first disagreement and all that follows it are counted: from there on the steps are other steps. Where
    the log is at its end, steps take the median of all.
    """

    def __init__(self, log: ServingLog) -> None:
        self._log = log
        self._usual_s = float(np.median([step.duration_s for step in log.steps]))
        self.steps = 0
        self.first_different: int | None = None

    def step(self, shape: BatchShape) -> StepTime:
        """The duration of the engine's next step."""
        number = self.steps
        self.steps += 1
        logged = number < len(self._log.steps)
        if self.first_different is None and not (logged and _same(shape, self._log.shapes[number])):
            self.first_different = number
        duration_s = self._log.steps[number].duration_s if logged else self._usual_s
        return StepTime(duration_s, 0.0, 0.0, 0.0, False)

    def decode_run(self, decodes: int, context_tokens: int, steps: int) -> tuple[list[float], StepTime]:
        """Not asked for: the replay takes single steps."""
        raise NotImplementedError("a replay is simulated without fast-forward")


def _same(one: BatchShape, other: BatchShape) -> bool:
    counts = (one.decodes, one.decode_context_tokens, one.sampled)
    return sorted(one.prefills) == sorted(other.prefills) and counts == (
        other.decodes,
        other.decode_context_tokens,
        other.sampled,
    )


@dataclass(frozen=True)
class Replay:
    """The simulation with the engine's own step times: its requests, and how many of its steps are the engine's."""

    requests: pd.DataFrame
    steps: int
    engine_steps: int
    same_steps: int
    same_preemptions: bool

    @property
    def identical(self) -> bool:
        """Whether every decision of the simulation was the engine's."""
        return self.same_steps == self.steps == self.engine_steps and self.same_preemptions


def replay(setup: Setup, log: ServingLog) -> Replay:
    """Simulate the requests of a log with the durations of its steps: what differs then are decisions alone."""
    said = setup.scenario
    timer = LoggedTimer(log)
    record = simulate(
        said.workload.table(said.seed, Path(said.base_dir)),
        [Pool(setup.make_engine, timer)],
        router=said.cluster.router,
        seed=said.seed,
        fast_forward=False,
    )
    requests = requests_frame(record.requests, record.tenants).sort_values("id", ignore_index=True)
    preemptions = [row.preemptions for row in log.requests]
    same = timer.steps if timer.first_different is None else timer.first_different
    return Replay(requests, timer.steps, len(log.steps), same, requests["preemptions"].tolist() == preemptions)


def predict(scenario: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """(requests in the order of their ids, summary, warnings) of the scenario as the profile has it."""
    result = sim.run(scenario)
    return result.requests.sort_values("id", ignore_index=True), result.summary, result.warnings


def step_times(setup: Setup, log: ServingLog) -> list[StepTime]:
    """What the latency model says of the shape of every step of the log; an empty step has its time, too."""
    timer = setup.timer()
    return [timer.step(shape) for shape in log.shapes]
