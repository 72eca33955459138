"""Which measures a task has, what a column is of, and what a plugin may add."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.metrics import f1_score

from bench.quality.measures import (
    _PLUGINS,
    Measure,
    Scored,
    column_parts,
    measure_named,
    measures,
    measures_in,
    register,
)
from models.errors import KwsError
from models.task import KeywordTask, Task, WordsTask

KEYWORD, WORDS = KeywordTask("up"), WordsTask(("yes", "low", "_low", "up high"), with_unknown=True)


@pytest.fixture
def _plugins() -> Iterator[None]:
    """Takes away what a test registers."""
    yield
    _PLUGINS.clear()


class Worst(Measure):
    """The largest share of any word that is missed."""

    name, text, lower_is_better, headline = "worst_word", "misses of the worst word", True, True

    def applies(self, task: Task) -> bool:
        return len(task.to_find) > 1

    def value(self, scored: Scored) -> float:
        found = scored.probabilities.argmax(axis=1) == scored.labels
        return max(1 - found[scored.labels == one].mean() for one in scored.task.to_find)


def test_each_task_has_its_own_in_the_order_of_columns() -> None:
    assert [(each.name, each.headline) for each in measures(KEYWORD)] == [
        ("au_fa_fr", True),
        ("auc", False),
        ("one_minus_auc", True),
        ("eer", False),
        ("frr_at_far_1pct", False),
        ("frr_at_far_01pct", False),
        ("accuracy", False),
    ]
    assert [(each.name, each.headline) for each in measures(WORDS)][:3] == [
        ("accuracy", True),
        ("macro_f1", False),
        ("frr_at_far_1pct_yes", False),
    ]
    better = {each.name for each in (*measures(KEYWORD), *measures(WORDS)) if not each.lower_is_better}
    assert better == {"auc", "accuracy", "macro_f1"}


@pytest.mark.parametrize("task", [KEYWORD, WORDS], ids=lambda task: task.kind)
@pytest.mark.parametrize("prefix", ["", "validation_"])
@pytest.mark.parametrize("end", ["", "_low", "_high"])
def test_every_column_is_found_again_without_its_task(task: Task, prefix: str, end: str) -> None:
    """Also of words that end as the ends of intervals do."""
    for measure in measures(task):
        column = f"{prefix}{measure.name}{end}"
        assert column_parts(column) == (prefix, measure.name, end)
        found = measure_named(column)
        assert found is not None
        assert (found.name, found.text, found.lower_is_better) == (
            measure.name,
            measure.text,
            measure.lower_is_better,
        )


@pytest.mark.parametrize(
    "column", ["macs", "clips", "validation_clips", "size_kb_low", "frr_at_far_pct", "train_seconds", ""]
)
def test_what_is_no_measure_is_none(column: str) -> None:
    assert measure_named(column) is None


def test_a_table_has_the_measures_of_its_columns() -> None:
    of_words = measures_in(["run_id", "accuracy", "macro_f1", "clips", "validation_accuracy", "accuracy_low"])
    assert [(each.name, each.headline) for each in of_words] == [("accuracy", True), ("macro_f1", False)]
    of_keyword = measures_in(["au_fa_fr", "accuracy", "frr_at_far_5pct", "macs"])
    assert [(each.name, each.headline) for each in of_keyword] == [
        ("au_fa_fr", True),
        ("accuracy", False),
        ("frr_at_far_5pct", False),
    ]


@pytest.mark.usefixtures("_plugins")
def test_a_measure_of_a_plugin_stands_last_where_it_applies() -> None:
    assert measure_named("validation_worst_word_low") is None
    register(Worst)
    assert measures(WORDS)[-1].name == "worst_word"
    assert "worst_word" not in [each.name for each in measures(KEYWORD)]
    found = measure_named("validation_worst_word_low")
    assert isinstance(found, Worst)
    assert measures_in(["accuracy", "worst_word"])[-1] is found
    with pytest.raises(KwsError, match=f"'worst_word' is already registered, by {__file__}"):
        register(Worst)


@pytest.mark.usefixtures("_plugins")
@pytest.mark.parametrize("name", ["accuracy", "auc", "frr_at_far_3pct", "frr_at_far_1pct_stop"])
def test_a_name_that_is_ours_is_taken(name: str) -> None:
    with pytest.raises(KwsError, match=f"a measure '{name}' is there already; choose another name"):
        register(type("Mine", (Worst,), {"name": name}))


@pytest.mark.usefixtures("_plugins")
@pytest.mark.parametrize(
    "name", ["", "a b", "Mine", "validation_mine", "mine_low", "mine_high", "1st", 3, "a\n"]
)
def test_a_name_that_no_column_can_have_is_refused(name: object) -> None:
    with pytest.raises(KwsError, match="its name is that of a column"):
        register(type("Mine", (Worst,), {"name": name}))


@pytest.mark.usefixtures("_plugins")
def test_an_unfinished_measure_is_refused() -> None:
    with pytest.raises(KwsError, match="must define value of Measure"):
        register(type("Mine", (Measure,), {"name": "mine"}))
    nothing_said = {"value": lambda self, scored: 0.5, "name": "mine"}
    with pytest.raises(KwsError, match="Mine must define text, lower_is_better of Measure"):
        register(type("Mine", (Measure,), nothing_said))
    with pytest.raises(KwsError, match="must be a class that derives from Measure"):
        register(5)  # type: ignore[type-var]


def test_values_of_words_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 300)
    values = rng.random((300, 5)) + 0.5 * np.eye(5)[labels]
    scored = Scored.of(WORDS, labels, values / values.sum(axis=1, keepdims=True), rng.integers(0, 9, 300))
    found = {each.name: each.value(scored) for each in measures(WORDS)}
    assert found["macro_f1"] == pytest.approx(f1_score(labels, values.argmax(axis=1), average="macro"))
    assert found["accuracy"] == pytest.approx((values.argmax(axis=1) == labels).mean())
