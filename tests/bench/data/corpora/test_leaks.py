from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.data.audio import read_clip
from bench.data.corpora.base import Corpus
from bench.data.corpora.leaks import COPY_CORRELATION, best_matches, find_leaks, fingerprints, loudest_dbfs

Int16 = npt.NDArray[np.int16]


def altered(
    clip: Int16, seed: int, *, gain_db: float = -6.0, shift: int = 320, snr_db: float = 30.0
) -> Int16:
    """Another level, 20 ms later, with white noise that far below the clip's mean power."""
    rng = np.random.default_rng(seed)
    wave = np.concatenate([np.zeros(shift), clip[: len(clip) - shift]]) * 10 ** (gain_db / 20)
    noise = rng.standard_normal(len(wave))
    noise *= np.sqrt(np.mean(wave**2) / np.mean(noise**2) / 10 ** (snr_db / 10))
    return np.clip(np.rint(wave + noise), -32768, 32767).astype(np.int16)


def with_clips(corpus: Corpus, clips: Sequence[tuple[str, Int16]], speaker: str = "new") -> Corpus:
    """A corpus with further clips, all of one speaker of the test split."""
    table = corpus.clips.copy()
    for source, _ in clips:
        table.loc[len(table)] = ["start", speaker, "test", source]
    waves = np.concatenate([np.asarray(corpus.waveforms), *(clip[None] for _, clip in clips)])
    return replace(corpus, waveforms=waves, clips=table)


def waveform_correlation(first: Int16, second: Int16) -> float:
    """The greatest normalized cross-correlation over all shifts, by its definition."""
    a, b = (wave.astype(float) - wave.mean() for wave in (first, second))
    product = np.fft.irfft(np.fft.rfft(a, 32768) * np.conj(np.fft.rfft(b, 32768)), 32768)
    return float(product.max() / np.sqrt((a**2).sum() * (b**2).sum()))


def test_tones_of_other_speakers_do_not_leak(tone_corpus: Corpus) -> None:
    leaks = find_leaks(tone_corpus)
    assert not leaks.found
    splits = [("train", "validation"), ("train", "test"), ("validation", "test")]
    assert [overlap.splits for overlap in leaks.overlaps] == splits
    assert leaks.silent == ()


@pytest.mark.parametrize("clip_samples", [8_000, 20_000, 64_000])
def test_copies_are_found_in_clips_of_any_length(clip_samples: int) -> None:
    """Harmonics under noise that no two takes share, one of them twice and once at another level."""
    rng = np.random.default_rng(0)
    time_s = np.arange(clip_samples) / 16_000
    takes = [
        sum(np.sin(2 * np.pi * n * rng.uniform(100, 250) * time_s) / n for n in range(1, 9)) * 2_000
        + rng.normal(0, 800, clip_samples)
        for _ in range(12)
    ]
    near = altered(takes[3].astype(np.int16), 0)
    prints = fingerprints(np.array([*takes, takes[3], near], np.float32) / 32_768).astype(np.float32)
    assert prints.shape == (14, 1_024), "bands of 2 Hz from 80 to 2128 Hz, of clips of any length"
    correlation = prints @ prints.T
    assert correlation[3, 12] == pytest.approx(1)
    assert correlation[3, 13] > COPY_CORRELATION
    others = correlation[:12, :12][~np.eye(12, dtype=bool)]
    assert others.max() < COPY_CORRELATION


def test_planted_clips_are_found_for_what_they_are(tone_corpus: Corpus) -> None:
    train, validation = (
        tone_corpus.waveforms[tone_corpus.indices(name)[3]] for name in ("train", "validation")
    )
    planted = [
        ("start/same.wav", np.array(train)),
        ("start/near.wav", altered(train, 0)),
        ("start/other.wav", altered(validation, 1)),
        ("start/silent.wav", np.zeros(16_000, np.int16)),
        ("start/hiss.wav", np.random.default_rng(2).integers(-20, 21, 16_000).astype(np.int16)),
    ]
    leaks = find_leaks(with_clips(tone_corpus, planted))
    _, train_test, validation_test = leaks.overlaps
    source = tone_corpus.clips["source"]
    first = source[tone_corpus.indices("train")[3]]
    assert [(copy.source, copy.copy) for copy in train_test.exact] == [(first, "start/same.wav")]
    assert [(copy.source, copy.copy) for copy in train_test.near] == [(first, "start/near.wav")]
    second = source[tone_corpus.indices("validation")[3]]
    assert [(copy.source, copy.copy) for copy in validation_test.near] == [(second, "start/other.wav")]
    assert validation_test.exact == ()
    assert leaks.silent == ("start/silent.wav", "start/hiss.wav")
    assert leaks.found


