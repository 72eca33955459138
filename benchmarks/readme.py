"""``benchmarks/README.md`` from the journal of measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.rows import Row, figure

TITLES = {
    "epochs": "Epochs",
    "features": "Features",
    "ear": "Listening to long audio",
    "step": "The training step, without data work",
    "metrics": "Metrics",
    "commands": "The command line",
    "preset": "The reference study in one command",
    "scale": "A large corpus",
    "quality": "Epochs and time to quality",
    "choices": "What the recipe's choices cost in quality",
}
# What is measured on a graphics card too, and the kinds that there are.
ON_CARDS, CARDS = ("epochs", "preset"), ("cuda", "mps")
TITLES |= {f"{part} on {card}": f"{TITLES[part]}, on {card}" for card in CARDS for part in ON_CARDS}
NO_CARD = (
    "Nothing here was measured on a graphics card: none was at hand. `python -m benchmarks.run --device cuda "
    "--data FOLDER --keyword WORD` adds its rows, both ways on the same card."
)
INTRODUCTION = """# Speed and memory

Written by `python -m benchmarks.run`; not to be edited.

Both ways are measured in one run, each in a process of its own, taking turns: a lap of the one, a lap of the
other. Figures are medians over laps, the first of each training being left out; a ratio says how many times
better the toolkit is. What the toolkit makes once is shown; the plain way's own start is not counted.

The plain way (`benchmarks/plain.py`) is what one writes who follows the reference study: one audio file
decoded and augmented per call, two loader workers, balanced sampling, batches of 128, a mel spectrogram for
each batch, the teacher run in every step, validation likewise. It trains the same models. The toolkit trains
with its default recipe, by the functions that `bench run` calls, checkpoints included. MB are 2^20 bytes.
Both ways have the torch threads that stand below; `bench run` itself gives each training one, so that its
figures do not depend on the machine (docs/architecture.md says what that costs).
"""


def render(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The page.

    Args:
        parts: The latest line of each part: ``rows``, ``command``, and ``about``, which describes the
            machine and the data.
    """
    lines = [INTRODUCTION, "| measure | plain | ours | ratio | laps | |", "|---|---:|---:|---:|---:|---|"]
    conditions: dict[str, list[str]] = {}
    for name, title in TITLES.items():
        if name not in parts:
            continue
        part = parts[name]
        lines.append(f"| **{title}** | | | | | |")
        lines += [_line(Row(**row)) for row in part["rows"]]
        conditions.setdefault(f"{_about(part['about'])} `{part['command']}`", []).append(title)
    if not any(name.endswith(f" on {card}") for name in parts for card in CARDS):
        lines += ["", NO_CARD]
    lines += ["", "## How it was measured", ""]
    for condition, titles in conditions.items():
        lines.append(f"- {'; '.join(titles)}: {condition}")
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    ratio = "" if row.ratio is None else f"{row.ratio:.2g}x" if row.ratio < 10 else f"{row.ratio:.0f}x"
    cells = (row.what, figure(row.plain), figure(row.ours), ratio, str(len(row.ours)), row.note)
    return f"| {' | '.join(cells)} |"


def _about(about: Mapping[str, Any]) -> str:
    small = " A small run, to see that it works: its figures say nothing." if about["small"] else ""
    card = f"{about['device']}, " if "device" in about else ""
    return (
        f"{card}{about['cores']} cores, {about['threads']} torch threads, torch {about['torch']}, Python "
        f"{about['python']}, {about['system']}; {about['data']}, keyword {about['keyword']}, "
        f"{about['clips']:,} clips ({about['train']:,} for training).{small}"
    )
