"""ShareGPT: one JSON array of conversations, as texts without times."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from sim.quantity import Seconds
from sim.workload.fields import Positive, Tokens
from sim.workload.fileoptions import FileOptions, Signs
from sim.workload.jsonarray import json_elements
from sim.workload.sessionfile import SessionBuilder, Turn
from sim.workload.sessions import Sessions
from sim.workload.tokens import CHARS_PER_TOKEN, CountTokens, token_counter

_ASSISTANTS = {"gpt", "chatgpt", "bing", "bard", "assistant"}
_USERS = {"human", "user"}


@dataclass(frozen=True)
class Sharegpt(FileOptions):
    """An array of {"id", "conversations": [{"from", "value"}]}; `arrivals:` beside the trace says when they start.

    turns `first`: as `vllm bench serve` takes it, the first two messages are prompt and answer whatever their
    roles, and pairs with a side below min_tokens, a prompt above max_prompt_tokens (1024) or both together
    above max_total_tokens are passed over. turns `all`: every answer to a user is a request whose prompt is
    the whole conversation before it, so that prompts of a session grow and repeat earlier answers; each is
    sent `turn_gap` after the one before or, with `wait`, after the answer to it, which stands for thinking (the file
    does not tell); only max_prompt_tokens, where given, limits it. Texts are counted by `tokenizer` (tiktoken:NAME, a
    tokenizer.json, module:function), or estimated as characters / chars_per_token.
    """

    signs: ClassVar[Signs | None] = Signs("json", frozenset({"conversations"}))

    turns: Literal["first", "all"] = "first"
    """The first two messages of a conversation, as `vllm bench serve` takes them, or all its turns."""
    turn_gap: Annotated[Seconds, Field(gt=0)] | None = None
    """With `turns: all`, time between two requests of a conversation, or with `wait` after an answer. E.g. `30s`."""
    wait: bool = False
    """Send a turn after the answer before."""
    min_tokens: Annotated[int, Field(ge=1)] = 4
    """With `turns: first`, pass over pairs with a shorter side."""
    max_total_tokens: Tokens = 2048
    """With `turns: first`, pass over pairs that are longer together."""
    tokenizer: str | None = None
    """Counts the tokens of texts: tiktoken:NAME, a tokenizer.json, or module:function; default: an estimate. E.g.
    `tiktoken:cl100k_base`."""
    chars_per_token: Positive = CHARS_PER_TOKEN
    """The estimate, where there is no tokenizer."""

    def __post_init__(self) -> None:
        if self.turns == "all" and self.turn_gap is None:
            raise ValueError("turns: all needs turn_gap, the time between two requests of one conversation")
        if self.turns == "first" and (self.turn_gap is not None or self.wait):
            raise ValueError("turn_gap and wait are about the time between turns, so they need turns: all")

    def read_sessions(self) -> Sessions:
        """The conversations. Raises TraceError naming file, conversation and message that cannot be used."""
        count, told = token_counter(self.tokenizer, self.chars_per_token)
        passed_over = 0
        building = SessionBuilder(self, (told,))
        for number, conversation in enumerate(json_elements(Path(self.path))):
            if building.full:
                break
            where = f"{self.path}, conversation {number}"
            messages = conversation.get("conversations") if isinstance(conversation, dict) else None
            if problem := _problem(messages):
                building.bad(f"{where}: {problem}")
                continue
            said = [(message["from"], message["value"]) for message in messages or ()]
            turns = self._first(number, said, count) if self.turns == "first" else self._all(number, said, count)
            taken = list(turns)
            passed_over += not taken
            building.add(taken, where)
        if passed_over:
            building.told += (f"{passed_over:,} conversations passed over: no answer in them, or lengths out of range",)
        return building.sessions()

    def _first(self, number: int, said: list[tuple[str, str]], count: CountTokens) -> Iterator[Turn]:
        if len(said) < 2:
            return
        prompt, output = count(said[0][1]), count(said[1][1])
        fits = min(prompt, output) >= self.min_tokens and prompt + output <= self.max_total_tokens
        if fits and prompt <= (self.max_prompt_tokens or 1024):
            yield Turn(prompt, output)

    def _all(self, number: int, said: list[tuple[str, str]], count: CountTokens) -> Iterator[Turn]:
        pieces: list[tuple[Hashable, int]] = []
        asked, sent = False, 0
        for index, (role, text) in enumerate(said):
            tokens, name = count(text), (number, index)
            if role in _ASSISTANTS and asked and tokens:
                assert self.turn_gap is not None  # __post_init__ saw to it
                prompt = sum(length for _, length in pieces)
                after_s = min(sent, 1) * self.turn_gap if self.wait else sent * self.turn_gap
                sent += 1
                yield Turn(prompt, tokens, tuple(pieces), name, after_s, sent if self.wait else 0)
            if tokens:
                pieces.append((name, tokens))
            asked = role in _USERS and bool(pieces)


def _problem(messages: Any) -> str:
    if not isinstance(messages, list):
        return "no list `conversations`"
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("from", "value")):
            return f"message {index} is no object of `from` and `value`"
    return ""
