"""servecast: a discrete-event simulator of LLM inference clusters.

    import sim

    result = sim.run("quickstart", overrides=["cluster.replicas=4"])
    result.summary["p99_ttft_ms"], result.requests, result.plot()

`load` reads a scenario, `run` simulates it, `Result` is what it returns, and every error that the user can
mend is a `ServecastError`.
"""

from typing import TYPE_CHECKING, Any

from sim.errors import ServecastError
from sim.run import Result, run  # light; and `sim.run` must be the function, not the module

if TYPE_CHECKING:
    from sim.scenario import Scenario, load

__all__ = ["Result", "Scenario", "ServecastError", "load", "run"]


def __getattr__(name: str) -> Any:
    """Import the scenario's models only when they are asked for, so that `import sim` stays fast."""
    if name not in ("Scenario", "load"):
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    from sim import scenario

    return getattr(scenario, name)


def __dir__() -> list[str]:
    return __all__
