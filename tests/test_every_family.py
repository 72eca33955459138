"""What holds for every family: the registered ones, the examples', and models of tests' own.

Each compressor, each runtime; the table of docs/parity.md is what these tests hold.
"""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.config import Recipe, RunConfig
from bench.data.corpora.base import Corpus
from bench.results.records import RunRecord, load_record
from bench.results.runs import RunFolder
from bench.running.pipeline import check, run_chain
from bench.ship.c_host import compile_host
from bench.ship.latency import Subject, prepare
from bench.ship.mcu import Device
from bench.ship.mcu_build import CPUS, build_image
from bench.ship.mcu_machine import Image, Machine
from bench.ship.onnx_export import to_bytes as onnx_bytes
from bench.ship.onnx_run import OnnxSpotter
from bench.ship.onnx_weights import of_float, of_integer
from bench.ship.parity import parity
from compressors.quantization.quantized import StaticQuant, integer_of
from compressors.structured_prune import StructuredPrune, kept_units
from compressors.surgery import zero_units
from examples.operation_prelu import PreluSpec
from models import registry
from models.base import KwsModel, ModelOutput, ModelSpec, count_params
from models.errors import ChainError, ModelError
from models.graph.fold import folded, unfolded
from models.graph.units import width_groups
from models.graph.whole import Whole
from models.integer import file
from models.integer.kws import IntegerKws
from models.integer.lower import lowered
from models.integer.model import IntegerModel
from models.integer.ops import Gather, buffer_frames
from models.integer.real import run
from models.integer.run import clip, compute
from models.task import KeywordTask, Task, WordsTask
from models.tasks import task_named
from tests.zoo import OWN, SPECS, DepthwiseSpec, model_of, name_of

M4 = "cortex-m4"
FRAMES = 101
LONG = 151  # the widest family decides first after 33 frames
# A gate made of all of time, over every frame: no device could say it in a stream, and float alone has it.
NO_INTEGER_FORM = {DepthwiseSpec: "what moves meets what does not", PreluSpec: "PReLU .* has no integer form"}
INTEGER = [spec for spec in SPECS if type(spec) not in NO_INTEGER_FORM]
# Of what training does not see of the rounding: the root mean square, to the largest logit.
UNSEEN = {8: 0.01, 16: 0.0015}

# Sizes of a student where the family has none of its own.
SIZES = {"matchbox": ":widths=16x8x8x8x16", "prelu": ":channels=4"}
CHAINS = ("kd", "fd+kd", "ad+kd", "sp", "lr", "dq+kd", "sq+kd", "qat:bits=4+lr+sp+kd")
# What a family has nothing for is refused before anything is trained.
REFUSED = {
    ("ad", "no attention over time"): ("bc-resnet", "ds-cnn", "gru", "matchbox", "prelu", "tc-resnet8"),
    ("dq", "no GRU or linear layer"): ("bc-resnet",),
    ("lr", "no layer"): ("prelu",),
    ("sq", "no integer form"): ("prelu",),
    ("qat", "no (layer|integer form)"): ("prelu",),
}
RECIPE = Recipe(versions=1, batch_size=64)

every = pytest.mark.parametrize("spec", SPECS, ids=name_of)
integers = pytest.mark.parametrize("spec", INTEGER, ids=name_of)
widths = pytest.mark.parametrize(("bits", "activations"), [("8", 8), ("4", 8), ("8", 16)])


def speech(clips: int, frames: int = FRAMES, seed: int = 0) -> Tensor:
    """Log-mel whose level differs by band, as that of speech does."""
    rng = np.random.default_rng(seed)
    level = rng.normal(-8, 3, (clips, 40, 1)) + rng.normal(0, 2, (clips, 1, frames))
    return torch.from_numpy((level + rng.normal(0, 1, (clips, 40, frames))).astype(np.float32))


@cache
def rounding(spec: ModelSpec, bits: str, activations: int) -> KwsModel:
    return StaticQuant(bits=bits, activations=activations).calibrate(model_of(spec), speech(32))


def integer(spec: ModelSpec, bits: str = "8", activations: int = 8) -> IntegerModel:
    return integer_of(rounding(spec, bits, activations))  # type: ignore[arg-type]


