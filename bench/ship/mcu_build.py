"""Exported C code cross-compiled for a microcontroller, with the compiler in the pip package ziglang."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from bench.data.corpora.base import cache_dir
from bench.files import write_text_atomically
from bench.ship.c_export import write_c
from bench.ship.extras import extra
from models.errors import KwsError
from models.integer.model import IntegerModel

HARNESS = ("kws_mcu.c", "kws_mcu.ld")
STREAM_CALLS = ("kws_model_init", "kws_model_push", "kws_model_quantize", "kws_frontend_init")
CALLS = (*STREAM_CALLS, "kws_frontend_push", "kws_frontend_flush", "kws_model_clip")
KEPT = (*CALLS, "kws_mcu_model", "kws_mcu_frontend")
# The model's inner loop is unrolled in the source; the front end gains a quarter by larger code.
OPTIMIZATION = {"kws_model": "-Os", "kws_frontend": "-O2", "kws_mcu": "-Os"}
# Symbols are read from debug builds; tables for unwinding would be counted as flash.
_FLAGS = (
    "-std=c99",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pedantic",
    "-ffunction-sections",
    "-fdata-sections",
)
_NO_UNWINDING = ("-fno-unwind-tables", "-fno-asynchronous-unwind-tables")


class BuildError(KwsError):
    """The cross-compiler failed."""


@dataclass(frozen=True)
class Cpu:
    """A processor to compile for and to emulate.

    Attributes:
        name: What ``--cpu`` takes.
        target: Architecture, no system, and how floats are passed.
        features: What the compiler may use.
        emulated: Unicorn's name for it.
        note: What it has, for the table.
        cycles_per_instruction: An assumption: loads and taken branches take two cycles or more, most others
            one, and flash has no wait states. The M7 issues two instructions at once now and then.
    """

    name: str
    target: str
    features: str
    emulated: str
    note: str
    cycles_per_instruction: float


_SOFT, _HARD = "thumb-freestanding-eabi", "thumb-freestanding-eabihf"
_UNIT, _NO_UNIT = "single-precision unit", "floats in software"
CPUS = {
    cpu.name: cpu
    for cpu in (
        Cpu("cortex-m0plus", _SOFT, "cortex_m0plus", "M0", f"Armv6-M, {_NO_UNIT}, no divider", 1.5),
        Cpu("cortex-m3", _SOFT, "cortex_m3", "M3", f"Armv7-M, {_NO_UNIT}", 1.4),
        Cpu("cortex-m4", _HARD, "cortex_m4+vfp4d16sp", "M4", f"Armv7E-M, {_UNIT}", 1.4),
        Cpu("cortex-m7", _HARD, "cortex_m7+fp_armv8d16sp", "M7", f"Armv7E-M, {_UNIT}", 1.0),
        Cpu("cortex-m33", _HARD, "cortex_m33+fp_armv8d16sp", "M33", f"Armv8-M, {_UNIT}", 1.3),
    )
}


def build_image(model: IntegerModel, cpu: Cpu, folder: Path) -> Path:
    """Writes a model's C code and links it with the front end to an image.

    Args:
        model: What ships.
        cpu: What for.
        folder: Where sources, objects and image go.

    Returns:
        The image, an ELF file.

    Raises:
        KwsError: The extra ``mcu`` is not installed, or the compiler failed.
    """
    extra("ziglang", "mcu")
    write_c(model, folder)
    for name in HARNESS:
        write_text_atomically(folder / name, (files("bench.ship") / "c" / name).read_text())
    chosen = ("-target", cpu.target, f"-mcpu={cpu.features}", *_FLAGS, *_NO_UNWINDING)
    objects = [folder / f"{name}.o" for name in OPTIMIZATION]
    for made, how in zip(objects, OPTIMIZATION.values(), strict=True):
        _compile((*chosen, how, "-c", str(made.with_suffix(".c")), "-o", str(made)))
    image = folder / f"kws_{cpu.name}.elf"
    link = [f"-Wl,-T,{folder / 'kws_mcu.ld'}", "-Wl,--gc-sections", f"-Wl,-e,{KEPT[0]}"]
    link += [f"-Wl,-u,{name}" for name in KEPT]
    _compile((*chosen, "-Os", *link, *map(str, objects), "-o", str(image)))
    return image


def compiler_version() -> str:
    """The compiler, with its version."""
    from importlib.metadata import version

    return f"clang of ziglang {version('ziglang')}"


def _compile(arguments: tuple[str, ...]) -> None:
    """Runs the compiler; what it builds for a target once is kept in the toolkit's cache."""
    where = str(cache_dir() / "zig")
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": where, "ZIG_LOCAL_CACHE_DIR": where},
    )
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
        raise BuildError(f"the cross-compiler failed: {first}")
