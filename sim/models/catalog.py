"""Find a model by built-in name or by the path of its config.json."""

import json
import re
from pathlib import Path
from typing import Any

from sim.errors import ModelError
from sim.models.config import parse
from sim.models.model import Model

_BUILTIN = Path(__file__).resolve().parent / "builtin"
_NO_MATTER = re.compile(r"^meta-|-(hf|instruct|chat|base|it)$")
"""Parts of a repository's name that change the weights and not their shapes."""
_RELEASES = {
    "mixtral-8x7b-v0.1": "mixtral-8x7b",
    "mixtral-8x7b-instruct-v0.1": "mixtral-8x7b",
    "mistral-7b-v0.3": "mistral-7b",
    "mistral-7b-instruct-v0.3": "mistral-7b",
}
"""Repositories whose release matters: other releases have other shapes."""


def builtin_names() -> list[str]:
    """Names of the built-in models: the files in `builtin/`, each the facts of a Hugging Face config.json."""
    return sorted(path.stem for path in _BUILTIN.glob("*.json"))


def load(name_or_path: str | Path) -> Model:
    """The model of that built-in name, or of a config.json (the file, or the folder that holds it).

    The Hugging Face id of a built-in will do as well: meta-llama/Llama-2-7b-hf is llama-2-7b.

    Raises ModelError, naming the file and the field, for what cannot be found, read or supported.
    """
    text = str(name_or_path)
    builtin = _BUILTIN / f"{text.lower()}.json"
    if "/" not in text and builtin.is_file():
        return parse(_read(builtin), name=builtin.stem, source=f"built-in {builtin.stem}")
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        path = path / "config.json"
    if path.is_file():
        name = path.parent.name if path.name == "config.json" and path.parent.name else path.stem
        return parse(_read(path), name=name, source=str(path))
    if text.count("/") == 1 and (known := _of_repository(text.split("/")[1])) is not None:
        return load(known)
    raise ModelError(_unknown(text))


def _of_repository(name: str) -> str | None:
    """The built-in that a repository of that name holds, if any."""
    name = name.lower()
    while (shorter := _NO_MATTER.sub("", name)) != name:
        name = shorter
    name = _RELEASES.get(name, name)
    return name if name in builtin_names() else None


def _unknown(text: str) -> str:
    from sim.choice import nearest  # pydantic is only needed to word this error

    hint = nearest(text, builtin_names())
    return f"there is no built-in model {text!r} and no config.json at that path{hint}"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: not a readable config.json ({error})") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ModelError(f"{path}: a config.json holds one JSON object, this one holds a {kind}")
    return content
