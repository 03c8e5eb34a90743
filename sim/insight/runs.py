"""Many runs at once: each scenario in a process of its own, the answers in the order of the questions."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sim.errors import ServecastError
from sim.run import run
from sim.scenario import Scenario


@dataclass(frozen=True)
class Outcome:
    """What one run came to, small enough to be sent between processes.

    `summary` is that of `Result`, or None where the run failed and `error` says why. Runs whose `requests`
    are equal were asked to serve the same requests.
    """

    summary: dict[str, Any] | None
    requests: str = ""
    error: str = ""


def run_all(
    scenarios: Sequence[Scenario], jobs: int | None = None, progress: Callable[[int, int], None] | None = None
) -> list[Outcome]:
    """Run every scenario, `jobs` at a time (all cores by default); a failed one is an Outcome, too.

    `progress` is called with (runs done, of how many).
    """
    from joblib import Parallel, cpu_count, delayed

    jobs = min(jobs or cpu_count(), len(scenarios))
    tasks = (delayed(_outcome)(scenario.written()) for scenario in scenarios)
    if jobs > 1:
        answers: Iterable[Outcome] = Parallel(n_jobs=jobs, return_as="generator")(tasks)
    else:
        answers = (_outcome(scenario.written()) for scenario in scenarios)
    done = []
    for answer in answers:
        done.append(answer)
        if progress is not None:
            progress(len(done), len(scenarios))
    return done


def _outcome(written: dict[str, Any]) -> Outcome:
    try:
        result = run(written)
    except ServecastError as error:
        return Outcome(None, error=str(error))
    return Outcome(result.summary, result.summary["made_with"]["requests_sha256"])
