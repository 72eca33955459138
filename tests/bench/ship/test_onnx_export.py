"""ONNX files against torch: the same function in ONNX Runtime, and refusals of what is not whole."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.runs import RunFolder
from bench.ship.export import export_run
from bench.ship.onnx_export import (
    DIGEST,
    OnnxFileError,
    _digest,
    read_onnx,
    to_bytes,
    write_onnx,
)
from bench.ship.onnx_weights import Weights, in_int8, of_float, of_integer
from compressors.chain import parse
from models.crnn import Crnn, CrnnSpec
from models.errors import ModelError
from models.factored import whole
from models.integer import IntegerModel, Quantized
from models.registry import build

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from bench.ship.onnx_run import OnnxSpotter  # noqa: E402

SPECS = [
    CrnnSpec(),
    CrnnSpec(channels=2, hidden=10),
    CrnnSpec(channels=3, kernel=(15, 5), hidden=12, attention=7, layers=3),
    CrnnSpec(channels=2, hidden=9, layers=1, attention=9),
    CrnnSpec(channels=2, kernel=(3, 4), stride=(5, 9), hidden=6),
    CrnnSpec(channels=2, hidden=12, input_rank=3, recurrent_rank=4),
    CrnnSpec(channels=2, hidden=12, recurrent_rank=4, layer_ranks=(3, 0, 0)),
]


def model_of(spec: CrnnSpec) -> Crnn:
    torch.manual_seed(0)
    model = build(spec).eval()
    assert isinstance(model, Crnn)
    return model


def audio(batch: int = 3, frames: int = 101) -> torch.Tensor:
    return torch.randn(batch, 40, frames, generator=torch.Generator().manual_seed(1)) * 4 - 6


def torch_model(weights: Weights) -> Crnn:
    """A torch model with the very numbers that a file holds: torch dequantizes, not ONNX."""
    sizes = weights.sizes
    spec = CrnnSpec(
        channels=sizes.channels,
        kernel=sizes.kernel,
        stride=sizes.stride,
        hidden=sizes.hidden,
        attention=sizes.attention,
        layers=sizes.layers,
    )
    names = {"conv": "conv", "attention.0": "attention.inner", "attention.2": "attention.energy"}
    state = {}
    for theirs, ours in (names | {"classifier": "classifier"}).items():
        matrix = weights.matrices[ours]
        state[f"{theirs}.weight"], state[f"{theirs}.bias"] = matrix.real(), matrix.bias
    state["conv.weight"] = state["conv.weight"].reshape(sizes.channels, 1, *sizes.kernel)
    for layer in range(sizes.layers):
        for name in ("ih", "hh"):
            matrix = weights.matrices[f"gru.{layer}.{name}"]
            state[f"gru.weight_{name}_l{layer}"], state[f"gru.bias_{name}_l{layer}"] = (
                matrix.real(),
                matrix.bias,
            )
    model = model_of(spec)
    model.load_state_dict({name: torch.tensor(values).float() for name, values in state.items()})
    return model


def integer_model(bits: int) -> IntegerModel:
    """Random integers of that width."""
    rng, sizes = np.random.default_rng(0), of_float(model_of(SPECS[1])).sizes
    top = 2 ** (bits - 1) - 1
    tensors = {}
    for name, (rows, columns) in sizes.shapes().items():
        weight = rng.integers(-top, top + 1, (rows, columns)).astype(np.int8)
        scale = (rng.uniform(0.2, 0.4, rows) / top).astype(np.float16)
        biased = ".hh." not in name or name.endswith("n")
        tensors[name] = Quantized(bits, weight, scale, scale if biased else None)
    return IntegerModel(sizes, np.float16(0.1), tensors)


@pytest.mark.parametrize("spec", SPECS)
def test_the_float_form_is_the_model(spec: CrnnSpec, tmp_path: Path) -> None:
    model, log_mel = model_of(spec), audio()
    write_onnx(model, tmp_path / "clip.onnx")
    with torch.no_grad():
        expected = model(log_mel).logits.numpy()
    found = OnnxSpotter.open(tmp_path / "clip.onnx").logits(log_mel.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("weights", ["float", "int8"])
@pytest.mark.parametrize(("spec", "buffer"), [(SPECS[2], 3), (SPECS[2], 24), (SPECS[4], 24)])
def test_each_step_is_torch_s_stream(weights: str, spec: CrnnSpec, buffer: int) -> None:
    """Logits after every window, with the buffer of attention that torch's stream has."""
    model, log_mel = model_of(spec), audio(frames=250)
    content = of_float(model) if weights == "float" else in_int8(of_float(model))
    spotter = OnnxSpotter(to_bytes(content, "stream", buffer))
    reference = torch_model(content)
    with torch.no_grad():
        expected, _ = reference.stream(log_mel, reference.init_state(3, buffer))
    found = spotter.stream(log_mel.numpy(), model.spec.stride[1])
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert spotter.stream(log_mel.numpy()[..., :3], model.spec.stride[1]).shape == (3, 0, 2)


@pytest.mark.parametrize("form", ["float", "int8", "artifact", "nibbles"])
def test_streaming_ends_in_the_clip_s_logits(form: str) -> None:
    log_mel = audio().numpy()
    weights = {
        "float": lambda: of_float(model_of(SPECS[1])),
        "int8": lambda: in_int8(of_float(model_of(SPECS[1]))),
        "artifact": lambda: of_integer(integer_model(8)),
        "nibbles": lambda: of_integer(integer_model(4)),
    }[form]()
    clip, stream = (OnnxSpotter(to_bytes(weights, kind)) for kind in ("clip", "stream"))  # type: ignore[arg-type]
    np.testing.assert_allclose(clip.logits(log_mel), stream.stream(log_mel, 8)[:, -1], atol=1e-5)
    assert np.abs(np.diff(clip.logits(log_mel), axis=0)).max() > 1e-4


