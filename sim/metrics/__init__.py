"""Metrics: functions over the record tables of a run."""

from sim.metrics.context import Columns, RunContext, Slo
from sim.metrics.frames import requests_frame, steps_frame
from sim.metrics.gpu_time import BUCKETS, check_gpu_time, gpu_time
from sim.metrics.invariants import (
    InvariantError,
    LittlesLaw,
    check_causality,
    check_littles_law,
    littles_law,
)
from sim.metrics.latency import itl_statistics, latency_columns
from sim.metrics.saturation import Saturation, queue_growth, saturation
from sim.metrics.summary import summarize
from sim.metrics.timeline import timeline

__all__ = [
    "BUCKETS",
    "Columns",
    "InvariantError",
    "LittlesLaw",
    "RunContext",
    "Saturation",
    "Slo",
    "check_causality",
    "check_gpu_time",
    "check_littles_law",
    "gpu_time",
    "itl_statistics",
    "latency_columns",
    "littles_law",
    "queue_growth",
    "requests_frame",
    "saturation",
    "steps_frame",
    "summarize",
    "timeline",
]
