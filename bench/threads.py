"""How many threads torch may use for one operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Sums over threads round in another order, and differences of one rounding grow with every epoch. So every
# training has one thread, whatever the machine and ``--jobs``; two at once use two cores better than one
# training does, and several on more threads than cores slow each other seventyfold (docs/architecture.md).
TRAINING_THREADS = 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """That many threads for each operation inside, as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
