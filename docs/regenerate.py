"""Makes the README's figures and table from the committed results: ``python docs/regenerate.py``.

Nothing is trained. ``docs/figures/sources.json`` holds what the figures were drawn from; a test holds that
and the README's table against the results as they are now.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd

from bench.figures.plots import draw_figures
from bench.records import load_results, write_text_atomically

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "figures"
# Folder of figures, the table that they are drawn from, and which ones.
DRAWN = ((FIGURES, ROOT / "results" / "arabic_start.csv", ("quantization", "pareto_size")),)
TABLE = ROOT / "results" / "arabic_start.csv"
BEGIN, END = "<!-- table: results/arabic_start.csv -->\n", "<!-- end of table -->"


def sources() -> dict[str, str]:
    """Hashes of all that the figures depend on: tables and drawing code."""
    files = [table for _, table, _ in DRAWN] + sorted((ROOT / "bench" / "figures").glob("*.py"))
    return {str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def markdown_table(table: pd.DataFrame) -> str:
    """The README's table of results."""
    lines = [
        "| chain | parameters | MACs on 2 s | fewer | KB | smaller | 1 - AUC, validation | test | epochs |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.label} | {row.params:,} | {row.macs:,} | {row.macs_ratio:.1f}x | {row.size_kb:.1f} "
        f"| {row.size_ratio:.1f}x | {row.validation_one_minus_auc:.5f} | {row.one_minus_auc:.5f} "
        f"| {row.best_epoch} |"
        for row in table.itertuples()
    ]
    return "\n".join(lines) + "\n"


def readme_with(table: pd.DataFrame, text: str) -> str:
    """The README with its table made anew."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + markdown_table(table) + END + rest.split(END)[1]


def main() -> None:
    """Draws, and writes the table."""
    for folder, table, kinds in DRAWN:
        draw_figures(load_results(table), folder, kinds)
    write_text_atomically(FIGURES / "sources.json", json.dumps(sources(), indent=1) + "\n")
    readme = ROOT / "README.md"
    write_text_atomically(readme, readme_with(load_results(TABLE), readme.read_text()))


if __name__ == "__main__":
    main()
