"""Plain words for what the validation library says of a value."""

import re
from typing import Any

_PLAIN = (
    (r"Input should be a valid integer.*", "must be a whole number"),
    (r"Input should be a valid number.*", "must be a number"),
    (r"Input should be a finite number", "must be a finite number"),
    (r"Input should be a valid string.*", "must be text"),
    (r"Input should be a valid boolean.*", "must be true or false"),
    (r"Input should be a valid (?:tuple|list)", "must be a list, [a, b]"),
    (r"Input should be a valid (?:dictionary.*|mapping)", "must hold `key: value` lines"),
    (r"Input should be ", "must be "),
    (r"Input should ", "must "),
    (r"(Tuple|List) should have ", "must have "),
    (r"Unable to parse input string as an integer, exceeded maximum size", "must be a smaller number"),
)


def plain(message: str) -> str:
    """The message without the library's grammar: "must be a whole number"."""
    for pattern, words in _PLAIN:
        message, found = re.subn(pattern, words, message, count=1)
        if found:
            break
    return message


def sentence(key: str, kind: str, message: str, value: Any) -> str:
    """What is wrong with a key, from the library's kind of error, its message and the value that was given."""
    if kind == "missing":
        return f"{key} is missing"
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind in ("choice", "value_error"):
        return f"{key}: {message}"
    if value is None:
        return f"{key} is empty; it {plain(message)}"
    if kind in ("model_type", "dict_type", "dataclass_type"):
        return f"{key} must hold `key: value` lines, not {short(value)}"
    message = plain(message)
    return f"{key} {message[0].lower()}{message[1:]}, not {short(value)}"


def short(value: Any) -> str:
    """The value as it may stand in a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
