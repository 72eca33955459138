"""What the reference family has always given: numbers of seeded models, kept in ``tests/frozen``.

They were written once; whatever is rebuilt underneath must leave them as they are.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.cost import count_macs
from compressors.chain import parse
from models.base import KwsModel, count_params
from models.crnn import CrnnSpec
from models.integer import file as kws_file
from models.integer.kws import IntegerKws
from models.registry import build
from models.shipped import shipped
from models.task import KeywordTask

FROZEN = Path(__file__).parent / "frozen"
CHAINS = ["", "kd", "ad+kd", "sp", "sp+ad+kd:channels=6", "lr", "lr:rank=4+ad+kd"]
INTEGER = ["sq+ad+kd", "sq:bits=4+ad+kd", "sq:bits=8/gru.hh=4,activations=16+sp"]


def log_mel(clips: int = 4) -> torch.Tensor:
    """Clips whose level differs by mel band, as that of speech does."""
    rng = np.random.default_rng(11)
    level = 3 * rng.standard_normal((clips, 40, 1)) - 8
    return torch.from_numpy((level + rng.standard_normal((clips, 40, 133))).astype(np.float32))


def model_of(text: str) -> tuple[Any, KwsModel]:
    chain = parse(text, CrnnSpec())
    torch.manual_seed(7)
    model = build(chain.student(CrnnSpec()))
    return chain, chain.surgery(chain.prepare(model)).eval()


def streamed(model: KwsModel, heard: torch.Tensor) -> list[list[list[float]]]:
    state, found = model.init_state(len(heard), 5), []
    for chunk in torch.split(heard, [1, 30, 0, 60, 42], -1):
        logits, state = model.stream(chunk, state)
        found.append(logits)
    return torch.cat(found, 1).tolist()


def measured(text: str) -> dict[str, Any]:
    """All that is held of a float model."""
    _, model = model_of(text)
    with torch.inference_mode():
        output = model(log_mel())
        stream = streamed(model, log_mel())
    stored = shipped(model, converted=False, task=KeywordTask()).sizes
    return {
        "params": count_params(model),
        "macs": count_macs(model),
        "bytes": stored.payload_bytes + stored.scale_bytes,
        "shapes": {name: list(tensor.shape) for name, tensor in model.state_dict().items()},
        "logits": output.logits.tolist(),
        "energies": output.energies.tolist() if output.energies is not None else [],
        "stream": stream,
    }


def integer_model(text: str) -> IntegerKws:
    chain, model = model_of(text)
    made = chain.convert(chain.calibrate(model, log_mel(64)))
    assert isinstance(made, IntegerKws)
    return made


def file_of(text: str) -> Path:
    plain = "".join(letter if letter.isalnum() else "_" for letter in text)
    return FROZEN / f"{plain}.kws"


@pytest.mark.parametrize("text", CHAINS)
def test_float_models_give_what_they_gave(text: str) -> None:
    expected = json.loads((FROZEN / "float.json").read_text())[text or "base"]
    found = measured(text)
    for name in ("params", "macs", "bytes", "shapes"):
        assert found[name] == expected[name], name
    for name in ("logits", "energies", "stream"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("text", INTEGER)
def test_integer_models_give_the_same_weights_and_the_same_bits(text: str) -> None:
    """The stored files are of version 1; version 2 holds the operations too, and may take 20 bytes more."""
    model, stored = integer_model(text), kws_file.load(file_of(text))
    assert model.integer.program == stored.program
    assert model.integer.steps == stored.steps
    for ours, theirs in zip(model.integer.tensors, stored.tensors, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
    data = kws_file.to_bytes(model.integer)
    assert len(data) <= file_of(text).stat().st_size + 20
    expected = json.loads((FROZEN / "integer.json").read_text())[text]
    for each in (model, IntegerKws(stored), IntegerKws(kws_file.from_bytes(data))):
        assert each(log_mel()).logits.tolist() == expected["logits"]
        assert streamed(each, log_mel()) == expected["stream"]
