"""The one place that imports torchaudio: ``from bench.data.torchaudio_import import torchaudio``.

The wheels on PyPI are linked against CUDA libraries, so beside a CPU-only torch the compiled
extension cannot be loaded and the import raises ``OSError``. Mel spectrograms, masks and resampling
are pure Python and do not need it: there, and only there, they are loaded without the extension.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def import_torchaudio() -> ModuleType:
    """torchaudio, without its compiled extension where that cannot be loaded.

    Raises:
        ImportError: torchaudio is not installed.
    """
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        # The failed import leaves torchaudio's loader in sys.modules. Told that there is no compiled
        # file, it goes the way torchaudio itself provides for builds that come without one.
        loader = sys.modules["torchaudio._extension.utils"]
        vars(loader)["_load_lib"] = lambda _name: False
        return importlib.import_module("torchaudio")


torchaudio = import_torchaudio()
# Submodules are attributes of the package once it is imported; naming them keeps callers short.
functional = torchaudio.functional
transforms = torchaudio.transforms
