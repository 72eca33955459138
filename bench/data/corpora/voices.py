"""Speakers for the synthetic corpus: accents, families of voices, and voice files made by perturbation."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from bench.data.corpora.espeak import installed_variant

# The Caribbean accent is the hardest to understand, so it is rare.
ACCENTS: Mapping[str, float] = {
    "en-us": 1.0,
    "en": 1.0,
    "en-gb-x-rp": 1.0,
    "en-gb-scotland": 1.0,
    "en-gb-x-gbclan": 1.0,
    "en-gb-x-gbcwmd": 1.0,
    "en-us-nyc": 1.0,
    "en-029": 0.3,
}
PLAIN = "base"  # the engine's own voice, which has no file
# Variants that sound nearly alike stand in one family, so that none is in two splits. Those that a
# recogniser hardly understood are left out. Grouped by sound, so that each split gets some of each group.
FAMILIES: Sequence[Sequence[Sequence[str]]] = (
    (("f1",), ("f2",), ("f3",), ("f4",), ("f5",), ("anika", "anikaRobot"), ("robosoft6",), ("robosoft8",)),
    (
        ("adam", "benjamin", "edward2", "klatt6", "Reed", "mike2"),
        ("klatt", "klatt2"),
        ("klatt3", "klatt4", "klatt5", "edward"),
        ("robosoft", "robosoft2", "robosoft3"),
        ("robosoft4", "robosoft5"),
        ("caleb",),
    ),
    (
        ("Diogo", "Henrique", "Hugo", "michel", "miguel"),
        ("Gene", "Gene2"),
        ("max", "RicishayMax"),
        (PLAIN, "m6", "Alex"),
        *(
            (name,)
            for name in [
                "m1",
                "m2",
                "m3",
                "m4",
                "m5",
                "m7",
                "Mike",
                "Denis",
                "Nguyen",
                "Storm",
                "antonio",
                "ed",
                "grandpa",
            ]
        ),
        *((name,) for name in ("john", "pablo", "paul", "pedro", "robosoft7", "sandro", "victor")),
        ("Mr serious",),
    ),
)
DEFAULT_PITCH_HZ = (82.0, 118.0)
LOW_PITCH_HZ = 130.0
RAISED_SHARE = 0.45
BREATH_SHARE = 0.4


def draws(*key: object) -> np.random.Generator:
    """A random generator that depends on the key alone, never on what was drawn before."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def split_families(seed: int, shares: Mapping[str, float]) -> dict[str, list[Sequence[str]]]:
    """Deals the families of voices out to the splits, group by group, in proportion to the shares."""
    order: list[Sequence[str]] = []
    for group in FAMILIES:
        order += sorted(group, key=lambda family: draws(seed, "family", family[0]).random())
    dealt: dict[str, list[Sequence[str]]] = {split: [] for split in shares}
    for count, family in enumerate(order, start=1):
        neediest = max(shares, key=lambda split: shares[split] * count - len(dealt[split]))
        dealt[neediest].append(family)
    return dealt


def _numbers(line: str) -> list[float]:
    out: list[float] = []
    for field in line.split()[1:]:
        try:
            out.append(float(field))
        except ValueError:
            break
    return out


def _kept_lines(text: str) -> dict[str, list[float]]:
    """Attribute lines of a voice file by their key (a formant's with its number), in their order.

    Echo is dropped, for with it each clip ends on a whole buffer of 60 ms; names are given anew.
    """
    kept: dict[str, list[float]] = {}
    for line in text.splitlines():
        fields = line.split()
        if not fields or not fields[0].isalpha() or fields[0] in {"language", "name", "gender", "echo"}:
            continue
        numbers = _numbers(line)
        if fields[0] == "formant" and numbers:
            kept[f"formant {int(numbers[0])}"] = numbers[1:]
        elif numbers:
            kept[fields[0]] = numbers
    return kept


def voice_text(variant: str) -> str:
    """Text of a variant's file; the plain voice has an empty one."""
    return "" if variant == PLAIN else installed_variant(variant)


def perturbed_voice(text: str, name: str, rng: np.random.Generator) -> str:
    """Makes another speaker out of a voice file.

    The vocal tract (all formants together), each formant, and the pitch are scaled at random. Few variants
    are in the range of women's voices, so nearly half of the low ones are moved up there.

    Args:
        text: Voice file to start from.
        name: Name of the new voice.
        rng: Source of all draws.

    Returns:
        Text of the new voice file.
    """
    lines = _kept_lines(text)
    pitch_hz = lines.get("pitch", list(DEFAULT_PITCH_HZ))
    tract, pitch = math.exp(rng.normal(0, 0.035)), math.exp(rng.normal(0, 0.12))
    raised, up_tract, up_pitch = rng.random(), rng.uniform(1.06, 1.14), rng.uniform(1.6, 2.1)
    if pitch_hz[0] < LOW_PITCH_HZ and raised < RAISED_SHARE:
        tract, pitch = tract * up_tract, pitch * up_pitch
    lines["pitch"] = [round(value * pitch) for value in pitch_hz]
    for number, wobble in enumerate(rng.normal(0, 0.012, 9)):
        formant = list(lines.get(f"formant {number}", [100.0, 100.0, 100.0]))
        formant[0] = round(formant[0] * tract * math.exp(wobble))
        lines[f"formant {number}"] = formant
    breathy, breath = rng.random() < BREATH_SHARE, int(rng.integers(1, 7))
    if breathy and "breath" not in lines:
        lines["breath"] = [0, *[breath] * 7]
    lines["flutter"] = [int(rng.integers(1, 12))]
    body = [f"{key} {' '.join(f'{value:g}' for value in values)}" for key, values in lines.items()]
    return "\n".join(["language variant", f"name {name}", *body]) + "\n"
