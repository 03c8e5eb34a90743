"""A validation from end to end: host cost, then every workload on the engine and in the simulation, then errors."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import sim
from calibrate.gpu import device as machine
from calibrate.gpu.bench import BLOCK_SIZE
from calibrate.gpu.ops.sampling import draw
from calibrate.reference_engine.engine import serve
from calibrate.reference_engine.kernels import kernels_for
from calibrate.reference_engine.kv import KVCache
from calibrate.reference_engine.log import ServingLog
from calibrate.reference_engine.model import Transformer
from calibrate.reference_engine.runner import Runner, RunnerLimits
from calibrate.validation import errors
from calibrate.validation.host import HostCost, fit_host, measure_host
from calibrate.validation.settings import Settings
from calibrate.validation.simulated import Replay, predict, replay, step_times
from calibrate.validation.workloads import KINDS, Kind
from sim.cluster.arrivals import make_requests
from sim.errors import CapacityError
from sim.provenance import versions
from sim.request import Request
from sim.resolve import Setup, resolve
from sim.scenario import load

Say = Callable[[str], None]
_NOTHING = {
    "arrivals": "all_at_once",
    "prompt_tokens": {"fixed": {"tokens": 1}},
    "output_tokens": {"fixed": {"tokens": 1}},
    "requests": 1,
}
"""A workload for scenarios of which only the engine is wanted."""
_CAPACITY_REQUESTS = 8
"""Requests per seat of the engine in the simulation that tells how many it can serve a second."""
_LEAST_REQUESTS = 12
_MEMORY_SHARE = 0.9
"""Of the KV blocks that the simulator has room for: the real memory holds graphs and leftovers, too."""


@dataclass(frozen=True)
class WorkloadRun:
    """One workload, served and simulated."""

    name: str
    kind: Kind
    rate_per_s: float
    log: ServingLog
    steps: pd.DataFrame
    requests: pd.DataFrame
    replayed: Replay
    summary: dict[str, Any]


@dataclass(frozen=True)
class Validation:
    """All workloads, the host's cost, and what JSON says of them."""

    runs: list[WorkloadRun]
    host: HostCost
    summary: dict[str, Any]


@torch.inference_mode()
def run_validation(settings: Settings, say: Say = lambda text: None) -> Validation:
    """Serve and simulate. Raises ServecastError for what does not fit the device or the model."""
    bench = _Bench(settings, say)
    host = bench.host()
    say(
        f"host: {host.host_step_s * 1e6:.0f} us a step + {host.host_seq_s * 1e6:.2f} us a request "
        f"(median residual {host.residual_s * 1e6:.0f} us)"
    )
    runs = [bench.workload(name, host) for name in settings.workloads]
    return Validation(runs, host, _summary(settings, host, runs))


