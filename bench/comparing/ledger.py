"""Ours beside the published table: the costs that must agree, and why some don't."""

from __future__ import annotations

import math
import re

import pandas as pd

from bench.comparing.tables import Comparison

# The published MACs were counted by another tool.
MACS_TOLERANCE = 0.0025
# torch's file container has grown by 0.6 to 1.8 KB a file between the study's release and today's.
CONTAINER_KB = 2.0
# The study left 48 dead inputs in its last two linear layers (64 -> 1 in every frame, 64 -> 2 once).
DEAD_PARAMS = 48 * 1 + 48 * 2
DEAD_MACS = 1200
LEDGER = [
    "label",
    *(
        f"{name}_{part}"
        for name in ("macs", "params", "size_kb")
        for part in ("published", "ours", "verdict")
    ),
]


def pruned(label: str) -> bool:
    """Whether the study cut whole units out of the model with that label.

    Examples:
        >>> pruned("DQ+SP+AD+KD"), pruned("DQ+KD2")
        (True, False)
    """
    return any(re.sub(r"\(.*|\d+$", "", token) == "SP" for token in label.upper().split("+"))


def ledger(comparison: Comparison) -> pd.DataFrame:
    """MACs, parameters and size of every label that both tables have, each with a verdict.

    Args:
        comparison: The published table and ours, in this order.

    Returns:
        Columns ``LEDGER``. Verdicts are ``agree``, ``disagree`` or ``unknown``; ``dead inputs`` where a
        pruned model is smaller by just what the study left in; and ``container`` for a size that differs
        by no more than torch's file format does.
    """
    changes = comparison.changes
    values = changes.set_index(["label", "measure"])[["before", "after"]]
    rows = []
    for label in dict.fromkeys(changes["label"]):
        cells = [
            tuple(values.loc[(label, name)]) if (label, name) in values.index else (math.nan, math.nan)
            for name in ("macs", "params", "size_kb")
        ]
        macs, params, size = cells
        dead = pruned(label) and params[0] - params[1] == DEAD_PARAMS
        verdicts = (_macs(*macs, dead=dead), _params(*params, dead=dead), _size(*size))
        rows.append(
            [label, *(part for cell, said in zip(cells, verdicts, strict=True) for part in (*cell, said))]
        )
    return pd.DataFrame(rows, columns=LEDGER)


def _macs(published: float, ours: float, *, dead: bool) -> str:
    if math.isnan(published) or math.isnan(ours):
        return "unknown"
    if dead:
        near = abs(ours + DEAD_MACS - published) <= MACS_TOLERANCE * published
        return "dead inputs" if near else "disagree"
    return "agree" if abs(ours - published) <= MACS_TOLERANCE * published else "disagree"


def _params(published: float, ours: float, *, dead: bool) -> str:
    if math.isnan(published) or math.isnan(ours):
        return "unknown"
    return "dead inputs" if dead else "agree" if ours == published else "disagree"


def _size(published: float, ours: float) -> str:
    if math.isnan(published) or math.isnan(ours):
        return "unknown"
    # The published figures are rounded to 0.01 KB.
    if abs(ours - published) <= 0.005:
        return "agree"
    return "container" if abs(ours - published) <= CONTAINER_KB else "disagree"
