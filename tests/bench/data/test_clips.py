from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from click.testing import CliRunner

from bench.cli import main
from bench.config import Recipe, RunConfig
from bench.data.clips import Data
from bench.data.corpora import open_corpus
from bench.results.records import load_record
from bench.running.pipeline import run_chain
from models.front_end import FrontEnd
from models.task import KeywordTask, WordsTask

RECIPE = Recipe(versions=1, batch_size=64)
WORDS = WordsTask(("start", "left", "right"), with_unknown=True)
FINE = KeywordTask("start", front_end=FrontEnd(mels=20, hop_ms=20.0, window_ms=32.0))


def test_clips_that_a_task_has_no_use_for_are_in_no_split(tone_folder: Path) -> None:
    config = RunConfig("", data=str(tone_folder), task=WordsTask(("start", "left")), recipe=RECIPE)
    clips = Data(open_corpus(config.data, config.task, progress=False), config).clips
    words = open_corpus(config.data, None, progress=False).clips["word"].to_numpy()
    for rows in (clips.train, clips.validation, clips.test):
        assert set(words[rows]) == {"start", "left"}
        assert set(clips.labels[rows]) == {0, 1}


def test_features_of_two_front_ends_never_meet(tone_folder: Path) -> None:
    shapes = []
    for task in (KeywordTask("start"), FINE, KeywordTask("start")):
        config = RunConfig("", data=str(tone_folder), task=task, recipe=RECIPE)
        clips = Data(open_corpus(config.data, task, progress=False), config).clips
        shapes.append((tuple(clips.features.clean.shape[1:]), tuple(clips.features.bank.shape[2:])))
    assert shapes == [((40, 101),) * 2, ((20, 51),) * 2, ((40, 101),) * 2]


@pytest.mark.slow
@pytest.mark.parametrize("task", [WORDS, FINE], ids=["words", "front end"])
def test_a_chain_to_integers_does_any_task(
    task: KeywordTask | WordsTask, tone_folder: Path, tmp_path: Path
) -> None:
    """Trained, quantized, exported; what a command does not know yet it says in one line."""
    config = RunConfig("qat+kd", data=str(tone_folder), task=task, recipe=RECIPE, epochs=1)
    rows = run_chain(config, tmp_path)
    assert [row.status for row in rows] == ["ok"] * 3
    run = tmp_path / "runs" / rows[-1].run_id
    table = pd.read_csv(tmp_path / "results.csv")
    assert ("au_fa_fr" in table) == isinstance(task, KeywordTask)
    assert ("macro_f1" in table) == isinstance(task, WordsTask)
    assert table["accuracy_low"].notna().all()
    kept_row = load_record(run)
    assert kept_row is not None
    assert repr(kept_row.columns()) == repr(rows[-1].columns())
    kept = np.load(run / "scores.npz")
    assert kept["test"].shape[1] == len(task.classes)
    sf.write(tmp_path / "talk.wav", np.zeros(16_000, np.float32), 16_000)
    for form in ("kws", "c", "onnx"):
        done = CliRunner().invoke(main, ["export", str(run), "--format", form], catch_exceptions=False)
        assert done.exit_code == 0
    for command in (
        ["stream", str(run), str(tmp_path / "talk.wav")],
        ["stream", str(run), "test"],
        ["operate", str(run), "--joinings", "1"],
    ):
        done = CliRunner().invoke(main, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
