"""The questions of `servecast init`: every answer is checked when it is given, and asked for again."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from sim.errors import ServecastError
from sim.starter import RATE_PER_S, Answers, read_trace, smallest_tensor_parallel

Known = Mapping[str, Any]

_QUESTIONS = {
    "model": "Model (a built-in, or the path of a config.json)",
    "gpu": "GPU",
    "tensor_parallel": "GPUs for each copy of the model (one has too little memory)",
    "replicas": "Replicas (copies of the model)",
    "trace": "A file of real requests (Enter: none, draw them)",
    "rate_per_s": "Requests per second",
    "prompt_tokens": "Tokens of a prompt, on average",
    "output_tokens": "Tokens of an answer, on average",
    "ttft": "Time to first token that is good enough",
    "tpot": "Time per output token that is good enough",
}


def ask(known: Known, settings: list[str], trace_options: Known) -> dict[str, Any]:
    """Answers to what is not known, and to how many GPUs share the model where one does not hold it."""
    from sim import hardware
    from sim.models import builtin_names

    typer.echo("A few questions; Enter takes what stands in brackets.")
    lists = {"model": ("models", builtin_names()), "gpu": ("GPUs", hardware.names())}
    for name, (what, names) in lists.items():
        if name not in known:
            typer.echo(f"  {what}: {', '.join(names)}")
    answers, more = dict(known), {"settings": settings, "trace_options": trace_options}
    for name, question in _QUESTIONS.items():
        default = _default(name, so_far := answers | more)
        if name in known or default is None:
            continue
        answer = _answer(question, default, _READERS[name], so_far)
        answers |= {} if answer is None else {name: answer}
    return answers


def _default(name: str, known: Known) -> str | None:
    """What Enter stands for; None where nothing is to be asked."""
    if name == "trace":
        return ""
    if name == "tensor_parallel":
        if any(text.startswith("cluster.tensor_parallel=") for text in known["settings"]):
            return None
        fewest = smallest_tensor_parallel(_so_far(known))
        return str(fewest) if fewest > 1 else None
    drawn = name in ("rate_per_s", "prompt_tokens", "output_tokens")
    if drawn and "trace" in known and (name != "rate_per_s" or _tells_times(known)):
        return None
    return f"{RATE_PER_S:g}" if name == "rate_per_s" else str(getattr(Answers(), name))


def _answer(question: str, default: str, read: Callable[[str, Known], Any], known: Known) -> Any:
    while True:
        text = str(typer.prompt(question, default=default, show_default=bool(default))).strip()
        try:
            return read(text, known)
        except ServecastError as error:
            typer.echo(f"  {error}")


def _model(text: str, known: Known) -> str:
    from sim import models

    models.load(text)
    return text


def _gpu(text: str, known: Known) -> str:
    from sim import hardware

    hardware.load(text)
    _default("tensor_parallel", {**known, "gpu": text})  # raises where no number of them holds the model
    return text


def _tensor_parallel(text: str, known: Known) -> int:
    from sim import models

    gpus = _whole(text, known)
    models.load(known["model"]).check_tp(gpus)
    if gpus < smallest_tensor_parallel(_so_far(known)):
        raise ServecastError(f"{known['model']} does not fit on {gpus} x {known['gpu']}")
    return gpus


def _whole(text: str, known: Known) -> int:
    if not re.fullmatch(r"\d+", text) or int(text) < 1:
        raise ServecastError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _rate(text: str, known: Known) -> float:
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", text) or float(text) <= 0:
        raise ServecastError(f"{text!r} is not a number above 0")
    return float(text)


def _time(text: str, known: Known) -> str:
    from pydantic import ValidationError

    from sim.sections import Slo
    from sim.wording import sentence

    if re.fullmatch(r"[\d.]+", text):
        raise ServecastError(f"{text} what? e.g. {text}ms")
    try:
        Slo.model_validate({"ttft": text})
    except ValidationError as error:
        told = error.errors(include_url=False)[0]
        raise ServecastError(sentence("the time", told["type"], told["msg"], text)) from None
    return text


def _trace(text: str, known: Known) -> Path | None:
    if not text:
        return None
    path = Path(text).expanduser()
    _tells_times({**known, "trace": path})  # reads it, and says what is wrong
    return path


def _tells_times(known: Known) -> bool:
    from sim.cli.progress import waiting

    path, options = known["trace"], known["trace_options"]
    key = f"{path} {sorted(options.items())}"
    if key not in _timed:
        with waiting(f"reading {path}"):
            _timed[key] = read_trace(path, options).timed
    return _timed[key]


_timed: dict[str, bool] = {}
"""Traces that have been read: they may be long."""


def _so_far(known: Known) -> Answers:
    return Answers(**{name: known[name] for name in ("model", "gpu", "preset", "settings") if name in known})


_READERS: dict[str, Callable[[str, Known], Any]] = {
    "model": _model,
    "gpu": _gpu,
    "tensor_parallel": _tensor_parallel,
    "replicas": _whole,
    "trace": _trace,
    "rate_per_s": _rate,
    "prompt_tokens": _whole,
    "output_tokens": _whole,
    "ttft": _time,
    "tpot": _time,
}
