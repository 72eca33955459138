"""Folders as corpora: splits, the cache, and what is skipped or refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.data.corpora import recordings
from bench.data.corpora.base import Corpus, Int16Array, cache_dir
from bench.data.corpora.folder import folder_corpus
from bench.data.corpora.splits import speaker_of, which_split
from bench.data.cutting import fit_clip
from models.errors import CorpusError

# Speakers out of the validation and testing lists published with Speech Commands, and out of neither.
SPEAKERS = {
    "train": [
        "eb67fcbc",
        "f953e1af",
        "3bc21161",
        "da1d320c",
        "74551073",
        "3d53244b",
        "fc28c8d8",
        "a996cf66",
        "80f056c0",
    ],
    "validation": [
        "fde2dee7",
        "099d52ad",
        "66cff190",
        "541120c7",
        "364c0853",
        "0ab3b47d",
        "4abefdf5",
        "65ec06e5",
        "ff2b842e",
    ],
    "test": [
        "0c40e715",
        "0ea0e2f4",
        "42beb5eb",
        "44260689",
        "44715c1c",
        "022cd682",
        "096456f9",
        "0d53e045",
        "ffa76c4a",
    ],
}
ALL_SPEAKERS = [speaker for speakers in SPEAKERS.values() for speaker in speakers]
WORDS = ("no", "yes")
SECOND = 16_000
ARABIC = os.environ.get("KWS_BENCH_ARABIC")
SPEECH = os.environ.get("KWS_BENCH_SPEECH")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for every test."""
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two words by nine speakers of each split: 54 clips."""
    root = tmp_path / "data"
    for word in WORDS:
        for speaker in ALL_SPEAKERS:
            write_clip(root / word / f"{speaker}_nohash_0.wav")
    return root


def samples_of(path: Path, length: int = SECOND) -> Int16Array:
    """Noise that differs from file name to file name."""
    rng = np.random.default_rng(zlib.crc32(f"{path.parent.name}/{path.stem}".encode()))
    return rng.integers(-3_000, 3_000, length, dtype=np.int16)


def write_clip(path: Path, length: int = SECOND, rate_hz: int = 16_000) -> None:
    """A clip with the samples of ``samples_of``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples_of(path, length), rate_hz)


def open_folder(path: Path, split: str = "speaker", clip_samples: int = SECOND) -> Corpus:
    """``folder_corpus`` without a progress bar."""
    return folder_corpus(path, split=split, clip_samples=clip_samples, progress=False)


def sources(corpus: Corpus, split: str) -> list[str]:
    """The relative paths of one split."""
    return corpus.clips["source"][corpus.indices(split)].tolist()


def built(corpus: Corpus) -> os.stat_result:
    """The stored waveforms' file; another one means that they were built again."""
    return (cache_dir() / "corpora" / f"{corpus.name}-{corpus.hash[:12]}" / "waveforms.npy").stat()


def test_the_hashing_rule_gives_the_published_splits() -> None:
    for split, speakers in SPEAKERS.items():
        assert [which_split(speaker, 10, 10) for speaker in speakers] == [split] * len(speakers)


@pytest.mark.parametrize(
    ("source", "speaker"),
    [
        ("yes/0c40e715_nohash_3.wav", "0c40e715"),
        ("yes/a_b_nohash_0.wav", "a_b"),
        ("yes/00000001_NO_07.flac", "00000001"),
        ("yes_no/plain.wav", "plain"),
        ("yes/v1.2.wav", "v1.2"),
    ],
)
def test_the_speaker_stands_before_the_mark(source: str, speaker: str) -> None:
    assert speaker_of(source) == speaker


