"""Small builds of the synthetic corpus, whole, interrupted and at once."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bench.data.corpora import base, synthetic, synthetic_worker
from bench.data.corpora.base import Corpus
from bench.data.corpora.synthetic import SyntheticConfig, synthetic_corpus
from bench.processes import ENDED
from models.errors import CorpusError
from models.task import KeywordTask

SMALL = SyntheticConfig(n_clips=24, workers=2)


def small(**changes: object) -> Corpus:
    return synthetic_corpus(SyntheticConfig(**{"n_clips": 24, "workers": 2, **changes}), progress=False)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path))
    return tmp_path / "corpora"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus of 24 clips, made by two workers."""
    pytest.importorskip("espeakng_loader")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KWS_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return synthetic_corpus(SMALL, progress=False)


def test_hash_depends_on_what_is_made_and_not_on_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "engine_version", lambda: "1")
    configs = [SMALL, SyntheticConfig(n_clips=25), SyntheticConfig(n_clips=24, seed=1)]
    configs += [SyntheticConfig(n_clips=24, keyword="go"), SyntheticConfig(n_clips=24, n_speakers=9)]
    hashes = {synthetic.config_hash(config) for config in configs}
    monkeypatch.setattr(synthetic, "engine_version", lambda: "2")
    hashes.add(synthetic.config_hash(SMALL))
    monkeypatch.setattr(synthetic, "RECIPE_VERSION", 99)
    hashes.add(synthetic.config_hash(SMALL))
    assert len(hashes) == 7
    assert synthetic.config_hash(SMALL) == synthetic.config_hash(SyntheticConfig(n_clips=24, workers=7))


def test_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(CorpusError, match=r'pip install "kws-bench\[synth\]"'):
        small()


def test_corpus_holds_sound(built: Corpus) -> None:
    waves = np.asarray(built.waveforms)
    assert waves.shape == (24, 16_000)
    assert waves.dtype == np.int16
    peaks = np.abs(waves.astype(int)).max(axis=1)
    assert peaks.min() > 300
    assert peaks.max() < 32_767
    levels_db = 20 * np.log10(waves.astype(float).std(axis=1) / 32_768)
    assert -50 < levels_db.min() < levels_db.max() < -10
    assert np.abs(waves.mean(axis=1) / waves.std(axis=1)).max() < 0.05
    assert len({wave.tobytes() for wave in waves}) == 24


def test_corpus_table(built: Corpus) -> None:
    for split in ("train", "validation", "test"):
        words = built.clips["word"][built.indices(split)]
        assert (words == "sheila").any()
        assert (words != "sheila").any()
    assert built.name == "synthetic"
    assert (built.clips.groupby("speaker")["split"].nunique() == 1).all()
    row = built.clips.iloc[0]
    assert row["source"].startswith("espeak:en")
    assert row["source"].endswith(f"+{row['speaker']}/{row['word']}/0")


def test_corpus_has_a_minute_of_noise(built: Corpus) -> None:
    assert built.noise.shape == (60 * 16_000,)
    seconds = np.asarray(built.noise, float).reshape(60, -1).std(axis=1)
    assert seconds.min() > 50
    assert seconds.max() < 0.2 * 32_768


def test_engine_stays_out_of_this_process(built: Corpus) -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no list of loaded libraries here")
    assert len(built.clips) == 24
    assert "espeak" not in maps.read_text()


def test_the_workers_do_not_change_the_clips(built: Corpus, cache: Path) -> None:
    alone = small(workers=1)
    np.testing.assert_array_equal(alone.waveforms, built.waveforms)
    np.testing.assert_array_equal(alone.noise, built.noise)
    assert alone.clips.equals(built.clips)
    assert [path.name for path in cache.iterdir() if not path.name.endswith(".lock")] == [
        f"synthetic-{alone.hash}"
    ]


