"""Reading audio: against whole-file resampling, brute force, and samples known beforehand."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, cast

import numpy as np
import pytest
import soundfile
import torch

from bench.data.audio import (
    READ_FRAMES,
    AudioError,
    is_audio,
    read_audio,
    read_clip,
    reduced_rates,
    stream_audio,
    to_int16,
)
from bench.data.corpora.base import Int16Array
from bench.data.cutting import fit_clip
from bench.data.torchaudio_import import functional

RATES_HZ = (8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000)


def noise(samples: int, seed: int = 0, level: float = 3_000.0) -> Int16Array:
    """Gaussian noise as int16, shape (samples,)."""
    return (np.random.default_rng(seed).standard_normal(samples) * level).astype(np.int16)


def whole_resampled(samples: Int16Array, rate_hz: int) -> Int16Array:
    """The whole file resampled at once, in double precision."""
    signal = torch.from_numpy(samples.astype(np.float64) / 32_768)
    resampled = functional.resample(signal, rate_hz, 16_000).numpy()
    whole: Int16Array = np.clip(np.rint(resampled * 32_768), -32_768, 32_767).astype(np.int16)
    return whole


@pytest.mark.parametrize("suffix", ["wav", "flac", "WAV", "FLAC"])
def test_int16_files_are_read_exactly(tmp_path: Path, suffix: str) -> None:
    samples = noise(2 * READ_FRAMES + 17)
    samples[:4] = (32_767, -32_768, 1, -1)
    soundfile.write(tmp_path / f"clip.{suffix}", samples, 16_000)
    read = read_audio(tmp_path / f"clip.{suffix}")
    assert read.dtype == np.int16
    np.testing.assert_array_equal(read, samples)


def test_stereo_is_the_mean_of_both_channels(tmp_path: Path) -> None:
    both = np.stack([noise(5_000, 1), noise(5_000, 2)], axis=1)
    soundfile.write(tmp_path / "clip.wav", both, 16_000)
    mean = np.rint(both.astype(np.float64).mean(axis=1))
    np.testing.assert_array_equal(read_audio(tmp_path / "clip.wav"), mean)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_other_rates_equal_resampling_the_whole_file(tmp_path: Path, rate_hz: int) -> None:
    samples = noise(2 * READ_FRAMES + 1_234)
    soundfile.write(tmp_path / "clip.flac", samples, rate_hz)
    read, truth = read_audio(tmp_path / "clip.flac"), whole_resampled(samples, rate_hz)
    assert read.shape == truth.shape
    assert np.abs(read.astype(int) - truth).max() <= 1


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
@pytest.mark.parametrize("length", [1, 2, 100, 441, 3_528, 7_057])
def test_short_files_equal_resampling_the_whole_file(tmp_path: Path, rate_hz: int, length: int) -> None:
    samples = noise(length)
    soundfile.write(tmp_path / "clip.wav", samples, rate_hz)
    read, truth = read_audio(tmp_path / "clip.wav"), whole_resampled(samples, rate_hz)
    assert read.shape == truth.shape
    assert np.abs(read.astype(int) - truth).max() <= 1


@pytest.mark.parametrize("rate_hz", [*RATES_HZ, 11_127, 47_999])
def test_a_tone_keeps_its_pitch_and_level(tmp_path: Path, rate_hz: int) -> None:
    tone = 10_000 * np.sin(2 * np.pi * 1_000 * np.arange(rate_hz) / rate_hz)
    soundfile.write(tmp_path / "tone.wav", np.rint(tone).astype(np.int16), rate_hz)
    read = read_audio(tmp_path / "tone.wav")
    assert abs(len(read) - 16_000) <= 12
    middle = read[4_000:12_000].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(8_000), 64_000))
    assert abs(int(spectrum.argmax()) / 64_000 * 16_000 - 1_000) < 1
    assert middle.std() == pytest.approx(10_000 / np.sqrt(2), rel=0.01)


def test_common_rates_are_not_rounded() -> None:
    for rate_hz in (*RATES_HZ, 12_000, 24_000, 37_800, 88_200, 176_400, 192_000):
        period_in, period_out = reduced_rates(rate_hz)
        assert period_in * 16_000 == period_out * rate_hz


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 8_000])
@pytest.mark.parametrize("block_samples", [1_000, 16_000, 70_000, 1_000_000])
def test_blocks_make_no_difference(tmp_path: Path, rate_hz: int, block_samples: int) -> None:
    soundfile.write(tmp_path / "long.wav", noise(150_001), rate_hz)
    whole = read_audio(tmp_path / "long.wav")
    blocks = list(stream_audio(tmp_path / "long.wav", block_samples))
    assert all(len(block) == block_samples for block in blocks[:-1])
    assert 0 < len(blocks[-1]) <= block_samples
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


@pytest.mark.parametrize("rate_hz", [16_000, 8_000])
def test_streaming_needs_no_more_memory_for_longer_files(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "long.wav", noise(3_000_000), rate_hz)
    next(stream_audio(tmp_path / "long.wav", 16_000))
    tracemalloc.start()
    try:
        samples = sum(len(block) for block in stream_audio(str(tmp_path / "long.wav"), 16_000))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert samples == 3_000_000 * 16_000 // rate_hz
    assert peak_bytes < 3_000_000


class Trickle(io.BytesIO):
    """A stream that gives few bytes at a time, like a pipe, and notes how many were taken."""

    def read(self, size: int | None = -1) -> bytes:
        """At most 333 bytes."""
        return super().read(min(size or 0, 333))


def test_raw_pcm_streams_come_in_blocks_as_they_are() -> None:
    samples = noise(10_500)
    stream = Trickle(samples.astype("<i2").tobytes() + b"\x01")
    blocks = stream_audio(cast(BinaryIO, stream), 1_000)
    np.testing.assert_array_equal(next(blocks), samples[:1_000])
    assert stream.tell() == 2_000
    rest = list(blocks)
    assert [len(block) for block in rest] == [1_000] * 9 + [500]
    np.testing.assert_array_equal(np.concatenate(rest), samples[1_000:])


def test_a_dash_is_raw_pcm_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(1_500)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(samples.astype("<i2").tobytes())))
    np.testing.assert_array_equal(np.concatenate(list(stream_audio("-", 1_000))), samples)


def test_blocks_without_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="block_samples"):
        stream_audio(io.BytesIO(), 0)


@pytest.mark.parametrize("length", [8_000, 16_000, 64_000])
def test_read_clip_is_as_long_as_asked_of_any_file(tmp_path: Path, length: int) -> None:
    path = tmp_path / "short.flac"
    soundfile.write(path, noise(7_000), 8_000)
    np.testing.assert_array_equal(read_clip(path, length), fit_clip(read_audio(path), length))
    assert read_clip(path, length).shape == (length,)


def test_float_files_are_scaled_and_clipped(tmp_path: Path) -> None:
    soundfile.write(
        tmp_path / "float.wav",
        np.array([0.5, -1.0, 1.0, 2.0, -3.0, 0.0], np.float32),
        16_000,
        subtype="FLOAT",
    )
    assert read_audio(tmp_path / "float.wav").tolist() == [16_384, -32_768, 32_767, 32_767, -32_768, 0]


def test_to_int16_gives_back_every_int16_value() -> None:
    values = np.arange(-32_768, 32_768).astype(np.int16)
    np.testing.assert_array_equal(to_int16(values.astype(np.float32) / np.float32(32_768)), values)


@pytest.mark.parametrize("kind", [("OGG", "OPUS"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
@pytest.mark.parametrize("name", ["clip", "clip.raw", "clip.wav"])
def test_compressed_speech_is_read_whole_and_close(tmp_path: Path, kind: tuple[str, str], name: str) -> None:
    """A chirp survives the coder: as long as it was, in its place, 20 dB above what the coder changed."""
    time_s = np.arange(24_000) / 16_000
    chirp = 0.4 * np.sin(2 * np.pi * (200 + 400 * time_s) * time_s)
    soundfile.write(str(tmp_path / name), chirp, 16_000, format=kind[0], subtype=kind[1])
    assert is_audio(tmp_path / name)
    read = read_audio(tmp_path / name)
    assert len(read) == 24_000
    middle = slice(2_000, 22_000)  # coders fade in and out
    changed = read[middle] / 32_768 - chirp[middle]
    assert 10 * np.log10(np.square(chirp[middle]).mean() / np.square(changed).mean()) > 20


# RAW has no header, SD2 has it in another file; the others soundfile lists, but does not write or read back.
NOT_READ = {("MP3", "MPEG_LAYER_I"), ("MP3", "MPEG_LAYER_II"), ("WAV", "MPEG_LAYER_III")}
NOT_READ |= {("AIFF", f"DWVW_{bits}") for bits in (12, 16, 24)}


def _writable() -> list[tuple[str, str]]:
    """Every container and coding that can be written here, and tells of itself."""
    return [
        (container, coding)
        for container in soundfile.available_formats()
        if container not in ("RAW", "SD2")
        for coding in soundfile.available_subtypes(container)
        if (container, coding) not in NOT_READ
    ]


def _speechlike() -> np.ndarray:
    """A second and a half of harmonics that rise, and swell twice; none near half of 16 kHz."""
    time_s = np.arange(24_000) / 16_000
    pitch = np.cumsum(120 + 30 * time_s) / 16_000
    wave = sum(np.sin(2 * np.pi * n * pitch) / n for n in range(1, 9))
    return 0.2 * wave * np.sin(np.pi * time_s / 0.75) ** 2


@pytest.mark.parametrize("name", ["clip", "clip.txt"])
@pytest.mark.parametrize(("container", "coding"), _writable())
def test_every_format_is_known_by_what_it_holds(
    tmp_path: Path, container: str, coding: str, name: str
) -> None:
    wave, path = _speechlike(), tmp_path / name
    soundfile.write(str(path), wave, 16_000, format=container, subtype=coding)
    assert is_audio(path)
    read = read_audio(path).astype(np.float64)
    own_rate_hz = soundfile.info(str(path)).samplerate  # some containers have rates of their own
    assert len(read) == pytest.approx(24_000 * 16_000 / own_rate_hz, abs=600)
    if own_rate_hz == 16_000:
        assert np.corrcoef(read[:24_000], wave)[0, 1] > 0.9


def test_what_is_no_audio_is_known_by_what_it_holds(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    held = {
        "latin": b"hello\n",
        "utf16": "\ufeffhello, what is said in these clips\n".encode("utf-16-le") * 400,
        "utf16be": "\ufeffhello".encode("utf-16-be"),
        "csv": b"path,word,speaker\na.wav,yes,s1\n",
        "json": b'{"a": 1}',
        "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(200),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "webp": b"RIFF\x00\x00\x01\x00WEBPVP8 " + bytes(200),
        "zip": b"PK\x03\x04" + bytes(200),
        "zeros": bytes(1_000),
        "empty": b"",
        "raw": noise(4_000).tobytes(),
    }
    for name, content in held.items():
        (tmp_path / name).write_bytes(content)
    assert [name for name in held if is_audio(tmp_path / name)] == []
    assert capfd.readouterr() == ("", "")
    assert not is_audio(tmp_path)
    assert not is_audio(tmp_path / "absent")


@pytest.mark.parametrize("rate_hz", [0, 1, 1_999, 768_001, 2**31 - 1])
def test_rates_that_no_speech_has_are_refused(tmp_path: Path, rate_hz: int) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, noise(1_000), 16_000)
    header = bytearray(path.read_bytes())
    header[24:28] = struct.pack("<I", rate_hz)
    path.write_bytes(header)
    with pytest.raises(AudioError, match=r"rate|Rate"):
        read_clip(path, 16_000)


@pytest.mark.parametrize("rate_hz", [2_000, 768_000])
def test_the_least_and_the_greatest_rate_can_be_read(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "clip.wav", noise(2 * rate_hz), rate_hz)
    assert len(read_audio(tmp_path / "clip.wav")) == 32_000


def test_files_that_are_no_audio_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    (tmp_path / "empty.flac").write_bytes(b"")
    soundfile.write(tmp_path / "none.wav", noise(0), 16_000)
    soundfile.write(tmp_path / "whole.flac", noise(16_000), 16_000)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "whole.flac").read_bytes()[:9_000])
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan], np.float32), 16_000, subtype="FLOAT")
    reasons = {
        "text.wav": "Format not recognised",
        "empty.flac": "Format not recognised",
        "none.wav": "holds no samples",
        "cut.flac": "flac decoder lost sync",
        "nan.wav": "holds samples that are no finite numbers",
        "missing.wav": "no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(AudioError) as caught:
            read_clip(tmp_path / name, 16_000)
        assert caught.value.reason == reason
        assert str(caught.value) == f"{tmp_path / name}: {reason}"
