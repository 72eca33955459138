"""Tables of recordings: stretches, splits, speakers, noise, and one line for what is wrong."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from bench.cli import main
from bench.data.corpora import open_corpus, recordings
from bench.data.corpora.base import SPEECH, Corpus, Int16Array
from bench.data.corpora.manifest import manifest_corpus
from models.errors import CorpusError
from models.task import KeywordTask, WordsTask

SECOND = 16_000
WAKE_WORDS = os.environ.get("KWS_BENCH_WAKE_WORDS")
SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for every test."""
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with recordings of ten seconds, a to f."""
    root = tmp_path / "data"
    root.mkdir()
    for number, name in enumerate("abcdef"):
        soundfile.write(root / f"{name}.wav", samples_of(number), SECOND)
    return root


def samples_of(number: int) -> Int16Array:
    return np.random.default_rng(number).integers(-3_000, 3_000, 10 * SECOND, dtype=np.int16)


def table(root: Path, text: str, encoding: str = "utf-8") -> Path:
    (root / "clips.csv").write_text(text, encoding=encoding)
    return root / "clips.csv"


def opened(path: Path, split: str = "speaker", clip_samples: int = SECOND) -> Corpus:
    return manifest_corpus(path, split=split, clip_samples=clip_samples, progress=False)


PLAIN = "path,word,speaker,split\n" + "".join(
    f"{name}.wav,{word},s{name},{split}\n"
    for name, word, split in zip(
        "abcdef", ["yes", "no"] * 3, ["training", "train", "dev", "val", "Testing", "test"], strict=True
    )
)
STRETCHES = (
    "kind,path,start_s,end_s,word,split,speaker\n"
    "x,a.wav,2.0,2.5,yes,train,s1\nx,a.wav,4,7,no,train,s1\nx,a.wav,,,,train,s1\n"
    'x,"b.wav",0.1,0.3,yes,validation,s2\n\nx,c.wav,9.5,10.2,yes,test,s3\n'
)


def test_words_speakers_and_splits_are_the_tables(data: Path) -> None:
    corpus = opened(table(data, PLAIN))
    assert corpus.name == "data-clips"
    assert corpus.clips.to_numpy().tolist() == [
        [word, f"s{name}", split, f"{name}.wav"]
        for name, word, split in zip(
            "abcdef", ["yes", "no"] * 3, sorted(SPLITS * 2, key=SPLITS.index), strict=True
        )
    ]
    assert corpus.lengths_s == (10.0, 10.0)
    assert "half of the recordings last 10.00 s or more" in corpus.about()[1]
    assert corpus.about()[1].endswith("--clip-s 4 takes more of them")


@pytest.mark.parametrize("clip_samples", [SECOND, 24_000])
def test_stretches_stand_in_the_middle_of_their_clips(data: Path, clip_samples: int) -> None:
    corpus = opened(table(data, STRETCHES, "utf-8-sig"), clip_samples=clip_samples)
    rows = {source: number for number, source in enumerate(corpus.clips["source"])}
    assert list(rows) == ["a.wav", "a.wav#t=2,2.5", "a.wav#t=4,7", "b.wav#t=0.1,0.3", "c.wav#t=9.5,10.2"]
    assert corpus.clips["word"].tolist() == [SPEECH, "yes", "no", "yes", "yes"]
    half = clip_samples // 2
    middle = round(2.25 * SECOND)
    np.testing.assert_array_equal(
        corpus.waveforms[rows["a.wav#t=2,2.5"]], samples_of(0)[middle - half : middle + half]
    )
    first = corpus.waveforms[rows["b.wav#t=0.1,0.3"]]
    lacking = half - round(0.2 * SECOND)
    assert not first[:lacking].any()
    np.testing.assert_array_equal(first[lacking:], samples_of(1)[: clip_samples - lacking])
    clip, inside = corpus.waveforms[rows["a.wav#t=4,7"]], samples_of(0)[4 * SECOND : 7 * SECOND]
    windows = np.lib.stride_tricks.sliding_window_view(inside, clip_samples)
    assert (windows[::1] == clip).all(axis=1).any()
    assert corpus.lengths_s == (pytest.approx(0.5), pytest.approx(10.0))
    assert corpus.notes == ("clips.csv: 5 rows of 3 recordings; 4 name a stretch of theirs, 1 no word",)


def test_each_recording_is_decoded_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    inside = recordings.read_audio
    monkeypatch.setattr(recordings, "read_audio", lambda path: read.append(path.name) or inside(path))
    opened(table(data, STRETCHES))
    assert sorted(read) == ["a.wav", "b.wav", "c.wav"]
    opened(data / "clips.csv")
    assert len(read) == 3, "and found again"


def test_it_is_found_again_by_content(data: Path) -> None:
    first = opened(table(data, PLAIN)).hash
    os.utime(data / "a.wav", ns=(1, 1))
    assert (
        opened(
            table(data, "\n".join(reversed(PLAIN.splitlines()[1:])).join(["path,word,speaker,split\n", "\n"]))
        ).hash
        == first
    ), "in another order"
    wider = "\n".join(f"{line},{'x' if at else 'more'}" for at, line in enumerate(PLAIN.splitlines()))
    assert opened(table(data, wider)).hash == first, "with another column"
    hashes = {first, opened(table(data, PLAIN.replace("no,sb", "yes,sb"))).hash}
    hashes |= {opened(table(data, PLAIN.replace("sa", "sz"))).hash, opened(table(data, PLAIN), "random").hash}
    hashes |= {opened(table(data, PLAIN), clip_samples=8_000).hash}
    soundfile.write(data / "a.wav", samples_of(9), SECOND)
    hashes.add(opened(data / "clips.csv").hash)
    assert len(hashes) == 6


def test_without_speakers_each_recording_is_one_and_splits_follow_them(data: Path) -> None:
    names = [f"{n:08x}_nohash_0.wav" for n in range(40)] + [f"take {n}.wav" for n in range(40)]
    for name in names:
        soundfile.write(data / name, samples_of(1)[:4_000], SECOND)
    rows = "".join(f"{name},{'yes' if at % 2 else 'no'}\n" for at, name in enumerate(names))
    corpus = opened(table(data, "path,word\n" + rows + "take 0.wav,yes\n".replace("take 0", "./a")))
    assert corpus.clips["speaker"].nunique() == 81
    assert "00000001" in set(corpus.clips["speaker"])
    assert set(corpus.clips["split"]) == set(SPLITS)
    assert corpus.notes[1].startswith("81 rows name no speaker")


def test_who_is_named_in_a_split_stays_in_it(data: Path) -> None:
    text = PLAIN.replace("a.wav,yes,sa,training", "a.wav,yes,se,").replace(
        "b.wav,no,sb,train", "b.wav,no,new,"
    )
    corpus = opened(table(data, text))
    assert corpus.clips["split"].tolist() == ["test", "train", "validation", "validation", "test", "test"]


def test_noise_is_a_folder_beside_it_and_rows(data: Path) -> None:
    text = PLAIN + "noise.wav,_noise_,,\n_background_noise_/hiss,_background_noise_,,\n"
    for name in ("noise.wav", "_background_noise_/hum.ogg", "_background_noise_/hiss"):
        (data / name).parent.mkdir(exist_ok=True)
        kind = "OGG" if name.endswith("ogg") else "WAV"
        soundfile.write(str(data / name), samples_of(7)[:20_000], SECOND, format=kind)
    corpus = opened(table(data, text))
    assert len(corpus.noise) == 3 * 20_000, "what is there and in a row counts once"
    assert corpus.words == ["no", "yes"]


def test_speech_without_a_word_is_other_words_and_no_keyword(data: Path) -> None:
    text = PLAIN.replace(",no,", ",,")
    corpus = open_corpus(str(table(data, text)), KeywordTask("yes"), progress=False)
    assert corpus.labels(KeywordTask("yes")).tolist() == [1, 0] * 3
    assert corpus.labels(WordsTask(("yes",), with_unknown=True)).tolist() == [1, 0] * 3
    with pytest.raises(CorpusError, match=r"no clips of the keyword '_speech_'; did you mean: yes$"):
        open_corpus(str(data / "clips.csv"), KeywordTask(SPEECH), progress=False)
    with pytest.raises(CorpusError, match="no clips of the keyword 'no', nor of any other word"):
        open_corpus(str(table(data, text.replace(",yes,", ",,"))), KeywordTask("no"), progress=False)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "no column 'path' among none"),
        (
            "path,speaker\na.wav,s\n",
            1,
            "no column 'word' among path, speaker; add it, empty where no word is",
        ),
        ("path;word\na.wav;yes\n", 1, "no column 'path' among path;word"),
        ("path,word,word\na.wav,yes,no\n", 1, "the column 'word' stands there twice"),
        ("path,word\na.wav,yes\nz.wav,no\n", 3, "no file .*z.wav; paths are relative to the table"),
        ("path,word\na.wav,yes\n,no\n", 3, "an empty path"),
        ("path,word\na.wav\n", 2, "1 cells, but the header has 2"),
        ("path,word\na.wav,yes\n\nb.wav,no,x\n", 4, "3 cells, but the header has 2"),
        ("path,word,split\na.wav,yes,evaluation\n", 2, "split 'evaluation'; give train, validation"),
        ("path,word\na.wav,_unknown_\n", 2, "word '_unknown_': such names are kept"),
        ("path,word\na.wav,yes\na.wav,no\n", 3, "a.wav stands in a line above"),
        ("path,word,start_s,end_s\na.wav,yes,1,\n", 2, "only one of start_s and end_s"),
        ("path,word,start_s,end_s\na.wav,yes,1,x\n", 2, "'x' is no finite number"),
        ("path,word,start_s,end_s\na.wav,yes,nan,2\n", 2, "'nan' is no finite number"),
        ("path,word,start_s,end_s\na.wav,yes,2,2\n", 2, "a stretch from 2 to 2 s"),
        ("path,word,start_s,end_s\na.wav,yes,-1,2\n", 2, "a stretch from -1 to 2 s"),
        (f"path,word\n{'a' * 5_000}.wav,yes\n", 2, ".*File name too long"),
        ('path,word\n"a.wav,yes\n', 2, "unexpected end of data"),
        ('path,word\n"a\nb.wav",yes\n', 3, "no file"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_number(data: Path, text: str, line: int, reason: str) -> None:
    path = table(data, text)
    with pytest.raises(CorpusError, match=rf"clips.csv, line {line}: {reason}"):
        opened(path)
    result = CliRunner().invoke(main, ["data", "info", str(path)])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_what_is_no_table_is_refused(data: Path) -> None:
    with pytest.raises(CorpusError, match="names no recording"):
        opened(table(data, "path,word\n"))
    with pytest.raises(CorpusError, match="is no UTF-8 text"):
        opened(data / "a.wav")
    with pytest.raises(CorpusError, match=r"validation split of 'data-clips' is empty .*in the column split"):
        opened(table(data, "path,word,split\na.wav,yes,train\n"))


def test_stretches_behind_the_end_are_skipped_and_named(data: Path) -> None:
    rows = [f"a.wav,yes,{split},{n / 8},{n / 8 + 0.1}" for n in range(30) for split in [SPLITS[n % 3]]]
    text = "path,word,split,start_s,end_s\n" + "\n".join([*rows, "b.wav,yes,train,10.5,11"]) + "\n"
    corpus = opened(table(data, text))
    assert corpus.skipped == ("b.wav#t=10.5,11: ends after 10.00 s, before the stretch",)
    assert len(corpus.clips) == len(corpus.waveforms) == 30
    with pytest.raises(CorpusError, match=r"2 of 32 clips in .*clips.csv cannot be read"):
        opened(table(data, text + "c.wav,yes,train,10.5,11\n"))


def test_the_random_split_is_over_rows(data: Path) -> None:
    corpus = opened(table(data, PLAIN), "random")
    assert sorted(corpus.clips["split"]) == ["train"] * 5 + ["validation+test"]


@pytest.mark.skipif(not WAKE_WORDS, reason="KWS_BENCH_WAKE_WORDS names no folder")
def test_the_real_wake_up_words() -> None:
    path = Path(str(WAKE_WORDS)) / "clips.csv"
    task = KeywordTask("operator", clip_s=1.5)
    corpus = open_corpus(str(path), task, progress=False)
    with path.open(newline="") as file:
        told = {
            f"{row['path']}#t={float(row['start_s']):g},{float(row['end_s']):g}": row
            for row in csv.DictReader(file)
        }
    assert corpus.waveforms.shape == (len(told), 24_000)
    assert corpus.skipped == ()
    assert set(corpus.words) == {"onword", "operator", "thinkengine"}
    named = {row["speaker"] for row in told.values()} - {""}
    nobody = sum(not row["speaker"] for row in told.values())
    assert corpus.clips["speaker"].nunique() == len(named) + nobody
    splits = dict(zip(corpus.clips["source"], corpus.clips["split"], strict=True))
    assert splits == {source: row["split"] for source, row in told.items()}
    assert corpus.clips.groupby("speaker")["split"].nunique().max() == 1
    assert corpus.labels(task).sum() == sum(row["word"] == "operator" for row in told.values())
    for row in range(0, len(corpus.clips), 200):
        about = told[corpus.clips["source"][row]]
        samples, rate_hz = soundfile.read(path.parent / about["path"], dtype="int16")
        assert rate_hz == SECOND
        start = (
            round(float(about["start_s"]) * SECOND) + round(float(about["end_s"]) * SECOND) - 24_000
        ) // 2
        at = max(0, start)
        expected = samples[at : start + 24_000].astype(int)
        found = corpus.waveforms[row][at - start :][: len(expected)].astype(int)
        assert np.abs(found - expected).max() <= 1
