"""What can be seen of a replica from outside at any time, also in the middle of a run of steps."""

from bisect import bisect_left

from sim.cluster.replica import Replica


def rested_s(replica: Replica) -> float:
    """For how long it has had nothing to run, since it began to serve."""
    resting = replica.resting_since
    return replica.idle_s if resting is None else replica.idle_s + (replica.env.now - resting)


def kv_share(replica: Replica) -> float:
    """The share of its KV blocks that requests hold, those of the steps that are decided included."""
    engine, run = replica.engine, replica.run
    used = engine.kv.used_blocks
    if run is not None:
        steps = min(run.steps, bisect_left(run.ends_s, replica.env.now, 1 - replica.ahead) + replica.ahead)
        scheduled = run.scheduled  # whose blocks are taken already
        used += engine.decoders.blocks_over(scheduled, max(steps, scheduled))
    return used / engine.kv.num_blocks
