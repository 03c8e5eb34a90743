"""The shape of one forward pass: all that its duration depends on."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class BatchShape:
    """What one forward pass of one replica computes.

    prefills: one (new_tokens, context_tokens) per prefill chunk; context = KV tokens before the chunk.
    decodes: requests that add one token from one token.
    decode_context_tokens: KV tokens those attend to in total, the new token of each included.
    sampled: rows that go through the LM head (finished prompts + decodes, and with them the drafts they check).
    outputs, output_context_tokens: requests outside `decodes` that get a token, and the KV tokens they then have.
    window_tokens: KV tokens that decodes attend to in a layer with a sliding window; None: every decode's alike.
    window_growing: decodes that will see one token more in the next step, as their window is not full.
    """

    prefills: Sequence[tuple[int, int]]
    decodes: int
    decode_context_tokens: int
    sampled: int
    outputs: int = 0
    output_context_tokens: int = 0
    window_tokens: int | None = None
    window_growing: int = 0

    @property
    def tokens(self) -> int:
        """Rows that go through the decoder layers."""
        return self.decodes + sum(new for new, _ in self.prefills)

    def seen_in_window(self, window: int) -> tuple[int, int]:
        """(window_tokens, window_growing) for that window; if the shape does not say, its decodes are all alike."""
        if self.window_tokens is not None:
            return self.window_tokens, self.window_growing
        full = self.decodes * window
        if self.decode_context_tokens < full:
            return self.decode_context_tokens, self.decodes
        return full, 0


def attention_pairs(new_tokens: int, context_tokens: int) -> int:
    """Query-key pairs of a causal chunk: its i-th token sees the context and i tokens of the chunk."""
    return new_tokens * context_tokens + new_tokens * (new_tokens + 1) // 2