def test_clips_and_table_belong_together(data: Path) -> None:
    corpus = open_folder(data)
    assert corpus.name == "data"
    assert corpus.waveforms.shape == (54, SECOND)
    assert corpus.clips["source"].is_monotonic_increasing
    for row, clip in enumerate(corpus.clips.itertuples()):
        np.testing.assert_array_equal(corpus.waveforms[row], samples_of(data / str(clip.source)))
        assert str(clip.source) == f"{clip.word}/{clip.speaker}_nohash_0.wav"
        assert clip.speaker in SPEAKERS[str(clip.split)]
    assert corpus.skipped == ()
    assert corpus.noise.shape == (0,)


def test_any_form_of_audio_is_taken_and_the_rest_is_ignored(data: Path) -> None:
    write_clip(data / "yes" / "a_1.FLAC", 4_000, 8_000)
    write_clip(data / "yes" / "a_2.WAV", 40_000)
    write_clip(data / "yes" / "._a_3.wav")
    write_clip(data / "_other_" / "b_1.wav")
    write_clip(data / ".hidden" / "b_1.wav")
    write_clip(data / "root_clip.wav")
    (data / "yes" / "notes.txt").write_text("no audio")
    corpus = open_folder(data)
    assert len(corpus.clips) == 56
    assert corpus.words == ["no", "yes"]
    assert {"yes/a_1.FLAC", "yes/a_2.WAV"} < set(corpus.clips["source"])


def test_background_noise_of_any_length_and_rate_becomes_one_row(data: Path) -> None:
    write_clip(data / "_background_noise_" / "a.wav", 30_000)
    write_clip(data / "_background_noise_" / "b.flac", 4_000, 8_000)
    (data / "_background_noise_" / "README.md").write_text("about the noise")
    (data / "_background_noise_" / "c.wav").write_text("no audio")
    corpus = open_folder(data)
    assert corpus.noise.dtype == np.int16
    assert corpus.noise.shape == (30_000 + 8_000,)
    np.testing.assert_array_equal(
        corpus.noise[:30_000], samples_of(data / "_background_noise_" / "a.wav", 30_000)
    )
    assert corpus.skipped == ("_background_noise_/c.wav: Format not recognised",)
    assert corpus.words == ["no", "yes"]


def test_lists_decide_whatever_their_extension(data: Path) -> None:
    (data / "validation_list.txt").write_text("no/eb67fcbc_nohash_0.flac\n./yes/eb67fcbc_nohash_0.wav\n\n")
    (data / "testing_list.txt").write_bytes(b"\xef\xbb\xbfno/fde2dee7_nohash_0.WAV\r\n")
    corpus = open_folder(data)
    assert sources(corpus, "validation") == ["no/eb67fcbc_nohash_0.wav", "yes/eb67fcbc_nohash_0.wav"]
    assert sources(corpus, "test") == ["no/fde2dee7_nohash_0.wav"]
    assert len(sources(corpus, "train")) == 51


def test_an_exact_entry_does_not_take_its_namesake(data: Path) -> None:
    write_clip(data / "no" / "eb67fcbc_nohash_0.flac")
    (data / "validation_list.txt").write_text("no/eb67fcbc_nohash_0.flac\n")
    (data / "testing_list.txt").write_text("no/fde2dee7_nohash_0.wav\n")
    assert sources(open_folder(data), "validation") == ["no/eb67fcbc_nohash_0.flac"]


def test_a_missing_list_is_made_up_by_speaker(data: Path) -> None:
    (data / "testing_list.txt").write_text("no/eb67fcbc_nohash_0.wav\nyes/eb67fcbc_nohash_0.wav\n")
    corpus = open_folder(data)
    assert sources(corpus, "test") == ["no/eb67fcbc_nohash_0.wav", "yes/eb67fcbc_nohash_0.wav"]
    validation = corpus.clips["speaker"][corpus.indices("validation")]
    assert set(validation) == set(SPEAKERS["validation"])
    assert set(SPEAKERS["test"]) < set(corpus.clips["speaker"][corpus.indices("train")])


