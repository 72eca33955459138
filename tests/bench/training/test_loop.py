import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.config import Augmentation, Recipe
from bench.data.corpora.base import Corpus
from bench.data.features import features_of
from bench.device import CPU
from bench.quality.score import predict, probabilities
from bench.training.loop import (
    Clips,
    DivergedError,
    Epoch,
    Report,
    Training,
    _balanced,
    _loss,
    _schedule,
    train,
)
from bench.training.teacher import Teacher
from compressors.chain import Chain, parse
from compressors.taps import Tap
from models.crnn import CrnnSpec
from models.registry import build
from models.task import KeywordTask

SPEC = CrnnSpec(channels=2, hidden=8)
RECIPE = Recipe(versions=2, batch_size=32, learning_rate=1e-2)


@pytest.fixture
def clips(tone_corpus: Corpus) -> Clips:
    return clips_of(tone_corpus, RECIPE)


def clips_of(corpus: Corpus, recipe: Recipe) -> Clips:
    return Clips(
        features=features_of(corpus, recipe, seed=0),
        waveforms=corpus.waveforms,
        noise=torch.from_numpy(corpus.noise.astype(np.float32) / 32768),
        labels=corpus.labels(KeywordTask("start")),
        train=corpus.indices("train"),
        validation=corpus.indices("validation"),
        test=corpus.indices("test"),
        task=KeywordTask("start"),
    )


def start(checkpoint: Path, chain: Chain, recipe: Recipe = RECIPE) -> Training:
    torch.manual_seed(0)
    return Training.start(chain.prepare(build(chain.student(SPEC))), recipe, checkpoint)


def run(
    training: Training, chain: Chain, clips: Clips, epochs: int, target: float | None = None
) -> list[Epoch]:
    seen: list[Epoch] = []
    teacher = Teacher(build(SPEC).eval(), taps=chain.teacher_taps(SPEC)) if chain.needs_teacher() else None
    torch.manual_seed(0)
    train(training, chain, teacher, clips, epochs=epochs, target=target, seed=0, report=seen.append)
    return seen


@pytest.mark.parametrize("versions", [2, 0])
def test_it_learns(tone_corpus: Corpus, tmp_path: Path, versions: int) -> None:
    recipe, chain = replace(RECIPE, versions=versions), parse("", SPEC)
    training = start(tmp_path / "checkpoint.pt", chain, recipe)
    history = run(training, chain, clips_of(tone_corpus, recipe), 16)
    assert history[-1].validation_loss < 0.5 * history[0].validation_loss
    assert training.best_epoch.validation_headline < 0.02 < history[0].validation_headline


@pytest.mark.parametrize("text", ["", "sp:keep=0.5+ad:channels=1,hidden=8", "fd:channels=1,hidden=6+kd"])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(
    clips: Clips, tmp_path: Path, text: str
) -> None:
    chain = parse(text, SPEC)

    def four_epochs(checkpoint: Path, report: Report) -> Training:
        training = start(checkpoint, chain)
        torch.manual_seed(1)
        teacher = (
            Teacher(build(SPEC).eval(), taps=chain.teacher_taps(SPEC)) if chain.needs_teacher() else None
        )
        train(training, chain, teacher, clips, epochs=4, target=None, seed=0, report=report)
        return training

    class StopError(Exception):
        pass

    def stop_after_two(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise StopError

    whole = four_epochs(tmp_path / "whole.pt", lambda epoch: None)
    with pytest.raises(StopError):
        four_epochs(tmp_path / "cut.pt", stop_after_two)
    more: list[Epoch] = []
    resumed = four_epochs(tmp_path / "cut.pt", more.append)
    assert [epoch.epoch for epoch in more] == [3, 4]
    assert [e.loss for e in resumed.history] == [e.loss for e in whole.history]
    assert resumed.best_epoch.epoch == whole.best_epoch.epoch
    assert all(torch.equal(resumed.best[name], tensor) for name, tensor in whole.best.items())


@pytest.mark.parametrize(
    "text", ["", "sp:keep=0.5+ad:channels=1,hidden=8", "fd:channels=1,hidden=6+kd", "lr:sparsity=0.5,rank=2"]
)
@pytest.mark.parametrize("versions", [2, 0])
def test_a_training_elsewhere_is_the_same_but_for_rounding(
    clips: Clips, tmp_path: Path, text: str, versions: int, device: torch.device
) -> None:
    """Two epochs, the second gone on to from the checkpoint; teacher remembered, or run in every step."""
    spec = replace(SPEC, dropout=0.0)  # what it leaves out is drawn where the model is
    chain, recipe, histories, weights = parse(text, spec), replace(RECIPE, versions=versions), [], []
    for number, at in enumerate((CPU, device)):
        checkpoint = tmp_path / f"{number}" / "checkpoint.pt"
        checkpoint.parent.mkdir()
        torch.manual_seed(1)
        base, taps = build(spec).eval().to(at), chain.teacher_taps(spec)
        ahead = Teacher.of_bank(base, clips.features.bank, taps) if versions else Teacher(base, taps=taps)
        for epochs in (1, 2):
            torch.manual_seed(0)
            model = chain.prepare(build(chain.student(spec))).to(at)
            training = Training.start(model, recipe, checkpoint)
            train(training, chain, ahead, clips, epochs=epochs, target=None, seed=0, report=lambda line: None)
        assert {weight.device for weight in training.model.parameters()} == {at}
        assert {weight.device for weight in training.best.values()} == {CPU}
        assert {weight.device for weight in training.weights_of(1).values()} == {CPU}
        histories.append([(line.loss, line.validation_loss) for line in training.history])
        weights.append(training.best_model.state_dict())
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-3)
    assert len(histories[1]) == 2
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=5e-3, rtol=1e-2)


