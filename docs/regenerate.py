"""Makes figures and tables of README and findings from the committed results: ``python docs/regenerate.py``.

Nothing is trained. ``docs/figures/sources.json`` holds what the figures were drawn from; a test holds that
and the tables against the results as they are now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from bench.figures.ablation import draw_ablation
from bench.figures.plots import draw_figures
from bench.files import write_text_atomically
from bench.quality.paired import NOTHING_SHOWN
from bench.results.table import load_results

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "figures"
RESULTS = ROOT / "results"
# The keyword of the README's figures: the one on which the chains differ most.
SHOWN_KEYWORD = "no"
WORDS, ABLATION = RESULTS / "words.csv", RESULTS / "words_ablation.csv"
README = ROOT / "README.md"
FAMILIES = ROOT / "docs" / "families.md"
FINDINGS, ARABIC_FINDINGS = ROOT / "docs" / "findings.md", ROOT / "docs" / "findings-arabic.md"
KINDS = ("quantization", "pareto_size")
END = "<!-- end of table -->"


def sources() -> dict[str, str]:
    """Hashes of all that the figures depend on: tables and drawing code."""
    files = [WORDS, ABLATION, *sorted((ROOT / "bench" / "figures").glob("*.py"))]
    return {str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def overview_table(table: pd.DataFrame) -> str:
    """The README's table: cost, and quality as means over seeds, a column for each keyword."""
    words = list(dict.fromkeys(table["keyword"]))
    lines = [
        "| chain | parameters | MACs on 2 s | KB | smaller "
        + "".join(f"| 1 - AUC, {word} " for word in words)
        + "| misses at 1 % false alarms |",
        "|---|" + "---:|" * (5 + len(words)),
    ]
    for label, rows in table.groupby("label", sort=False):
        first, by_word = rows.iloc[0], rows.groupby("keyword")["one_minus_auc"].mean()
        lines.append(
            f"| {label} | {first['params']:,.0f} | {first['macs']:,.0f} | {rows['size_kb'].mean():.1f} "
            f"| {rows['size_ratio'].mean():.1f}x "
            + "".join(f"| {by_word[word]:.4f} " for word in words)
            + f"| {rows['frr_at_far_1pct'].mean():.1%} |"
        )
    return "\n".join(lines) + "\n"


def start_table(table: pd.DataFrame) -> str:
    """Rows of one keyword and seed."""
    lines = [
        "| chain | parameters | MACs on 2 s | fewer | KB | smaller | 1 - AUC, validation | test | epochs |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.label} | {row.params:,.0f} | {row.macs:,.0f} | {row.macs_ratio:.1f}x | {row.size_kb:.1f} "
        f"| {row.size_ratio:.1f}x | {row.validation_one_minus_auc:.5f} | {row.one_minus_auc:.5f} "
        f"| {row.best_epoch:.0f} |"
        for row in table.itertuples()
    ]
    return "\n".join(lines) + "\n"


def means_table(table: pd.DataFrame) -> str:
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


def shown_table(pairs: pd.DataFrame) -> str:
    """The pairs of which a difference is shown."""
    return pairs_table(pairs[pairs["verdict"] != NOTHING_SHOWN])


def families_table(table: pd.DataFrame) -> str:
    """Every family's base, its student and their forms in integers: cost and quality."""
    lines = [
        "| family | chain | parameters | MACs a second | bytes | au_fa_fr | 1 - AUC, test | 95 % interval "
        "| epochs |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.model} | {row.label} | {row.params:,.0f} | {row.macs_per_s:,.0f} "
        f"| {row.artifact_bytes:,.0f} | {row.au_fa_fr:.1e} | {row.one_minus_auc:.5f} "
        f"| {row.one_minus_auc_low:.5f} to {row.one_minus_auc_high:.5f} | {row.epochs:.0f} |"
        for row in table.itertuples()
    ]
    return "\n".join(lines) + "\n"


def devices_table(table: pd.DataFrame) -> str:
    """What the integer forms take on a Cortex-M4."""
    lines = [
        "| family | chain | `.kws` | flash | state | stack | of it values | at least | step "
        "| instructions a second |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.model} | {row.label} | {row.kws_bytes:,} | {row.flash_bytes:,} | {row.state_bytes:,} "
        f"| {row.stack_bytes:,} | {row.arena_bytes:,} | {row.least_arena_bytes:,} | {row.step_ms} ms "
        f"| {row.instructions_per_s:,.0f} |"
        for row in table.itertuples()
    ]
    return "\n".join(lines) + "\n"


# For each page the tables in it: what each is made from, and how.
Reader = Callable[[Path], pd.DataFrame]
MADE: dict[Path, list[tuple[str, Reader, Callable[[pd.DataFrame], str]]]] = {
    README: [("words.csv", load_results, overview_table)],
    FAMILIES: [
        ("families.csv", load_results, families_table),
        ("families_mcu.csv", pd.read_csv, devices_table),
    ],
    FINDINGS: [
        ("words.csv", load_results, means_table),
        *((f"words_tests_{word}.csv", pd.read_csv, shown_table) for word in ("no", "bed")),
        ("words_tests.csv", pd.read_csv, pairs_table),
    ],
    ARABIC_FINDINGS: [
        ("arabic_start.csv", load_results, start_table),
        ("arabic_five.csv", load_results, means_table),
        ("arabic_five_tests.csv", pd.read_csv, pairs_table),
    ],
}


def with_table(text: str, source: Path, table: str) -> str:
    """A page with the table that is made from a source made anew."""
    begin = f"<!-- table: {source.relative_to(ROOT)} -->\n"
    before, rest = text.split(begin)
    return before + begin + table + END + rest.split(END, 1)[1]


def pages() -> dict[Path, str]:
    """The pages as the results make them."""
    made = {page: page.read_text() for page in MADE}
    for page, tables in MADE.items():
        for name, read, table in tables:
            made[page] = with_table(made[page], RESULTS / name, table(read(RESULTS / name)))
    return made


def main() -> None:
    """Draws, and writes the tables."""
    words = load_results(WORDS)
    draw_figures(words[words["keyword"] == SHOWN_KEYWORD], FIGURES, KINDS)
    draw_ablation(pd.read_csv(ABLATION), FIGURES / "ablation", "DQ+SP+AD+KD, keyword 'happy'")
    write_text_atomically(FIGURES / "sources.json", json.dumps(sources(), indent=1) + "\n")
    for page, text in pages().items():
        write_text_atomically(page, text)


if __name__ == "__main__":
    main()
