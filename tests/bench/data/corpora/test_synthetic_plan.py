"""What the synthetic corpus plans to make: configuration, voices, speakers, clips."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from bench.data.corpora import synthetic_plan, voices
from bench.data.corpora.synthetic import SyntheticConfig
from bench.data.corpora.synthetic_plan import make_clips, make_speakers, other_words, utterance
from models.errors import CorpusError


def test_default_plan_has_enough_of_the_keyword() -> None:
    clips = make_clips(SyntheticConfig(), other_words("sheila"))
    assert len(clips) == 8000
    keyword = Counter(clip.speaker.split for clip in clips if clip.word == "sheila")
    assert keyword["validation"] >= 150
    assert keyword["test"] >= 150
    assert Counter(clip.speaker.split for clip in clips) == {"train": 5200, "validation": 1200, "test": 1600}
    assert len({clip.source for clip in clips}) == 8000


def test_default_plan_is_balanced() -> None:
    clips = make_clips(SyntheticConfig(), other_words("sheila"))
    speakers = Counter(clip.speaker.name for clip in clips)
    assert len(speakers) == 200
    assert max(speakers.values()) - min(speakers.values()) <= 3
    words = Counter((clip.speaker.split, clip.word) for clip in clips if clip.word != "sheila")
    for split in ("train", "validation", "test"):
        counts = [count for (where, _), count in words.items() if where == split]
        assert len(counts) == 29
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_no_family_is_in_two_splits(seed: int) -> None:
    split_of: dict[str, set[str]] = {}
    family_of = {name: family[0] for group in voices.FAMILIES for family in group for name in family}
    for split, speakers in make_speakers(SyntheticConfig(seed=seed)).items():
        for speaker in speakers:
            assert family_of[speaker.variant] == speaker.family
            split_of.setdefault(speaker.family, set()).add(split)
    assert all(len(splits) == 1 for splits in split_of.values())
    counts = Counter(next(iter(splits)) for splits in split_of.values())
    assert counts == {"train": 25, "validation": 6, "test": 8}


def test_each_variant_is_in_one_family() -> None:
    names = [name for group in voices.FAMILIES for family in group for name in family]
    assert len(names) == len(set(names))
    assert not {"whisper", "fast", "announcer", "m8", "zac"} & set(names)


def test_high_voices_are_in_each_split() -> None:
    high = {family[0] for family in voices.FAMILIES[0]}
    for seed in range(5):
        for families in voices.split_families(seed, synthetic_plan.SPLIT_SHARES).values():
            assert high & {family[0] for family in families}


def test_draws_depend_on_seed_speaker_word_and_take_alone() -> None:
    config = SyntheticConfig()
    clips = make_clips(config, other_words("sheila"))[:400]
    forward = [utterance(config, clip) for clip in clips]
    assert forward == [utterance(config, clip) for clip in reversed(clips)][::-1]
    assert len({said.seed for said in forward}) == 400
    again = SyntheticConfig(seed=1)
    assert forward[0] != utterance(again, clips[0])


def test_draws_stay_in_their_ranges() -> None:
    config = SyntheticConfig()
    said = [utterance(config, clip) for clip in make_clips(config, other_words("sheila"))]
    for values, low, high in (
        ([one.rate_wpm for one in said], 85, 198),
        ([one.pitch for one in said], 38, 62),
        ([one.pitch_range for one in said], 17, 88),
    ):
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high


def test_perturbed_voice() -> None:
    text = "language variant\nname f2\npitch 100 150\necho 140 10\nformant 1 200 80 160 -20\n// remark\n"
    made = voices.perturbed_voice(text, "new-001", voices.draws("a"))
    assert made == voices.perturbed_voice(text, "new-001", voices.draws("a"))
    assert made != voices.perturbed_voice(text, "new-001", voices.draws("b"))
    lines = dict(
        line.rsplit(" ", 1) if line.startswith("language") else line.split(" ", 1)
        for line in made.splitlines()
    )
    assert lines["name"] == "new-001"
    assert "echo" not in lines
    formants = [line.split()[1:] for line in made.splitlines() if line.startswith("formant ")]
    assert [int(formant[0]) for formant in formants] == [1, 0, 2, 3, 4, 5, 6, 7, 8]
    assert formants[0][2:] == ["80", "160", "-20"]
    assert float(formants[0][1]) == pytest.approx(200, rel=0.3)
    low, high = map(float, lines["pitch"].split())
    assert high / low == pytest.approx(1.5, rel=0.02)


def test_nearly_half_of_the_low_voices_are_raised() -> None:
    def pitch_hz(seed: int, start: int) -> float:
        made = voices.perturbed_voice(f"pitch {start} {start + 40}\n", "x", voices.draws(seed))
        return float(next(line for line in made.splitlines() if line.startswith("pitch")).split()[1])

    assert np.mean([pitch_hz(seed, 90) > 125 for seed in range(400)]) == pytest.approx(0.45, abs=0.08)
    assert max(pitch_hz(seed, 200) for seed in range(400)) < 200 * 1.6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keyword": ""}, "no letters"),
        ({"keyword": "42 !"}, "no letters"),
        ({"keyword": "привет"}, "Latin"),
        ({"keyword": "hey\nrobot"}, "'hey robot'"),
        ({"keyword": " hey"}, "'hey'"),
        ({"n_clips": 5}, "n_clips is 5; it must be at least 6"),
        ({"n_speakers": 2}, "at least 3"),
        ({"workers": 0}, "at least 1"),
    ],
)
def test_bad_configurations(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        SyntheticConfig(**changes)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
