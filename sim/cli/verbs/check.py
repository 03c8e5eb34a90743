"""`servecast check`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sim.cli import completing
from sim.cli.app import app
from sim.cli.asked import keep_question, say_where
from sim.cli.options import FromVllmArgs, Jobs, Quiet, Scenario, Set, changes
from sim.cli.progress import Progress
from sim.cli.terminal import console

_FAILED = 1


@app.command()
def check(
    scenario: Scenario,
    baseline: Annotated[Path, typer.Option(help="The file that says what the metrics were.")],
    update: Annotated[
        bool, typer.Option("--update", help="Write the baseline from this run, and judge nothing.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(help="With --update: how many seeds to run, from the scenario's own on; default: 5.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="How much worse a metric may become, as a share of it.")
    ] = 0.01,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on every change, also for the better.")] = False,
    metric: Annotated[
        list[str], typer.Option(help="Judge only this metric; may be repeated.", autocompletion=completing.metrics)
    ] = [],  # noqa: B006
    set_: Set = [],  # noqa: B006
    from_vllm_args: FromVllmArgs = "",
    junit: Annotated[Path | None, typer.Option(help="Write the verdicts as JUnit XML to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary for a pull request to this file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write check.json to this folder, for `servecast report`.")] = None,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Say whether a scenario's metrics are still those of its baseline; exit with 1 if one has become worse.

    \b
    servecast check my.yaml --baseline baseline.json --update     # once
    servecast check my.yaml --baseline baseline.json --junit verdicts.xml
    """
    from sim.errors import ServecastError, at_least_one
    from sim.insight.check import check as judge
    from sim.insight.check import reports
    from sim.insight.check.check import measure
    from sim.report.folder import check_file, check_folder, whole, write_whole
    from sim.report.save import summary_json
    from sim.scenario import load

    for place in (junit, markdown, *([baseline] if update else [])):
        check_file(place)
    judging = {"--metric": metric, "--strict": strict, "--junit": junit, "--markdown": markdown}
    if update and (given := next((option for option, value in judging.items() if value), None)):
        raise ServecastError(f"{given} goes with a check: --update writes the baseline, and judges nothing")
    if seeds is not None and not update:
        raise ServecastError("--seeds goes with --update: a check runs the baseline's own seeds")
    if out is not None and update:
        raise ServecastError("--out goes with a check, and --update judges nothing: the baseline is what it writes")
    replaced = check_folder(out, "check")
    overrides = changes(scenario, set_=set_, from_vllm_args=from_vllm_args, quiet=quiet)
    with Progress("runs", shown=not quiet and sys.stderr.isatty()) as progress:
        if update:
            loaded = load(scenario, overrides)
            at_least_one(seeds=seeds, jobs=jobs)
            numbers = range(loaded.seed, loaded.seed + (5 if seeds is None else seeds))
            now, failed = measure(loaded, numbers, jobs=jobs, progress=progress.update)
        else:
            found = judge(
                scenario, baseline, tolerance=tolerance, strict=strict, metrics=metric, overrides=overrides, jobs=jobs,
                progress=progress.update,
            )  # fmt: skip
    if update:
        now.write(baseline)
        if not quiet:
            typer.echo(f"written to {baseline}: {len(now.values)} variants, {len(now.seeds)} seeds")
            for name, why in failed.items():
                typer.echo(f"not in it: {name} failed: {why}")
        return
    if junit is not None:
        write_whole(junit, reports.junit(found))
    if markdown is not None:
        write_whole(markdown, reports.markdown(found))
    if out is not None:
        with whole(out, "check") as draft:
            (draft / "check.json").write_text(summary_json(reports.check_json(found)), encoding="utf-8")
        keep_question(out, scenario, overrides)
    if not quiet:
        reports.print_check(found, console(least=110))
        say_where(out, replaced)
    if not found.passed:
        raise typer.Exit(_FAILED)
