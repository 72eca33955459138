"""Run folders that were damaged, or made to do damage: they open, or one line says what is wrong."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load, save

from bench.cli import main
from bench.config import Recipe, RunConfig
from bench.data.clips import Data, corpus_of
from bench.data.corpora.base import Corpus
from bench.quality.metrics import two_classes
from bench.quality.score import predict
from bench.reading import CHECKSUM, tensors_hash
from bench.results.given import given_base
from bench.results.open import open_run, run_at
from bench.results.records import RunRecord
from bench.results.runs import RunFolder
from bench.results.scores import read_scores
from bench.running.pipeline import run_chain
from bench.running.stages import _train
from bench.running.ui import Ui
from bench.stream.operation import Track, sweep
from bench.stream.thresholds import keep_thresholds, thresholds_of
from bench.stream.tracks import SPLITS, load_tracks, save_tracks, tracks_of
from bench.stress.run import _converts
from bench.threads import threads
from bench.training.choice import audit_choice
from bench.training.state import Epoch, Training
from compressors.chain import parse
from models.base import KwsModel, example_input
from models.crnn import CrnnSpec
from models.errors import CorpusError, KwsError
from models.integer.file import _HEAD
from models.registry import build
from models.task import KeywordTask, Task

MUTANTS = 500
RECIPE = Recipe(versions=1, batch_size=64)
# A training under way that knows which units it will cut out.
GOES_ON = parse("sp:keep=0.5", CrnnSpec(channels=2, hidden=6))
CONFIG = RunConfig(chain="sp", data="tones", task=KeywordTask("start"), recipe=RECIPE, epochs=1)
Mutate = Callable[[bytes, np.random.Generator], bytes]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tone_folder: Path) -> Path:
    """A base, a tiny student, and both of its quantized forms."""
    folder = tmp_path_factory.mktemp("out")
    config = replace(CONFIG, data=str(tone_folder))
    with pytest.MonkeyPatch.context() as patch, threads(1):
        patch.setenv("KWS_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        for chain in ("sq+kd:hidden=4", "dq+kd:hidden=4"):
            run_chain(replace(config, chain=chain), folder)
    (student,) = (folder / "runs").glob("kd-*")
    keep_thresholds(RunFolder(student), CONFIG.task, 24, (0.5,))
    save_tracks(student / "tracks-0.npz", {split: [track()] for split in SPLITS})
    return folder


def track() -> Track:
    """Four words in twenty seconds, two of them found."""
    time_s, starts = np.arange(1.0, 20.0), np.array([2.0, 6.0, 10.0, 14.0])
    probability = np.where(np.isin(time_s, [3, 11]), 0.9, 0.1)
    speakers = np.array(["a", "a", "b", "b"])
    return Track(time_s, probability, starts, starts + 1, starts + 0.5, np.arange(4), speakers, 20.0)


def copy(out: Path, kind: str, to: Path) -> Path:
    (made,) = (out / "runs").glob(f"{kind}-*")
    return shutil.copytree(made, to / "runs" / made.name)


def as_before(run: Path) -> Path:
    """A run as earlier versions left it: its weights as torch saves them."""
    new = run / "weights.safetensors"
    (run / "weights.pt").write_bytes(saved(load(new.read_bytes())))
    new.unlink()
    return run


def blind(data: bytes, rng: np.random.Generator) -> bytes:
    """Bits flipped, the end or the middle gone, a piece or noise put somewhere else or over it."""
    start, end = sorted(rng.integers(0, len(data) + 1, 2))
    kind = rng.integers(5)
    if kind == 0:
        altered = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 9)):
            altered[place] ^= 1 << rng.integers(8)
        return bytes(altered)
    if kind < 3:
        return data[:start] + data[end:] * int(kind == 2)
    piece = data[start:end] if kind == 3 else rng.bytes(rng.integers(1, 17))
    place = rng.integers(0, len(data) + 1)
    return data[:place] + piece + data[place + len(piece) * rng.integers(2) :]


NASTY: list[Any] = [
    *(None, True, False, -1, 0, 1, 3, 2**31, 2**63, 10**400, 0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "a\nb", "\0", "\ud800", "9" * 300, "../..", [], {}, [[1]], [0, 0], [10**9, 5], {"a": 1}),
]


def in_tree(tree: Any, values: list[Any], rng: np.random.Generator) -> Any:
    """A copy of nested dicts and lists with a leaf, at times a branch, replaced or removed."""
    tree = at = deepcopy(tree)
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = keys[rng.integers(len(keys))]
        if not isinstance(at[key], dict | list) or not at[key] or rng.random() < 0.1:
            break
        at = at[key]
    if rng.random() < 0.1:
        del at[key]
    else:
        at[key] = values[rng.integers(len(values))]
    return tree


def in_json(data: bytes, rng: np.random.Generator) -> bytes:
    return json.dumps(in_tree(json.loads(data), NASTY, rng)).encode()


def in_tensors(data: bytes, rng: np.random.Generator) -> bytes:
    state = loaded(data)
    if rng.random() < 0.5:  # of the right shape, with a number that is none or out of all bounds
        state = deepcopy(state)
        leaves = list(tensors_in(state))
        leaf = leaves[rng.integers(len(leaves))]
        value = (float("nan"), float("inf"), 3e38, 1e6, -1e6)[rng.integers(5)]
        leaf.view(-1)[0] = value if leaf.is_floating_point() else (-1) ** int(rng.integers(2)) * 100
    else:
        tensors = [
            torch.zeros(shape, dtype=kind) for shape in ((), (1,), (3, 4)) for kind in (torch.int8, None)
        ]
        others = [
            torch.full((2,), float("nan")),
            torch.zeros(2).to_sparse(),
            torch.zeros(2, dtype=torch.cfloat),
        ]
        state = in_tree(state, [*NASTY, *tensors, *others], rng)
    return saved(state)


@cache
def loaded(data: bytes) -> Any:
    return torch.load(io.BytesIO(data))


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def in_safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """The numbers under a checksum that is right again, or the header."""
    if rng.random() < 0.5:
        state = {name: tensor.clone() for name, tensor in load(data).items()}
        changed = in_tensors(saved(state), rng)
        tensors = {
            name: tensor.contiguous()
            for name, tensor in loaded(changed).items()
            if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and not tensor.is_complex()
        }
        return save(tensors, {CHECKSUM: tensors_hash(tensors)})
    size = int.from_bytes(data[:8], "little")
    return with_header(in_tree(json.loads(data[8 : 8 + size]), NASTY, rng), data[8 + size :])


def with_header(header: object, content: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    for value in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(value, torch.Tensor) and value.numel():
            yield value
        elif isinstance(value, dict | list):
            yield from tensors_in(value)


def in_arrays(data: bytes, rng: np.random.Generator) -> bytes:
    kept = dict(np.load(io.BytesIO(data)))
    name = list(kept)[rng.integers(len(kept))]
    array, first = kept[name], np.atleast_1d(kept[name]).copy()
    if first.dtype.kind == "f":
        first[0] = (np.nan, np.inf, -0.1, 1.1, 0.5, 2.0, 1e300)[rng.integers(7)]
    others = [first, first, first, first[:-1], np.append(array, array), array[None], array.astype(str)]
    if array.dtype.kind != "U":
        others += [array * 0, array.astype(complex), array.astype(int), array.astype(np.float16)]
    others += [
        np.array(["x"]),
        np.zeros(0),
        np.array(1.0),
        np.zeros((2, 0)),
        np.ones(3, bool),
        np.array([b"x"]),
    ]
    kept[name] = others[rng.integers(len(others))]
    if rng.random() < 0.1:
        del kept[name]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **kept)
    return buffer.getvalue()


def in_kws(data: bytes, rng: np.random.Generator) -> bytes:
    """A field of the header, or a byte behind it, under a checksum that is right again."""
    altered = bytearray(data)
    if rng.random() < 0.5:
        altered[rng.integers(len(data) - 4)] = (0, 1, 3, 8, 16, 124, 252, 255)[rng.integers(8)]
    else:
        place = rng.integers(_HEAD.size)
        altered[place] = (altered[place] + rng.integers(-3, 4)) % 256
    altered[-4:] = struct.pack("<I", zlib.crc32(bytes(altered[:-4])))
    return bytes(altered)


def opens_model(run: Path) -> None:
    model = open_run(run)[1]
    logits = predict(model, example_input(frames=101), np.zeros(1, np.int64))
    assert logits.shape == (1, 2)
    assert logits.isfinite().all()
    assert isinstance(model, KwsModel)
    model.stream(example_input(), model.init_state(1))


def opens_config(run: Path) -> None:
    def no_corpus(data: str, task: Task, split: str) -> Corpus:
        Path(data).is_dir()
        said = (*task.classes, task.text, split)
        raise CorpusError(f"no {os.fsencode(data)!r} {[each.encode() for each in said]!r}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.data.clips.open_corpus", no_corpus)
        with pytest.raises(KwsError):
            corpus_of(RunFolder(run), None)
    opens_model(run)


def opens_row(run: Path) -> None:
    _, record = run_at(run)
    _converts(record, run)
    kinds = {"str": str, "int": int, "float": (int, float)}
    for column in fields(RunRecord):
        if column.name != "quality":
            kind, _, optional = str(column.type).partition(" | ")
            value = record[column.name]
            assert isinstance(value, kinds[kind]) or (optional and value is None), column.name
            assert not isinstance(value, str) or value.encode() is not None
    assert all(isinstance(value, int | float) for value in record.quality.values())
    # Of columns that someone took away there is no figure.
    assert isinstance(record["au_fa_fr"] + record["keyword_clips"], float)


def opens_scores(run: Path) -> None:
    for split in ("validation", "test"):
        kept = read_scores(run, split, speakers=True)
        assert len(kept.labels) == len(kept.known_speakers) == len(kept.of_keyword)
        assert set(kept.labels) == {0, 1}
        assert ((kept.of_keyword >= 0) & (kept.of_keyword <= 1)).all()
    opens_threshold(run)


def opens_threshold(run: Path) -> None:
    assert 0 < thresholds_of(RunFolder(run), CONFIG.task, 24, None)[0][0] <= 1


def opens_tracks(run: Path) -> None:
    for found in (load_tracks(run / "tracks-0.npz") or {}).values():
        assert np.isfinite(sweep(found).miss_rate).all()


@dataclass(frozen=True)
class Read:
    """A file of a run, what is changed in it besides bits, and what reads it."""

    file: str
    run: str
    mutate: Mutate
    opens: Callable[[Path], None]


READ = [
    Read("config.json", "kd", in_json, opens_config),
    Read("row.json", "kd", in_json, opens_row),
    Read("weights.safetensors", "kd", in_safetensors, opens_model),
    Read("weights.pt", "kd", in_tensors, opens_model),
    Read("scores.npz", "kd", in_arrays, opens_scores),
    Read("model.kws", "sq+kd", in_kws, opens_model),
    Read("stream_thresholds.json", "kd", in_json, opens_threshold),
    Read("tracks-0.npz", "kd", in_arrays, opens_tracks),
]


def try_mutants(path: Path, mutate: Mutate, opens: Callable[[], None]) -> int:
    """Opens every mutant of a file, half of them changed blindly; gives how many were refused."""
    whole, refused, failures = path.read_bytes(), 0, []
    for number in range(MUTANTS):
        rng = np.random.default_rng([zlib.crc32(path.name.encode()), number])
        path.write_bytes((blind if number % 2 else mutate)(whole, rng))
        try:
            opens()
        except KwsError as error:
            refused += 1
            # Weights that config.json is not of are told of the weights.
            named = path.parent if path.name == "config.json" else path
            if str(named) not in str(error) or not str(error).isprintable():
                failures.append(f"{number}: {error}")
        except Exception as error:
            failures.append(f"{number}: {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)
    path.write_bytes(whole)
    opens()
    return refused


@pytest.mark.parametrize("read", READ, ids=lambda read: read.file)
def test_a_mutant_opens_or_is_refused_in_one_line(read: Read, out: Path, tmp_path: Path) -> None:
    run = copy(out, read.run, tmp_path)
    if read.file == "weights.pt":
        as_before(run)
    refused = try_mutants(run / read.file, read.mutate, lambda: read.opens(run))
    # Damaged tracks are made again instead.
    assert refused > MUTANTS / 2 or read.opens is opens_tracks


@pytest.mark.parametrize(("mutate", "whole"), [(in_safetensors, save), (in_tensors, saved)])
def test_a_mutant_of_a_base_s_file_is_taken_or_refused(
    mutate: Mutate, whole: Callable[[Any], bytes], out: Path, tmp_path: Path
) -> None:
    """A file of someone else's: no checksum, and whatever is around the weights."""
    state = load((copy(out, "base", tmp_path) / "weights.safetensors").read_bytes())
    path = tmp_path / "my file"
    path.write_bytes(whole(state if whole is save else {"epoch": 1, "state_dict": state}))

    def opens() -> None:
        model = given_base(path, "crnn", KeywordTask("start"))
        assert predict(model, example_input(frames=101), np.zeros(1, np.int64)).isfinite().all()

    assert try_mutants(path, mutate, opens) > MUTANTS / 3


