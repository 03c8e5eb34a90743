"""A scenario under step times that are wrong, as those of its GPU's profile may be."""

from math import exp

from sim.errors import ServecastError
from sim.latency.error import step_error
from sim.latency.off import Off
from sim.latency.profile import Profile
from sim.resolve.naming import gpu_profile
from sim.scenario import Scenario
from sim.streams import stream


def shake(scenario: Scenario, draw: int) -> Scenario | None:
    """The scenario with step times off by two log-normal factors: draw number `draw` of its GPU's profile.

    The same draw for every scenario on one GPU, whatever else it says: such errors cancel where variants are compared.
    None where no profile tells the step times, or where it cannot be loaded (which a run will say), or where pools
    have different GPUs, whose errors are not each other's.
    """
    if not isinstance(scenario.latency, Profile):
        return None
    named = {pool.gpu or scenario.cluster.gpu for pool in scenario.cluster.pools.values()} or {scenario.cluster.gpu}
    if len(named) > 1:
        return None
    (gpu,) = named
    try:
        profile = gpu_profile(scenario, gpu)
        error = step_error(profile)
    except ServecastError:
        return None
    prefill, decode = stream(draw, f"model error.{profile.name}").standard_normal(2).tolist()
    off = Off(prefill=exp(error.prefill * prefill), decode=exp(error.decode * decode))
    return scenario.model_copy(update={"latency": off})
