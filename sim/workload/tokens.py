"""How many tokens a text has: by a tokenizer, or estimated from its characters."""

import importlib
import math
from collections.abc import Callable, Sized
from typing import Any, TypeAlias

from sim.errors import TraceError

CountTokens: TypeAlias = Callable[[str], int]
CHARS_PER_TOKEN = 4.0
"""A common rule for English text (OpenAI's help pages on tokens); code and other languages have fewer."""


def token_counter(tokenizer: str | None, chars_per_token: float) -> tuple[CountTokens, str]:
    """What counts a text's tokens, and a note that says how, for the result.

    `tokenizer` is None (characters / chars_per_token, rounded up), `tiktoken:NAME` (an encoding of that
    library), the path of a Hugging Face tokenizer.json, or `module:function` of the user's own, which gives a
    number or a list of tokens. Raises TraceError when it cannot be had.
    """
    if tokenizer is None:
        told = f"token counts are estimated, one token for {chars_per_token:g} characters (chars_per_token)"
        return lambda text: math.ceil(len(text) / chars_per_token), told
    encode = _load(tokenizer)

    def count(text: str) -> int:
        try:
            tokens = encode(text)
        except Exception as error:
            raise TraceError(f"the tokenizer {tokenizer} failed on {text[:40]!r} ({error}); mend it") from error
        return len(tokens) if isinstance(tokens, Sized) else int(tokens)

    return count, f"token counts are those of {tokenizer}, of the bare texts without a chat template"


def _load(tokenizer: str) -> Callable[[str], Any]:
    module_name, _, name = tokenizer.partition(":")
    try:
        if tokenizer.endswith(".json"):
            loaded: Any = importlib.import_module("tokenizers").Tokenizer.from_file(tokenizer)
            return lambda text: loaded.encode(text, add_special_tokens=False).ids
        module: Any = importlib.import_module(module_name)
        if module_name == "tiktoken":
            encoding = module.get_encoding(name)
            return lambda text: encoding.encode(text, disallowed_special=())
        function: Callable[[str], Any] = getattr(module, name)
    except Exception as error:  # whatever a foreign library says
        raise TraceError(
            f"tokenizer {tokenizer!r} cannot be had ({error}); give tiktoken:ENCODING, the path of a tokenizer.json "
            "or module:function, or leave it out to estimate by chars_per_token"
        ) from error
    return function