def config_of(model: str, chain: str, device: str = "cpu") -> RunConfig:
    sized = [piece + SIZES.get(model, "") if piece == "kd" else piece for piece in chain.split("+")]
    text = "+".join(sized)
    task = KeywordTask("start")
    return RunConfig(chain=text, model=model, data="tones", task=task, recipe=RECIPE, epochs=1, device=device)


@pytest.mark.slow
@pytest.mark.parametrize("model", registry.names())
def test_it_trains_under_every_compressor(
    model: str, device: torch.device, tone_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bench.running.pipeline.open_corpus", lambda data, keyword, split, progress: tone_corpus
    )
    for chain in CHAINS:
        why = next((says for (token, says), who in REFUSED.items() if token in chain and model in who), None)
        if why is not None:
            with pytest.raises(ChainError, match=why):
                check(config_of(model, chain, device.type))
            continue
        row = run_chain(config_of(model, chain, device.type), tmp_path)[-1]
        assert (row.status, row.device) == ("ok", device.type), chain
        assert np.isfinite([row["au_fa_fr"], row.macs, row.size_kb]).all()
        assert row.size_kb < load_row(tmp_path, model).size_kb
        assert isinstance(RunFolder(tmp_path / "runs" / row.run_id).load_model(), KwsModel)


def load_row(out: Path, model: str) -> RunRecord:
    """The row of the base."""
    (found,) = (row for folder in (out / "runs").glob("base-*") if (row := load_record(folder)))
    return found


