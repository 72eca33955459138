from pathlib import Path

import numpy as np
import pytest
import torch

import bench.stream.joined_mel as subject
from bench.data.corpora.base import Corpus
from bench.data.features import log_mel
from bench.stream.joined import joined_stream, render
from bench.stream.running import Sounds
from models.front_end import FrontEnd
from models.task import KeywordTask

TASK = KeywordTask("start")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path))
    return tmp_path / "features"


@pytest.mark.parametrize("front_end", [FrontEnd(), FrontEnd(mels=20, hop_ms=20, window_ms=32)])
def test_they_are_those_of_the_audio(tone_corpus: Corpus, front_end: FrontEnd) -> None:
    joined = joined_stream(tone_corpus, TASK, "test")
    wave = np.concatenate(list(render(joined, tone_corpus))).astype(np.float32) / 32768
    kept = subject.joined_mel(joined, Sounds(tone_corpus), front_end)
    whole = torch.cat(list(kept), 1)
    torch.testing.assert_close(whole, log_mel(torch.from_numpy(wave), front_end), atol=1e-3, rtol=0)
    assert kept.samples == len(wave)


def test_they_are_made_once_for_each_joining(
    tone_corpus: Corpus, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def counted(*given: object) -> object:
        made.append(given)
        return render(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("bench.stream.running.render", counted)
    joinings = [joined_stream(tone_corpus, TASK, "test", seed=seed) for seed in (0, 0, 1)]
    first, again, other = (
        subject.joined_mel(one, Sounds(tone_corpus), FrontEnd()).frames for one in joinings
    )
    assert len(made) == len(list(cache.glob("*.npy"))) == 2
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)
    subject.joined_mel(joinings[0], Sounds(tone_corpus), FrontEnd(hop_ms=20))
    assert len(made) == 3
