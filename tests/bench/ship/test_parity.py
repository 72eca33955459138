"""The parity table: made here, of all runtimes that this machine has, and held to its limits."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from bench.config import Recipe, RunConfig
from bench.data.features import log_mel
from bench.running.pipeline import run_chain
from bench.ship.parity import INTEGER, Parity, parity, write_parity
from models import registry
from models.errors import KwsError
from models.front_end import SAMPLE_RATE_HZ
from models.integer import file
from models.integer.model import IntegerModel
from models.integer.run import clip
from models.task import KeywordTask
from tests.programs import ATTENTION, PROGRAMS, filled

# Those of the package; other tests register more.
FAMILIES = [
    name for name in registry.names() if type(registry.family(name).default).__module__.startswith("models.")
]
PAGE = Path(__file__).parents[3] / "docs" / "parity.md"
RUNTIMES = [
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


def trained(data: Path, out: Path, epochs: int, model: str = "crnn") -> IntegerModel:
    """A small student of a folder's words, or a family's base, as it ships."""
    recipe, chain = Recipe(versions=2, batch_size=64), "sq+ad+kd" if model == "crnn" else "sq"
    config = RunConfig(
        chain=chain, model=model, data=str(data), task=KeywordTask("start"), recipe=recipe, epochs=epochs
    )
    run_chain(config, out)
    (artifact,) = out.glob("runs/sq*/*.kws")
    return file.load(artifact)


def wave_features(paths: list[Path]) -> np.ndarray:
    """Log-mel (N, M, T) of the first second of each file."""
    waves = [sf.read(path, dtype="float32")[0][:SAMPLE_RATE_HZ] for path in paths]
    padded = np.stack([np.pad(wave, (0, SAMPLE_RATE_HZ - len(wave))) for wave in waves])
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
    """Where there are no recordings; tests/test_every_family.py has the other families."""
    small = trained(tone_folder, tmp_path / "out", epochs=2)
    check(parity({"crnn": small}, wave_features(sorted(tone_folder.glob("st*/*.wav"))[::8]), tmp_path))


@pytest.mark.slow
def test_every_runtime_computes_its_reference_on_recordings(arabic: Path, tmp_path: Path) -> None:
    folder = some_words(arabic, tmp_path / "words")
    models = {
        name: trained(folder, tmp_path / name, epochs=20 if name == "crnn" else 4, model=name)
        for name in FAMILIES
    }
    heard = (folder / "validation_list.txt").read_text().split()
    rows = parity(models, wave_features([folder / name for name in heard[::4]]), tmp_path)
    check(rows)
    if os.environ.get("KWS_BENCH_WRITE_PARITY"):
        missing = [row.reason for row in rows if row.reason]
        assert not missing, f"the page is of all runtimes: {missing[0]}"
        about = (
            "All families in int8 on four words of the Arabic Speech Commands: `crnn` is a student of 2,445\n"
            "parameters (`sq+ad+kd`), the others are bases (`sq`). Clips are of validation."
        )
        write_parity(PAGE, rows, about)


@pytest.mark.slow
def test_every_runtime_computes_every_operation(tmp_path: Path) -> None:
    """Random weights whose logits are large: their rounding is left out, all else has the same limits."""
    log_mel = np.random.default_rng(0).normal(-6, 4, (2, 40, 101)).astype(np.float32)
    models = {name: filled(program, activations=16) for name, program in PROGRAMS.items()}
    rows = parity(models, log_mel, tmp_path)
    assert list(dict.fromkeys(row.model for row in rows)) == list(models)
    check([row for row in rows if row.runtime != INTEGER], rounding=False)


def check(rows: list[Parity], rounding: bool = True) -> None:
    wanted = [pair for pair in RUNTIMES if rounding or pair[0] != INTEGER]
    for model in {row.model for row in rows}:
        assert [(row.runtime, row.form) for row in rows if row.model == model] == wanted
    # A machine without compilers or the extras still tests the rest.
    assert all(row.holds for row in rows), [row for row in rows if not row.holds]
    measured = {row.runtime for row in rows if not row.reason}
    assert measured
    assert all(row.clips >= 2 for row in rows if not row.reason)


def test_the_page_names_every_family_and_runtime() -> None:
    lines = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    found = [(cells[0][2:], cells[1], cells[2]) for cells in lines[1:]]
    assert found == [(name, *pair) for name in FAMILIES for pair in RUNTIMES]


def test_a_difference_is_that_of_the_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime whose second clip is wrong by 3, and that has no stream, in a table of two models."""
    log_mel = np.random.default_rng(0).normal(-6, 4, (3, 40, 60)).astype(np.float32)
    model = filled(ATTENTION)

    def wrong(model: IntegerModel, log_mel: np.ndarray, folder: Path, form: str) -> np.ndarray:
        if form == "stream":
            raise KwsError("no stream")
        logits: np.ndarray = clip(model, log_mel)[0] / 2**16
        return logits + np.array([[0, 0], [0, 3]])

    monkeypatch.setattr("bench.ship.parity._mcu", wrong)
    rows = parity({"one": model, "two": model}, log_mel, tmp_path)
    assert [row.model for row in rows] == ["one"] * len(RUNTIMES) + ["two"] * len(RUNTIMES)
    found, none = [row for row in rows if row.runtime == "C on a cortex-m4"][:2]
    assert (found.form, found.clips, found.difference, found.holds) == ("clip", 2, 3.0, False)
    assert found.rms == pytest.approx((9 / 4) ** 0.5)
    assert (none.form, none.clips, none.reason, none.holds) == ("stream", 0, "no stream", True)


def test_a_difference_beyond_its_limit_does_not_hold(tmp_path: Path) -> None:
    wrong = Parity("crnn", "C", "clip", INTEGER, 3, difference=2.0**-16, rms=2.0**-18, limit=0.0)
    assert not wrong.holds
    assert Parity("crnn", "C", "clip", INTEGER, 0, reason="no C compiler").holds
    write_parity(tmp_path / "p.md", [wrong], "Any.")
    assert (
        "| crnn | C | clip | integer model, NumPy | 3 | 1.5e-05 | 3.8e-06 | 0 |"
        in (tmp_path / "p.md").read_text()
    )
