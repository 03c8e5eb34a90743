"""Two profiles side by side: how much longer the second takes, per operation and per step of one model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.hardware import Profile
from sim.latency import EngineTiming, TimerContext, roofline
from sim.latency.curves import Curves
from sim.latency.profile import Profile as ProfileModel
from sim.models import BatchShape
from sim.models.model import Model
from sim.models.operations import (
    Operation,
    decode_attention,
    prefill_attention,
    sample_operations,
    token_operations,
)
from sim.models.shape import attention_pairs

_TOKENS = tuple(1 << power for power in range(14))
_ROWS = tuple(1 << power for power in range(9))
_BATCHES, _CONTEXTS = (1, 4, 16, 64, 256), (128, 512, 2048, 8192, 32768)
_CHUNKS, _BEFORE = (16, 64, 256, 1024, 4096, 8192), (0, 1024, 8192)
_GPU_ALONE = EngineTiming(host_step_s=0.0, host_seq_s=0.0, host_exposed_s=0.0, eager_launch_s=0.0)
_CONTEXT = 1024
_STEPS: dict[str, BatchShape] = {
    **{
        f"decode of {batch}, {_CONTEXT} tokens each": BatchShape([], batch, batch * _CONTEXT, batch)
        for batch in (1, 16, 64, 256)
    },
    **{f"prefill of {new}": BatchShape([(new, 0)], 0, 0, 1) for new in (128, 512, 2048, 8192)},
    f"prefill of 512 after 4096, decode of 64, {_CONTEXT} tokens each": BatchShape(
        [(512, 4096)], 64, 64 * _CONTEXT, 65
    ),
}


class Times(NamedTuple):
    """Seconds over shapes, whether each lies outside what was measured, and whether anything was measured."""

    seconds: NDArray[Any]
    outside: NDArray[Any]
    measured: bool

    @property
    def inside(self) -> float | None:
        """The share of shapes inside the points; None without points."""
        return float(1.0 - np.mean(self.outside)) if self.measured else None


@dataclass(frozen=True)
class Setting:
    """The model whose operations and steps are compared, how many GPUs share it, and its number formats."""

    model: Model
    tensor_parallel: int = 1
    weight_dtype: str = "bf16"
    kv_dtype: str = "bf16"


def compare_profiles(first: Profile, second: Profile, setting: Setting) -> dict[str, Any]:
    """Times of the second over times of the first: above 1, the second is slower.

    Per operation over a grid of shapes: median, p10, p90, and the share of shapes inside each profile's points (None
    where it has none, so that its roofline stands for them). Per step: seconds of the GPU alone, without host time.
    Raises ModelError for a model that cannot be split so, ProfileError for points that cannot be read.
    """
    pairs = zip(_operations(first, setting), _operations(second, setting), strict=True)
    return {
        "first": _who(first),
        "second": _who(second),
        "model": setting.model.name,
        "tensor_parallel": setting.tensor_parallel,
        "weight_dtype": setting.weight_dtype,
        "kv_dtype": setting.kv_dtype,
        "operations": [_ratio(name, one, other) for (name, one), (_, other) in pairs],
        "steps": list(_steps(first, second, setting)),
    }


def _who(profile: Profile) -> dict[str, str]:
    return {"name": profile.name, "provenance": profile.provenance, "date": profile.date, "sha256": profile.digest}


def _ratio(name: str, first: Times, second: Times) -> dict[str, Any]:
    ratios = second.seconds / first.seconds
    low, middle, high = (float(value) for value in np.percentile(ratios, [10, 50, 90]))
    return {
        "operation": name,
        "shapes": len(ratios),
        "median": middle,
        "p10": low,
        "p90": high,
        "inside_first": first.inside,
        "inside_second": second.inside,
    }


def _operations(profile: Profile, setting: Setting) -> Iterator[tuple[str, Times]]:
    """Each operation of a step with its times over the grid; operations of one name are one."""
    curves, model, tp = Curves(profile), setting.model, setting.tensor_parallel
    tokens, rows = np.array(_TOKENS), np.array(_ROWS)
    yield from _straight(curves, token_operations(model, tokens, tp, setting.weight_dtype, setting.kv_dtype))
    yield "attention_prefill", _prefill(curves, setting)
    yield "attention_decode", _decode(curves, setting)
    yield from _straight(curves, sample_operations(model, rows, tp))


def _straight(curves: Curves, operations: Iterable[Operation]) -> Iterator[tuple[str, Times]]:
    for operation in operations:
        missing = curves.left_to_roofline([operation])
        yield operation.name, Times(*curves.seconds(operation), bool(curves.measured) and not missing)


def _decode(curves: Curves, setting: Setting) -> Times:
    found = []
    for batch in _BATCHES:
        line = curves.decode(decode_attention(setting.model, batch, batch, setting.tensor_parallel, setting.kv_dtype))
        found += [(line.at(batch * context), batch * context > line.limit) for context in _CONTEXTS]
    return _columns(found, curves)


def _prefill(curves: Curves, setting: Setting) -> Times:
    def operation(new: float, context: float) -> Operation:
        pairs = attention_pairs(int(new), int(context))
        return prefill_attention(setting.model, new, context, pairs, setting.tensor_parallel, setting.kv_dtype)

    def roof(new: float, context: float) -> float:
        return float(roofline.seconds(operation(new, context), curves.profile))

    grid = curves.prefill(operation(1, 0))
    if grid is None:
        outside = bool(curves.measured)
        return _columns([(roof(new, context), outside) for new in _CHUNKS for context in _BEFORE], curves)
    grid.scaled_by(roof)
    found = []
    for new in _CHUNKS:
        for context in _BEFORE:
            ratio, outside = grid.ratio(new, context)
            found.append((ratio * roof(new, context), outside))
    return _columns(found, curves)


def _columns(found: list[tuple[float, bool]], curves: Curves) -> Times:
    seconds, outside = zip(*found, strict=True)
    return Times(np.array(seconds), np.array(outside), bool(curves.measured))


def _steps(first: Profile, second: Profile, setting: Setting) -> Iterator[dict[str, Any]]:
    timers = [
        ProfileModel().build(
            TimerContext(
                setting.model,
                profile,
                setting.tensor_parallel,
                setting.weight_dtype,
                setting.kv_dtype,
                max_num_batched_tokens=max(_TOKENS),
                max_num_seqs=max(_BATCHES),
                timing=_GPU_ALONE,
            )
        )
        for profile in (first, second)
    ]
    for name, shape in _STEPS.items():
        one, other = (timer.step(shape) for timer in timers)
        yield {
            "step": name,
            "first_s": one.total_s,
            "second_s": other.total_s,
            "ratio": other.total_s / one.total_s,
            "extrapolated_first": one.extrapolated,
            "extrapolated_second": other.extrapolated,
        }
