"""The command `servecast`: one thin function per verb. Heavy imports wait until a verb needs them."""

import errno
import io
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from sim import profile_verbs, trace_verbs
from sim.errors import ServecastError

if TYPE_CHECKING:
    from rich.table import Table


class _CutShortError(Exception):
    """What cut a verb short, kept from the command-line library, which would end the process its own way."""


class _Verbs(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, OSError) as error:
            raise _CutShortError from error


app = typer.Typer(
    cls=_Verbs,
    help="Simulate LLM inference clusters: what would this fleet do with that traffic?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_SHOW_PROGRESS_AFTER_S = 2.0
_STOPPED, _BROKEN_PIPE = 130, 141  # 128 + the signal's number, as shells count


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="A scenario's YAML file, or a shipped scenario's name.")],
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one key: engine.max_num_seqs=64.")
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option(help="Write tables, summary, resolved scenario and picture to this folder.")
    ] = None,
    format: Annotated[Literal["table", "json"], typer.Option(help="What to print.")] = "table",
    variant: Annotated[str | None, typer.Option(help="Run this variant of the scenario.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed than the scenario's.")] = None,
    no_fast_forward: Annotated[
        bool, typer.Option("--no-fast-forward", help="Simulate every step on its own: slower, same result.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no report and no progress.")] = False,
) -> None:
    """Simulate a scenario and report what happened."""
    from sim.report.folder import check_folder
    from sim.run import run as simulate

    check_folder(out)
    overrides = [*set_, *([] if seed is None else [f"seed={seed}"])]
    with _Progress(shown=not quiet and sys.stderr.isatty()) as progress:
        result = simulate(
            scenario,
            overrides=overrides,
            variant=variant,
            fast_forward=not no_fast_forward,
            progress=progress.update,
        )
    if out is not None:
        result.save(out)
    if quiet:
        return
    if format == "json":
        from sim.report import summary_json

        sys.stdout.write(summary_json(result.summary))
        return
    from sim.report import print_report

    print_report(result.summary, _console(), result.wall_s)
    if out is not None:
        typer.echo(f"\nwritten to {out}: start with {out / 'overview.png'}")


@app.command()
def validate(
    scenario: Annotated[str, typer.Argument(help="A scenario's YAML file; its workload is not used.")],
    measured: Annotated[
        Path, typer.Option(help="A real run: CSV, JSON lines, or a detailed `vllm bench serve` JSON, plain or .gz.")
    ],
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one key: engine.max_num_seqs=64.")
    ] = [],  # noqa: B006
    format: Annotated[Literal["table", "json"], typer.Option(help="What to print.")] = "table",
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw both runs.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write validation.json, requests.csv, picture and scenario to this folder.")
    ] = None,
    no_fast_forward: Annotated[
        bool, typer.Option("--no-fast-forward", help="Simulate every step on its own: slower, same result.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no report and no progress.")] = False,
) -> None:
    """Replay a real run through a scenario: measured, simulated and error of every metric."""
    from sim.insight.validation import validate as replay
    from sim.insight.validation.save import check_places, save

    check_places(out, plot)
    with _Progress(shown=not quiet and sys.stderr.isatty()) as progress:
        found = replay(scenario, measured, overrides=set_, fast_forward=not no_fast_forward, progress=progress.update)
    save(found, out, plot)
    if quiet:
        return
    if format == "json":
        from sim.report import summary_json

        sys.stdout.write(summary_json(found.summary))
        return
    from sim.report.validation import validation_report

    _console().print(validation_report(found.summary))
    for place in (out, plot):
        if place is not None:
            typer.echo(f"written to {place}")


