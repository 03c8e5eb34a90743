"""servecast: a discrete-event simulator of LLM inference clusters.

    import sim

    result = sim.run("quickstart", overrides=["cluster.replicas=4"])
    result.summary["p99_ttft_ms"], result.requests, result.plot()

`load` reads a scenario, `run` simulates it, `compare` runs its variants, `capacity` finds the highest rate that meets
the targets, `size` the cheapest cluster that carries the load, `sweep` runs a grid or a search, `diagnose` says what
holds it back, `validate` replays a real run, `check` looks for what has become worse; `Result`, `Comparison`,
`Capacity`, `Size`, `Sweep`, `Diagnosis`, `Validation` and `Check` are what they return, notebooks show them, and `open`
opens one again that was saved. Every error that the user can mend is a `ServecastError`; `__version__` is the version.
"""

from typing import TYPE_CHECKING, Any

from sim.errors import ServecastError
from sim.run import Result, run  # light; and `sim.run` must be the function, not the module

if TYPE_CHECKING:
    from sim.export.opened import SavedAnswer
    from sim.export.opened import open as open
    from sim.export.saved import SavedRun
    from sim.insight import Capacity, Comparison, Diagnosis, Size, Sweep, capacity, compare, diagnose, size
    from sim.insight.check.check import Check, check
    from sim.insight.sweeps.points import sweep
    from sim.insight.validation import Validation, validate
    from sim.scenario import Scenario, load

__all__ = [
    "Capacity", "Check", "Comparison", "Diagnosis", "Result", "SavedAnswer", "SavedRun", "Scenario", "ServecastError",
    "Size", "Sweep", "Validation", "capacity", "check", "compare", "diagnose", "load", "run", "size", "sweep",
    "validate",
]  # fmt: skip
_LATER = {
    **dict.fromkeys(__all__, "sim.insight"),
    **dict.fromkeys(("Scenario", "load"), "sim.scenario"),
    **dict.fromkeys(("Check", "check"), "sim.insight.check"),
    **dict.fromkeys(("Validation", "validate"), "sim.insight.validation"),
    **dict.fromkeys(("SavedAnswer", "open"), "sim.export.opened"),
    "SavedRun": "sim.export.saved",
}


def __getattr__(name: str) -> Any:
    """Import what is heavy only when it is asked for, so that `import sim` stays fast."""
    if name == "__version__":
        from sim.provenance import servecast_version

        return servecast_version()
    if name not in _LATER:
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__", "open"]  # `from sim import *` leaves Python's own open as it is
