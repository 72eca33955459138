import os
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.device import CPU, device_named, placed, repeatable, torch_device
from bench.request import Request
from models.errors import KwsError

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def found(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    """As on a machine with these."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in kinds)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in kinds)


@pytest.mark.parametrize(
    ("kinds", "first"), [((), "cpu"), (("mps",), "mps"), (("cuda",), "cuda"), (("mps", "cuda"), "cuda")]
)
def test_auto_is_cuda_then_mps_then_the_cpu(
    kinds: tuple[str, ...], first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, *kinds)
    assert device_named("auto") == first
    assert Request(device="auto").configs([("kd", "")])[0].device == first
    assert Request().configs([("kd", "")])[0].device == "cpu", "nobody's figures change with the machine"


@pytest.mark.parametrize("name", ["cuda", "mps", "gpu", ""])
def test_a_device_that_is_not_there_is_said_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch)
    with pytest.raises(KwsError, match=f"^no device '{name}' here: torch .* finds cpu; give one of these"):
        Request(device=name).configs([("kd", "")])


def test_of_several_cards_it_is_the_first() -> None:
    assert (torch_device("cuda"), torch_device("cpu")) == (torch.device("cuda:0"), CPU)


def test_a_model_is_copied_only_where_it_has_to_move(device: torch.device) -> None:
    model = nn.Linear(3, 2)
    there = placed(model, device)
    assert there.weight.device == device
    assert (there is model) == (device == CPU)
    assert placed(there, device) is there
    assert model.weight.device == CPU
    torch.testing.assert_close(placed(there, CPU).weight, model.weight)


def flags() -> tuple[bool, bool, bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        cudnn.allow_tf32,
        cudnn.enabled,
    )


def test_only_a_cuda_card_is_told_to_repeat_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The switches are torch's, and turn without a card too."""
    monkeypatch.setenv(CUBLAS, "")  # so that it is put back
    monkeypatch.delenv(CUBLAS)
    before = flags()
    for kind in ("cpu", "mps"):
        with repeatable(torch_device(kind)):
            assert flags() == before
            assert CUBLAS not in os.environ
    with repeatable(torch_device("cuda")):
        assert flags() == (True, True, False, False, True)
        assert os.environ[CUBLAS] == ":4096:8"
    assert flags() == before


def test_the_command_line_says_so_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from bench.cli import main

    found(monkeypatch)
    out = tmp_path / "out"
    for command in ("run", "ablate"):
        result = CliRunner().invoke(main, [command, "--device", "cuda", "--out", str(out)])
        assert result.exit_code == 2
        assert result.output.startswith("bench: no device 'cuda' here")
        assert result.output.count("\n") == 1
    assert not out.exists()
