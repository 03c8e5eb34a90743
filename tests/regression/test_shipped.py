"""What shipped scenarios come to, to the last bit, so that no change of behaviour goes unseen.

If a change is meant: `pytest tests/regression --servecast-update`, and the difference of the JSON files is its review.
"""

import pytest

from sim.pytest_plugin import Servecast
from sim.pytest_plugin import servecast as servecast  # also where the plugin is not installed

SCENARIOS = {
    "quickstart": ["workload.trace.csv.limit=400"],
    "engines": ["workload.trace.csv.limit=200"],
    "chat-memory": ["workload.sessions=20", "measure.warmup=0s"],
    "two-models": ["workload.mix.chat.duration=10s", "workload.mix.coding.duration=10s", "measure.warmup=0s"],
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_has_changed(servecast: Servecast, name: str) -> None:
    servecast.check(name, strict=True, seeds=1, overrides=SCENARIOS[name])
