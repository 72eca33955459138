from pathlib import Path

import numpy as np
import pytest

from bench.data.corpora.base import Corpus
from bench.stream.joined import joined_stream, render
from bench.stream.running import Sounds
from bench.stream.spotter import StreamingSpotter
from bench.stream.tracks import SPLITS, listen_to
from models.registry import base_spec
from models.task import KeywordTask, Task, WordsTask
from tests.zoo import model_of


@pytest.mark.parametrize("task", [KeywordTask("start"), WordsTask(("start", "stop"), with_unknown=True)])
def test_tracks_are_what_a_stream_says(
    tone_corpus: Corpus, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path))
    model = model_of(base_spec("crnn", task))
    found = listen_to(model, Sounds(tone_corpus), task, 12, 3)
    assert list(found) == list(SPLITS)
    for split, tracks in found.items():
        joined = joined_stream(tone_corpus, task, split, seed=3)
        moments = StreamingSpotter(model, 12, task).hear(render(joined, tone_corpus))
        assert len(tracks) == len(task.to_find)
        for word, track in enumerate(tracks):
            assert track.time_s.tolist() == [moment.time_s for moment in moments]
            expected = [moment.probabilities[word] for moment in moments]
            np.testing.assert_allclose(track.probability, expected, atol=1e-5, rtol=0)
            assert track.start_s.tolist() == [span.start_s for span in joined.spans(word)]
