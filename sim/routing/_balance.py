"""When affinity must give way: the balance thresholds of SGLang's cache-aware router."""

from collections.abc import Sequence

from sim.routing import ReplicaView


def relieved(members: Sequence[ReplicaView], abs_threshold: int, rel_threshold: float) -> ReplicaView | None:
    """The least loaded replica if loads differ by more than both thresholds, else None.

    Loads are unfinished requests; they differ if max - min > abs_threshold and max > rel_threshold * min.
    Source: SGLang, sgl-router/src/policies/cache_aware.rs.
    """
    loads = [replica.outstanding_requests for replica in members]
    most, least = max(loads), min(loads)
    if most - least > abs_threshold and most > rel_threshold * least:
        return members[loads.index(least)]
    return None
