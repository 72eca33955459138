import numpy as np
import pytest

from bench.stream.detection import (
    DetectorState,
    Frame,
    Hysteresis,
    Span,
    choose_threshold,
    clip_threshold,
    detect,
    matches,
    score,
)
from models.errors import ResultsError


def track(*levels: tuple[float, float], step_s: float = 0.08) -> list[Frame]:
    """(duration, probability) one after the other, in frames of 80 ms, after 2 s of nothing."""
    probabilities: list[float] = []
    for duration_s, probability in [(2.0, 0.01), *levels]:
        probabilities += [probability] * round(duration_s / step_s)
    return [Frame((number + 1) * step_s, probability) for number, probability in enumerate(probabilities)]


def times(frames: list[Frame], how: Hysteresis) -> list[float]:
    return [found.time_s for found in detect(frames, how, DetectorState())[0]]


def test_one_detection_an_utterance_however_long() -> None:
    found = detect(track((3.0, 0.95), (1.0, 0.0)), Hysteresis(0.8), DetectorState())[0]
    assert found == [Frame(pytest.approx(2.08), 0.95)]


def test_two_utterances_apart_are_two() -> None:
    frames = track((0.8, 0.9), (1.2, 0.1), (0.8, 0.9))
    assert times(frames, Hysteresis(0.8)) == pytest.approx([2.08, 4.08])


def test_nothing_below_the_threshold() -> None:
    assert times(track((5.0, 0.799)), Hysteresis(0.8)) == []
    assert times(track((0.08, 0.8)), Hysteresis(0.8)) == pytest.approx([2.08])


def test_chattering_around_the_threshold_is_one() -> None:
    chatter = [(0.08, probability) for probability in [0.85, 0.75, 0.9, 0.45] * 20]
    assert len(times(track(*chatter), Hysteresis(0.8))) == 1
    # Without hysteresis the same track is one detection each refractory time.
    assert len(times(track(*chatter), Hysteresis(0.8, off_ratio=1.0))) > 3


def test_refractory_time() -> None:
    frames = track((0.08, 0.9), (0.4, 0.1), (0.08, 0.9), (0.4, 0.1))
    assert len(times(frames, Hysteresis(0.8, refractory_s=1.0))) == 1
    assert len(times(frames, Hysteresis(0.8, refractory_s=0.4))) == 2


def test_guesses_before_a_second_of_audio_do_not_count() -> None:
    early = [Frame(0.2 + 0.08 * number, 0.9) for number in range(5)]
    assert detect([*early, Frame(0.7, 0.1)], Hysteresis(0.8), DetectorState())[0] == []
    # A keyword right at the start is still in the buffer by then.
    assert detect([*early, Frame(1.0, 0.9)], Hysteresis(0.8), DetectorState())[0] == [Frame(1.0, 0.9)]


def test_frame_by_frame_is_the_same() -> None:
    rng = np.random.default_rng(0)
    frames = [Frame(0.08 * n, float(p)) for n, p in enumerate(rng.random(2000) ** 3)]
    how, state, found = Hysteresis(0.7), DetectorState(), []
    for frame in frames:
        new, state = detect([frame], how, state)
        found += new
    assert found == detect(frames, how, DetectorState())[0]
    assert len(found) > 20


@pytest.mark.parametrize(
    "wrong", [{"threshold": 0}, {"threshold": 1.5}, {"off_ratio": 0}, {"refractory_s": -1}]
)
def test_impossible_hysteresis_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ResultsError, match="must be above 0"):
        Hysteresis(**{"threshold": 0.5, **wrong})


KEYWORDS = [Span(10.0, 11.0), Span(20.0, 21.0), Span(30.0, 31.0)]


def test_score_against_known_times() -> None:
    found = [Frame(t, 0.9) for t in (9.9, 10.0, 11.5, 22.0, 32.01)]
    assert matches(found, KEYWORDS) == [-1, 0, -1, 1, -1]
    result = score(found, KEYWORDS, 720.0, 0.8)
    assert (result.keywords, result.hits, result.misses, result.false_alarms) == (3, 2, 1, 3)
    assert result.false_alarms_per_hour == pytest.approx(15.0)


def peaks(heights: dict[float, float]) -> list[Frame]:
    """Nothing but peaks of two frames at some times."""
    frames = [Frame(float(t), 0.001) for t in np.arange(0.0, 40.0, 0.1)]
    for time_s, probability in heights.items():
        frames[round(time_s * 10)] = Frame(time_s, probability)
    return frames


def test_threshold_between_keywords_and_other_words() -> None:
    frames = peaks({10.5: 0.9, 20.5: 0.97, 30.5: 0.95, 15.0: 0.4, 25.0: 0.3})
    chosen = choose_threshold(frames, KEYWORDS, 40.0)
    assert (chosen.misses, chosen.false_alarms) == (0, 0)
    # In the middle of the gap, by log-odds.
    middle = (np.log(0.9 / 0.1) + np.log(0.4 / 0.6)) / 2
    assert np.log(chosen.threshold / (1 - chosen.threshold)) == pytest.approx(middle, abs=0.2)


def test_false_alarms_allowed_buy_keywords() -> None:
    frames = peaks({10.5: 0.9, 20.5: 0.97, 30.5: 0.3, 15.0: 0.7})
    strict = choose_threshold(frames, KEYWORDS, 40.0, max_false_alarms_per_hour=10)
    assert (strict.misses, strict.false_alarms) == (1, 0)
    lenient = choose_threshold(frames, KEYWORDS, 40.0, max_false_alarms_per_hour=100)
    assert (lenient.misses, lenient.false_alarms) == (0, 1)


def test_strictest_threshold_where_none_is_good_enough() -> None:
    frames = peaks({15.0: 1.0})
    chosen = choose_threshold(frames, KEYWORDS, 40.0)
    assert chosen.threshold > 0.9999


def test_threshold_of_single_clips_lets_the_stated_share_pass() -> None:
    rng = np.random.default_rng(0)
    labels, scores = np.arange(2000) % 20 == 0, rng.random(2000)
    threshold = clip_threshold(labels, scores, max_far=0.01)
    others = scores[~labels]
    assert (others >= threshold).sum() == 19
    assert clip_threshold([0, 1], [1.0, 1.0]) == 1.0
