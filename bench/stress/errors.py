"""The error that models are held against each other by under stress, whatever their task; without torch."""

from __future__ import annotations

import pandas as pd

from bench.quality.measures import compared_by


def errors(table: pd.DataFrame) -> pd.DataFrame:
    """The error of each row and both ends of its interval, lower being better.

    That is 1 - AUC of a keyword; of other tasks what their accuracy lacks to 1.

    Args:
        table: Of ``bench stress``.

    Returns:
        Columns ``error``, ``error_low`` and ``error_high``.
    """
    measure = compared_by(table.columns)
    figures = table.reindex(columns=[measure.name, f"{measure.name}_low", f"{measure.name}_high"])
    if not measure.lower_is_better:
        figures = 1 - figures.iloc[:, [0, 2, 1]]
    return figures.set_axis(["error", "error_low", "error_high"], axis=1)


def error_name(table: pd.DataFrame) -> str:
    """What axes and titles call it.

    Examples:
        >>> [error_name(pd.DataFrame(columns=[column])) for column in ("accuracy", "one_minus_auc")]
        ['1 - accuracy', '1 - AUC']
    """
    measure = compared_by(table.columns)
    return measure.text if measure.lower_is_better else f"1 - {measure.text}"


def asked(table: pd.DataFrame) -> str:
    """What models were asked for, of a table's first row: of older versions' a keyword."""
    first = table.iloc[0]
    return f"keyword {first['keyword']!r}" if "keyword" in table else str(first["task"])
