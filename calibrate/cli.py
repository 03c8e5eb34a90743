"""The verbs of `servecast calibrate`: one thin function each. Heavy imports wait until a verb needs them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from calibrate.importers.sources import names
from sim.cli.asked import keep_question
from sim.cli.terminal import say_written
from sim.errors import ServecastError, StoppedError

if TYPE_CHECKING:
    from calibrate.fit.build import Fitted

app = typer.Typer(
    help="Measure a GPU, fit its profile, and prove the result.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def calibrate() -> None:
    """Measure a GPU, fit its profile, and prove the result."""


@app.command()
def gpu(
    out: Annotated[Path, typer.Option(help="Folder of the profile; one that was begun is continued.")],
    budget: Annotated[float, typer.Option(help="Seconds to measure at most.")] = 600.0,
    device: Annotated[str | None, typer.Option(help="cuda or cpu; default: cuda if there is a GPU.")] = None,
    plan: Annotated[
        Path | None,
        typer.Option(help="What to measure, from `calibrate plan`; default: all built-in models, on a CPU a tiny one."),
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="Profile whose datasheet facts are taken over; default: by the GPU's name.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Measure this machine's GPU and fit its profile. Ctrl-C keeps what is there; the same command goes on.

    \b
    servecast calibrate gpu --out my-gpu --budget 540
    """
    from calibrate.measuring import fit_with_progress, measure
    from sim.report.folder import probe

    probe(out)
    code = measure(out, plan, budget, device, quiet)
    if code:
        typer.echo(f"servecast calibrate fit {out} makes a profile of what was measured", err=True)
        raise typer.Exit(code)
    try:
        fitted = fit_with_progress(out, like, quiet)
    except KeyboardInterrupt:
        what = f"the points are kept in {out}: servecast calibrate fit {out} makes a profile of them"
        raise StoppedError(f"stopped before the fit; {what}") from None
    _tell(fitted, quiet)


@app.command()
def fit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with raw.csv.gz and measured_on.json.")],
    like: Annotated[
        str | None, typer.Option(help="Profile whose datasheet facts are taken over; default: by the GPU's name.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table.")] = False,
) -> None:
    """Make a profile folder of raw points, and report its error on the points that were held out.

    \b
    servecast calibrate fit my-gpu
    """
    from calibrate.measuring import fit_with_progress

    _tell(fit_with_progress(folder, like, quiet), quiet)


@app.command()
def plan(
    out: Annotated[Path, typer.Option(help="The plan file, .json or .json.gz.")],
    model: Annotated[
        list[str], typer.Option(help="A built-in, 'tiny' or a config.json; more than once, the most important first.")
    ] = [],  # noqa: B006
    tp: Annotated[list[int], typer.Option(help="GPUs that share a model; more than once.")] = [1, 2, 4, 8],  # noqa: B006
    max_tokens: Annotated[int, typer.Option(help="Tokens of the largest step.")] = 16384,
    max_context: Annotated[int, typer.Option(help="Tokens of the longest request.")] = 131072,
    max_seqs: Annotated[int, typer.Option(help="Requests of the largest batch.")] = 512,
    generic: Annotated[bool, typer.Option(help="Also shapes of no model, so that others are predicted.")] = True,
) -> None:
    """Write a plan of what to measure; without a model, for all built-in ones.

    \b
    servecast calibrate plan --model my/config.json --out plan.json.gz
    """
    from calibrate.measuring import plan_for
    from calibrate.planning import Scope, ordered_builtins
    from sim.report.folder import check_file

    for name, value in (("--max-tokens", max_tokens), ("--max-context", max_context), ("--max-seqs", max_seqs),
                        ("--tp", min(tp))):  # fmt: skip
        if value < 1:
            raise ServecastError(f"{name} must be at least 1, not {value}")
    scope = Scope(
        tensor_parallel=tuple(sorted(set(tp))),
        max_tokens=max_tokens,
        max_context_tokens=max_context,
        max_batch=max_seqs,
        generic=generic,
    )
    check_file(out)
    points = plan_for(model or ordered_builtins(), scope, out)
    typer.echo(f"{points} points in {out}; servecast calibrate gpu --plan {out} measures them")


