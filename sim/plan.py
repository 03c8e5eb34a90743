"""What one step will compute, as a batching policy decided it."""

from typing import NamedTuple

from sim.models.shape import BatchShape
from sim.request import Request


class Chunk(NamedTuple):
    """Tokens of one request that the step computes, the request being scheduled on its own."""

    request: Request
    new_tokens: int
    computed_before: int  # tokens whose KV is there already, a prefix hit of this step included


class StepPlan:
    """One forward pass: `decodes` members of the decode group, one token each, and some chunks.

    `admitted` requests were scheduled for the first time, `resumed` ones again after a preemption;
    `preempted` ones lost their blocks; `regrouped` ones left the decode group to be scheduled one by one.
    `sampled` is filled when the step is launched: the requests of chunks that get a token from it. `landing`
    are all that are still to learn theirs when it lands, but for members of the decode group.
    """

    __slots__ = (
        "admitted", "chunks", "decode_context_tokens", "decodes", "landing", "preempted", "regrouped",
        "resumed", "sampled",
    )  # fmt: skip

    def __init__(self) -> None:
        self.decodes = 0
        self.decode_context_tokens = 0
        self.chunks: list[Chunk] = []
        self.admitted: list[Request] = []
        self.resumed: list[Request] = []
        self.preempted: list[Request] = []
        self.regrouped: list[Request] = []
        self.sampled: list[Request] = []
        self.landing: list[Request] = []

    @property
    def is_empty(self) -> bool:
        """True when nothing was scheduled."""
        return not self.decodes and not self.chunks

    @property
    def recomputed_tokens(self) -> int:
        """Tokens that had been computed before, and were lost to a preemption."""
        return sum(
            min(before + new, request.high_water_tokens) - before
            for request, new, before in self.chunks
            if before < request.high_water_tokens
        )

    def shape(self) -> BatchShape:
        """The batch as the GPU sees it, which is all that its step time depends on.

        A chunk of one token behind a finished prompt is a decode, whichever way it was scheduled.
        """
        decodes = self.decodes
        context = self.decode_context_tokens
        sampled = decodes
        prefills = []
        for request, new, before in self.chunks:
            if new == 1 and before >= request.prompt_tokens:
                decodes += 1
                context += before + 1
            else:
                prefills.append((new, before))
            sampled += before + new == request.prompt_tokens + request.generated_tokens
        return BatchShape(prefills, decodes, context, sampled)
