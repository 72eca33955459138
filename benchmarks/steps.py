"""The training step without data work, the machine's own rate, and the metric."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.config import Recipe
from bench.cost import count_macs
from bench.quality.metrics import au_fa_fr
from bench.training.state import Training
from benchmarks.plain import SEED, au_fa_fr_by_sweep, base_model, student_model
from benchmarks.rows import Row
from benchmarks.setting import Setting
from benchmarks.turns import Laps, Turns, alternate
from compressors.base import TrainStep
from compressors.chain import Chain, parse
from models.base import USUAL, KwsModel, ModelOutput
from models.registry import family

MATRIX_MULTIPLY = "matrix multiply"
CHAINS = {"base": "", "AD+KD student": "ad+kd"}


def measure_step(setting: Setting) -> list[Row]:
    """Clips per second of an eager step, and the share of the machine's matrix-multiply rate in it."""
    size = setting.size
    laps = alternate({"ours": partial(eager_steps, setting)})["ours"]
    gflops = [2 * size.matrix**3 / seconds / 1e9 for seconds in laps.seconds[MATRIX_MULTIPLY]]
    what = f"matrix multiply of {size.matrix} x {size.matrix} float32, GFLOP/s"
    rows = [Row(what, gflops, more_is_better=True, note="torch.mm")]
    for name in CHAINS:
        for batch in size.batches:
            rows += _step_rows(name, batch, laps, statistics.median(gflops))
    return rows


def _step_rows(name: str, batch: int, laps: Laps, gflops: float) -> list[Row]:
    key = f"{name} {batch}"
    clips = laps.notes[f"{key} clips"]
    rates = [clips / seconds for seconds in laps.seconds[key]]
    # A multiply-accumulate is two operations; backward costs twice what forward does.
    work = 3 * 2 * laps.notes[f"{name} macs"]
    share = statistics.median(rates) * work / 1e9 / gflops
    note = f"{share:.0%} of the matrix-multiply rate (3 x forward MACs x 2 operations)"
    rate = Row(f"training step of the {name}, batch {batch}, clips/s", rates, more_is_better=True, note=note)
    return [rate]


def eager_steps(setting: Setting, turns: Turns) -> None:
    """Rounds over the matrix multiply and every model and batch size, on random features."""
    torch.manual_seed(SEED)
    size = setting.size
    square = torch.randn(size.matrix, size.matrix)
    steps = {}
    for name, text in CHAINS.items():
        model = base_model() if not text else student_model()
        turns.note(f"{name} macs", float(count_macs(model, USUAL.frames)))
        for batch in size.batches:
            count = max(2, size.step_clips // batch)
            turns.note(f"{name} {batch} clips", float(count * batch))
            steps[f"{name} {batch}"] = partial(train_steps, model, text, batch, count)
    for step in steps.values():
        step()
    torch.mm(square, square)
    for _ in range(size.rounds):
        turns.wait()
        torch.mm(square, square)
        turns.lap(MATRIX_MULTIPLY)
        for key, step in steps.items():
            turns.wait()
            step()
            turns.lap(key)


def train_steps(model: KwsModel, text: str, batch: int, count: int) -> None:
    """Some steps of the default recipe on the same features; a teacher's outputs are given."""
    recipe, chain = Recipe(batch_size=batch), parse(text, family("crnn").default)
    # No such file: it starts anew, with the recipe's optimizer.
    optimizer = Training.start(model, recipe, Path("no checkpoint")).optimizer
    features, labels = torch.randn(batch, USUAL.front_end.mels, USUAL.frames), torch.randint(2, (batch,))
    with torch.no_grad():
        taught = ModelOutput(*(torch.randn_like(part) for part in model(features) if part is not None))
    model.train()
    for _ in range(count):
        loss = step_loss(model, chain, taught, features, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        loss.item()


def step_loss(model: KwsModel, chain: Chain, taught: ModelOutput, features: Tensor, labels: Tensor) -> Tensor:
    """The task's loss and the chain's own terms."""
    output = model(features)
    loss = (1 - chain.task_share()) * functional.cross_entropy(output.logits, labels)
    for term in chain.loss_terms(TrainStep(model, output, taught, labels)).values():
        loss = loss + term
    return loss


def measure_metrics(setting: Setting) -> list[Row]:
    """The quality measure, by sorting and by its definition."""
    size = setting.size
    laps = alternate({"plain": partial(plain_metric, setting), "ours": partial(our_metric, setting)})
    plain, ours = (laps[name].seconds for name in ("plain", "ours"))
    note = "plain: every threshold against every clip; it grows with the square"
    return [
        Row(f"au_fa_fr of {size.scores:,} scores, s", ours["long"]),
        Row(f"au_fa_fr of {size.sweep_scores:,} scores, s", ours["short"], plain["short"], note=note),
    ]


def plain_metric(setting: Setting, turns: Turns) -> None:
    """Every threshold against every clip."""
    labels, scores = random_scores(setting.size.sweep_scores)
    turns.wait()
    for _ in range(setting.size.rounds):
        au_fa_fr_by_sweep(labels, scores)
        turns.lap("short")


def our_metric(setting: Setting, turns: Turns) -> None:
    """The toolkit's, at both lengths."""
    short, long = random_scores(setting.size.sweep_scores), random_scores(setting.size.scores)
    turns.wait()
    for _ in range(setting.size.rounds):
        au_fa_fr(*short)
        turns.lap("short")
        au_fa_fr(*long)
        turns.lap("long")


def random_scores(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, one in thirty the keyword, and probabilities that tell them apart somewhat."""
    rng = np.random.default_rng(SEED)
    labels = (rng.random(count) < 1 / 30).astype(np.int64)
    return labels, 1 / (1 + np.exp(-rng.normal(4.0 * labels - 2.0)))
