"""One bar for each of a few things, with its value written beside it."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from sim.report.colours import BLUE, GRID, INK


def bars(
    title: str,
    names: Sequence[str],
    values: Sequence[float],
    told: Sequence[str],
    axes: Axes | None,
    errors: Sequence[tuple[float, float]] | None = None,
) -> Axes:
    """Draw the first on top, into given axes or a new pyplot figure; `errors` are the ends of each value's interval."""
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.subplots(figsize=(8, 0.7 + 0.42 * max(len(names), 1)), layout="constrained")[1]
    ends = [*values, *(high for _, high in errors or ())]
    axes.set_title(title, loc="left", size=10, weight="bold", color=INK, pad=6)
    axes.barh(range(len(values)), values, height=0.62, color=BLUE, alpha=0.85)
    for row, value in enumerate(values):
        low, high = errors[row] if errors else (value, value)
        if high > low:
            axes.plot([low, high], [row, row], color=INK, lw=1.4, solid_capstyle="butt")
        at = (max(high, value), row)
        axes.annotate(told[row], at, (5, 0), textcoords="offset points", va="center", size=9, color=INK)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set_xlim(0, 1.45 * max(ends, default=0.0) or 1.0)
    axes.set_xticks([])
    axes.tick_params(length=0, labelsize=9.5, labelcolor=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "left")
        spine.set_color(GRID)
    return axes
