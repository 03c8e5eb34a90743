"""`servecast report`."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from sim.cli import completing
from sim.cli.app import app
from sim.cli.options import FromVllmArgs, Quiet, Set, changes
from sim.cli.progress import Progress, waiting
from sim.cli.terminal import say_written
from sim.errors import ServecastError


@app.command()
def report(
    results: Annotated[
        list[str],
        typer.Argument(
            help="Folders that any verb wrote with --out; or scenarios, to be run.", autocompletion=completing.scenarios
        ),
    ],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="A heading for the page; default: the results' names.")] = "",
    set_: Set = [],  # noqa: B006
    from_vllm_args: FromVllmArgs = "",
    quiet: Quiet = False,
) -> None:
    """Write one HTML page about results, with charts, which opens without a network.

    \b
    servecast report quickstart                             # run it, and write report.html
    servecast report out/quickstart out/engines --out both.html
    """
    from sim.export.page import write_page
    from sim.export.page.opening import open_results
    from sim.report.folder import check_file

    replaced = check_file(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise ServecastError(f"--out {out}: the report is an HTML page; name a file that ends in .html")
    overrides = changes(*results, set_=set_, from_vllm_args=from_vllm_args, quiet=quiet)
    opened = []
    for source in results:
        reading = waiting(f"reading {source}") if Path(source).is_dir() else nullcontext()
        with reading, Progress(source, shown=not quiet and sys.stderr.isatty()) as progress:
            opened += open_results(source, overrides, progress.update)
    with waiting(f"writing {out}"):
        write_page(opened, out, title)
    if not quiet:
        say_written(out, replaced, ": open it in a browser")
