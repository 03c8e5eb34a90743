"""What a scenario may say about autoscaling."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from sim.choice import Choice
from sim.quantity import Seconds
from sim.scaling import Scaling
from sim.sections.section import Count, Section


class Autoscaling(Section):
    """When replicas start and go. Those that go finish their requests first; both kinds are paid for.

    Defaults are those of Kubernetes' HorizontalPodAutoscaler, whose limits on how fast it may scale are not modelled.
    """

    rule: Annotated[Any, Choice("sim.scaling")]
    """What decides: by queue length, KV use, concurrency, SLO, ... E.g. `{concurrency: {target: 32}}`."""
    min_replicas: Annotated[int, Field(ge=0)] = 1
    """Never fewer, not even at the start; with 0 requests may have to wait for a cold start."""
    max_replicas: Count
    """Never more. E.g. `8`."""
    interval: Annotated[Seconds, Field(gt=0)] = 15.0
    """From one decision to the next."""
    metric_lag: Seconds = 0.0
    """How old the metrics are at least."""
    scale_up_window: Seconds = 0.0
    """Replicas are added only if so long more were wanted."""
    scale_down_window: Seconds = 300.0
    """Replicas go only if so long fewer were wanted."""
    cooldown: Seconds = 0.0
    """After a change nothing changes for so long."""

    @model_validator(mode="after")
    def _least_is_less(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is more than max_replicas {self.max_replicas}")
        return self

    def scaling(self) -> Scaling:
        """The same for the simulation."""
        return Scaling(
            self.rule,
            most=self.max_replicas,
            least=self.min_replicas,
            interval_s=self.interval,
            lag_s=self.metric_lag,
            up_window_s=self.scale_up_window,
            down_window_s=self.scale_down_window,
            cooldown_s=self.cooldown,
        )

    def at_start(self, replicas: int) -> int:
        """How many there are at the start."""
        return min(max(replicas, self.min_replicas), self.max_replicas)