class GoingOn:
    """A training of one epoch that was stopped before its row was written."""

    def __init__(self, folder: Path, data: Data) -> None:
        self.run, self.data = RunFolder(folder), data
        folder.mkdir()
        self.training = training = Training.start(self.model(), RECIPE, self.run.checkpoint)
        training.model(data.clips.features.clean[:8]).logits.sum().backward()
        training.optimizer.step()
        scores = two_classes(np.linspace(0, 1, len(data.clips.validation)))
        training.add(Epoch(1, 0.5, 0.5, "au_fa_fr", 0.1, 1.0), scores)
        self.epoch = folder / "epochs" / "0001.pt"

    def model(self) -> KwsModel:
        torch.manual_seed(0)
        return GOES_ON.prepare(build(CrnnSpec(channels=2, hidden=6)))

    def goes_on(self) -> None:
        training = _train(self.run, GOES_ON, self.model(), self.run, CONFIG, self.data, Ui())
        assert len(training.history) == 1
        GOES_ON.surgery(training.best_model)

    def is_audited(self) -> None:
        choice = audit_choice(self.training, GOES_ON, self.data.clips, self.data.speakers)
        assert choice.choice_checkpoints == 1


@pytest.fixture
def going_on(tmp_path: Path, tone_corpus: Corpus) -> GoingOn:
    with threads(1):
        return GoingOn(tmp_path / "sp-0", Data(tone_corpus, CONFIG))


