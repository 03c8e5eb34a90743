"""The reference engine's own cost on the host, measured by serving batches of its own making, no workload's."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from calibrate.reference_engine.log import ServingLog
from sim.models import BatchShape, Model
from sim.models.operations import token_operations
from sim.request import Request

_PROMPT_TOKENS = 24
_OUTPUT_TOKENS = 16
_ROUNDS = 3


@dataclass(frozen=True)
class HostCost:
    """Seconds of the host under the names of the scenario's engine section; residual_s: what they leave unexplained.

    host_step_s and host_seq_s: all of a step in which the device has nothing to do, per step and per request
    in it; of that start_s from the start of a forward pass until a GPU is at work on it. eager_launch_s:
    launching one kernel without a graph, 0 where launching is part of the forward pass's own time.
    """

    host_step_s: float
    host_seq_s: float
    start_s: float
    eager_launch_s: float
    residual_s: float
    steps: int

    @property
    def engine(self) -> dict[str, float]:
        """The keys of a scenario's engine section."""
        values = asdict(self)
        return {name: values[name] for name in ("host_step_s", "host_seq_s", "eager_launch_s")}

    def predict(self, shape: BatchShape) -> float:
        """Seconds of the host in a step of that shape."""
        return self.host_step_s + self.host_seq_s * _requests(shape)


def measure_host(
    serve: Callable[[Sequence[Request]], ServingLog], model: Model, max_num_seqs: int, on_cuda: bool, start_s: float
) -> HostCost:
    """Serve batches of 1, 2, 4, ... up to `max_num_seqs` equal requests and fit the host's time to their steps.

    start_s: of that, what `Runner.start_s` tells.
    """
    logs = []
    for _ in range(_ROUNDS):
        size = 1
        while size < 2 * max_num_seqs:
            batch = [Request(i, 0.0, _PROMPT_TOKENS, _OUTPUT_TOKENS) for i in range(min(size, max_num_seqs))]
            logs.append(serve(batch))
            size *= 2
    return fit_host(logs, _launch_s(logs, model) if on_cuda else 0.0, start_s)


def fit_host(logs: Sequence[ServingLog], eager_launch_s: float, start_s: float) -> HostCost:
    """A line through the steps' host time over their requests, that outliers do not turn."""
    pairs = [(step, shape) for log in logs for step, shape in zip(log.steps, log.shapes, strict=True)]
    requests = np.array([_requests(shape) for _, shape in pairs], np.float64)
    host_s = np.array([step.host_s for step, _ in pairs]) + start_s
    scale_s = float(np.median(host_s))

    def residuals(line: NDArray[np.float64]) -> NDArray[np.float64]:
        left: NDArray[np.float64] = (line[0] + line[1] * requests) - host_s / scale_s
        return left

    found = least_squares(residuals, (1.0, 0.0), bounds=(0.0, np.inf), loss="soft_l1", f_scale=0.1).x
    left_s = float(np.median(np.abs(residuals(found)))) * scale_s
    step_s, seq_s = (float(value) * scale_s for value in found)
    return HostCost(step_s, seq_s, start_s, eager_launch_s, left_s, len(pairs))


def _launch_s(logs: Sequence[ServingLog], model: Model) -> float:
    """Median seconds to launch a kernel, in the steps with prompts, which run without a graph.

    Kernels are counted as the latency model counts them: the operations over rows, and two per layer for
    attention.
    """
    kernels = sum(operation.times for operation in token_operations(model, 1)) + 2 * model.layers
    launched = [step.launch_s for log in logs for step in log.steps if step.prefills]
    return float(np.median(launched)) / kernels


def _requests(shape: BatchShape) -> int:
    return shape.decodes + len(shape.prefills)