@pytest.mark.parametrize("unpacked", [False, True])
def test_integers_are_what_torch_computes_with_their_real_values(unpacked: bool) -> None:
    log_mel = audio()
    for weights in (in_int8(of_float(model_of(SPECS[0]))), *(of_integer(integer_model(n)) for n in (8, 4))):
        with torch.no_grad():
            expected = torch_model(weights)(log_mel).logits.numpy()
        found = OnnxSpotter(to_bytes(weights, "clip"), unpacked=unpacked).logits(log_mel.numpy())
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_rounding_is_to_the_nearest_of_127_steps() -> None:
    weights = of_float(model_of(SPECS[1]))
    for name, matrix in in_int8(weights).matrices.items():
        assert matrix.scale is not None
        assert np.abs(matrix.weight).max() == 127
        error = np.abs(matrix.real() - weights.matrices[name].weight)
        assert (error <= 0.5001 * matrix.scale[:, None] + 127 * 2**-11 * matrix.scale[:, None]).all()


def test_factors_of_low_rank_stay_two_where_the_operator_allows() -> None:
    """The input's matrices, 36 x 36 and 36 x 12, in rank 3; the state's are multiplied out."""
    factored = len(to_bytes(of_float(model_of(SPECS[5])), "clip"))
    plain = len(to_bytes(of_float(whole(model_of(SPECS[5]))), "clip"))
    fewer = 4 * sum(36 * width - 3 * (36 + width) for width in (36, 12))
    assert fewer - 200 < plain - factored < fewer
    log_mel = audio().numpy()
    eight = in_int8(of_float(model_of(SPECS[5])))
    clip, stream = OnnxSpotter(to_bytes(eight, "clip")), OnnxSpotter(to_bytes(eight, "stream"))
    np.testing.assert_allclose(clip.logits(log_mel), stream.stream(log_mel, 8)[:, -1], atol=1e-5)


def test_the_file_holds_little_beside_the_weights(tmp_path: Path) -> None:
    """2,445 parameters: 2,310 weights of a byte, 135 biases and 135 scales of two; the rest is the graph."""
    size = write_onnx(model_of(SPECS[1]), tmp_path / "m.onnx", weights="int8")
    weights = of_float(model_of(SPECS[1])).matrices.values()
    numbers = sum(matrix.weight.size + 4 * len(matrix.bias) for matrix in weights)
    assert sum(matrix.weight.size + len(matrix.bias) for matrix in weights) == 2445
    assert numbers < size < numbers + 1800
    nibbles = len(to_bytes(of_integer(integer_model(4)), "clip"))
    assert size - nibbles > 1000


def test_written_files_pass_the_checker_and_name_their_opset() -> None:
    model = onnx.load_model_from_string(to_bytes(of_float(model_of(SPECS[0])), "clip"))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert [node.op_type for node in model.graph.node].count("GRU") == 2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98, 0.999])
def test_a_cut_file_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write_onnx(model_of(SPECS[1]), path, weights="int8")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(OnnxFileError, match=r"cut|altered") as refused:
        read_onnx(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.8, 0.9])
def test_an_altered_byte_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    size = write_onnx(model_of(SPECS[1]), path, weights="int8")
    data = bytearray(path.read_bytes())
    data[int(share * size)] ^= 1
    path.write_bytes(data)
    with pytest.raises(OnnxFileError, match=r"altered|cut"):
        read_onnx(path)


def test_other_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(OnnxFileError, match="cannot be read: No such file"):
        read_onnx(path)
    write_onnx(model_of(SPECS[1]), path)
    newer = onnx.load_model_from_string(path.read_bytes())
    newer.metadata_props[0].value = "2" + newer.metadata_props[0].value[1:]
    body = newer.SerializeToString()[:-DIGEST]
    path.write_bytes(body + _digest(body))
    with pytest.raises(OnnxFileError, match="of version 2 and this toolkit reads up to 1"):
        read_onnx(path)
    del newer.metadata_props[:]
    path.write_bytes(newer.SerializeToString())
    with pytest.raises(OnnxFileError, match="not written by bench export"):
        read_onnx(path)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a Linear cannot be written as ONNX"):
        write_onnx(torch.nn.Linear(2, 2), tmp_path / "m.onnx")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="holds nothing"):
        write_onnx(model_of(SPECS[1]), tmp_path / "m.onnx", form="stream", max_buffer_len=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("chain", "exact"), [("kd", True), ("dq+kd", False)])
def test_runs_in_floating_point_are_exported(chain: str, exact: bool, tmp_path: Path) -> None:
    """A float run as it is; one of dq with the int8 weights that are nearest."""
    run, model = RunFolder(tmp_path / "run"), model_of(SPECS[1])
    run.path.mkdir()
    run.save_config("crnn", parse(chain, CrnnSpec()), model.spec, {})
    run.save_model(model, model)
    clip, stream = export_run(run.path, "onnx", None)
    with torch.no_grad():
        expected = model(audio()).logits.numpy()
    difference = np.abs(OnnxSpotter.open(clip).logits(audio().numpy()) - expected).max()
    assert (difference < 1e-5) == exact
    assert difference < 0.02
    streamed = OnnxSpotter.open(stream).stream(audio().numpy(), 8)[:, -1]
    np.testing.assert_allclose(streamed, OnnxSpotter.open(clip).logits(audio().numpy()), atol=1e-5)
    assert stream.parent == run.path / "export" / "onnx"
