"""From waveforms to log-mel features: augmentation, masks, and the bank of features made ahead."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from numpy.lib.format import open_memmap
from torch import Tensor, nn

from bench.config import Augmentation, Recipe, content_hash, seed_from
from bench.data.corpora.base import Corpus, cache_dir
from bench.data.torchaudio_import import functional, transforms
from bench.device import CPU
from bench.files import replacing
from bench.threads import threads
from models.front_end import SAMPLE_RATE_HZ, FrontEnd

POWER_FLOOR, POWER_CEILING = 1e-9, 1e9
DEFAULT = FrontEnd()
LOG_FLOOR = float(np.log(POWER_FLOOR))
# Raised whenever the features of the same waveform would change.
VERSION = 2
BLOCK_CLIPS = 512


@cache
def mel_power(front_end: FrontEnd, center: bool, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What makes the mel power spectrogram (B, M, T) of samples (B, L)."""
    mel: nn.Module = transforms.MelSpectrogram(
        SAMPLE_RATE_HZ,
        n_fft=front_end.window_samples,
        hop_length=front_end.hop_samples,
        n_mels=front_end.mels,
        center=center,
    )
    return mel.to(device)


def log_mel(waves: Tensor, front_end: FrontEnd = DEFAULT, *, center: bool = True) -> Tensor:
    """Natural logarithm of the mel power spectrogram, as in the reference study.

    Windows of 25 ms every 10 ms and 40 bands unless the front end says otherwise, on the HTK scale, power
    clamped to [1e-9, 1e9].

    Args:
        waves: Samples within [-1, 1] at 16 kHz, shape (B, L) or (L,), on any device.
        front_end: Bands and windows.
        center: Windows are centred on their frames, the edges of the audio reflected; else the first one
            begins where the samples do.

    Returns:
        Shape (B, M, T) or (M, T), T as ``front_end.frames`` says.
    """
    power = mel_power(front_end, center, waves.device)(waves)
    return power.clamp(POWER_FLOOR, POWER_CEILING).log()


def to_float(waveforms: npt.NDArray[np.int16]) -> Tensor:
    """int16 samples as floats within [-1, 1)."""
    return torch.from_numpy(np.ascontiguousarray(waveforms).astype(np.float32) / 32768.0)


def augment(waves: Tensor, how: Augmentation, noise: Tensor, generator: torch.Generator) -> Tensor:
    """One augmented version of each clip, clamped to [-1, 1].

    Args:
        waves: Samples within [-1, 1], shape (B, L).
        how: What may be drawn.
        noise: Background noise to cut pieces from, shape (S,); white noise where it is shorter than a clip.
            On the device of the waves.
        generator: Source of all draws, on the CPU: they are the same for every device.
    """
    if how.one_of_four:
        return _one_of_four(waves, noise, generator)
    batch, device = len(waves), waves.device
    shift = torch.rand(batch, generator=generator).mul(2).sub(1) * how.shift_ms * SAMPLE_RATE_HZ / 1000
    waves = shift_in_time(waves, shift.round().long())
    noisy = (torch.rand(batch, generator=generator) < how.noise_share).nonzero().flatten().to(device)
    snr_db = torch.empty(len(noisy)).uniform_(*how.snr_db, generator=generator)
    pieces = _pieces(noise, waves[noisy].shape, generator)
    waves[noisy] = mix_at_snr(waves[noisy], pieces, snr_db.to(device))
    gain_db = torch.rand(batch, 1, generator=generator).mul(2).sub(1) * how.gain_db
    return waves.mul_((10 ** (gain_db / 20)).to(device)).clamp_(-1, 1)


def shift_in_time(waves: Tensor, shift: Tensor) -> Tensor:
    """Moves clip b of (B, L) by shift[b] samples, to the right where positive; zeros come in.

    The shift is on the CPU, on whatever device the waves are.
    """
    batch, samples = waves.shape
    widest = int(shift.abs().max())
    padded = torch.nn.functional.pad(waves, (widest, widest))
    starts = (widest - shift).to(waves.device)
    return padded.unfold(1, samples, 1)[torch.arange(batch, device=waves.device), starts]


