"""Many runs at once: each scenario in a process of its own, the answers in the order of the questions."""

import logging
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sim.errors import ServecastError, at_least_one
from sim.metrics.latency import latency_quantiles
from sim.run import run
from sim.scenario import Scenario

_WAVES = 4
"""Runs of each Ray worker that are sent at once; then their answers come back."""


@dataclass(frozen=True)
class Outcome:
    """What one run came to, small enough to be sent between processes.

    `summary` is that of `Result`, or None where the run failed and `error` says why. Runs whose `requests`
    are equal were asked to serve the same requests.
    """

    summary: dict[str, Any] | None
    requests: str = ""
    error: str = ""
    quantiles: Mapping[str, list[float]] = field(default_factory=dict)
    """Its latencies as curves (see sim.metrics.latency.latency_quantiles)."""


def run_all(
    scenarios: Sequence[Scenario], jobs: int | None = None, progress: Callable[[int, int], None] | None = None
) -> list[Outcome]:
    """Run every scenario, `jobs` at a time (all cores by default); a failed one is an Outcome, too.

    `progress` is called with (runs done, of how many).
    """
    done: dict[int, Outcome] = {}
    for index, answer in run_each(scenarios, jobs):
        done[index] = answer
        if progress is not None:
            progress(len(done), len(scenarios))
    return [done[index] for index in range(len(scenarios))]


def with_seeds(scenario: Scenario, count: int) -> list[Scenario]:
    """The scenario with its own seed and those that follow it."""
    return [scenario.model_copy(update={"seed": scenario.seed + number}) for number in range(count)]


def run_groups(
    groups: Sequence[Sequence[Scenario]], jobs: int | None = None, progress: Callable[[int, int], None] | None = None
) -> list[list[Outcome]]:
    """`run_all` for all groups at once; the outcomes of each."""
    outcomes = iter(run_all([one for group in groups for one in group], jobs, progress))
    return [list(islice(outcomes, len(group))) for group in groups]


def run_each(
    scenarios: Sequence[Scenario], jobs: int | None = None, ray: str | None = None
) -> Iterator[tuple[int, Outcome]]:
    """(place in `scenarios`, answer), whichever is there first: `jobs` local processes, or a Ray cluster's workers.

    `ray` is the cluster's address ("auto", "ray://host:10001"), or "local" for one on this machine; its workers need
    servecast and the scenario's files. Raises ServecastError if it cannot be reached or is not installed, and for fewer
    jobs than one.
    """
    at_least_one(jobs=jobs)
    if ray is not None:
        yield from enumerate(_on_ray([scenario.written() for scenario in scenarios], ray, jobs))
        return
    from joblib import Parallel, cpu_count, delayed

    jobs = min(jobs or cpu_count(), len(scenarios))
    if jobs > 1:
        tasks = (delayed(_numbered)(index, scenario.written()) for index, scenario in enumerate(scenarios))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"\d+ tasks", category=UserWarning)  # of whom nobody waits for
            with _deaf_to_interrupts():
                answers: Iterable[tuple[int, Outcome]] = Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks)
            yield from answers
    else:
        yield from enumerate(_outcome(scenario.written()) for scenario in scenarios)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let no process that is started here hear Ctrl-C, not even while it starts: this one hears it and ends them.

    What is blocked stays blocked in children and in threads, those that start further workers among them; here it is
    only put off.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # whose start lets signals through again, in Python 3.11 and 3.12
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _on_ray(written: Sequence[dict[str, Any]], address: str, jobs: int | None) -> Iterator[Outcome]:
    from joblib import Parallel, delayed, parallel_config

    cpus = _connect(address)
    workers = jobs or cpus
    with parallel_config("ray"):
        for first in range(0, len(written), _WAVES * workers):
            wave = written[first : first + _WAVES * workers]
            yield from Parallel(n_jobs=workers)(delayed(_outcome)(one) for one in wave)


def _connect(address: str) -> int:
    """Connect to Ray, and say how many CPUs it has."""
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise ServecastError("--ray needs Ray: pip install 'servecast[ray]'") from None
    if not ray.is_initialized():
        where = None if address == "local" else address
        try:
            ray.init(address=where, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray raises many kinds
            raise ServecastError(f"--ray {address}: no Ray cluster can be reached there ({error})") from None
    register_ray()
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _numbered(index: int, written: dict[str, Any]) -> tuple[int, Outcome]:
    return index, _outcome(written)


def _outcome(written: dict[str, Any]) -> Outcome:
    try:
        result = run(written)
    except ServecastError as error:
        return Outcome(None, error=str(error))
    quantiles = latency_quantiles(result.record.requests)
    return Outcome(result.summary, result.summary["made_with"]["requests_sha256"], quantiles=quantiles)
