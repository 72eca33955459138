"""The interval of a share of clips that come from few speakers: misses, errors.

Pure functions, without torch; 95 % throughout. Shape letters: N clips, S speakers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtri, owens_t, stdtrit  # scipy.stats takes half a second to import

from bench.quality.metrics import Floats

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
# Clips of one speaker are taken for at least as alike as scores with this share of their variance between
# speakers make them. Few errors do not tell; of recorded keyword clips it is .3 to .6, of others .01 to .2.
LEAST_ALIKE = 0.1
# Until an end and the design effect there agree to a millionth; mostly there are two.
MOST_ROUNDS = 50


def share_interval(shares: npt.ArrayLike, speakers: npt.ArrayLike) -> Floats:
    """The interval of a mean share over clips, for new clips of new speakers.

    See ``interval_of_counts``, which has the sources.

    Args:
        shares: What is averaged, within [0, 1], of shape (..., N).
        speakers: Of the clips, of shape (N,).

    Returns:
        Lower and upper end, of shape (2, ...).

    Examples:
        >>> share_interval([0, 0, 0, 0, 0, 0], list("aabbcc")).round(3).tolist()
        [0.0, 0.48]
    """
    names, which = np.unique(np.asarray(speakers), return_inverse=True)
    belongs = np.eye(len(names))[which]
    return interval_of_counts(np.asarray(shares, np.float64) @ belongs, belongs.sum(0))


def interval_of_counts(hits: Floats, clips: Floats) -> Floats:
    """The interval of the share of clips that are hits, as wide as speakers differ.

    Clopper and Pearson's exact interval for as many clips as the clustered ones are worth (Korn and
    Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated
    from survey data", Survey Methodology 24, 1998): their count over the design effect, that is the variance
    between speakers over that of independent clips, and corrected by Student's t for how few speakers tell
    it. Unequal speakers are counted by Kish's effective number.

    Few hits, and none above all, show no such variance. So the design effect of either end is at least the
    one that it would have there, were the hits those of a normal score beyond a threshold, with
    ``LEAST_ALIKE`` of its variance between speakers.

    Args:
        hits: By speaker, need not be whole, of shape (..., S).
        clips: By speaker, of shape (S,).

    Returns:
        Lower and upper end, of shape (2, ...).
    """
    count, speakers = clips.sum(), effective_number(clips)
    mean = hits.sum(-1) / count
    worth = np.full(mean.shape, count)
    if speakers > 1:
        varied = (mean > 0) & (mean < 1)
        independent = np.where(varied, mean * (1 - mean) * count, 1.0)
        # How far each speaker's sum is from what the mean would make it.
        off = np.square(hits - mean[..., None] * clips).sum(-1)
        effect = np.maximum(off * speakers / (speakers - 1) / independent, 1e-9)
        few = (stdtrit(count - 1, 1 - TAIL) / stdtrit(speakers - 1, 1 - TAIL)) ** 2
        worth = np.where(varied, np.minimum(count / effect * few, count), worth)
    ends = []
    for upper in (False, True):
        end = mean
        for _ in range(MOST_ROUNDS):
            least, before = 1 + (count / speakers - 1) * _alike(end), end
            end = _clopper_pearson(mean, np.minimum(worth, count / least), upper=upper)
            if np.allclose(end, before, rtol=1e-6, atol=0):
                break
        ends.append(end)
    return np.stack(ends)


def effective_number(clips: Floats) -> float:
    """How many speakers of equal size unequal ones are worth, by Kish's formula; 0 without a clip."""
    return float(clips.sum() ** 2 / np.square(clips).sum()) if clips.any() else 0.0


def _alike(share: Floats) -> Floats:
    """The correlation of two clips' hits, of one speaker, where such a share of all are hits."""
    inside = np.clip(share, 1e-12, 1 - 1e-12)
    both = inside - 2 * owens_t(ndtri(inside), np.sqrt((1 - LEAST_ALIKE) / (1 + LEAST_ALIKE)))
    alike: Floats = np.maximum((both - inside**2) / (inside * (1 - inside)), 0.0)
    return alike


def _clopper_pearson(mean: Floats, count: Floats, *, upper: bool) -> Floats:
    hits, rest = mean * count, (1 - mean) * count
    if upper:
        return np.where(rest > 1e-9, betaincinv(hits + 1, np.maximum(rest, 1e-9), 1 - TAIL), 1.0)
    return np.where(hits > 1e-9, betaincinv(np.maximum(hits, 1e-9), rest + 1, TAIL), 0.0)
