"""A microcontroller's image in an emulated processor: its functions called, its instructions counted."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.ship.extras import extra
from bench.ship.mcu_build import Cpu

FLASH, FLASH_BYTES = 0x08000000, 2 << 20
RAM, RAM_BYTES = 0x20000000, 512 << 10
# Calls return here, behind all code; arguments lie here, in memory of their own.
RETURN = FLASH + FLASH_BYTES - 0x100
SCRATCH, SCRATCH_BYTES = RAM + (16 << 20), 1 << 20
STACK, STACK_BYTES = RAM + RAM_BYTES, 64 << 10
PAINT = 0xA5


@dataclass(frozen=True)
class Image:
    """What an ELF file holds.

    Attributes:
        segments: Address and content of what is loaded.
        sections: Bytes of each section that takes memory.
        symbols: Address and size of each symbol.
    """

    segments: tuple[tuple[int, bytes], ...]
    sections: dict[str, int]
    symbols: dict[str, tuple[int, int]]

    @classmethod
    def load(cls, path: Path) -> Image:
        """Reads an ELF file; needs the extra ``mcu``."""
        elf_file = extra("elftools.elf.elffile", "mcu").ELFFile
        with path.open("rb") as file:
            elf = elf_file(file)
            loaded = [
                part for part in elf.iter_segments() if part["p_type"] == "PT_LOAD" and part["p_filesz"]
            ]
            return cls(
                tuple((part["p_paddr"], part.data()) for part in loaded),
                {part.name: part["sh_size"] for part in elf.iter_sections() if part["sh_flags"] & 2},
                {
                    symbol.name: (symbol["st_value"] & ~1, symbol["st_size"])
                    for symbol in elf.get_section_by_name(".symtab").iter_symbols()
                },
            )


def instructions_in(code: bytes) -> int:
    """How many Thumb instructions a piece of code holds: those of 32 bits begin with 11101, 11110 or 11111.

    Examples:
        >>> instructions_in(bytes.fromhex("7047 00f001f8 00bf"))
        3
    """
    at = count = 0
    while at < len(code):
        at += 4 if code[at + 1] >> 3 in (0b11101, 0b11110, 0b11111) else 2
        count += 1
    return count


class Machine:
    """A processor with an image in its flash. Each call starts on a fresh stack.

    Attributes:
        instructions: Issued while counting, also those whose condition did not hold.
    """

    def __init__(self, image: Image, cpu: Cpu) -> None:
        self._unicorn, self._arm = extra("unicorn", "mcu"), extra("unicorn.arm_const", "mcu")
        uc = self._unicorn
        self.image = image
        self.instructions = 0
        self._blocks: dict[tuple[int, int], int] = {}
        self._hook: Any = None
        self._machine = uc.Uc(uc.UC_ARCH_ARM, uc.UC_MODE_THUMB | uc.UC_MODE_MCLASS)
        self._machine.ctl_set_cpu_model(getattr(self._arm, f"UC_CPU_ARM_CORTEX_{cpu.emulated}"))
        self._machine.mem_map(FLASH, FLASH_BYTES)
        self._machine.mem_map(RAM, RAM_BYTES)
        self._machine.mem_map(SCRATCH, SCRATCH_BYTES)
        for address, content in image.segments:
            self._machine.mem_write(address, content)
        self.paint_stack()

    def address(self, symbol: str) -> int:
        """Where a symbol stands."""
        return self.image.symbols[symbol][0]

    def write(self, address: int, values: npt.NDArray[Any]) -> None:
        """Puts an array into memory."""
        self._machine.mem_write(address, np.ascontiguousarray(values).tobytes())

    def read(self, address: int, count: int, dtype: type[np.generic]) -> npt.NDArray[Any]:
        """An array from memory, shape (count,)."""
        return np.frombuffer(self._machine.mem_read(address, count * np.dtype(dtype).itemsize), dtype)

    def call(self, function: str, *arguments: int) -> int:
        """Calls a function with up to five words and gives the word that it returns."""
        arm, machine = self._arm, self._machine
        stack = STACK - 8
        machine.mem_write(stack, struct.pack("<I", *(arguments[4:] or (0,))))
        for name, value in zip(("R0", "R1", "R2", "R3"), arguments, strict=False):
            machine.reg_write(getattr(arm, f"UC_ARM_REG_{name}"), value)
        machine.reg_write(arm.UC_ARM_REG_SP, stack)
        machine.reg_write(arm.UC_ARM_REG_LR, RETURN | 1)
        machine.emu_start(self.address(function) | 1, RETURN)
        returned: int = machine.reg_read(arm.UC_ARM_REG_R0)
        return returned

    def paint_stack(self) -> None:
        """Fills the stack with a pattern, to see later how far it was used."""
        self._machine.mem_write(STACK - STACK_BYTES, bytes([PAINT]) * STACK_BYTES)

    def peak_stack_bytes(self) -> int:
        """Bytes of the stack used at the most since it was painted, without a call's arguments."""
        painted = self.read(STACK - STACK_BYTES, STACK_BYTES - 8, np.uint8)
        used = np.flatnonzero(painted != PAINT)
        return len(painted) - int(used[0]) if len(used) else 0

    def count(self, on: bool) -> None:
        """Starts or stops counting instructions, from zero; code runs slower meanwhile."""
        if self._hook is not None:
            self._machine.hook_del(self._hook)
            self._hook = None
        # Code translated before has no hooks in it.
        self._machine.ctl_flush_tb()
        if on:
            self.instructions = 0
            self._hook = self._machine.hook_add(self._unicorn.UC_HOOK_BLOCK, self._enter)

    def _enter(self, machine: Any, address: int, size: int, _data: object) -> None:
        key = (address, size)
        if key not in self._blocks:
            self._blocks[key] = instructions_in(bytes(machine.mem_read(address, size)))
        self.instructions += self._blocks[key]
