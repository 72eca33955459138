"""All measures there are: which ones a task has, what a column is a figure of, and how a plugin adds one.

Rows, tables, intervals, tests and figures walk these lists, and know no measure by name.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple, TypeVar

from bench.quality.base import Measure, Scored
from bench.quality.keyword import CURVES, Misses
from bench.quality.words import Accuracy, MacroF1
from models.errors import KwsError
from models.registering import Registry, check_class
from models.task import KeywordTask, Task

__all__ = [
    "Measure",
    "Scored",
    "column_parts",
    "compared_by",
    "known_measures",
    "measure_named",
    "measure_of",
    "measures",
    "measures_in",
    "register",
]

M = TypeVar("M", bound=Measure)
VALIDATION, ENDS = "validation_", ("_low", "_high")
_OF_KEYWORD: tuple[Measure, ...] = (*CURVES, Accuracy(of_keyword=True))
_OF_WORDS: tuple[Measure, ...] = (Accuracy(of_keyword=False), MacroF1())
# Of one word, and at rates that other versions may have had.
_MISSES = re.compile(r"frr_at_far_(\d+)pct(?:_(.+))?")
_NAME = re.compile(r"(?!validation_)[a-z][a-z0-9_]*(?<!_low)(?<!_high)")
_PLUGINS: Registry[Measure] = Registry("measure", KwsError, type)


class Column(NamedTuple):
    """What the name of a column says.

    Attributes:
        prefix: ``validation_``, or empty for test.
        name: Of the measure.
        end: ``_low`` or ``_high`` of the interval, or empty for the figure.
    """

    prefix: str
    name: str
    end: str


def column_parts(column: str) -> Column:
    """A column taken apart, whatever it is a figure of.

    Examples:
        >>> column_parts("validation_frr_at_far_1pct_yes_low")
        Column(prefix='validation_', name='frr_at_far_1pct_yes', end='_low')
    """
    rest = column.removeprefix(VALIDATION)
    end = next((end for end in ENDS if rest.endswith(end)), "")
    return Column(column[: len(column) - len(rest)], rest.removesuffix(end), end)


def measures(task: Task) -> tuple[Measure, ...]:
    """What models of a task are measured by, in the order of columns; plugins' come last."""
    found = _OF_KEYWORD
    if not isinstance(task, KeywordTask):
        found = (*_OF_WORDS, *(Misses("1", task.classes[number]) for number in task.to_find))
    return (*found, *(each for each in _PLUGINS.values() if each.applies(task)))


def measure_of(task: Task, name: str) -> Measure:
    """A measure that a task has, by its name.

    Raises:
        KwsError: It has none of that name; the message lists those that it has.
    """
    found = {each.name: each for each in measures(task)}
    if name not in found:
        raise KwsError(f"no measure {name!r} of {task.text}; there is: {', '.join(found)}")
    return found[name]


def measure_named(column: str) -> Measure | None:
    """The measure that a column is a figure, or an end of an interval, of; None where it is of none.

    Which task it is of need not be known; whether the accuracy is a headline, ``measures_in`` knows.

    Examples:
        >>> measure_named("validation_auc_low").text, measure_named("macs")
        ('AUC', None)
    """
    name = column_parts(column).name
    if found := _MISSES.fullmatch(name):
        return _misses(found[1], found[2] or "", name)
    return next((each for each in known_measures() if each.name == name), None)


def _misses(rate: str, word: str, name: str) -> Misses:
    # A word may itself end with what tells others from the ends of intervals.
    each = (Misses(rate, one) for one in (word.removesuffix("_"), word))
    return next(one for one in each if one.name == name)


def measures_in(columns: Collection[str]) -> tuple[Measure, ...]:
    """The measures on test that a table has, in the order of its columns.

    Args:
        columns: Those with a figure in them. Where one is of a keyword the accuracy is no headline.
    """
    of_keyword = any(each.name in columns for each in CURVES)
    accuracy = next(each for each in (_OF_KEYWORD if of_keyword else _OF_WORDS) if each.name == "accuracy")
    named = (
        accuracy if column == accuracy.name else measure_named(column)
        for column in columns
        if column_parts(column).name == column
    )
    return tuple(each for each in named if each is not None)


def compared_by(columns: Collection[str]) -> Measure:
    """The measure that rows with these columns, of one task, are held against each other by.

    Examples:
        >>> compared_by(["au_fa_fr", "one_minus_auc", "accuracy"]).name, compared_by(["accuracy"]).name
        ('one_minus_auc', 'accuracy')
    """
    found = measures_in(columns)
    of_keyword = (each for each in found if each.name == KeywordTask.tested)
    return next(of_keyword, None) or next(each for each in found if each.headline)


def known_measures() -> tuple[Measure, ...]:
    """Those of every kind of task, but for what each word has of its own."""
    return (*_OF_KEYWORD, *_OF_WORDS, *_PLUGINS.values())


def register(kind: type[M]) -> type[M]:
    """Decorator that adds a class of measures from a plugin; one of it is made.

    Raises:
        KwsError: It is no whole measure, or its name is none that a column can have, or is taken.

    Examples:
        >>> class Half(Measure):
        ...     name, text, lower_is_better = "accuracy", "half", True
        ...     def value(self, scored):
        ...         return 0.5
        >>> register(Half)
        Traceback (most recent call last):
        models.errors.KwsError: a measure 'accuracy' is there already; choose another name
    """
    check_class(kind, Measure, KwsError)
    if lacking := [name for name in ("name", "text", "lower_is_better") if not hasattr(kind, name)]:
        raise KwsError(f"{kind.__name__} must define {', '.join(lacking)} of Measure")
    name = kind.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise KwsError(
            f"a measure {name!r}: its name is that of a column, of small letters, digits and _, and "
            "neither begins with validation_ nor ends with _low or _high"
        )
    if measure_named(name) and name not in _PLUGINS:
        raise KwsError(f"a measure {name!r} is there already; choose another name")
    _PLUGINS.enter(name, kind())
    return kind
