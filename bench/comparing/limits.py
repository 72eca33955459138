"""Changes that must not happen between two tables, for use in CI."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.comparing.columns import COST, EFFORT, measure_named
from bench.comparing.tables import ROUNDING, Comparison
from bench.quality.measures import known_measures
from models.errors import ResultsError
from models.numbers import number

PATTERN = re.compile(r"\s*(\w(?:[^<>]*\w)?)\s*([<>])\s*([+-][^\s%]*)\s*(%?)\s*")


@dataclass(frozen=True)
class Limit:
    """A change that must not happen, such as ``au_fa_fr>+10%``.

    Attributes:
        text: As it was written.
        measure: The column.
        above: More than ``amount`` is too much; else less than it.
        amount: Signed difference; a share where ``relative``.
        relative: ``amount`` is of the reference's value.
    """

    text: str
    measure: str
    above: bool
    amount: float
    relative: bool


def parse_limit(text: str) -> Limit:
    """Reads ``au_fa_fr>+10%``: a measure, < or >, a signed difference, and % where it is a share.

    Raises:
        ResultsError: It reads differently, or there is no such measure.

    Examples:
        >>> parse_limit("size_kb > +0").amount
        0.0
    """
    found = PATTERN.fullmatch(text)
    if not found:
        raise ResultsError(
            f'--fail-if {text!r}: give a measure, < or >, and a signed difference, as in "au_fa_fr>+10%"'
        )
    name, way, signed, percent = found.groups()
    if measure_named(name) is None:
        names = dict.fromkeys(each.name for each in known_measures())
        raise ResultsError(
            f"--fail-if {text!r}: no measure {name!r}; there is: {', '.join(names)}, frr_at_far_1pct_WORD, "
            f"validation_..., {', '.join((*COST, *EFFORT))}"
        )
    try:
        amount = number(signed)
    except ValueError as error:
        raise ResultsError(f"--fail-if {text!r}: {error}") from None
    return Limit(text, name, way == ">", amount / (100 if percent else 1), bool(percent))


def exceeded(limit: Limit, comparison: Comparison) -> list[str]:
    """One line for every label that breaks the limit; a row that failed or is gone breaks every limit.

    Raises:
        ResultsError: A label's measure, or all of them, cannot be compared.
    """
    before, after = comparison.before.name, comparison.after.name
    rows = comparison.changes[comparison.changes["measure"] == limit.measure]
    for row in rows[rows["verdict"] == "not compared"].itertuples():
        raise ResultsError(
            f"--fail-if {limit.text!r}: {limit.measure} of {row.label} cannot be compared: {row.reason}"
        )
    if rows.empty and not comparison.only_before:
        raise ResultsError(
            f"--fail-if {limit.text!r}: {before} and {after} share no row with {limit.measure}"
        )
    change = rows["relative"] if limit.relative else rows["difference"]
    slack = ROUNDING * (1 if limit.relative else rows["before"].abs())
    over = (change - limit.amount) * (1 if limit.above else -1) > slack
    gone = dict.fromkeys(comparison.only_before, "no row") | dict(comparison.failed)
    return [f"{label}: {why} in {after}, breaks {limit.text}" for label, why in gone.items()] + [
        f"{row.label}: {row.measure} {row.before:.6g} -> {row.after:.6g}, "
        f"{row.difference:+.3g} ({row.relative:+.1%}), breaks {limit.text}"
        for row in rows[over].itertuples()
    ]
