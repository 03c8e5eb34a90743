"""A vLLM command line as words: what starts the server taken off, `--config` files read."""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sim.errors import ScenarioError

PLACE = "--from-vllm-args"
_VARIABLE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_SHELL = re.compile(r"\d*[<>|&;]")
_CONTAINERS = ("docker", "podman", "nerdctl")
_ALONE = (
    "--rm",
    "--init",
    "--privileged",
    "--detach",
    "--interactive",
    "--tty",
    "-d",
    "-i",
    "-t",
    "-it",
    "-ti",
    "-dit",
)
_IMAGE = re.compile(r"([\w.:-]+/)*[\w.-]*vllm[\w.-]*([:@].*)?")
_OTHER_ENGINE = f"{PLACE}: VLLM_USE_V1=0 is another engine; set engine.preset=vllm-v0, and leave the variable out"


class Words(NamedTuple):
    """The model before the first flag, the words from there, the variables before, and what the shell does behind."""

    model: str
    flags: list[str]
    variables: list[str]
    behind: list[str]


def words_of(text: str) -> Words:
    """The words of a command line, up to where the shell goes on with something else.

    Raises ScenarioError for quotes that do not close, words that cannot be there, and a file that cannot be read.
    """
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=False)
    except ValueError as error:
        raise ScenarioError(f"{PLACE}: {error}; quote the whole command line") from None
    end = next((at for at, word in enumerate(words) if _SHELL.match(word)), len(words))
    begin, is_server = _launched(words[:end])
    set_before = [found for word in words[:begin] if (found := _VARIABLE.fullmatch(word))]
    if any(found.groups() == ("VLLM_USE_V1", "0") for found in set_before):
        raise ScenarioError(_OTHER_ENGINE)
    rest = words[begin:end]
    first = next((at for at, word in enumerate(rest) if word.startswith("-")), len(rest))
    if first > 1:
        raise ScenarioError(f"{PLACE}: {rest[1]!r} stands where only one model can; quote the whole command line")
    model, flags = "".join(rest[:first]), _with_files(rest[first:])
    if is_server and not model and not any(re.match(r"--model(=|$)", word) for word in flags):
        raise ScenarioError(f"{PLACE}: there is no model; put it right behind `vllm serve`, before the flags")
    return Words(model, flags, [found[1] for found in set_before], words[end:])


def _launched(words: Sequence[str]) -> tuple[int, bool]:
    """Where the server's own words begin, and whether they do behind `vllm serve`, which takes a model first."""
    for at, word in enumerate(words):
        if Path(word).name == "vllm" and words[at + 1 : at + 2] == ["serve"]:
            return at + 2, True
        if word == "-m" and "".join(words[at + 1 : at + 2]).startswith("vllm."):
            serve = words[at + 2 : at + 3] == ["serve"]
            return at + 2 + serve, serve
    before = 0
    while before < len(words) and _VARIABLE.fullmatch(words[before]):
        before += 1
    if words[before : before + 1] and Path(words[before]).name in _CONTAINERS:
        for at in range(before + 2, len(words)):  # behind `docker run`
            if _IMAGE.fullmatch(words[at]) and not _takes_a_value(words[at - 1]):
                return at + 1, False
        return _behind_image(words, before + 2), False
    return before, False


def _behind_image(words: Sequence[str], at: int) -> int:
    """Behind the first word of `docker run` that is neither an option nor the value of one: the image."""
    while at < len(words) and words[at].startswith("-"):
        at += 1 + _takes_a_value(words[at])
    return at + 1


def _takes_a_value(word: str) -> bool:
    """Whether this option of `docker run` has its value behind it."""
    return word.startswith("-") and "=" not in word and word not in _ALONE


def _with_files(words: Sequence[str]) -> list[str]:
    """The settings of `--config` files first, so that flags have the last word, as in vLLM."""
    rest: list[str] = []
    found: list[str] = []
    at = 0
    while at < len(words):
        name, equals, value = words[at].partition("=")
        if name == "--config":
            value = value if equals else "".join(words[at + 1 : at + 2])
            found += _settings_in(value)
            at += 1 if equals else 2
            continue
        rest.append(words[at])
        at += 1
    return found + rest


def _settings_in(path: str) -> Iterator[str]:
    """The flags that a YAML file stands for."""
    try:
        said = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = getattr(error, "strerror", None) or "it is not YAML"
        raise ScenarioError(f"{PLACE}: --config {path!r} cannot be read: {why}; give the path of a YAML file") from None
    if not isinstance(said, dict):
        raise ScenarioError(f"{PLACE}: --config {path!r} holds no `flag: value` lines; mend the file")
    for name, value in said.items():
        yield from _flag(str(name).replace("_", "-"), value)


def _flag(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield f"--{name}" if value else f"--no-{name}"
    elif isinstance(value, list):
        yield from (f"--{name}", *map(str, value)) if value else ()
    elif value is not None:
        yield f"--{name}={json.dumps(value) if isinstance(value, dict) else value}"
