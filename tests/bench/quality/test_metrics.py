import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import mannwhitneyu
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    det_curve,
    f1_score,
    roc_auc_score,
    roc_curve,
)
from sklearn.metrics import auc as area

from bench.quality.metrics import (
    accuracy,
    au_fa_fr,
    auc,
    confusion_counts,
    det,
    eer,
    frr_at_far,
    macro_f1,
    one_vs_rest,
    right,
    said,
    two_classes,
)


def samples(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.r_[1, 0, rng.integers(0, 2, 60)])
    scores = rng.random(62) * 0.7 + 0.2 * labels
    match kind:
        case "tied":
            scores = np.round(scores, 1)
        case "constant":
            scores = np.full(62, 0.5)
        case "perfect":
            scores = 0.1 + 0.8 * labels
        case "inverted":
            scores = 0.9 - 0.8 * labels
        case "rare":
            labels = np.r_[1, 1, np.zeros(60, int)]
        case "edges":
            scores = np.round(scores * 1.3).clip(0, 1)
    return labels, scores


KINDS = ["random", "tied", "constant", "perfect", "inverted", "rare", "edges"]


def by_definition(labels: np.ndarray, scores: np.ndarray) -> float:
    """au_fa_fr as it is written down: every threshold, one after the other."""
    alarms, rejects = [], []
    for threshold in [0.0, *sorted(scores.tolist()), 1.0]:
        predicted = scores >= threshold
        alarms.append(int((predicted & (labels == 0)).sum()) / len(labels))
        rejects.append(int((~predicted & (labels == 1)).sum()) / len(labels))
    area = 0.0
    for i in range(1, len(alarms)):
        area += (alarms[i - 1] - alarms[i]) * (rejects[i] + rejects[i - 1]) / 2
    return area


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_au_fa_fr_is_its_definition(kind: str, seed: int) -> None:
    labels, scores = samples(kind, seed)
    assert au_fa_fr(labels, scores) == pytest.approx(by_definition(labels, scores), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_au_fa_fr_is_the_roc_area_in_other_units(kind: str) -> None:
    labels, scores = samples(kind, 0)
    share = labels.mean()
    expected = share * (1 - share) * (1 - roc_auc_score(labels, scores))
    assert au_fa_fr(labels, scores) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_auc_is_scikit_learns(kind: str, seed: int) -> None:
    labels, scores = samples(kind, seed)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_auc_is_scipys_mann_whitney_statistic(kind: str, seed: int) -> None:
    labels, scores = samples(kind, seed)
    hits, others = scores[labels == 1], scores[labels == 0]
    statistic = mannwhitneyu(hits, others, method="asymptotic").statistic / (len(hits) * len(others))
    assert auc(labels, scores) == pytest.approx(statistic, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("seed", range(5))
def test_au_fa_fr_is_the_area_under_scikit_learns_det_curve(kind: str, seed: int) -> None:
    labels, scores = samples(kind, seed)
    alarm, miss, _ = det_curve(labels, scores)
    # scikit-learn leaves out the ends, where nothing or all is detected.
    alarm, miss = np.r_[1, alarm, 0], np.r_[0, miss, 1]
    share = labels.mean()
    expected = area(alarm * (1 - share), miss * share)
    assert au_fa_fr(labels, scores) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_accuracy_is_scikit_learns(kind: str, seed: int) -> None:
    labels, scores = samples(kind, seed)
    assert accuracy(labels, scores) == pytest.approx(accuracy_score(labels, scores >= 0.5))


@pytest.mark.parametrize("label", [0, 1])
def test_accuracy_of_one_class_is_scikit_learns(label: int) -> None:
    labels, scores = np.full(62, label), samples("random", 0)[1]
    assert accuracy(labels, scores) == pytest.approx(accuracy_score(labels, scores >= 0.5))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_eer_is_the_root_that_scipy_finds_on_scikit_learns_curve(kind: str, seed: int) -> None:
    labels, scores = samples(kind, seed)
    alarm, hit, _ = roc_curve(labels, scores, drop_intermediate=False)
    # The line x + y = 1 crosses the curve once; steps are given a slope that no share of 62 clips has.
    steps = alarm + 1e-9 * np.arange(len(alarm))
    root = brentq(lambda x: float(np.interp(x, steps, 1 - hit)) - x, 0, 1)
    assert eer(labels, scores) == pytest.approx(root, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_det_holds_scikit_learns_points(kind: str) -> None:
    labels, scores = samples(kind, 3)
    curve = det(labels, scores)
    ours = set(zip(curve.false_alarms / curve.negatives, curve.false_rejects / curve.positives, strict=True))
    theirs = {(alarm, miss) for alarm, miss, _ in zip(*det_curve(labels, scores), strict=True)}
    assert {(round(a, 9), round(m, 9)) for a, m in theirs} <= {(round(a, 9), round(m, 9)) for a, m in ours}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("far", [0.0, 0.001, 0.01, 0.1, 0.5, 1.0])
def test_frr_at_far_is_the_best_allowed_point_of_scikit_learns_curve(kind: str, far: float) -> None:
    labels, scores = samples(kind, 1)
    alarm, hit, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert frr_at_far(labels, scores, far) == pytest.approx((1 - hit[alarm <= far]).min())


def test_one_class_is_no_number_rather_than_zero() -> None:
    for labels in ([0, 0, 0], [1, 1, 1]):
        scores = [0.1, 0.5, 0.9]
        values = [
            au_fa_fr(labels, scores),
            auc(labels, scores),
            eer(labels, scores),
            frr_at_far(labels, scores, 0),
        ]
        assert all(math.isnan(value) for value in values)


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([0, 1], [0.5]), ([0, 2], [0.5, 0.5]), ([0, 1], [0.5, float("nan")]), ([[0, 1]], [[0.1, 0.2]])],
)
def test_nonsense_is_refused(labels: list[int], scores: list[float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        au_fa_fr(labels, scores)


def test_no_clips_have_no_quality() -> None:
    assert math.isnan(accuracy([], []))
    assert math.isnan(auc([], []))


def of_classes(classes: int, seed: int, clips: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities (N, K), of which the right one is often the highest."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, clips)
    values = rng.random((clips, classes)) + 0.8 * np.eye(classes)[labels]
    return labels, values / values.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 5, 35])
@pytest.mark.parametrize("clips", [3, 200])
@pytest.mark.parametrize("seed", range(3))
def test_figures_of_several_classes_are_scikit_learns(classes: int, clips: int, seed: int) -> None:
    """Also where some classes have no clip, or are never said."""
    labels, values = of_classes(classes, seed, clips)
    taken = values.argmax(axis=1)
    assert accuracy(labels, values) == pytest.approx(accuracy_score(labels, taken))
    counts = confusion_counts(labels, said(values), classes)
    assert (counts == confusion_matrix(labels, taken, labels=range(classes))).all()
    assert macro_f1(counts) == pytest.approx(f1_score(labels, taken, average="macro", zero_division=0))


def test_macro_f1_of_several_tables_at_once_is_that_of_each() -> None:
    tables = np.random.default_rng(0).integers(0, 9, (4, 3, 3))
    assert macro_f1(tables) == pytest.approx([float(macro_f1(each)) for each in tables])
    assert math.isnan(macro_f1(np.zeros((3, 3))))


def test_one_class_against_the_rest_is_a_keyword() -> None:
    labels, values = of_classes(5, 0)
    found = one_vs_rest(labels, values, 3)
    assert auc(*found) == pytest.approx(roc_auc_score(labels == 3, values[:, 3]))


def test_a_keyword_is_said_from_one_half_on_and_one_of_several_where_it_is_highest() -> None:
    assert right([1, 0], [0.5, 0.5]).tolist() == [True, False]
    assert right([1, 2], [[0.3, 0.4, 0.3], [0.5, 0.2, 0.3]]).tolist() == [True, False]
    assert two_classes([0.25]).tolist() == [[0.75, 0.25]]
