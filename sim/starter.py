"""A first scenario: a commented file, from a few answers."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import yaml

from sim import hardware, models
from sim.choice import options
from sim.errors import CapacityError, OptionError, ScenarioError
from sim.insight.traces.readable import Readable, readable
from sim.resolve import resolve_cluster
from sim.scenario import load
from sim.workload.guess import FORMATS, UnknownFormatError

RATE_PER_S = 10.0


@dataclass(frozen=True)
class Answers:
    """What the first scenario is about; `trace`, with options of its format, replaces rate, lengths and number."""

    model: str = "llama-3.1-8b"
    gpu: str = "h100-sxm"
    replicas: int = 1
    rate_per_s: float | None = None
    """Default: RATE_PER_S; a trace that tells its times takes none."""
    prompt_tokens: int = 800
    output_tokens: int = 200
    requests: int = 5000
    trace: Path | None = None
    trace_options: Mapping[str, object] = field(default_factory=dict)
    ttft: str = "500ms"
    tpot: str = "50ms"
    preset: str = "vllm-v1"
    settings: Sequence[str] = ()
    """Further ones, as overrides: "engine.max_num_seqs=128"."""


def scenario_text(answers: Answers, file: Path) -> str:
    """The commented YAML to write into `file`, which has been checked: the model fits the GPUs.

    Raises ScenarioError for answers that no scenario can have.
    """
    folder = file.absolute().parent
    said = _settings(answers)
    limits = _limits(answers)
    model, gpu = (_yaml(_placed(name, folder)) for name in (answers.model, answers.gpu))
    lines = [
        "# Question: (what do you want to know?)",
        "# servecast run THIS_FILE           a report on the terminal; --out results also writes tables and a picture",
        "# servecast compare THIS_FILE       the variants below, on the same requests",
        "# servecast capacity THIS_FILE      the highest rate that meets the slo",
        "# servecast diagnose THIS_FILE      what holds it back, and what would mend it",
        "seed: 1                             # all random numbers follow from it",
        f"model: {model}  # `servecast models` lists the built-ins; or the path of a config.json",
        "",
        *_workload(answers, folder),
        "",
        "cluster:",
        f"  gpu: {gpu}  # `servecast profiles` lists them, and where their times are from",
        *_lines({"replicas": answers.replicas} | said["cluster"], "  "),
        "  router: least_outstanding         # which replica gets a request; round_robin, random, ...",
        "",
        "engine:                             # keys that users of vLLM know keep vLLM's names",
        f"  preset: {_yaml(answers.preset)}   # `servecast engines` shows what each does when nothing else is said",
        *_lines(said["engine"], "  "),
        "  # what the preset chooses here; take the # away to change it:",
        *(f"  # {key}: {value}" for key, value in limits.seats_and_tokens.items() if key not in said["engine"]),
        "",
        "slo:                                # a request is good if it meets all of these",
        f"  ttft: {answers.ttft}              # time to first token",
        f"  tpot: {answers.tpot}              # time per output token after the first",
        "",
        "variants:                           # changes to the above, by name, for `servecast compare`",
        "  one more replica:",
        f"    cluster: {{replicas: {answers.replicas + 1}}}",
        *limits.variant,
        "",
    ]
    text = "\n".join(_aligned(line) for line in lines).replace("THIS_FILE", file.name)
    resolve_cluster(load({**yaml.safe_load(text), "base_dir": str(folder)}))
    return text


class _Limits(NamedTuple):
    """What the engine's limits come to on this GPU, and a variant with another one."""

    seats_and_tokens: dict[str, int]
    variant: list[str]


def _limits(answers: Answers) -> _Limits:
    """Resolves the model on the GPU. Raises ServecastError if it does not fit, or for settings that cannot be."""
    models.load(answers.model)  # of these two a scenario's errors would name keys that nobody wrote
    hardware.load(answers.gpu)
    said = _settings(answers)
    one = {
        "name": f"{answers.model} on {answers.gpu}",
        "model": answers.model, "engine": {"preset": answers.preset} | said["engine"],
        "cluster": {"gpu": answers.gpu} | said["cluster"],
        "workload": {"arrivals": "all_at_once", "prompt_tokens": 1, "output_tokens": 1, "requests": 1},
    }  # fmt: skip
    setup = next(iter(resolve_cluster(load(one)).pools.values()))
    seats, tokens = setup.limits.max_num_seqs, setup.scenario.engine.max_num_batched_tokens
    assert tokens is not None
    splits_prompts = setup.make_engine().longest_prompt > tokens
    variant = (
        ["  smaller steps:", f"    engine: {{max_num_batched_tokens: {max(1, tokens // 4)}}}"]
        if splits_prompts
        else ["  half the seats:", f"    engine: {{max_num_seqs: {max(1, seats // 2)}}}"]
    )
    return _Limits({"max_num_seqs": seats, "max_num_batched_tokens": tokens}, variant)


