import contextlib
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from bench.files import write_atomically
from models.errors import KwsError, ModelError
from models.integer.file import FileError, _content, _op_bytes, from_bytes, load, to_bytes
from models.integer.kws import count_bytes
from models.integer.model import IntegerModel
from models.integer.ops import KINDS, Act, Add, Conv, Gives, Input, MeanTime, Pick, Pool
from models.integer.packing import Reader, number, pack, unpack
from models.integer.run import clip
from models.task import KeywordTask
from tests.programs import ATTENTION, PROGRAMS, filled

FROZEN = Path(__file__).parents[2] / "frozen"
OLD = FROZEN / "sq_bits_4_ad_kd.kws"
# Where things stand in a file of version 3 of the reference student, counted by hand: see below.
HEAD, TASK, OPS, STEP, WIDTHS, NUMBERS = 0, 10, 12, 39, 41, 49


def repaired(data: bytes) -> bytes:
    """With the length and the checksum that its bytes have."""
    data = data[:6] + struct.pack("<I", len(data)) + data[10:-4]
    return data + struct.pack("<I", zlib.crc32(data))


def with_bytes(data: bytes, place: int, new: bytes) -> bytes:
    return repaired(data[:place] + new + data[place + len(new) :])


def old_file(version: int) -> bytes:
    return OLD.read_bytes() if version == 1 else _content(load(OLD), version)


def same(one: IntegerModel, other: IntegerModel) -> bool:
    tensors = zip(one.tensors, other.tensors, strict=True)
    return (
        one.program == other.program
        and one.activations == other.activations
        and dict(one.steps) == dict(other.steps)
        and all(
            np.array_equal(mine, theirs)
            for pair in tensors
            for left, right in zip(*pair, strict=True)
            for mine, theirs in zip(left, right, strict=True)
        )
    )


