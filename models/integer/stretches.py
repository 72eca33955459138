"""A GRU layer over many frames: stretches of them side by side, each from a state that is first guessed."""

from __future__ import annotations

import numpy as np

from models.integer.fixed_point import Int
from models.integer.model import IntegerModel
from models.integer.ops import Gru
from models.integer.run import recur

# Frames of a stretch at least: in fewer a trained layer has hardly forgotten where it started.
LEAST_FRAMES = 64
MOST_STRETCHES = 64
# Where the guesses do not hold by then, the layer hardly forgets: the rest goes one after the other.
ROUNDS = 6


def recur_at_once(op: Gru, model: IntegerModel, at: int, x: Int, hidden: Int) -> tuple[Int, Int]:
    """The same as ``recur``, bit for bit, and sooner where there are many frames.

    A layer forgets its state: from two different ones it soon comes to the same numbers. So each stretch
    starts from zeros, then from what the one before it came to, until all do start from that.

    Args:
        op: The layer.
        model: Whose.
        at: Its place in the program.
        x: Frames (B, in, T').
        hidden: The state (B, H) before them.

    Returns:
        Outputs (B, H, T') and the state behind them.
    """
    count = min(x.shape[-1] // LEAST_FRAMES, MOST_STRETCHES)
    if count < 2:
        return recur(op, model, at, x, hidden)
    batch, length = len(x), x.shape[-1] // count
    parts = x[..., : count * length].reshape(batch, -1, count, length).transpose(2, 0, 1, 3)
    starts, ends = (np.zeros((count, batch, op.hidden), np.int64) for _ in range(2))
    outputs = np.zeros((count, batch, op.hidden, length), np.int64)
    starts[0] = hidden
    stale, rounds = np.ones(count, bool), 0
    while stale.any():
        # All that are not known yet, or the first of them alone: what it says is final.
        now = np.flatnonzero(stale)[: None if rounds < ROUNDS else 1]
        flat = parts[now].reshape(-1, *parts.shape[2:]), starts[now].reshape(-1, op.hidden)
        made, last = recur(op, model, at, *flat)
        outputs[now], ends[now] = made.reshape(-1, *outputs.shape[1:]), last.reshape(-1, *ends.shape[1:])
        stale[now] = False
        stale[1:] |= (starts[1:] != ends[:-1]).any((1, 2))
        starts[1:] = ends[:-1]
        rounds += 1
    whole = outputs.transpose(1, 2, 0, 3).reshape(batch, op.hidden, -1)
    if x.shape[-1] == count * length:
        return whole, ends[-1]
    rest, last = recur(op, model, at, x[..., count * length :], ends[-1])
    return np.concatenate([whole, rest], -1), last