def test_a_training_goes_on_from_a_mutant_or_refuses_it(going_on: GoingOn) -> None:
    assert try_mutants(going_on.run.checkpoint, in_tensors, going_on.goes_on) > MUTANTS / 2


def test_a_mutant_of_an_epoch_is_audited_or_refused(going_on: GoingOn) -> None:
    assert try_mutants(going_on.epoch, in_tensors, going_on.is_audited) > MUTANTS / 2


class RunsCode:
    """A pickle that makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def zipped(members: dict[str, bytes], how: int = ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(header: str, content: bytes = b"") -> bytes:
    padded = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode("latin1") + content


def shaped(shape: str, kind: str = "'<f8'") -> bytes:
    return zipped({"test.npy": npy(f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}")})


def lying(size: int) -> bytes:
    """An archive that says of a large file that it is small."""
    data = zipped({"test.npy": bytes(size)}, ZIP_DEFLATED)
    return data.replace(struct.pack("<I", size), struct.pack("<I", 100))


def with_objects(folder: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, test=np.array([RunsCode(folder)]), allow_pickle=True)
    return buffer.getvalue()


JSON = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "no JSON": b"{'chain': 1}",
    "no UTF-8": b'{"chain": "\xff"}',
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "a number without end": b'{"seed": ' + b"9" * 10_000 + b"}",
}
ARCHIVES: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda _: b"",
    "no archive": lambda _: b"no zip",
    "an archive of nothing": lambda _: zipped({}),
    "code in a pickle": lambda folder: pickle.dumps(RunsCode(folder)),
    "code in an archive": lambda folder: saved({"test": RunsCode(folder), "model": RunsCode(folder)}),
    "code in an array": with_objects,
    "another compression": lambda _: zipped({"test.npy": bytes(10**6)}, ZIP_LZMA),
    "a bomb": lambda _: zipped({f"{name}.npy": bytes(30 * 2**20) for name in range(9)}, ZIP_DEFLATED),
    "a bomb that lies": lambda _: lying(50 * 2**20),
    "a shape beyond memory": lambda _: shaped("(1000000000000,)"),
    "a shape beyond numbers": lambda _: shaped("(1000000000000, 1000000000000, 1000000000000)"),
    "a negative shape": lambda _: shaped("(-1, -8)"),
    "values of no size": lambda _: shaped("(1000000000000,)", "'<U0'"),
    "a header without end": lambda _: shaped("(" * 5000),
}


def refused(opens: Callable[[], object], path: Path) -> None:
    with pytest.raises(KwsError) as caught:
        opens()
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
def test_malicious_json_is_refused(content: bytes, out: Path, tmp_path: Path) -> None:
    run = copy(out, "kd", tmp_path)
    for read in READ:
        if read.mutate is in_json:
            (run / read.file).write_bytes(content)
            refused(partial(read.opens, run), run / read.file)


@pytest.mark.parametrize("make", ARCHIVES.values(), ids=ARCHIVES)
def test_malicious_archives_are_refused_unread(
    make: Callable[[Path], bytes], out: Path, going_on: GoingOn, tmp_path: Path
) -> None:
    run, proof = copy(out, "kd", tmp_path), tmp_path / "code was run"
    old = as_before(copy(out, "kd", tmp_path / "old"))
    content = make(proof)
    for path, opens in (
        (run / "scores.npz", lambda: opens_scores(run)),
        (run / "weights.safetensors", lambda: opens_model(run)),
        (old / "weights.pt", lambda: opens_model(old)),
        (going_on.epoch, going_on.is_audited),
        (going_on.run.checkpoint, going_on.goes_on),
    ):
        path.write_bytes(content)
        tracemalloc.start()
        refused(opens, path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * len(content) + 20 * 2**20
    (run / "tracks-0.npz").write_bytes(content)
    assert load_tracks(run / "tracks-0.npz") is None
    assert not proof.exists()


def entry(shape: list[int], end: int, kind: str = "F32") -> dict[str, Any]:
    return {"w": {"dtype": kind, "shape": shape, "data_offsets": [0, end]}}


SAFETENSORS = {
    "a header beyond the file": (2**40).to_bytes(8, "little") + b"{}",
    "a header beyond numbers": b"\xff" * 8 + b"{}",
    "a header of nothing": with_header(b""),
    "a header that is a list": with_header([]),
    "a header that is no JSON": with_header(b"{'w': 1}"),
    "a deep header": with_header(b'{"a":' * 100_000),
    "metadata that is no text": with_header({"__metadata__": {CHECKSUM: [1]}}),
    "a shape beyond memory": with_header(entry([10**12], 4 * 10**12), bytes(16)),
    "a shape beyond numbers": with_header(entry([2**40, 2**40], 4), bytes(4)),
    "a negative shape": with_header(entry([-1], 4), bytes(4)),
    "a shape of other bytes": with_header(entry([3], 16), bytes(16)),
    "bytes of no tensor": with_header(entry([1], 4), bytes(400)),
    "another kind": with_header(entry([1], 4, "F33"), bytes(4)),
}


@pytest.mark.parametrize("content", SAFETENSORS.values(), ids=SAFETENSORS)
def test_malicious_safetensors_are_refused_unread(content: bytes, out: Path, tmp_path: Path) -> None:
    run = copy(out, "kd", tmp_path)
    (run / "weights.safetensors").write_bytes(content)
    tracemalloc.start()
    refused(partial(opens_model, run), run / "weights.safetensors")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(content) + 20 * 2**20


def test_weights_are_those_of_their_checksum(out: Path, tmp_path: Path) -> None:
    run = copy(out, "kd", tmp_path)
    path = run / "weights.safetensors"
    whole = path.read_bytes()
    # The last byte but one of a number: it stays finite.
    for altered in (whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:], save(load(whole))):
        path.write_bytes(altered)
        with pytest.raises(KwsError, match="not those of its checksum"):
            open_run(run)


def test_weights_of_earlier_versions_give_the_same_model(out: Path, tmp_path: Path) -> None:
    new, old = copy(out, "kd", tmp_path), as_before(copy(out, "kd", tmp_path / "old"))
    heard = example_input(frames=101)
    logits = [open_run(run)[1](heard).logits for run in (new, old)]
    assert torch.equal(*logits)
    # Where both lie, the new one counts.
    (new / "weights.pt").write_bytes(b"nothing")
    assert torch.equal(open_run(new)[1](heard).logits, logits[0])


def test_what_nothing_reads_may_be_anything(out: Path, tmp_path: Path) -> None:
    run = copy(out, "dq+kd", tmp_path)
    for name in ("shipped.pt", "history.csv"):
        (run / name).write_bytes(b"\xff")
    opens_model(run)
    opens_row(run)


# A command, the file of a run that it reads, and what it says of it besides its name.
COMMANDS = [
    (["stream", "RUN", "test"], "kd", "config.json", "cannot be loaded"),
    (["stream", "RUN", "test"], "kd", "row.json", "cannot be loaded"),
    (["stream", "RUN", "AUDIO"], "kd", "scores.npz", "cannot be loaded"),
    (["operate", "RUN"], "kd", "row.json", "cannot be loaded"),
    (["operate", "RUN"], "kd", "weights.safetensors", "cannot be loaded"),
    (["stress", "RUN"], "kd", "row.json", "cannot be loaded"),
    (["stress", "RUN"], "kd", "weights.safetensors", "cannot be loaded"),
    (["export", "RUN"], "sq+kd", "model.kws", "no .kws file"),
    (["export", "RUN", "--format", "onnx"], "kd", "config.json", "cannot be loaded"),
    (["export", "RUN", "--format", "c"], "kd", "config.json", "such as sq+ad+kd"),
    (["latency", "RUN"], "kd", "weights.safetensors", "cannot be loaded"),
    (["mcu", "RUN"], "sq+kd", "config.json", "cannot be loaded"),
    (["compare", "TABLE", "--test", "all"], "kd", "scores.npz", "cannot be loaded"),
]


@pytest.mark.parametrize(("command", "kind", "file", "said"), COMMANDS, ids=lambda part: str(part))
def test_every_command_says_what_is_damaged_in_one_line(
    command: list[str], kind: str, file: str, said: str, out: Path, tmp_path: Path
) -> None:
    if command[0] == "mcu":
        for module in ("ziglang", "unicorn", "elftools"):
            pytest.importorskip(module)
    shutil.copytree(out, tmp_path / "out")
    (run,) = (tmp_path / "out" / "runs").glob(f"{kind}-*")
    (run / file).write_bytes(b"[" * 100_000)
    (run / "stream_thresholds.json").unlink(missing_ok=True)
    names = {"RUN": run, "AUDIO": "talk.wav", "TABLE": tmp_path / "out" / "results.csv"}
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(main, [str(names.get(word, word)) for word in command], catch_exceptions=False)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr
    assert str(run) in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_going_on_from_a_damaged_base_says_so(out: Path, tone_folder: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, chain="kd:hidden=5", data=str(tone_folder))
    for file in ("row.json", "weights.safetensors"):
        there = shutil.copytree(out, tmp_path / file)
        (base,) = (there / "runs").glob("base-*")
        (base / file).write_bytes(b"nothing")
        refused(partial(run_chain, config, there), base / file)
        shutil.rmtree(base)
        assert run_chain(config, there)[-1].status == "ok"


def test_a_conversion_of_a_run_that_does_not_say_its_epochs_is_refused(
    out: Path, tone_folder: Path, tmp_path: Path
) -> None:
    there = shutil.copytree(out, tmp_path / "out")
    (student,), (shipped,) = ((there / "runs").glob(kind) for kind in ("kd-*", "sq+kd-*"))
    shutil.rmtree(shipped)
    row = json.loads((student / "row.json").read_text()) | {"epochs": None}
    (student / "row.json").write_text(json.dumps(row))
    config = replace(CONFIG, chain="sq+kd:hidden=4", data=str(tone_folder))
    refused(partial(run_chain, config, there), student / "row.json")


def test_kept_tracks_of_other_clips_are_refused(out: Path, tmp_path: Path) -> None:
    run, said = copy(out, "kd", tmp_path), list[str]()
    tracks_of(run, None, 12, 2, said.append)
    _, last = sorted(set(run.glob("tracks-*.npz")) - {run / "tracks-0.npz"})
    save_tracks(last, {split: [track()] for split in SPLITS})
    with pytest.raises(KwsError, match=r"tracks-\w+\.npz is of other clips than the joining before it"):
        tracks_of(run, None, 12, 2, said.append)
    assert len(said) == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hidden": 20_000}, "more than the base's 70,443"),
        ({"layers": 100_000}, "more than 10,000 weight tensors"),
        ({"channels": 10**30}, "cannot be built"),
        ({"n_mels": 39}, "a model of 39 mel bands, and features have 40"),
        ({"n_classes": 3}, "a model of 3 classes, and there are 2"),
        ({"stride": [2, 8, 1]}, "cannot be loaded"),
        ({"kernel": [5, 200]}, "clips of 101 frames"),
        ({"hidden": None}, "cannot be loaded"),
    ],
    ids=str,
)
def test_a_model_out_of_all_bounds_is_not_built(
    changed: dict[str, Any], said: str, out: Path, tmp_path: Path
) -> None:
    run = copy(out, "kd", tmp_path)
    about = json.loads((run / "config.json").read_text())
    about["spec"] |= changed
    (run / "config.json").write_text(json.dumps(about))
    with pytest.raises(KwsError, match=said) as caught:
        open_run(run)
    assert str(run / "config.json") in str(caught.value)