def test_found_again_without_the_engine(built: Corpus, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = small(n_clips=6)
    monkeypatch.setattr(synthetic, "WORKER_COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
    again = small(n_clips=6)
    assert again.hash == first.hash
    assert again.clips.equals(first.clips)
    assert set(again.clips["split"]) == {"train", "validation", "test"}


def test_any_words_can_be_the_keyword(built: Corpus) -> None:
    corpus = small(keyword="hey robot", n_clips=12)
    assert set(corpus.labels(KeywordTask("hey robot"))) == {0, 1}
    assert np.abs(np.asarray(corpus.waveforms, float)).max(axis=1).min() > 300


def test_one_second_keeps_its_name_and_other_lengths_have_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of version 0.1."""
    monkeypatch.setattr(synthetic, "engine_version", lambda: "1")
    assert synthetic.config_hash(SyntheticConfig()) == "aee6d9da9794"
    assert synthetic.config_hash(SyntheticConfig(keyword="go", n_clips=24)) == "98893e0b2bdf"
    lengths = (8_000, 16_000, 24_000, 64_000)
    assert len({synthetic.config_hash(SyntheticConfig(clip_samples=length)) for length in lengths}) == 4


@pytest.mark.parametrize("clip_samples", [8_000, 24_000])
def test_words_are_spoken_in_clips_of_any_length(built: Corpus, clip_samples: int) -> None:
    corpus = small(n_clips=12, clip_samples=clip_samples)
    waves = np.asarray(corpus.waveforms, float)
    assert waves.shape == (12, clip_samples)
    assert np.abs(waves).max(axis=1).min() > 300
    assert corpus.noise.shape == (60 * 16_000,)
    assert corpus.hash != built.hash


def test_a_longer_clip_has_room_for_a_longer_keyword(built: Corpus) -> None:
    keyword = "an extraordinarily complicated conversation"
    corpus = small(keyword=keyword, n_clips=6, clip_samples=48_000)
    said = np.asarray(corpus.waveforms, float)[corpus.clips["word"] == keyword]
    # Spoken at its own pace, not squeezed: there is sound over more than one second.
    blocks = np.square(said).reshape(len(said), 30, -1).mean(axis=2)
    assert ((blocks > 0.1 * blocks.max(axis=1, keepdims=True)).sum(axis=1) > 10).any()


def test_keyword_that_takes_too_long(built: Corpus) -> None:
    with pytest.raises(CorpusError, match=r"takes [0-9.]+ s to say"):
        small(keyword="an extraordinarily complicated conversation")


def test_keyword_without_sound(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    scratch = cache / f".synthetic-{synthetic.config_hash(SMALL)}.parts"
    scratch.mkdir(parents=True)
    (scratch / "probe.json").write_text('{"peak": 0, "duration_s": 0.0, "words": []}')
    with pytest.raises(CorpusError, match="'sheila' makes no sound"):
        small()


def dying_worker(before: str) -> tuple[str, ...]:
    """A worker that dies of SIGKILL at the third speaker of the stage ``speech``."""
    code = f"""
import os, sys
from pathlib import Path
from bench.data.corpora import synthetic_worker as worker
from models.task import KeywordTask
save, seen = worker.save_array, []
def save_array(path, array):
    seen.append(path)
    if len(seen) == 3 and {before!r} in str(path):
        os.kill(os.getpid(), 9)
    save(path, array)
worker.save_array = save_array
worker.work(worker.Job.load(Path(sys.argv[1])))
"""
    return (sys.executable, "-c", code)


@pytest.mark.parametrize("stage", ["speech", "room"])
def test_dead_worker_is_named_and_the_next_build_goes_on(
    stage: str, built: Corpus, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = synthetic.WORKER_COMMAND
    monkeypatch.setattr(synthetic, "WORKER_COMMAND", dying_worker(f"/{stage}/"))
    third = list(dict.fromkeys(built.clips["speaker"]))[2]
    with pytest.raises(CorpusError, match=f"{stage} worker 1 of 1 died of signal SIGKILL at speaker {third}"):
        small(workers=1)
    (scratch,) = cache.glob(".synthetic-*.parts")
    kept = {path: path.stat().st_mtime_ns for path in (scratch / stage).glob("*.npy")}
    assert len(kept) == 2
    monkeypatch.setattr(synthetic, "WORKER_COMMAND", command)
    touched: list[Path] = []
    finish = base.write_corpus

    def spy(*args: object, **named: object) -> Corpus:
        touched.extend(path for path, time_ns in kept.items() if path.stat().st_mtime_ns != time_ns)
        return finish(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(synthetic, "write_corpus", spy)
    corpus = small()
    assert touched == []
    np.testing.assert_array_equal(corpus.waveforms, built.waveforms)
    assert not scratch.exists()


def test_worker_that_fails_says_why(built: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "WORKER_COMMAND", (sys.executable, "-c", "raise ValueError('no disk')"))
    with pytest.raises(CorpusError, match=r"died of status 1 \(ValueError: no disk\)") as caught:
        small()
    assert "\n" not in str(caught.value)


def test_workers_end_with_whoever_waits_for_them(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: Callable[..., bool]
) -> None:
    pytest.importorskip("espeakng_loader")
    engines = tmp_path / "engines"
    engines.mkdir()
    monkeypatch.setenv("TMPDIR", str(engines))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry or os.getcwd() for entry in sys.path))
    code = (
        "from bench.data.corpora.synthetic import SyntheticConfig, synthetic_corpus\n"
        "synthetic_corpus(SyntheticConfig(n_clips=4000, workers=2), progress=False)"
    )
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as parent:
        while len(list(cache.glob(".synthetic-*/speech/*.npy"))) < 2:
            assert parent.poll() is None
        parent.kill()
        assert gone(parent.pid, within_s=2)
    assert not list(tmp_path.rglob(".kws-bench-*")), "neither half a file nor an engine"
    for shard in cache.glob(".synthetic-*/speech/*.npy"):
        assert np.load(shard).shape[1:] == (16_000,)


def test_two_at_once_build_once(built: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    builds: list[object] = []
    build = synthetic._build

    def counted(*args: object, **named: object) -> Corpus:
        builds.append(args)
        return build(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(synthetic, "_build", counted)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: small(n_clips=6, workers=1), range(2))
    assert len(builds) == 1
    assert first.hash == second.hash


def test_interrupt_ends_the_workers(built: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    started: list[subprocess.Popen[bytes]] = []
    start = synthetic._start

    def remembered(job: synthetic_worker.Job, number: int) -> subprocess.Popen[bytes]:
        if job.stage == "speech" and number == 2:
            raise KeyboardInterrupt
        started.append(start(job, number))
        return started[-1]

    monkeypatch.setattr(synthetic, "_start", remembered)
    with pytest.raises(KeyboardInterrupt):
        small()
    assert started[1].returncode == ENDED, "it was not killed, so that it could tidy up"
    assert not list(tmp_path.rglob(".kws-bench-*"))
