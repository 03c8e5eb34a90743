"""How far a profile's step times may be off: what it says of itself, or was found when runs were left out."""

import json
from typing import NamedTuple

from sim.errors import ProfileError
from sim.hardware import Profile

_ASSUMED = 0.15
_SIGMAS_IN_MEDIAN = 0.6745
"""The median of the absolute value of a normal variable, in standard deviations."""
_OPS = {"prefill": ("gemm", "attention_prefill"), "decode": ("gemm", "attention_decode")}


class StepError(NamedTuple):
    """Relative standard deviations of the time of a step with a prefill and of one without, and where from."""

    prefill: float
    decode: float
    source: str


def step_error(profile: Profile) -> StepError:
    """The error of a profile's step times.

    The device's fact `step_error`, if it has one; else that of its fit on held-out points (the worse of matrix
    products and attention, median / 0.6745); else 15%, assumed. Raises ProfileError for a fit report that cannot be
    read.
    """
    if profile.step_error is not None:
        return StepError(*profile.step_error, profile.sources["step_error.prefill"])
    report = profile.folder / "fit_report.json"
    if not report.is_file():
        return StepError(_ASSUMED, _ASSUMED, "assumed: no run was compared with this profile")
    try:
        held_out = json.loads(report.read_text(encoding="utf-8"))["held_out"]
        worst = {kind: max(held_out[op]["median"] for op in ops if op in held_out) for kind, ops in _OPS.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProfileError(f"{report}: no errors of held-out points can be read ({error}); fit again") from None
    return StepError(
        worst["prefill"] / _SIGMAS_IN_MEDIAN, worst["decode"] / _SIGMAS_IN_MEDIAN, f"held-out points of {report.name}"
    )
