"""Listening to long audio, features included: frame after frame, and much at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from bench.data.corpora.base import SAMPLE_RATE_HZ, Int16Array
from bench.data.features import log_mel, to_float
from bench.stream.ear import courses
from bench.stream.spotter import StreamingSpotter, frames_back
from bench.threads import threads
from benchmarks.plain import SEED, base_model, student_model
from benchmarks.rows import Row
from benchmarks.setting import Setting
from benchmarks.turns import Turns, alternate
from compressors.quantization.quantized import StaticQuant, integer_of
from models.integer.kws import IntegerKws
from models.registry import build, family

# As many mel frames as `bench operate` looks back on: .96 seconds.
LOOK_BACK_FRAMES = 96


def measure_ear(setting: Setting) -> list[Row]:
    """How many times faster than it lasts an hour of noise is heard."""
    size = setting.size
    laps = alternate({"plain": partial(step_by_step, setting), "ours": partial(at_once, setting)})
    plain, ours = (laps[name].seconds for name in ("plain", "ours"))
    note = "plain: frame after frame, as a device hears it; both features included"
    return [
        Row(
            f"{size.heard_s // 60} min of audio heard by the {name}, times real time",
            [size.heard_s / seconds for seconds in ours[name]],
            [size.stepped_s / seconds for seconds in plain[name]],
            more_is_better=True,
            note=note,
        )
        for name in MODELS
    ]


def quantized_student() -> nn.Module:
    """The student's integer form, its ranges those of noise."""
    clips = log_mel(to_float(noise(32).reshape(32, -1)))
    rounded = StaticQuant().calibrate(student_model().eval(), clips)
    return IntegerKws(integer_of(rounded))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "base": base_model,
    "AD+KD student": student_model,
    "AD+KD student in integers": quantized_student,
    "BC-ResNet": lambda: build(family("bc-resnet").default),
}


def noise(seconds: int) -> Int16Array:
    """White noise, int16."""
    return (3000 * np.random.default_rng(SEED).standard_normal(seconds * SAMPLE_RATE_HZ)).astype(np.int16)


def step_by_step(setting: Setting, turns: Turns) -> None:
    """A lap each model, frame after frame."""

    def hear(model: nn.Module, kept: int, wave: Int16Array) -> None:
        with threads(1):
            StreamingSpotter(model, kept).hear([wave])

    _laps(setting, turns, hear, setting.size.stepped_s)


def at_once(setting: Setting, turns: Turns) -> None:
    """A lap each model, stretch after stretch."""
    _laps(
        setting,
        turns,
        lambda model, kept, wave: courses(model, [[wave]], max_buffer_len=kept),
        setting.size.heard_s,
    )


def _laps(
    setting: Setting, turns: Turns, hear: Callable[[nn.Module, int, Int16Array], object], seconds: int
) -> None:
    torch.manual_seed(SEED)
    models = {name: make().eval() for name, make in MODELS.items()}
    wave = noise(seconds)
    for model in models.values():
        hear(model, frames_back(model, None, LOOK_BACK_FRAMES), wave[: 5 * SAMPLE_RATE_HZ])
    for _ in range(setting.size.rounds):
        for name, model in models.items():
            turns.wait()
            hear(model, frames_back(model, None, LOOK_BACK_FRAMES), wave)
            turns.lap(name)