def _tell(fitted: "Fitted", quiet: bool) -> None:
    """The errors of a fit."""
    if quiet:
        return
    from calibrate.fit.report import headlines

    folder = fitted.profile.folder
    typer.echo(f"{headlines(fitted.summary)}\n\n{folder} is a profile (cluster: {{gpu: {folder}}}); see fit_report.md")


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the tool's tables.")],
    from_: Annotated[str, typer.Option("--from", metavar="TOOL", help=f"Whose they are: {', '.join(names())}.")],
    out: Annotated[Path, typer.Option(help="Folder of the profile to make.")],
    base: Annotated[
        str | None, typer.Option(help="Profile whose datasheet facts are taken over; default: by the GPU's name.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="Which GPU, if DIR holds several; as the tool calls it.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Whose kernels, if DIR holds several: vllm, vllm:0.24.0, an attention backend of Vidur's."),
    ] = None,
    model: Annotated[list[str], typer.Option(help="Only this built-in or config.json; more than once.")] = [],  # noqa: B006
    network: Annotated[str | None, typer.Option(help="Which network, if DIR (of Vidur) holds several.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Make a profile of what another simulator measured.

    \b
    servecast calibrate import --from aiconfigurator systems/data --gpu h100_sxm --engine vllm --out theirs
    """
    from calibrate.importers.build import import_profile
    from calibrate.importers.options import ImportOptions
    from calibrate.importers.report import headlines
    from sim.report.folder import probe

    probe(out)
    options = ImportOptions(folder, gpu=gpu, engine=engine, models=model, network=network)
    say = (lambda text: None) if quiet else (lambda text: print(text, file=sys.stderr, flush=True))
    imported = import_profile(from_, options, out, base=base, say=say)
    if not quiet:
        typer.echo(headlines(imported.profile.name, imported.collection, imported.operations))
        typer.echo(f"\n{out} is a profile (cluster: {{gpu: {out}}}); see {out / 'import_report.md'}")


@app.command()
def engine(
    requests: Annotated[
        Path, typer.Option(help="Log of a real run: CSV, JSON lines, or a detailed `vllm bench serve` JSON.")
    ],
    scenario: Annotated[Path, typer.Option(help="What served it; the workload is not used.")],
    steps: Annotated[Path | None, typer.Option(help="The engine's steps: a CSV of decodes and times.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="Write the fitted `engine:` keys here.")] = None,
    format: Annotated[Literal["table", "json"], typer.Option(help="What to print.")] = "table",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Fit an engine's host costs to the log of a real run, and split the error that is left.

    \b
    servecast calibrate engine --requests log.csv --scenario my.yaml --out overhead.yaml
    """
    try:
        from calibrate.engine_fit.run import engine_fit, write_snippet
    except ImportError as error:
        raise ServecastError(f"a fit needs scipy ({error}); pip install 'servecast[calibrate]'") from None
    from sim.report.folder import check_file

    replaced = check_file(out)
    report = engine_fit(requests, scenario, steps, _progress_line(shown=not quiet and sys.stderr.isatty()))
    if out is not None:
        write_snippet(report, out)
    if quiet:
        return
    if format == "json":
        from sim.report.save import summary_json

        sys.stdout.write(summary_json(report))
        return
    from rich.console import Console

    from calibrate.engine_fit.report import engine_report

    (Console() if sys.stdout.isatty() else Console(width=110)).print(engine_report(report))
    if out is not None:
        say_written(out, replaced)


def _progress_line(shown: bool) -> Callable[[str], None]:
    """Shows what is being done on one line of stderr."""

    def say(text: str) -> None:
        if shown:
            print(f"\r\033[K{text[:110]}", end="", file=sys.stderr, flush=True)

    return say


@app.command()
def validate(
    profile: Annotated[Path, typer.Option(help="Folder of the profile, measured on this machine and fitted.")],
    model: Annotated[
        str | None, typer.Option(help="Model to run; default: llama-3.1-8b on a GPU, 'tiny' on a CPU.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cuda or cpu; default: cuda if there is a GPU.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default: out/validation/NAME.")] = None,
    workloads: Annotated[str | None, typer.Option(help="Some of the six, by name, with commas.")] = None,
    seconds: Annotated[float | None, typer.Option(help="How long requests arrive in each workload.")] = None,
    seed: Annotated[int, typer.Option(help="Of requests, prompts and weights.")] = 0,
    format: Annotated[Literal["table", "json"], typer.Option(help="What to print.")] = "table",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Serve requests with the reference engine, simulate the same ones, and report the errors.

    \b
    servecast calibrate validate --profile my-gpu
    """
    try:
        from calibrate.validation.run import run_validation
        from calibrate.validation.save import save
        from calibrate.validation.settings import make_settings
        from sim.report.folder import check_folder
    except ImportError as error:
        raise ServecastError(
            f"a validation needs torch and scipy ({error}); pip install 'servecast[calibrate]'"
        ) from None
    names = None if workloads is None else [name.strip() for name in workloads.split(",")]
    settings = make_settings(profile, model, device, names, seconds, seed)
    folder = out or Path("out") / "validation" / settings.profile.name
    check_folder(folder, "calibrate validate")
    say = (lambda text: None) if quiet else (lambda text: print(text, file=sys.stderr, flush=True))
    validation = run_validation(settings, say)
    save(validation, folder)
    keep_question(folder)
    if quiet:
        return
    if format == "json":
        from sim.report.save import summary_json

        sys.stdout.write(summary_json(validation.summary))
        return
    from calibrate.validation.report import print_headlines

    print_headlines(validation.summary)
    typer.echo(f"\nwritten to {folder}: start with {folder / 'validation_report.md'}")
