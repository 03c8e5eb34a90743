"""What becomes of the requests of a replica that crashes."""

from sim.engine import Engine
from sim.request import Request


def take_back(engine: Engine, decoded_s: float) -> list[Request]:
    """The requests that an engine leaves behind between two steps, by arrival, but for those that have their answers.

    Their KV is lost and their tokens are not: their clients have got them, and so has whoever sends the
    requests on. Another engine computes prompt and tokens again, as after a preemption, and goes on from there.
    `decoded_s` is when the members of the decode group got their latest token. The engine must not be used again.
    """
    for request in engine.decoders.dissolve():
        request.last_token_s = max(request.last_token_s, decoded_s)
    done = set(engine.kept)  # running in name only
    lost = [request for request in (*engine.running, *engine.waiting) if request not in done]
    lost.sort(key=lambda request: (request.arrival_s, request.id))
    for request in lost:
        request.high_water_tokens = max(request.high_water_tokens, request.computed_tokens)
        request.computed_tokens = request.keyed_tokens = request.draft_tokens = 0
        request.blocks, request.block_keys, request.private_run = [], None, None
        request.requeues += 1
    return lost
