"""The front end in C for any window, hop and number of bands: its tables, and how its transform is done."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import numpy as np

from bench.ship.c_numbers import array
from models.front_end import SAMPLE_RATE_HZ, FrontEnd, corners

# The window whose transform is written by hand.
USUAL_WINDOW = 400


def frontend_texts(front_end: FrontEnd) -> dict[str, str]:
    """What stands in the sources in place of each marker."""
    usual = front_end.window_samples == USUAL_WINDOW
    sizes = {
        "RATE_HZ": SAMPLE_RATE_HZ,
        "WINDOW": front_end.window_samples,
        "HOP": front_end.hop_samples,
        "MELS": front_end.mels,
    }
    about = f"Windows of {front_end.window_ms:g} ms every {front_end.hop_ms:g} ms, {front_end.mels} bands"
    return {
        "frontend_about": about,
        "frontend_sizes": "\n".join(f"#define KWS_FRONTEND_{name} {value}" for name, value in sizes.items()),
        "tables": _tables(front_end),
        "transform": _source("kws_transform_400.c") if usual else _general(front_end.window_samples // 2),
    }


def factors(points: int) -> list[int]:
    """What the stages of a transform multiply: fours, a two at the most, odd primes.

    Examples:
        >>> factors(240), factors(129), factors(512)
        ([4, 4, 3, 5], [3, 43], [4, 4, 4, 4, 2])
    """
    found, prime = [], 3
    for even in (4, 2):
        while points % even == 0:
            found.append(even)
            points //= even
    while points > 1:
        while points % prime == 0:
            found.append(prime)
            points //= prime
        prime += 2
    return found


def places(points: int, times: Sequence[int]) -> list[int]:
    """Where each point has to stand before the first stage: the digits of its number turned round.

    Examples:
        >>> places(6, [2, 3])
        [0, 2, 4, 1, 3, 5]
    """
    found = []
    for point in range(points):
        at, size = 0, points
        for each in reversed(times):
            size //= each
            at += point % each * size
            point //= each
        found.append(at)
    return found


def _tables(front_end: FrontEnd) -> str:
    window = front_end.window_samples
    # A quarter of a turn has to be a whole number of parts.
    sample = 1 if window % 4 == 0 else 2
    turn = window * sample
    bin_hz = SAMPLE_RATE_HZ / window
    return "\n".join(
        [
            "/* Parts of a turn, and how many a sample of the window is. */",
            f"#define TURN {turn}",
            f"#define SAMPLE {sample}",
            "",
            f"/* cos(2 pi i / {turn}). */",
            _floats("quarter", [*np.cos(2 * np.pi * np.arange(turn // 4) / turn), 0.0]),
            f"/* Corners of the triangles, in bins of {bin_hz:g} Hz: {front_end.mels + 2} points at equal "
            "distance on 2595 log10(1 + Hz / 700). */",
            _floats("corner", corners(front_end.mels, window).tolist()).rstrip(),
        ]
    )


def _general(points: int) -> str:
    times = factors(points)
    spans = [int(np.prod(times[:at])) for at in range(len(times))]
    stages = [f"    combine(x, {span}, {each});" for span, each in zip(spans, times, strict=True)]
    largest = max((one for one in times if one % 2), default=0)
    made = {"FOURS": times.count(4), "TWOS": times.count(2), "LARGEST": largest}
    lines = [f"/* {points} points = {' * '.join(map(str, times))}. */"]
    lines += [f"#define {name} {value}" for name, value in made.items()]
    lines += ["", array("uint16_t place", places(points, times))]
    return "\n".join(lines) + _source("kws_transform.c").replace("/*{stages}*/", "\n".join(stages))


def _floats(name: str, values: Sequence[float]) -> str:
    texts = [f"{np.float32(value)!s}f" for value in values]
    return array(f"float {name}", texts)


def _source(name: str) -> str:
    return (files("bench.ship") / "c" / name).read_text().rstrip()
