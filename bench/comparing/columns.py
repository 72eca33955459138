"""Which columns of a table can be compared, and which way they improve."""

from __future__ import annotations

from dataclasses import dataclass

from bench.quality import measures

COST = ("macs", "macs_per_s", "params", "size_kb", "theoretical_kb", "latency_ms")
EFFORT = ("epochs", "best_epoch", "epochs_to_target", "train_seconds")
# Times of the same model differ from one measurement to the next.
TIMING_NOISE = 0.1


@dataclass(frozen=True)
class Measure:
    """A column that can be compared.

    Attributes:
        name: The column.
        group: ``quality``, ``validation``, ``cost`` or ``effort``.
        lower_is_better: Which way it improves.
        noise: Relative difference that still counts as unchanged.
    """

    name: str
    group: str
    lower_is_better: bool
    noise: float


def measure_named(name: str) -> Measure | None:
    """What is known of a column; None for one that is not a measure.

    Examples:
        >>> measure_named("validation_auc").lower_is_better, measure_named("keyword")
        (False, None)
    """
    noise = TIMING_NOISE if name in ("latency_ms", "train_seconds") else 0.0
    if name in COST or name in EFFORT:
        return Measure(name, "cost" if name in COST else "effort", True, noise)
    part, found = measures.column_parts(name), measures.measure_named(name)
    if part.end or found is None:
        return None
    return Measure(name, "validation" if part.prefix else "quality", found.lower_is_better, noise)


def is_quality(name: str) -> bool:
    """Whether a column is a figure of quality, on test or on validation; no end of an interval is."""
    found = measure_named(name)
    return found is not None and found.group in ("quality", "validation")