@every
def test_a_cut_model_is_the_masked_one(spec: ModelSpec) -> None:
    compressor, whole = StructuredPrune(keep=0.5), model_of(spec)
    model = compressor.prepare(whole)
    pruned, masked = compressor.surgery(model), deepcopy(model)
    for group in width_groups(model):
        gone = set(range(group.size)) - set(kept_units(model, group).tolist())
        zero_units(masked, group, torch.tensor(sorted(gone)))
    heard = speech(3)
    with torch.no_grad():
        torch.testing.assert_close(pruned(heard).logits, masked(heard).logits, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(pruned(heard).logits, whole(heard).logits, atol=1e-3)
    assert count_params(pruned) < count_params(whole)


@every
def test_folded_is_unfolded(spec: ModelSpec) -> None:
    model, heard = model_of(spec), speech(3)
    plain = folded(model)
    with torch.no_grad():
        expected = model(heard).logits
        torch.testing.assert_close(plain(heard).logits, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(unfolded(model, plain)(heard).logits, expected, atol=1e-5, rtol=1e-5)


@integers
def test_its_program_computes_the_same(spec: ModelSpec) -> None:
    model, heard = model_of(spec), speech(3)
    plain = folded(model)
    form = lowered(plain)
    with torch.no_grad():
        logits, energies = run(form.program, form.matrices(plain), heard)
        expected = model(heard)
    torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=1e-5)
    if expected.energies is not None:
        torch.testing.assert_close(energies, expected.energies, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", NO_INTEGER_FORM, ids=lambda kind: kind.__name__)
def test_what_has_no_program_says_why(kind: type[ModelSpec]) -> None:
    with pytest.raises(ModelError, match=NO_INTEGER_FORM[kind]):
        lowered(folded(model_of(kind())))


@integers
@widths
def test_training_sees_what_ships(spec: ModelSpec, bits: str, activations: int) -> None:
    """Logits as training rounds them and those of the integers; the float ones are further off."""
    heard = speech(16, seed=1)
    with torch.no_grad():
        exact = model_of(spec)(heard).logits
        fake = rounding(spec, bits, activations).eval()(heard).logits
        whole = IntegerKws(integer(spec, bits, activations))(heard).logits
    error, rounded = ((one - whole).square().mean().sqrt() for one in (fake, exact))
    assert error <= UNSEEN[activations] * exact.abs().max()
    assert error < rounded


@integers
def test_training_rounds_on_every_device(spec: ModelSpec, device: torch.device) -> None:
    """What an operation needs beside its weights is where they are, and so are its gradients."""
    model, heard = rounding(spec, "8", 8), speech(3, seed=1)
    there = deepcopy(model).to(device)
    logits = there(heard.to(device)).logits
    logits.sum().backward()  # type: ignore[no-untyped-call]
    assert {weight.grad.device for weight in there.parameters() if weight.grad is not None} == {device}
    with torch.no_grad():
        torch.testing.assert_close(logits.cpu(), model(heard).logits, atol=1e-3, rtol=1e-3)


@integers
def test_integers_stream_what_the_clips_frames_say(spec: ModelSpec) -> None:
    """Frames of a whole clip, padding included, and the decision on the last ones of them: bit for bit."""
    model, heard = integer(spec), speech(2, LONG)
    values = _frames(model, heard.numpy())
    spotter, found = IntegerKws(model).eval(), []
    state = spotter.init_state(2, 4)
    for chunk in heard.split([0, 19, 1, 44, 87], -1):
        logits, state = spotter.stream(chunk, state)
        found.append(logits)
    streamed = torch.cat(found, 1)
    assert streamed.shape[1] > 3
    for at in range(streamed.shape[1]):
        decided = _decided(model, {one: x[..., max(0, at - 3) : at + 1] for one, x in values.items()})
        np.testing.assert_array_equal(streamed[:, at].numpy() * 65536, decided)


@integers
@widths
def test_integers_say_the_same_of_many_frames_at_once(
    spec: ModelSpec, bits: str, activations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many stretches a GRU is cut into; bit for bit."""
    monkeypatch.setattr("models.integer.stretches.LEAST_FRAMES", 4)
    spotter, heard = IntegerKws(integer(spec, bits, activations)).eval(), speech(2, LONG, seed=8)
    for buffer in (1, 5, None):
        expected, _ = spotter.stream(heard, spotter.init_state(2, buffer))
        for sizes in ([LONG], [0, 31, 1, 119]):
            state, found = spotter.init_state(2, buffer, at_once=True), []
            assert isinstance(state.stream, Whole)
            for chunk in heard.split(sizes, -1):
                logits, state = spotter.stream(chunk, state)
                found.append(logits)
            assert torch.equal(torch.cat(found, 1), expected)
    assert expected.shape[1] > 3


def _frames(model: IntegerModel, log_mel: np.ndarray) -> dict[int, np.ndarray]:
    """What moves and is gathered over time, of whole clips."""
    values = {0: model.quantize_input(log_mel)[:, None]}
    for at, op in enumerate(model.program[1:], 1):
        if model.shapes[at].moving:
            values[at] = compute(op, model, at, [values[one] for one in op.inputs])
    gathered = {one for op in model.program if isinstance(op, Gather) for one in op.inputs}
    return {one: values[one] for one in gathered}


def _decided(model: IntegerModel, values: dict[int, np.ndarray]) -> np.ndarray:
    """Logits of some frames."""
    values = dict(values)
    for at, op in enumerate(model.program):
        if not model.shapes[at].moving:
            values[at] = compute(op, model, at, [values[one] for one in op.inputs])
    return values[len(model.program) - 1].reshape(-1, model.n_classes)


@integers
@widths
def test_a_file_holds_all_of_it(spec: ModelSpec, bits: str, activations: int) -> None:
    model, heard = integer(spec, bits, activations), speech(2).numpy()
    read = file.from_bytes(file.to_bytes(model))
    assert read.program == model.program
    np.testing.assert_array_equal(clip(read, heard)[0], clip(model, heard)[0])


@integers
@widths
def test_c_is_the_same_bit_for_bit(spec: ModelSpec, bits: str, activations: int, tmp_path: Path) -> None:
    model, heard = integer(spec, bits, activations), speech(3, seed=2)
    host = compile_host(model, tmp_path, max_buffer_len=FRAMES)
    expected, _ = clip(model, heard.numpy())
    np.testing.assert_array_equal([host.clip(one) for one in heard.numpy()], expected)
    spotter, cuts = IntegerKws(model).eval(), np.random.default_rng(3)
    for one in heard:
        state = spotter.init_state(1, FRAMES)
        streamed, _ = spotter.stream(one[None], state)
        places = np.sort(cuts.integers(0, FRAMES, 4))
        memory, found = host.init_state(), []
        for part in np.split(one.numpy(), places, -1):
            found.append(host.step(part, memory))
        np.testing.assert_array_equal(np.concatenate(found), streamed[0].numpy() * 65536)


@integers
@pytest.mark.parametrize("weights", ["float", "8", "4"])
def test_onnx_is_within_1e_5_of_float(spec: ModelSpec, weights: str) -> None:
    model, heard = model_of(spec), speech(3, LONG, seed=4)
    content = of_float(model) if weights == "float" else of_integer(integer(spec, weights))
    model = content.model() if weights != "float" else model
    with torch.no_grad():
        clips = model(heard).logits.numpy()
        steps = model.stream(heard, model.init_state(3, 24))[0].numpy()
    scale = max(1.0, float(np.abs(clips).max()))
    found = OnnxSpotter(onnx_bytes(content, "clip")).logits(heard.numpy())
    np.testing.assert_allclose(found, clips, atol=1e-5 * scale)
    streamed = OnnxSpotter(onnx_bytes(content, "stream", 24)).stream(heard.numpy())
    assert streamed.shape == steps.shape
    assert streamed.shape[1] > 3
    np.testing.assert_allclose(streamed, steps, atol=1e-5 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("spec", [spec for spec in INTEGER if type(spec) not in OWN][:6], ids=name_of)
def test_a_cortex_m4_is_the_same_bit_for_bit(spec: ModelSpec, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    model, heard = integer(spec), speech(1, 60, seed=5)
    device = Device(Machine(Image.load(build_image(model, CPUS[M4], tmp_path)), CPUS[M4]), model)
    mel = model.quantize_input(heard[0].numpy()).T
    np.testing.assert_array_equal(device.clip(mel), clip(model, heard.numpy())[0][0])
    spotter = IntegerKws(model).eval()
    expected, _ = spotter.stream(heard, spotter.init_state(1, buffer_frames(model.step_frames)))
    device.init()
    found = [logits for frame in mel if (logits := device.push(frame)) is not None]
    np.testing.assert_array_equal(np.reshape(found, (-1, 2)), expected[0].numpy() * 65536)


WORDS = {
    5: WordsTask(("yes", "no", "up", "down"), with_unknown=True, clip_s=1.5),
    12: task_named("speech-commands-12"),
}


@pytest.mark.parametrize("task", WORDS.values(), ids=[f"{count} classes" for count in WORDS])
@pytest.mark.parametrize("model", sorted({*registry.names()} - {"prelu"}))
def test_every_runtime_tells_several_words_apart(model: str, task: Task, tmp_path: Path) -> None:
    family = registry.family(model).of(task)
    made = integer(family.student or family.default)
    read = file.from_bytes(file.to_bytes(replace(made, task=task)))
    assert (read.task, read.n_classes) == (task, len(task.classes))
    heard = speech(2, task.frames, seed=6)
    expected, _ = clip(read, heard.numpy())
    assert expected.shape == (2, len(task.classes))
    host = compile_host(read, tmp_path)
    np.testing.assert_array_equal([host.clip(one) for one in heard.numpy()], expected)
    content = of_integer(read)
    with torch.no_grad():
        real = content.model()(heard).logits.numpy()
    found = OnnxSpotter(onnx_bytes(content, "clip", task=task)).logits(heard.numpy())
    np.testing.assert_allclose(found, real, atol=1e-5 * max(1.0, float(np.abs(real).max())))
    streamed = OnnxSpotter(onnx_bytes(content, "stream", task=task)).stream(heard.numpy())
    assert streamed.shape[2] == len(task.classes)
    runtimes, skipped = prepare(Subject(content.model(), read), tmp_path)
    assert not skipped
    said = [each.clip() for each in runtimes]
    logits = [one.logits if isinstance(one, ModelOutput) else one for one in said]
    assert {np.shape(one)[-1] for one in logits} == {len(task.classes)}  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("task", WORDS.values(), ids=[f"{count} classes" for count in WORDS])
def test_a_cortex_m4_tells_several_words_apart(task: Task, tmp_path: Path) -> None:
    """A student of each family, parity of all runtimes included."""
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    names = sorted({"crnn", "gru", "ds-cnn", "tc-resnet8", "bc-resnet"})
    families = [registry.family(name).of(task) for name in names]
    models = {each.name: replace(integer(each.student or each.default), task=task) for each in families}
    rows = parity(models, speech(2, task.frames, seed=7).numpy(), tmp_path)
    assert len(rows) == 10 * len(models)
    assert not [row for row in rows if row.reason or not row.holds]