@app.command()
def compare(
    scenarios: Annotated[list[str], typer.Argument(help="One scenario with variants, or several scenarios.")],
    seeds: Annotated[int, typer.Option(help="Repeat with so many seeds: only these say how sure a difference is.")] = 1,
    variant: Annotated[list[str], typer.Option(help="Only this variant; may be repeated.")] = [],  # noqa: B006
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one key: engine.max_num_seqs=64.")
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option(help="Write comparison.json, runs.csv and comparison.png to this folder.")
    ] = None,
    format: Annotated[Literal["table", "json"], typer.Option(help="What to print.")] = "table",
    jobs: Annotated[int | None, typer.Option(help="Runs at once; default: one per core.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no report and no progress.")] = False,
) -> None:
    """Run the variants of a scenario on the same requests, and say what differs."""
    from sim.insight import compare as run_variants
    from sim.report.folder import check_folder

    check_folder(out)
    with _Progress("runs", shown=not quiet and sys.stderr.isatty()) as progress:
        found = run_variants(
            *scenarios, variants=variant or None, seeds=seeds, overrides=set_, jobs=jobs, progress=progress.update
        )
    if out is not None:
        found.save(out)
    if quiet:
        return
    if format == "json":
        from sim.report import summary_json

        sys.stdout.write(summary_json(found.summary()))
        return
    from sim.insight.comparison_table import print_comparison

    print_comparison(found, _console(least=140))
    if out is not None:
        typer.echo(f"\nwritten to {out}: start with {out / 'comparison.png'}")


@app.command()
def capacity(
    scenario: Annotated[str, typer.Argument(help="A scenario's YAML file, or a shipped scenario's name.")],
    attainment: Annotated[float, typer.Option(help="Share of requests that must meet the scenario's slo.")] = 0.99,
    limit: Annotated[
        list[str], typer.Option(metavar="LIMIT", help="A further limit: 'p99_itl_ms <= 200'; may be repeated.")
    ] = [],  # noqa: B006
    variant: Annotated[list[str], typer.Option(help="Only this variant; may be repeated.")] = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="Judge every rate by the mean over so many seeds.")] = 1,
    tolerance: Annotated[float, typer.Option(help="How narrow the answer must be.")] = 0.02,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one key: engine.max_num_seqs=64.")
    ] = [],  # noqa: B006
    format: Annotated[Literal["table", "json"], typer.Option(help="What to print.")] = "table",
    jobs: Annotated[int | None, typer.Option(help="Runs at once; default: one per core.")] = None,
) -> None:
    """Find the highest rate of requests that still meets the targets, per GPU and per dollar."""
    from sim.insight import capacity as find

    with _Progress("rates", shown=sys.stderr.isatty()) as progress:
        found = find(
            scenario, attainment=attainment, limits=limit, variants=variant or None, seeds=seeds,
            tolerance=tolerance, overrides=set_, jobs=jobs, progress=progress.update,
        )  # fmt: skip
    if format == "json":
        from sim.insight.capacity_table import capacities_json

        sys.stdout.write(capacities_json(found))
        return
    from sim.insight.capacity_table import print_capacities

    print_capacities(found, _console())


@app.command()
def schema() -> None:
    """Print the JSON Schema of a scenario, for editors and checkers."""
    import json

    from sim.scenario import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def scenarios() -> None:
    """List the scenarios that ship with servecast."""
    from sim.scenario import shipped

    table = _table("scenario", "question and finding")
    for name, path in shipped().items():
        table.add_row(name, _opening_comment(path))
    _console().print(table)


@app.command()
def models() -> None:
    """List the built-in models."""
    from sim.models import builtin_names, load

    table = _table("model", "parameters", "layers", "KV heads", "longest context", "bf16 weights")
    for name in builtin_names():
        model = load(name)
        table.add_row(
            name,
            f"{model.num_parameters / 1e9:.2f} B",
            str(model.layers),
            str(model.kv_heads),
            f"{model.max_position:,}",
            f"{model.weight_bytes() / 2**30:.1f} GiB",
        )
    _console().print(table)


@app.command()
def gpus() -> None:
    """List the GPU profiles (the same as `profiles`)."""
    profile_verbs.list_profiles()


app.add_typer(profile_verbs.app, name="profiles")


