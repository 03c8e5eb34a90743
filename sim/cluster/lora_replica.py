"""A replica with LoRA adapters: its steps take longer the more of them they hold, and wait for those they load."""

from typing import Any

import simpy

from sim.cluster.pool import Pool
from sim.cluster.replica import Replica
from sim.engine.adapting import LoraEngine
from sim.engine.plan import StepPlan


class LoraReplica(Replica):
    """A replica whose engine is a LoraEngine, of a pool with `adapter_costs`."""

    engine: LoraEngine

    def __init__(self, env: simpy.Environment, index: int, pool: Pool, **parts: Any) -> None:
        super().__init__(env, index, pool, **parts)
        assert pool.adapter_costs is not None
        self.costs = pool.adapter_costs

    def _launch(self, start_s: float, plan: StepPlan) -> Any:
        self.timer = self._paced(self.costs.timer(self.engine.step_adapters))
        return super()._launch(start_s, plan)

    def _begin_run(self, start_s: float, plan: StepPlan, steps: int, before: Any) -> Any:
        self.timer = self._paced(self.costs.timer(self.engine.step_adapters))
        return super()._begin_run(start_s, plan, steps, before)

    def _transfer_s(self) -> float:
        return super()._transfer_s() + self.costs.load_s(self.engine.slots.begin_step()) * self._slow[1]