def mix_at_snr(waves: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Adds noise (B, L) at a signal-to-noise ratio for each clip (B,), by power over the whole clip."""
    signal_power, noise_power = waves.square().mean(1), noise.square().mean(1).clamp_min(1e-12)
    scale = (signal_power / noise_power / 10 ** (snr_db / 10)).sqrt()
    return waves + scale.unsqueeze(1) * noise


def _pieces(noise: Tensor, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """A piece of noise for each clip, shape (B, L)."""
    batch, samples = shape
    if len(noise) < samples:
        return torch.randn(shape, generator=generator).to(noise.device)
    start = torch.randint(len(noise) - samples + 1, (batch,), generator=generator)
    return noise.unfold(0, samples, 1)[start.to(noise.device)]


def _one_of_four(waves: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    """The study's draw: nothing, Gaussian noise of sigma .01, gain .25, or background noise at 1 dB."""
    choice = torch.randint(4, (len(waves),), generator=generator).to(waves.device)
    hiss, quiet, background = ((choice == kind).nonzero().flatten() for kind in (1, 2, 3))
    drawn = waves.clone()
    drawn[hiss] += 0.01 * torch.randn(drawn[hiss].shape, generator=generator).to(waves.device)
    drawn[quiet] *= 0.25
    pieces = _pieces(noise, drawn[background].shape, generator)
    drawn[background] = mix_at_snr(drawn[background], pieces, waves.new_ones(len(background)))
    return drawn.clamp_(-1, 1)


def mask_(features: Tensor, recipe: Recipe, front_end: FrontEnd = DEFAULT) -> Tensor:
    """Hides a band of mels and a span of frames (SpecAugment) in place, drawn from torch's CPU generator.

    The study masks power before the logarithm; filling with the logarithm of the floor is the same.

    Args:
        features: Log-mel, shape (B, M, T).
        recipe: Holds the widest masks, and whether each clip gets its own.
        front_end: What the features were made by; masks hide as great a share of its bands, as long a time.
    """
    most_mels = round(recipe.max_mel_mask * front_end.mels / DEFAULT.mels)
    most_frames = round(recipe.max_time_mask * DEFAULT.hop_ms / front_end.hop_ms)
    cover = functional.mask_along_axis_iid if recipe.mask_per_clip else functional.mask_along_axis
    batch, mels, frames = features.shape
    # Drawn on one thin strip for each axis: on the features themselves it takes ten times as long. On the
    # CPU, so that every device hides the same.
    mel_strip, time_strip = torch.zeros(batch, 1, mels, 1), torch.zeros(batch, 1, 1, frames)
    if most_mels:
        mel_strip = cover(mel_strip, most_mels, 1.0, 2)
    if most_frames:
        time_strip = cover(time_strip, most_frames, 1.0, 3)
    hidden = ((mel_strip + time_strip) > 0).squeeze(1)
    return features.masked_fill_(hidden.to(features.device), LOG_FLOOR)


@dataclass(frozen=True, eq=False)
class Features:
    """The features of a corpus, memory-mapped.

    Attributes:
        clean: Of every clip as it is, float32, shape (N, M, T), in the order of the corpus.
        bank: Augmented versions of the training clips, float16, shape (V, n, M, T); V may be 0.
    """

    clean: Tensor
    bank: Tensor


def features_of(
    corpus: Corpus, recipe: Recipe, seed: int, front_end: FrontEnd = DEFAULT, device: torch.device = CPU
) -> Features:
    """Computes the features of a corpus, or finds those made before for the same clips, recipe and front end.

    They do not depend on what is asked of them. Made under a lock, so that two processes make them once.

    Args:
        corpus: Whose clips.
        recipe: How they are augmented.
        seed: Of all draws, which are the same on every device.
        front_end: Bands and windows.
        device: Where they are computed; those of different kinds differ by rounding, and are kept apart.
    """
    shape = (front_end.mels, front_end.frames(corpus.clip_samples))
    heard = _heard(corpus, front_end) | ({} if device == CPU else {"device": device.type})
    clean = stored(
        {"clean": corpus.hash, "version": VERSION} | heard,
        (len(corpus.waveforms), *shape),
        np.float32,
        lambda target: _fill_clean(target, corpus, front_end, device),
    )
    train = corpus.indices("train")
    augmentation = recipe.augmentation
    key = {"bank": corpus.hash, "how": augmentation, "V": recipe.versions, "seed": seed, "version": VERSION}
    bank = stored(
        key | heard,
        (recipe.versions, len(train), *shape),
        np.float16,
        lambda target: _fill_bank(target, corpus, augmentation, seed, front_end, device),
    )
    return Features(clean, bank)


def _heard(corpus: Corpus, front_end: FrontEnd) -> dict[str, Any]:
    """What a key holds of clip length and front end: nothing where they are those of the first version."""
    usual = (front_end, corpus.clip_samples) == (DEFAULT, SAMPLE_RATE_HZ)
    return {} if usual else {"front_end": front_end, "samples": corpus.clip_samples}


def _fill_clean(
    target: npt.NDArray[np.float32], corpus: Corpus, front_end: FrontEnd, device: torch.device
) -> None:
    for start in range(0, len(target), BLOCK_CLIPS):
        block = slice(start, start + BLOCK_CLIPS)
        target[block] = log_mel(to_float(corpus.waveforms[block]).to(device), front_end).cpu().numpy()


def _fill_bank(
    target: npt.NDArray[np.float16],
    corpus: Corpus,
    how: Augmentation,
    seed: int,
    front_end: FrontEnd,
    device: torch.device,
) -> None:
    noise, train = to_float(corpus.noise).to(device), corpus.indices("train")

    def fill(version: int, start: int) -> None:
        generator = torch.Generator().manual_seed(seed_from("bank", seed, version, start))
        waves = to_float(corpus.waveforms[train[start : start + BLOCK_CLIPS]]).to(device)
        heard = log_mel(augment(waves, how, noise, generator), front_end)
        target[version, start : start + BLOCK_CLIPS] = heard.cpu().numpy()

    blocks = itertools.product(range(target.shape[0]), range(0, len(train), BLOCK_CLIPS))
    # Blocks side by side use the cores better than each operation spread over all of them. A card has its
    # own ways to be busy.
    with threads(1), ThreadPoolExecutor(os.cpu_count() if device == CPU else 1) as pool:
        for done in [pool.submit(fill, *block) for block in blocks]:
            done.result()


def stored(
    key: object, shape: tuple[int, ...], dtype: type[np.generic], fill: Callable[[npt.NDArray[Any]], None]
) -> Tensor:
    """An array from the cache, made there first if it is missing; mapped, not read.

    Args:
        key: All that determines it.
        shape: Its shape.
        dtype: Of its numbers.
        fill: Makes it, in place.
    """
    if 0 in shape:
        return torch.zeros(shape, dtype=torch.float16)
    folder = cache_dir() / "features"
    path = folder / f"{content_hash(key)}.npy"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            with replacing(path, int(np.prod(shape)) * np.dtype(dtype).itemsize) as scratch:
                array = open_memmap(scratch, mode="w+", dtype=dtype, shape=shape)
                _reserve(scratch)
                fill(array)
                array.flush()
    # Mapped copy-on-write: torch wants a writable array, and the file stays as it is.
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def _reserve(path: Path) -> None:
    """Takes a file's room on the disk: filling a map of one that finds none kills the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
