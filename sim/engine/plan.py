"""What one step will compute, as a batching policy decided it."""

from typing import NamedTuple

from sim.models.shape import BatchShape
from sim.models.windows import window_tokens
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
    are all that are still to learn theirs when it lands, but for members of the decode group. `gained` says how
    many tokens those got that had drafts to check; the rest of their chunks was computed in vain.

    An empty plan may `hold`: nothing is to run before that request has waited so long, or another arrives.
    A batch may be padded: every chunk is then as long as `padded_prompt_tokens`, and `padding_decodes` more
    rows decode for nobody; `padding_context_tokens` is what decoding attends to on top, theirs included.
    With layers that see a `window`, `window_tokens` and `window_growing` tell of the decode group what BatchShape asks.
    """

    __slots__ = (
        "admitted", "chunks", "decode_context_tokens", "decodes", "gained", "hold", "landing", "padded_prompt_tokens",
        "padding_context_tokens", "padding_decodes", "preempted", "regrouped", "resumed", "sampled", "window",
        "window_growing", "window_tokens",
    )  # fmt: skip

    def __init__(self) -> None:
        self.decodes = 0
        self.decode_context_tokens = 0
        self.padding_decodes = 0
        self.padding_context_tokens = 0
        self.padded_prompt_tokens = 0
        self.hold: tuple[Request, float] | None = None
        self.chunks: list[Chunk] = []
        self.admitted: list[Request] = []
        self.resumed: list[Request] = []
        self.preempted: list[Request] = []
        self.regrouped: list[Request] = []
        self.sampled: list[Request] = []
        self.landing: list[Request] = []
        self.gained: dict[Request, int] = {}
        self.window = 0
        self.window_tokens = 0
        self.window_growing = 0

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

    @property
    def tokens(self) -> int:
        """Tokens that the step computes, padding left out."""
        return self.decodes + sum(chunk.new_tokens for chunk in self.chunks)

    @property
    def padding_tokens(self) -> int:
        """Tokens computed for nobody."""
        padding = self.padding_decodes
        if self.padded_prompt_tokens:
            padding += sum(self.padded_prompt_tokens - new for _, new, _ in self.chunks)
        if self.gained:
            padding += sum(new - self.gained[request] for request, new, _ in self.chunks if request in self.gained)
        return padding

    def shape(self) -> BatchShape:
        """The batch as the GPU sees it, padding included, which is all that its step time depends on.

        A chunk of one token behind a finished prompt is a decode, whichever way it was scheduled.
        """
        decodes = sampled = self.decodes + self.padding_decodes
        context = self.decode_context_tokens + self.padding_context_tokens
        prefills = []
        outputs = output_context = 0
        for request, new, before in self.chunks:
            if new == 1 and before >= request.prompt_tokens:
                decodes += 1
                context += before + 1
            else:
                prefills.append((self.padded_prompt_tokens or new, before))
            drafts = before + new - request.prompt_tokens - request.generated_tokens
            if drafts >= 0:
                sampled += 1 + drafts
                outputs += 1
                output_context += before + new
        return BatchShape(prefills, decodes, context, sampled, outputs, output_context, *self.seen())

    def seen(self, with_padding: bool = True) -> tuple[int, ...]:
        """(window_tokens, window_growing) of the step's decodes, as BatchShape has them; () without a window."""
        if not self.window:
            return ()
        tokens, growing = self.window_tokens, self.window_growing
        for request, new, before in self.chunks:
            if new == 1 and before >= request.prompt_tokens:
                tokens += window_tokens(before + 1, self.window)
                growing += before + 1 < self.window
        if with_padding:  # whose rows are all alike
            full = self.padding_decodes * self.window
            tokens += min(self.padding_context_tokens, full)
            growing += self.padding_decodes if self.padding_context_tokens < full else 0
        return tokens, growing
