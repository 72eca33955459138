"""What the default recipe's choices cost in quality: each is changed alone, over several keywords.

Each alternative trains the base and the AD+KD student like ``bench run``; what is trained already is found.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.config import Recipe, RunConfig
from bench.running.pipeline import run_chain
from benchmarks.epochs import BASE, STUDENT
from benchmarks.rows import Row, mean_difference
from benchmarks.setting import Setting
from models.task import KeywordTask

DEFAULT = Recipe()
ALTERNATIVES = {
    "1 version of each clip in the bank": replace(DEFAULT, versions=1),
    "16 versions": replace(DEFAULT, versions=16),
    "augmentation in every step, teacher too": replace(DEFAULT, versions=0),
    "teacher in every step, under the student's masks": replace(DEFAULT, teacher_ahead=False),
    "batches of 512, learning rate 0.0042": replace(DEFAULT, batch_size=512, learning_rate=4.2e-3),
}


def measure_choices(setting: Setting, keywords: tuple[str, ...], epochs: int, state: Path) -> list[Row]:
    """1 - AUC on test under each alternative, held against the default keyword by keyword."""
    default = [_trained(setting, keyword, DEFAULT, epochs, state) for keyword in keywords]
    rows = []
    for what, recipe in ALTERNATIVES.items():
        other = [_trained(setting, keyword, recipe, epochs, state) for keyword in keywords]
        for model in (BASE, STUDENT):
            theirs, ours = ([each[model] for each in side] for side in (other, default))
            note = mean_difference("default - alternative", ours, theirs)
            name = f"{model}: 1 - AUC on test, plain column: {what}"
            rows.append(Row(name, ours, theirs, note=note, compare=False))
    return rows


def _trained(setting: Setting, keyword: str, recipe: Recipe, epochs: int, state: Path) -> dict[str, float]:
    """1 - AUC on test by label."""
    config = RunConfig(
        "ad+kd", data=str(setting.folder), task=KeywordTask(keyword), recipe=recipe, epochs=epochs
    )
    return {record.label: record["one_minus_auc"] for record in run_chain(config, state / "choices")}
