"""What ``bench stress`` found, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich.table import Table

from bench.stress.errors import asked, error_name, errors
from bench.terminal.tables import plain_table

# Beside the conditions' names, in 80 columns.
MODELS_A_TABLE = 3


def stress_tables(table: pd.DataFrame) -> tuple[list[Table], list[str]]:
    """The error of each model under each condition, and how many times its own clean one that is.

    Returns:
        Tables of a few models each, and lines that sum up.
    """
    names = list(dict.fromkeys(table["name"]))
    groups = [names[start : start + MODELS_A_TABLE] for start in range(0, len(names), MODELS_A_TABLE)]
    first = table.iloc[0]
    title = (
        f"{error_name(table)} on {first['data']}, {asked(table)}, and how many times the model's clean one"
    )
    of_keyword = f"{first['keyword_clips']} of " if "keyword_clips" in table else ""
    are = " are the keyword" if of_keyword else ""
    caption = f"{of_keyword}{first['clips']} test clips{are}; lower is better"
    shown = table.join(errors(table))
    return [_table(shown, group, title, caption) for group in groups], summary(table)


def summary(table: pd.DataFrame) -> list[str]:
    """One line a model and family: the mean ratio to its own clean error, and the base's beside it.

    Means are geometric, over the conditions where both ratios are known.
    """
    ratios = table[table["family"] != "clean"].assign(chain=table["chain"].fillna(""))
    bases = list(dict.fromkeys(ratios.loc[ratios["chain"] == "", "name"]))
    lines = []
    for name in dict.fromkeys(ratios["name"]):
        own = ratios[ratios["name"] == name]
        base = _base_of(own, ratios, bases)
        of_base = None if base in (None, name) else ratios[ratios["name"] == base]
        parts = [_compared(family, own, of_base) for family in dict.fromkeys(own["family"])]
        lines.append(f"{name}: {'; '.join(parts)}")
    said = (
        f"{error_name(table)} grows by this factor over the model's own clean one (geometric mean of a "
        "family; there is an end to it, so a model that is poor when clean has less room)"
    )
    if not bases:
        lines.append("no base among the runs: give it too, to see its factors beside these")
    return [said + (", the base's in brackets:" if bases else ":"), *lines] if lines else []


def _base_of(own: pd.DataFrame, ratios: pd.DataFrame, bases: Sequence[str]) -> str | None:
    """The base to hold a model against: of its own seed where there is one."""
    same = ratios[(ratios["chain"] == "") & (ratios["seed"] == own["seed"].iloc[0])]["name"]
    return str(same.iloc[0]) if len(same) else next(iter(bases), None)


def _compared(family: str, own: pd.DataFrame, base: pd.DataFrame | None) -> str:
    mine = own[own["family"] == family].set_index("condition")["ratio_to_clean"]
    if base is None:
        return f"{family} {_times(_mean(mine))}"
    theirs = base.set_index("condition")["ratio_to_clean"].reindex(mine.index)
    known = mine.notna() & theirs.notna()
    return f"{family} {_times(_mean(mine[known]))} ({_times(_mean(theirs[known]))})"


def _mean(ratios: pd.Series[float]) -> float:
    """Geometric; 0 where a ratio is 0, NaN where there is none."""
    values = ratios.dropna().to_numpy(dtype=float)
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(values).mean())) if len(values) else math.nan


def _table(table: pd.DataFrame, names: Sequence[str], title: str, caption: str) -> Table:
    shown = plain_table(title, caption)
    shown.add_column("condition", no_wrap=True)
    for name in names:
        shown.add_column(name, justify="right", overflow="fold")
        shown.add_column("", justify="right", no_wrap=True)
    cells = table.set_index(["name", "condition"])
    family = table.drop_duplicates("condition").set_index("condition")[["family", "kind"]]
    for condition in dict.fromkeys(table["condition"]):
        after = list(family.index).index(condition) + 1
        ends = after < len(family) and tuple(family.iloc[after]) != tuple(family.loc[condition])
        row = [condition]
        for name in names:
            cell = cells.loc[(name, condition)]
            row += [_share(float(cell["error"])), _times(float(cell["ratio_to_clean"]))]
        shown.add_row(*row, end_section=bool(ends))
    return shown


def _share(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1e}" if 0 < value < 0.001 else f"{value:.4f}"


def _times(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}x" if value < 1000 else f"{value:.0f}x"
