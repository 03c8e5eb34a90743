"""Prompts with several answers: when all of them are there."""

from typing import Any

import numpy as np

from sim.metrics.context import Columns
from sim.metrics.latency import completed
from sim.metrics.numbers import describe


def all_answers(requests: Columns) -> dict[str, Any] | None:
    """Seconds from a prompt's arrival to the end of its last answer, in ms; None where every prompt has one.

    Over the prompts whose answers are all measured and finished.
    """
    if "prompt" not in requests:
        return None
    prompt = requests["prompt"]
    order = np.argsort(prompt, kind="stable")
    begins = np.flatnonzero(np.append(True, np.diff(prompt[order]) > 0))
    whole = np.logical_and.reduceat(completed(requests)[order], begins)
    arrival = requests["arrival_s"][order][begins]
    ends = np.maximum.reduceat(requests["finish_s"][order], begins)
    table = describe((ends - arrival)[whole])
    return {"prompts": len(begins), "completed": int(whole.sum())} | {
        f"{statistic}_e2el_ms": value * 1e3 for statistic, value in table.items()
    }
