"""Seven words by 1,833 speakers, as people record them: no leak, and a model that learns."""

import os
from pathlib import Path

import pytest

from bench.config import Recipe, RunConfig
from bench.data.corpora import open_corpus
from bench.data.corpora.leaks import find_leaks
from bench.running.pipeline import run_chain
from models.task import KeywordTask

SPEECH = os.environ.get("KWS_BENCH_SPEECH", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SPEECH, reason="KWS_BENCH_SPEECH names no folder"),
]


def test_no_speaker_and_no_copy_stands_in_two_splits() -> None:
    leaks = find_leaks(open_corpus(SPEECH, None, progress=False))
    assert not leaks.found
    # 52 recordings hold nothing but hiss; the first of them by name.
    assert len(leaks.silent) == 52
    assert leaks.silent[0] == "bed/ced835d3_nohash_0.opus"


def test_an_epoch_tells_a_keyword_from_six_other_words(tmp_path: Path) -> None:
    """Chance is an area of .5 above the curve; an epoch reaches a tenth of it on speakers never heard."""
    config = RunConfig(
        chain="dq", data=SPEECH, task=KeywordTask("happy"), recipe=Recipe(versions=1), epochs=1
    )
    base, shipped = run_chain(config, tmp_path)
    assert base["keyword_clips"] == 179
    assert base["one_minus_auc"] < 0.05
    assert shipped["one_minus_auc"] == pytest.approx(base["one_minus_auc"], abs=0.002)
