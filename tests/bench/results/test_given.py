"""Weights that someone brings: torch's own saving writes them, torch's own loading says what they are."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from bench.results.given import fits, given_base, read_given
from models import registry
from models.base import ModelSpec, example_input
from models.crnn import Crnn, CrnnSpec
from models.errors import ResultsError
from models.registry import base_spec, build, names
from models.task import KeywordTask, WordsTask

TASK = KeywordTask("start")
HEARD = example_input(frames=TASK.frames)


def trained(model: str = "crnn") -> nn.Module:
    """A base whose every number, the statistics of norms included, is unlike that of a fresh one."""
    torch.manual_seed(5)
    made = build(base_spec(model, TASK))
    for name, tensor in made.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        else:
            tensor.add_(0.05 * torch.rand_like(tensor))
    return made.eval()


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def put(folder: Path, content: bytes, name: str = "my.weights") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def logits(model: nn.Module) -> Tensor:
    with torch.inference_mode():
        given: Tensor = model(HEARD).logits
    return given


@pytest.mark.parametrize("form", [save, saved])
@pytest.mark.parametrize("name", names())
def test_every_family_comes_back_bit_for_bit(
    name: str, form: Callable[[Mapping[str, Tensor]], bytes], tmp_path: Path
) -> None:
    model = trained(name)
    found = given_base(put(tmp_path, form(model.state_dict())), name, TASK)
    assert torch.equal(logits(found), logits(model))
    for key, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[key], tensor), key
    assert not found.training


def prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


LAYOUTS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "lr": [0.1]},
    "model": lambda state: {"model": state, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": torch.tensor(0.5)},
    "module.": lambda state: prefixed(state, "module."),
    "model.": lambda state: {"state_dict": prefixed(state, "model.")},
    "_orig_mod.": lambda state: prefixed(state, "_orig_mod."),
    "net.": lambda state: prefixed(state, "net."),
    "module._orig_mod.": lambda state: prefixed(state, "module._orig_mod."),
    "parameters": lambda state: {name: nn.Parameter(t, requires_grad=False) for name, t in state.items()},
    "beside others": lambda state: {"model": state, "other": {"w": torch.zeros(3)}},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_what_checkpoints_put_around_weights_is_understood(
    layout: Callable[[dict[str, Tensor]], Any], tmp_path: Path
) -> None:
    model = trained()
    path = put(tmp_path, saved(layout(dict(model.state_dict()))))
    assert torch.equal(logits(given_base(path, "crnn", TASK)), logits(model))


def of_old_torch(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def test_files_of_torch_before_they_were_archives_are_read(tmp_path: Path) -> None:
    model = trained()
    whole = of_old_torch({"state_dict": model.state_dict()})
    assert torch.equal(logits(given_base(put(tmp_path, whole), "crnn", TASK)), logits(model))
    # 12,345 numbers that say they are a billion.
    small = of_old_torch({"w": torch.zeros(12_345)})
    larger = small.replace(b"M" + (12_345).to_bytes(2, "little"), b"\x8a\x08" + (10**9).to_bytes(8, "little"))
    assert larger != small
    for damaged in (whole[:-100], whole[:200], larger, of_old_torch(trained())):
        assert "cannot be read as weights" in refusal(damaged, tmp_path)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_widths_of_numbers_are_made_the_model_s(kind: torch.dtype, tmp_path: Path) -> None:
    model = trained()
    state = {name: tensor.to(kind) for name, tensor in model.state_dict().items()}
    found = given_base(put(tmp_path, save(state)), "crnn", TASK).state_dict()
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor.float()), name
        assert found[name].dtype == torch.float32


@dataclass(frozen=True)
class TinySpec(ModelSpec):
    n_mels: int = 40
    n_classes: int = 2


def test_an_ordinary_module_is_saved_without_what_holds_it_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_FAMILIES", copy(registry._families()))
    torch.manual_seed(0)

    @registry.register("tiny", TinySpec())
    def factory(spec: TinySpec) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(40 * spec.clip_frames, spec.n_classes))

    own = factory(TinySpec())
    path = put(tmp_path, saved(own.state_dict()))
    found = given_base(path, "tiny", TASK)
    assert set(found.state_dict()) == {"module.1.weight", "module.1.bias"}
    assert torch.equal(logits(found), own(HEARD))
    assert list(fits(read_given(path), TASK)) == ["tiny"]


def refusal(content: bytes, folder: Path, model: str = "crnn") -> str:
    path = put(folder, content)
    with pytest.raises(ResultsError) as caught:
        given_base(path, model, TASK)
    said = str(caught.value)
    assert str(path) in said
    assert said.isprintable()
    return said


def changed(**tensors: Tensor | None) -> bytes:
    state = dict(trained().state_dict()) | {name.replace("__", "."): value for name, value in tensors.items()}
    return saved({name: tensor for name, tensor in state.items() if tensor is not None})


def test_what_does_not_fit_is_listed_with_what_was_expected(tmp_path: Path) -> None:
    said = refusal(
        changed(classifier__bias=torch.zeros(12), classifier__weight=None, other=torch.zeros(4, 3)), tmp_path
    )
    shape = "x".join(map(str, trained().state_dict()["classifier.weight"].shape))
    assert said.endswith(
        "does not fit crnn on keyword start: classifier.bias is 12, expected 2; "
        f"no classifier.weight, expected {shape}; unexpected other, 4x3"
    )


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    state = {f"layer{number}.weight": torch.zeros(number + 1) for number in range(30)}
    own = len(trained().state_dict())
    said = refusal(saved(state), tmp_path)
    assert said.count("expected") == 10
    assert said.endswith(f"and {own + 30 - 10} more")


def test_another_family_is_named(tmp_path: Path) -> None:
    said = refusal(save(trained("gru").state_dict()), tmp_path)
    assert said.endswith("; it fits --model gru")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            changed(classifier__bias=torch.tensor([1.0, float("nan")])),
            "classifier.bias holds what is no finite",
        ),
        (
            changed(classifier__bias=torch.tensor([1e300, 0], dtype=torch.float64)),
            "classifier.bias holds what",
        ),
        (changed(classifier__bias=torch.zeros(2, dtype=torch.int8)), "classifier.bias is 2 int8, expected 2"),
        (changed(classifier__bias=torch.full((2,), 3e38), classifier__weight=None), "no classifier.weight"),
        (saved({name: dict(trained().state_dict()) for name in ("a", "b")}), "that fit: a, b; keep one"),
        (saved(trained()), "it is no state_dict: it holds more than tensors and plain values"),
        (saved([1, 2]), "it holds no names with tensors"),
        (saved({"epoch": 3}), "there are no tensors in it"),
        (saved({"w": torch.zeros(1).expand(10**12)}), "w is no tensor with all its numbers"),
        (saved({"w": torch.zeros(2).to_sparse()}), "w is no tensor with all its numbers"),
        (saved({"w": torch.zeros(2, device="meta")}), "w is no tensor with all its numbers"),
        (saved({"\x1b[31m" + "x" * 500: torch.zeros(2)}), "and "),
        (b"", "give a .safetensors file, or a state_dict as torch.save writes it"),
        (b"RIFF" + bytes(100), "give a .safetensors file, or a state_dict as torch.save writes it"),
        (b"PK\x03\x04" + bytes(100), "give a .safetensors file"),
        (save({"w": torch.zeros(2)}, {"sha256": "0"}), "its tensors are not those of its checksum"),
        ((2**40).to_bytes(8, "little") + b"{}", "cannot be read as weights"),
        (changed(classifier__bias=torch.zeros(2))[:-300], "cannot be read as weights"),
    ],
)
def test_a_file_that_is_none_gets_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    assert said in refusal(content, tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(ResultsError, match=r"^no file .*: give a .safetensors file"):
            given_base(path, "crnn", TASK)


def test_outputs_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """Every weight is finite, and what they make of a clip is not."""
    state = {name: torch.full_like(tensor, 1e38) for name, tensor in trained().state_dict().items()}
    assert "the model's outputs are no numbers" in refusal(save(state), tmp_path)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_torchscript_file_gets_one_line(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    assert "cannot be read as weights" in refusal(buffer.getvalue(), tmp_path)


def test_which_families_fit_a_task(tmp_path: Path) -> None:
    path = put(tmp_path, save(trained("gru").state_dict()))
    assert list(fits(read_given(path), TASK)) == ["gru"]
    assert fits(read_given(path), WordsTask(("a", "b", "c"))) == {}
    assert type(given_base(path, "gru", TASK)) is not Crnn
    assert base_spec("crnn", TASK) == CrnnSpec()
