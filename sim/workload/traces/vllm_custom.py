"""Prompts for `vllm bench serve --dataset-name custom`: JSON lines without times."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from sim.workload.content import Namer
from sim.workload.fields import Positive, Tokens
from sim.workload.fileoptions import FileOptions, Signs
from sim.workload.jsonlrows import JsonlRows
from sim.workload.rows import describe
from sim.workload.sessionfile import SessionBuilder, Turn
from sim.workload.sessions import Sessions
from sim.workload.tokens import CHARS_PER_TOKEN, token_counter


@dataclass(frozen=True)
class VllmCustom(FileOptions):
    """Keys prompt and output_tokens; when they are sent is said by `arrivals:` beside the trace.

    Texts are counted by `tokenizer` (tiktoken:NAME, a tokenizer.json, module:function), or estimated as
    characters / chars_per_token; equal prompts are equal, but a common beginning is not looked for.
    `output_tokens` is for rows that give none; 256, as with vLLM's --custom-output-len.
    """

    signs: ClassVar[Signs | None] = Signs("json", frozenset({"prompt"}))

    tokenizer: str | None = None
    """Counts the tokens of texts: tiktoken:NAME, a tokenizer.json, or module:function; default: an estimate. E.g.
    `tiktoken:cl100k_base`."""
    chars_per_token: Positive = CHARS_PER_TOKEN
    """The estimate, where there is no tokenizer."""
    output_tokens: Tokens = 256
    """Answer length of rows that tell none."""

    def read_sessions(self) -> Sessions:
        """Every row as a session of one request. Raises TraceError naming file, line and key."""
        count, told = token_counter(self.tokenizer, self.chars_per_token)
        rows, namer, number = JsonlRows(Path(self.path)), Namer(), 0
        building = SessionBuilder(self, (told,))
        for block in rows.blocks(("prompt", "output_tokens")):
            outputs = [self.output_tokens if n is None else n for n in block["output_tokens"]]
            for prompt, output in zip(block["prompt"], outputs, strict=True):
                if not isinstance(prompt, str):
                    building.bad(f"{describe(rows, number, 'prompt')}, not a text")
                elif type(output) is not int:
                    building.bad(f"{describe(rows, number, 'output_tokens')}, not a whole number of tokens")
                else:
                    tokens = count(prompt)
                    turn = Turn(tokens, output, namer.prompt(prompt, tokens) if tokens else None)
                    building.add([turn], partial(_line, rows, number))
                number += 1
                if building.full:
                    return building.sessions()
        return building.sessions()


def _line(rows: JsonlRows, number: int) -> str:
    return f"{rows.path}, {rows.places([number])[0].where}"
