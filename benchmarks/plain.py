"""The plain way: what one writes who follows the reference study, with torch's and torchaudio's own parts.

One clip per call is read from its audio file and augmented, two loader workers do that, the mel spectrogram
is computed for each batch, and a student's teacher runs in every step. Models, distillation term and metric
are those of the toolkit, so that both ways train the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from bench.data.corpora.base import Corpus
from bench.data.torchaudio_import import transforms
from bench.device import CPU
from bench.quality.metrics import Floats, au_fa_fr
from compressors.chain import parse
from compressors.losses import softened_kl
from models.base import KwsModel, ModelOutput
from models.registry import build, family
from models.task import KeywordTask

SEED = 123
BATCH = 128
WORKERS = 2
SAMPLE_RATE_HZ = 16_000
ALPHA, TEMPERATURE = 0.95, 2.0
BACKGROUND_SNR_DB = 1.0
Batch = tuple[Tensor, Tensor]


class ClipDataset(Dataset[tuple[Tensor, int]]):
    """Clips of a folder, decoded when they are asked for.

    Args:
        root: The folder.
        sources: Paths within it.
        labels: 1 for the keyword, 0 for all else, shape (N,).
        noise: Background noise, shape (S,); None: no augmentation.
    """

    def __init__(
        self, root: Path, sources: list[str], labels: npt.NDArray[np.int64], noise: Tensor | None
    ) -> None:
        self.root, self.sources, self.labels, self.noise = root, sources, labels, noise

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        samples, rate_hz = soundfile.read(self.root / self.sources[index], dtype="float32")
        if rate_hz != SAMPLE_RATE_HZ or samples.ndim != 1:
            raise ValueError(f"{self.sources[index]}: the plain way takes mono clips of {SAMPLE_RATE_HZ} Hz")
        wave = torch.from_numpy(samples)
        return wave if self.noise is None else augment(wave, self.noise), int(self.labels[index])


def augment(wave: Tensor, noise: Tensor) -> Tensor:
    """One of four, for one clip (L,): nothing, Gaussian noise, a lower gain, background noise at 1 dB."""
    kind = int(torch.randint(4, ()))
    if kind == 1:
        wave = wave + 0.01 * torch.randn_like(wave)
    elif kind == 2:
        wave = wave * 0.25
    elif kind == 3:
        if len(noise) > len(wave):
            start = int(torch.randint(len(noise) - len(wave), ()))
            piece = noise[start : start + len(wave)]
        else:
            piece = torch.randn_like(wave)
        ratio = wave.square().mean() / piece.square().mean().clamp_min(1e-12)
        wave = wave + piece * (ratio / 10 ** (BACKGROUND_SNR_DB / 10)).sqrt()
    return wave.clamp(-1, 1)


def collate(clips: list[tuple[Tensor, int]]) -> Batch:
    """Waveforms zero-padded to the longest (B, L), and labels (B,)."""
    waves, labels = zip(*clips, strict=True)
    return pad_sequence(list(waves), batch_first=True), torch.tensor(labels)


@dataclass(frozen=True, eq=False)
class PlainData:
    """The loaders of a run.

    Attributes:
        train: Balanced, with replacement, as many draws as there are training clips; augmented.
        validation: In order, as they are.
        test: The same.
    """

    train: DataLoader[tuple[Tensor, int]]
    validation: DataLoader[tuple[Tensor, int]]
    test: DataLoader[tuple[Tensor, int]]

    @classmethod
    def of(cls, root: Path, corpus: Corpus, keyword: str) -> PlainData:
        """Loaders of the same clips and splits as the corpus has."""
        labels, sources = corpus.labels(KeywordTask(keyword)), corpus.clips["source"].to_numpy()
        noise = torch.from_numpy(np.asarray(corpus.noise, dtype=np.float32) / 32768)
        loader = partial(DataLoader, batch_size=BATCH, num_workers=WORKERS, collate_fn=collate)
        train, validation, test = (corpus.indices(split) for split in ("train", "validation", "test"))
        weights = 1 / np.bincount(labels[train])[labels[train]]
        sampler = WeightedRandomSampler(weights.tolist(), len(train), replacement=True)
        dataset = ClipDataset(root, sources[train].tolist(), labels[train], noise)
        held_out = (
            ClipDataset(root, sources[rows].tolist(), labels[rows], None) for rows in (validation, test)
        )
        return cls(loader(dataset, sampler=sampler), *map(loader, held_out))


class LogMel(nn.Module):
    """Waveforms (B, L) to log-mel (B, M, T); in training, masks on the power spectrogram."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = transforms.MelSpectrogram(SAMPLE_RATE_HZ, n_fft=400, hop_length=160, n_mels=40)
        self.masks = nn.Sequential(transforms.FrequencyMasking(15), transforms.TimeMasking(35))

    def forward(self, waves: Tensor) -> Tensor:
        """See the class."""
        power: Tensor = self.mel(waves)
        if self.training:
            power = self.masks(power)
        return power.clamp(1e-9, 1e9).log()