def smallest_tensor_parallel(answers: Answers) -> int:
    """The fewest GPUs, of 1, 2, 4 and 8, whose memory holds the model. Raises ServecastError if none do."""
    for gpus in (1, 2, 4, 8):
        try:
            _limits(replace(answers, settings=[*answers.settings, f"cluster.tensor_parallel={gpus}"]))
            return gpus
        except CapacityError as error:
            why = error
    raise why


def _placed(text: str, folder: Path) -> str:
    """A name as it is; a path that exists as seen from the scenario's folder."""
    path = Path(text).expanduser()
    if not path.exists() or path.is_absolute():
        return text
    return os.path.relpath(path.absolute(), folder)


def _workload(answers: Answers, folder: Path) -> list[str]:
    if answers.trace is None:
        return [
            "workload:                           # or a real trace: `trace: {csv: {path: my.csv}}`",
            f"  arrivals: {{poisson: {{rate_per_s: {answers.rate_per_s or RATE_PER_S:g}}}}}",
            f"  prompt_tokens: {{lognormal: {{mean: {answers.prompt_tokens}, p99: {answers.prompt_tokens * 5}}}}}",
            f"  output_tokens: {{lognormal: {{mean: {answers.output_tokens}, p99: {answers.output_tokens * 4}}}}}",
            f"  requests: {answers.requests}  # enough for a p99 that can be believed: the report says",
        ]
    found = read_trace(answers.trace, answers.trace_options)
    path = os.path.relpath(answers.trace.absolute(), folder)
    fields = getattr(options(FORMATS)[found.format], "__dataclass_fields__", {})
    lines = [
        f"workload:  # {found.requests:,} requests",
        "  trace:",
        f"    {found.format}:",
        f"      path: {_yaml(path)}  # starts from this file's folder",
    ]
    for name, value in found.options.items():
        why = found.why.get(name)
        lines.append(f"      {name}: {value}" + (f"  # {why}" if why else ""))
    if found.grid_s is not None and "jitter" not in found.options:
        lines.append(f"      # jitter: grid  # its times sit on a grid of {found.grid_s:.3g} s; this spreads them")
    if "speedup" in fields:
        lines.append("      # speedup: 2    # the same requests in half the time")
    if "limit" in fields:
        lines.append("      # limit: 5000   # only the first rows")
    if not found.timed:
        rate = answers.rate_per_s or RATE_PER_S
        lines.append(f"  arrivals: {{poisson: {{rate_per_s: {rate:g}}}}}  # the file has no times")
    elif answers.rate_per_s is not None:
        raise ScenarioError(f"{answers.trace} tells when its requests arrive; leave the rate out, or the trace")
    return lines


def read_trace(trace: Path, said: Mapping[str, object]) -> Readable:
    """What the trace needs to be read. Raises TraceError, with options of `servecast init` that mend it."""
    try:
        return readable(trace, said)
    except OptionError as error:
        raise error.for_command("--trace-set") from error
    except UnknownFormatError as error:
        known = ", ".join(options(FORMATS))
        mend = (
            f"leave --trace out, and write `trace: {{FORMAT: {{path: {trace}}}}}` into the scenario; formats: {known}"
        )
        raise UnknownFormatError(f"{error}; {mend}") from error


def _settings(answers: Answers) -> dict[str, dict[str, object]]:
    """The further settings by section; nested keys become nested mappings."""
    found: dict[str, dict[str, object]] = {"cluster": {}, "engine": {}}
    for override in answers.settings:
        key, _, value = override.partition("=")
        section, *path = key.split(".")
        if section not in found or not path:
            raise ScenarioError(f"{key} has its own question; only settings of cluster and engine are taken over")
        place = found[section]
        for part in path[:-1]:
            inner = place.setdefault(part, {})
            assert isinstance(inner, dict)
            place = inner
        place[path[-1]] = yaml.safe_load(value)
    return found


def _lines(values: dict[str, object], indent: str) -> list[str]:
    return [f"{indent}{key}: {_yaml(value)}" for key, value in values.items()]


def _yaml(value: object) -> str:
    """A value on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")


_COLUMN = 36


def _aligned(line: str) -> str:
    """Comments behind values begin in one column."""
    value, mark, comment = line.partition("  # ")
    if not mark or not value.strip() or value.lstrip().startswith("#"):
        return line
    return f"{value.rstrip():<{_COLUMN - 1}} # {comment}"
