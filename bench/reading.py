"""Reading files that may be damaged, or made to do damage: whatever is wrong with one is one line.

Nothing here runs code from a file, and no file makes more of itself in memory than it may hold.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from models.errors import KwsError, ResultsError

if TYPE_CHECKING:
    from torch import Tensor

# Of all arrays of a file together; some million clips.
MOST_ARRAY_BYTES = 256 * 2**20
REASON_CHARACTERS = 100
# What our own .safetensors files are held against, among their metadata.
CHECKSUM = "sha256"
AGAIN = "remove its folder and make the run again"


@contextmanager
def reading(path: Path, advice: str = AGAIN, *, cannot: str = "be loaded") -> Iterator[None]:
    """Turns whatever a file makes its readers raise into one line that names it.

    Args:
        path: The file.
        advice: What to do about it.
        cannot: What cannot be done with it.

    Raises:
        ResultsError: It is missing, cannot be read, or does not hold what it should.
    """
    try:
        yield
    except ResultsError:
        raise
    except FileNotFoundError:
        raise ResultsError(f"{path.parent} holds no complete run: {path.name} is missing") from None
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror or error}") from None
    except KwsError as error:
        raise ResultsError(
            f"{path} cannot {cannot} ({_line(error, 3 * REASON_CHARACTERS)}); {advice}"
        ) from None
    except Exception as error:  # a parser meets a stranger's bytes with errors of any kind
        raise ResultsError(f"{path} cannot {cannot} ({_line(error, REASON_CHARACTERS)}); {advice}") from None


def _line(error: Exception, characters: int) -> str:
    """What an error says, in one line that a terminal shows as it is."""
    said = "".join(filter(str.isprintable, (str(error).splitlines() or [""])[0]))
    return said[:characters] or type(error).__name__


def is_text(value: object, errors: str = "strict") -> TypeGuard[str]:
    """Whether a value read from JSON is a line of text; with ``surrogateescape``, one that names a path."""
    if not isinstance(value, str) or any(unicodedata.category(character) == "Cc" for character in value):
        return False
    try:
        value.encode(errors=errors)
    except UnicodeEncodeError:
        return False
    return True


def is_number(value: object) -> bool:
    """Whether a value read from JSON is a number that a float can hold, or NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value != value or abs(value) <= sys.float_info.max


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file; use it inside ``reading``."""
    found = json.loads(path.read_text("utf-8"))
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays that ``np.savez`` wrote, by name; use it inside ``reading``.

    NumPy itself makes room for whatever shape a header names before it looks for the values.
    """
    with ZipFile(io.BytesIO(path.read_bytes())) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > MOST_ARRAY_BYTES:
            raise ValueError(f"more than {MOST_ARRAY_BYTES >> 20} MB of arrays")
        return {member.filename.removesuffix(".npy"): _array(_content(archive, member)) for member in members}


def read_tensors(path: Path) -> Any:
    """What ``torch.save`` wrote of tensors and plain values; use it inside ``reading``.

    torch reads past the checksums of its own files, so altered weights would pass for others.
    """
    import torch

    data = path.read_bytes()
    with ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            if member.compress_type != ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed, and torch compresses nothing")
            _content(archive, member)
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def read_safetensors(path: Path, *, own: bool = True) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, held against their checksum; use it inside ``reading``.

    Args:
        path: The file.
        own: It was written here, with a checksum; others may have none.
    """
    from safetensors.torch import load

    data = path.read_bytes()
    tensors = load(data)
    kept = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {}).get(CHECKSUM)
    if (own or kept is not None) and kept != tensors_hash(tensors):
        raise ValueError("its tensors are not those of its checksum")
    # The library gives them in any order.
    return {name: tensors[name] for name in sorted(tensors)}


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of names, kinds, shapes and numbers, in the order of the names."""
    import torch

    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        found.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _content(archive: ZipFile, member: ZipInfo) -> bytes:
    """A file of an archive, checked against its size and checksum."""
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is compressed in a way that is not used here")
    with archive.open(member) as file:
        # As much as the archive says: read() alone would unpack all that there is.
        content = file.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise ValueError(f"{member.filename} is cut short")
    return content


def _array(content: bytes) -> npt.NDArray[Any]:
    """The array of an ``.npy`` file."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("arrays of another version")
    shape, by_column, kind = np.lib.format.read_array_header_1_0(file)
    if kind.hasobject:
        raise ValueError("Python objects among the arrays")
    if not kind.itemsize or math.prod(shape) * kind.itemsize != len(content) - file.tell():
        raise ValueError("an array of another size than it says")
    return np.frombuffer(content[file.tell() :], kind).reshape(shape, order="F" if by_column else "C")