def test_lists_of_a_larger_corpus_are_taken(data: Path) -> None:
    others = "".join(f"marvin/{speaker}_nohash_0.wav\n" for speaker in ALL_SPEAKERS)
    (data / "validation_list.txt").write_text(f"{others}no/eb67fcbc_nohash_0.wav\nno/gone_nohash_0.wav\n")
    (data / "testing_list.txt").write_text("no/fde2dee7_nohash_0.wav\n")
    assert sources(open_folder(data), "validation") == ["no/eb67fcbc_nohash_0.wav"]


@pytest.mark.parametrize(
    "entries",
    [
        "no/eb67fcbc_nohash_0.wav\nno/gone_nohash_0.wav\nno/gone_nohash_1.wav\n",
        "data/no/eb67fcbc_nohash_0.wav\n",
    ],
)
def test_lists_that_mostly_match_nothing_are_refused(data: Path, entries: str) -> None:
    (data / "testing_list.txt").write_text(entries)
    with pytest.raises(CorpusError, match=r"entries of testing_list.txt match no clip .*reads like no/022cd"):
        open_folder(data)


def test_a_clip_in_both_lists_is_refused(data: Path) -> None:
    for name in ("validation_list.txt", "testing_list.txt"):
        (data / name).write_text("no/eb67fcbc_nohash_0.wav\n")
    with pytest.raises(CorpusError, match=r"no/eb67fcbc_nohash_0.wav stands in"):
        open_folder(data)


def test_a_list_that_is_no_text_is_refused(data: Path) -> None:
    (data / "testing_list.txt").write_bytes(b"no/\xff\xfe.wav\n")
    with pytest.raises(CorpusError, match=r"testing_list.txt.*UTF-8"):
        open_folder(data)


def test_the_random_split_is_over_clips_and_another_corpus(data: Path) -> None:
    by_clip, by_speaker = open_folder(data, "random"), open_folder(data)
    assert [len(by_clip.indices(split)) for split in ("train", "validation", "test")] == [43, 11, 11]
    assert by_clip.indices("test").tolist() == by_clip.indices("validation").tolist()
    assert not set(by_clip.indices("test")) & set(by_clip.indices("train"))
    in_train = set(by_clip.clips["speaker"][by_clip.indices("train")])
    in_test = set(by_clip.clips["speaker"][by_clip.indices("test")])
    assert in_train & in_test
    assert by_clip.hash != by_speaker.hash
    assert open_folder(data, "random").hash == by_clip.hash


def test_an_unchanged_folder_is_opened_without_reading_it(data: Path) -> None:
    first, before = open_folder(data), (data / "no" / "eb67fcbc_nohash_0.wav").stat()
    # Another content behind the same size and time shows that nothing was opened.
    clip = data / "no" / "eb67fcbc_nohash_0.wav"
    clip.write_bytes(bytes(before.st_size))
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert open_folder(data).hash == first.hash


