"""The record tables as pandas frames, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sim.metrics.context import Columns
from sim.metrics.handover import handover_columns
from sim.metrics.latency import latency_columns
from sim.record import STATUS

if TYPE_CHECKING:  # heavy, and a report on the terminal needs no frame
    import pandas as pd


def requests_frame(requests: Columns, tenants: Sequence[str]) -> pd.DataFrame:
    """One row per request in arrival order: the recorded columns, then its latencies in seconds.

    `tenants` are the names that the column tenant indexes.
    """
    import pandas as pd

    frame = pd.DataFrame({**requests, **latency_columns(requests), **handover_columns(requests)})
    frame["status"] = pd.Categorical(frame["status"], categories=list(STATUS))
    frame["tenant"] = pd.Categorical(np.array(tenants)[requests["tenant"]], categories=list(tenants))
    return frame


def steps_frame(steps: Columns) -> pd.DataFrame:
    """One row per run of like steps of one replica; see the recorder for the columns."""
    import pandas as pd

    return pd.DataFrame(dict(steps))
