import errno
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import bench.data.features as subject
from bench import files
from bench.config import RECIPES, Augmentation, Recipe, seed_from
from bench.data.corpora.base import Corpus
from bench.data.features import LOG_FLOOR, augment, features_of, log_mel, mask_, mix_at_snr, shift_in_time
from bench.device import CPU, torch_device
from bench.files import NoRoomError

# Of the tones, with a version of each clip and the default recipe.
CPU_NAMES = {"d4fec29f405e0afe.npy", "98dbf7e3e75a74bf.npy"}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_log_mel_is_the_written_recipe(device: torch.device) -> None:
    """By NumPy: reflected edges, Hann window, power, HTK triangles, natural logarithm."""
    wave = np.random.default_rng(0).normal(0, 0.1, 16000)
    padded = np.pad(wave, 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([padded[start : start + 400] * window for start in range(0, 16001, 160)])
    power = abs(np.fft.rfft(frames, axis=1)) ** 2
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 42)
    edges_hz = 700 * (10 ** (mels / 2595) - 1)
    bins_hz = np.linspace(0, 8000, 201)
    left, centre, right = (edges_hz[i : i + 40, None] for i in range(3))
    triangles = np.clip(
        np.minimum((bins_hz - left) / (centre - left), (right - bins_hz) / (right - centre)), 0, None
    )
    expected = np.log(np.clip(triangles @ power.T, 1e-9, 1e9))
    found = log_mel(torch.tensor(wave, dtype=torch.float32)[None].to(device))[0]
    assert found.device == device
    assert found.shape == (40, 101)
    np.testing.assert_allclose(found.cpu().numpy(), expected, atol=2e-3)


def test_silence_is_the_floor() -> None:
    assert log_mel(torch.zeros(1, 16000)).unique().tolist() == pytest.approx([LOG_FLOOR])


def test_masking_features_is_masking_power() -> None:
    """The study masks the power spectrogram with zeros, before the logarithm."""
    from bench.data.torchaudio_import import transforms

    recipe = replace(RECIPES["kws-hw"])
    power = torch.rand(4, 40, 101) + 0.1
    torch.manual_seed(3)
    ours = mask_(power.log(), recipe)
    torch.manual_seed(3)
    masked = transforms.TimeMasking(35)(transforms.FrequencyMasking(15)(power.unsqueeze(1))).squeeze(1)
    torch.testing.assert_close(ours, masked.clamp(1e-9, 1e9).log())
    assert (ours == LOG_FLOOR).any()


def test_masks_of_each_clip_differ_and_of_a_batch_do_not() -> None:
    features = torch.zeros(32, 40, 101)
    for recipe, patterns in ((Recipe(), 32), (RECIPES["kws-hw"], 1)):
        torch.manual_seed(1)
        masked = mask_(features.clone(), recipe) == LOG_FLOOR
        found = len(masked.flatten(1).unique(dim=0))
        assert found == 1 if patterns == 1 else found > 20
        # A mask over mels hides whole rows, a mask over time whole columns, and neither hides all.
        rows, columns = masked.all(2), masked.all(1)
        torch.testing.assert_close(masked, rows.unsqueeze(2) | columns.unsqueeze(1))
        assert rows.sum(1).max() < recipe.max_mel_mask
        assert columns.sum(1).max() < recipe.max_time_mask


def test_shift_moves_and_fills_with_zeros() -> None:
    waves = torch.arange(1.0, 6.0).repeat(3, 1)
    found = shift_in_time(waves, torch.tensor([0, 2, -1]))
    assert found.tolist() == [[1, 2, 3, 4, 5], [0, 0, 1, 2, 3], [2, 3, 4, 5, 0]]


@pytest.mark.parametrize("snr_db", [-5.0, 1.0, 20.0])
def test_noise_is_mixed_at_the_asked_ratio(snr_db: float) -> None:
    waves, noise = torch.randn(3, 16000) * torch.tensor([[0.1], [0.5], [1.0]]), torch.randn(3, 16000) * 0.3
    added = mix_at_snr(waves, noise, torch.full((3,), snr_db)) - waves
    ratio = 10 * torch.log10(waves.square().mean(1) / added.square().mean(1))
    torch.testing.assert_close(ratio, torch.full((3,), snr_db), atol=1e-3, rtol=0)


def test_the_studys_augmentation_draws_one_of_four() -> None:
    waves = torch.full((4000, 8), 0.5)
    noise = torch.ones(100) * 0.1
    how = Augmentation(one_of_four=True)
    found = augment(waves, how, noise, generator())
    quiet = (found == 0.125).all(1).float().mean().item()
    same = (found == 0.5).all(1).float().mean().item()
    louder = 0.5 + 0.5 * 10 ** (-1 / 20)
    background = (found - louder).abs().max(1).values.lt(1e-5).float().mean().item()
    assert (same, quiet, background) == pytest.approx((0.25, 0.25, 0.25), abs=0.03)
    rest = found[
        ((found - 0.5).abs() > 0).any(1) & ((found - 0.125).abs() > 0.1).all(1) & (found < 0.7).all(1)
    ]
    assert (rest - 0.5).std().item() == pytest.approx(0.01, rel=0.05)


