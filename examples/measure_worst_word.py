"""A measure, worst_word, and its interval in rows: bench run --plugin examples/measure_worst_word.py."""

import numpy as np

from bench.quality.measures import Measure, Scored, register


@register
class WorstWord(Measure):
    """The largest share of the clips of any word to find that are taken for something else."""

    name = "worst_word"
    text = "misses of the worst word"
    lower_is_better = True
    headline = True

    def value(self, scored: Scored) -> float:
        """See the base class."""
        wrong = scored.probabilities.argmax(axis=1) != scored.labels
        shares = [wrong[scored.labels == number].mean() for number in scored.task.to_find]
        return float(np.max(shares))
