"""Operating curves against counts by hand, and against the detector that goes frame by frame."""

import numpy as np
import pytest
from scipy import stats

from bench.stream.detection import (
    LOG_ODDS,
    DetectorState,
    Frame,
    Hysteresis,
    Span,
    choose_threshold,
    detect,
    matches,
)
from bench.stream.operation import (
    Sweep,
    Track,
    choose,
    delays_ms,
    detected,
    first_hits,
    resolves,
    sweep,
)


def track(probability: list[float] | np.ndarray, starts: list[float], *, step_s: float = 0.5) -> Track:
    """A frame every half second; keyword clips of a second, whose word ends 0.7 s after they begin."""
    begin = np.array(starts, float)
    return Track(
        time_s=np.arange(1, len(probability) + 1) * step_s,
        probability=np.asarray(probability, float),
        start_s=begin,
        end_s=begin + 1,
        spoken_s=begin + 0.7,
        clips=np.arange(len(starts)),
        speakers=np.array([f"s{n % 2}" for n in range(len(starts))]),
        duration_s=len(probability) * step_s,
    )


# At 4 s and 14 s the keyword begins; peaks at 5 s (a hit), 6 s (the same again), 10 s (another word), 15.5 s.
BY_HAND = [0.0] * 36
for at_s, height in ((5, 0.9), (6, 0.7), (10, 0.8), (15.5, 0.6)):
    BY_HAND[int(2 * at_s) - 1] = height


@pytest.mark.parametrize(
    ("threshold", "misses", "alarms"), [(0.5, 0, 2), (0.65, 1, 2), (0.75, 1, 1), (0.85, 1, 0), (0.95, 2, 0)]
)
def test_alarms_and_misses_counted_by_hand(threshold: float, misses: int, alarms: int) -> None:
    result = sweep([track(BY_HAND, [4, 14])], np.array([threshold]))
    assert result.false_alarms.tolist() == [alarms]
    assert result.miss_rate.tolist() == [misses / 2]
    assert result.false_alarms_per_hour[0] == pytest.approx(alarms / 18 * 3600)


def test_delay_is_from_the_end_of_the_word() -> None:
    stream = track(BY_HAND, [4, 14])
    assert delays_ms([stream], 0.5) == pytest.approx([300, 800])
    assert delays_ms([stream, stream], 0.85) == pytest.approx([300, 300])
    assert delays_ms([stream], 0.95).tolist() == []


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("off_ratio", [0.5, 1.0])
def test_jumps_find_what_steps_find(seed: int, off_ratio: float) -> None:
    rng = np.random.default_rng(seed)
    walk = 1 / (1 + np.exp(-np.cumsum(rng.normal(0, 1, 600)) + 1))
    stream = track(walk, list(np.arange(3, 40, 6.5)), step_s=0.08)
    frames = [Frame(*both) for both in zip(stream.time_s, stream.probability, strict=True)]
    spans = [Span(*both) for both in zip(stream.start_s, stream.end_s, strict=True)]
    for threshold in (0.01, 0.2, 0.5, 0.8, 0.99, float(walk.max())):
        how = Hysteresis(threshold, off_ratio)
        expected, _ = detect(frames, how, DetectorState())
        found = detected(stream.time_s, stream.probability, how)
        assert [frames[index] for index in found] == expected
        numbers = matches(expected, spans)
        hits = first_hits(stream, found)
        assert [
            int(found[numbers.index(number)]) if number in numbers else -1 for number in range(len(spans))
        ] == hits.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_choice_is_that_of_bench_stream(seed: int) -> None:
    rng = np.random.default_rng(seed)
    walk = 1 / (1 + np.exp(-np.cumsum(rng.normal(0, 1, 2000)) / 2))
    stream = track(walk, list(np.arange(3, 150, 6.5)), step_s=0.08)
    frames = [Frame(*both) for both in zip(stream.time_s, stream.probability, strict=True)]
    spans = [Span(*both) for both in zip(stream.start_s, stream.end_s, strict=True)]
    thresholds = 1 / (1 + np.exp(-LOG_ODDS))
    result = sweep([stream], thresholds)
    for rate in (0, 60, 200):
        chosen = choose_threshold(frames, spans, stream.duration_s, rate)
        assert thresholds[choose(result, rate)] == chosen.threshold
        assert result.false_alarms[choose(result, rate)] == chosen.false_alarms


def test_joinings_are_averaged_but_are_no_new_speech() -> None:
    once = track(BY_HAND, [4, 14])
    other = track(BY_HAND[:20] + [0.0] * 16, [4, 14])
    # In the second joining the clips come the other way round.
    swapped = Track(**vars(other) | {"clips": np.array([1, 0]), "speakers": np.array(["s1", "s0"])})
    thresholds = np.array([0.5])
    both = sweep([once, swapped], thresholds)
    assert both.missed.tolist() == [[0.5, 0.0]]
    assert both.speakers.tolist() == ["s0", "s1"]
    assert both.false_alarms.tolist() == [4]
    assert both.false_alarms_per_hour[0] == pytest.approx(4 / 36 * 3600)
    twice = sweep([once, once], thresholds)
    alone = sweep([once], thresholds)
    for name in ("miss_rate", "miss_rate_interval", "false_alarms_per_hour", "false_alarms_interval"):
        assert getattr(twice, name) == pytest.approx(getattr(alone, name)), name
    high = alone.false_alarms_interval[1, 0] * alone.hours
    assert stats.poisson.cdf(2, high) == pytest.approx(0.025)


def swept(alarms: list[int], misses: list[int], hours: float) -> Sweep:
    """Ten keyword clips at rising thresholds."""
    missed = np.array([[n < count for n in range(10)] for count in misses], float)
    thresholds = np.linspace(0.1, 0.9, len(alarms))
    return Sweep(thresholds, np.array(alarms), missed, np.array(list("aabbccddee")), 1, 3600 * hours)


def test_threshold_is_chosen_on_validation_alone() -> None:
    validation = swept([40, 9, 2, 1, 0, 0], [0, 0, 1, 2, 4, 7], hours=2.0)
    test = swept([90, 30, 7, 5, 2, 0], [0, 1, 1, 3, 3, 5], hours=1.0)
    chosen = [choose(validation, rate) for rate in (0.1, 0.5, 1.0, 100)]
    # 0.1 an hour is less than one alarm in two hours: none is allowed; 100 allows the two lowest.
    assert chosen == [4, 3, 2, 1]
    assert test.false_alarms_per_hour[chosen].tolist() == [2, 5, 7, 30]
    assert test.miss_rate[chosen].tolist() == [0.3, 0.3, 0.1, 0.1]
    assert [resolves(validation, rate) for rate in (0.1, 0.5, 1.0)] == [False, True, True]


def test_where_every_threshold_gives_too_many_the_strictest_is_taken() -> None:
    assert choose(swept([9, 5, 3], [0, 1, 2], hours=1.0), 1.0) == 2
