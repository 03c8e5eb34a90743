"""The command of the measuring part, for a machine with torch and numpy alone: `python -m calibrate gpu --out
DIR`."""

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import Any

from calibrate.gpu.errors import MeasureError
from calibrate.gpu.planfile import DEFAULT
from calibrate.rawpoints import RawPointsError

DEFAULT_BUDGET_S = 600.0
_STOPPED = 130  # as shells count Ctrl-C


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, measure, and tell the exit code."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m calibrate", description="Measure a GPU for servecast.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    gpu = verbs.add_parser("gpu", help="measure kernels into a folder; run again to continue")
    gpu.add_argument("--out", type=Path, required=True, help="folder for raw.csv.gz and measured_on.json")
    gpu.add_argument("--plan", type=Path, default=DEFAULT, help="plan file; default: all built-in models")
    gpu.add_argument("--budget", type=float, default=DEFAULT_BUDGET_S, help="seconds; default: %(default)g")
    gpu.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda if there is a GPU")
    gpu.add_argument("--quiet", "-q", action="store_true", help="no progress")
    given = parser.parse_args(arguments)
    try:
        return run(given.out, given.plan, given.budget, given.device, given.quiet, began)
    except (MeasureError, RawPointsError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2


def run(out: Path, plan: Path, budget_s: float, device: str | None, quiet: bool, began: float | None = None) -> int:
    """Measure, say on stdout how it ended, and give the exit code: 0, 130 if stopped, 2 if the GPU was lost.

    Raises MeasureError or RawPointsError for what the user must mend.
    """
    if not budget_s > 0:
        raise MeasureError(f"--budget must be more than 0 seconds, not {budget_s:g}")
    if out.exists() and not out.is_dir():
        raise MeasureError(f"--out {out}: there is a file of that name; choose another folder")
    try:
        from calibrate.gpu.runner import measure
    except ImportError as error:
        raise MeasureError(f"measuring needs torch and numpy ({error}); install them and run again") from error
    before: Any = signal.signal(signal.SIGTERM, _stop)
    try:
        outcome = measure(out, plan, budget_s, device, quiet, began)
    finally:
        signal.signal(signal.SIGTERM, before)
    print(outcome.text, flush=True)
    return {"finished": 0, "budget": 0, "interrupted": _STOPPED}.get(outcome.ended, 2)


def _stop(*_: object) -> None:
    """Being told to end is like Ctrl-C: what was measured is kept."""
    raise KeyboardInterrupt
