"""Tones for words: bench run --plugin examples/corpus_tones.py --data tones --keyword high."""

import numpy as np
import pandas as pd

from bench.data.corpora import register
from bench.data.corpora.base import Corpus, cache_dir, load_corpus, of_length, write_corpus
from models.front_end import SAMPLE_RATE_HZ
from models.task import Task

PITCH_HZ = {"low": 300, "middle": 600, "high": 1200}


@register("tones")
def tones(task: Task | None, progress: bool) -> Corpus:
    """Twenty 'speakers' who differ in pitch, six takes of each word, in noise; clips as long as is asked."""
    samples = task.clip_samples if task else SAMPLE_RATE_HZ
    folder = cache_dir() / "corpora" / of_length("tones-1", samples)
    if folder.exists():
        return load_corpus(folder)
    rng = np.random.default_rng(0)
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    rows, waves = [], []
    for speaker in range(20):
        split = "train" if speaker < 12 else "validation" if speaker < 16 else "test"
        for word, pitch_hz in PITCH_HZ.items():
            for take in range(6):
                wave = np.sin(2 * np.pi * pitch_hz * rng.normal(1, 0.1) * time_s) * np.hanning(samples)
                waves.append(3000 * wave + rng.normal(0, 1500, samples))
                rows.append((word, f"s{speaker}", split, f"{word}/s{speaker}_{take}"))
    return write_corpus(
        folder,
        name="tones",
        content_hash=folder.name,
        clips=pd.DataFrame(rows, columns=["word", "speaker", "split", "source"]),
        waveforms=[np.array(waves).astype(np.int16)],
        noise=np.zeros(0, np.int16),
        clip_samples=samples,
    )
