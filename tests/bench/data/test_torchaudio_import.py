"""Both ways in, each in a fresh interpreter: with the compiled extension, and where it cannot be loaded."""

import subprocess
import sys

import pytest

USE = """
import torch
from bench.data.torchaudio_import import transforms, torchaudio
mel = transforms.MelSpectrogram(16000, n_fft=400, hop_length=160, n_mels=40)(torch.zeros(1, 16000))
assert mel.shape == (1, 40, 101), mel.shape
print("extension:", torchaudio._extension._IS_TORCHAUDIO_EXT_AVAILABLE)
"""
# torch.ops.load_library decides: it fails as beside a CPU-only torch, or finds a working extension.
FAILS = """
import torch
def load_library(path):
    raise OSError(f"Could not load this library: {path}")
torch.ops.load_library = load_library
"""
LOADS = """
import sys, types, torch
torch.ops.load_library = lambda path: None
fake = types.SimpleNamespace(is_align_available=lambda: False, cuda_version=lambda: None)
for name in ("_torchaudio", "torchaudio"):
    loops = {"_lfilter_core_loop": None, "_overdrive_core_loop": None}
    setattr(torch.ops, name, types.SimpleNamespace(**vars(fake), **loops))
"""


@pytest.mark.parametrize(("before", "available"), [(FAILS, False), (LOADS, True)])
def test_both_ways_in(before: str, available: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", before + USE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"extension: {available}"


def test_other_errors_are_not_swallowed() -> None:
    code = "import sys; sys.modules['torchaudio'] = None; import bench.data.torchaudio_import"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
