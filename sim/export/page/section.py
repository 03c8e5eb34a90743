"""What every result shows of itself on the page."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Section(NamedTuple):
    """One result: whether to believe it, the answer in a sentence, everything else, and what it was made with."""

    headline: str
    """A sentence of plain text."""
    body: str
    """HTML."""
    validity: Mapping[str, Any] | None = None
    """Whether it can be believed (see sim.metrics.validity); None where nothing was simulated."""
    made_with: Mapping[str, Any] = {}
    """Versions, seed, profile: shown at the end."""
    scenario: str = ""
    """As YAML, where the result has it; else what its folder says."""
    setting: str = ""
    """What it is about: model and GPUs."""


def grid(parts: Iterable[str]) -> str:
    """Charts side by side where there is room."""
    return f'<div class="charts">{"".join(parts)}</div>'
