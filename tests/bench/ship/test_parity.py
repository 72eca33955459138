"""The parity table: made here, of all runtimes that this machine has, and held to its limits."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from bench.config import Recipe, RunConfig
from bench.corpora.base import CLIP_SAMPLES
from bench.features import log_mel
from bench.pipeline import run_chain
from bench.ship.parity import INTEGER, Parity, parity, write_parity
from models.integer import IntegerModel
from models.integer import file as kws_file

PAGE = Path(__file__).parents[3] / "docs" / "parity.md"
RUNTIMES = [
    ("torch, float", "stream"),
    ("ONNX Runtime, float", "clip"),
    ("ONNX Runtime, float", "stream"),
    ("ONNX Runtime, integer weights", "clip"),
    ("ONNX Runtime, integer weights", "stream"),
    ("integer model, NumPy", "clip"),
    ("integer model, NumPy", "stream"),
    ("C on this machine", "clip"),
    ("C on this machine", "stream"),
    ("C on a cortex-m4", "clip"),
    ("C on a cortex-m4", "stream"),
]


# A keyword and what is not one: enough to learn from in seconds.
WORDS = ("start", "left", "right", "stop")


def trained(data: Path, out: Path, epochs: int) -> IntegerModel:
    """A small student of a folder's words, as it ships."""
    recipe = Recipe(versions=2, batch_size=64)
    config = RunConfig(chain="sq+ad+kd", data=str(data), keyword="start", recipe=recipe, epochs=epochs)
    run_chain(config, out)
    (artifact,) = out.glob("runs/sq*/*.kws")
    return kws_file.load(artifact)


def wave_features(paths: list[Path]) -> np.ndarray:
    """Log-mel (N, M, T) of the first second of each file."""
    waves = [sf.read(path, dtype="float32")[0][:CLIP_SAMPLES] for path in paths]
    padded = np.stack([np.pad(wave, (0, CLIP_SAMPLES - len(wave))) for wave in waves])
    return log_mel(torch.from_numpy(padded)).numpy()


def some_words(corpus: Path, folder: Path) -> Path:
    """A few words of the recordings, with the lists that go with them."""
    folder.mkdir()
    for word in WORDS:
        (folder / word).symlink_to(corpus / word)
    for name in ("validation_list.txt", "testing_list.txt"):
        lines = (corpus / name).read_text().splitlines()
        (folder / name).write_text("\n".join(line for line in lines if line.split("/")[0] in WORDS))
    return folder


@pytest.mark.slow
def test_every_runtime_computes_its_reference_on_tones(tone_folder: Path, tmp_path: Path) -> None:
    model = trained(tone_folder, tmp_path / "out", epochs=4)
    check(parity(model, wave_features(sorted(tone_folder.glob("st*/*.wav"))[::4]), tmp_path))


@pytest.mark.slow
def test_every_runtime_computes_its_reference_on_recordings(arabic: Path, tmp_path: Path) -> None:
    folder = some_words(arabic, tmp_path / "words")
    model = trained(folder, tmp_path / "out", epochs=20)
    heard = (folder / "validation_list.txt").read_text().split()
    features = wave_features([folder / name for name in heard[::2]])
    rows = parity(model, features, tmp_path)
    check(rows)
    if os.environ.get("KWS_BENCH_WRITE_PARITY"):
        missing = [row.reason for row in rows if row.reason]
        assert not missing, f"the page is of all runtimes: {missing[0]}"
        logits = model.clip(features)[0] / 2**16
        about = (
            "A student of 2,445 parameters in int8 (`sq+ad+kd` on four words of the Arabic Speech\n"
            f"Commands), on clips of validation; logits between {logits.min():.1f} and {logits.max():.1f}."
        )
        write_parity(PAGE, rows, about)


def check(rows: list[Parity]) -> None:
    assert [(row.runtime, row.form) for row in rows] == RUNTIMES
    # A machine without compilers or the extras still tests the rest.
    assert all(row.holds for row in rows), [row for row in rows if not row.holds]
    measured = {row.runtime for row in rows if not row.reason}
    assert INTEGER in measured
    assert all(row.clips >= 2 for row in rows if not row.reason)


def test_the_page_names_every_runtime() -> None:
    lines = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert [(cells[0][2:], cells[1]) for cells in lines[1:]] == RUNTIMES


def test_a_difference_beyond_its_limit_does_not_hold(tmp_path: Path) -> None:
    wrong = Parity("C", "clip", INTEGER, 3, difference=2.0**-16, rms=2.0**-18, limit=0.0)
    assert not wrong.holds
    assert Parity("C", "clip", INTEGER, 0, reason="no C compiler").holds
    write_parity(tmp_path / "p.md", [wrong], "Any.")
    assert (
        "| C | clip | integer model, NumPy | 3 | 1.5e-05 | 3.8e-06 | 0 |" in (tmp_path / "p.md").read_text()
    )
