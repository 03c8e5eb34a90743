"""Measure a device and fit its profile, in one go: what `servecast calibrate gpu` does."""

import sys
from collections.abc import Sequence
from pathlib import Path

from calibrate.fit.build import Fitted, fit
from calibrate.gpu.command import run
from calibrate.gpu.errors import MeasureError
from calibrate.gpu.planfile import DEFAULT
from calibrate.planning import Scope, make_plan, write_plan
from calibrate.rawpoints import RawPointsError
from sim import models
from sim.errors import ServecastError

TINY = Path(__file__).resolve().parent / "reference_engine" / "tiny.json"
"""A model small enough for a CPU, called "tiny"."""
TINY_SCOPE = Scope(
    tensor_parallel=(1,),
    weight_dtypes=("bf16",),
    kv_dtypes=("bf16",),
    max_tokens=256,
    max_context_tokens=2048,
    max_batch=32,
    max_copy_bytes=2**24,
    generic=False,
)
"""As far as the validation on a CPU goes."""
PLAN_NAME = "plan.json.gz"


def measure(out: Path, plan: Path | None, budget_s: float, device: str | None, quiet: bool) -> int:
    """Measure into the folder `out`, or go on measuring; the exit code of `python -m calibrate gpu`.

    Without a plan a GPU gets the one that ships, and a CPU one for the tiny model, written into the folder.
    Raises ServecastError for what the user must mend.
    """
    try:
        if plan is None:
            plan = _tiny_plan(out) if _on_cpu(device) else DEFAULT
        return run(out, plan, budget_s, device, quiet)
    except (MeasureError, RawPointsError) as error:
        raise ServecastError(str(error)) from error


def fit_with_progress(folder: Path, like: str | None, quiet: bool) -> Fitted:
    """Fit a measured folder, saying so: many points take a while."""
    if not quiet:
        print(f"fitting {folder}", file=sys.stderr, flush=True)
    return fit(folder, like)


def plan_for(names: Sequence[str], scope: Scope, out: Path) -> int:
    """Write a plan for these models (built-in, "tiny", or config.json), the most important first; its points.

    Raises ServecastError if the file cannot be written, ModelError for a model that cannot be used.
    """
    if not out.name.endswith((".json", ".json.gz")):
        raise ServecastError(f"--out {out}: a plan is a .json or .json.gz file")
    plan = make_plan([models.load(TINY if name == "tiny" else name) for name in names], scope)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_plan(plan, out)
    except OSError as error:
        raise ServecastError(f"--out {out}: cannot be written ({error.strerror})") from error
    return sum(len(curve["points"]) for curve in plan["curves"])


def _on_cpu(device: str | None) -> bool:
    if device is not None:
        return device == "cpu"
    try:
        import torch
    except ImportError:
        return False  # measuring will say what is missing
    return not torch.cuda.is_available()


def _tiny_plan(out: Path) -> Path:
    if out.exists() and not out.is_dir():
        raise MeasureError(f"--out {out}: there is a file of that name; choose another folder")
    plan_for(["tiny"], TINY_SCOPE, out / PLAN_NAME)
    return out / PLAN_NAME
