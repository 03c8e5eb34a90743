"""Where the error of each mean latency comes from, part by part, each by simulating again without it.

With E the error of a mean, simulated / measured - 1:
    kv_capacity    E as the scenario stands - E with the KV block count, between 80% and 125% of the derived one,
                   that meets the log best; 0 when a real engine's block count was given
    workload       what the file does not tell of the prompts' content: E with the prompts as known - E with every
                   full block of every prompt in the cache, if that is nearer; 0 when the file names its prompts
    step_time      E with the profile's step times - E with those of a log of steps; without one nobody can tell a
                   longer step from a longer overhead: 0, and it is a part of host_overhead
    host_overhead  then, E with the scenario's host costs - E with the fitted ones
    scheduling     what is left: order, batching, and all that is not modelled
The parts add up to E.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from calibrate.engine_fit.fit import EngineFit, simulate
from calibrate.engine_fit.replay import LATENCIES, Replay, mean_errors
from sim.resolve import Setup
from sim.workload.table import RequestTable

PARTS = ("step_time", "kv_capacity", "host_overhead", "scheduling", "workload")
_CAPACITIES = (0.8, 0.9, 1.1, 1.25)

Errors = dict[str, float]


def split_errors(replay: Replay, fit: EngineFit, scale: Callable[[int], float] | None = None) -> dict[str, Any]:
    """The parts of each latency's mean error, as shares of the measured mean; `scale` as in `fit_engine`."""
    real = replay.measured
    whole = mean_errors(real, replay.simulated())
    capacity, change = _capacity(replay, whole)
    timed = whole if scale is None else mean_errors(real, simulate(replay, {}, scale))
    hosted = mean_errors(real, simulate(replay, fit.values(), scale))
    shared = _shared(replay)
    cached = hosted
    if shared is not None:
        other = mean_errors(real, simulate(replay, fit.values(), scale, shared))
        cached = min(hosted, other, key=_size)
    split: dict[str, Any] = {}
    for name in LATENCIES:
        parts = {
            "step_time": whole[name] - timed[name],
            "kv_capacity": capacity[name],
            "host_overhead": timed[name] - hosted[name],
            "workload": hosted[name] - cached[name],
        }
        parts["scheduling"] = whole[name] - sum(parts.values())
        split[name] = {"all": whole[name], **{part: parts[part] for part in PARTS}}
    split["step_times_told"] = scale is not None
    split["kv_blocks"] = {"told_by_the_engine": replay.setup.memory.given_blocks, "best_factor": change}
    return split


def _capacity(replay: Replay, whole: Errors) -> tuple[Errors, float]:
    """What another KV capacity would mend of each error, and which."""
    none = dict.fromkeys(LATENCIES, 0.0)
    if replay.setup.memory.given_blocks:
        return none, 1.0
    best, found = 1.0, whole
    for factor in _CAPACITIES:
        errors = mean_errors(replay.measured, replay.simulated(change=partial(_blocks, factor)))
        if _size(errors) < _size(found):
            best, found = factor, errors
    return {name: whole[name] - found[name] for name in LATENCIES}, best


def _blocks(factor: float, setup: Setup) -> Setup:
    longest = -(-setup.limits.max_model_len // setup.limits.block_size) + 1
    blocks = max(int(setup.limits.num_gpu_blocks * factor), longest)
    return replace(setup, limits=replace(setup.limits, num_gpu_blocks=blocks))


def _shared(replay: Replay) -> RequestTable | None:
    """The requests as if all prompts were shared as much as can be; None where the file tells what they hold."""
    table = replay.run.table
    if table.segments is not None or not replay.setup.limits.enable_prefix_caching:
        return None
    return replace(table, segments=[((("prompt", 0), tokens),) for tokens in table.prompt_tokens.tolist()])


def _size(errors: Errors) -> float:
    return float(np.mean([abs(errors[name]) for name in LATENCIES]))
