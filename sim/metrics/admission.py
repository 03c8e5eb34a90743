"""What was kept out, and how often clients tried."""

from typing import Any

import numpy as np

from sim.metrics.context import Columns, RunContext
from sim.metrics.numbers import ratio

_PREFIX = "refusals_"


def admission(requests: Columns, context: RunContext) -> dict[str, Any] | None:
    """Refusals in all and by rule, of the whole run; None where nobody is refused and nobody tries again.

    `attempts` is None where nobody tries again: else how often requests were sent, in all, on average and at the most,
    how many were sent more than once, and how many of these finished. A request that was refused three times and then
    let in counts three refusals, and is not a refused request.
    """
    counters = context.counters
    if "refusals" not in counters:
        return None
    rules = {name.removeprefix(_PREFIX): count for name, count in counters.items() if name.startswith(_PREFIX)}
    told: dict[str, Any] = {"refusals": counters["refusals"], "by_rule": rules, "attempts": None}
    if "attempts" in requests:
        sent = requests["attempts"]
        again = sent > 1
        told["attempts"] = {
            "total": int(sent.sum()),
            "mean": ratio(int(sent.sum()), len(sent)),
            "max": int(sent.max(initial=0)),
            "requests_sent_again": int(again.sum()),
            "of_these_finished": int(np.sum(again & (requests["status"] == "finished"))),
        }
    return told
