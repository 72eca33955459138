"""Files that may be damaged: NumPy and JSON say what is in a whole one."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pytest
import torch

from bench.reading import is_number, is_text, read_arrays, read_object, read_tensors, reading
from models.errors import ChainError, KwsError, ResultsError


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            BadZipFile("File is not a zip file"),
            r"a/b\.pt cannot be loaded \(File is not a zip file\); do this",
        ),
        (zlib.error("Error -3\nand more"), r"\(Error -3\); do this"),
        (RecursionError(), r"\(RecursionError\); do this"),
        (MemoryError("x" * 500), r"\(x{100}\); do this"),
        (EOFError(), r"\(EOFError\); do this"),
        (ValueError("\x1b[31mred"), r"\(\[31mred\); do this"),
        (ChainError("no compressor 'kx'"), r"\(no compressor 'kx'\); do this"),
        (FileNotFoundError(), r"^a holds no complete run: b\.pt is missing$"),
        (PermissionError(13, "Permission denied"), r"a/b\.pt cannot be read: Permission denied"),
        (ResultsError("as it is"), r"^as it is$"),
    ],
)
def test_whatever_a_reader_raises_is_one_line(error: Exception, says: str) -> None:
    with pytest.raises(KwsError, match=says) as caught, reading(Path("a/b.pt"), "do this"):
        raise error
    assert type(caught.value) is ResultsError
    assert str(caught.value).isprintable()


def test_ctrl_c_is_no_damage() -> None:
    with pytest.raises(KeyboardInterrupt), reading(Path("a/b.pt")):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("value", "expected"),
    [("left", True), ("کتاب\u200cها", True), ("a\nb", False), ("\0", False), ("\ud800", False), (1, False)],
)
def test_text_is_a_line_that_can_be_printed(value: object, expected: bool) -> None:
    assert is_text(value) is expected


def test_a_path_may_hold_bytes_that_are_no_text() -> None:
    assert is_text("\udcff", "surrogateescape")
    assert not is_text("\udcff")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, True) for value in (0, -1, 0.5, 1e308, float("nan"), 2**70)),
        *((value, False) for value in (float("inf"), 10**400, True, "1", None, [])),
    ],
)
def test_numbers_are_those_that_a_float_holds(value: object, expected: bool) -> None:
    assert is_number(value) is expected


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_what_numpy_reads(save: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "floats": rng.random(1000),
        "by_column": np.asfortranarray(rng.random((3, 4))),
        "names": np.array(["a", "größer", ""]),
        "whole": rng.integers(0, 9, (2, 3, 4)).astype(np.int8),
        "one": np.array(3.5),
        "none": np.zeros((0, 2)),
    }
    save(tmp_path / "a.npz", **arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_altered_weights_do_not_pass_for_others(tmp_path: Path) -> None:
    """torch itself reads them."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.arange(1000.0)}, buffer)
    whole = buffer.getvalue()
    (tmp_path / "w.pt").write_bytes(whole)
    assert torch.equal(read_tensors(tmp_path / "w.pt")["weight"], torch.arange(1000.0))
    altered = bytearray(whole)
    altered[whole.index(torch.arange(500.0, 510.0).numpy().tobytes())] ^= 4
    assert not torch.equal(torch.load(io.BytesIO(altered))["weight"], torch.arange(1000.0))
    (tmp_path / "w.pt").write_bytes(altered)
    with pytest.raises(BadZipFile, match="CRC"):
        read_tensors(tmp_path / "w.pt")


def test_an_object_is_utf_8_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes('{"keyword": "größer"}'.encode())
    assert read_object(path) == {"keyword": "größer"}
    path.write_bytes('{"keyword": "größer"}'.encode("latin1"))
    with pytest.raises(UnicodeDecodeError):
        read_object(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="no JSON object"):
        read_object(path)
