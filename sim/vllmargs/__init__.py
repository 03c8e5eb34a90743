"""A command line of vLLM as settings of a scenario: `vllm serve MODEL --max-num-seqs 128 -tp 2`."""

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sim.choice import nearest
from sim.errors import ScenarioError
from sim.vllmargs.flags import AS_IT_IS, NO_MATTER, NOT_MODELLED, SHORT, SWITCHES
from sim.vllmargs.values import VALUES, counts, graphs_of, is_number
from sim.vllmargs.words import PLACE, words_of


class Settings(NamedTuple):
    """What a command line says.

    Overrides like "engine.max_num_seqs=128", the flags that made no difference, and the environment variables that
    stood before it and the words of the shell that stood behind, which are not looked at.
    """

    overrides: list[str]
    ignored: list[str]
    variables: list[str]
    behind: list[str]


def settings_of(text: str) -> Settings:
    """The settings in a vLLM command line: flags, with what starts the server before them or without.

    `vllm serve MODEL`, `python -m vllm.entrypoints...` and `docker run ... IMAGE` are known; `--config`
    files are read. Raises ScenarioError for a flag that is not known, one that is not modelled, or a value that
    cannot be.
    """
    model, words, variables, behind = words_of(text)
    named = [f"model={model}"] if model else []
    overrides, ignored = [*named], []
    for flag, values in _flags(words):
        name = flag.partition(".")[0]
        off = name.removeprefix("no-")
        if name in NO_MATTER or off in NO_MATTER or AS_IT_IS.get(name) == " ".join(values):
            ignored.append(f"--{flag}")
        elif name != off and off in NOT_MODELLED:
            ignored.append(f"--{flag}")  # what is not modelled is off
        else:
            overrides += _override(flag, values)
    return Settings(_in_order([*overrides, *named]), ignored, variables, behind)


def _flags(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag without its dashes, in vLLM's spelling, and the values behind it."""
    flag, values = "", []
    for word in words:
        if not word.startswith("-") or is_number(word):
            values.append(word)
            continue
        if flag:
            yield flag, values
        name, equals, value = word.partition("=")
        if word[:2] == "-O" and not word.startswith("-O."):
            name, value, equals = "-O", word[2:].lstrip("="), word[2:]
        start, dot, inner = name.partition(".")
        if start in SHORT:
            flag = f"{SHORT[start]}{dot}{inner}"
        elif start.startswith("--") and len(start) > 2:
            flag = f"{start[2:].replace('_', '-')}{dot}{inner}"
        else:
            raise ScenarioError(
                f"{PLACE}: {name} is not a flag that servecast knows; leave it out, or write it in full"
            )
        values = [value] if equals else []
    if flag:
        yield flag, values


def _override(flag: str, values: list[str]) -> Iterator[str]:
    on = not flag.startswith("no-")
    name = flag if on else flag.removeprefix("no-")
    if name in SWITCHES:
        key, yes, no = SWITCHES[name]
        if values and values[0].lower() in ("true", "false") and len(values) == 1:
            on = on == (values.pop().lower() == "true")
        if values:
            raise ScenarioError(f"{PLACE}: --{flag} takes no value, so what is {' '.join(values)!r}?")
        if value := yes if on else no:
            yield f"{key}={value}"
        return
    if name == "compilation-config" and (sizes := graphs_of(" ".join(values))):
        yield f"engine.cudagraph_capture_sizes={sizes}"
        return
    if (known := name.partition(".")[0]) in NOT_MODELLED:
        what = _speculative(values) or NOT_MODELLED[known]
        raise ScenarioError(f"{PLACE}: --{flag} is not taken over: {what}, and leave the flag out")
    if name not in VALUES or not on:
        hint = nearest(name, [*VALUES, *SWITCHES, *NOT_MODELLED, *sorted(NO_MATTER)])
        mend = hint if "did you mean" in hint else "; leave it out if it does not matter to timing, else set the key"
        raise ScenarioError(f"{PLACE}: --{flag} is not a flag that servecast knows{mend}")
    key, read = VALUES[name]
    if not values or (len(values) > 1 and read is not counts):
        raise ScenarioError(f"{PLACE}: --{flag} takes one value, not {' '.join(values) or 'none'!r}")
    yield f"{key}={read(' '.join(values), flag)}"


def _speculative(values: list[str]) -> str | None:
    """The line to write for a --speculative-config, as far as it says; None for anything else."""
    try:
        said = json.loads(" ".join(values))
        tokens = int(said["num_speculative_tokens"])
    except (ValueError, KeyError, TypeError):
        return None
    if said.get("method") == "ngram":
        drafter, yours = "draft_token: 0s", "your acceptance rate"
    elif said.get("model") and said.get("method") in (None, "draft_model"):
        drafter, yours = f"draft_model: {said['model']}", "your acceptance rate"
    else:
        drafter, yours = "draft_token: 1ms", "your acceptance rate and time of a draft"
    line = f"{{num_speculative_tokens: {tokens}, acceptance_rate: 0.7, {drafter}}}"
    return f"write engine.speculative: {line} into the scenario, with {yours}"


def _in_order(overrides: list[str]) -> list[str]:
    """The last word on each key, in the order of their first: `--enable-lora --max-loras 4` means 4, either way."""
    said: dict[str, str] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        if not (key == "engine.lora.max_loras" and value == "1" and key in said):
            said[key] = value
    return [f"{key}={value}" for key, value in said.items()]
