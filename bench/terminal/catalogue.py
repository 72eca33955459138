"""What there is to choose from, and where each comes from: the text of ``bench list``."""

from __future__ import annotations

from dataclasses import fields

from bench.config import RECIPES
from bench.data.corpora import corpora
from bench.data.speech import speeches
from bench.plugins import origin
from bench.presets import load_preset, preset_names
from bench.quality.measures import known_measures
from compressors.base import Compressor
from compressors.registry import compressors, default_text, options, written
from models.base import ModelSpec, spec_values
from models.registry import Family, family
from models.registry import names as families
from models.task import Task
from models.tasks import tasks


def names() -> dict[str, list[str]]:
    """The names of each section."""
    return {
        "compressors": [*compressors()],
        "models": [*families()],
        "tasks": [*tasks()],
        "measures": [*dict.fromkeys(each.name for each in known_measures())],
        "recipes": [*RECIPES],
        "presets": preset_names(),
        "data": [*corpora()],
        "speech": [*speeches()],
    }


def catalogue() -> dict[str, list[str]]:
    """The lines of each section."""
    return {
        "compressors": [line for token, kind in compressors().items() for line in _compressor(token, kind)],
        "models": [line for name in families() for line in _model(family(name))],
        "tasks": [
            *(f"  {name}  {_task(task)} ({origin(type(task).__module__)})" for name, task in tasks().items()),
            "  or --keyword WORD, or --words A,B,... [--unknown] [--silence]",
        ],
        "measures": [
            f"  {measure.name}  {measure.text}, {'lower' if measure.lower_is_better else 'higher'} is better "
            f"({origin(type(measure).__module__)})"
            for measure in {each.name: each for each in known_measures()}.values()
        ],
        "recipes": [
            f"  {name}  {recipe.epochs} epochs, batch {recipe.batch_size}, peak rate {recipe.learning_rate:g}"
            for name, recipe in RECIPES.items()
        ],
        "presets": [f"  {name}  {load_preset(name).summary}" for name in preset_names()],
        "data": [
            *(f"  {name} ({origin(opener.__module__)})" for name, opener in corpora().items()),
            "  or a folder of WORD/CLIP.wav (or .flac, .opus, .mp3, ...)",
            "  or a table clips.csv: path, word, and where known speaker, split, start_s, end_s",
        ],
        "speech": [
            *(f"  {name} ({origin(opener.__module__)})" for name, opener in speeches().items()),
            "  or a folder of recordings of any length, of any depth",
            "  or a table clips.csv: path, and where known speaker, split, text, word, start_s, end_s",
        ],
    }


def _compressor(token: str, kind: type[Compressor]) -> list[str]:
    marks = [entry.metadata.get("of_the_model") for entry in fields(kind)]
    shown = [f"the {mark} of the model" for mark in marks if mark]
    shown += [f"{option.name}={default_text(option)}" for option in options(kind)]
    summary = f"  {token:<4}{kind.summary} ({origin(kind.__module__)})"
    return [summary, f"      options: {', '.join(shown) or 'none'}"]


def _model(kind: Family) -> list[str]:
    base = f"  {kind.name}  {_fields(kind.default.written_out())} ({origin(kind.model.__module__)})"
    students = {"student": kind.student}
    if kind.aligned != kind.student:
        students["with ad or fd"] = kind.aligned
    return [
        base,
        *(f"      {name}: {_fields(spec, kind.default)}" for name, spec in students.items() if spec),
    ]


def _fields(spec: ModelSpec, base: ModelSpec | None = None) -> str:
    """The fields of a specification, of a student those that are not the base's."""
    found = spec_values(spec).items()
    return ", ".join(
        f"{name}={written(value)}" for name, value in found if base is None or getattr(base, name) != value
    )


def _task(task: Task) -> str:
    """Classes and clip length of a task."""
    return ", ".join([f"{len(task.classes)} classes", f"clips of {task.clip_s:g} s"])
