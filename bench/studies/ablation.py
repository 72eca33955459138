"""Who earned it: a chain without each of its compressors, and in every order that it can be written in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import pandas as pd

from bench.quality.measures import compared_by
from bench.results.records import RunRecord
from compressors.chain import parse
from models.base import ModelSpec
from models.errors import ChainError

# What a compressor is credited with, and how a variant without it is held against the whole chain.
RATIOS = ("size_kb", "macs", "params")
COLUMNS = ("left_out", "chain", "label", "runs", *RATIOS, *(f"{name}_ratio" for name in RATIOS))


@dataclass(frozen=True)
class Variant:
    """A chain that one compressor was taken out of.

    Attributes:
        left_out: Its token; ``nothing`` for the whole chain, ``all`` for the base.
        chain: What is left, as it is written.
        reason: Why that cannot work, else empty.
    """

    left_out: str
    chain: str
    reason: str = ""


@dataclass(frozen=True)
class Orders:
    """The orders in which the compressors of a chain can be written.

    Attributes:
        allowed: For each run, by its chain as it is read, the orders that mean it.
        refused: Orders that cannot work, each with the reason.
    """

    allowed: dict[str, tuple[str, ...]]
    refused: dict[str, str]


def variants(chain: str, base: ModelSpec) -> list[Variant]:
    """The whole chain, the chain without each of its compressors, and the base.

    Raises:
        ChainError: The chain itself cannot work, or has no compressor.

    Examples:
        >>> from models.crnn import CrnnSpec
        >>> [each.chain for each in variants("dq+ad+kd", CrnnSpec())]
        ['dq+ad+kd', 'ad+kd', 'dq+kd', 'dq+ad', '']
    """
    whole = parse(chain, base)
    if not whole.parts:
        raise ChainError("nothing to leave out of the base; give a chain such as dq+sp+ad+kd")
    pieces = whole.text.split("+")
    found = [Variant("nothing", whole.text)]
    for number, piece in enumerate(pieces):
        rest = "+".join(pieces[:number] + pieces[number + 1 :])
        token = piece.partition(":")[0]
        if not rest:
            continue
        try:
            found.append(Variant(token, parse(rest, base).text))
        except ChainError as error:
            found.append(Variant(token, rest, str(error)))
    return [*found, Variant("all", "")]


def orders(chain: str, base: ModelSpec) -> Orders:
    """Every order of a chain's compressors: which run it is, or why it cannot work.

    Examples:
        >>> from models.crnn import CrnnSpec
        >>> found = orders("dq+ad+kd", CrnnSpec())
        >>> found.allowed
        {'dq+ad+kd': ('dq+ad+kd', 'dq+kd+ad')}
        >>> len(found.refused)
        4
    """
    allowed: dict[str, tuple[str, ...]] = {}
    refused: dict[str, str] = {}
    for order in permutations(parse(chain, base).text.split("+")):
        text = "+".join(order)
        try:
            read = parse(text, base).text
        except ChainError as error:
            refused[text] = str(error)
        else:
            allowed[read] = (*allowed.get(read, ()), text)
    return Orders(allowed, refused)


def contributions(found: Sequence[Variant], records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row a variant: its cost and quality, and what the whole chain owes the compressor it lacks.

    A ratio of 3 in ``size_kb_ratio`` says that without the compressor the model is three times as large;
    quality is what rows of the task are tested by, columns are named after it. ``one_minus_auc_change``, or
    ``accuracy_change``, is what the whole chain has more than the variant: where less is better, a positive
    one is the quality that the compressor costs. Repeats are averaged; the interval is the mean of theirs.

    Args:
        found: From ``variants``.
        records: Rows of all of them, of one corpus, task and recipe; one at least.
    """
    quality = compared_by(records[0].columns()).name
    figures = (quality, f"{quality}_low", f"{quality}_high", f"validation_{quality}")
    rows = [_row(variant, records, figures) for variant in found]
    table = pd.DataFrame(rows, columns=[*COLUMNS, *figures, f"{quality}_change", "reason"])
    whole = table.iloc[0]
    for name in RATIOS:
        table[f"{name}_ratio"] = table[name] / whole[name]
    table[f"{quality}_change"] = whole[quality] - table[quality]
    return table


def _row(variant: Variant, records: Sequence[RunRecord], figures: Sequence[str]) -> dict[str, Any]:
    mine = [record for record in records if record.chain == variant.chain]
    done = [record for record in mine if record.status == "ok"]
    failed = [f"{record.status}: {record.reason}" for record in mine if record.status != "ok"]
    row = {"left_out": variant.left_out, "chain": variant.chain, "runs": len(done)}
    lacking = "; ".join(failed) if mine else "not run, for what it is made from failed"
    row |= {"reason": variant.reason or lacking, "label": mine[0].label if mine else ""}
    return row | {
        name: sum(float(record[name]) for record in done) / len(done) if done else math.nan
        for name in (*RATIOS, *figures)
    }
