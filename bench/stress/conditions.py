"""The conditions that a model is tried under, in the order in which tables and figures show them."""

from __future__ import annotations

import math
from dataclasses import dataclass

NOISES = ("white", "pink", "babble", "background")
SNRS_DB = (20.0, 10.0, 5.0, 0.0, -5.0)
RT60S_S = (0.2, 0.5, 0.8)
GAINS_DB = (-24.0, -12.0, -6.0, 6.0, 12.0)
RATES = (0.8, 0.9, 1.1, 1.25)
# What each family does to a clip that it leaves as it is.
NEUTRAL = {"snr": math.inf, "reverberation": 0.0, "level": 0.0, "rate": 1.0}
FAMILIES = tuple(NEUTRAL)


@dataclass(frozen=True)
class Condition:
    """One way to make clips harder.

    Attributes:
        family: Of ``FAMILIES``, or ``clean``.
        kind: Of noise, in the family ``snr``; else empty.
        value: Signal-to-noise ratio in dB, RT60 in seconds, gain in dB, or rate; NaN for ``clean``.
    """

    family: str
    kind: str
    value: float

    @property
    def name(self) -> str:
        """In a few characters.

        Examples:
            >>> Condition("snr", "pink", -5.0).name, Condition("level", "", 6.0).name
            ('pink -5 dB', 'level +6 dB')
        """
        return {
            "clean": "clean",
            "snr": f"{self.kind} {self.value:g} dB",
            "reverberation": f"RT60 {self.value:g} s",
            "level": f"level {self.value:+g} dB",
            "rate": f"rate {self.value:g}",
        }[self.family]


CLEAN = Condition("clean", "", math.nan)
CONDITIONS = (
    *(Condition("snr", kind, snr_db) for kind in NOISES for snr_db in SNRS_DB),
    *(Condition("reverberation", "", rt60_s) for rt60_s in RT60S_S),
    *(Condition("level", "", gain_db) for gain_db in GAINS_DB),
    *(Condition("rate", "", rate) for rate in RATES),
)
