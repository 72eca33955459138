import math

import numpy as np
import pytest
from sklearn.metrics import det_curve, roc_auc_score, roc_curve

from bench.metrics import accuracy, au_fa_fr, auc, det, eer, frr_at_far, quality


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
        case "edges":
            scores = np.round(scores * 1.3).clip(0, 1)
    return labels, scores


KINDS = ["random", "tied", "constant", "perfect", "edges"]


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


@pytest.mark.parametrize("kind", ["random", "tied", "constant", "perfect"])
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
def test_det_holds_scikit_learns_points(kind: str) -> None:
    labels, scores = samples(kind, 3)
    curve = det(labels, scores)
    ours = set(zip(curve.false_alarms / curve.negatives, curve.false_rejects / curve.positives, strict=True))
    theirs = {(alarm, miss) for alarm, miss, _ in zip(*det_curve(labels, scores), strict=True)}
    assert {(round(a, 9), round(m, 9)) for a, m in theirs} <= {(round(a, 9), round(m, 9)) for a, m in ours}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_eer_is_where_the_roc_meets_the_diagonal(kind: str, seed: int) -> None:
    labels, scores = samples(kind, seed)
    alarm, hit, _ = roc_curve(labels, scores, drop_intermediate=False)
    # The miss rate as a piecewise linear function along the curve, evaluated very finely.
    path = np.linspace(0, len(alarm) - 1, 2_000_001)
    alarms, misses = (np.interp(path, np.arange(len(alarm)), values) for values in (alarm, 1 - hit))
    nearest = np.argmin(abs(alarms - misses))
    assert eer(labels, scores) == pytest.approx((alarms[nearest] + misses[nearest]) / 2, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("far", [0.0, 0.01, 0.1, 0.5])
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


def test_quality_gathers_all() -> None:
    labels, scores = samples("random", 2)
    found = quality(labels, scores)
    assert found.clips == 62
    assert found.keyword_clips == labels.sum()
    assert found.auc + found.one_minus_auc == 1
    assert found.accuracy == accuracy(labels, scores) == ((scores >= 0.5) == labels).mean()
