from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

import bench.stress.waves as subject
from bench.data.corpora.base import Corpus
from bench.stress.conditions import CONDITIONS, NOISES, Condition
from bench.stress.waves import Material, at_rate, degraded, in_room
from models.task import KeywordTask

Floats = npt.NDArray[np.float64]
RATE_HZ = 16_000


@pytest.fixture
def material(tone_corpus: Corpus) -> Material:
    test = tone_corpus.indices("test")
    return Material(tone_corpus, test[tone_corpus.labels(KeywordTask("start"))[test] == 0])


def clips_of(material: Material, rows: npt.NDArray[np.int64]) -> Floats:
    return np.asarray(material.corpus.waveforms[rows], dtype=np.float64) / 32768


def speech_power(clip: Floats) -> float:
    """Mean power of the 20 ms frames that are at most 30 dB below the loudest."""
    frames = [float(np.mean(clip[at : at + 320] ** 2)) for at in range(0, len(clip) - 319, 320)]
    return float(np.mean([power for power in frames if power >= max(frames) / 1000]))


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("snr_db", [20.0, 5.0, -5.0])
def test_the_ratio_is_the_one_asked_for(material: Material, kind: str, snr_db: float) -> None:
    rows = material.corpus.indices("test")[:6]
    clean = clips_of(material, rows)
    noise = degraded(Condition("snr", kind, snr_db), rows, material) - clean
    achieved = [
        10 * np.log10(speech_power(clip) / np.mean(of_clip**2))
        for clip, of_clip in zip(clean, noise, strict=True)
    ]
    np.testing.assert_allclose(achieved, snr_db, atol=0.02)


@pytest.mark.parametrize("kind", NOISES)
def test_a_clip_gets_the_same_noise_at_every_ratio_and_among_any_others(
    material: Material, kind: str
) -> None:
    rows = material.corpus.indices("test")[:4]
    clean = clips_of(material, rows)
    loud, quiet = (
        degraded(Condition("snr", kind, snr_db), rows, material) - clean for snr_db in (-5.0, 15.0)
    )
    np.testing.assert_allclose(loud, 10 * quiet, atol=2e-5)
    alone = degraded(Condition("snr", kind, -5.0), rows[2:3], material)
    np.testing.assert_array_equal(alone[0], (loud + clean)[2].astype(np.float32))
    assert np.abs(np.corrcoef(loud)[~np.eye(4, dtype=bool)]).max() < 0.9, "each clip has its own"


def test_babble_is_of_other_speakers_other_words_and_the_same_split(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[list[Floats]] = []

    def babble(rng: np.random.Generator, voices: list[Floats]) -> Floats:
        heard.append(voices)
        return np.ones(16_000)

    monkeypatch.setattr(subject, "babble", babble)
    corpus, rows = material.corpus, material.corpus.indices("test")
    degraded(Condition("snr", "babble", 0.0), rows, material)
    clips = corpus.clips
    for row, voices in zip(rows, heard, strict=True):
        assert len(voices) == 6
        for voice in voices:
            (found,) = np.flatnonzero((corpus.waveforms == np.rint(voice * 32768)).all(axis=1))
            assert clips["speaker"][found] != clips["speaker"][row]
            assert clips["word"][found] != "start"
            assert clips["split"][found] == "test"


def test_background_is_cut_from_the_corpus_and_may_be_missing(material: Material) -> None:
    piece = material.background("background", 7, 16_000)
    noise = np.asarray(material.corpus.noise) / 32768
    starts = np.flatnonzero(np.isclose(noise[: len(noise) - 15_999], piece[0], atol=1e-9))
    assert any(np.array_equal(noise[start : start + 16_000], piece) for start in starts)
    assert material.has("background")
    none = Material(replace(material.corpus, noise=np.zeros(0, np.int16)), material.voices)
    assert not none.has("background")
    assert none.has("white")
    assert not Material(material.corpus, material.voices[:0]).has("babble")


@pytest.mark.parametrize("rt60_s", [0.2, 0.5, 0.8])
def test_rooms_decay_by_60_db_in_the_time_asked_for(rt60_s: float) -> None:
    """By Schroeder's backward integral of the response, from -10 to -35 dB below its start."""
    click = np.zeros(16_000)
    click[0] = 1.0
    measured = []
    for number in range(5):
        response = in_room(click, f"clip {number}", rt60_s)
        tail = response[round(0.03 * RATE_HZ) :]  # after the direct sound and the early reflections
        energy_db = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2) + 1e-12)
        fit = (energy_db < -5) & (energy_db > -30)
        slope = np.polyfit(np.flatnonzero(fit) / RATE_HZ, energy_db[fit], 1)[0]
        measured.append(-60 / slope)
    assert np.mean(measured) == pytest.approx(rt60_s, rel=0.05)
    assert max(measured) - min(measured) > 0, "every clip stands in a room of its own"


