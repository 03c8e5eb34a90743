"""Figures of their own: no pyplot state, and shown by any notebook."""

from io import BytesIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class Picture(Figure):
    """A white figure that belongs to no pyplot state.

    Notebooks show figures of pyplot's only, so this one tells them how it looks.
    """

    def __init__(self, width: float, height: float, dpi: int = 120) -> None:
        super().__init__(figsize=(width, height), dpi=dpi, facecolor="white")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        drawn = BytesIO()
        self.savefig(drawn, format="png", dpi=self.dpi)
        return drawn.getvalue()
