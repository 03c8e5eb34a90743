"""The ranges that workload parameters share, as types that pydantic checks."""

from typing import Annotated

from pydantic import Field

from sim.workload.table import MAX_TOKENS

Rate = Annotated[float, Field(gt=1e-9, le=1e9, allow_inf_nan=False)]
"""Requests per second, above 0; nobody means one in thirty years or a billion."""

RateOrZero = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
"""Requests per second, 0 allowed (nothing arrives)."""

Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
"""A length of a prompt or an output."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A finite number above 0."""

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A finite number of at least 0."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, from 0 to 1."""

Count = Annotated[int, Field(ge=1)]
"""How many; at least one."""
