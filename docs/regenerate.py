"""Makes figures and tables of README and findings from the committed results: ``python docs/regenerate.py``.

Nothing is trained. ``docs/figures/sources.json`` holds what the figures were drawn from; a test holds that
and the tables against the results as they are now.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd

from bench.figures.ablation import draw_ablation
from bench.figures.plots import draw_figures
from bench.files import write_text_atomically
from bench.records import load_results

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "figures"
# Folder of figures, the table that they are drawn from, and which ones.
DRAWN = ((FIGURES, ROOT / "results" / "arabic_start.csv", ("quantization", "pareto_size")),)
TABLE = ROOT / "results" / "arabic_start.csv"
FIVE, PAIRS = ROOT / "results" / "arabic_five.csv", ROOT / "results" / "arabic_five_tests.csv"
ABLATION = ROOT / "results" / "arabic_start_ablation.csv"
README, FINDINGS = ROOT / "README.md", ROOT / "docs" / "findings.md"
END = "<!-- end of table -->"


def sources() -> dict[str, str]:
    """Hashes of all that the figures depend on: tables and drawing code."""
    files = [table for _, table, _ in DRAWN] + [ABLATION] + sorted((ROOT / "bench" / "figures").glob("*.py"))
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


def five_table(table: pd.DataFrame) -> str:
    """Means over keywords and seeds, and from the least to the greatest mean of a keyword."""
    lines = [
        "| chain | KB | smaller | fewer MACs | 1 - AUC, test | by keyword | misses at 1 % false alarms | "
        "spread over seeds | spread of the choice | epochs |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for label, rows in table.groupby("label", sort=False):
        words, miss = rows.groupby("keyword")["one_minus_auc"], rows["frr_at_far_1pct"].mean()
        lines.append(
            f"| {label} | {rows['size_kb'].mean():.1f} | {rows['size_ratio'].mean():.1f}x "
            f"| {rows['macs_ratio'].mean():.1f}x | {rows['one_minus_auc'].mean():.4f} "
            f"| {words.mean().min():.4f} to {words.mean().max():.4f} | {miss:.1%} "
            f"| {words.std().mean():.4f} | {rows['choice_spread'].mean():.4f} "
            f"| {rows['best_epoch'].mean():.0f} |"
        )
    return "\n".join(lines) + "\n"


def pairs_table(pairs: pd.DataFrame) -> str:
    """Every pair of labels: the difference with its interval, and what it shows."""
    lines = ["| A | B | B - A, 1 - AUC | 95 % interval | p, corrected | |", "|---|---|---:|---:|---:|---|"]
    lines += [
        f"| {row.a} | {row.b} | {row.difference:+.4f} | {row.low:+.4f} to {row.high:+.4f} "
        f"| {row.p_corrected:.2g} | {row.verdict} |"
        for row in pairs.itertuples()
    ]
    return "\n".join(lines) + "\n"


def with_table(text: str, source: Path, table: str) -> str:
    """A page with the table that is made from a source made anew."""
    begin = f"<!-- table: {source.relative_to(ROOT)} -->\n"
    before, rest = text.split(begin)
    return before + begin + table + END + rest.split(END, 1)[1]


def pages() -> dict[Path, str]:
    """The pages as the results make them."""
    findings = with_table(FINDINGS.read_text(), FIVE, five_table(load_results(FIVE)))
    findings = with_table(findings, PAIRS, pairs_table(pd.read_csv(PAIRS)))
    readme = with_table(README.read_text(), TABLE, markdown_table(load_results(TABLE)))
    return {README: readme, FINDINGS: findings}


def main() -> None:
    """Draws, and writes the tables."""
    for folder, table, kinds in DRAWN:
        draw_figures(load_results(table), folder, kinds)
    draw_ablation(pd.read_csv(ABLATION), FIGURES / "ablation", "DQ+SP+AD+KD, keyword 'start'")
    write_text_atomically(FIGURES / "sources.json", json.dumps(sources(), indent=1) + "\n")
    for page, text in pages().items():
        write_text_atomically(page, text)


if __name__ == "__main__":
    main()