class _Bench:
    """The runner on its device, warmed up."""

    def __init__(self, settings: Settings, say: Say) -> None:
        self.settings, self.say = settings, say
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        kinds = [KINDS[name] for name in settings.workloads]
        self.longest = max(kind.max_model_len(settings.unit_tokens) for kind in kinds)
        self.blocks = self._blocks()
        say(f"{settings.model.name} with random weights and {self.blocks} KV blocks on {settings.device}")
        try:
            self.transformer, self.cache = self._on_device()
            runner = self._runner(self.longest, self.blocks)
            runner.warm_up()
            self.start_s = runner.start_s()
        except torch.cuda.OutOfMemoryError as error:
            raise CapacityError(
                f"{settings.model.name} does not fit this GPU's memory ({str(error).splitlines()[0]}); "
                "choose a smaller --model"
            ) from None

    def _blocks(self) -> int:
        """KV blocks for all that may run at once, or as many as the device has memory for."""
        settings = self.settings
        wanted = settings.sizes.max_num_seqs * -(-self.longest // BLOCK_SIZE) + 1
        scenario = settings.scenario("memory", _NOTHING, {"max_model_len": self.longest})
        return min(wanted, round(_MEMORY_SHARE * resolve(load(scenario)).memory.num_gpu_blocks))

    def _on_device(self) -> tuple[Transformer, KVCache]:
        """The model and the memory of its KV cache, which all servings use."""
        settings = self.settings
        device, dtype = settings.device, torch.bfloat16
        kernels = kernels_for(device, settings.prefill_tile)
        # Tokens are drawn, as a server does, though nobody reads the answers.
        transformer = Transformer(settings.model, kernels, device, dtype, settings.seed, draw)
        return transformer, KVCache(settings.model, self.blocks, BLOCK_SIZE, device, dtype)

    def _runner(self, max_model_len: int, num_gpu_blocks: int) -> Runner:
        """An engine's runner, as it starts with these limits; its graphs are made for them."""
        sizes = self.settings.sizes
        limits = RunnerLimits(
            num_gpu_blocks=num_gpu_blocks,
            block_size=BLOCK_SIZE,
            max_model_len=max_model_len,
            max_num_seqs=sizes.max_num_seqs,
            max_num_batched_tokens=sizes.max_num_batched_tokens,
            graph_sizes=self.settings.graph_sizes,
        )
        runner = Runner(self.transformer, self.cache, limits)
        runner.capture()
        return runner

    def host(self) -> HostCost:
        """The host's cost, from batches of its own."""
        settings = self.settings
        setup = resolve(load(settings.scenario("host", _NOTHING, self._engine(None))))
        runner = self._runner(self.longest, self.blocks)

        def serve_batch(requests: Sequence[Request]) -> ServingLog:
            return self._serve(requests, setup, runner)

        seqs = settings.sizes.max_num_seqs
        return measure_host(serve_batch, settings.model, seqs, settings.on_cuda, self.start_s)

    def workload(self, name: str, host: HostCost) -> WorkloadRun:
        """Serve one workload, and simulate the same requests."""
        settings, kind = self.settings, KINDS[name]
        engine = {**self._engine(kind), **host.engine}
        rate_per_s = kind.load * self._capacity_per_s(name, kind, engine)
        count = max(_LEAST_REQUESTS, round(rate_per_s * settings.seconds))
        arrivals = kind.arrivals(rate_per_s, settings.seconds)
        synthetic = {"arrivals": arrivals, "requests": count, **kind.lengths(settings.unit_tokens)}
        scenario = settings.scenario(name, synthetic, engine)
        table = load(scenario).workload.table(settings.seed, Path())
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "requests.csv"
            columns = {c: getattr(table, c) for c in ("arrival_s", "prompt_tokens", "output_tokens")}
            pd.DataFrame(columns).to_csv(trace, index=False)
            scenario = settings.scenario(name, {"trace": {"csv": {"path": str(trace)}}}, engine)
            setup = resolve(load(scenario))
            requests = list(make_requests(setup.scenario.workload.table(settings.seed, Path()), 0.0, 0.0))
            self.say(f"{name}: {count} requests at {rate_per_s:.3g}/s, {kind.asks}")
            runner = self._runner(setup.limits.max_model_len, setup.limits.num_gpu_blocks)
            log = self._serve(requests, setup, runner)
            return compared(name, rate_per_s, scenario, log, host)

    def _capacity_per_s(self, name: str, kind: Kind, engine: dict[str, Any]) -> float:
        """Requests per second that an always busy engine serves, as the simulation has it."""
        settings = self.settings
        count = _CAPACITY_REQUESTS * settings.sizes.max_num_seqs
        lengths = kind.lengths(settings.unit_tokens)
        workload = {"arrivals": "all_at_once", "requests": count, **lengths}
        result = sim.run(settings.scenario(f"{name}, capacity", workload, engine))
        return count / float(result.requests["finish_s"].max())

    def _engine(self, kind: Kind | None) -> dict[str, Any]:
        """Engine settings that a workload brings with it."""
        if kind is None:
            return {"max_model_len": self.longest, "num_gpu_blocks_override": self.blocks}
        unit = self.settings.unit_tokens
        scarce = kind.num_gpu_blocks(unit)
        blocks = self.blocks if scarce is None else min(scarce, self.blocks)
        return {"max_model_len": kind.max_model_len(unit), "num_gpu_blocks_override": blocks}

    def _serve(self, requests: Sequence[Request], setup: Setup, runner: Runner) -> ServingLog:
        engine: Any = setup.scenario.engine  # resolved: no choice is None
        return serve(requests, runner, setup.limits, engine.batching, engine.ordering, self.settings.seed)


def compared(name: str, rate_per_s: float, scenario: dict[str, Any], log: ServingLog, host: HostCost) -> WorkloadRun:
    """Hold the log of a workload against the simulation of a scenario that has the same requests."""
    kind, setup = KINDS[name], resolve(load(scenario))
    simulated, summary, warnings = predict(scenario)
    own = fit_host([log], host.eager_launch_s, host.start_s)
    own_host, _, _ = predict({**scenario, "engine": {**scenario["engine"], **own.engine}})
    replayed = replay(setup, log)
    steps = errors.step_table(log, step_times(setup, log), host)
    requests = errors.request_table(log, simulated)
    busy_s = sum(step.duration_s for step in log.steps)
    found = {
        "asks": kind.asks,
        "requests": len(log.requests),
        "rate_per_s": rate_per_s,
        "num_gpu_blocks": setup.limits.num_gpu_blocks,
        "busy": busy_s / log.steps[-1].end_s,
        "mean_decodes": float(np.mean([shape.decodes for shape in log.shapes])),
        "engine_steps": {"measured": len(log.steps), "simulated": summary["engine_steps"]},
        "preemptions": {
            "measured": sum(row.preemptions for row in log.requests),
            "simulated": int(simulated["preemptions"].sum()),
        },
        "step": errors.step_errors(steps),
        "latency": errors.latency_errors(requests),
        "throughput": errors.throughput_error(log, simulated),
        "split": errors.error_split(log, replayed.requests, own_host, simulated),
        "own_host": own.engine,
        "decisions": {
            "steps": replayed.engine_steps,
            "same": replayed.same_steps,
            "identical": replayed.identical,
        },
        "warnings": warnings,
    }
    return WorkloadRun(name, kind, rate_per_s, log, steps, requests, replayed, found)


def _summary(settings: Settings, host: HostCost, runs: Sequence[WorkloadRun]) -> dict[str, Any]:
    """What validation.json holds."""
    profile, facts = settings.profile, machine.facts(settings.device)
    workloads = {run.name: run.summary for run in runs}
    return {
        "profile": {"name": profile.name, "date": profile.date, "sha256": profile.digest},
        "device": {key: facts[key] for key in ("device", "name", "torch", "cuda", "platform")},
        "made_with": versions(),
        "model": settings.model.name,
        "dtype": "bf16",
        "seed": settings.seed,
        "seconds": settings.seconds,
        "engine": {
            "max_num_seqs": settings.sizes.max_num_seqs,
            "max_num_batched_tokens": settings.sizes.max_num_batched_tokens,
            "cudagraph_capture_sizes": list(settings.graph_sizes),
        },
        "host": asdict(host),
        "overall": overall(workloads),
        "workloads": workloads,
    }


def overall(workloads: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The errors of all workloads together: medians over the workloads, and the worst one."""
    found: dict[str, Any] = {}
    for name, pick in HEADLINES.items():
        values = {workload: abs(pick(summary)) for workload, summary in workloads.items()}
        worst = max(values, key=lambda workload: values[workload])
        median, goal = float(np.median(list(values.values()))), GOALS.get(name)
        found[name] = {
            "median": median,
            "worst": values[worst],
            "worst_workload": worst,
            "goal": goal,
            "reached": None if goal is None else median <= goal,
        }
    found["identical_decisions"] = all(summary["decisions"]["identical"] for summary in workloads.values())
    return found


def _median_error(latency: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda summary: float(summary["latency"][latency]["median_request_error"])


def _error_of_mean(latency: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda summary: float(summary["latency"][latency]["mean"]["error"])


HEADLINES: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "step": lambda summary: summary["step"]["all"]["median"],
    **{name: _median_error(name) for name in errors.LATENCIES},
    **{f"mean_{name}": _error_of_mean(name) for name in errors.LATENCIES},
    "throughput": lambda summary: summary["throughput"]["error"],
}
"""The errors that a validation is judged by, of one workload."""

GOALS = {"step": 0.03, **dict.fromkeys(errors.LATENCIES, 0.05)}
"""What a profile of a GPU should reach: the median over steps, and over requests, of the absolute error."""