def test_the_best_weights_are_those_of_the_best_epoch(clips: Clips, tmp_path: Path) -> None:
    chain = parse("", SPEC)
    training = start(tmp_path / "checkpoint.pt", chain, replace(RECIPE, learning_rate=0.05))
    history = run(training, chain, clips, 6)
    logits = predict(training.best_model, clips.features.clean, clips.validation)
    labels = torch.from_numpy(clips.labels[clips.validation])
    best = min(history, key=lambda e: (e.validation_headline, e.validation_loss))
    assert training.best_epoch == best
    assert torch.nn.functional.cross_entropy(logits, labels).item() == pytest.approx(best.validation_loss)


def test_it_ends_at_the_target(clips: Clips, tmp_path: Path) -> None:
    chain = parse("", SPEC)
    training = start(tmp_path / "checkpoint.pt", chain)
    history = run(training, chain, clips, 30, target=0.02)
    assert history[-1].validation_headline <= 0.02
    assert all(epoch.validation_headline > 0.02 for epoch in history[:-1])
    assert training.epochs_to(0.02) == len(history) < 30
    assert run(training, chain, clips, 30, target=0.02) == []


def test_a_loss_that_is_no_number_ends_the_training(clips: Clips, tmp_path: Path) -> None:
    chain = parse("", SPEC)
    training = start(tmp_path / "checkpoint.pt", chain)
    with torch.no_grad():
        next(training.model.parameters()).fill_(math.nan)
    with pytest.raises(DivergedError, match=r"nan in epoch 1"):
        run(training, chain, clips, 2)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_quality_in_training_is_that_of_the_cut_model(clips: Clips, tmp_path: Path) -> None:
    chain = parse("sp:keep=0.5", SPEC)
    training = start(tmp_path / "checkpoint.pt", chain)
    run(training, chain, clips, 2)
    cut = chain.surgery(training.best_model)
    labels = torch.from_numpy(clips.labels[clips.validation])
    found = torch.nn.functional.cross_entropy(predict(cut, clips.features.clean, clips.validation), labels)
    assert found.item() == pytest.approx(training.best_epoch.validation_loss)


def test_the_sampler_draws_each_class_equally_often() -> None:
    labels = torch.zeros(20000, dtype=torch.long)
    labels[::50] = 1
    torch.manual_seed(0)
    rows = _balanced(labels, 2)
    assert len(rows) == len(labels)
    assert labels[rows].float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert len(rows[labels[rows] == 1].unique()) == 400, "all clips of the rare class are drawn"
    assert len(rows.unique()) > 0.3 * len(labels), "with replacement, but not the same few"


def test_schedules() -> None:
    cosine, constant = Recipe(), Recipe(cosine=False)
    steps = [_schedule(cosine, step, 100) for step in range(100)]
    assert steps[0] == pytest.approx(0.1)
    assert max(steps) == steps[10] == 1.0
    assert steps[55] == pytest.approx(0.5)
    assert steps[99] < 0.001
    assert {_schedule(constant, step, 100) for step in range(100)} == {1.0}


def test_probability_is_the_softmax_and_does_not_saturate() -> None:
    logits = torch.tensor([[0.0, 0.0], [1.0, 3.0], [-15.0, 15.0], [-15.0, 14.0]])
    found = probabilities(logits)[:, 1]
    assert found[:2].tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-2))])
    assert found[2] > found[3]