def test_a_speaker_in_two_splits_is_a_leak(tone_corpus: Corpus) -> None:
    rng = np.random.default_rng(0)
    clip = (rng.standard_normal(16_000) * 3000).astype(np.int16)
    leaks = find_leaks(with_clips(tone_corpus, [("start/new.wav", clip)], speaker="s00"))
    assert [overlap.speakers for overlap in leaks.overlaps] == [(), ("s00",), ()]
    assert [overlap.speaker_clips for overlap in leaks.overlaps] == [0, 1, 0]
    assert leaks.found


def test_fingerprints_ignore_level_and_correlate_as_numpy_says() -> None:
    waves = np.random.default_rng(0).standard_normal((3, 16_000)).astype(np.float32) * 0.1
    prints = fingerprints(waves)
    np.testing.assert_allclose(np.linalg.norm(prints, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(fingerprints(waves * 0.01), prints, atol=1e-4)
    assert prints[0] @ prints[1] == pytest.approx(np.corrcoef(prints[0], prints[1])[0, 1], abs=1e-5)
    assert (fingerprints(np.zeros((1, 16_000), np.float32)) == 0).all()


def test_best_matches_in_tiles_are_those_of_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((n, 8)).astype(np.float16) for n in (23, 31))
    monkeypatch.setattr("bench.data.corpora.leaks.TILE_CLIPS", (5, 7))
    best, where = best_matches(first, second)
    products = first.astype(np.float32) @ second.astype(np.float32).T
    np.testing.assert_allclose(best, np.maximum(products.max(axis=0), -1), rtol=1e-5)
    assert where.tolist() == products.argmax(axis=0).tolist()


def test_levels_are_those_of_the_loudest_20_ms() -> None:
    wave = np.zeros((2, 16_000), np.float32)
    wave[0, 320:640] = 0.1
    assert loudest_dbfs(wave).tolist() == pytest.approx([-20.0, -120.0], abs=1e-4)


def test_real_takes_are_told_from_copies(arabic: Path) -> None:
    """No two of 1,440 recordings reach the threshold, for none is a copy; every altered clip does."""
    words = ("start", "stop", "yes", "no", "zero", "forward")
    waves = np.stack(
        [read_clip(path, 16_000) for word in words for path in sorted((arabic / word).iterdir())]
    )
    assert waves.shape == (1440, 16_000)
    prints = fingerprints(waves.astype(np.float32) / 32768)
    products = np.triu(prints @ prints.T, 1)
    assert products.max() < 0.85 < COPY_CORRELATION
    copies = (
        np.stack([altered(clip, seed) for seed, clip in enumerate(waves[::8])]).astype(np.float32) / 32768
    )
    assert ((fingerprints(copies) * prints[::8]).sum(axis=1) >= COPY_CORRELATION).all()


def test_exit_statuses(tone_folder: Path) -> None:
    def run(*options: str) -> tuple[int, str]:
        outcome = CliRunner().invoke(
            main, ["data", "leaks", str(tone_folder), *options], catch_exceptions=False
        )
        return outcome.exit_code, outcome.output

    status, output = run()
    assert (status, output.splitlines()[-1]) == (0, "no leaks found")
    status, output = run("--split", "random")
    assert (status, output.splitlines()[-1]) == (1, "leaks found")
    assert "29 clips stand in two splits themselves" in output
    assert "speakers in train | validation+test: s00, s01, " in output


def test_clips_without_sound_are_no_copies_of_each_other(tone_corpus: Corpus) -> None:
    hiss = np.random.default_rng(0).integers(-30, 31, 16_000).astype(np.int16)
    names = ("start/zero.wav", "start/hiss.wav", "start/zero_test.wav", "start/hiss_test.wav")
    waves = (np.zeros(16_000, np.int16), hiss) * 2
    corpus = with_clips(tone_corpus, list(zip(names, waves, strict=True)))
    corpus.clips.loc[corpus.clips["source"].isin(names[:2]), ["split", "speaker"]] = ["train", "s00"]
    leaks = find_leaks(corpus)
    assert not leaks.found
    assert leaks.silent == names