@app.command()
def engines(
    name: Annotated[str | None, typer.Argument(help="Show every default of this preset, and its source.")] = None,
) -> None:
    """Show the engine presets side by side, or one of them with its sources."""
    from sim import preset
    from sim.report.engines import COSTS, DECISIONS, SHOWN_FOR, costs, decisions

    if name is not None:
        one = preset.load(name)
        table = _table("key", "value", "from", "source")
        for key, default in one.engine.items():
            table.add_row(key, str(default.value), default.origin, default.source)
        _console().print(one.stands_for)
        _console().print(table)
        return
    for title, columns, row in (("decisions", DECISIONS, decisions), ("memory and host time", COSTS, costs)):
        table = _table(*columns)
        table.title, table.columns[0].no_wrap = title, True
        for known in preset.names():
            table.add_row(*row(preset.load(known)))
        _console().print(table)
    typer.echo(f"Limits as on {SHOWN_FOR}; * assumed, not measured. servecast engines NAME tells every source.")


@app.command()
def lockstep(
    trace: Annotated[Path, typer.Argument(help="Requests, one JSON object per line.")],
    config: Annotated[Path, typer.Argument(help="Engine settings and step-time model, one JSON object.")],
) -> None:
    """Drive the engine by hand and print its step log (a debugging command)."""
    from sim.lockstep import lockstep as drive

    drive(trace, config, sys.stdout)


@app.command()
def version() -> None:
    """Print the versions of servecast and of what it computes with."""
    from sim.provenance import versions

    for name, number in versions().items():
        typer.echo(f"{name} {number}")


def _add_verb_groups() -> None:
    """`trace`, and groups from outside `sim`, which never imports them: installed packages name theirs."""
    from importlib.metadata import entry_points

    app.add_typer(trace_verbs.app, name="trace")
    for group in sorted(entry_points(group="servecast.verbs")):
        app.add_typer(group.load(), name=group.name)


_add_verb_groups()


def main() -> None:
    """Run the command line; errors that a user can mend are one sentence on stderr and exit code 2."""
    if "" not in sys.path:
        sys.path.insert(0, "")  # so that `batching: my_pkg.mine:Mine` finds code in the current folder
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a report on a terminal that cannot show a bar or a dot
    sys.exit(_exit_code(app))


def _exit_code(command: Callable[..., Any]) -> int:
    try:
        code = command(standalone_mode=False) or 0
        sys.stdout.flush()
        return int(code)
    except ServecastError as error:
        return _complain(str(error))
    except _CutShortError as ended:
        return _cut_short(ended.__cause__)
    except (KeyboardInterrupt, OSError) as error:
        return _cut_short(error)
    except MemoryError:
        return _complain("out of memory; simulate fewer requests or less time, or use a larger machine")
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the command-line library
            return _complain(f"{error.format_message()} (see servecast --help)")
        raise


def _cut_short(cause: BaseException | None) -> int:
    if isinstance(cause, KeyboardInterrupt):
        return _complain("stopped, nothing was written", _STOPPED)
    with suppress(OSError, ValueError):  # or the interpreter tries to write the rest, and complains, at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(cause, BrokenPipeError):
        return _BROKEN_PIPE
    full = isinstance(cause, OSError) and cause.errno == errno.ENOSPC
    return _complain("the disk is full; free some space and run again" if full else f"{cause}; run again")


def _complain(text: str, code: int = 2) -> int:
    print(f"servecast: {text}", file=sys.stderr)
    return code


class _Progress:
    """A bar on stderr, once the simulation has taken a while."""

    def __init__(self, what: str = "simulating", *, shown: bool) -> None:
        self.what = what
        self.shown = shown
        self.began = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def update(self, done: int, total: int) -> None:
        """Show that `done` of `total` requests have left."""
        if not self.shown or time.monotonic() - self.began < _SHOW_PROGRESS_AFTER_S:
            return
        if self.bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task(self.what, total=total)
            self.bar.start()
        self.bar.update(self.task, completed=done, total=total)


def _console(least: int = 100) -> Any:
    """The terminal as wide as it is; a file or pipe as wide as a report needs."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=least)


def _table(*headers: str) -> "Table":
    from rich import box
    from rich.table import Table

    return Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False)


def _opening_comment(path: Path) -> str:
    """The comment lines that a scenario file opens with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    main()