def test_a_touched_file_is_hashed_again_but_not_decoded_again(data: Path) -> None:
    first = open_folder(data)
    before = built(first)
    os.utime(data / "no" / "eb67fcbc_nohash_0.wav", ns=(1, 1))
    second = open_folder(data)
    assert second.hash == first.hash
    assert (built(second).st_ino, built(second).st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_every_change_is_another_corpus(data: Path) -> None:
    def rewrite() -> None:
        soundfile.write(data / "no" / "eb67fcbc_nohash_0.wav", np.zeros(SECOND, np.int16), 16_000)

    changes: list[Callable[[], object]] = [
        rewrite,
        lambda: write_clip(data / "no" / "new_nohash_0.wav"),
        lambda: (data / "yes").rename(data / "yet"),
        lambda: (data / "testing_list.txt").write_text("no/fde2dee7_nohash_0.wav\n"),
        lambda: write_clip(data / "_background_noise_" / "a.wav"),
    ]
    hashes = [open_folder(data).hash]
    for change in changes:
        change()
        hashes.append(open_folder(data).hash)
    assert len(set(hashes)) == len(changes) + 1


def test_a_copy_of_the_folder_is_the_same_corpus(data: Path, tmp_path: Path) -> None:
    first = open_folder(data)
    before = built(first)
    shutil.copytree(data, tmp_path / "elsewhere" / "data")
    second = open_folder(tmp_path / "elsewhere" / "data")
    assert second.hash == first.hash
    assert built(second).st_ino == before.st_ino


def test_a_damaged_index_is_only_slower(data: Path, cache: Path) -> None:
    first = open_folder(data)
    (cache / "corpora" / "index.json").write_text('{"half": ')
    assert open_folder(data).hash == first.hash


def test_an_unreadable_clip_is_skipped_and_named(data: Path) -> None:
    (data / "no" / "eb67fcbc_nohash_0.wav").write_text("no audio")
    soundfile.write(data / "yes" / "f953e1af_nohash_0.wav", np.zeros(0, np.int16), 16_000)
    corpus = open_folder(data)
    assert set(corpus.skipped) == {
        "no/eb67fcbc_nohash_0.wav: Format not recognised",
        "yes/f953e1af_nohash_0.wav: holds no samples",
    }
    assert len(corpus.clips) == len(corpus.waveforms) == 52
    for row, source in enumerate(corpus.clips["source"]):
        np.testing.assert_array_equal(corpus.waveforms[row], samples_of(data / source))
    assert open_folder(data).skipped == corpus.skipped


def test_too_many_unreadable_clips_are_refused(data: Path, cache: Path) -> None:
    for speaker in SPEAKERS["train"][:3]:
        (data / "no" / f"{speaker}_nohash_0.wav").write_text("no audio")
    with pytest.raises(CorpusError, match=r"3 of 54 clips .* more than 5%.*Format not recognised.*repair"):
        open_folder(data)
    assert not any(entry.is_dir() for entry in (cache / "corpora").iterdir())


def test_a_split_whose_clips_are_all_unreadable_is_empty(data: Path) -> None:
    (data / "testing_list.txt").write_text("no/fde2dee7_nohash_0.wav\n")
    (data / "no" / "fde2dee7_nohash_0.wav").write_text("no audio")
    with pytest.raises(CorpusError, match=r"the test split of 'data' is empty"):
        open_folder(data)


def test_what_cannot_be_a_corpus_is_refused_with_what_to_do(data: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no folder .*absent.*<word>/<clip>"):
        open_folder(tmp_path / "absent")
    (tmp_path / "flat").mkdir()
    write_clip(tmp_path / "flat" / "clip.wav")
    with pytest.raises(CorpusError, match=r"no audio in .*flat.*<word>/<clip>.wav .or .flac, .opus"):
        open_folder(tmp_path / "flat")
    write_clip(tmp_path / "few" / "yes" / "eb67fcbc_nohash_0.wav")
    with pytest.raises(CorpusError, match=r"validation split of 'few' is empty .1 clips, 1 speakers.*list"):
        open_folder(tmp_path / "few")
    with pytest.raises(CorpusError, match="no split rule 'word'; there are: speaker, random"):
        open_folder(data, "word")


def test_a_build_that_was_stopped_starts_clean(
    data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: Path) -> Int16Array:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recordings, "read_audio", stopped)
        with pytest.raises(KeyboardInterrupt):
            open_folder(data)
    assert not any(entry.is_dir() for entry in (cache / "corpora").iterdir())
    corpus = open_folder(data)
    # A killed process cannot tidy up: the next build of the same corpus does.
    target = cache / "corpora" / f"data-{corpus.hash[:12]}"
    leftover = target.parent / ".kws-bench-abcdef.tmp"
    target.rename(leftover)
    assert open_folder(data).hash == corpus.hash
    assert not leftover.exists()


def test_a_folder_that_changes_while_it_is_read_is_refused(
    data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grows(path: Path) -> Int16Array:
        if not (data / "no" / "late_nohash_0.wav").exists():
            write_clip(data / "no" / "late_nohash_0.wav")
        return samples_of(path)

    with monkeypatch.context() as patch:
        patch.setattr(recordings, "read_audio", grows)
        with pytest.raises(CorpusError, match="was changed while it was read"):
            open_folder(data)
    assert len(open_folder(data).clips) == 55


def test_two_at_once_build_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds, hashes = [], []
    build = recordings._build

    def counted(*args: object) -> None:
        builds.append(1)
        build(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(recordings, "_build", counted)
    threads = [threading.Thread(target=lambda: hashes.append(open_folder(data).hash)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert len(hashes) == 2
    assert len(set(hashes)) == 1


def test_progress_is_shown_on_standard_error_only_when_wanted(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_corpus(data, progress=False)
    assert capsys.readouterr() == ("", "")
    folder_corpus(data, split="random", progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "decoding" in shown.err


@pytest.mark.parametrize("name", ["clip", "clip.bin", "clip.OPUS", "clip.mp3.part"])
@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64"])
def test_audio_is_found_by_content_where_its_name_says_nothing(data: Path, container: str, name: str) -> None:
    samples = samples_of(data / "no" / name)
    soundfile.write(str(data / "no" / name), samples, 16_000, format=container)
    (data / "no" / "notes.txt").write_bytes("\ufeffhello".encode("utf-16"))
    (data / "no" / "picture").write_bytes(b"\xff\xd8\xff\xe0" + bytes(60))
    (data / "no" / "empty").write_bytes(b"")
    found = open_folder(data)
    assert f"no/{name}" in set(found.clips["source"])
    assert len(found.clips) == len(WORDS) * len(ALL_SPEAKERS) + 1
    assert found.skipped == ()


def test_clips_of_one_second_are_what_they_were_before_others(tmp_path: Path) -> None:
    """Hashes of version 0.1: of the corpus, of its array with the header, and of its table."""
    root = tmp_path / "before"
    for word in WORDS:
        for speaker in ("eb67fcbc", "fde2dee7", "0c40e715"):
            for take, length in enumerate((9_000, 16_000, 40_000)):
                write_clip(root / word / f"{speaker}_nohash_{take}.wav", length)
    write_clip(root / "_background_noise_" / "hum.wav", 50_000)
    corpus = open_folder(root)
    assert corpus.hash == "02da37d5ebca51248b453425148d162cf7733091ea9081948926917483c226e1"
    folder = cache_dir() / "corpora" / f"before-{corpus.hash[:12]}"
    for name, start in (("waveforms.npy", "1762879c55c37915"), ("clips.csv", "0d3b39613e83592e")):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest()[:16] == start


@pytest.mark.parametrize("clip_samples", [8_000, 20_800, 64_000])
def test_clips_of_any_length_are_a_corpus_of_their_own(data: Path, clip_samples: int) -> None:
    write_clip(data / "no" / "long_nohash_0.wav", 80_000)
    one, other = open_folder(data), open_folder(data, clip_samples=clip_samples)
    assert other.waveforms.shape == (55, clip_samples)
    assert other.clip_samples == clip_samples
    assert other.clips.equals(one.clips)
    for row, source in enumerate(other.clips["source"]):
        whole = samples_of(data / source, 80_000 if "long" in source else SECOND)
        np.testing.assert_array_equal(other.waveforms[row], fit_clip(whole, clip_samples))
    assert other.hash != one.hash
    assert len({open_folder(data, clip_samples=length).hash for length in (8_000, 20_800, 64_000)}) == 3
    assert open_folder(data).waveforms.shape == (55, SECOND), "neither takes the other's place"


@pytest.mark.parametrize(
    ("length", "clip_samples", "remedy"),
    [
        (16_000, 16_000, None),
        (16_001, 16_000, "1.5"),
        (19_200, 16_000, "1.5"),
        (24_000, 16_000, "1.5"),
        (24_001, 16_000, "2"),
        (19_200, 24_000, None),
        (80_000, 16_000, "4"),
    ],
)
def test_recordings_longer_than_clips_are_told_with_what_to_do(
    data: Path, length: int, clip_samples: int, remedy: str | None
) -> None:
    for path in data.glob("*/*.wav"):
        write_clip(path, length)
    write_clip(data / "no" / "long_nohash_0.wav", 90_000)
    corpus = open_folder(data, clip_samples=clip_samples)
    assert corpus.lengths_s == (length / SECOND, 90_000 / SECOND)
    told = [line for line in corpus.about() if "--clip-s" in line]
    assert len(told) == (remedy is not None)
    if remedy:
        assert f"last {length / SECOND:.2f} s or more" in told[0]
        assert f"--clip-s {remedy} takes more of them" in told[0]


def test_where_no_clip_is_long_enough_none_is_offered(data: Path) -> None:
    for path in data.glob("*/*.wav"):
        write_clip(path, 80_000)
    about = "\n".join(open_folder(data, clip_samples=64_000).about())
    assert "only the loudest 4 s is a clip" in about
    assert "--clip-s" not in about


def test_lists_name_clips_in_the_format_they_had_before(data: Path) -> None:
    for path in sorted(data.glob("*/*.wav")):
        samples, rate_hz = soundfile.read(path)
        soundfile.write(path.with_suffix(".opus"), samples, rate_hz, format="OGG", subtype="OPUS")
        path.unlink()
    listed = f"no/{SPEAKERS['train'][0]}_nohash_0"
    (data / "testing_list.txt").write_text(f"{listed}.wav\n")
    assert sources(open_folder(data), "test") == [f"{listed}.opus"]


@pytest.mark.slow
@pytest.mark.skipif(not SPEECH, reason="KWS_BENCH_SPEECH names no folder")
def test_a_thousand_real_speakers() -> None:
    """Opus without lists: the published rule splits 1,833 speakers about 80/10/10, each word among them."""
    corpus = open_folder(Path(str(SPEECH)))
    assert corpus.skipped == ()
    assert corpus.clips["speaker"].nunique() == 1_833
    assert corpus.clips.groupby("speaker")["split"].nunique().max() == 1
    assert corpus.words == ["bed", "cat", "down", "happy", "no", "up", "yes"]
    shares = corpus.clips["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.8, abs=0.02)
    test = corpus.clips[corpus.clips["split"] == "test"]
    assert test.groupby("word")["speaker"].nunique().between(120, 125).all()
    decoded = {row: soundfile.read(Path(str(SPEECH)) / corpus.clips["source"][row]) for row in (0, 9_000)}
    for row, (samples, rate_hz) in decoded.items():
        assert rate_hz == 16_000
        before = (SECOND - len(samples)) // 2
        expected = np.pad(samples, (before, SECOND - len(samples) - before))
        np.testing.assert_allclose(corpus.waveforms[row] / 32_768, expected, atol=1.1 / 32_768)


@pytest.mark.slow
@pytest.mark.skipif(not ARABIC, reason="KWS_BENCH_ARABIC names no folder")
def test_the_real_recordings() -> None:
    root = Path(str(ARABIC))
    corpus = open_folder(root)
    assert corpus.waveforms.shape == (3_840, SECOND)
    assert len(corpus.words) == 16
    assert corpus.skipped == ()
    for split, name in (("validation", "validation_list.txt"), ("test", "testing_list.txt")):
        assert sources(corpus, split) == sorted((root / name).read_text().split())
    assert corpus.clips.groupby("speaker")["split"].nunique().max() == 1
    assert corpus.clips["speaker"].nunique() == 24
    for row in range(0, 3_840, 320):
        samples, _ = soundfile.read(root / corpus.clips["source"].iloc[row], dtype="int16")
        np.testing.assert_array_equal(corpus.waveforms[row], samples)
    frames = sum(soundfile.info(file).frames for file in (root / "_background_noise_").iterdir())
    assert corpus.noise.shape == (frames,)
