"""Attention that sees only the newest tokens: how many keys a query reads in a layer with a sliding window."""

from typing import NamedTuple


class Seen(NamedTuple):
    """What a prefill chunk reads in a layer with a window."""

    pairs: int  # of a query and a key it sees
    keys: int  # read from memory, the chunk's own included


def window_tokens(context_tokens: int, window: int) -> int:
    """Keys that a token sees which is the last of `context_tokens`, itself included."""
    return context_tokens if context_tokens < window else window


def window_seen(new_tokens: int, context_tokens: int, window: int) -> Seen:
    """What a chunk of new tokens after a context sees: its i-th token min(context + i, window) keys.

    The first of them looks back window - 1 tokens, so that is how much of the context is read.
    """
    rising = min(max(window - context_tokens, 0), new_tokens)  # tokens whose window still begins at the very start
    pairs = rising * context_tokens + rising * (rising + 1) // 2 + (new_tokens - rising) * window
    return Seen(pairs, min(context_tokens, window - 1) + new_tokens)


def outside_tokens(computed_tokens: int, window: int) -> int:
    """Leading tokens that no later token sees: the next one sees itself and window - 1 before it.

    Source: vLLM, SlidingWindowManager.get_num_skipped_tokens in vllm/v1/core/single_type_kv_cache_manager.py.
    """
    return max(0, computed_tokens - window + 1)
