"""What a shell completes: names of scenarios, variants, models, GPU profiles, engines and metrics."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer


def scenarios(incomplete: str) -> list[str]:
    """Shipped scenarios; scenarios and folders that are here."""
    from sim.scenario import shipped

    return [*_beginning(shipped(), incomplete), *_here(incomplete, (".yaml", ".yml"))]


def shipped_scenarios(incomplete: str) -> list[str]:
    """Shipped scenarios alone."""
    from sim.scenario import shipped

    return _beginning(shipped(), incomplete)


def variants(ctx: typer.Context, incomplete: str) -> list[str]:
    """The variants of the scenario that stands before, if it can be read."""
    import yaml

    from sim.errors import ServecastError
    from sim.scenario import locate

    given = (
        ctx.params.get("scenario") or ctx.params.get("scenarios") or ctx.args
    )  # args: behind an option without a value
    source = given if isinstance(given, str) else next((word for word in given if not word.startswith("-")), "")
    if not source:
        return []
    try:
        said = yaml.safe_load(locate(source).read_text(encoding="utf-8"))
        found = _beginning(said.get("variants") or {}, incomplete)
    except (ServecastError, OSError, ValueError, AttributeError, yaml.YAMLError):
        return []
    raw = os.environ.get("_SERVECAST_COMPLETE", "").endswith("bash")  # the others quote names with spaces themselves
    return [re.sub(r"([^\w@%+=:,./-])", r"\\\1", name) if raw else name for name in found]


def models(incomplete: str) -> list[str]:
    """Built-in models; paths of config.json files."""
    from sim.models import builtin_names

    return [*_beginning(builtin_names(), incomplete), *_here(incomplete, (".json",))]


def gpus(incomplete: str) -> list[str]:
    """GPU profiles that ship; folders, which may hold another."""
    from sim import hardware

    return [*_beginning(hardware.names(), incomplete), *_here(incomplete, ())]


def presets(incomplete: str) -> list[str]:
    """Engines."""
    from sim import preset

    return _beginning(preset.names(), incomplete)


def metrics(incomplete: str) -> list[str]:
    """Metrics that variants are compared by."""
    from sim.insight.comparison import METRICS

    return _beginning(METRICS, incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in map(str, names) if name.startswith(incomplete)]


def _here(incomplete: str, endings: tuple[str, ...]) -> Iterator[str]:
    """Files with one of these endings, and folders, as far as they have been typed."""
    head, slash, begun = incomplete.rpartition("/")
    try:
        inside = sorted(Path(f"{head}{slash}" or ".").expanduser().iterdir())
    except OSError:
        return
    for path in inside:
        if path.name.startswith(begun) and (begun.startswith(".") or not path.name.startswith(".")):
            if path.is_dir():
                yield f"{head}{slash}{path.name}/"
            elif path.suffix in endings:
                yield f"{head}{slash}{path.name}"
