"""A KV cache around another."""

from typing import Any

from sim.kvcache.protocol import KVCache


class Around:
    """Answers as the inner cache does, where a subclass does not answer itself."""

    def __init__(self, inner: KVCache) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
