"""The algorithm of Kubernetes' HorizontalPodAutoscaler."""

from math import ceil

from sim.scaling import Seen

_ROUNDING = 1e-9


def proportional(seen: Seen, total: float, target: float, tolerance: float) -> int | None:
    """ceil(replicas * metric / target), with `total` the metric's sum over the replicas that serve.

    Nothing changes while metric / target is within the tolerance of 1. When more are wanted, those that are coming
    count as replicas whose metric is 0, and less than there will be is not wanted then. With nobody serving there is
    no mean, and the sum is shared out. Source: Kubernetes, "Horizontal Pod Autoscaling", algorithm details, and
    `calcPlainMetricReplicas` in pkg/controller/podautoscaler/replica_calculator.go.
    """
    tolerance += _ROUNDING
    wanted = ceil(total / target - _ROUNDING)
    if not seen.ready:
        return max(wanted, seen.coming)
    ratio = total / (seen.ready * target)
    if ratio > 1 and seen.coming:
        ratio = total / ((seen.ready + seen.coming) * target)
        return wanted if ratio > 1 + tolerance else None
    return None if abs(ratio - 1) <= tolerance else wanted
