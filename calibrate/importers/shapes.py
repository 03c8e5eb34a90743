"""Where an operation of a model stands in the table of points."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.latency.points import Key
from sim.latency.shapes import axis_of, key_of
from sim.models.operations import Operation

Array = NDArray[np.float64]


class Curve(NamedTuple):
    """A curve of the table: its op with key cells, and places on its axes (one column per axis)."""

    key: Key
    places: Array


def curve_of(operation: Operation) -> Curve:
    """The curve and the places of an operation whose amounts are numbers or arrays."""
    op = operation
    if op.kind == "attention_prefill":
        return Curve(key_of(op), _columns(op.new_tokens, op.context_tokens))
    if op.kind == "attention_decode":
        return Curve(key_of(op), _columns(op.batch, np.asarray(op.context_tokens) / np.asarray(op.batch)))
    return Curve(key_of(op), _columns(axis_of(op)))


def _columns(*axes: Any) -> Array:
    shaped = np.broadcast_arrays(*(np.atleast_1d(np.asarray(axis, dtype=np.float64)) for axis in axes))
    return np.stack(shaped, axis=1)