def test_predictions_do_not_depend_on_the_batch(clips: Clips) -> None:
    model = build(SPEC)
    rows = clips.validation
    one, many = (predict(model, clips.features.clean, rows, batch) for batch in (1, 512))
    torch.testing.assert_close(one, many, atol=1e-5, rtol=0)
    backwards = predict(model, clips.features.clean, rows[::-1].copy())
    torch.testing.assert_close(backwards.flip(0), many, atol=1e-5, rtol=0)


def test_recipes_that_augment_in_every_step_draw_anew(tone_corpus: Corpus, tmp_path: Path) -> None:
    from bench.training.loop import _batches

    recipe = replace(RECIPE, versions=0, augmentation=Augmentation())
    clips = clips_of(tone_corpus, recipe)
    torch.manual_seed(0)
    first, second = (list(_batches(clips, recipe)) for _ in range(2))
    assert sum(len(batch.features) for batch in first) == len(clips.train)
    plain = replace(recipe, augmentation=Augmentation(shift_ms=0, gain_db=0, noise_share=0))
    torch.manual_seed(0)
    clean = next(_batches(clips, plain))
    torch.manual_seed(0)
    again = next(_batches(clips, recipe))
    assert torch.equal(again.features, first[0].features), "the same draws from the same seed"
    assert again.labels.tolist() == clean.labels.tolist(), "of the same clips"
    assert not torch.allclose(again.features, clean.features), "but augmented"
    assert not torch.equal(first[0].features, second[0].features)


def test_a_remembered_teacher_says_what_it_said(clips: Clips) -> None:
    """Its layers too, to half precision."""
    model = build(SPEC).eval()
    bank = clips.features.bank
    taps = {"mine": Tap("conv", lambda output: output.mean((1, 2)))}
    remembered, running = Teacher.of_bank(model, bank, taps), Teacher(model, taps=taps)
    rows = torch.tensor([0, 5, bank.shape[1] + 3])
    heard = bank.flatten(0, 1)[rows].float()
    with torch.no_grad():
        expected, frames = model(heard), model.conv(heard.unsqueeze(1)).mean((1, 2))
    for teacher, given in ((remembered, torch.zeros_like(heard)), (running, heard)):
        output, listened = teacher.answer(given, rows)
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(listened, {"mine": frames}, atol=1e-5, rtol=1e-3)


def test_the_loss_of_features_is_that_of_both_models_layers() -> None:
    """By the formula, in NumPy, from the outputs of both GRUs; the student's learns from it."""
    chain, spec = parse("fd:channels=1,hidden=6", SPEC), CrnnSpec(channels=1, hidden=6)
    torch.manual_seed(0)
    base, student, clips, labels = (
        build(SPEC).eval(),
        build(spec).eval(),
        torch.randn(5, 40, 101),
        torch.arange(5) % 2,
    )
    teacher = Teacher(base, taps=chain.teacher_taps(SPEC))
    loss = _loss(student, chain, teacher.answer(clips, None), clips, labels)
    rows = []
    for model in (student, base):
        frames = model.conv(clips.unsqueeze(1)).flatten(1, 2).transpose(1, 2)
        outputs = model.gru(frames)[0].detach().double().numpy()
        gram = np.einsum("btw,buw->btu", outputs, outputs)
        rows.append(gram / np.linalg.norm(gram, axis=2, keepdims=True))
    distance = ((rows[0] - rows[1]) ** 2).sum(2).mean()
    entropy = torch.nn.functional.cross_entropy(student(clips).logits, labels).item()
    assert loss.item() == pytest.approx(0.05 * entropy + 0.95 * distance, rel=1e-5)
    before = torch.autograd.grad(loss, student.gru.weight_hh_l1)[0]
    of_labels = torch.autograd.grad(
        0.05 * torch.nn.functional.cross_entropy(student(clips).logits, labels), student.gru.weight_hh_l1
    )[0]
    assert not torch.allclose(before, of_labels, rtol=0.1)


def test_batches_are_the_entries_of_the_bank_that_they_name(clips: Clips) -> None:
    from bench.training.loop import _batches

    torch.manual_seed(0)
    for batch in _batches(clips, RECIPE):
        assert batch.rows is not None
        versions, drawn = batch.rows // len(clips.train), batch.rows % len(clips.train)
        assert torch.equal(batch.features, clips.features.bank[versions, drawn].float())
        assert batch.labels.tolist() == clips.labels[clips.train[drawn.numpy()]].tolist()
