"""How figures become files."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bench.files import write_atomically
from models.errors import ResultsError


class NothingToDrawError(ResultsError):
    """There is nothing to draw a figure from; the message says what is lacking."""


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Writes PNG and SVG; a reader sees the old one or the new one.

    Args:
        figure: To be drawn.
        stem: Of the files, without a suffix; the folder is made if missing.

    Returns:
        The files written.
    """
    if figure.get_layout_engine() is not None:
        # The canvas of the SVG would lay out anew, for its own 72 dots per inch.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    written = []
    # Not figure.savefig, which draws everything twice.
    for suffix, write in (
        ("png", partial(FigureCanvasAgg(figure).print_png, metadata={"Software": None})),
        ("svg", partial(FigureCanvasSVG(figure).print_svg, metadata={"Date": None, "Creator": None})),
    ):
        buffer, path = io.BytesIO(), stem.with_name(f"{stem.name}.{suffix}")
        write(buffer)
        write_atomically(path, buffer.getvalue())
        written.append(path)
    return written
