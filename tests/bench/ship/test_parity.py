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
from bench.ship import kws_file
from bench.ship.parity import INTEGER, Parity, parity, write_parity
from models.integer import IntegerModel

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


@pytest.fixture(scope="module")
def trained(tone_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> IntegerModel:
    """A student of tones, as it ships."""
    out = tmp_path_factory.mktemp("parity")
    recipe = Recipe(versions=1, batch_size=32)
    run_chain(
        RunConfig(chain="sq+ad+kd", data=str(tone_folder), keyword="start", recipe=recipe, epochs=8), out
    )
    (artifact,) = out.glob("runs/sq*/*.kws")
    return kws_file.load(artifact)


def wave_features(paths: list[Path]) -> np.ndarray:
    """Log-mel (N, M, T) of the first second of each file."""
    waves = [sf.read(path, dtype="float32")[0][:CLIP_SAMPLES] for path in paths]
    padded = np.stack([np.pad(wave, (0, CLIP_SAMPLES - len(wave))) for wave in waves])
    return log_mel(torch.from_numpy(padded)).numpy()


@pytest.mark.slow
def test_every_runtime_computes_its_reference_on_tones(
    trained: IntegerModel, tone_folder: Path, tmp_path: Path
) -> None:
    check(parity(trained, wave_features(sorted(tone_folder.glob("st*/*.wav"))[::4]), tmp_path))


@pytest.mark.slow
def test_every_runtime_computes_its_reference_on_recordings(
    trained: IntegerModel, arabic: Path, tmp_path: Path
) -> None:
    rows = parity(trained, wave_features(sorted(arabic.glob("*/*.flac"))[::150]), tmp_path)
    check(rows)
    if os.environ.get("KWS_BENCH_WRITE_PARITY"):
        features = wave_features(sorted(arabic.glob("*/*.flac"))[::150])
        logits = trained.clip(features)[0] / 2**16
        about = (
            "A student (2,445 parameters, int8) trained on tones, on clips of the Arabic Speech Commands.\n"
            f"Its logits lie between {logits.min():.1f} and {logits.max():.1f}."
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
    wrong = Parity("C", "clip", INTEGER, 3, difference=2.0**-16, limit=0.0)
    assert not wrong.holds
    assert Parity("C", "clip", INTEGER, 0, reason="no C compiler").holds
    write_parity(tmp_path / "p.md", [wrong], "Any.")
    assert "| C | clip | integer model, NumPy | 3 | 1.5e-05 | 0 |" in (tmp_path / "p.md").read_text()