def test_rooms_keep_the_level_and_the_direct_sound_is_half_of_the_energy(material: Material) -> None:
    rows = material.corpus.indices("test")[:4]
    wet = degraded(Condition("reverberation", "", 0.5), rows, material).astype(np.float64)
    for before, after in zip(clips_of(material, rows), wet, strict=True):
        assert 10 * np.log10(speech_power(after) / speech_power(before)) == pytest.approx(0, abs=0.01)
    click = np.zeros(16_000)
    click[0] = 1.0
    responses = [in_room(click, f"clip {number}", 0.5) for number in range(20)]
    direct_db = [10 * np.log10(room[0] ** 2 / np.sum(room[1:] ** 2)) for room in responses]
    # 0 dB over the tail, less what 3 to 6 early reflections of 0.1 to 0.4 add.
    assert np.mean(direct_db) == pytest.approx(-1.2, abs=0.6)


@pytest.mark.parametrize("gain_db", [-24.0, -6.0, 12.0])
def test_levels_are_gains_cut_at_full_scale(material: Material, gain_db: float) -> None:
    rows = material.corpus.indices("test")[:4]
    clean = clips_of(material, rows) * 8  # loud enough for 12 dB to clip
    loud = replace(material.corpus, waveforms=np.clip(np.rint(clean * 32768), -32768, 32767).astype(np.int16))
    found = degraded(Condition("level", "", gain_db), np.arange(4), Material(loud, material.voices))
    wanted = np.asarray(loud.waveforms[:4], dtype=np.float64) / 32768 * 10 ** (gain_db / 20)
    inside = np.abs(wanted) <= 1
    np.testing.assert_allclose(found[inside], wanted[inside], rtol=1e-6, atol=1e-9)
    assert (np.abs(found[~inside]) == 1).all()
    assert (~inside).any() == (gain_db > 0)


@pytest.mark.parametrize("rate", [0.8, 0.9, 1.1, 1.25])
def test_speech_keeps_its_pitch_and_place_at_another_tempo(rate: float) -> None:
    """Two bursts of 440 Hz, 0.3 s apart."""
    time_s = np.arange(16_000) / RATE_HZ
    envelope = sum(np.exp(-0.5 * ((time_s - middle) / 0.03) ** 2) for middle in (0.4, 0.7))
    clip = 0.5 * np.sin(2 * np.pi * 440 * time_s) * envelope
    (slow,) = at_rate(clip[None], rate)
    power = np.convolve(slow**2, np.hanning(801) / 400, mode="same")
    left, right = np.argmax(power[: round(0.55 * RATE_HZ)]), np.argmax(power[round(0.55 * RATE_HZ) :])
    apart_s = (right + round(0.55 * RATE_HZ) - left) / RATE_HZ
    assert apart_s == pytest.approx(0.3 / rate, abs=0.01)
    spectrum = np.abs(np.fft.rfft(slow * np.hanning(16_000)))
    assert np.argmax(spectrum) == pytest.approx(440, abs=4)
    middle = np.sum(np.arange(16_000) * slow**2) / np.sum(slow**2)
    assert middle / RATE_HZ == pytest.approx(0.55, abs=0.005)
    assert 10 * np.log10(speech_power(slow) / speech_power(clip)) == pytest.approx(0, abs=0.01)


def test_at_its_own_rate_speech_is_as_it_was() -> None:
    clip = np.random.default_rng(0).standard_normal((2, 16_000)) * np.hanning(16_000) * 0.1
    np.testing.assert_allclose(at_rate(clip, 1.0), clip, atol=1e-5)


def test_silence_stays_silent_and_finite(material: Material) -> None:
    waves = np.zeros((3, 16_000), np.int16)
    silent = Material(
        replace(material.corpus, waveforms=np.concatenate([waves, material.corpus.waveforms])),
        material.voices + 3,
    )
    silent = replace(
        silent, corpus=replace(silent.corpus, clips=material.corpus.clips.iloc[[0, 0, 0, *range(240)]])
    )
    for condition in CONDITIONS:
        assert not degraded(condition, np.arange(3), silent).any()
