"""What there is to choose from, and where each comes from: the text of ``bench list``."""

from __future__ import annotations

from collections.abc import Iterator

from bench.config import RECIPES
from bench.corpora import corpora
from bench.plugins import origin
from bench.presets import load_preset, preset_names
from compressors.registry import compressors, default_text, options, written
from models.base import ModelSpec, spec_values
from models.registry import family, names


def catalogue() -> Iterator[str]:
    """The lines of the list."""
    yield "compressors"
    for token, kind in compressors().items():
        yield f"  {token:<4}{kind.summary} ({origin(kind.__module__)})"
        shown = [f"{option.name}={default_text(option)}" for option in options(kind)]
        yield f"      options: {', '.join(shown) or 'none'}"
    yield "models"
    for name in names():
        entry = family(name)
        yield f"  {name}  {_fields(entry.default)} ({origin(entry.model.__module__)})"
    yield "recipes"
    for name, recipe in RECIPES.items():
        how = f"{recipe.epochs} epochs, batch {recipe.batch_size}, peak rate {recipe.learning_rate:g}"
        yield f"  {name}  {how}"
    yield "presets"
    for name in preset_names():
        yield f"  {name}  {load_preset(name).summary}"
    yield "data"
    for name, opener in corpora().items():
        yield f"  {name} ({origin(opener.__module__)})"
    yield "  or a folder of WORD/CLIP.wav or .flac"


def _fields(spec: ModelSpec) -> str:
    return ", ".join(f"{name}={written(value)}" for name, value in spec_values(spec).items())