class PlainTraining:
    """A model in training on a device: the base, or a student where a teacher is given."""

    def __init__(self, model: KwsModel, teacher: nn.Module | None, device: torch.device = CPU) -> None:
        self.device, self.model, self.features = device, model.to(device), LogMel().to(device)
        self.teacher = teacher if teacher is None else teacher.to(device)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, weight_decay=1e-5)

    def train_epoch(self, loader: DataLoader[tuple[Tensor, int]]) -> float:
        """One pass; returns the mean loss."""
        self.model.train()
        self.features.train()
        total = 0.0
        for waves, labels in loader:
            features = self.features(waves.to(self.device))
            loss = self.loss(features, labels.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.model.parameters(), 5)
            self.optimizer.step()
            total += loss.item()
        return total / len(loader)

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy; for a student a little of it, and the divergence of logits and attention."""
        output: ModelOutput = self.model(features)
        task = functional.cross_entropy(output.logits, labels)
        if self.teacher is None:
            return task
        with torch.no_grad():
            taught: ModelOutput = self.teacher(features)
        assert output.energies is not None
        assert taught.energies is not None
        dark = softened_kl(output.logits, taught.logits, TEMPERATURE)
        attention = softened_kl(output.energies, taught.energies, TEMPERATURE)
        return (1 - ALPHA) * task + ALPHA / 2 * dark + ALPHA / 2 * attention

    def score(self, loader: DataLoader[tuple[Tensor, int]]) -> tuple[npt.NDArray[np.int64], Floats]:
        """Labels and keyword probabilities of held-out clips."""
        self.model.eval()
        self.features.eval()
        labels, probabilities = [], []
        with torch.no_grad():
            for waves, batch_labels in loader:
                logits = self.model(self.features(waves.to(self.device))).logits.cpu()
                probabilities.append(torch.softmax(logits.double(), dim=1)[:, 1])
                labels.append(batch_labels)
        return torch.cat(labels).numpy(), torch.cat(probabilities).numpy()

    def epoch(self, data: PlainData) -> float:
        """Trains for an epoch and returns au_fa_fr on validation."""
        self.train_epoch(data.train)
        return au_fa_fr(*self.score(data.validation))


def base_model() -> KwsModel:
    """The uncompressed base, freshly initialised."""
    return build(family("crnn").default)


def student_model() -> KwsModel:
    """The AD+KD student, freshly initialised."""
    default = family("crnn").default
    return build(parse("ad+kd", default).student(default))


def au_fa_fr_by_sweep(labels: npt.NDArray[np.int64], probabilities: Floats) -> float:
    """The metric as its definition reads: every threshold against every clip, in O(n^2)."""
    clips, keyword = len(labels), labels == 1
    alarms, rejects = [], []
    for threshold in np.concatenate([[0.0], np.sort(probabilities), [1.0]]):
        detected = probabilities >= threshold
        alarms.append((detected & ~keyword).sum() / clips)
        rejects.append((~detected & keyword).sum() / clips)
    return float(np.trapezoid(rejects[::-1], alarms[::-1]))
