"""How figures become files."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

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
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    # Not figure.savefig, which draws everything twice.
    for suffix, write in (
        ("png", partial(FigureCanvasAgg(figure).print_png, metadata={"Software": None})),
        ("svg", partial(FigureCanvasSVG(figure).print_svg, metadata={"Date": None, "Creator": None})),
    ):
        path, scratch = (stem.with_name(f"{stem.name}.{end}") for end in (suffix, f"{os.getpid()}.tmp"))
        try:
            write(scratch)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
        written.append(path)
    return written
