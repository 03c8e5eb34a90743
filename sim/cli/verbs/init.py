"""`servecast init`."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from sim.cli import completing
from sim.cli.app import app
from sim.cli.options import FromVllmArgs, vllm_overrides
from sim.cli.progress import waiting
from sim.errors import ServecastError


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="The scenario to write.")] = Path("scenario.yaml"),
    model: Annotated[
        str | None,
        typer.Option(help="A built-in model, or the path of a config.json.", autocompletion=completing.models),
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="A GPU profile.", autocompletion=completing.gpus)] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Copies of the model.")] = None,
    trace: Annotated[Path | None, typer.Option(help="A file of real requests, in place of a rate and lengths.")] = None,
    trace_set: Annotated[
        list[str],
        typer.Option("--trace-set", metavar="KEY=VALUE", help="An option of it: 'where={status: 200}'."),
    ] = [],  # noqa: B006
    rate: Annotated[float | None, typer.Option(help="Requests per second.")] = None,
    prompt: Annotated[int | None, typer.Option(min=1, help="Tokens of a prompt, on average.")] = None,
    output: Annotated[int | None, typer.Option(min=1, help="Tokens of an answer, on average.")] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="How many requests.")] = None,
    ttft: Annotated[str | None, typer.Option(help="Target of the time to first token, with a unit.")] = None,
    tpot: Annotated[str | None, typer.Option(help="Target of the time per output token, with a unit.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Which engine (`servecast engines`).", autocompletion=completing.presets)
    ] = None,
    from_vllm_args: FromVllmArgs = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: defaults for all that no option says.")
    ] = False,
) -> None:
    """Write a first scenario, with comments: asks on a terminal, takes options and defaults elsewhere.

    \b
    servecast init                                           # a few questions
    servecast init my.yaml --gpu h100-sxm --rate 20 --prompt 1500 --output 300 --yes
    servecast init my.yaml --trace requests.csv --from-vllm-args '--max-num-seqs 128 -tp 2'
    """
    from sim.insight.traces.opened import parsed
    from sim.report.folder import check_file, write_whole
    from sim.starter import Answers, scenario_text

    check_file(file)
    if file.exists() and not force:
        raise ServecastError(f"{file} is there already; name another file, or give --force to replace it")
    overrides = vllm_overrides(from_vllm_args)
    given = next((text.partition("=")[2] for text in overrides if text.startswith("model=")), None)
    said: dict[str, Any] = {
        "model": model or given, "gpu": gpu, "replicas": replicas, "trace": trace, "rate_per_s": rate,
        "prompt_tokens": prompt, "output_tokens": output, "requests": requests, "ttft": ttft, "tpot": tpot,
        "preset": preset,
    }  # fmt: skip
    known = {name: value for name, value in said.items() if value is not None}
    drawn = [name for name, value in (("prompt", prompt), ("output", output), ("requests", requests)) if value]
    if trace is not None and drawn:
        raise ServecastError(f"a trace brings its own requests, so --{drawn[0]} cannot be given with it; leave one out")
    settings = [text for text in overrides if not text.startswith("model=")]
    options = parsed(trace_set, "--trace-set")
    asks = sys.stdin.isatty() and not yes
    if asks:
        from sim.cli.questions import ask

        known = ask(known, settings, options)
        if gpus := known.pop("tensor_parallel", None):
            settings.append(f"cluster.tensor_parallel={gpus}")
    answers = Answers(**known, trace_options=options, settings=settings)
    with waiting(f"reading {answers.trace}") if answers.trace else nullcontext():
        text = scenario_text(answers, file)
    write_whole(file, text)
    if not (asks or yes):
        print(f"note: not a terminal: these defaults were used: {_defaults(known)}", file=sys.stderr)
    typer.echo(f"written to {file}; next: servecast run {file}")


def _defaults(known: dict[str, Any]) -> str:
    """What was not said, as its options would say it."""
    from dataclasses import asdict

    from sim.starter import RATE_PER_S, Answers

    values = asdict(Answers()) | {"rate_per_s": f"{RATE_PER_S:g}"}
    names = {"rate_per_s": "rate", "prompt_tokens": "prompt", "output_tokens": "output"}
    left = [name for name, value in values.items() if name not in known and value]
    if "trace" in known:
        left = [name for name in left if name not in (*names, "requests")]
    return ", ".join(f"{names.get(name, name)} {values[name]}" for name in left)
