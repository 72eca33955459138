"""That the measurements run and compare like with like; no test looks at a time."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from torch import Tensor
from torch.nn import functional

from bench.data.corpora.folder import folder_corpus
from bench.data.features import log_mel
from bench.device import CPU
from bench.quality.metrics import au_fa_fr
from bench.results.table import load_results
from benchmarks.commands import plain_epochs_needed
from benchmarks.epochs import our_epochs, plain_epochs
from benchmarks.journal import Journal
from benchmarks.plain import (
    LogMel,
    PlainData,
    PlainTraining,
    au_fa_fr_by_sweep,
    augment,
    base_model,
    collate,
    student_model,
)
from benchmarks.quality import Trials, quality_rows, trial_key
from benchmarks.readme import render
from benchmarks.rows import Row
from benchmarks.scale import noise_clips
from benchmarks.setting import SMALL, Setting
from benchmarks.turns import Turns
from compressors.base import TrainStep
from compressors.chain import parse
from models.base import count_params
from models.crnn import CrnnSpec
from models.task import KeywordTask

ROOT = Path(__file__).parents[1]


def test_the_sweep_is_the_metric_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(2, size=200), rng.integers(20, size=200) / 20
    assert au_fa_fr_by_sweep(labels, scores) == pytest.approx(au_fa_fr(labels, scores), abs=1e-12)
    # Both false alarms come before the one reject falls away: 2/3 wide, 1/3 high.
    assert au_fa_fr_by_sweep(np.array([0, 0, 1]), np.array([0.5, 0.6, 0.4])) == pytest.approx(2 / 9)


def test_plain_features_are_those_of_the_toolkit_and_masks_hide_the_same_of_every_clip() -> None:
    waves = 0.1 * torch.randn(3, 16000, generator=torch.Generator().manual_seed(0))
    plain = LogMel()
    torch.testing.assert_close(plain.eval()(waves), log_mel(waves))
    floor = torch.tensor(1e-9).log()
    torch.manual_seed(3)
    hidden = plain.train()(waves) == floor
    assert hidden.any()
    assert (hidden == hidden[0]).all()


def test_plain_augmentation_is_one_of_four() -> None:
    torch.manual_seed(0)
    wave, noise = 0.1 * torch.sin(torch.arange(8000) / 5), 0.3 * torch.randn(40000)
    seen = set()
    for _ in range(40):
        added = augment(wave, noise) - wave
        power = float(added.square().mean())
        snr_db = 10 * np.log10(float(wave.square().mean()) / power) if power else np.inf
        kinds = {"nothing": np.inf, "hiss": 17.0, "quiet": 2.5, "background": 1.0}
        seen.add(min(kinds, key=lambda kind: 0.0 if kinds[kind] == snr_db else abs(kinds[kind] - snr_db)))
    assert seen == {"nothing", "hiss", "quiet", "background"}


def test_plain_clips_are_padded_and_their_splits_those_of_the_corpus(tone_folder: Path) -> None:
    corpus = folder_corpus(tone_folder, progress=False)
    data = PlainData.of(tone_folder, corpus, "start")
    rows = corpus.indices("validation")
    held_out = data.validation.dataset
    wave, label = held_out[5]
    expected, _ = soundfile.read(tone_folder / corpus.clips["source"][rows[5]], dtype="float32")
    np.testing.assert_array_equal(wave.numpy(), expected)
    assert label == corpus.labels(KeywordTask("start"))[rows[5]]
    assert len(data.test.dataset) == len(corpus.indices("test"))  # type: ignore[arg-type]
    torch.manual_seed(0)
    drawn = torch.tensor(list(data.train.sampler))
    labels = corpus.labels(KeywordTask("start"))[corpus.indices("train")]
    assert len(drawn) == len(labels)
    # A quarter of the clips are the keyword; half of the draws are.
    assert 0.35 < labels[drawn.numpy()].mean() < 0.65
    waves, _ = collate([(torch.ones(3), 1), (torch.ones(5), 0)])
    assert waves.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_plain_loss_is_that_of_the_chain() -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(6, 40, 101), torch.randint(2, (6,))
    teacher, student = base_model().eval(), student_model().eval()
    output, chain = student(features), parse("ad+kd", CrnnSpec())
    terms = chain.loss_terms(TrainStep(student, output, teacher(features), labels))
    expected: Tensor = 0.05 * functional.cross_entropy(output.logits, labels) + sum(terms.values())
    torch.testing.assert_close(PlainTraining(student, teacher).loss(features, labels), expected)
    alone = PlainTraining(student, None).loss(features, labels)
    torch.testing.assert_close(alone, functional.cross_entropy(output.logits, labels))
    assert count_params(teacher) == 70443


def test_the_plain_way_trains_and_scores_on_every_device(device: torch.device, tone_folder: Path) -> None:
    data = PlainData.of(tone_folder, folder_corpus(tone_folder, progress=False), "start")
    trainings = []
    for at in (CPU, device):
        torch.manual_seed(0)
        training = PlainTraining(student_model(), base_model().eval(), at)
        assert np.isfinite(training.epoch(data))
        assert {weight.device for weight in training.model.parameters()} == {at}
        trainings.append(training.score(data.validation))
    (labels, expected), (again, found) = trainings
    np.testing.assert_array_equal(labels, again)
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_both_sides_train_on_the_device(
    device: torch.device, tone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopwatch(Turns):
        def __init__(self) -> None:
            self.laps: list[str] = []

        def wait(self) -> None:
            pass

        def lap(self, name: str) -> None:
            self.laps.append(name)

        def note(self, name: str, value: float) -> None:
            pass

    setting = Setting(tone_folder, "start", SMALL, tmp_path, device.type)
    watch = Stopwatch()
    our_epochs(setting, watch)
    assert load_results(tmp_path / "epochs" / "results.csv")["device"].tolist() == [device.type] * 2
    seen = set()
    loss = PlainTraining.loss

    def watched(training: PlainTraining, features: Tensor, labels: Tensor) -> Tensor:
        seen.update((features.device, labels.device))
        return loss(training, features, labels)

    monkeypatch.setattr(PlainTraining, "loss", watched)
    plain_epochs(setting, watch)
    assert watch.laps == ["B", "B", "AD+KD", "AD+KD"] * 2
    assert seen == {device}


def test_a_page_without_a_card_says_so() -> None:
    row = {"what": "x, s", "ours": [1.0], "plain": [8.0]}
    about = {"cores": 2, "threads": 2, "torch": "2", "python": "3", "system": "s", "data": "d"}
    about |= {"keyword": "k", "clips": 10, "train": 8, "small": False}
    part = {"rows": [row], "about": about, "command": "the command"}
    assert "Nothing here was measured on a graphics card" in render({"epochs": part})
    page = render({"epochs": part, "epochs on cuda": part | {"about": about | {"device": "Card 1"}}})
    assert "graphics card" not in page
    assert page.index("| **Epochs** |") < page.index("| **Epochs, on cuda** |")
    assert "- Epochs, on cuda: Card 1, 2 cores" in page


def test_a_journal_outlives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "lines.jsonl")
    journal.add({"line": 1})
    with journal.path.open("a") as file:
        file.write('{"line": 2, "lon')
    journal.add({"line": 3})
    assert [line["line"] for line in journal.lines()] == [1, 3]


def test_time_to_quality_counts_epochs_and_gives_the_interval(tmp_path: Path) -> None:
    journal, trials = (
        Journal(tmp_path / "quality.jsonl"),
        Trials(("one", "two", "three", "four"), 4, 0.3, tmp_path),
    )
    for number, keyword in enumerate(("one", "two", "three"), start=1):
        for side, values in (("plain", [0.5, 0.3, 0.2, 0.1]), ("ours", [0.4, 0.3, 0.3, 0.2])):
            key = trial_key(side, "B", keyword, "tones", 4)
            for epoch, value in enumerate(values, start=1):
                journal.add({**key, "epoch": epoch, "seconds": 99.0, "validation_au_fa_fr": value})
            test = 0.5 if side == "plain" else 0.5 + number
            journal.add({**key, "epochs": len(values), "test_au_fa_fr": test})
    epochs, seconds, to_ours, _, test = quality_rows(
        "tones", trials, journal, {("plain", "B"): 10.0, ("ours", "B"): 1.0}
    )
    assert (epochs.plain, epochs.ours) == ([2.0] * 3, [2.0] * 3)
    assert (seconds.plain, seconds.ours, seconds.ratio) == ([20.0] * 3, [2.0] * 3, 10.0)
    assert (to_ours.plain, to_ours.ours) == ([3.0] * 3, [4.0] * 3)
    # Differences 1, 2 and 3: 4.303 / sqrt(3) either side of 2.
    assert "+2, 95 % interval -0.48 to +4.5 over 3 keywords" in test.note
    assert len(quality_rows("tones", trials, journal, {})) == 3, "seconds without laps"


def test_the_page_shows_medians_and_how_many_times_better() -> None:
    row = {"what": "x, s", "ours": [1.0, 2.0, 30.0], "plain": [8.0, 9.0, 7.0]}
    rate = {"what": "y, clips/s", "ours": [9000.0], "plain": [300.0], "more_is_better": True}
    about = {"cores": 2, "threads": 2, "torch": "2", "python": "3", "system": "s", "data": "d"}
    about |= {"keyword": "k", "clips": 10, "train": 8, "small": False}
    page = render({"epochs": {"rows": [row, rate], "about": about, "command": "the command"}})
    assert "| x, s | 8.00 | 2.00 | 4x | 3 |" in page
    assert "| y, clips/s | 300 | 9,000 | 30x | 1 |" in page
    assert "2 cores, 2 torch threads, torch 2" in page
    assert "`the command`" in page
    assert Row("z", [1.0]).ratio is None
    assert Row("z", [0.0], [1.0]).ratio is None


def test_the_plain_way_is_charged_what_it_took_at_least() -> None:
    same = {"corpus_hash": "h", "keyword": "k"}
    ours = pd.DataFrame(
        [{"label": label, "validation_au_fa_fr": 0.3, **same} for label in ("B", "KD", "KD2")]
    )
    theirs = [("B", 38.0, 0.0), ("KD", np.nan, 0.4), ("KD2", np.nan, 0.2), ("SP", 60.0, 0.1)]
    study = pd.DataFrame(
        [
            {"label": label, "epochs_to_target": n, "validation_au_fa_fr": v, "epochs": 400, **same}
            for label, n, v in theirs
        ]
    )
    # KD2 is left out: the plain way's is better than ours, though short of the target.
    assert plain_epochs_needed(ours, study) == {"B": 38, "KD": 400}
    assert plain_epochs_needed(ours.assign(keyword="other"), study) == {}


def test_speakers_of_the_large_corpus_stand_in_one_split_each() -> None:
    clips = noise_clips(5000)
    assert (clips.groupby("speaker")["split"].nunique() == 1).all()
    assert clips["split"].value_counts(normalize=True)["train"] == pytest.approx(0.8, abs=0.03)
    assert clips["source"].is_unique


def run(out: Path, folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "benchmarks.run", "--small", "--data", str(folder), "--keyword", "start"]
    done = subprocess.run(
        [*command, "--out", str(out), *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return (out / "README.md").read_text()


def test_a_wrong_keyword_is_one_line(tmp_path: Path, tone_folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.run", "--part", "metrics", "--data", str(tone_folder)]
    done = subprocess.run(
        [*command, "--keyword", "strat", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("Error: no clips of the keyword 'strat'")
    assert "metrics ..." not in done.stderr, "measured before it was looked at"
    assert not (tmp_path / "README.md").exists()


@pytest.mark.slow
def test_every_part_runs_and_stays_in_the_page(tmp_path: Path, tone_folder: Path, own_cache: Path) -> None:
    first = run(tmp_path, tone_folder, "--part", "preset", "--part", "scale")
    assert "1,000 clips on disk, bytes to a byte of samples |  | 1.0" in first
    page = run(tmp_path, tone_folder)
    for what in (
        "epoch of the base",
        "epoch of the AD+KD",
        "log-mel",
        "GFLOP/s",
        "au_fa_fr",
        "bench --help",
        "2 min",
    ):
        assert f"\n| {what}" in page or what in page
    assert "preset kws-hw" in page
    assert "/" not in page.split("How it was measured")[1].replace("x86_64", "").split("`")[1]
    assert str(tone_folder) not in page
    assert not list((own_cache / "benchmarks").glob("run-*")), "scratch is left behind"
    measured = [json.loads(line) for line in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    assert [line["part"] for line in measured] == [
        *("preset", "scale"),
        *("metrics", "step", "features", "ear", "epochs", "commands"),
    ]
    assert all(value > 0 for line in measured for row in line["rows"] for value in row["ours"])


@pytest.mark.slow
def test_quality_goes_on_where_it_stopped(tmp_path: Path, tone_folder: Path) -> None:
    run(tmp_path, tone_folder, "--part", "quality", "--epochs", "1")
    page = run(tmp_path, tone_folder, "--part", "quality", "--epochs", "2")
    lines = Journal(tmp_path / "quality.jsonl").lines()
    epochs = {
        (side, model): [
            line["epoch"]
            for line in lines
            if "epoch" in line and (line["side"], line["model"]) == (side, model)
        ]
        for side in ("plain", "ours")
        for model in ("B", "AD+KD")
    }
    # The student has another teacher once the base has trained longer; ours another schedule.
    assert epochs == {
        ("plain", "B"): [1, 2],
        ("plain", "AD+KD"): [1, 1, 2],
        ("ours", "B"): [1, 1, 2],
        ("ours", "AD+KD"): [1, 1, 2],
    }
    assert "AD+KD: au_fa_fr on test after 2 epochs each" in page


@pytest.mark.slow
def test_choices_are_held_against_the_default(tmp_path: Path, tone_folder: Path) -> None:
    page = run(tmp_path, tone_folder, "--part", "choices", "--epochs", "1", "--keywords", "start,left")
    for what in ("1 version of each clip", "augmentation in every step", "batches of 512"):
        assert page.count(what) == 2, "base and student"
    assert "over 2 keywords" in page