def test_augmentation_depends_on_the_generator_alone() -> None:
    waves, noise = torch.randn(5, 16000) * 0.1, torch.randn(40000) * 0.1
    first, again = (augment(waves, Augmentation(), noise, generator()) for _ in range(2))
    other = augment(waves, Augmentation(), noise, torch.Generator().manual_seed(1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.abs().max() <= 1


def bank_by_hand(corpus: Corpus, how: Augmentation, device: torch.device) -> torch.Tensor:
    """A version of all training clips, in one block."""
    draws = torch.Generator().manual_seed(seed_from("bank", 0, 0, 0))
    train = corpus.waveforms[corpus.indices("train")]
    waves, noise = (torch.from_numpy(x / np.float32(32768)).to(device) for x in (train, corpus.noise))
    found = augment(waves, how, noise, draws)
    assert found.device == device
    return found.cpu()


@pytest.mark.parametrize("how", [Augmentation(), Augmentation(one_of_four=True)], ids=["ours", "the study's"])
def test_every_device_hears_the_same(how: Augmentation, device: torch.device, tone_corpus: Corpus) -> None:
    """The same clips louder, shifted and in the same noise; features to 1e-4, and to a half in the bank."""
    corpus = replace(tone_corpus, waveforms=np.asarray(tone_corpus.waveforms))
    heard = bank_by_hand(corpus, how, device)
    torch.testing.assert_close(heard, bank_by_hand(corpus, how, CPU), atol=1e-5, rtol=0)
    features = features_of(corpus, Recipe(versions=1, augmentation=how), 0, device=device)
    assert (features.clean.device, features.bank.device) == (CPU, CPU)
    torch.testing.assert_close(features.bank[0], log_mel(heard).half(), atol=2e-2, rtol=0)
    clean = log_mel(torch.from_numpy(corpus.waveforms / np.float32(32768)))
    torch.testing.assert_close(features.clean, clean, atol=1e-4, rtol=0)


def test_white_noise_is_the_same_everywhere(device: torch.device) -> None:
    how = Augmentation(shift_ms=0, gain_db=0, noise_share=1)
    waves = 0.1 * torch.randn(4, 16000, generator=generator())
    found, expected = (
        augment(waves.clone().to(at), how, torch.zeros(0, device=at), generator()).cpu()
        for at in (device, CPU)
    )
    assert not torch.equal(expected, waves)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_features_of_two_devices_never_meet(
    tone_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They differ in the last bits. The CPU's keep the names that they had before there were others."""
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path))
    fill = lambda target, *_: target.fill(0)  # noqa: E731
    monkeypatch.setattr(subject, "_fill_clean", fill)
    monkeypatch.setattr(subject, "_fill_bank", fill)
    names = []
    for kind in ("cpu", "cuda", "mps"):
        features_of(tone_corpus, Recipe(versions=1), 0, device=torch_device(kind))
        names.append({path.name for path in (tmp_path / "features").glob("*.npy")})
    assert [len(found) for found in names] == [2, 4, 6]
    assert names[0] == CPU_NAMES


def test_every_device_hides_the_same(device: torch.device) -> None:
    for recipe in (Recipe(), RECIPES["kws-hw"]):
        hidden = []
        for at in (device, CPU):
            torch.manual_seed(1)
            hidden.append(mask_(torch.zeros(8, 40, 101, device=at), recipe).cpu() == LOG_FLOOR)
        assert hidden[1].any()
        assert torch.equal(*hidden)


def test_the_bank_holds_versions_of_training_clips(
    tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(versions=2)
    features = features_of(tone_corpus, recipe, seed=0)
    train = tone_corpus.indices("train")
    assert features.clean.shape == (240, 40, 101)
    assert features.bank.shape == (2, len(train), 40, 101)
    waves = torch.from_numpy(tone_corpus.waveforms[:3].astype(np.float32) / 32768)
    torch.testing.assert_close(features.clean[:3], log_mel(waves), atol=1e-5, rtol=0)
    assert not torch.equal(features.bank[0], features.bank[1])
    monkeypatch.setattr(subject, "log_mel", None)  # what is there is not made again
    again = features_of(tone_corpus, recipe, seed=0)
    assert torch.equal(again.bank, features.bank)


def test_features_of_two_clip_lengths_never_meet(tone_corpus: Corpus) -> None:
    """Even of corpora under one hash: the key holds the length itself."""
    recipe = Recipe(versions=1)
    for _ in range(2):
        for samples, frames in ((16_000, 101), (8_000, 51), (12_000, 76)):
            corpus = replace(tone_corpus, waveforms=np.asarray(tone_corpus.waveforms)[:, :samples])
            features = features_of(corpus, recipe, seed=0)
            assert features.clean.shape == (240, 40, frames)
            assert features.bank.shape[2:] == (40, frames)


def test_an_unaugmented_bank_is_the_clean_features_in_half_precision(tone_corpus: Corpus) -> None:
    recipe = Recipe(versions=1, augmentation=Augmentation(shift_ms=0, gain_db=0, noise_share=0))
    features = features_of(tone_corpus, recipe, seed=0)
    train = torch.from_numpy(tone_corpus.indices("train"))
    torch.testing.assert_close(features.bank[0], features.clean[train].half())


def test_too_little_room_is_said_before(
    tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: SimpleNamespace(total=2000, free=1000))
    monkeypatch.setattr(subject, "_fill_clean", None)
    # 240 clips of 40 bands and 101 frames, 4 bytes each.
    with pytest.raises(
        NoRoomError, match=r"features.*npy: .* needs 3,878,400 bytes and 1,000 are free.*CACHE"
    ):
        features_of(tone_corpus, Recipe(), seed=0)
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room is not taken ahead here")
def test_room_that_others_took_meanwhile_is_an_error_and_not_the_end_of_the_process(
    tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path))
    asked: list[tuple[int, int]] = []

    def full(file: int, start: int, length: int) -> None:
        asked.append((start, length))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoRoomError, match="No space left on device; it needs 3,878,400 bytes"):
        features_of(tone_corpus, Recipe(), seed=0)
    assert asked == [(0, 128 + 3_878_400)], "all of the file, with its header"
    assert [path.suffix for path in (tmp_path / "features").iterdir()] == [".lock"]
