"""``bench operate`` on a run that has learnt to tell tones apart."""

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from click.testing import CliRunner, Result
from rich.console import Console

import bench.stream.tracks as subject
from bench.cli import main
from bench.config import Recipe, RunConfig
from bench.results.records import RunRecord, save_record
from bench.running.pipeline import run_chain
from bench.stream.operate import (
    OperateConfig,
    Operated,
    line_names,
    operate_one,
    terminal_table,
)
from bench.stream.operate_plot import audio_behind
from bench.stream.operation import Sweep, delays_ms, sweep
from bench.stream.run import StreamConfig
from bench.stream.spotter import ahead, frames_back
from bench.threads import threads
from models import registry
from models.integer.ops import buffer_frames
from models.registry import build
from models.task import KeywordTask
from tests.conftest import tone


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tone_folder: Path) -> Path:
    """The base, half trained, and its quantized form."""
    recipe = Recipe(versions=1, batch_size=32)
    config = RunConfig(chain="dq", data=str(tone_folder), task=KeywordTask("start"), recipe=recipe, epochs=12)
    folder = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch, threads(1):
        patch.setenv("KWS_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        run_chain(config, folder, progress=False)
    return folder


@pytest.fixture
def base(out: Path) -> Path:
    (run,) = (out / "runs").glob("base-*")
    return run


def operate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["operate", *map(str, arguments)], catch_exceptions=False)


def test_one_row_a_run_and_point_and_two_figures(out: Path, base: Path) -> None:
    (quantized,) = (out / "runs").glob("dq-*")
    result = operate(base, quantized / "weights.safetensors", base, "--joinings", "2")
    assert result.exit_code == 0
    folder = out / "operate" / "start"
    assert sorted(path.name for path in folder.iterdir()) == [
        "detection_delays.png",
        "detection_delays.svg",
        "operating_curves.csv",
        "operating_curves.png",
        "operating_curves.svg",
        "operating_points.csv",
    ]
    points = pd.read_csv(folder / "operating_points.csv")
    assert list(points["label"]) == ["B"] * 3 + ["DQ+B"] * 3
    assert list(points["max_false_alarms_per_hour"]) == [0.1, 0.5, 1.0] * 2
    # Two short streams tell none of these rates from none at all, and the table says so.
    assert not points["resolved"].any()
    assert (points["validation_false_alarms"] == 0).all()
    assert (points["validation_false_alarms_per_hour_high"] > 100).all()
    assert (points["keyword_clips"] == 6).all()
    assert "0.1*" in result.stdout
    assert "6 keyword clips, 2 speakers, in 2 joinings" in result.stdout.replace("\n", " ")
    curves = pd.read_csv(folder / "operating_curves.csv")
    for point in points.itertuples():
        for split, prefix in (("validation", "validation_"), ("test", "")):
            at = curves[(curves["run_id"] == point.run_id) & (curves["split"] == split)]
            row = at[np.isclose(at["threshold"], point.threshold, rtol=1e-12)].iloc[0]
            for name in ("false_alarms", "miss_rate", "miss_rate_low", "false_alarms_per_hour_high"):
                assert row[name] == pytest.approx(getattr(point, prefix + name)), name


def test_a_point_is_what_bench_stream_finds_at_its_threshold(base: Path, tmp_path: Path) -> None:
    config = OperateConfig(joinings=1, rates_per_hour=(400.0,))
    (found,) = operate_one(base, None, config, lambda _: None)
    threshold = float(found.test.thresholds[found.chosen[0]])
    arguments = ["--threshold", repr(threshold), "--max-buffer-len", "12", "--out", tmp_path]
    result = CliRunner().invoke(main, ["stream", str(base), "test", *map(str, arguments)])
    heard = re.search(r"(\d+) of 6 keyword clips found, \d missed, (\d+) false alarms", result.output)
    assert heard
    hits = round(6 * (1 - found.test.miss_rate[found.chosen[0]]))
    assert (int(heard[1]), int(heard[2])) == (hits, found.test.false_alarms[found.chosen[0]])
    assert len(found.delays_ms[0]) == hits


