"""Verbs that list what ships: `VERB` and `VERB list` list, `VERB NAME` and `VERB show NAME` show one of them."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from sim.cli.app import app
from sim.cli.options import Format

_SameFormat = Annotated[Literal["table", "json"] | None, typer.Option(help="What to print; default: table.")]


class _Names(TyperGroup):
    """A word that is no verb of the group is a name to be shown."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            return "show", self.get_command(ctx, "show"), args
        return super().resolve_command(ctx, args)


def catalogue(
    verb: str, about: str, example: str, list_all: Callable[[str], None], show_one: Callable[[str, str], None],
    names: Callable[[str], list[str]],
) -> typer.Typer:  # fmt: skip
    """A verb that lists and shows; returned is its group, for further verbs of its own.

    `about` says in half a sentence what there is; `example` is a name; the functions take the format to print last;
    `names` completes a name.
    """
    group = typer.Typer(
        cls=_Names, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]},
        subcommand_metavar="[NAME | COMMAND]",
    )  # fmt: skip

    @group.callback(
        invoke_without_command=True,
        help=f"List {about}, or show one.\n\n\b\nservecast {verb}\nservecast {verb} {example}\n"
        f"servecast {verb} --format json",
    )
    def bare(context: typer.Context, format: Format = "table") -> None:
        context.obj = format
        if context.invoked_subcommand is None:
            list_all(format)

    @group.command("list", help=f"List {about}.\n\n\b\nservecast {verb} list")
    def list_(context: typer.Context, format: _SameFormat = None) -> None:
        list_all(format or context.obj)

    @group.command(help=f"Show one of {about}.\n\n\b\nservecast {verb} show {example}")
    def show(
        context: typer.Context,
        name: Annotated[
            str, typer.Argument(help="Its name, as listed, or the path of one of your own.", autocompletion=names)
        ],
        format: _SameFormat = None,
    ) -> None:
        show_one(name, format or context.obj)

    app.add_typer(group, name=verb)
    return group