@pytest.mark.parametrize("bits", range(2, 9))
def test_packing_is_the_bits_one_after_the_other(bits: int) -> None:
    top = 2 ** (bits - 1) - 1
    values = np.random.default_rng(0).integers(-top, top + 1, 77).astype(np.int8)
    whole = sum((int(value) & (2**bits - 1)) << (bits * index) for index, value in enumerate(values))
    assert pack(values, bits) == whole.to_bytes((77 * bits + 7) // 8, "little")
    assert np.array_equal(unpack(pack(values, bits), bits, 77), values)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(("bits", "activations"), [(8, 8), (3, 8), (4, 16)])
def test_what_is_read_is_what_was_written(name: str, bits: int, activations: int, tmp_path: Path) -> None:
    model = filled(PROGRAMS[name], activations, bits)
    write_atomically(tmp_path / "model.kws", to_bytes(model))
    assert [path.name for path in tmp_path.iterdir()] == ["model.kws"]
    read = load(tmp_path / "model.kws")
    assert same(read, model)
    heard = np.random.default_rng(0).normal(-8, 3, (2, 40, 40)).astype(np.float32)
    assert np.array_equal(clip(read, heard)[0], clip(model, heard)[0])


def test_each_matrix_has_its_own_width() -> None:
    model = filled(ATTENTION)
    tensors = list(model.tensors)
    tensors[1] = tuple(one._replace(bits=5, weight=one.weight // 8) for one in tensors[1])
    mixed = replace(model, tensors=tuple(tensors))
    assert same(from_bytes(to_bytes(mixed)), mixed)
    assert len(to_bytes(model)) - len(to_bytes(mixed)) == 200 - 125


def test_bytes_by_hand() -> None:
    """2,445 parameters; the two biases of the gates r and z are one, in each of two layers."""
    weights, rows = 200 + 1080 + 3 * 300 + 100 + 10 + 20, 2 + 4 * 30 + 10 + 1 + 2
    biases = 95
    assert weights + biases + 2 * 20 == 2445
    scales = 2 * (rows + biases) + 2
    # One number of operations, and of each: kind and fields, then what it says.
    operations = 1 + 2 + 7 + 2 + 2 + 3 + 4 + 4 + 3 - 1
    # Of a word without a name its kind, and that it has no letters.
    container = 10 + 2 + operations + 8 + 4
    for path, payload in ((FROZEN / "sq_ad_kd.kws", weights), (OLD, weights // 2)):
        found = count_bytes(load(path))
        assert (found.payload_bytes, found.scale_bytes, found.container_bytes) == (payload, scales, container)
        assert found.artifact_bytes == payload + scales + container == len(to_bytes(load(path)))
        # Version 1 had 15 bytes of sizes in place of the operations, one step of them.
        assert path.stat().st_size == found.artifact_bytes - 2 - operations + 13
    assert OLD.stat().st_size == 1652
    assert len(to_bytes(load(OLD))) == 1666 + 2
    assert len(to_bytes(replace(load(OLD), task=KeywordTask("start")))) == 1666 + 7


def test_the_header_is_as_documented() -> None:
    model = load(OLD)
    data = to_bytes(model)
    assert data[:6] == b"KWS\x1a\x03\x08"
    assert struct.unpack_from("<I", data, 6)[0] == len(data)
    operations = """
        08
        00 28
        81 0f  02 05 14 02 08
        02 0a
        02 0a
        11  0a 03
        21  01 01
        13  02 01 03
        21  02 02
    """
    assert data[TASK:OPS] == b"\0\0"
    assert data[OPS:STEP] == bytes.fromhex(operations)
    assert data[STEP:WIDTHS] == np.float16(model.steps[1]).tobytes()
    assert data[WIDTHS:NUMBERS] == b"\x44" * 8
    assert data[NUMBERS : NUMBERS + 8] == b"".join(
        one.astype("<f2").tobytes() for one in model.tensors[1][0][2:]
    )
    assert struct.unpack("<I", data[-4:])[0] == zlib.crc32(data[:-4])


def test_a_whole_program_byte_by_byte() -> None:
    """Every kind of field: a list, a number of two bytes, a mask of two, a sign, values further back."""
    program = (
        Input(mels=40),
        Conv(inputs=(0,), rows=1, channels=200, kernel_time=3, before=2, biased=False),
        Pick(inputs=(1,), order=(199, 0), rows=1),
        Pick(inputs=(1,), order=(1, 130), rows=1),
        Add(inputs=(2, 3), minus=2),
        MeanTime(inputs=(4,)),
        Conv(inputs=(5,), channels=2, gives=Gives.LOGITS),
    )
    data = to_bytes(filled(program, bits=2))
    expected = [
        (7,),
        # Input: kind 0, mels.
        (0, 40),
        # Conv: kind 1; of act, gives, inputs, kernel_mel, kernel_time, stride_mel, stride_time, rows, above,
        # below, before, ... biased the bits 4, 7, 10 and 14; then channels and those four.
        (1 | (1 << 4 | 1 << 7 | 1 << 10 | 1 << 14) << 4, 200, 3, 1, 2, 0),
        # Pick: kind 10; order with its length; inputs are the value before.
        (10, 2, 199, 0),
        # The same of the value two before.
        (10 | 1 << 4, 2, 1, 130, 1, 2),
        # Add: kind 7; channels always, of act, gives, inputs, rows, minus the bits 2 and 4.
        (7 | (1 << 2 | 1 << 4) << 4, 0, 2, 2, 1, 2),
        (4,),
        (1 | (1 << 1) << 4, 2, 2),
    ]
    written = b"".join(number(one) for values in expected for one in values)
    assert data[OPS : OPS + len(written)] == written


def test_the_document_lists_every_field_in_its_order() -> None:
    text = (Path(__file__).parents[3] / "docs" / "integer-model.md").read_text()
    for kind in KINDS:
        row = next(line for line in text.splitlines() if line.startswith(f"| {KINDS.index(kind)} `"))
        name, always, optional = (cell.strip().split(", ") for cell in row.strip("|").split("|"))
        assert name == [f"{KINDS.index(kind)} `{kind.__name__}`"]
        always = [one for one in always if one]
        assert set(always + optional) == {one.name for one in fields(kind)}
        # A field at a time: what is always written, and the kind with its own bit alone.
        plain = {name: (0,) if name == "order" else 3 for name in always}
        for bit, name in enumerate(optional):
            value = Act.RELU if name == "act" else Gives.ENERGY if name == "gives" else 5
            value = {"inputs": (3,), "biased": False, "largest": True}.get(name, value)
            op = kind(**({} if kind is Input else {"inputs": (9,)}) | plain | {name: value})
            (first, *_), written = _split(_op_bytes(10, op), 1)
            assert first == KINDS.index(kind) | 1 << 4 + bit, name
            expected = [1, 7] if name == "inputs" else [int(value)]
            assert written[-len(expected) :] == expected


def _split(data: bytes, count: int) -> tuple[list[int], list[int]]:
    reader, found = Reader(data, 0), []
    while reader.left:
        found.append(reader.number())
    return found[:count], found[count:]


def test_files_of_version_1_give_the_same_model_as_what_is_written_of_them() -> None:
    for path in sorted(FROZEN.glob("*.kws")):
        assert path.read_bytes()[4] == 1
        assert same(from_bytes(to_bytes(load(path))), load(path))
        assert load(path).task == from_bytes(_content(load(path), 2)).task == KeywordTask(keyword="")


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("size", [0, 3, 4, 6, 13, 20, 100, 1651])
def test_a_file_that_was_cut_is_refused(size: int, version: int) -> None:
    data = old_file(version)
    with pytest.raises(FileError, match=r"copy it again|no \.kws file"):
        from_bytes(data[:size])


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_file_that_was_altered_is_refused(version: int) -> None:
    data = old_file(version)
    with pytest.raises(FileError, match="header says"):
        from_bytes(data + b"x")
    for place in (10, 30, 40, 700, len(data) - 1):
        altered = bytearray(data)
        altered[place] ^= 4
        with pytest.raises(FileError, match="altered"):
            from_bytes(bytes(altered))
    with pytest.raises(FileError, match=r"no \.kws file"):
        from_bytes(b"RIFF" + data[4:])


def test_other_versions_are_refused(tmp_path: Path) -> None:
    data = to_bytes(load(OLD))
    (tmp_path / "new.kws").write_bytes(with_bytes(data, 4, b"\x04"))
    with pytest.raises(FileError, match=r"new.kws is of version 4 and this toolkit reads 1 to 3; update it"):
        load(tmp_path / "new.kws")
    with pytest.raises(FileError, match="version 0"):
        from_bytes(with_bytes(OLD.read_bytes(), 4, b"\x00"))
    with pytest.raises(KwsError, match="cannot be read: No such file"):
        load(tmp_path / "none.kws")


@pytest.mark.parametrize(
    ("place", "new", "says"),
    [
        (5, b"\x09", "describes no model"),
        (10, b"\0", "describes no model"),
        (10, b"\3", "does not fit its header"),
        (24, b"\x7c", "describes no model|a step is not above 0"),  # an infinite step
        (25, b"\x41", "weights of 1 bits"),
        (34, b"\xfc", "does not fit"),  # a negative scale
        (38, b"\x7c", "a bias is no number"),
    ],
)
def test_nonsense_of_version_1_is_refused(place: int, new: bytes, says: str) -> None:
    with pytest.raises(FileError, match=says):
        from_bytes(with_bytes(OLD.read_bytes(), place, new))


@pytest.mark.parametrize(
    ("place", "new", "says"),
    [
        (5, b"\x09", "activations of 9 bits"),
        (OPS, b"\0", "0 operations"),
        (OPS, b"\x07", "no decisions"),
        (OPS + 1, b"\x0f", "no operation of kind 15"),
        (OPS + 3, b"\x8f", "no operation of kind 15"),
        (OPS + 3, b"\x81\x8f\x80\x80\x80\x80\x80\x80\x80", "too many digits"),
        (OPS + 3, b"\x12\x07", "describes no model"),
        (STEP, b"\x00\x7c", "a step is not above 0"),
        (STEP, b"\x00\x00", "a step is not above 0"),
        (STEP, b"\x00\x7e", "a step is not above 0"),
        (WIDTHS, b"\x41", "weights of 1 bits"),
        (WIDTHS + 2, b"\x94", "weights of 9 bits"),
        (NUMBERS, b"\x00\xfc", "a scale is not above 0"),
        (NUMBERS, b"\x00\x7e", "a scale is not above 0"),
        (NUMBERS + 4, b"\x00\x7c", "a bias is no number"),
    ],
)
def test_nonsense_is_refused(place: int, new: bytes, says: str) -> None:
    with pytest.raises(FileError, match=says) as caught:
        from_bytes(with_bytes(to_bytes(load(OLD)), place, new), "model.kws")
    assert str(caught.value).startswith("model.kws")
    assert "\n" not in str(caught.value)


def with_operations(old: str, new: str) -> bytes:
    """The reference student's file with other bytes in its operations."""
    data = to_bytes(load(OLD))
    operations = data[OPS:STEP].hex()
    assert operations.count(old) == 1
    return repaired(data[:OPS] + bytes.fromhex(operations.replace(old, new)) + data[STEP:])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("0028", "00a800", "in another way"),  # 40 in two bytes
        ("110a03", "310a0300", "in another way"),  # gives that is the default
        ("210202", "010202", "describes no model"),
        ("210202", "210201", "no decisions"),
        ("1302", "1301", "describes no model"),
        ("020a020a", "020a820a01", "Gru has no such fields"),
    ],
)
def test_one_model_has_one_file(old: str, new: str, says: str) -> None:
    with pytest.raises(FileError, match=says):
        from_bytes(with_operations(old, new))


def test_bits_that_no_weight_needs_are_zero() -> None:
    """200 + 7 weights of 3 bits: some of the last byte are left over."""
    program = (Input(mels=40), Pool(inputs=(0,), kernel_mel=39), MeanTime(inputs=(1,)))
    logits = Conv(inputs=(2,), rows=1, channels=2, gives=Gives.LOGITS)
    data = to_bytes(filled((*program, logits), bits=3))
    assert data[-5] < 16
    with pytest.raises(FileError, match="in another way"):
        from_bytes(with_bytes(data, len(data) - 5, bytes([data[-5] | 0x80])))
    odd = data.index(b"\x03", OPS + 10)
    with pytest.raises(FileError, match="in another way"):
        from_bytes(with_bytes(data, odd, b"\x33"))


def test_steps_that_no_multiplier_reaches_are_refused_when_they_are_read() -> None:
    """A sum of values whose units are 2^24 of the result's; a product, a mean."""
    for op in (Add(inputs=(1, 1)), Pool(inputs=(1,)), Conv(inputs=(1,), channels=1)):
        program = (
            Input(mels=40),
            Pool(inputs=(0,), kernel_mel=40),
            op,
            MeanTime(inputs=(2,)),
            Conv(inputs=(3,), channels=2, biased=False, gives=Gives.LOGITS),
        )
        model = filled(program)
        coarse = replace(model, steps={1: np.float16(60000), 2: np.float16(2.0**-24)})
        with pytest.raises(FileError, match=r"too (coarse|large)"):
            from_bytes(to_bytes(coarse))


@pytest.mark.parametrize(("mels", "classes"), [(40, 1), (40, 3), (39, 2)])
def test_a_program_that_is_not_of_its_task_is_neither_written_nor_read(mels: int, classes: int) -> None:
    program = (Input(mels=mels), MeanTime(inputs=(0,)))
    logits = Conv(inputs=(1,), rows=1, channels=classes, gives=Gives.LOGITS)
    says = f"{mels} mel bands and {classes} classes, and its task has 40 and 2"
    model = filled((*program, logits))
    with pytest.raises(ModelError, match=says):
        to_bytes(model)
    for version in (2, 3):
        with pytest.raises(FileError, match=says):
            from_bytes(_content(model, version))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_numbers_beyond_64_bits_are_refused(version: int) -> None:
    """The least step and scale that a half can say, and the largest bias: 2^65 units."""
    data = old_file(version)
    step, numbers = {1: (23, 33), 2: (STEP - 2, NUMBERS - 2), 3: (STEP, NUMBERS)}[version]
    # Of the first GRU's gate r, behind two channels' scales and biases.
    scale = numbers + 2 * 4
    for place, half in ((step, 0x0001), (scale, 0x0001), (scale + 2 * 10, 0x7BFF)):
        data = with_bytes(data, place, struct.pack("<H", half))
    with pytest.raises(FileError, match="would not fit in 32 bits"):
        from_bytes(data)


def test_a_model_too_large_for_the_file_is_refused() -> None:
    small = filled((Input(mels=40), Conv(inputs=(0,), rows=1, channels=2, gives=Gives.LOGITS)))
    many = (*small.program[:1], *(Add(inputs=(at,)) for at in range(4096)))
    steps = dict.fromkeys(range(1, 4097), np.float16(1))
    with pytest.raises(ModelError, match=r"too large for a \.kws file"):
        to_bytes(replace(small, program=many, tensors=((),) * 4097, steps=steps))


def attacked(data: bytes, seed: int) -> bytes:
    """Bytes flipped, replaced, put in or taken out, most of them where the operations are."""
    chance = random.Random(seed)
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        place = chance.randrange(5, chance.choice((60, 60, len(found) - 4)))
        match chance.randrange(5):
            case 0:
                found[place] ^= 1 << chance.randrange(8)
            case 1:
                found[place] = chance.choice((0, 1, 2, 127, 128, 255))
            case 2:
                found[place] = chance.randrange(256)
            case 3:
                found[place:place] = number(2 ** chance.randrange(63) - chance.randrange(2))
            case 4:
                del found[place : place + chance.randrange(1, 4)]
    return repaired(bytes(found))


def whole_file(name: str) -> bytes:
    if name == "version 1":
        return OLD.read_bytes()
    if name == "version 2":
        return _content(load(OLD), 2)
    return to_bytes(replace(filled(PROGRAMS[name]), task=KeywordTask("start")))


@pytest.mark.parametrize("name", [*PROGRAMS, "version 1", "version 2"])
def test_whatever_is_in_a_file_it_is_a_model_or_refused(name: str) -> None:
    """Nothing but the one error comes; what is read is what is written, and runs."""
    whole, heard = whole_file(name), np.full((1, 40, 24), -8, np.float32)
    read = ran = 0
    said = []
    for seed in range(1500):
        data = attacked(whole, seed)
        try:
            model = from_bytes(data)
        except FileError as error:
            said.append(str(error))
            continue
        read += 1
        if name != "version 1":
            assert _content(model, data[4]) == data, seed
        if model.least_frames <= 24 and max(shape.size for shape in model.shapes) < 2000:
            assert clip(model, heard)[0].shape == (1, 2), seed
            ran += 1
    assert 0 < ran <= read < 1500
    assert not [one for one in said if "\n" in one or len(one) > 300]


@pytest.mark.parametrize("name", [*PROGRAMS, "version 1", "version 2"])
def test_no_small_file_takes_much_memory(name: str) -> None:
    whole = whole_file(name)
    files = [attacked(whole, seed) for seed in range(1500, 1600)]
    tracemalloc.start()
    for data in files:
        with contextlib.suppress(FileError):
            from_bytes(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e6


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    write_atomically(tmp_path / "model.kws", to_bytes(filled(ATTENTION)))
    code = (
        "import sys, numpy as np; from pathlib import Path; from models.integer.file import load; "
        "from models.integer.run import clip; "
        f"print(clip(load(Path({str(tmp_path / 'model.kws')!r})), np.zeros((1, 40, 101)))[0].shape); "
        "assert 'torch' not in sys.modules and 'pickle' not in vars(sys.modules['models.integer.file'])"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == "(1, 2)\n"