def test_tracks_are_kept_and_only_new_joinings_are_listened_to(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / base.name
    shutil.copytree(base, run, ignore=shutil.ignore_patterns("tracks-*"))
    said: list[str] = []
    (first,) = subject.tracks_of(run, None, 12, 1, said.append)
    assert len(said) == 1
    (kept,) = run.glob("tracks-*.npz")
    written = kept.read_bytes()

    def no_corpus(*_: object) -> None:
        raise AssertionError("the corpus was opened")

    with monkeypatch.context() as patch:
        patch.setattr(subject, "corpus_of", no_corpus)
        (again,) = subject.tracks_of(run, None, 12, 1, said.append)
    assert len(said) == 1
    for split in ("validation", "test"):
        for name, value in vars(first[split][0]).items():
            assert np.array_equal(value, getattr(again[split][0], name)), name
    (more,) = subject.tracks_of(run, None, 12, 2, said.append)
    assert said[1:] == [f"B ({base.name}): listening to joining 2 of 2"]
    assert sorted(more["test"][1].clips) == sorted(first["test"][0].clips)
    assert more["test"][1].clips.tolist() != first["test"][0].clips.tolist()
    subject.tracks_of(run, None, 6, 1, said.append)
    assert len(list(run.glob("tracks-*.npz"))) == 3
    kept.write_bytes(written[:100])
    subject.tracks_of(run, None, 12, 1, said.append)
    assert len(said) == 4
    assert subject.load_tracks(kept) is not None
    # Other weights, other tracks.
    (run / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(subject.ResultsError, match="cannot be loaded"):
        subject.tracks_of(run, None, 12, 1, said.append)


def a_talk(folder: Path) -> Path:
    """A table of recordings, four of twenty seconds in each of two splits, one of which names the word."""
    rng, rows = np.random.default_rng(0), []
    folder.mkdir()
    for number in range(8):
        words = [tone(str(rng.choice(["left", "right", "stop"])), number, take) for take in range(20)]
        sf.write(folder / f"{number}.wav", np.concatenate(words), 16_000)
        rows.append((f"{number}.wav", f"p{number}", ("validation", "test")[number % 2], "so it goes"))
    rows[-1] = (*rows[-1][:3], "we start now")
    table = pd.DataFrame(rows, columns=["path", "speaker", "split", "text"])
    table.to_csv(folder / "clips.csv", index=False)
    return folder / "clips.csv"


def test_words_are_set_into_running_speech_and_mistakes_can_be_heard(base: Path, tmp_path: Path) -> None:
    talk = a_talk(tmp_path / "talk")
    rates = ("--max-false-alarms", "0", "--max-false-alarms", "400")
    options = ("--joinings", "1", *rates, "--out", tmp_path / "out", "--save-errors", tmp_path / "errors")
    result = operate(base, "--speech", talk, *options)
    assert result.exit_code == 0, result.output
    points = pd.read_csv(tmp_path / "out" / "operating_points.csv")
    assert list(points["speech"]) == [str(talk)] * 2
    # Four recordings of twenty seconds, of test all but the one that names the word; six words of a second.
    assert points["validation_hours"].iloc[0] * 3600 == pytest.approx(80 + 6 + 1, abs=8)
    assert points["hours"].iloc[0] * 3600 == pytest.approx(60 + 6 + 1, abs=7)
    assert (points["keyword_clips"] == 6).all()
    (folder,) = (tmp_path / "errors").iterdir()
    rows = pd.read_csv(folder / "mistakes.csv")
    last = points.iloc[-1]
    assert (rows["kind"] == "miss").sum() == round(6 * last["miss_rate"])
    assert (rows["kind"] == "false alarm").sum() == last["false_alarms"]
    assert sorted(path.name for path in folder.glob("*.wav")) == sorted(rows["recording"])
    # Streams of clips alone are other ones, and are kept beside these.
    assert operate(base, *options).exit_code == 0
    assert "speech" not in pd.read_csv(tmp_path / "out" / "operating_points.csv")


def test_delays_come_within_the_time_that_counts(base: Path) -> None:
    (of_word,) = subject.tracks_of(base, None, 12, 1, lambda _: None)
    tracks = of_word["test"]
    threshold = 0.2
    assert sweep(tracks, np.array([threshold])).miss_rate[0] < 1
    delays = delays_ms(tracks, threshold)
    # From the beginning of the clip to a second after it, the word ending within.
    assert (delays >= -1000).all()
    assert (delays <= 2000).all()


def test_wrong_input_is_one_line(base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    about = dict.fromkeys(("label", "chain", "model", "data", "corpus_hash", "keyword", "recipe"), "x")
    failed = RunRecord(run_id="bad", seed=0, status="diverged", reason="loss is nan", **about)
    (tmp_path / "bad").mkdir()
    save_record(tmp_path / "bad", failed)
    (tmp_path / "file").touch()
    cases = [
        ((tmp_path / "nowhere",), "no run at"),
        ((tmp_path / "empty",), "row.json is missing"),
        ((base, tmp_path / "bad"), "did not end well: diverged, loss is nan"),
        ((base, "--joinings", 1, "--out", tmp_path / "file" / "under"), "give another --out"),
        ((base, "--max-buffer-len", 5, "--data", tmp_path / "nowhere"), "no data"),
        ((base, "--speech", tmp_path / "nowhere"), "nowhere"),
    ]
    for arguments, said in cases:
        result = operate(*arguments)
        assert result.exit_code == 2, arguments
        assert said in result.stderr.splitlines()[-1]
    assert operate(base, "--max-false-alarms", "-1").exit_code == 2


def test_lines_are_told_apart_by_what_differs() -> None:
    def record(label: str, run_id: str, seed: int = 0, keyword: str = "left") -> RunRecord:
        return RunRecord(
            run_id=run_id,
            label=label,
            chain="",
            model="crnn",
            data="tones",
            corpus_hash="c",
            keyword=keyword,
            recipe="default",
            seed=seed,
        )

    assert line_names([record("B", "1"), record("KD", "2")]) == ["B", "KD"]
    assert line_names([record("B", "1"), record("B", "2", seed=1)]) == ["B, seed 0", "B, seed 1"]
    assert line_names([record("B", "1"), record("B", "2", keyword="stop")]) == ["B, left", "B, stop"]
    assert line_names([record("B", "run-111111"), record("B", "run-222222")]) == ["B (111111)", "B (222222)"]


@pytest.mark.parametrize(
    ("family", "second", "two"), [("crnn", 12, 24), ("ds-cnn", 24, 48), ("gru", 96, 192)]
)
def test_defaults_look_back_on_as_much_audio_whatever_the_model(family: str, second: int, two: int) -> None:
    """Decisions of 80, 40 and 10 ms."""
    assert OperateConfig().max_buffer_len is StreamConfig().max_buffer_len is None
    model = build(registry.family(family).default)
    assert frames_back(model, None, 96) == second
    assert frames_back(model, None) == two == buffer_frames(192 // two)
    assert frames_back(model, 7) == 7


def test_a_point_that_no_threshold_reaches_is_marked() -> None:
    about = dict.fromkeys(
        ("run_id", "label", "chain", "model", "data", "corpus_hash", "keyword", "recipe"), "x"
    )
    # The strictest threshold gives 3 alarms in an hour of validation, and finds nothing on test.
    validation, test = (
        Sweep(np.array([0.5, 0.9]), np.array([8, alarms]), missed, np.array(["a", "b"]), 1, 3600.0)
        for alarms, missed in ((3, np.zeros((2, 2))), (0, np.ones((2, 2))))
    )
    one = Operated(
        RunRecord(seed=0, **about), "x", validation, test, (1, 0), (np.empty(0), np.array([100.0, 300.0])), 12
    )
    config = OperateConfig(rates_per_hour=(2.0, 8.0))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_table(["x"], [one], config))
    text = console.export_text()
    assert re.search(r"2! +100.0 \(15.8-100.0\) +0.00 \(0.00-3.69\) +-", text)
    assert re.search(r"8 +100.0 \(15.8-100.0\) +8.00 \(3.45-15.76\) +200 \(105 to 295\)", text)
    assert "! every threshold gives more on validation" in text


def test_what_is_behind_a_figure_of_several_keywords_is_a_range() -> None:
    def of(clips: int, speakers: int, hours: float) -> Sweep:
        who = np.array([f"s{n % speakers}" for n in range(clips)])
        return Sweep(np.array([0.5]), np.array([0]), np.zeros((1, clips)), who, 1, 3600 * hours)

    assert audio_behind([of(40, 4, 0.5), of(40, 4, 0.5)]) == "0.5 h, 40 keyword clips, 4 speakers"
    assert (
        audio_behind([of(40, 4, 11), of(9, 2, 9)]) == "9.0 to 11.0 h, 9 to 40 keyword clips, 2 to 4 speakers"
    )


def test_how_far_ahead_a_model_hears_is_said() -> None:
    assert ahead(build(registry.family("crnn").default)) == ""
    assert "it hears 260 ms ahead" in ahead(build(registry.family("ds-cnn").default))
