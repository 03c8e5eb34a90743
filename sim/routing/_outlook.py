"""What a request can expect of a replica, by the step times of its profile: no more than a guess.

The prompts before it are computed first, in full steps beside those that decode now, then its own. It is not foreseen
that requests end, that blocks or seats run out, or that others come later.
"""

from math import ceil

from sim.models.shape import BatchShape
from sim.request import Request
from sim.routing import ReplicaView


def ttft_s(replica: ReplicaView, request: Request) -> float:
    """Seconds until the first token."""
    decodes = min(replica.running_requests, replica.token_budget - 1)
    room = replica.token_budget - decodes
    own = max(request.prompt_tokens - replica.cached_tokens(request), 1)
    tokens = replica.prefill_tokens + own
    context = replica.context_tokens
    steps = ceil(tokens / room)
    last = tokens - (steps - 1) * room
    time_s = replica.step_timer.step(
        BatchShape([(last, max(request.prompt_tokens - last, 0))], decodes, context, decodes + 1)
    ).total_s
    if steps > 1:
        time_s += (steps - 1) * replica.step_timer.step(BatchShape([(room, 0)], decodes, context, decodes)).total_s
    return time_s


def tpot_s(replica: ReplicaView, request: Request) -> float:
    """Seconds for each token after the first, once all that are there now decode with it."""
    decodes = replica.running_requests + replica.waiting_requests + 1
    context = replica.context_tokens + replica.prefill_tokens + request.prompt_tokens
    return replica.step_timer.step(BatchShape([], decodes, context, decodes)).total_s
