from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from bench.cost import BYTES_PER_KB, cost, count_macs, latency_ms
from compressors.chain import parse
from models.base import KwsModel
from models.crnn import CrnnSpec
from models.errors import ModelError
from models.front_end import FrontEnd
from models.registry import base_spec, build
from models.shipped import saved, shipped
from models.task import KeywordTask, WordsTask

BASE = CrnnSpec()
PUBLISHED = pd.read_csv(Path(__file__).parents[2] / "results" / "kws_hw_published.csv", index_col="chain")
CHAINS = {"B": "", "KD": "kd", "KD2": "kd:kernel=13x5,hidden=12", "AD+KD": "ad+kd", "SP+AD+KD": "sp+ad+kd"}
# What the study left of the cut: 48 dead inputs of a Linear(64, 1) in 23 frames, and of a Linear(64, 2).
DEAD_MACS = {"SP+AD+KD": 48 * 23 + 48 * 2}


def artifact_bytes(model: nn.Module) -> int:
    return len(saved(model))


def built(chain_text: str) -> KwsModel:
    chain = parse(chain_text, BASE)
    torch.manual_seed(0)
    return chain.surgery(chain.prepare(build(chain.student(BASE)))).eval()


@pytest.mark.parametrize("label", CHAINS)
def test_macs_are_the_published_ones(label: str) -> None:
    macs = cost(built(CHAINS[label])).macs + DEAD_MACS.get(label, 0)
    assert macs == pytest.approx(PUBLISHED.loc[label, "macs"], rel=0.0025)


def test_macs_by_hand() -> None:
    """Each layer's products and biases; ptflops adds 7 element-wise steps a GRU unit beside its 6 biases."""
    frames, rows, hidden = 23, 2 * 18, 10
    conv = frames * rows * (5 * 20 + 1)
    gru = sum(frames * hidden * (3 * (width + hidden) + 6 + 7) for width in (rows, hidden))
    linear = frames * (10 * 10 + 10 + 10 + 1) + 2 * 10 + 2
    assert count_macs(built("ad+kd")) == conv + gru + linear


def test_macs_a_second_are_those_of_the_frames_that_it_adds() -> None:
    """12.5 windows of the convolution a second; everything but the classifier runs in each."""
    found = cost(built(""))
    once = 64 * 2 + 2
    assert found.macs_per_s == pytest.approx((found.macs - once) / 23 * 12.5, rel=1e-6)


@pytest.mark.parametrize("label", CHAINS)
def test_size_is_near_the_published_one(label: str) -> None:
    """The container of the file has changed since; what it holds has not."""
    model = built(CHAINS[label])
    for form, name in ((model, label), (parse("dq", BASE).convert(model), f"DQ+{label}")):
        assert artifact_bytes(form) / BYTES_PER_KB == pytest.approx(PUBLISHED.loc[name, "size_kb"], abs=1.8)
    assert cost(model).theoretical_kb == pytest.approx(4 * cost(model).params / 1024)


def test_where_the_bytes_of_dynamic_quantization_are() -> None:
    """By hand: the convolution stays in float, weights are a byte, torch keeps biases in float."""
    quantized = parse("dq", BASE).convert(built("ad+kd"))
    found = shipped(quantized, converted=True, task=KeywordTask()).sizes
    conv, gru, rest = 200, 30 * 36 + 3 * 30 * 10, 10 * 10 + 10 + 20
    assert found.payload_bytes == 4 * conv + gru + rest
    # Each linear layer also has a scale and a zero point: a float and a whole number of 8 bytes.
    assert found.scale_bytes == 4 * (2 + 4 * 30 + 10 + 1 + 2) + 3 * (4 + 8)
    assert found.artifact_bytes == found.payload_bytes + found.scale_bytes + found.container_bytes
    assert found.artifact_bytes == artifact_bytes(quantized)


def test_a_quantized_model_is_not_counted() -> None:
    quantized = parse("dq", BASE).convert(built(""))
    assert isinstance(quantized, KwsModel)
    with pytest.raises(ModelError, match="before it is quantized"):
        count_macs(quantized)


def test_a_model_that_ptflops_cannot_run_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(nn.Module):
        def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of tune")

    with pytest.raises(ModelError, match=r"cannot count Broken.*out of tune"):
        count_macs(Broken())  # type: ignore[arg-type]
    assert capsys.readouterr() == ("", "")


def test_counting_leaves_the_model_alone() -> None:
    model = built("ad+kd")
    before = set(vars(model))
    count_macs(model)
    assert set(vars(model)) == before


def test_latency_leaves_the_threads_alone() -> None:
    threads = torch.get_num_threads()
    assert latency_ms(built("ad+kd"), threads=1, runs=3) > 0
    assert torch.get_num_threads() == threads


def test_macs_are_those_of_two_seconds_of_whatever_is_heard() -> None:
    """A GRU runs once a frame: 50 frames a second of 20 bands, or 197.53 of hops of 81 samples."""
    for front_end, frames in ((FrontEnd(20, 32, 20), 100), (FrontEnd(64, 30, 5.0625), 395)):
        task = WordsTask(("yes", "no", "up"), front_end=front_end, clip_s=2.5)
        found = cost(build(base_spec("gru", task)), front_end)
        a_frame = 3 * 64 * (front_end.mels + 64) + 6 * 64 + 7 * 64
        assert found.macs == frames * a_frame + 64 * 3 + 3
        assert found.macs_per_s == pytest.approx(16000 / front_end.hop_samples * a_frame)


def test_a_clip_of_any_length_is_timed() -> None:
    heard: list[tuple[int, ...]] = []
    model = build(base_spec("gru", WordsTask(("yes", "no"), front_end=FrontEnd(20, 32, 20), clip_s=2.5)))
    model.register_forward_pre_hook(lambda _, inputs: heard.append(tuple(inputs[0].shape)))
    latency_ms(model, model.spec.clip_frames, runs=1)
    assert set(heard) == {(1, 20, 126)}
