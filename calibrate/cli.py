"""The verbs of `servecast calibrate`: one thin function each. Heavy imports wait until a verb needs them."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from sim.errors import ServecastError

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
    """Serve requests with the reference engine, simulate the same ones, and report the errors."""
    try:
        from calibrate.validation.run import run_validation
        from calibrate.validation.save import check_folder, save
        from calibrate.validation.settings import make_settings
    except ImportError as error:
        raise ServecastError(
            f"a validation needs torch and scipy ({error}); pip install 'servecast[calibrate]'"
        ) from None
    names = None if workloads is None else [name.strip() for name in workloads.split(",")]
    settings = make_settings(profile, model, device, names, seconds, seed)
    folder = check_folder(out or Path("out") / "validation" / settings.profile.name)
    say = (lambda text: None) if quiet else (lambda text: print(text, file=sys.stderr, flush=True))
    validation = run_validation(settings, say)
    save(validation, folder)
    if quiet:
        return
    if format == "json":
        from sim.report import summary_json

        sys.stdout.write(summary_json(validation.summary))
        return
    from calibrate.validation.report import print_headlines

    print_headlines(validation.summary)
    typer.echo(f"\nwritten to {folder}: start with {folder / 'validation_report.md'}")
