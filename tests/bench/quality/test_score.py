import numpy as np
import torch

from bench.quality.score import predict, probabilities
from models.base import KwsModel
from models.crnn import CrnnSpec
from models.registry import build


def test_clips_are_scored_where_the_model_is(device: torch.device) -> None:
    """Clip by clip in a forward of our own, on the CPU; the rest are left out."""
    torch.manual_seed(0)
    model = build(CrnnSpec(channels=2, hidden=8)).eval()
    features, rows = torch.randn(7, 40, 101), np.array([6, 1, 4])
    with torch.no_grad():
        expected = torch.cat([model(features[row][None]).logits for row in rows])
    heard: list[torch.device] = []

    def hear(_model: KwsModel, inputs: tuple[torch.Tensor, ...]) -> None:
        heard.append(inputs[0].device)

    there = model.to(device)
    there.register_forward_pre_hook(hear)
    found = predict(there, features, rows, batch=2)
    assert heard == [device, device]
    assert found.device == torch.device("cpu")
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(probabilities(found), torch.softmax(expected.double(), 1), atol=1e-4)
