"""Repeats of the same run as one row: mean, standard deviation and interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from bench.comparing.columns import COST, EFFORT, is_quality
from bench.comparing.tables import IDENTITY
from bench.quality.intervals import within_one
from bench.quality.shares import LEVEL

# A row's measures that are no column of their own kind in bench.comparing.
MORE = ("macs_ratio", "params_ratio", "size_ratio", "peak_memory_mb")


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """A line for each label, over the seeds it was run with.

    The interval is for the mean over seeds, on these clips and these speakers: Student's t of as many
    degrees of freedom as there are runs less one. It says nothing of other speakers; the interval in each
    single row does.

    Args:
        table: Rows of ``results.csv``, failed ones among them, which are counted but not averaged.

    Returns:
        One row a label and model with its data (``bench.comparing.tables.IDENTITY``), in order of appearance;
        where a seed was run with several teachers, one a ``teacher_seed`` (NaN: each seed's own):
        ``label``, ``chain``, the identity, ``runs``, ``failed``, and for every quality figure, and every cost
        or effort that any line's runs differ in, ``<measure>_mean``, ``_std``, ``_low`` and ``_high``; those
        that no run differs in keep their name. Standard deviation and interval are NaN for one run.

    Examples:
        >>> rows = {"label": ["KD"] * 3, "chain": ["kd"] * 3, "auc": [0.97, 0.98, 0.99], "macs": [5, 5, 5]}
        >>> found = summarise(pd.DataFrame(rows)).iloc[0]
        >>> print(found["runs"], round(found["auc_mean"], 3), round(found["auc_low"], 4), found["macs"])
        3 0.98 0.9552 5.0
    """
    keys = ["label", *(name for name in ("chain", *IDENTITY) if name in table)]
    if {"seed", "teacher_seed"} <= set(table) and table.duplicated([*keys, "seed"]).any():
        # A seed that was run under its own teacher and under a fixed one is no repeat.
        keys.append("teacher_seed")
    done = table["status"].eq("ok") if "status" in table else pd.Series(True, table.index)
    groups = list(table.assign(done=done).groupby(keys, sort=False, dropna=False))
    measures = [str(name) for name in table.columns if _is_measure(str(name))]
    varying = {name for name in measures if is_quality(name) or _varies(groups, name)}
    lines = []
    for key, rows in groups:
        good = rows[rows["done"]]
        line: dict[str, Any] = dict(zip(keys, key, strict=True))
        line |= {"runs": len(good), "failed": len(rows) - len(good)}
        for name in measures:
            values = pd.to_numeric(good[name]).to_numpy(dtype=np.float64, na_value=np.nan)
            line |= _spread(name, values) if name in varying else {name: _first(values)}
        lines.append(line)
    return pd.DataFrame(lines)


def _is_measure(name: str) -> bool:
    return is_quality(name) or name in (*COST, *EFFORT, *MORE)


def _varies(groups: list[tuple[Any, pd.DataFrame]], name: str) -> bool:
    return any(rows.loc[rows["done"], name].nunique() > 1 for _, rows in groups)


def _first(values: np.typing.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known[0]) if len(known) else float("nan")


def _spread(name: str, values: np.typing.NDArray[np.float64]) -> dict[str, float]:
    """Mean, standard deviation and interval; of the runs that have the figure at all."""
    known = values[~np.isnan(values)]
    mean = float(known.mean()) if len(known) else float("nan")
    deviation = float(known.std(ddof=1)) if len(known) > 1 else float("nan")
    half = float("nan")
    if len(known) > 1:
        half = float(stdtrit(len(known) - 1, (1 + LEVEL) / 2)) * deviation / float(np.sqrt(len(known)))
    low, high = mean - half, mean + half
    if is_quality(name) and within_one(known):
        low, high = (float(np.clip(end, 0, 1)) for end in (low, high))
    return {f"{name}_mean": mean, f"{name}_std": deviation, f"{name}_low": low, f"{name}_high": high}
