"""A run opened from Python against what the command line says of it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from click.testing import CliRunner

import bench
from bench.cli import main
from bench.data.corpora import open_corpus
from bench.results.runs import RunFolder
from bench.stream.joined import joined_stream, render
from models.integer import file as kws_file
from models.integer.kws import KWS_FILE

RECIPE = {"epochs": 1, "versions": 1}


@pytest.fixture(scope="module")
def integers(tmp_path_factory: pytest.TempPathFactory, tone_folder: Path) -> Path:
    """A run that ends in integers."""
    out = tmp_path_factory.mktemp("integers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KWS_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        rows = bench.run("sq+kd:hidden=8", keyword="start", data=tone_folder, out=out, **RECIPE)
    return out / "runs" / str(rows["run_id"].iloc[-1])


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.mark.parametrize("run", ["words_run", "integers"], indirect=True)
def test_clips_score_as_in_the_run(run: Path, tone_folder: Path) -> None:
    """Test clips, from their files and from their samples, in the order of the corpus."""
    spotter = bench.load(run)
    corpus = open_corpus(str(tone_folder), spotter.task)
    rows = corpus.indices("test")
    rows = rows[corpus.labels(spotter.task)[rows] >= 0]
    kept = np.load(run / "scores.npz")["test"]
    files = [tone_folder / source for source in corpus.clips["source"].iloc[rows]]
    table = spotter.score(files)
    assert list(table.columns) == list(spotter.task.classes)
    assert list(table.index) == [str(file) for file in files]
    np.testing.assert_allclose(table, kept, atol=1e-5)
    waves = corpus.waveforms[rows]
    np.testing.assert_array_equal(spotter.score(waves), table)
    np.testing.assert_array_equal(spotter.score(waves[0] / np.float32(32768)), table.iloc[:1])
    np.testing.assert_array_equal(spotter.score(str(files[0])), table.iloc[:1])


@pytest.mark.parametrize("run", ["words_run", "integers"], indirect=True)
def test_a_stream_finds_what_bench_stream_prints(run: Path, tone_folder: Path, tmp_path: Path) -> None:
    spotter = bench.load(run)
    corpus = open_corpus(str(tone_folder), spotter.task)
    wave = np.concatenate(list(render(joined_stream(corpus, spotter.task, "test"), corpus)))
    sf.write(tmp_path / "talk.wav", wave, 16_000)
    threshold = (
        0.6 if run.name.startswith("base") else float(spotter.score(corpus.waveforms).iloc[:, 1].median())
    )
    found = list(spotter.stream(tmp_path / "talk.wav", threshold=threshold))
    arguments = ["stream", str(run), str(tmp_path / "talk.wav"), "--threshold", repr(threshold)]
    printed = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path)]).output
    lines = re.findall(r"^ *([\d.]+) s  ([\d.]+)(?:  (\w+))?$", printed, re.M)
    assert len(lines) == len(found) > 0
    for (time_s, probability, word), one in zip(lines, found, strict=True):
        assert (f"{one.time_s:.2f}", f"{one.probability:.4f}") == (time_s, probability)
        assert one.word == (word or "start")
    blocks = (wave[start : start + 777] for start in range(0, len(wave), 777))
    again = list(spotter.stream(blocks, threshold=threshold))
    assert [one[:2] for one in again] == [one[:2] for one in found]
    # How blocks are cut changes the order in which features are added up.
    assert [one.probability for one in again] == pytest.approx([one.probability for one in found], abs=1e-5)


def test_detections_come_before_the_audio_ends(words_run: Path) -> None:
    rng = np.random.default_rng(0)
    given = []

    def blocks() -> object:
        for number in range(50):
            given.append(number)
            yield rng.normal(0, 1000, 1600).astype(np.int16)

    first = next(bench.load(words_run).stream(blocks(), threshold=1e-6))
    assert first.time_s >= 1.0
    assert len(given) < 20


def test_what_is_exported_is_what_the_command_writes(integers: Path, tmp_path: Path) -> None:
    for form in ("kws", "c"):
        written = bench.load(integers).export(form, tmp_path / form)
        assert (
            CliRunner()
            .invoke(main, ["export", str(integers), "--format", form, "--out", str(tmp_path / f"{form}2")])
            .exit_code
            == 0
        )
        assert written
        for path in written:
            assert (
                path.read_bytes() == (tmp_path / f"{form}2" / path.relative_to(tmp_path / form)).read_bytes()
            )
    with pytest.raises(bench.KwsError, match="no such format"):
        bench.load(integers).export("exe")


def test_a_file_of_integers_needs_no_run(integers: Path, tmp_path: Path) -> None:
    alone = shutil.copy(integers / KWS_FILE, tmp_path / "model.kws")
    spotter, of_run = bench.load(alone), bench.load(integers)
    assert spotter.task == of_run.task == RunFolder(integers).task()
    assert not spotter.row
    clip = np.random.default_rng(0).normal(0, 1000, 16_000).astype(np.int16)
    np.testing.assert_array_equal(spotter.score(clip), of_run.score(clip))
    (written,) = spotter.export("kws", tmp_path / "again")
    assert written.read_bytes() == kws_file.to_bytes(kws_file.load(Path(alone)))


def test_the_row_is_that_of_the_run(words_run: Path) -> None:
    row = json.loads((words_run / "row.json").read_text())
    assert bench.load(words_run / "config.json").row["accuracy"] == row["accuracy"]


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(100, np.int16),
        np.zeros((2, 3, 16_000), np.int16),
        np.zeros(16_000),
        np.zeros(16_000, np.int32),
    ],
)
def test_samples_of_another_kind_are_refused(words_run: Path, samples: np.ndarray) -> None:
    with pytest.raises(bench.KwsError, match=r"give int16 or float32 of \(B, 16000\)"):
        bench.load(words_run).score(samples)


def test_what_is_no_audio_is_refused(words_run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no audio")
    spotter = bench.load(words_run)
    for refused in (
        lambda: spotter.score(tmp_path / "a.wav"),
        lambda: list(spotter.stream(tmp_path / "a.wav")),
    ):
        with pytest.raises(bench.KwsError, match=r"a\.wav"):
            refused()
