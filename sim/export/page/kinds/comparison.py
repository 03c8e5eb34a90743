"""Variants beside each other: figures, what can be claimed, and where GPU time went."""

from collections.abc import Mapping
from math import nan
from pathlib import Path
from typing import Any

from sim.export.page.section import Section, grid
from sim.export.page.side_by_side import bar_charts, best_of, side_by_side_curves
from sim.export.saved import called, read_json
from sim.insight.cards import claims, metrics_table, ties, worst_belief
from sim.insight.comparison import METRICS
from sim.report import markup
from sim.report.folder import MARKS

VERB = "compare"
NOUN = "comparison"


def read(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """`comparison.json`."""
    told = read_json(folder / MARKS[VERB], ("name", "variants", "seeds", "differences"))
    return called(told["name"], folder), told


def section(told: Mapping[str, Any], key: str) -> Section:
    """A comparison."""
    variants: Mapping[str, Any] = told["variants"]
    metrics = {
        name: {one: nan if variant["metrics"].get(one) is None else variant["metrics"][one] for one in METRICS}
        for name, variant in variants.items()
    }
    slo = {name: variant.get("slo") for name, variant in variants.items()}
    curves = {
        name: {latency: [ms / 1e3 for ms in values] for latency, values in variant.get("quantiles_ms", {}).items()}
        for name, variant in variants.items()
    }
    seeds = len(told["seeds"])
    note = f"of the first of {seeds} seeds" if seeds > 1 else ""
    unsure = ties(told)
    parts = [
        metrics_table(
            metrics, {name: variant["saturated"] for name, variant in variants.items()}, slo=slo, ties=unsure
        ),
        "<h3>What can be claimed</h3>",
        claims(told) or markup.paragraph("One seed tells nothing of chance: compare with --seeds 5.", "faint"),
        "<h3>Pictures</h3>",
        grid(
            [
                side_by_side_curves(curves, slo, note),
                *bar_charts(metrics, {name: variant["gpu_time"] for name, variant in variants.items()}),
            ]
        ),
    ]
    made_with = {**told.get("made_with", {}), "seed": ", ".join(map(str, told["seeds"]))}
    setting = f"{len(variants)} variants, {seeds} seed{'s' * (seeds > 1)}"
    return Section(best_of(metrics, unsure), "".join(parts), worst_belief(variants), made_with, setting=setting)
