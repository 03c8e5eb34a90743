"""The command line's root: what all verbs hang on, and in which order the help lists them."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

_FIRST = ("init", "run", "compare", "report", "validate", "capacity")  # in the help; the others follow by name


class CutShortError(Exception):
    """What cut a verb short, kept from the command-line library, which would end the process its own way."""


class _Verbs(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, OSError) as error:
            raise CutShortError from error

    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return [*(name for name in _FIRST if name in names), *sorted(set(names) - set(_FIRST))]


app = typer.Typer(
    cls=_Verbs,
    help=(
        "Simulate LLM inference clusters: what would this fleet do with that traffic?\n\nBegin with `servecast run "
        "quickstart` or `servecast init`. `servecast VERB --help` has examples; `servecast --install-completion` lets "
        "your shell complete verbs and options."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from sim.provenance import versions

        print(f"servecast {versions()['servecast']}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version (`servecast version` has more).", is_eager=True,
                           callback=_print_version)
    ] = False,
) -> None:  # fmt: skip
    pass


def load_verbs() -> None:
    """Import every file in `verbs/`, and the groups that installed packages offer (`sim` never imports those)."""
    from importlib import import_module
    from importlib.metadata import entry_points
    from pkgutil import iter_modules

    from sim.cli import verbs

    for module in iter_modules(verbs.__path__, f"{verbs.__name__}."):
        import_module(module.name)
    for group in sorted(entry_points(group="servecast.verbs")):
        app.add_typer(group.load(), name=group.name)
