"""`servecast memory`."""

from pathlib import Path
from typing import Annotated

import typer

from sim.cli import completing
from sim.cli.app import app
from sim.cli.asked import keep_question, say_where
from sim.cli.options import Format, FromVllmArgs, Set, changes, vllm_overrides
from sim.cli.terminal import console, print_json
from sim.errors import ScenarioError


@app.command()
def memory(
    scenario: Annotated[
        str | None,
        typer.Argument(
            help="A scenario's YAML file, or a shipped scenario's name.", autocompletion=completing.scenarios
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Without a scenario: a built-in model, or a config.json.", autocompletion=completing.models),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            help="Without a scenario: a GPU profile.", show_default="h100-sxm", autocompletion=completing.gpus
        ),
    ] = None,
    tp: Annotated[
        int | None, typer.Option(min=1, help="Without a scenario: GPUs that share the model.", show_default="1")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Length of a request; default: the scenario's mean, or 1024.")
    ] = None,
    set_: Set = [],  # noqa: B006
    from_vllm_args: FromVllmArgs = "",
    out: Annotated[Path | None, typer.Option(help="Write memory.json to this folder, for `servecast report`.")] = None,
    format: Format = "table",
) -> None:
    """Tell what a GPU's memory holds, as arithmetic, and how many requests fit.

    \b
    servecast memory quickstart
    servecast memory --model qwen2.5-72b --gpu h100-sxm --tp 4 --tokens 8192
    """
    from sim import hardware, models
    from sim.report.folder import check_folder
    from sim.report.memory import activations_by_tokens, memory_json, memory_report, save_memory
    from sim.resolve import resolve_cluster
    from sim.scenario import load

    replaced = check_folder(out, "memory")
    flags = vllm_overrides(from_vllm_args) if scenario is None else []
    model = model or next((text.partition("=")[2] for text in flags if text.startswith("model=")), None)
    if (scenario is None) == (model is None):
        raise ScenarioError("name a scenario, or a --model: one of the two")
    if model is None and (gpu or tp):
        option, key = ("--gpu", "cluster.gpu") if gpu else ("--tp", "cluster.tensor_parallel")
        raise ScenarioError(f"{option} goes with --model; of a scenario, change --set {key}={gpu or tp}")
    gpu, tp = gpu or "h100-sxm", tp or 1
    if model is not None:
        models.load(model)  # of these two a scenario's errors would name keys that nobody wrote
        hardware.load(gpu)
    given = scenario or {
        "model": model,
        "cluster": {"gpu": gpu, "tensor_parallel": tp},
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": 1}}, "prompt_tokens": {"fixed": {"tokens": 512}},
            "output_tokens": {"fixed": {"tokens": 512}}, "requests": 1,
        },
    }  # fmt: skip
    overrides = [*flags, *set_] if scenario is None else changes(scenario, set_=set_, from_vllm_args=from_vllm_args)
    loaded = load(given, overrides=overrides)
    if tokens is None:
        table = loaded.workload.table(loaded.seed, Path(loaded.base_dir))
        mean = float((table.prompt_tokens + table.output_tokens).mean())
    else:
        mean = float(tokens)
    pools = {
        name: (
            setup.memory,
            activations_by_tokens(setup.model, setup.scenario.cluster.tensor_parallel, setup.limits.max_num_seqs),
        )
        for name, setup in resolve_cluster(loaded).pools.items()
    }
    if out is not None:
        save_memory({name: memory_json(*parts, mean) for name, parts in pools.items()}, out, loaded.name or str(model))
        keep_question(out, scenario or "", overrides)
    if format == "json":
        found = {name: memory_json(*parts, mean) for name, parts in pools.items()}
        print_json(found if loaded.cluster.pools else found[""])
        return
    for name, parts in pools.items():
        console().print(memory_report(*parts, mean, name))
    say_where(out, replaced)
