import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compressors.quantization.quantize import integer_spec, quantize
from models.base import N_CLASSES, N_MELS
from models.crnn import CrnnSpec
from models.errors import KwsError, ModelError
from models.integer import IntegerModel
from models.integer import file as kws_file
from models.integer.file import FileError, count_bytes, from_bytes, pack, to_bytes, unpack
from models.registry import build

STUDENT = CrnnSpec(channels=2, hidden=10)


def integer(spec: CrnnSpec = STUDENT, activations: int = 8, bits: int = 8, **others: int) -> IntegerModel:
    torch.manual_seed(0)
    weights = {name: tensor.numpy() for name, tensor in build(spec).state_dict().items()}
    widths = dict.fromkeys(integer_spec(spec).shapes(), bits) | {
        name.replace("__", "."): width for name, width in others.items()
    }
    return quantize(weights, spec, widths=widths, conv_step=0.07, activations=activations)


@pytest.mark.parametrize("bits", range(2, 9))
def test_packing_is_the_bits_one_after_the_other(bits: int) -> None:
    top = 2 ** (bits - 1) - 1
    values = np.random.default_rng(0).integers(-top, top + 1, 77).astype(np.int8)
    whole = sum((int(value) & (2**bits - 1)) << (bits * index) for index, value in enumerate(values))
    assert pack(values, bits) == whole.to_bytes((77 * bits + 7) // 8, "little")
    assert np.array_equal(unpack(pack(values, bits), bits, 77), values)


@pytest.mark.parametrize(
    "model",
    [
        integer(),
        integer(bits=4, activations=16),
        integer(CrnnSpec(channels=3, kernel=(7, 20), stride=(3, 8), hidden=5, attention=4, layers=1), bits=3),
        integer(bits=4, conv=8, gru__1__hh__n=5, classifier=7),
    ],
)
def test_what_is_read_is_what_was_written(model: IntegerModel, tmp_path: Path) -> None:
    kws_file.save(model, tmp_path / "model.kws")
    assert [path.name for path in tmp_path.iterdir()] == ["model.kws"]
    read = kws_file.load(tmp_path / "model.kws")
    assert read.spec == model.spec
    assert read.conv_scale == model.conv_scale
    assert list(read.tensors) == list(model.spec.shapes())
    for name, tensor in model.tensors.items():
        for ours, theirs in zip(read.tensors[name], tensor, strict=True):
            assert np.array_equal(ours, theirs), name
    heard = np.random.default_rng(0).normal(-8, 3, (4, 40, 101)).astype(np.float32)
    assert np.array_equal(read.clip(heard)[0], model.clip(heard)[0])


def test_bytes_by_hand() -> None:
    """2,445 parameters; the two biases of the gates r and z are one, in each of two layers."""
    weights, rows = 200 + 1080 + 3 * 300 + 100 + 10 + 20, 2 + 4 * 30 + 10 + 1 + 2
    biases = 95
    assert weights + biases + 2 * 20 == 2445
    scales = 2 * (rows + biases) + 2
    container = 23 + 8 + 4
    for bits, payload in ((8, weights), (4, weights // 2)):
        found = count_bytes(integer(bits=bits))
        assert (found.payload_bytes, found.scale_bytes, found.container_bytes) == (payload, scales, container)
        assert found.artifact_bytes == payload + scales + container == len(to_bytes(integer(bits=bits)))
    mixed = count_bytes(integer(bits=8, conv=4))
    assert mixed.payload_bytes == weights - 100


def test_the_header_is_as_documented() -> None:
    data = to_bytes(integer(bits=4, activations=16))
    assert data[:6] == b"KWS\x1a\x01\x10"
    assert struct.unpack_from("<IHBBBBHHBBBe", data, 6)[:-1] == (len(data), 2, 5, 20, 2, 8, 10, 10, 2, 40, 2)
    assert struct.unpack_from("<e", data, 23)[0] == pytest.approx(0.07, rel=1e-3)
    assert data[25:33] == b"\x44" * 8
    assert struct.unpack("<I", data[-4:])[0] == zlib.crc32(data[:-4])


@pytest.mark.parametrize("size", [0, 3, 6, 20, 100, 1651])
def test_a_file_that_was_cut_is_refused(size: int) -> None:
    with pytest.raises(FileError, match=r"copy it again|no \.kws file"):
        from_bytes(to_bytes(integer(bits=4))[:size])


def test_a_file_that_was_altered_is_refused() -> None:
    data = to_bytes(integer(bits=4))
    with pytest.raises(FileError, match="header says"):
        from_bytes(data + b"x")
    for place in (10, 30, 40, 700, len(data) - 1):
        altered = bytearray(data)
        altered[place] ^= 4
        with pytest.raises(FileError, match="altered"):
            from_bytes(bytes(altered))
    with pytest.raises(FileError, match=r"no \.kws file"):
        from_bytes(b"RIFF" + data[4:])


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    data = bytearray(to_bytes(integer()))
    data[4] = 2
    (tmp_path / "new.kws").write_bytes(data)
    with pytest.raises(FileError, match=r"new.kws is of version 2 and this toolkit reads up to 1; update it"):
        kws_file.load(tmp_path / "new.kws")
    with pytest.raises(KwsError, match="cannot be read: No such file"):
        kws_file.load(tmp_path / "none.kws")


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (5, 9, "describes no model"),
        (24, 0x7C, "describes no model"),  # an infinite step
        (10, 0, "describes no model"),
        (10, 3, "does not fit its header"),
        (25, 0x41, "weights of 1 bits"),
        (34, 0xFC, "does not fit"),  # a negative scale
        (38, 0x7C, "conv: a bias is no number"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(place: int, value: int, says: str) -> None:
    data = bytearray(to_bytes(integer()))
    data[place] = value
    data[-4:] = struct.pack("<I", zlib.crc32(bytes(data[:-4])))
    with pytest.raises(FileError, match=says):
        from_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (CrnnSpec(channels=2, hidden=10, n_classes=1), "40 mel bands and 1 classes"),
        (CrnnSpec(channels=2, hidden=10, n_classes=3), "40 mel bands and 3 classes"),
        (CrnnSpec(channels=2, hidden=10, n_mels=39), "39 mel bands and 2 classes"),
    ],
)
def test_other_classes_and_mel_bands_are_refused(spec: CrnnSpec, says: str) -> None:
    assert (kws_file.N_MELS, kws_file.N_CLASSES) == (N_MELS, N_CLASSES)
    with pytest.raises(FileError, match=f"{says}, and a keyword spotter has 40 and 2"):
        from_bytes(to_bytes(integer(spec)))


def test_numbers_beyond_64_bits_are_refused() -> None:
    """The least step and scale that a half can say, and the largest bias: 2^65 units."""
    data = bytearray(to_bytes(integer()))
    scale, bias = 33 + 2 * 4, 33 + 2 * 4 + 2 * 10  # of gru.0.ih.r, behind two channels' scales and biases
    for place, half in ((23, 0x0001), (scale, 0x0001), (bias, 0x7BFF)):
        data[place : place + 2] = struct.pack("<H", half)
    data[-4:] = struct.pack("<I", zlib.crc32(bytes(data[:-4])))
    with pytest.raises(FileError, match="would not fit in 32 bits"):
        from_bytes(bytes(data))


def test_a_model_too_large_for_the_header_leaves_no_file(tmp_path: Path) -> None:
    model = integer()
    wide = replace(model.spec, stride=(2, 256))
    with pytest.raises(ModelError, match=r"too large for a \.kws file"):
        kws_file.save(replace(model, spec=wide), tmp_path / "model.kws")
    assert not list(tmp_path.iterdir())


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    kws_file.save(integer(), tmp_path / "model.kws")
    code = (
        "import sys, numpy as np; from pathlib import Path; from models.integer.file import load; "
        f"print(load(Path({str(tmp_path / 'model.kws')!r})).clip(np.zeros((1, 40, 101)))[0].shape); "
        "assert 'torch' not in sys.modules and 'pickle' not in vars(sys.modules['models.integer.file'])"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == "(1, 2)\n"
