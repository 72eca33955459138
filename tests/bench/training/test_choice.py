"""The checkpoints that validation cannot tell apart, looked at on test."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from bench.config import Recipe
from bench.data.clips import Clips
from bench.data.corpora.base import Corpus
from bench.data.features import features_of
from bench.quality.metrics import two_classes
from bench.quality.score import predict, probabilities
from bench.training.choice import audit_choice
from bench.training.state import Epoch, Training, epochs_folder, forget
from compressors.chain import parse
from models.base import clone_state
from models.crnn import CrnnSpec
from models.errors import ResultsError
from models.registry import build
from models.task import KeywordTask

RECIPE = Recipe(versions=0)


def clips_of(corpus: Corpus) -> Clips:
    return Clips(
        features=features_of(corpus, RECIPE, 0),
        waveforms=corpus.waveforms,
        noise=torch.zeros(0),
        labels=corpus.labels(KeywordTask("start")),
        train=corpus.indices("train"),
        validation=corpus.indices("validation"),
        test=corpus.indices("test"),
        task=KeywordTask("start"),
    )


def test_the_spread_is_that_of_the_epochs_not_shown_to_be_worse(tone_corpus: Corpus, tmp_path: Path) -> None:
    clips, chain = clips_of(tone_corpus), parse("", CrnnSpec())
    labels = clips.labels[clips.validation]
    # Of two speakers, as the corpus has them, nothing can be told.
    speakers = np.array([f"s{number % 7}" for number in range(len(clips.labels))])
    training = Training.start(build(CrnnSpec(hidden=4)), RECIPE, tmp_path / "checkpoint.pt")
    # Epoch 2 is chosen; epoch 3 has the same scores; epoch 1 is wrong about every clip of every speaker.
    right = two_classes(np.where(labels == 1, 0.9, 0.1))
    areas = []
    for number, scores in enumerate((1 - right, right, right), start=1):
        torch.manual_seed(number)
        training.model.load_state_dict(build(CrnnSpec(hidden=4)).state_dict())
        line = Epoch(number, 0.0, float(number), "au_fa_fr", 0.0 if number > 1 else 0.2, 1.0)
        training.add(line, scores)
        logits = predict(training.model, clips.features.clean, clips.test)
        areas.append(1 - roc_auc_score(clips.labels[clips.test], probabilities(logits)[:, 1]))
    choice = audit_choice(training, chain, clips, speakers)
    assert choice.choice_checkpoints == 2
    assert choice.choice_spread == pytest.approx(abs(areas[1] - areas[2]))
    assert choice.choice_spread > 0


def test_what_cannot_be_compared_is_not_shown_to_be_worse(tone_corpus: Corpus, tmp_path: Path) -> None:
    clips, chain = clips_of(tone_corpus), parse("", CrnnSpec())
    right = two_classes(np.where(clips.labels[clips.validation] == 1, 0.9, 0.1))
    training = Training.start(build(CrnnSpec(hidden=4)), RECIPE, tmp_path / "checkpoint.pt")
    for number, scores in enumerate((right, 1 - right), start=1):
        training.add(Epoch(number, 0.0, float(number), "au_fa_fr", 0.1 * number, 1.0), scores)
    of_one = np.full(len(clips.labels), "alone")
    assert audit_choice(training, chain, clips, of_one).choice_checkpoints == 2
    # A training that an older version began has no files of its first epochs.
    (epochs_folder(training.checkpoint) / "0002.pt").unlink()
    again = Training.start(build(CrnnSpec(hidden=4)), RECIPE, training.checkpoint)
    spread, count = audit_choice(again, chain, clips, of_one)
    assert np.isnan(spread)
    assert count is None


def test_the_loss_decides_where_the_area_is_undefined(tmp_path: Path) -> None:
    training = Training.start(build(CrnnSpec(hidden=4)), RECIPE, tmp_path / "checkpoint.pt")
    for number, loss in enumerate((0.6, 0.4, 0.5), start=1):
        training.add(Epoch(number, 0.0, loss, "au_fa_fr", float("nan"), 1.0), np.array([0.5]))
    assert training.best_epoch.epoch == 2


def test_more_is_better_where_the_headline_says_so(tmp_path: Path) -> None:
    training = Training.start(build(CrnnSpec(hidden=4)), RECIPE, tmp_path / "checkpoint.pt")
    for number, share in enumerate((0.6, 0.8, 0.7), start=1):
        training.add(Epoch(number, 0.0, 0.5, "accuracy", share, 1.0), np.array([[0.5, 0.5]]))
    assert training.best_epoch.epoch == 2
    assert [training.epochs_to(target) for target in (0.6, 0.65, 0.9)] == [1, 2, None]


@pytest.mark.parametrize("damage", ["cut short", "of another version"])
def test_a_checkpoint_that_cannot_be_read_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    training = Training.start(build(CrnnSpec(hidden=4)), RECIPE, checkpoint)
    training.add(Epoch(1, 0.5, 0.5, "au_fa_fr", 0.1, 1.0), np.array([0.5]))
    if damage == "cut short":
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    else:
        torch.save({"model": training.model.state_dict()}, checkpoint)
    with pytest.raises(ResultsError, match=r"cannot be gone on from .* remove it to train anew"):
        Training.start(build(CrnnSpec(hidden=4)), RECIPE, checkpoint)


def test_the_epochs_are_kept_until_the_training_is_done(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    training = Training.start(build(CrnnSpec(hidden=4)), RECIPE, checkpoint)
    line = Epoch(1, 0.5, 0.5, "au_fa_fr", 0.1, 1.0)
    first = clone_state(training.model)
    training.add(line, np.array([0.25, 0.75]))
    with torch.no_grad():
        training.model.classifier.weight.zero_()
    training.add(replace(line, epoch=2), np.array([0.5, 0.5]))
    again = Training.start(build(CrnnSpec(hidden=4)), RECIPE, checkpoint)
    assert all(torch.equal(again.weights_of(1)[name], first[name]) for name in first)
    assert again.weights_of(2)["classifier.weight"].abs().sum() == 0
    np.testing.assert_array_equal(again.scores_of(1), [0.25, 0.75])
    forget(checkpoint)
    assert not checkpoint.exists()
    assert not epochs_folder(checkpoint).exists()
