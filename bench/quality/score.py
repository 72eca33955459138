"""What a trained model says about clips."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.quality.metrics import Floats
from models.base import device_of

EVAL_BATCH = 512


def predict(
    model: nn.Module, features: Tensor, rows: npt.NDArray[np.int64], batch: int = EVAL_BATCH
) -> Tensor:
    """Logits (n, K), on the CPU, of some rows of the features (N, M, T), without gradients.

    Args:
        model: In any form that maps (B, M, T) to ``ModelOutput``; it runs where it is.
        features: Of the whole corpus, on the CPU.
        rows: Which clips.
        batch: Clips a call; 1 for dynamically quantized models, whose scales depend on the whole call.
    """
    model.eval()
    device = device_of(model)
    with torch.inference_mode():
        blocks = [
            model(features[block].to(device)).logits.cpu()
            for block in torch.split(torch.from_numpy(rows), batch)
        ]
    return torch.cat(blocks)


def probabilities(logits: Tensor) -> Floats:
    """Softmax of logits (N, K) in double precision, so that confident clips don't tie at 1."""
    found: Floats = torch.softmax(logits.double(), dim=1).numpy()
    return found
