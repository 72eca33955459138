"""Bytes of a ``.kws`` file: packed weights, whole numbers, halves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MOST_DIGITS = 9


def pack(values: npt.NDArray[np.int8], bits: int) -> bytes:
    """Signed integers of so many bits, the first in the lowest bits; the last byte is filled with zeros.

    Examples:
        >>> pack(np.array([1, -1, 7], np.int8), 4).hex()
        'f107'
    """
    ones = np.unpackbits(values.astype(np.uint8).reshape(-1, 1), axis=1, bitorder="little")[:, :bits]
    return np.packbits(ones.flatten(), bitorder="little").tobytes()


def unpack(data: bytes, bits: int, count: int) -> npt.NDArray[np.int8]:
    """The integers that ``pack`` wrote, shape (count,)."""
    ones = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * bits]
    raw = np.packbits(ones.reshape(count, bits), axis=1, bitorder="little")[:, 0].astype(np.int16)
    return np.where(raw >= 1 << (bits - 1), raw - (1 << bits), raw).astype(np.int8)


def number(value: int) -> bytes:
    """A whole number from 0 up, seven bits a byte, the lowest first; the top bit says that more follow.

    Examples:
        >>> number(5).hex(), number(300).hex()
        ('05', 'ac02')
    """
    found = bytearray()
    while value >= 128:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


class Reader:
    """Bytes from the first to the last."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > len(self._data) - self._at:
            raise ValueError("it ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        """What ``number`` wrote."""
        found = 0
        for digit in range(MOST_DIGITS):
            (byte,) = self.take(1)
            found |= (byte & 127) << 7 * digit
            if byte < 128:
                return found
        raise ValueError("a number of too many digits")

    def halves(self, count: int) -> npt.NDArray[np.float16]:
        """Half-precision numbers."""
        return np.frombuffer(self.take(2 * count), "<f2").astype(np.float16)

    def several(self) -> tuple[int, ...]:
        """Whole numbers behind their count."""
        count = self.number()
        if count > self.left:
            raise ValueError("it ends too early")
        return tuple(self.number() for _ in range(count))

    @property
    def left(self) -> int:
        """Bytes that were not taken."""
        return len(self._data) - self._at
