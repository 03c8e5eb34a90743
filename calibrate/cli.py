"""The verbs of `servecast calibrate`: one thin function each. Heavy imports wait until a verb needs them."""

import typer

app = typer.Typer(
    help="Measure a GPU, fit its profile, and prove the result.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def calibrate() -> None:
    """Measure a GPU, fit its profile, and prove the result."""
